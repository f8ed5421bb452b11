//! What it costs to judge a measurement by a condition that has been read before.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use sluice_lang::expr::{Condition, Data, Value};
use sluice_lang::jsonpath::JsonPath;
use sluice_lang::judge::{Conditions, judge};

fn condition(criterion: &mut Criterion) {
    const TYPICAL: &str = "result[0] >= 0.95 && !isNaN(result[0])";
    let now = jiff::Timestamp::UNIX_EPOCH;
    let samples = Data::new(Value::floats([0.97]), now);

    let typical = Condition::parse(TYPICAL).expect("an expression");
    criterion.bench_function("evaluate", |bench| bench.iter(|| typical.holds(black_box(&samples))));
    criterion.bench_function("parse", |bench| bench.iter(|| Condition::parse(black_box(TYPICAL))));

    let conditions = Conditions::new("all(result, # >= 0.95)", "any(result, # < 0.9)");
    let hundred = Data::new(Value::floats((0..100).map(|x| 0.95 + f64::from(x) / 10_000.0)), now);
    criterion
        .bench_function("judge_100_samples", |bench| bench.iter(|| judge(&conditions, black_box(&hundred))));

    let document =
        serde_json::json!({"data": {"items": [{"name": "a", "value": 1}, {"name": "b", "value": 2}]}});
    let path = JsonPath::parse("{$.data.items[?(@.name==\"b\")].value}").expect("a path");
    criterion.bench_function("path", |bench| {
        bench.iter(|| path.find(black_box(&document)).map(|found| found.len()));
    });
}

criterion_group!(benches, condition);
criterion_main!(benches);

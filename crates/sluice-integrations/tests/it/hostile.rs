//! Whatever a server answers, a measurement goes on, ends or is an error.

use jiff::Timestamp;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use sluice_integrations::{HttpResponse, InProgress, Memory, MetricProvider, Next, Outcome, provider};

use crate::golden;
use crate::talk::Case;

/// Cases per provider.
const CASES: u32 = 10_000;

/// A real answer with an accident: a part is missing, doubled or replaced by something else.
fn mutated(bodies: Vec<String>) -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(String::new()),
        prop::sample::select(vec![
            "null",
            "0",
            "-1",
            "1e308",
            "1e999",
            "\"\"",
            "\"NaN\"",
            "[]",
            "{}",
            "[[]]",
            "true",
            ",",
            "\n",
            "]",
            "}",
            "18446744073709551616",
            "-9223372036854775809",
            "\u{0}",
            "é",
        ])
        .prop_map(str::to_owned),
        "[ -~]{0,8}",
    ];
    (prop::sample::select(bodies), any::<prop::sample::Index>(), 0_usize..40, piece).prop_map(
        |(body, place, length, piece)| {
            let mut bytes = body.into_bytes();
            let from = if bytes.is_empty() { 0 } else { place.index(bytes.len()) };
            let to = (from + length).min(bytes.len());
            bytes.splice(from..to, piece.into_bytes());
            bytes
        },
    )
}

/// A JSON document in which one value was replaced by another.
fn swapped(bodies: Vec<String>) -> impl Strategy<Value = Vec<u8>> {
    let value = prop::sample::select(vec![
        serde_json::json!(null),
        serde_json::json!(true),
        serde_json::json!(-1),
        serde_json::json!(1e308),
        serde_json::json!(u64::MAX),
        serde_json::json!(""),
        serde_json::json!("text"),
        serde_json::json!([]),
        serde_json::json!([null]),
        serde_json::json!([[1, 2, 3]]),
        serde_json::json!({}),
        serde_json::json!({"value": {"values": [0]}}),
    ]);
    (prop::sample::select(bodies), any::<prop::sample::Index>(), value).prop_map(|(body, place, value)| {
        let Ok(mut document) = serde_json::from_str::<serde_json::Value>(&body) else {
            return body.into_bytes();
        };
        let pointers = pointers(&document);
        if let Some(target) = document.pointer_mut(&pointers[place.index(pointers.len())]) {
            *target = value;
        }
        document.to_string().into_bytes()
    })
}

fn pointers(document: &serde_json::Value) -> Vec<String> {
    let mut found = vec![String::new()];
    let below = |key: String, part: &serde_json::Value, found: &mut Vec<String>| {
        found.extend(pointers(part).into_iter().map(|rest| format!("/{key}{rest}")));
    };
    match document {
        serde_json::Value::Array(items) => {
            items.iter().enumerate().for_each(|(place, item)| below(place.to_string(), item, &mut found));
        }
        serde_json::Value::Object(members) => members.iter().for_each(|(key, member)| {
            below(key.replace('~', "~0").replace('/', "~1"), member, &mut found);
        }),
        _ => {}
    }
    found
}

/// Every place at which one of the provider's measurements waits for an answer.
fn waiting(cases: &[Case]) -> Vec<(Case, InProgress)> {
    let mut found = Vec::new();
    for case in cases {
        let Ok(asked) = provider(&case.metric(), &case.context()) else { continue };
        let mut measurement = InProgress { started_at: case.now(), memory: Memory::default() };
        let mut answer = None;
        let mut answers = case.answers.iter();
        let mut now = case.now();
        loop {
            match asked.next(&measurement, answer.as_ref(), now) {
                Ok(Next::Send(_, memory)) => {
                    measurement.memory = memory;
                    found.push((case.clone(), measurement.clone()));
                    let Some(next) = answers.next() else { break };
                    answer = Some(next.response());
                }
                Ok(Next::WaitUntil(instant, memory)) => {
                    measurement.memory = memory;
                    (now, answer) = (instant, None);
                }
                Ok(Next::Done(_)) | Err(_) => break,
            }
        }
    }
    found
}

#[test]
fn no_answer_breaks_a_measurement() {
    for (name, cases) in golden::cases() {
        let bodies: Vec<String> =
            cases.iter().flat_map(|case| case.answers.iter().map(|answer| answer.body.clone())).collect();
        let waiting: Vec<(Box<dyn MetricProvider>, InProgress, Timestamp)> = waiting(&cases)
            .into_iter()
            .map(|(case, measurement)| {
                (provider(&case.metric(), &case.context()).unwrap(), measurement, case.now())
            })
            .collect();
        let body = prop_oneof![
            4 => mutated(bodies.clone()),
            4 => swapped(bodies),
            1 => prop::collection::vec(any::<u8>(), 0..200),
            1 => (0_usize..400).prop_map(|depth| "[".repeat(depth).into_bytes()),
        ];
        let status = prop_oneof![6 => Just(200_u16), 1 => any::<u16>(), 2 => 200_u16..600];
        // What was remembered may be from another version of this program.
        let stage = prop::sample::select(vec![
            serde_json::json!(null),
            serde_json::json!("token"),
            serde_json::json!("start"),
            serde_json::json!(-1),
            serde_json::json!(u64::MAX),
            serde_json::json!({"execution": ""}),
            serde_json::json!([]),
        ]);
        let stage = prop::option::weighted(0.1, stage);
        let strategy = (any::<prop::sample::Index>(), status, body, prop::bool::weighted(0.05), stage);
        let mut runner =
            TestRunner::new(Config { cases: CASES, failure_persistence: None, ..Config::default() });
        let outcome = runner.run(&strategy, |(place, status, body, is_cut, stage)| {
            let (asked, measurement, now) = &waiting[place.index(waiting.len())];
            let mut measurement = measurement.clone();
            measurement.memory.stage = stage.unwrap_or(measurement.memory.stage);
            let cut_at_bytes = is_cut.then_some(body.len());
            let answer =
                HttpResponse { status, headers: std::collections::BTreeMap::default(), body, cut_at_bytes };
            match asked.next(&measurement, Some(&answer), *now) {
                Ok(Next::WaitUntil(instant, _)) => prop_assert!(instant > *now),
                Ok(Next::Done(measured)) => {
                    prop_assert!(!is_cut, "a cut answer is never a measurement");
                    prop_assert!((200..300).contains(&status), "a refusal is never a measurement");
                    if let Outcome::Result(value) = measured.outcome {
                        value.to_text();
                    }
                }
                Ok(Next::Send(..)) => {}
                Err(error) => prop_assert!(error.to_string().chars().count() < 3_000, "{error}"),
            }
            Ok(())
        });
        if let Err(error) = outcome {
            panic!("{name}: {error}");
        }
    }
}

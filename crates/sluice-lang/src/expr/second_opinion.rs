//! Another evaluator's opinion of expressions that both should understand alike.
//!
//! The other one knows no types beforehand and answers where the original reports an error, so only
//! expressions that fit their data are asked about.

use proptest::prelude::*;

use super::{Condition, Data, Value};

/// Expressions that come to a number.
fn numbers() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        (0..20i64).prop_map(|x| x.to_string()),
        (0..40u32).prop_map(|x| format!("{:.2}", f64::from(x) / 4.0)),
        Just("result.a".to_owned()),
        Just("result.l[0]".to_owned()),
        Just("result.l[-1]".to_owned()),
        Just("result.o.x".to_owned()),
        Just("len(result.s)".to_owned()),
    ];
    leaf.prop_recursive(4, 24, 3, |inner| {
        let conditions = conditions_over(inner.clone());
        let list = lists(inner.clone());
        prop_oneof![
            (inner.clone(), prop_oneof!["[-+*/]", Just("**".to_owned())], inner.clone())
                .prop_map(|(a, operator, b)| format!("({a} {operator} {b})")),
            inner.clone().prop_map(|a| format!("-({a})")),
            (
                prop_oneof![Just("abs"), Just("ceil"), Just("floor"), Just("round"), Just("float")],
                inner.clone()
            )
                .prop_map(|(name, a)| format!("{name}({a})")),
            (
                prop_oneof![Just("sum"), Just("len"), Just("mean"), Just("max"), Just("min"), Just("median")],
                list.clone()
            )
                .prop_map(|(name, list)| format!("{name}({list})")),
            (conditions, inner.clone(), inner.clone()).prop_map(|(c, a, b)| format!("({c} ? {a} : {b})")),
            (list.clone(), inner.clone()).prop_map(|(list, a)| format!("count({list}, # > {a})")),
            (list, inner.clone()).prop_map(|(list, a)| format!("reduce({list}, #acc + #, {a})")),
            (inner.clone(), inner).prop_map(|(a, b)| format!("(result.nothing ?? ({a})) + {b}")),
        ]
    })
}

fn lists(inner: impl Strategy<Value = String> + Clone + 'static) -> impl Strategy<Value = String> + Clone {
    let leaf = prop_oneof![
        Just("result.l".to_owned()),
        Just("result.l[1:]".to_owned()),
        (0..4, 4..9).prop_map(|(from, to)| format!("{from}..{to}")),
        proptest::collection::vec(inner.clone(), 1..4).prop_map(|items| format!("[{}]", items.join(", "))),
    ];
    (leaf, 0..5u32, inner).prop_map(|(list, form, a)| match form {
        0 => format!("map({list}, # * 2)"),
        1 => format!("map({list}, # + {a})"),
        2 => format!("concat([1], filter({list}, # > {a}))"),
        3 => format!("reverse({list})"),
        _ => list,
    })
}

/// Expressions that come to a truth value.
fn conditions_over(
    numbers: impl Strategy<Value = String> + Clone + 'static,
) -> impl Strategy<Value = String> {
    let list = lists(numbers.clone());
    let leaf = prop_oneof![
        (numbers.clone(), "<|>|<=|>=|==|!=", numbers.clone())
            .prop_map(|(a, op, b)| format!("({a}) {op} ({b})")),
        (prop_oneof![Just("all"), Just("any"), Just("none"), Just("one")], list.clone(), numbers.clone())
            .prop_map(|(name, list, a)| format!("{name}({list}, # >= ({a}))")),
        (numbers.clone(), list).prop_map(|(a, list)| format!("({a}) in {list}")),
        (prop_oneof![Just("contains"), Just("startsWith"), Just("endsWith"), Just("matches")], "[a-d]{0,2}")
            .prop_map(|(operator, text)| format!("result.s {operator} '{text}'")),
        Just("result.b".to_owned()),
        Just("result.nothing == nil".to_owned()),
        Just("upper(result.s) == 'ABC'".to_owned()),
        Just("result.o == result.o".to_owned()),
    ];
    leaf.prop_recursive(3, 8, 2, |inner| {
        prop_oneof![
            (inner.clone(), "&&|\\|\\||and|or", inner.clone())
                .prop_map(|(a, op, b)| format!("({a}) {op} ({b})")),
            inner.prop_map(|a| format!("not ({a})")),
        ]
    })
}

/// The other one's value in our words.
fn theirs(value: &expr::Value) -> String {
    match value {
        expr::Value::Integer(x) => Value::Int(*x).to_text(),
        expr::Value::Float(x) => Value::Float(*x).to_text(),
        expr::Value::Bool(x) => x.to_string(),
        expr::Value::String(text) => text.clone(),
        expr::Value::Array(items) => {
            format!("[{}]", items.iter().map(theirs).collect::<Vec<_>>().join(" "))
        }
        other => format!("{other:?}"),
    }
}

fn context() -> expr::Context {
    let number = expr::Value::Float;
    let object = |members: Vec<(&str, expr::Value)>| {
        expr::Value::Map(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    };
    let result = object(vec![
        ("a", number(2.5)),
        ("b", expr::Value::Bool(true)),
        ("l", expr::Value::Array(vec![number(1.0), number(7.0), number(3.0)])),
        ("nothing", expr::Value::Nil),
        ("o", object(vec![("x", number(4.0))])),
        ("s", expr::Value::String("abc".to_owned())),
    ]);
    let mut context = expr::Context::default();
    context.insert("result".to_owned(), result);
    context
}

fn ours() -> Data {
    let result = serde_json::json!({
        "a": 2.5, "b": true, "l": [1, 7, 3], "nothing": null, "o": {"x": 4}, "s": "abc",
    });
    Data::new(Value::from(&result), jiff::Timestamp::UNIX_EPOCH)
}

#[track_caller]
fn compare(expression: &str, context: &expr::Context, data: &Data) {
    let found = Condition::parse(expression).and_then(|condition| condition.evaluate(data));
    let other = expr::eval(expression, context);
    match (&found, &other) {
        (Ok(found), Ok(other)) => {
            // Negative zero is a zero like the other.
            let (found, other) = (found.to_text(), theirs(other));
            let with_one_zero = |text: &str| if text == "-0" { "0".to_owned() } else { text.to_owned() };
            assert_eq!(with_one_zero(&found), with_one_zero(&other), "{expression}");
        }
        (Err(_), Err(_)) => {}
        _ => panic!("{expression}\nours   {found:?}\ntheirs {other:?}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn both_evaluators_agree(expression in prop_oneof![numbers().boxed(), conditions_over(numbers().boxed()).boxed()]) {
        compare(&expression, &context(), &ours());
    }
}

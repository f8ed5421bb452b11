use super::*;

/// Reads the short form of a result: `f:0.5` a float, `F:[1,2]` a list of floats, `I:[1]` a list of
/// integers from outside, `j:{"a":1}` JSON, `s:text`, `b:true`, `n` nil.
fn data(text: &str) -> Data {
    let number = |text: &str| text.parse::<f64>().expect("a number");
    let (kind, text) = text.split_once(':').unwrap_or((text, ""));
    let items = || text.trim_matches(['[', ']']).split(',').filter(|item| !item.is_empty());
    let result = match kind {
        "f" => Value::Float(number(text)),
        "F" => Value::floats(items().map(number)),
        "I" => Value::list(items().map(|item| Value::Int64(item.parse().expect("an integer")))),
        "j" => Value::from(&serde_json::from_str::<serde_json::Value>(text).expect("JSON")),
        "s" => Value::from(text),
        "b" => Value::Bool(text == "true"),
        _ => Value::Nil,
    };
    Data::new(result, "2026-01-02T03:04:05Z".parse().expect("a time"))
}

/// What an expression comes to, in the form of the file.
fn outcome(data_text: &str, expression: &str) -> String {
    let value = Condition::parse(expression).and_then(|condition| condition.evaluate(&data(data_text)));
    let outcome = match value {
        Ok(value) => format!("= {} {}", value.go_type(), value.to_text()),
        Err(error) => format!("! {}", error.message),
    };
    outcome.replace('\n', "\\n").replace('\t', "\\t")
}

/// Expressions with what expr 1.17.8 in the environment of Argo Rollouts makes of them.
const OBSERVED: &str = include_str!("testdata/observed.tsv");

#[test]
fn expressions_come_to_what_the_original_makes_of_them() {
    let mut wrong = String::new();
    for line in OBSERVED.lines() {
        let mut fields = line.split('\t');
        let (Some(data), Some(expression), Some(expected)) = (fields.next(), fields.next(), fields.next())
        else {
            panic!("not three fields: {line:?}");
        };
        let found = outcome(data, expression);
        if found != expected {
            wrong.push_str(&format!("{data}  {expression}\n  wanted {expected}\n  found  {found}\n"));
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

/// Where we differ from the original, and mean to.
#[test]
fn expressions_that_differ_on_purpose() {
    // data, expression, outcome
    for (data, expression, expected) in [
        // The original says that a function of the language, named and not called, is nil.
        ("n", "len == nil", "! unknown name len"),
        // The original drops the constant, and `1 && true` is 1 there; an error follows either way.
        ("j:[1]", "result[0] && true", "! interface conversion: interface {} is float64, not bool"),
        // It compares lists of different make as unequal, whatever they hold.
        ("F:[1,2]", "result == 1..2", "= bool true"),
        // What is no number has no integer; the original returns what the machine makes of it.
        ("F:[NaN]", "asInt(result[0]) > 3", "! asInt() not supported on float64 NaN"),
        ("f:1e30", "asInt(result) > 3", "! asInt() not supported on float64 1e+30"),
        // Maps have no order there.
        ("j:{\"b\":1,\"a\":2}", "keys(result)", "= []interface {} [a b]"),
        ("f:1", "b'abc'", "! byte literals are not supported"),
        ("s:abc", "result matches '['", "! error parsing regexp: unclosed character class: `[`"),
        // Text is cut between bytes; half a character is not text.
        ("s:äö", "result[1:3]", "= string \u{fffd}\u{fffd}"),
    ] {
        assert_eq!(outcome(data, expression), expected, "{data} {expression}");
    }
}

#[test]
fn work_is_bounded() {
    let nested = |open: &str, close: &str, count| format!("{}1{}", open.repeat(count), close.repeat(count));
    let deep = "! expression is nested more than 250 levels deep";
    let memory = "! memory budget exceeded";
    let work = "! expression does too much work";
    let many = "! compilation failed: expression exceeds maximum allowed nodes";
    for (expression, expected) in [
        (nested("(", ")", 20_000), deep),
        (nested("[", "]", 20_000), deep),
        (nested("{a: ", "}", 5_000), deep),
        (nested("len(", ")", 10_000), deep),
        (nested("not ", "", 10_000), deep),
        (nested("true ? ", " : 2", 5_000), deep),
        (nested("let a = ", "; a", 5_000), deep),
        (nested("if true { ", " } else { 1 }", 2_000), deep),
        (format!("1{}", " + 1".repeat(5_000)), deep),
        (format!("1{}", " ?: 1".repeat(5_000)), deep),
        (format!("result{}", ".a".repeat(5_000)), deep),
        (format!("1{}", " in [1]".repeat(5_000)), deep),
        (format!("[{}]", "1,".repeat(10_000)), many),
        (format!("result < {}", "1 < ".repeat(12_000) + "1"), many),
        ("x".repeat(70_000), "! expression has 70000 bytes, must have at most 65536"),
        ("len(1..1000000000)".to_owned(), memory),
        ("repeat('abc', 1000000)".to_owned(), memory),
        ("repeat('', 1000000000)".to_owned(), "= string "),
        ("reduce(1..100000, #acc + 'xxxxxxxx', '')".to_owned(), memory),
        ("replace(repeat('a', 100000), '', repeat('b', 100000))".to_owned(), memory),
        ("sum(map(1..900, sum(map(1..900, #))))".to_owned(), memory),
        ("count(1..1000, any(1..900, # < 0 or # < 0 or # < 0)) == 0".to_owned(), work),
        ("uniq(1..100000)".to_owned(), work),
        ("reduce(1..200000, [#acc], 0)".to_owned(), "! value is nested more than 128 levels deep"),
        ("reduce(1..200000, [{a: #acc}][0], 0)".to_owned(), "! value is nested more than 128 levels deep"),
        ("reduce(1..200000, map([#acc], #), 0)".to_owned(), "! value is nested more than 128 levels deep"),
        ("string(reduce(1..100, [#acc, #acc], 1))".to_owned(), memory),
        ("toJSON(reduce(1..20, [#acc, #acc], 1))".to_owned(), memory),
        ("string(reduce(1..19, [#acc, #acc], 1))".to_owned(), memory),
        ("let a = reduce(1..20, [#acc, #acc], 1); count(1..1000, a == [a, a])".to_owned(), work),
        ("let a = reduce(1..20, [#acc, #acc], 1); count(1..1000, [{b: a}][0] == {b: a})".to_owned(), work),
        ("let a = reduce(1..20, [#acc, #acc], 1); count(1..1000, max(a) == 1)".to_owned(), work),
        ("let a = reduce(1..20, [#acc, #acc], 1); count(1..1000, a in [[1], a])".to_owned(), work),
        ("let a = repeat('x', 900000); sortBy(1..40000, a)[0]".to_owned(), work),
        ("let a = repeat('x', 900000); groupBy(1..40000, a)".to_owned(), work),
        ("let a = repeat('x', 900000); uniq(map(1..5000, {a}))".to_owned(), memory),
        ("let a = repeat('x', 900000); count(1..40000, [{(a): 1}][0][a] == 1)".to_owned(), work),
        ("count(1..100000, timezone('Europe/Berlin') == nil)".to_owned(), work),
        (
            "'x' matches '(((a{100}){100}){100})'".to_owned(),
            "! error parsing regexp: expression is too large: `(((a{100}){100}){100})`",
        ),
        ("count(1..100000, 'x' matches ('a' + string(#))) == 0".to_owned(), work),
        ("count(1..20, repeat('a', 40000) matches '(a|aa)*b') == 0".to_owned(), "= bool true"),
    ] {
        let shown: String = expression.chars().take(80).collect();
        assert_eq!(outcome("n", &expression), expected, "{shown}");
    }
    // What is not too much.
    assert_eq!(outcome("n", &format!("1{}", " + 1".repeat(200))), "= int 201");
    assert_eq!(outcome("n", "sum(1..100000)"), "= int 5000050000");
}

/// The deepest tree that is let through fits half the stack that a thread usually has.
#[test]
fn depth_fits_a_small_stack() {
    let run = || {
        for (open, close) in [("(1 + ", ")"), ("[", "][0]"), ("len([", "])"), ("any([1], ", " == 1)")] {
            let deepest = (1..300)
                .rev()
                .map(|count| format!("{}1{}", open.repeat(count), close.repeat(count)))
                .find(|expression| Condition::parse(expression).is_ok())
                .expect("one is shallow enough");
            let outcome = outcome("f:1", &deepest);
            assert!(!outcome.contains("levels deep"), "{outcome}");
        }
    };
    std::thread::Builder::new()
        .stack_size(1 << 20)
        .spawn(run)
        .and_then(|thread| thread.join().map_err(|_| std::io::Error::other("panicked")))
        .expect("no overflow");
}

#[test]
fn mistakes_point_at_their_place() {
    for (expression, expected) in [
        ("result > 1 && resul < 2", "resul"),
        ("result == 'x'", "=="),
        ("1 + + * 2", "*"),
        ("result @ 2", "@"),
        ("len(result, 'ü', resul)", "resul"),
    ] {
        let error = match Condition::parse(expression) {
            Ok(condition) => condition.evaluate(&data("f:1")).expect_err(expression),
            Err(error) => error,
        };
        assert_eq!(&expression[error.span.start..error.span.end], expected, "{expression}: {error}");
    }
}

#[test]
fn messages_are_short() {
    let long = outcome("f:1", "asInt([repeat('x', 100000)])");
    assert!(
        long.starts_with("! asInt() not supported on []interface {} [xxx") && long.len() < 1_100,
        "{long}"
    );
}

#[test]
fn points_in_time() {
    let now = "2026-01-02T03:04:05Z".parse().expect("a time");
    for (expression, expected) in [
        ("now()", "2026-01-02T03:04:05Z"),
        ("now() - duration('5m')", "2026-01-02T02:59:05Z"),
        ("date('2023-08-14')", "2023-08-14T00:00:00Z"),
        ("date('2023-08-14 10:00', '2006-01-02 15:04', 'Europe/Zurich')", "2023-08-14T08:00:00Z"),
        ("1", "expected time.Time, but got int"),
        ("result", "unknown name result"),
        ("let result = now(); result", "cannot redeclare result"),
        ("date('2023-08-14') + duration('9999999h')", "time: invalid duration \"9999999h\""),
        (
            "date('2023-08-14') + reduce(1..100, #acc + duration('2000000h'), duration('0'))",
            "time is out of range",
        ),
    ] {
        let found = match Condition::parse(expression).and_then(|condition| condition.time(now)) {
            Ok(time) => time.to_string(),
            Err(error) => error.message,
        };
        assert_eq!(found, expected, "{expression}");
    }
}

mod properties {
    use super::*;
    use proptest::prelude::*;

    /// Pieces of which texts are made that are nearly expressions.
    fn pieces() -> impl Strategy<Value = String> {
        const PIECES: &[&str] = &[
            "result",
            "result[0]",
            ".a",
            "?.a",
            "#",
            "#acc",
            "1",
            "2.5",
            "'x'",
            "\"",
            "`a`",
            "true",
            "nil",
            "$env",
            "(",
            ")",
            "[",
            "]",
            "{",
            "}",
            ",",
            ":",
            ";",
            "?",
            "??",
            "?.",
            ".",
            "..",
            "|",
            "||",
            "&&",
            "and",
            "or",
            "not",
            "in",
            "!",
            "==",
            "!=",
            "<",
            ">=",
            "+",
            "-",
            "*",
            "/",
            "%",
            "**",
            "=",
            "let x = ",
            "x",
            "if ",
            "else ",
            "all(",
            "filter(",
            "map(",
            "reduce(",
            "sortBy(",
            "groupBy(",
            "sum(",
            "len(",
            "max(",
            "string(",
            "asInt(",
            "isNaN(",
            "isNil(",
            "default(",
            "split(",
            "repeat(",
            "matches",
            "contains",
            "date(",
            "duration('1h')",
            "fromJSON('[1]')",
            "toJSON(",
            "get(",
            "keys(",
            "1..9",
            "9223372036854775807",
            "-1",
            " ",
            "\n",
            "/*",
            "*/",
            "//",
            "é",
            "\\",
        ];
        proptest::collection::vec(proptest::sample::select(PIECES), 0..14).prop_map(|pieces| pieces.join(" "))
    }

    /// Expressions that are well formed, whatever they mean.
    fn well_formed() -> impl Strategy<Value = String> {
        let leaf = proptest::sample::select(
            &[
                "result",
                "result[0]",
                "result.a",
                "1",
                "0",
                "-1",
                "2.5",
                "'ab'",
                "true",
                "nil",
                "[]",
                "{a: 1}",
                "[1, 'a']",
                "1..5",
                "$env",
                "duration('1h')",
                "date('2024-02-29')",
                "#",
                "len",
            ][..],
        );
        let names = &[
            "len",
            "type",
            "abs",
            "round",
            "int",
            "float",
            "string",
            "upper",
            "first",
            "last",
            "keys",
            "values",
            "toPairs",
            "fromPairs",
            "reverse",
            "uniq",
            "flatten",
            "sort",
            "max",
            "min",
            "mean",
            "median",
            "toJSON",
            "fromJSON",
            "toBase64",
            "fromBase64",
            "trim",
            "join",
            "concat",
            "asInt",
            "asFloat",
            "isNaN",
            "isInf",
            "isNil",
            "bitnot",
            "date",
            "timezone",
            "sum",
            "count",
            "split",
            "replace",
            "repeat",
            "take",
            "get",
            "default",
            "bitshl",
            "now",
        ][..];
        let walks = &[
            "all",
            "none",
            "any",
            "one",
            "filter",
            "map",
            "find",
            "findIndex",
            "findLast",
            "findLastIndex",
            "count",
            "sum",
            "groupBy",
            "sortBy",
            "reduce",
        ][..];
        let operators = &[
            "+",
            "-",
            "*",
            "/",
            "%",
            "**",
            "==",
            "!=",
            "<",
            ">",
            "<=",
            ">=",
            "&&",
            "||",
            "in",
            "not in",
            "contains",
            "startsWith",
            "matches",
            "??",
            "..",
        ][..];
        leaf.prop_map(str::to_owned).prop_recursive(5, 24, 3, move |inner| {
            let arguments = proptest::collection::vec(inner.clone(), 0..4);
            prop_oneof![
                (inner.clone(), proptest::sample::select(operators), inner.clone())
                    .prop_map(|(a, operator, b)| format!("({a}) {operator} ({b})")),
                (proptest::sample::select(names), arguments)
                    .prop_map(|(name, arguments)| format!("{name}({})", arguments.join(", "))),
                (proptest::sample::select(walks), inner.clone(), inner.clone())
                    .prop_map(|(name, list, predicate)| format!("{name}({list}, {{{predicate}}})")),
                (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a})[{b}]")),
                (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a})[{b}:]")),
                inner.clone().prop_map(|a| format!("({a})?.a")),
                inner.clone().prop_map(|a| format!("-({a})")),
                inner.clone().prop_map(|a| format!("not ({a})")),
                (inner.clone(), inner.clone(), inner.clone())
                    .prop_map(|(a, b, c)| format!("({a}) ? ({b}) : ({c})")),
                (inner.clone(), inner).prop_map(|(a, b)| format!("[{a}, {{k: {b}}}]")),
            ]
        })
    }

    const RESULTS: [&str; 8] = [
        "n",
        "f:0.5",
        "s:ab",
        "b:true",
        "F:[1,NaN,3]",
        "F:[]",
        "I:[2,3]",
        "j:{\"a\":[1,null,\"x\",{\"a\":true}]}",
    ];

    /// Parses and evaluates on every kind of result.
    fn everything(expression: &str) {
        let Ok(condition) = Condition::parse(expression) else { return };
        for result in RESULTS {
            let data = data(result);
            let first = condition.evaluate(&data).map(|value| value.to_text());
            let second = condition.evaluate(&data).map(|value| value.to_text());
            assert_eq!(first, second, "{expression} on {result}");
            if let Err(error) = first {
                assert!(
                    expression.get(error.span.start..error.span.end).is_some(),
                    "{expression}: {error:?}"
                );
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12_000))]

        #[test]
        fn no_pieces_panic(expression in pieces()) {
            everything(&expression);
        }

        #[test]
        fn no_text_panics(expression in any::<String>()) {
            everything(&expression);
        }

        #[test]
        fn no_expression_panics(expression in well_formed()) {
            everything(&expression);
        }
    }
}

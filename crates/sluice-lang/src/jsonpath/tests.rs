use super::*;
use serde_json::json;

/// Documents and paths with what client-go 0.36 selects.
const OBSERVED: &str = include_str!("observed.tsv");

fn outcome(document: &Value, path: &str) -> String {
    match JsonPath::parse(path).and_then(|path| path.find(document).map(|found| json!(found))) {
        // In the original every number of a document is a float, and prints without a fraction if it has none.
        Ok(found) => format!("= {}", crate::expr::Value::from(&found).to_json().expect("no NaN in JSON")),
        Err(error) => format!("! {error}"),
    }
}

#[test]
fn paths_select_what_the_original_selects() {
    let mut wrong = String::new();
    for line in OBSERVED.lines() {
        let mut fields = line.split('\t');
        let (Some(document), Some(path), Some(expected)) = (fields.next(), fields.next(), fields.next())
        else {
            panic!("not three fields: {line:?}");
        };
        let found = outcome(&serde_json::from_str(document).expect("JSON"), path).replace('\n', "\\n");
        if found != expected {
            wrong.push_str(&format!("{document}  {path}\n  wanted {expected}\n  found  {found}\n"));
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn paths_that_differ_on_purpose() {
    let items = json!([{"n": "y", "v": 2, "l": [1]}, {"n": "z", "v": 3.5}]);
    let map = json!({"b": {"x": 1}, "a": {"x": 2}, "items": []});
    for (document, path, expected) in [
        // The original refuses to compare an integer of the path with a float of the document.
        (&items, "{[?(@.v==2)].n}", r#"= ["y"]"#),
        (&items, "{[?(@.v>2)].n}", r#"= ["z"]"#),
        (&items, "{[?(@.v==\"2\")].n}", "! incompatible types for comparison"),
        // There, an index out of bounds counts as present.
        (&items, "{[?(@.l[5])].n}", "= []"),
        (&items, "{[?(@.l[0])].n}", r#"= ["y"]"#),
        // There, members have no order.
        (&map, "{.*.x}", "= [2,1]"),
        (&map, "{..x}", "= [2,1]"),
        // There, a range over nothing looks for its members all the same, and one that is not closed is
        // gone through once more at its end.
        (&map, "{range .items[*]}{.n}{end}after", r#"= ["after"]"#),
        (&map, "{range .*}{.x}", "! x is not found"),
        (&items, "{range [*]}{.n}", r#"= ["y","z"]"#),
    ] {
        assert_eq!(outcome(document, path), expected, "{path}");
    }
}

#[test]
fn the_first_value_is_a_metric() {
    // The web provider takes the first value. document, path => value
    for (document, path, expected) in [
        (json!({"a": {"b": 5}}), "{$.a.b}", Ok(Some(json!(5)))),
        (json!({"a": {"b": 5}}), "{.a.b}", Ok(Some(json!(5)))),
        (json!({"a": {"b": 5}}), "$.a.b", Ok(Some(json!("$.a.b")))),
        (json!({"a": {"b": 5}}), "{$.c}", Err("c is not found")),
        (json!({"a": null}), "{$.a}", Ok(Some(json!(null)))),
        (json!(null), "{$}", Ok(Some(json!(null)))),
        (json!([1, 2, 3]), "{$[*]}", Ok(Some(json!(1)))),
        (json!([1, 2, 3]), "{$[1]}", Ok(Some(json!(2)))),
        (json!([]), "{$[*]}", Ok(None)),
        (json!([]), "{$[0]}", Err("array index out of bounds: index 0, length 0")),
        (json!([{"n": "y", "v": 2}]), "{$[?(@.n==\"y\")].v}", Ok(Some(json!(2)))),
        (json!({"a.b": 1}), "{$.a\\.b}", Ok(Some(json!(1)))),
        (json!({"a.b": 1}), "{$['a.b']}", Err("a is not found")),
        (json!({"a": 1}), "{$.a", Err("unclosed action")),
        (json!({"a": 1}), "text {$.a}", Ok(Some(json!("text ")))),
    ] {
        let found = JsonPath::parse(path)
            .and_then(|path| Ok(path.find(&document)?.into_iter().next().map(std::borrow::Cow::into_owned)));
        assert_eq!(found, expected.map_err(JsonPathError::new), "{document} {path}");
    }
    let is_literal = |path: &str| JsonPath::parse(path).map(|path| path.is_literal());
    assert_eq!(is_literal("$.a.b"), Ok(true));
    assert_eq!(is_literal("text {$.a}"), Ok(false));
}

#[test]
fn work_is_bounded() {
    let deep = (0..100).fold(json!({"a": 1}), |inner, _| json!({"a": [inner, 1]}));
    let wide = Value::Array(vec![json!({"a": [1, 2]}); 1_000]);
    let too_much = "! path looks at more than 500000 values";
    for (document, path, expected) in [
        (&deep, format!("{{{}}}", "..a".repeat(8)), too_much),
        (&deep, "{range ..a}{range ..a}{range ..a}{range ..a}{@}{end}{end}{end}{end}".to_owned(), too_much),
        (&wide, format!("{{[{}]}}", ["*"; 1_000].join(",")), too_much),
        (
            &wide,
            format!("{{[*]{}}}", "[0,0,0,0,0,0,0,0,0,0]".repeat(20)),
            "! map[string]interface {} is not array or slice",
        ),
        (&wide, format!("{{[*]['a']{}}}", "[0]".repeat(2)), "! float64 is not array or slice"),
        (&deep, "{".repeat(5_000), "! unrecognized character in action: U+007B '{'"),
        (&deep, "{range .a}".repeat(17), "! more than 16 ranges within each other"),
        (&deep, "[".repeat(20_000), "! path has 20000 bytes, must have at most 16384"),
    ] {
        assert_eq!(outcome(document, &path), expected, "{}", path.chars().take(60).collect::<String>());
    }
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(30_000))]

    #[test]
    fn no_path_panics(path in r#"[{}$.@\[\]?()='"a012:*, \\-]{0,24}|\{[$.a\[\]0*:,'?()@="-]{0,16}\}"#) {
        let document = json!({"a": [{"a": 1, "b": "x"}, [0, null], "a"], "0": {"a": true}});
        let _ = outcome(&document, &path);
    }
}

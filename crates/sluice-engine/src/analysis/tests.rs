//! Tables of how templates are put together.

use std::sync::Arc;

use serde_json::{Value, json};
use sluice_api::analysis::AnalysisTemplateSpec;
use sluice_api::steps::{AnalysisTemplateRef, RolloutAnalysis};

use super::resolve::{Hashes, Templates, field, flatten, run_spec};

fn templates(all: &Value) -> Templates {
    let entries = all.as_object().expect("templates by name").iter().map(|(name, spec)| {
        let (cluster_scope, name) =
            name.strip_prefix("cluster/").map_or((false, name.as_str()), |n| (true, n));
        let reference = AnalysisTemplateRef { template_name: name.into(), cluster_scope };
        let spec: AnalysisTemplateSpec = serde_json::from_value(spec.clone()).expect("a template");
        (reference, Arc::new(spec))
    });
    entries.collect()
}

fn metric(name: &str) -> Value {
    json!({"name": name, "provider": {}})
}

fn put_together(block: &Value, all: &Value) -> Result<Value, String> {
    let block: RolloutAnalysis = serde_json::from_value(block.clone()).expect("a block");
    let hashes = Hashes { stable: "aaa", new: "bbb" };
    run_spec(&block, &templates(all), hashes).map(|spec| serde_json::to_value(spec).expect("JSON"))
}

#[test]
fn templates_of_the_namespace_come_first_and_each_once() {
    let all = json!({
        "a": {"metrics": [metric("a")], "templates": [{"templateName": "c", "clusterScope": true}, {"templateName": "b"}]},
        "b": {"metrics": [metric("b")]},
        "cluster/c": {"metrics": [metric("c")], "templates": [{"templateName": "b"}]},
    });
    let templates = templates(&all);
    let references = |names: &[(&str, bool)]| -> Vec<AnalysisTemplateRef> {
        let all = names.iter().map(|(name, cluster_scope)| AnalysisTemplateRef {
            template_name: (*name).into(),
            cluster_scope: *cluster_scope,
        });
        all.collect()
    };
    let rows: &[(&[(&str, bool)], Result<&str, &str>)] = &[
        (&[("a", false)], Ok("a b c")),
        (&[("c", true), ("a", false)], Ok("b a c")),
        (&[("b", false), ("b", false)], Ok("b")),
        (&[("x", false)], Err("AnalysisTemplate 'x' not found")),
        (&[("a", true)], Err("ClusterAnalysisTemplate 'a' not found")),
    ];
    for (names, expected) in rows {
        let references = references(names);
        let found = flatten(&references, &templates);
        let found =
            found.map(|all| all.iter().map(|(r, _)| r.template_name.as_str()).collect::<Vec<_>>().join(" "));
        assert_eq!(found, expected.map(str::to_owned).map_err(str::to_owned), "{names:?}");
    }
}

#[test]
fn s19_a_template_that_leads_to_itself_is_a_mistake() {
    let all = json!({
        "a": {"metrics": [metric("a")], "templates": [{"templateName": "b"}]},
        "b": {"metrics": [metric("b")], "templates": [{"templateName": "a"}]},
    });
    let found = put_together(&json!({"templates": [{"templateName": "a"}]}), &all);
    assert_eq!(found, Err("AnalysisTemplate 'a' leads to itself (a -> b -> a)".into()));
}

#[test]
fn arguments_by_name() {
    let own = |args: Value| json!({"metrics": [metric("m")], "args": args});
    let secret = json!({"secretKeyRef": {"name": "s", "key": "k"}});
    let both = json!({"templates": [{"templateName": "a"}, {"templateName": "b"}]});
    let given = |args: Value| json!({"templates": [{"templateName": "a"}], "args": args});
    // template a, template b, block, arguments or what is wrong
    let rows = [
        (
            own(json!([{"name": "x", "value": "1"}])),
            json!({}),
            given(json!([])),
            Ok(json!([{"name": "x", "value": "1"}])),
        ),
        (
            own(json!([{"name": "x", "value": "1"}])),
            json!({}),
            given(json!([{"name": "x", "value": "2"}])),
            Ok(json!([{"name": "x", "value": "2"}])),
        ),
        (
            own(json!([{"name": "x", "value": "1"}])),
            json!({}),
            given(json!([{"name": "x"}])),
            Ok(json!([{"name": "x", "value": ""}])),
        ),
        (
            own(json!([{"name": "x", "valueFrom": secret}])),
            json!({}),
            given(json!([{"name": "x", "value": "2"}])),
            Ok(json!([{"name": "x", "value": "2"}])),
        ),
        (
            own(json!([{"name": "x"}])),
            json!({}),
            given(json!([{"name": "x", "valueFrom": {"podTemplateHashValue": "Latest"}}])),
            Ok(json!([{"name": "x", "value": "bbb"}])),
        ),
        (
            own(json!([{"name": "x"}])),
            json!({}),
            given(json!([{"name": "x", "valueFrom": {"podTemplateHashValue": "Stable"}}])),
            Ok(json!([{"name": "x", "value": "aaa"}])),
        ),
        (own(json!([{"name": "x"}])), json!({}), given(json!([])), Err("args.x was not resolved")),
        (own(json!([])), json!({}), given(json!([{"name": "y", "value": "1"}])), Ok(Value::Null)),
        (
            own(json!([{"name": "x", "value": "1"}])),
            json!({"args": [{"name": "x", "value": "1"}]}),
            both.clone(),
            Ok(json!([{"name": "x", "value": "1"}])),
        ),
        (
            own(json!([{"name": "x", "value": "1"}])),
            json!({"args": [{"name": "x", "value": "2"}]}),
            both.clone(),
            Err("Argument `x` specified multiple times with different values: '1', '2'"),
        ),
        (
            own(json!([{"name": "x", "valueFrom": secret}])),
            json!({"args": [{"name": "x"}]}),
            both.clone(),
            Ok(json!([{"name": "x", "valueFrom": secret}])),
        ),
        (
            own(json!([{"name": "x"}])),
            json!({"args": [{"name": "x", "value": "2"}]}),
            both,
            Ok(json!([{"name": "x", "value": "2"}])),
        ),
    ];
    for (a, b, block, expected) in rows {
        let found = put_together(&block, &json!({"a": a, "b": b})).map(|spec| spec["args"].clone());
        assert_eq!(found, expected.map_err(str::to_owned), "{a} {b} {block}");
    }
}

#[test]
fn names_are_unique() {
    let all = json!({
        "a": {"metrics": [metric("m")], "dryRun": [{"metricName": "m"}]},
        "b": {"metrics": [metric("m")]},
        "c": {"metrics": [metric("n")], "measurementRetention": [{"metricName": "n", "limit": 3}]},
    });
    let rows = [
        (
            json!({"templates": [{"templateName": "a"}, {"templateName": "b"}]}),
            "two metrics have the same name 'm'",
        ),
        (
            json!({"templates": [{"templateName": "a"}], "dryRun": [{"metricName": "m"}]}),
            "two Dry-Run metric rules have the same name 'm'",
        ),
        (
            json!({"templates": [{"templateName": "c"}], "measurementRetention": [{"metricName": "n", "limit": 1}]}),
            "two Measurement Retention metric rules have the same name 'n'",
        ),
    ];
    for (block, expected) in rows {
        assert_eq!(put_together(&block, &all), Err(expected.into()));
    }
}

#[test]
fn fields_of_the_rollout() {
    let rollout = json!({
        "metadata": {"name": "web", "labels": {"app.io/team": "a"}, "annotations": {"x": "1"}},
        "spec": {"replicas": 1_000_000, "paused": true, "list": [{"name": "n"}], "half": 0.5},
    });
    let rows = [
        ("metadata.name", Ok("web")),
        ("metadata.labels['app.io/team']", Ok("a")),
        ("metadata.annotations['x']", Ok("1")),
        ("spec.replicas", Ok("1e+06")),
        ("spec.paused", Ok("true")),
        ("spec.half", Ok("0.5")),
        ("spec.list[0].name", Ok("n")),
        ("spec.list[1].name", Err("index 1 out of range")),
        ("spec.list[x].name", Err("invalid index 'x'")),
        ("spec.nothing", Err("invalid path spec.nothing in rollout")),
        ("spec.list", Err("path spec.list in rollout must terminate in a primitive value")),
    ];
    for (path, expected) in rows {
        assert_eq!(field(&rollout, path), expected.map(str::to_owned).map_err(str::to_owned), "{path}");
    }
}

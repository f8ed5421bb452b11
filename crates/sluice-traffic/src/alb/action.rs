//! The JSON of annotations that the AWS load balancer controller reads, field for field as Argo Rollouts
//! writes it (`utils/ingress/ingress.go`, `rollout/trafficrouting/alb`).

use serde::Serialize;
use serde_json::Value;
use sluice_api::step_hash::go_json;
use sluice_api::traffic_routing::StickinessConfig;

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Action<'a> {
    #[serde(rename = "Type")]
    kind: &'static str,
    forward_config: ForwardConfig<'a>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct ForwardConfig<'a> {
    target_groups: Vec<TargetGroup<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target_group_stickiness_config: Option<Stickiness>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct TargetGroup<'a> {
    service_name: &'a str,
    service_port: String,
    weight: i64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Stickiness {
    enabled: bool,
    duration_seconds: i64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Condition<'a> {
    field: &'static str,
    http_header_config: HttpHeader<'a>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct HttpHeader<'a> {
    http_header_name: &'a str,
    values: Vec<&'a str>,
}

/// An action that forwards to these Services by weight.
pub(super) fn forward(
    targets: &[(&str, i64)],
    service_port: i32,
    stickiness: Option<&StickinessConfig>,
) -> String {
    let target_groups = targets.iter().map(|(service_name, weight)| TargetGroup {
        service_name,
        service_port: service_port.to_string(),
        weight: *weight,
    });
    let stickiness = stickiness.filter(|config| config.enabled);
    let forward_config = ForwardConfig {
        target_groups: target_groups.collect(),
        target_group_stickiness_config: stickiness
            .map(|config| Stickiness { enabled: true, duration_seconds: config.duration_seconds }),
    };
    compact(&Action { kind: "forward", forward_config })
}

/// Conditions that ask for these headers: one of its values for each of them.
pub(super) fn conditions(headers: &[(&str, &str)]) -> String {
    let mut conditions: Vec<Condition> = Vec::new();
    for (name, value) in headers {
        let known = conditions.iter_mut().find(|known| known.http_header_config.http_header_name == *name);
        match known {
            Some(known) => known.http_header_config.values.push(value),
            None => conditions.push(Condition {
                field: "http-header",
                http_header_config: HttpHeader { http_header_name: name, values: vec![value] },
            }),
        }
    }
    compact(&conditions)
}

fn compact<T: Serialize>(value: &T) -> String {
    String::from_utf8_lossy(&go_json(value)).into_owned()
}

/// The Services that an action forwards to and their weights; nothing if it cannot be read.
pub(super) fn targets(action: &str) -> Vec<(String, i64)> {
    let action: Value = serde_json::from_str(action).unwrap_or_default();
    let groups = action.pointer("/ForwardConfig/TargetGroups").and_then(Value::as_array);
    let target = |group: &Value| {
        let weight = group.get("Weight").and_then(Value::as_i64).unwrap_or(0);
        Some((group.get("ServiceName")?.as_str()?.to_owned(), weight.clamp(0, 1_000_000)))
    };
    groups.into_iter().flatten().filter_map(target).collect()
}

/// Two texts mean the same JSON, whatever spaces and order another writer gave it.
pub(super) fn same(one: &str, other: &str) -> bool {
    let read = |text: &str| serde_json::from_str::<Value>(text).ok();
    one == other || read(one).is_some_and(|value| Some(value) == read(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_byte_for_byte() {
        let sticky = StickinessConfig { enabled: true, duration_seconds: 3600 };
        let off = StickinessConfig { enabled: false, duration_seconds: 0 };
        let plain = concat!(
            r#"{"Type":"forward","ForwardConfig":{"TargetGroups":[{"ServiceName":"shop-canary","ServicePort":"80","Weight":20},"#,
            r#"{"ServiceName":"shop-stable","ServicePort":"80","Weight":80}]}}"#,
        );
        let with_stickiness = plain
            .replace("]}}", r#"],"TargetGroupStickinessConfig":{"Enabled":true,"DurationSeconds":3600}}}"#);
        for (stickiness, expected) in
            [(None, plain), (Some(&off), plain), (Some(&sticky), with_stickiness.as_str())]
        {
            assert_eq!(forward(&[("shop-canary", 20), ("shop-stable", 80)], 80, stickiness), expected);
        }
    }

    #[test]
    fn conditions_byte_for_byte() {
        assert_eq!(
            conditions(&[("X-A", "1"), ("X-A", "2"), ("X-B", "<3>")]),
            concat!(
                r#"[{"field":"http-header","httpHeaderConfig":{"httpHeaderName":"X-A","values":["1","2"]}},"#,
                r#"{"field":"http-header","httpHeaderConfig":{"httpHeaderName":"X-B","values":["\u003c3\u003e"]}}]"#,
            )
        );
    }

    #[test]
    fn actions_of_any_shape() {
        for (action, expected) in [
            (r#"{"ForwardConfig":{"TargetGroups":[{"ServiceName":"a"}]}}"#, vec![("a".to_owned(), 0)]),
            (r#"{"ForwardConfig":{"TargetGroups":[{"ServiceName":3,"Weight":1},7]}}"#, vec![]),
            (r#"{"ForwardConfig":{"TargetGroups":{}}}"#, vec![]),
            (r#"{"Type":"redirect"}"#, vec![]),
            ("{", vec![]),
            ("", vec![]),
        ] {
            assert_eq!(targets(action), expected, "{action}");
        }
        assert!(same(r#"{"a": 1, "b": [2]}"#, r#"{"b":[2],"a":1}"#));
        assert!(!same("{", "}"));
    }
}

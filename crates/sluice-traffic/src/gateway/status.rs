//! What the controllers of the gateways say about a route.

use serde_json::Value;

use super::kinds::HTTP_ROUTE;
use crate::{ObjectRef, Verdict, fields};

/// Whether every parent that the route names has taken the route as it is now.
///
/// A parent that nobody reports on tells nothing. Reports on parents that the route no longer names are
/// leftovers. Where two controllers report on one parent, one of them is a leftover too: a parent has one.
pub(super) fn verdict(object: &Value, reference: &ObjectRef) -> Verdict {
    let Some(generation) = object.pointer("/metadata/generation").and_then(Value::as_i64) else {
        return Verdict::Unknown;
    };
    let list = |path| fields::list(object, reference, path).unwrap_or_default();
    let (parents, reports) = (list("spec.parentRefs"), list("status.parents"));
    let of_parent = |parent: &Value| {
        let about = |report: &&Value| {
            report
                .get("parentRef")
                .is_some_and(|found| identity(found, reference) == identity(parent, reference))
        };
        let said: Vec<Verdict> =
            reports.iter().filter(about).map(|report| of_report(report, generation)).collect();
        [Verdict::Live, Verdict::Pending]
            .into_iter()
            .find(|one| said.contains(one))
            .unwrap_or(Verdict::Unknown)
    };
    Verdict::all(parents.iter().map(of_parent))
}

fn of_report(report: &Value, generation: i64) -> Verdict {
    let conditions = report.get("conditions").and_then(Value::as_array);
    let condition =
        |kind: &str| conditions.into_iter().flatten().find(|one| fields::text(one, "type") == kind);
    let of_condition = |kind: &str| {
        let found = condition(kind)?;
        let observed = found.get("observedGeneration").and_then(Value::as_i64)?;
        Some(observed >= generation && fields::text(found, "status") == "True")
    };
    match (of_condition("Accepted"), of_condition("ResolvedRefs")) {
        (Some(false), _) | (_, Some(false)) => Verdict::Pending,
        (Some(true), Some(true)) => Verdict::Live,
        // Old controllers say nothing about references, or not of which generation they speak.
        (Some(true), None) if condition("ResolvedRefs").is_none() => Verdict::Live,
        _ => Verdict::Unknown,
    }
}

/// What tells parents apart, with what is left out filled in.
fn identity<'a>(parent: &'a Value, reference: &'a ObjectRef) -> [&'a str; 5] {
    let or = |field, default: &'a str| match parent.get(field).and_then(Value::as_str) {
        None => default,
        Some(text) => text,
    };
    [
        or("group", HTTP_ROUTE.group),
        or("kind", "Gateway"),
        or("namespace", &reference.namespace),
        or("name", ""),
        or("sectionName", ""),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn reference() -> ObjectRef {
        ObjectRef { kind: HTTP_ROUTE, namespace: "shop".into(), name: "web".into() }
    }

    fn condition(kind: &str, status: &str, generation: i64) -> Value {
        json!({"type": kind, "status": status, "observedGeneration": generation})
    }

    fn report(name: &str, conditions: Value) -> Value {
        json!({"parentRef": {"name": name}, "controllerName": "x", "conditions": conditions})
    }

    fn good(name: &str, generation: i64) -> Value {
        report(
            name,
            json!([condition("Accepted", "True", generation), condition("ResolvedRefs", "True", generation)]),
        )
    }

    #[test]
    fn verdicts() {
        let refused =
            report("a", json!([condition("Accepted", "False", 7), condition("ResolvedRefs", "True", 7)]));
        let dangling =
            report("a", json!([condition("Accepted", "True", 7), condition("ResolvedRefs", "False", 7)]));
        let accepted = report("a", json!([condition("Accepted", "True", 7)]));
        let of_no_generation = report("a", json!([{"type": "Accepted", "status": "True"}]));
        let mut spelled_out = good("a", 7);
        spelled_out["parentRef"] =
            json!({"group": HTTP_ROUTE.group, "kind": "Gateway", "namespace": "shop", "name": "a"});
        let elsewhere = json!([{"name": "a", "namespace": "edge"}]);
        let (one, two) = (json!([{"name": "a"}]), json!([{"name": "a"}, {"name": "b"}]));
        for (parents, reports, expected) in [
            (&one, json!([good("a", 7)]), Verdict::Live),
            (&one, json!([good("a", 8)]), Verdict::Live),
            (&one, json!([spelled_out]), Verdict::Live),
            (&one, json!([accepted]), Verdict::Live),
            (&one, json!([good("a", 6)]), Verdict::Pending),
            (&one, json!([refused]), Verdict::Pending),
            (&one, json!([dangling]), Verdict::Pending),
            (&one, json!([of_no_generation]), Verdict::Unknown),
            (&one, json!([]), Verdict::Unknown),
            (&one, json!(null), Verdict::Unknown),
            (&one, json!([good("b", 7)]), Verdict::Unknown),
            (&one, json!([good("former", 1), good("a", 7)]), Verdict::Live),
            (&one, json!([good("a", 1), good("a", 7)]), Verdict::Live),
            (&two, json!([good("a", 7), good("b", 6)]), Verdict::Pending),
            (&two, json!([good("a", 7)]), Verdict::Unknown),
            (&two, json!([good("a", 7), good("b", 7)]), Verdict::Live),
            (&elsewhere, json!([good("a", 7)]), Verdict::Unknown),
            (&json!([]), json!([good("a", 7)]), Verdict::Unknown),
            (&one, json!([7, {"parentRef": 3}]), Verdict::Unknown),
        ] {
            let object = json!({"metadata": {"generation": 7}, "spec": {"parentRefs": parents}, "status": {"parents": reports}});
            assert_eq!(verdict(&object, &reference()), expected, "{parents} {reports}");
        }
        assert_eq!(
            verdict(&json!({"spec": {"parentRefs": [{"name": "a"}]}}), &reference()),
            Verdict::Unknown
        );
    }
}

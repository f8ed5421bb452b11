//! What the other controllers say about pods: active, ready, available, and who goes first.
//!
//! Same rules as Kubernetes 1.36, `pkg/api/v1/pod/util.go` and `pkg/controller/controller_utils.go`.
//! Does not change pods; it only makes new ones out of templates.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::object::{
    annotation, condition, condition_is, int, is_deleting, items, later, name, put, remove, seconds, text,
    time, uid,
};

/// Annotation by which a pod asks to be spared (or not) when a ReplicaSet shrinks.
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// Returns whether the pod has finished for good.
pub(super) fn is_terminal(pod: &Value) -> bool {
    matches!(text(pod, "/status/phase"), Some("Succeeded" | "Failed"))
}

/// Returns whether the pod counts as one of its ReplicaSet's: neither finished nor going.
pub(super) fn is_active(pod: &Value) -> bool {
    !is_terminal(pod) && !is_deleting(pod)
}

/// Returns whether the pod is on its way out but not finished.
pub(super) fn is_terminating(pod: &Value) -> bool {
    !is_terminal(pod) && is_deleting(pod)
}

pub(super) fn is_ready(pod: &Value) -> bool {
    condition_is(pod, "Ready", "True")
}

/// When a pod counts as available.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Availability {
    Available,
    /// Ready, and available from this instant on if it stays so.
    From(Timestamp),
    No,
}

/// Decides whether a pod has been ready for long enough.
pub(super) fn availability(pod: &Value, min_ready_seconds: i64, now: Timestamp) -> Availability {
    if !is_ready(pod) {
        return Availability::No;
    }
    if min_ready_seconds <= 0 {
        return Availability::Available;
    }
    match ready_since(pod).map(|at| later(at, seconds(min_ready_seconds))) {
        Some(at) if at <= now => Availability::Available,
        Some(at) => Availability::From(at),
        None => Availability::No,
    }
}

/// Returns the highest restart count among the containers.
pub(super) fn restarts(pod: &Value) -> i64 {
    items(pod, "/status/containerStatuses")
        .iter()
        .filter_map(|one| int(one, "/restartCount"))
        .max()
        .unwrap_or(0)
}

/// Returns a pod made of a template, controlled by whom the reference names.
pub(super) fn from_template(
    template: &Value,
    namespace: Option<&str>,
    prefix: &str,
    name: &str,
    owner: Value,
) -> Value {
    let mut metadata =
        template.get("metadata").filter(|found| found.is_object()).cloned().unwrap_or(json!({}));
    for dropped in ["creationTimestamp", "name", "uid", "resourceVersion"] {
        remove(&mut metadata, &[dropped]);
    }
    put(&mut metadata, &["name"], name);
    put(&mut metadata, &["generateName"], prefix);
    if let Some(namespace) = namespace {
        put(&mut metadata, &["namespace"], namespace);
    }
    put(&mut metadata, &["ownerReferences"], vec![owner]);
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": metadata,
        "spec": template.get("spec").cloned().unwrap_or(json!({})),
        "status": {"phase": "Pending"},
    })
}

/// Sorts pods so that those to be deleted first come first.
///
/// `related` are the pods whose company on a node makes a pod superfluous: all of the ReplicaSets with the
/// same owner.
pub(super) fn sort_victims<'a>(pods: &[&'a Value], related: &[&Value], now: Timestamp) -> Vec<&'a Value> {
    let mut on_node: BTreeMap<&str, usize> = BTreeMap::new();
    for pod in related.iter().filter(|pod| is_active(pod)) {
        *on_node.entry(node(pod)).or_default() += 1;
    }
    let company = |pod: &Value| on_node.get(node(pod)).copied().unwrap_or(0);
    let mut sorted: Vec<&Value> = Vec::with_capacity(pods.len());
    // By insertion, because the real order is not a total one (equal times are followed by other rules
    // than equal buckets of time), and the library's sort may panic on such an order.
    for pod in pods {
        let before = |other: &&Value| compare(pod, other, &company, now) == Ordering::Less;
        let at = sorted.iter().position(before).unwrap_or(sorted.len());
        sorted.insert(at, pod);
    }
    sorted
}

/// Compares two pods; the lesser is the first to go.
fn compare(a: &Value, b: &Value, company: &dyn Fn(&Value) -> usize, now: Timestamp) -> Ordering {
    let assigned = |pod| !node(pod).is_empty();
    (assigned(a).cmp(&assigned(b)))
        .then_with(|| phase_rank(a).cmp(&phase_rank(b)))
        .then_with(|| is_ready(a).cmp(&is_ready(b)))
        .then_with(|| deletion_cost(a).cmp(&deletion_cost(b)))
        .then_with(|| company(b).cmp(&company(a)))
        .then_with(|| if is_ready(a) { compare_ages(a, b, ready_since, now) } else { Ordering::Equal })
        .then_with(|| restarts(b).cmp(&restarts(a)))
        .then_with(|| compare_ages(a, b, |pod| time(pod, "/metadata/creationTimestamp"), now))
        // The real order stops here; the name makes ours repeatable.
        .then_with(|| name(a).cmp(name(b)))
}

/// Compares by a time: unknown before young before old, where ages within the same power of two count as
/// the same, and the uid decides.
fn compare_ages(
    a: &Value,
    b: &Value,
    read: impl Fn(&Value) -> Option<Timestamp>,
    now: Timestamp,
) -> Ordering {
    match (read(a), read(b)) {
        (None, None) => Ordering::Equal,
        (None, Some(_)) => Ordering::Less,
        (Some(_), None) => Ordering::Greater,
        (Some(a_at), Some(b_at)) if a_at == b_at => Ordering::Equal,
        (Some(a_at), Some(b_at)) => {
            age_bucket(a_at, now).cmp(&age_bucket(b_at, now)).then_with(|| uid(a).cmp(uid(b)))
        }
    }
}

fn age_bucket(at: Timestamp, now: Timestamp) -> i64 {
    let nanoseconds = now.as_nanosecond() - at.as_nanosecond();
    u128::try_from(nanoseconds).ok().and_then(u128::checked_ilog2).map_or(-1, i64::from)
}

fn phase_rank(pod: &Value) -> u8 {
    match text(pod, "/status/phase") {
        Some("Unknown") => 1,
        Some("Running") => 2,
        _ => 0,
    }
}

fn deletion_cost(pod: &Value) -> i32 {
    annotation(pod, DELETION_COST).and_then(|cost| cost.parse().ok()).unwrap_or(0)
}

fn ready_since(pod: &Value) -> Option<Timestamp> {
    condition(pod, "Ready").and_then(|found| time(found, "/lastTransitionTime"))
}

fn node(pod: &Value) -> &str {
    text(pod, "/spec/nodeName").unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("in range")
    }

    /// A pod `name` on node `n1`, running and ready since second 100, created at second 50.
    fn pod(name: &str) -> Value {
        json!({
            "metadata": {"name": name, "uid": name, "creationTimestamp": at(50).to_string()},
            "spec": {"nodeName": "n1"},
            "status": {
                "phase": "Running",
                "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": at(100).to_string()}],
                "containerStatuses": [{"restartCount": 0}],
            },
        })
    }

    fn with(name: &str, path: &[&str], value: Value) -> Value {
        let mut pod = pod(name);
        put(&mut pod, path, value);
        pod
    }

    fn ready_at(name: &str, second: i64) -> Value {
        let ready =
            json!([{"type": "Ready", "status": "True", "lastTransitionTime": at(second).to_string()}]);
        with(name, &["status", "conditions"], ready)
    }

    #[track_caller]
    fn check(case: &str, pods: &[Value], now: i64, expected: &[&str]) {
        let pods: Vec<&Value> = pods.iter().collect();
        let forwards: Vec<&str> = sort_victims(&pods, &pods, at(now)).into_iter().map(name).collect();
        let turned: Vec<&Value> = pods.iter().rev().copied().collect();
        let backwards: Vec<&str> = sort_victims(&turned, &pods, at(now)).into_iter().map(name).collect();
        assert_eq!(forwards, expected, "{case}");
        assert_eq!(backwards, expected, "{case}, given in reverse");
    }

    #[test]
    fn victim_order() {
        let not_ready =
            || with("b", &["status", "conditions"], json!([{"type": "Ready", "status": "False"}]));
        let cost = |name, cost: &str| with(name, &["metadata", "annotations", DELETION_COST], json!(cost));
        check("unassigned first", &[pod("a"), with("b", &["spec", "nodeName"], json!(""))], 200, &["b", "a"]);
        let pending = with("b", &["status", "phase"], json!("Pending"));
        let unknown = with("c", &["status", "phase"], json!("Unknown"));
        check("pending, unknown, running", &[pod("a"), unknown, pending], 200, &["b", "c", "a"]);
        check("not ready first", &[pod("a"), not_ready()], 200, &["b", "a"]);
        check("not ready before cheap", &[cost("a", "-5"), not_ready()], 200, &["b", "a"]);
        check(
            "cheap first, 0 by default",
            &[pod("a"), cost("b", "-1"), cost("c", "7")],
            200,
            &["b", "a", "c"],
        );
        check("an odd cost is 0", &[cost("a", "1"), cost("b", "cheap")], 200, &["b", "a"]);
        let elsewhere = with("a", &["spec", "nodeName"], json!("n2"));
        check("crowded node first", &[elsewhere, pod("b"), pod("c")], 200, &["b", "c", "a"]);
        check(
            "cost before company",
            &[cost("a", "1"), pod("b"), with("c", &["spec", "nodeName"], json!("n2"))],
            200,
            &["b", "c", "a"],
        );
        check("younger ready first", &[ready_at("a", 100), ready_at("b", 190)], 200, &["b", "a"]);
        // 100 s and 110 s lie between the same two powers of two of nanoseconds: the uid decides.
        check("same age bucket", &[ready_at("b", 100), ready_at("a", 90)], 200, &["a", "b"]);
        let restarted = with("b", &["status", "containerStatuses"], json!([{"restartCount": 3}]));
        check("more restarts first", &[pod("a"), restarted], 200, &["b", "a"]);
        let younger = with("b", &["metadata", "creationTimestamp"], json!(at(195).to_string()));
        check("younger first", &[pod("a"), younger], 200, &["b", "a"]);
        check(
            "odd objects",
            &[json!({"metadata": {"name": "b"}}), json!({"metadata": {"name": "a"}})],
            200,
            &["a", "b"],
        );
    }

    #[test]
    fn company_counts_only_active_related_pods() {
        let mut going = with("x", &["spec", "nodeName"], json!("n2"));
        put(&mut going, &["metadata", "deletionTimestamp"], at(150).to_string());
        let (a, b, c) = (with("a", &["spec", "nodeName"], json!("n2")), pod("b"), pod("c"));
        let related = [&a, &b, &c, &going];
        let sorted: Vec<&str> = sort_victims(&[&a, &b], &related, at(200)).into_iter().map(name).collect();
        assert_eq!(sorted, ["b", "a"], "n1 has two active pods, n2 one and one that is going");
    }

    #[test]
    fn availability_after_min_ready_seconds() {
        use Availability::{Available, From, No};
        for (min_ready, now, expected) in [
            (0, 100, Available),
            (10, 100, From(at(110))),
            (10, 109, From(at(110))),
            (10, 110, Available),
            (-3, 100, Available),
        ] {
            assert_eq!(availability(&pod("a"), min_ready, at(now)), expected, "{min_ready} s at {now}");
        }
        assert_eq!(availability(&json!({}), 0, at(100)), No);
    }

    proptest::proptest! {
        #[test]
        fn any_mixture_is_sorted_without_loss(
            ages in proptest::collection::vec((0..300i64, 0..3i64, 0..3usize), 0..12),
        ) {
            let pods: Vec<Value> = ages.iter().enumerate().map(|(n, (ready, restarts, node))| {
                let mut pod = ready_at(&format!("p{n}"), *ready);
                put(&mut pod, &["status", "containerStatuses"], json!([{"restartCount": restarts}]));
                put(&mut pod, &["spec", "nodeName"], format!("n{node}"));
                pod
            }).collect();
            let all: Vec<&Value> = pods.iter().collect();
            let mut names: Vec<&str> = sort_victims(&all, &all, at(300)).into_iter().map(name).collect();
            names.sort_unstable();
            let mut expected: Vec<&str> = pods.iter().map(name).collect();
            expected.sort_unstable();
            assert_eq!(names, expected);
        }
    }
}

//! Phase and conditions of a pod, told from its containers.
//!
//! Same rules as Kubernetes 1.36, `pkg/kubelet/status/generate.go` and `getPhase` in `kubelet_pods.go`.
//! Conditions that others wrote, readiness gates above all, stay.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::super::object::{Says, condition_is, int, items, put, put_condition, text, wire_time};
use super::container::{Standing, is_ready};

/// Returns the phase of a pod with such containers.
pub(super) fn phase(standings: &[Standing], restarts_always: bool) -> &'static str {
    let any = |wanted| standings.contains(&wanted);
    if any(Standing::Waiting) || standings.is_empty() {
        "Pending"
    } else if any(Standing::Alive) || restarts_always {
        "Running"
    } else if any(Standing::Failed) {
        "Failed"
    } else {
        "Succeeded"
    }
}

/// Returns the pod's status with these containers; addresses and start time are left as they are.
pub(super) fn status(pod: &Value, phase: &str, containers: Vec<Value>, now: Timestamp) -> Value {
    let mut conditions = items(pod, "/status/conditions").to_vec();
    let generation = int(pod, "/metadata/generation");
    let mut say = |kind, (is_true, reason, message): (bool, &str, &str)| {
        let status = if is_true { "True" } else { "False" };
        let mut condition = Says { kind, status, reason, message }.at(now);
        put(&mut condition, &["lastProbeTime"], Value::Null);
        if let Some(generation) = generation {
            put(&mut condition, &["observedGeneration"], generation);
        }
        put_condition(&mut conditions, condition);
    };
    let containers_ready = containers_ready(phase, &containers);
    let gates = unready_gates(pod);
    say("PodReadyToStartContainers", (!matches!(phase, "Succeeded" | "Failed"), "", ""));
    say("Initialized", (true, if phase == "Succeeded" { "PodCompleted" } else { "" }, ""));
    if let Some((reason, message)) = &containers_ready {
        say("Ready", (false, reason, message));
        say("ContainersReady", (false, reason, message));
    } else {
        say(
            "Ready",
            (gates.is_empty(), if gates.is_empty() { "" } else { "ReadinessGatesNotReady" }, &gates),
        );
        say("ContainersReady", (true, "", ""));
    }
    say("PodScheduled", (true, "", ""));

    let mut status = pod.get("status").filter(|found| found.is_object()).cloned().unwrap_or(json!({}));
    put(&mut status, &["phase"], phase);
    put(&mut status, &["conditions"], conditions);
    put(&mut status, &["containerStatuses"], containers);
    if text(&status, "/qosClass").is_none() {
        put(&mut status, &["qosClass"], "BestEffort");
    }
    if let Some(generation) = generation {
        put(&mut status, &["observedGeneration"], generation);
    }
    let init: Vec<Value> =
        items(pod, "/spec/initContainers").iter().map(|one| init_status(pod, one, now)).collect();
    if !init.is_empty() {
        put(&mut status, &["initContainerStatuses"], init);
    }
    status
}

/// Returns why the containers are not ready, if they are not.
fn containers_ready(phase: &str, containers: &[Value]) -> Option<(&'static str, String)> {
    match phase {
        "Succeeded" => return Some(("PodCompleted", String::new())),
        "Failed" => return Some(("PodFailed", String::new())),
        _ => {}
    }
    let unready: Vec<&str> =
        containers.iter().filter(|one| !is_ready(one)).filter_map(|one| text(one, "/name")).collect();
    (!unready.is_empty())
        .then(|| ("ContainersNotReady", format!("containers with unready status: [{}]", unready.join(" "))))
}

fn unready_gates(pod: &Value) -> String {
    let kinds = items(pod, "/spec/readinessGates").iter().filter_map(|gate| text(gate, "/conditionType"));
    let unready = kinds.filter(|kind| !condition_is(pod, kind, "True"));
    let messages: Vec<String> = unready
        .map(|kind| {
            match super::super::object::condition(pod, kind).and_then(|found| text(found, "/status")) {
                None => format!("corresponding condition of pod readiness gate \"{kind}\" does not exist."),
                Some(status) => {
                    format!("the status of pod readiness gate \"{kind}\" is not \"True\", but {status}")
                }
            }
        })
        .collect();
    messages.join(", ")
}

/// Returns the status of an init container: done at once, or running if it is a sidecar.
fn init_status(pod: &Value, container: &Value, now: Timestamp) -> Value {
    let name = text(container, "/name").unwrap_or_default();
    let found =
        items(pod, "/status/initContainerStatuses").iter().find(|one| text(one, "/name") == Some(name));
    if let Some(found) = found {
        return found.clone();
    }
    let image = text(container, "/image").unwrap_or_default();
    let is_sidecar = text(container, "/restartPolicy") == Some("Always");
    let at = wire_time(now);
    let state = if is_sidecar {
        json!({"running": {"startedAt": at}})
    } else {
        json!({"terminated": {"exitCode": 0, "reason": "Completed", "startedAt": at, "finishedAt": at}})
    };
    json!({
        "name": name, "image": image, "imageID": image, "ready": true, "started": is_sidecar,
        "restartCount": 0, "state": state, "lastState": {},
    })
}

#[cfg(test)]
mod tests {
    use super::Standing::{Alive, Failed, Succeeded, Waiting};
    use super::*;

    #[test]
    fn phases() {
        for (standings, restarts_always, expected) in [
            (vec![], true, "Pending"),
            (vec![Alive, Waiting], true, "Pending"),
            (vec![Alive, Succeeded], false, "Running"),
            (vec![Succeeded, Failed], false, "Failed"),
            (vec![Succeeded, Succeeded], false, "Succeeded"),
            (vec![Succeeded], true, "Running"),
        ] {
            assert_eq!(phase(&standings, restarts_always), expected, "{standings:?} {restarts_always}");
        }
    }

    #[test]
    fn readiness_gates_hold_the_pod_back() {
        let now = Timestamp::from_second(100).expect("in range");
        let ready = json!([{"name": "app", "ready": true}]).as_array().cloned().expect("a list");
        let mut pod = json!({"spec": {"readinessGates": [{"conditionType": "lb/ok"}]}});
        pod["status"] = status(&pod, "Running", ready.clone(), now);
        assert!(
            condition_is(&pod, "ContainersReady", "True") && condition_is(&pod, "Ready", "False"),
            "{pod}"
        );
        let gate = json!({"type": "lb/ok", "status": "True"});
        pod["status"]["conditions"].as_array_mut().expect("a list").push(gate.clone());
        pod["status"] = status(&pod, "Running", ready, now);
        assert!(condition_is(&pod, "Ready", "True"), "{pod}");
        assert!(items(&pod, "/status/conditions").contains(&gate), "a foreign condition stays");
    }
}

//! Why pods of a version are not available, in words.
//!
//! Reads what the kubelet and the scheduler say about pods and names the most telling reason. Decides
//! nothing: a reason changes a message, never a verdict.

use serde::Deserialize;

/// How much of a container's own message is repeated.
const MESSAGE_MAX_CHARS: usize = 160;

/// What is looked at of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Pod {
    /// `metadata`.
    pub metadata: PodMeta,
    /// `status`.
    pub status: PodStatus,
}

/// `metadata` of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodMeta {
    /// `name`.
    pub name: String,
    /// `deletionTimestamp`.
    pub deletion_timestamp: Option<String>,
}

/// `status` of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodStatus {
    /// `phase`.
    pub phase: String,
    /// `reason`.
    pub reason: String,
    /// `message`.
    pub message: String,
    /// `conditions`.
    pub conditions: Vec<PodCondition>,
    /// `initContainerStatuses`.
    pub init_container_statuses: Vec<ContainerStatus>,
    /// `containerStatuses`.
    pub container_statuses: Vec<ContainerStatus>,
}

/// A condition of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct PodCondition {
    /// `type`.
    #[serde(rename = "type")]
    pub type_: String,
    /// `status`.
    pub status: String,
    /// `reason`.
    pub reason: String,
    /// `message`.
    pub message: String,
}

/// What is said about a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerStatus {
    /// `name`.
    pub name: String,
    /// `restartCount`.
    pub restart_count: i64,
    /// `state`.
    pub state: ContainerState,
    /// `lastState`.
    pub last_state: ContainerState,
}

/// The state of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ContainerState {
    /// `waiting`.
    pub waiting: Option<Waiting>,
    /// `terminated`.
    pub terminated: Option<Terminated>,
}

/// A container that waits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Waiting {
    /// `reason`.
    pub reason: String,
    /// `message`.
    pub message: String,
}

/// A container that ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Terminated {
    /// `exitCode`.
    pub exit_code: i64,
    /// `reason`.
    pub reason: String,
    /// `message`.
    pub message: String,
}

/// Returns the most telling reason why not all of `pods` are ready, if one of them gives any.
pub fn describe<'a>(pods: impl IntoIterator<Item = &'a Pod>) -> Option<String> {
    let mut found: Vec<(u8, String)> = pods.into_iter().filter_map(trouble).collect();
    found.sort();
    found.into_iter().next().map(|(_, text)| text)
}

/// A pod's trouble and its rank: what will not heal by waiting comes first.
fn trouble(pod: &Pod) -> Option<(u8, String)> {
    let name = &pod.metadata.name;
    let is_ready = pod.status.conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True");
    if is_ready || pod.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let containers = pod.status.init_container_statuses.iter().chain(&pod.status.container_statuses);
    for container in containers {
        if let Some((rank, reason)) = container_trouble(container) {
            return Some((rank, format!("{reason}, container {} of pod {name}", container.name)));
        }
    }
    let unscheduled = pod.status.conditions.iter().find(|c| c.type_ == "PodScheduled" && c.status == "False");
    if let Some(condition) = unscheduled {
        return Some((2, format!("{}: {}, pod {name}", condition.reason, cut(&condition.message))));
    }
    if pod.status.phase == "Failed" {
        return Some((1, format!("{}: {}, pod {name}", pod.status.reason, cut(&pod.status.message))));
    }
    (pod.status.phase == "Running").then(|| (3, "running but not ready".to_owned()))
}

fn container_trouble(container: &ContainerStatus) -> Option<(u8, String)> {
    let exit = |ended: &Terminated| {
        let message = cut(&ended.message);
        let message = if message.is_empty() { String::new() } else { format!(" ({message})") };
        format!("exit code {}{message}", ended.exit_code)
    };
    // A container that crashed and was started again is told the same way whether it waits, runs or has
    // just ended, so that the text does not change with every try.
    let crashed = container.state.terminated.as_ref().or(container.last_state.terminated.as_ref());
    if let Some(ended) = crashed.filter(|ended| ended.exit_code != 0) {
        let reason = if container.restart_count > 0 { "CrashLoopBackOff" } else { "Error" };
        return Some((0, format!("{reason}: {}", exit(ended))));
    }
    let waiting = container.state.waiting.as_ref()?;
    match waiting.reason.as_str() {
        "" | "ContainerCreating" | "PodInitializing" => None,
        reason => Some((1, format!("{reason}: {}", cut(&waiting.message)))),
    }
}

fn cut(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default().trim();
    if line.chars().count() <= MESSAGE_MAX_CHARS {
        return line.to_owned();
    }
    line.chars().take(MESSAGE_MAX_CHARS).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(status: Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "web-1"}, "status": status})).expect("a pod")
    }

    #[test]
    fn reasons() {
        let crash = json!({"phase": "Running", "containerStatuses": [{"name": "app", "restartCount": 3,
            "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s"}},
            "lastState": {"terminated": {"exitCode": 137, "message": "out of memory\nmore"}}}]});
        let again = json!({"phase": "Running", "containerStatuses": [{"name": "app", "restartCount": 4,
            "state": {"running": {}}, "lastState": {"terminated": {"exitCode": 137, "message": "out of memory"}}}]});
        let image = json!({"phase": "Pending", "containerStatuses": [{"name": "app",
            "state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}}]});
        let creating = json!({"phase": "Pending", "containerStatuses": [{"name": "app", "state": {"waiting": {"reason": "ContainerCreating"}}}]});
        let nowhere = json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False",
            "reason": "Unschedulable", "message": "0/1 nodes are available: 1 Insufficient cpu."}]});
        let unready = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "False"}]});
        let ready = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]});
        for (status, expected) in [
            (
                crash.clone(),
                Some("CrashLoopBackOff: exit code 137 (out of memory), container app of pod web-1"),
            ),
            (again, Some("CrashLoopBackOff: exit code 137 (out of memory), container app of pod web-1")),
            (image.clone(), Some("ImagePullBackOff: no such image, container app of pod web-1")),
            (creating, None),
            (nowhere, Some("Unschedulable: 0/1 nodes are available: 1 Insufficient cpu., pod web-1")),
            (unready.clone(), Some("running but not ready")),
            (ready, None),
        ] {
            assert_eq!(describe([&pod(status.clone())]).as_deref(), expected, "{status}");
        }
        let worst = describe([&pod(unready), &pod(image), &pod(crash)]).expect("a reason");
        assert!(worst.starts_with("CrashLoopBackOff"), "{worst}");
    }
}

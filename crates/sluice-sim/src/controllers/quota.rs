//! How many more pods a namespace takes.
//!
//! Looks at `ResourceQuota` objects (`spec.hard.pods`, `spec.hard["count/pods"]`) and at one fixed limit
//! per namespace. Refuses before the API server would; knows nothing of CPU and memory.

use serde_json::Value;

use super::object::{kinds, name, text};
use super::pods;
use crate::seam::View;

/// What a namespace says to more pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Room {
    /// How many more pods it takes; `None` means any number.
    pub pods: Option<usize>,
    quota: String,
    used: usize,
    limit: usize,
}

impl Room {
    /// Returns the API server's words for a pod that does not fit.
    pub fn refusal(&self, pod: &str) -> String {
        let Self { quota, used, limit, .. } = self;
        format!(
            "pods \"{pod}\" is forbidden: exceeded quota: {quota}, requested: pods=1, used: pods={used}, limited: pods={limit}"
        )
    }
}

/// Returns how many more pods fit, with the narrowest limit's name.
pub(super) fn room(view: &dyn View, namespace: Option<&str>, max_pods: Option<usize>) -> Room {
    let quotas = view.list(kinds::RESOURCE_QUOTA, namespace);
    let mut limits: Vec<(usize, &str)> =
        quotas.iter().filter_map(|quota| Some((hard_pods(quota)?, name(quota)))).collect();
    limits.extend(max_pods.map(|limit| (limit, "pods")));
    let Some((limit, quota)) = limits.into_iter().min() else {
        return Room { pods: None, quota: String::new(), used: 0, limit: 0 };
    };
    let used = view.list(kinds::POD, namespace).iter().filter(|pod| !pods::is_terminal(pod)).count();
    Room { pods: Some(limit.saturating_sub(used)), quota: quota.to_owned(), used, limit }
}

fn hard_pods(quota: &Value) -> Option<usize> {
    let read = |pointer| {
        let found = quota.pointer(pointer)?;
        found.as_u64().map(|n| n as usize).or_else(|| text(quota, pointer)?.parse().ok())
    };
    read("/spec/hard/pods").into_iter().chain(read("/spec/hard/count~1pods")).min()
}

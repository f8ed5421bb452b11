//! How many pods each ReplicaSet of a Deployment may have now.
//!
//! Arithmetic only, on sizes; which ReplicaSet is the new one, and writing, is decided elsewhere.
//! Same rules as Kubernetes 1.36, `pkg/controller/deployment/rolling.go` and `util/deployment_util.go`.

use serde_json::Value;

use super::super::object::{int, scaled, text};

/// Default of both limits when the strategy does not say.
const DEFAULT_LIMIT: &str = "25%";

/// What a Deployment wants and how far it may stray from it on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Corridor {
    pub replicas: i64,
    pub max_surge: i64,
    pub max_unavailable: i64,
}

impl Corridor {
    /// Reads the corridor of a Deployment. Recreate has none: no surge, and nothing may be missing.
    pub fn of(deployment: &Value) -> Self {
        let replicas = int(deployment, "/spec/replicas").unwrap_or(1).max(0);
        if is_recreate(deployment) {
            return Self { replicas, max_surge: 0, max_unavailable: 0 };
        }
        let default = Value::from(DEFAULT_LIMIT);
        let limit = |field: &str, round_up| {
            let found = deployment.pointer("/spec/strategy/rollingUpdate").and_then(|all| all.get(field));
            scaled(Some(found.unwrap_or(&default)), replicas, round_up).unwrap_or(0).max(0)
        };
        let (max_surge, mut max_unavailable) = (limit("maxSurge", true), limit("maxUnavailable", false));
        if max_surge == 0 && max_unavailable == 0 {
            // Both can round to nothing; without this the update could never move.
            max_unavailable = 1;
        }
        Self { replicas, max_surge, max_unavailable: max_unavailable.min(replicas) }
    }

    pub fn max_total(self) -> i64 {
        self.replicas + self.max_surge
    }

    pub fn min_available(self) -> i64 {
        self.replicas - self.max_unavailable
    }
}

pub fn is_recreate(deployment: &Value) -> bool {
    text(deployment, "/spec/strategy/type") == Some("Recreate")
}

/// One ReplicaSet's size: what it is told to have, and how much of it is available.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    pub wanted: i64,
    pub available: i64,
}

/// Returns what the new ReplicaSet should have, given that all of them together are told to have `total`.
pub fn new_size(corridor: Corridor, new: i64, total: i64) -> i64 {
    if new > corridor.replicas {
        return corridor.replicas;
    }
    let room = (corridor.max_total() - total).max(0);
    new + room.min(corridor.replicas - new)
}

/// Returns what the old ReplicaSets should have, oldest first as given: pods that are not available go
/// first, then as many of the others as the corridor allows.
pub fn old_sizes(corridor: Corridor, new: Size, old: &[Size]) -> Vec<i64> {
    let mut sizes: Vec<i64> = old.iter().map(|one| one.wanted).collect();
    let total: i64 = new.wanted + sizes.iter().sum::<i64>();
    let new_unavailable = new.wanted - new.available;
    let mut unhealthy_budget = total - corridor.min_available() - new_unavailable;
    if unhealthy_budget <= 0 {
        return sizes;
    }
    for (size, one) in sizes.iter_mut().zip(old) {
        let gone = unhealthy_budget.min(one.wanted - one.available).max(0);
        *size -= gone;
        unhealthy_budget -= gone;
    }
    let available = new.available + old.iter().map(|one| one.available).sum::<i64>();
    let mut budget = available - corridor.min_available();
    for size in &mut sizes {
        let gone = budget.min(*size).max(0);
        *size -= gone;
        budget -= gone;
    }
    sizes
}

/// Distributes a change of the Deployment's size over its ReplicaSets in the middle of an update.
///
/// Each entry is (told to have, the Deployment's upper limit when that was decided), largest first. The
/// largest takes what rounding leaves.
pub fn proportional_sizes(
    corridor: Corridor,
    sets: &[(i64, Option<i64>)],
    observed_replicas: i64,
) -> Vec<i64> {
    let mut sizes: Vec<i64> = sets.iter().map(|(size, _)| *size).collect();
    let allowed = if corridor.replicas > 0 { corridor.max_total() } else { 0 };
    let to_add = allowed - sizes.iter().sum::<i64>();
    if to_add == 0 {
        return sizes;
    }
    let mut added = 0;
    for (size, (_, limit_before)) in sizes.iter_mut().zip(sets) {
        let left = to_add - added;
        if *size == 0 || left == 0 {
            continue;
        }
        let before = limit_before.filter(|limit| *limit > 0).unwrap_or(observed_replicas);
        let fraction = match (corridor.replicas, before) {
            (0, _) => -*size,
            (_, 0) => 0,
            _ => (*size as f64 * corridor.max_total() as f64 / before as f64).round() as i64 - *size,
        };
        let share = if to_add > 0 { fraction.min(left) } else { fraction.max(left) };
        *size += share;
        added += share;
    }
    if let Some(largest) = sizes.first_mut() {
        *largest = (*largest + to_add - added).max(0);
    }
    sizes
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn size(wanted: i64, available: i64) -> Size {
        Size { wanted, available }
    }

    #[test]
    fn corridors() {
        for (spec, expected) in [
            (json!({"replicas": 10}), (10, 3, 2)),
            (json!({}), (1, 1, 0)),
            (
                json!({"replicas": 4, "strategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 0}}}),
                (4, 0, 1),
            ),
            (
                json!({"replicas": 2, "strategy": {"rollingUpdate": {"maxSurge": "0%", "maxUnavailable": "10%"}}}),
                (2, 0, 1),
            ),
            (
                json!({"replicas": 2, "strategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 9}}}),
                (2, 1, 2),
            ),
            (json!({"replicas": 4, "strategy": {"type": "Recreate"}}), (4, 0, 0)),
        ] {
            let found = Corridor::of(&json!({"spec": spec}));
            assert_eq!((found.replicas, found.max_surge, found.max_unavailable), expected, "{spec}");
        }
    }

    #[test]
    fn sizes_of_the_new_and_the_old() {
        let corridor = Corridor { replicas: 10, max_surge: 3, max_unavailable: 2 };
        for (new, total, expected) in [(0, 10, 3), (3, 13, 3), (3, 11, 5), (9, 9, 10), (12, 12, 10)] {
            assert_eq!(new_size(corridor, new, total), expected, "new {new}, total {total}");
        }
        for (new, old, expected) in [
            (size(3, 0), vec![size(10, 10)], vec![8]),
            (size(5, 3), vec![size(8, 8)], vec![5]),
            (size(3, 0), vec![size(10, 6)], vec![8]), // the unavailable ones go first
            (size(5, 0), vec![size(8, 8)], vec![8]),  // nothing to spare
            (size(10, 10), vec![size(2, 2), size(1, 1)], vec![0, 0]),
            (size(3, 3), vec![size(4, 4), size(6, 6)], vec![0, 5]), // oldest first
        ] {
            assert_eq!(old_sizes(corridor, new, &old), expected, "{new:?} {old:?}");
        }
    }

    #[test]
    fn a_change_of_size_in_the_middle_of_an_update_is_shared() {
        let corridor = |replicas| Corridor { replicas, max_surge: 3, max_unavailable: 2 };
        // From 10 to 15 replicas with 8 old and 5 new of at most 13: 5 more, 3 of them for the larger.
        assert_eq!(proportional_sizes(corridor(15), &[(8, Some(13)), (5, Some(13))], 13), [11, 7]);
        assert_eq!(proportional_sizes(corridor(5), &[(8, Some(13)), (5, Some(13))], 13), [5, 3]);
        assert_eq!(
            proportional_sizes(Corridor { max_surge: 0, ..corridor(0) }, &[(8, Some(13)), (5, None)], 13),
            [0, 0]
        );
        assert_eq!(proportional_sizes(corridor(10), &[(8, Some(13)), (5, Some(13))], 13), [8, 5]);
    }

    proptest::proptest! {
        #[test]
        fn shared_sizes_add_up(replicas in 1..60i64, sizes in proptest::collection::vec(1..40i64, 1..5)) {
            let before = sizes.iter().sum();
            let mut sets: Vec<(i64, Option<i64>)> = sizes.iter().map(|size| (*size, Some(before))).collect();
            sets.sort_by_key(|(size, _)| -size);
            let corridor = Corridor { replicas, max_surge: replicas / 4, max_unavailable: 1 };
            let found = proportional_sizes(corridor, &sets, 1);
            assert!(found.iter().all(|size| *size >= 0), "{found:?}");
            assert_eq!(found.iter().sum::<i64>(), corridor.max_total(), "{found:?}");
        }

        #[test]
        fn no_step_leaves_the_corridor(
            replicas in 1..30i64, surge in 0..10i64, unavailable in 1..10i64, new in 0..30i64,
            old in proptest::collection::vec((0..30i64, 0..30i64), 0..4), new_ready in 0..30i64,
        ) {
            let corridor = Corridor { replicas, max_surge: surge, max_unavailable: unavailable.min(replicas) };
            let new = size(new.min(replicas), new_ready.min(new).min(replicas));
            let old: Vec<Size> = old.into_iter().map(|(n, ready)| size(n, ready.min(n))).collect();
            let available = |sizes: &[i64]| -> i64 {
                // The unavailable go first, as the victim order has it.
                new.available + old.iter().zip(sizes).map(|(one, size)| one.available.min(*size)).sum::<i64>()
            };
            let before: Vec<i64> = old.iter().map(|one| one.wanted).collect();
            let after = old_sizes(corridor, new, &old);
            assert!(available(&after) >= available(&before).min(corridor.min_available()));
            let total = new.wanted + before.iter().sum::<i64>();
            let grown = new_size(corridor, new.wanted, total) - new.wanted + total;
            assert!(grown <= total.max(corridor.max_total()));
        }
    }
}

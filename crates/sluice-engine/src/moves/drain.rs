//! What size the workload may have whose template a Rollout runs.
//!
//! A level and not an edge: each look compares what is there with what may be there, at any revision, so a
//! size that somebody sets again is taken away again, and one that was lost on the way is given back. The
//! pods of such a workload are somebody else's; all that is decided here is how many are still needed.

use crate::replicas::Corridor;

/// When a workload is scaled down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ScaleDown {
    /// By nobody but people.
    #[default]
    Never,
    /// At once, when the Rollout is healthy.
    OnSuccess,
    /// Pod by pod, as the Rollout's pods become ready.
    Progressively,
}

/// A workload beside a Rollout, in numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrainState {
    /// When it is scaled down.
    pub mode: ScaleDown,
    /// Its size now.
    pub size: i64,
    /// Its size before it was first scaled down, if that has happened.
    pub before: Option<i64>,
    /// What the Rollout is to have.
    pub corridor: Corridor,
    /// Ready pods of all versions of the Rollout.
    pub ready: i64,
    /// Available pods of all versions that no pending shrink condemns.
    pub stay: i64,
    /// The Rollout is healthy, and that is on record.
    pub is_healthy: bool,
    /// An update is under way, or was aborted: the workload's template is not the one that serves.
    pub is_updating: bool,
}

/// A new size for a workload, and why. Only this module makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resize {
    to: i64,
    reason: &'static str,
}

impl Resize {
    /// The new size.
    pub fn to(&self) -> i64 {
        self.to
    }

    /// Why, in words.
    pub fn reason(&self) -> &'static str {
        self.reason
    }
}

/// Says what size the workload may have now; `None`: the one that it has.
///
/// It never asks for 0 while the Rollout's own pods do not carry everything, and a Rollout that wants no
/// pods carries nothing. It grows only what it shrank, and only while it runs what the Rollout runs.
pub fn drain(state: &DrainState) -> Option<Resize> {
    let corridor = state.corridor;
    if state.mode == ScaleDown::Never || state.size <= 0 || corridor.replicas <= 0 {
        return None;
    }
    // What was once let go is let go again during an update as well: its new pods skip all steps.
    let is_done = state.is_healthy || state.is_updating && state.before.is_some();
    if is_done && state.stay >= corridor.replicas {
        return Some(Resize { to: 0, reason: "the Rollout's own pods carry everything" });
    }
    if state.mode != ScaleDown::Progressively {
        return None;
    }
    let needed = (corridor.replicas - state.ready).max(corridor.floor() - state.stay).max(1);
    if needed < state.size {
        return Some(Resize { to: needed, reason: "ready pods of the Rollout take over" });
    }
    let regained = needed.min(state.before.unwrap_or(0));
    (regained > state.size && !state.is_updating)
        .then_some(Resize { to: regained, reason: "pods of the Rollout were lost on the way" })
}

/// Gives a workload its pods back. `left_at` is the size that it was last scaled down to; a workload that
/// somebody has scaled since is in other hands and keeps its size.
pub fn give_back(size: i64, left_at: i64, before: Option<i64>) -> Resize {
    match before {
        Some(before) if size == left_at && before > size => {
            Resize { to: before, reason: "the Rollout does not stand in for it any more" }
        }
        _ => Resize { to: size, reason: "somebody has scaled it since" },
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::ScaleDown::{Never, OnSuccess, Progressively};
    use super::*;

    fn state(mode: ScaleDown, size: i64, ready: i64) -> DrainState {
        let corridor = Corridor { replicas: 5, surge: 1, unavailable: 0 };
        DrainState {
            mode,
            size,
            before: None,
            corridor,
            ready,
            stay: ready,
            is_healthy: false,
            is_updating: false,
        }
    }

    #[test]
    fn sizes() {
        let healthy = |mode, size| DrainState { is_healthy: true, ..state(mode, size, 5) };
        let updating =
            |size, ready, before| DrainState { is_updating: true, before, ..state(OnSuccess, size, ready) };
        let drained = |size, ready| DrainState { before: Some(5), ..state(Progressively, size, ready) };
        for (what, state, expected) in [
            ("no pods yet", state(OnSuccess, 5, 0), None),
            ("not healthy yet", state(OnSuccess, 5, 5), None),
            ("healthy", healthy(OnSuccess, 5), Some(0)),
            ("healthy, progressively", healthy(Progressively, 2), Some(0)),
            ("never", healthy(Never, 5), None),
            ("already there", healthy(OnSuccess, 0), None),
            ("3 of 5 are ready", state(Progressively, 5, 3), Some(2)),
            ("1 of 5 is ready", state(Progressively, 5, 1), Some(4)),
            ("all are ready, but that is not on record", state(Progressively, 2, 5), Some(1)),
            ("ready is not available", DrainState { stay: 0, ..state(Progressively, 5, 3) }, None),
            ("lost on the way", drained(2, 1), Some(4)),
            ("lost while nothing was drained", state(Progressively, 2, 1), None),
            ("never above what it had", DrainState { before: Some(3), ..drained(2, 0) }, Some(3)),
            ("not into an update", DrainState { is_updating: true, ..drained(2, 1) }, None),
            ("set again during an update", updating(10, 5, Some(5)), Some(0)),
            ("set again while the update needs it", updating(10, 4, Some(5)), None),
            ("an update over a first version that never served", updating(5, 5, None), None),
        ] {
            assert_eq!(drain(&state).map(|resize| resize.to()), expected, "{what}: {state:?}");
        }
        let asleep = DrainState {
            corridor: Corridor { replicas: 0, surge: 1, unavailable: 0 },
            ..healthy(OnSuccess, 5)
        };
        assert_eq!(drain(&asleep), None, "no pods of ours stand in for anything");
    }

    #[test]
    fn what_is_given_back() {
        for ((size, left_at, before), to) in [
            ((0, 0, Some(10)), 10),
            ((2, 2, Some(5)), 5),
            ((3, 0, Some(10)), 3),
            ((0, 2, Some(5)), 0),
            ((0, 0, None), 0),
            ((0, 0, Some(-1)), 0),
        ] {
            assert_eq!(give_back(size, left_at, before).to(), to, "{size} {left_at} {before:?}");
        }
    }

    proptest! {
        #[test]
        fn the_floor_is_never_given_up(
            (replicas, unavailable, surge) in (0..20i64, 0..5i64, 0..5i64),
            (size, ready, missing, before) in (0..20i64, 0..20i64, 0..5i64, prop::option::of(0..20i64)),
            (is_healthy, is_updating, progressively) in any::<(bool, bool, bool)>(),
        ) {
            let mode = if progressively { Progressively } else { OnSuccess };
            let corridor = Corridor { replicas, surge, unavailable: unavailable.min(replicas) };
            let stay = (ready - missing).max(0);
            let state = DrainState { mode, size, before, corridor, ready, stay, is_healthy, is_updating };
            let Some(resize) = drain(&state) else { return Ok(()) };
            prop_assert!(resize.to() != size && resize.to() >= 0);
            prop_assert!(resize.to() > 0 || stay >= replicas && replicas > 0);
            if resize.to() < size {
                prop_assert!(resize.to() + stay >= corridor.floor().min(size + stay));
            } else {
                prop_assert!(resize.to() <= before.unwrap_or(0));
            }
            let next = drain(&DrainState { size: resize.to(), ..state });
            prop_assert!(next.is_none(), "one write is enough: {:?}", next);
        }
    }
}

//! Which write may happen now.
//!
//! [`plan_moves`] is the only source of writes that touch capacity or traffic: sizes, selectors,
//! weights, routes and scale-down deadlines. It is a pure function of what it sees and has no memory of
//! a phase. It gives an ordered list of safe writes, or says what it waits for. Every prefix of the
//! list is safe, so a crash or a router's error may stop after any write.
//!
//! It does not decide where a rollout goes (that is the [`Intent`] of a strategy), it knows no
//! Kubernetes object, and it reads no clock: timers reach it as facts ("passed") or as `now`.
//!
//! The words of this module: *stable* and *new* are versions; a version that is neither is *leaving*.
//! A *destination* is a Service (or subset) that selects one version; its *live set* holds the versions
//! that the data plane may still use for it. The *live interval* of the weight holds every value that a
//! proxy may still act on.

mod blue_green;
mod drain;
mod experiment;
mod first;
#[cfg(test)]
mod model;
mod ratio;
mod routed;
#[cfg(test)]
mod tests;
mod wait;

use jiff::{SignedDuration, Timestamp};

pub use self::blue_green::{BlueGreenIntent, BlueGreenState, plan_blue_green};
pub use self::drain::{DrainState, Resize, ScaleDown, drain, give_back};
pub use self::experiment::{
    ExperimentMove, ExperimentMoveKind, ExperimentMoves, ExperimentSet, ExperimentState, ServiceState,
    plan_experiment,
};
pub use self::wait::{Wait, WaitReason};
use crate::replicas::Corridor;

/// Index of a version in [`State::sets`].
pub type Version = usize;

/// What the planner looks at.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// Wanted replicas and how far sizes may stray from them.
    pub corridor: Corridor,
    /// The weight that means all traffic.
    pub max_weight: i64,
    /// Every version that exists, in order of revision.
    pub sets: Vec<Set>,
    /// The stable version, if it exists.
    pub stable: Option<Version>,
    /// The version of the current template, if it exists.
    pub new: Option<Version>,
    /// How traffic is split.
    pub split: Split,
    /// The destination of stable traffic, where the spec names one.
    pub stable_destination: Option<Destination>,
    /// The destination of canary traffic, where the spec names one.
    pub canary_destination: Option<Destination>,
    /// The canary's weight, as asked for and as it may be live.
    pub weight: LiveWeight,
    /// Routes of their own that lead certain requests, or copies of them, to the canary destination.
    pub managed: ManagedRoutes,
    /// The data plane fails when the stable destination has no pods, even with no weight left for it.
    pub needs_live_primary: bool,
    /// Pods that stable is to have beyond `replicas` while its pods are restarted.
    pub extra: i64,
    /// `replicas` was 0 and no stable pod has been available since.
    pub is_asleep: bool,
    /// The grace time of a stuck way down is over, so that `maxUnavailable` may be spent.
    pub grace_is_over: bool,
}

/// How a canary gets its share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// By the ratio of pods behind one Service.
    ByRatio,
    /// By a router.
    ByRouter {
        /// Stable shrinks as the canary's weight grows.
        dynamic_stable: bool,
        /// Sizes stay within `replicas + surge` all the time, and weights follow capacity.
        staged: bool,
        /// The two destinations swap their roles at each promotion.
        ping_pong: bool,
    },
}

/// One version: its size and what of it is up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    /// Name for messages.
    pub name: String,
    /// `spec.replicas`.
    pub size: i64,
    /// `status.availableReplicas`.
    pub available: i64,
    /// `status.readyReplicas`.
    pub ready: i64,
    /// `status.replicas`: pods that exist.
    pub existing: i64,
    /// When it may be scaled down.
    pub deadline: Deadline,
    /// Why pods of it are not available, if that is known.
    pub trouble: Option<String>,
}

impl Set {
    /// Available pods that no pending shrink condemns: what the side that gains may count on.
    pub fn stay(&self) -> i64 {
        self.available.min(self.size)
    }
}

/// The scale-down deadline of a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deadline {
    /// There is none.
    None,
    /// It lies ahead.
    Running(Timestamp),
    /// It is over.
    Passed,
}

/// A Service or subset that selects a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// Name for messages and writes.
    pub name: String,
    /// The version that its selector names. `None`: it is not narrowed to one version.
    pub selected: Option<Version>,
    /// Versions that the data plane may still use for it, sorted.
    pub live: Vec<Version>,
    /// When the live set can shrink to what is selected, if only time is awaited.
    pub settles_at: Option<Timestamp>,
    /// Whether the controller has narrowed it before.
    pub is_managed: bool,
}

impl Destination {
    fn is_settled(&self) -> bool {
        self.selected.is_some_and(|version| self.live == [version])
    }

    fn settled_on(&self, version: Version) -> bool {
        self.selected == Some(version) && self.is_settled()
    }

    fn may_use(&self, version: Version) -> bool {
        self.live.contains(&version)
    }
}

/// The canary's weight: the value asked for, and the bounds of what may be live.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LiveWeight {
    /// What was last asked for.
    pub requested: i64,
    /// The least that may be live.
    pub low: i64,
    /// The most that may be live.
    pub high: i64,
    /// When the interval can narrow, if only time is awaited.
    pub settles_at: Option<Timestamp>,
    /// The bounds that pods are still kept for: those that lose a share stay until their requests are done.
    pub kept: (i64, i64),
    /// When pods are kept for less, if only time is awaited.
    pub released_at: Option<Timestamp>,
}

impl LiveWeight {
    /// A weight that is live everywhere.
    pub fn settled(weight: i64) -> LiveWeight {
        let kept = (weight, weight);
        LiveWeight { requested: weight, low: weight, high: weight, kept, ..LiveWeight::default() }
    }

    /// A weight that may be live between two bounds.
    pub fn between(requested: i64, low: i64, high: i64) -> LiveWeight {
        LiveWeight { requested, low, high, kept: (low, high), ..LiveWeight::default() }
    }

    fn is_settled(self) -> bool {
        self.low == self.high && self.high == self.requested
    }

    fn ask(&mut self, weight: i64) {
        self.requested = weight;
        self.low = self.low.min(weight);
        self.high = self.high.max(weight);
        self.kept = (self.kept.0.min(weight), self.kept.1.max(weight));
    }
}

/// Whether managed routes lead to the canary destination.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ManagedRoutes {
    /// They were last asked for.
    pub requested: bool,
    /// A proxy may still follow one.
    pub may_be_live: bool,
    /// A proxy may not know them yet.
    pub may_be_absent: bool,
    /// When that ends, or they are live everywhere, if only time is awaited.
    pub settles_at: Option<Timestamp>,
}

impl ManagedRoutes {
    fn is_settled(self) -> bool {
        if self.requested { !self.may_be_absent } else { !self.may_be_live }
    }
}

/// Where a strategy wants the rollout to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Intent {
    /// Which way it goes.
    pub direction: Direction,
    /// Raises, switches, steps and promotion stand still.
    pub is_halted: bool,
    /// A person asked to skip what is left.
    pub promote_full: bool,
    /// The weight of the position; ignored unless going, and at the end.
    pub weight: i64,
    /// All steps are done (or there are none).
    pub at_end: bool,
    /// A size for the canary that does not follow from the weight.
    pub canary_size: Option<i64>,
    /// The canary keeps the pods that it has, until the next weight.
    pub keeps_size: bool,
    /// The steps so far ask for managed routes.
    pub managed: bool,
    /// The least size of a version that gets any share.
    pub min_pods: i64,
    /// Of the wanted canary pods, how many are enough to go on.
    pub threshold: Threshold,
    /// How long an old version keeps its pods after it lost its last share.
    pub scale_down_delay: SignedDuration,
    /// The same for an aborted version; `None`: its pods stay. The flag says whether a person wrote it.
    pub abort_scale_down_delay: (Option<SignedDuration>, bool),
}

/// Which way a rollout goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The new version is the stable one.
    Rest,
    /// Toward the new version.
    Going,
    /// Away from it: aborted.
    Back,
}

/// When a version has enough of the pods that a step wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threshold {
    /// All of them.
    All,
    /// This many of a hundred.
    Percent(i64),
    /// This many pods.
    Pods(i64),
}

impl Threshold {
    /// Returns how many of `wanted` pods are enough.
    pub fn of(self, wanted: i64) -> i64 {
        match self {
            Threshold::All => wanted,
            Threshold::Percent(percent) => {
                let percent = percent.clamp(0, 100);
                i64::try_from((i128::from(wanted) * i128::from(percent) + 99) / 100).unwrap_or(wanted)
            }
            // More than the step wants can never be reached.
            Threshold::Pods(pods) => pods.clamp(0, wanted),
        }
    }
}

/// One write to capacity or traffic. Only this module makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    kind: MoveKind,
    reason: String,
}

impl Move {
    /// What is written.
    pub fn kind(&self) -> &MoveKind {
        &self.kind
    }

    /// Why, in words.
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

/// The kinds of writes that only the planner may ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MoveKind {
    /// Resize a version.
    Scale {
        /// Which one.
        version: Version,
        /// Its size until now.
        from: i64,
        /// Its new size.
        to: i64,
    },
    /// Ask every router for this weight.
    Weight(i64),
    /// Ask every router for the managed routes, or take them away.
    Managed(bool),
    /// Let the stable destination (of blue-green: the active Service) select a version.
    SelectStable(Version),
    /// Let the canary destination (of blue-green: the preview Service) select a version.
    SelectCanary(Version),
    /// Let the stable destination select all versions again.
    WidenStable,
    /// Give a version a scale-down deadline.
    SetDeadline(Version, Timestamp),
    /// Take a version's scale-down deadline away.
    ClearDeadline(Version),
}

impl MoveKind {
    /// Whether a version gets pods by it.
    pub fn grows(&self) -> bool {
        matches!(self, MoveKind::Scale { from, to, .. } if to > from)
    }

    /// Whether it takes pods away.
    pub fn shrinks(&self) -> bool {
        matches!(self, MoveKind::Scale { from, to, .. } if to < from)
    }
}

/// What the planner found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Moves {
    /// Safe writes, in order.
    pub writes: Vec<Move>,
    /// The position is reached and settled: the step machine may go on.
    pub arrived: bool,
    /// The new version may become the stable one.
    pub may_promote: bool,
    /// A stable pod is up after a sleep.
    pub is_awake: bool,
    /// What is awaited, if the intent is not reached.
    pub wait: Option<Wait>,
    /// The next instant at which the answer can differ with nothing else changed.
    pub recheck_at: Option<Timestamp>,
    /// The sizes wanted of stable and new at this position.
    pub wanted: Wanted,
}

/// Sizes at rest of a position.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Of the stable version.
    pub stable: i64,
    /// Of the new version.
    pub new: i64,
}

impl Moves {
    fn push(&mut self, kind: MoveKind, reason: impl Into<String>) {
        self.writes.push(Move { kind, reason: reason.into() });
    }

    fn recheck(&mut self, at: Option<Timestamp>) {
        self.recheck_at = [self.recheck_at, at].into_iter().flatten().min();
    }

    /// Whether anything about sizes or traffic is going to be written.
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }
}

/// Decides which writes to capacity and traffic are safe now on the way to `intent`.
pub fn plan_moves(state: &State, intent: &Intent, now: Timestamp) -> Moves {
    match (state.stable, state.split) {
        (None, _) => first::plan(state, intent, now),
        (Some(stable), Split::ByRatio) => ratio::plan(state, intent, stable, now),
        (Some(stable), Split::ByRouter { dynamic_stable, staged, ping_pong }) => {
            let mode = routed::Mode { dynamic_stable, staged, ping_pong };
            routed::plan(state, intent, routed::Roles::of(state, stable), mode, now)
        }
    }
}

//! What size the pods of one template of an experiment have, and when a Service leads to them.
//!
//! Nobody's traffic depends on the pods of an experiment before its status says that they run, so they come up at
//! once, and a Service is there before the first of them. Pods go only when their template has ended and its delay
//! is over, which runs from when no Rollout sends them a share any more; the Service goes after the last one. A level and not an edge: a size that somebody changes is put right.

use jiff::{SignedDuration, Timestamp};

use super::Deadline;

/// How often to look whether a share has been taken away.
const SERVED_PERIOD: SignedDuration = SignedDuration::from_secs(1);

/// The pods of one template and its Service, in numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExperimentState {
    /// Its ReplicaSet, if there is one.
    pub set: Option<ExperimentSet>,
    /// The Service that is asked for.
    pub service: ServiceState,
    /// The size that it is to have while it goes on.
    pub replicas: i64,
    /// It has ended.
    pub is_over: bool,
    /// How long pods stay after that.
    pub delay: SignedDuration,
    /// A Rollout may still send it a share of its traffic.
    pub is_served: bool,
}

/// The size of a ReplicaSet of an experiment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExperimentSet {
    /// `spec.replicas`.
    pub size: i64,
    /// `status.replicas`: pods that exist.
    pub existing: i64,
    /// When it may be scaled down.
    pub deadline: Deadline,
}

/// How the Service of a template stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServiceState {
    /// None is asked for.
    Unwanted,
    /// It is not there yet.
    Missing,
    /// It leads to the pods.
    Leads,
    /// It is the experiment's and leads elsewhere.
    LeadsElsewhere,
}

/// One write to the pods of an experiment. Only this module makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExperimentMove {
    kind: ExperimentMoveKind,
    reason: &'static str,
}

impl ExperimentMove {
    /// What is written.
    pub fn kind(&self) -> &ExperimentMoveKind {
        &self.kind
    }

    /// Why, in words.
    pub fn reason(&self) -> &'static str {
        self.reason
    }
}

/// The kinds of writes to the pods of an experiment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExperimentMoveKind {
    /// Make the Service.
    MakeService,
    /// Let the Service lead to the pods.
    SelectPods,
    /// Delete the Service.
    DropService,
    /// Make the ReplicaSet, with this size.
    Create(i64),
    /// Resize the ReplicaSet, and take its deadline away.
    Scale {
        /// Its size until now.
        from: i64,
        /// Its new size.
        to: i64,
    },
    /// Give the ReplicaSet a scale-down deadline.
    SetDeadline(Timestamp),
    /// Take the deadline of the ReplicaSet away.
    ClearDeadline,
}

/// What is to be done about the pods of one template.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExperimentMoves {
    /// Writes, in order; every prefix is safe.
    pub writes: Vec<ExperimentMove>,
    /// The next instant at which the answer can differ with nothing else changed.
    pub recheck_at: Option<Timestamp>,
}

impl ExperimentMoves {
    fn push(&mut self, kind: ExperimentMoveKind, reason: &'static str) {
        self.writes.push(ExperimentMove { kind, reason });
    }
}

/// Says what is to be done about the pods of one template now.
pub fn plan_experiment(state: &ExperimentState, now: Timestamp) -> ExperimentMoves {
    let mut moves = ExperimentMoves::default();
    if state.is_over {
        end(state, now, &mut moves);
    } else {
        go_on(state, &mut moves);
    }
    moves
}

fn go_on(state: &ExperimentState, moves: &mut ExperimentMoves) {
    match state.service {
        ServiceState::Missing => moves.push(ExperimentMoveKind::MakeService, "the template asks for it"),
        ServiceState::LeadsElsewhere => {
            moves.push(ExperimentMoveKind::SelectPods, "it leads to other pods than the template's");
        }
        ServiceState::Unwanted | ServiceState::Leads => {}
    }
    let wanted = state.replicas.max(0);
    match state.set {
        None => moves.push(ExperimentMoveKind::Create(wanted), "the template has no ReplicaSet"),
        Some(set) if set.size != wanted => {
            moves.push(ExperimentMoveKind::Scale { from: set.size, to: wanted }, "the template asks for it");
        }
        Some(set) if set.deadline != Deadline::None => {
            moves.push(ExperimentMoveKind::ClearDeadline, "the template goes on");
        }
        Some(_) => {}
    }
}

fn end(state: &ExperimentState, now: Timestamp, moves: &mut ExperimentMoves) {
    let size = state.set.map_or(0, |set| set.size);
    if state.is_served && size > 0 {
        moves.recheck_at = now.checked_add(SERVED_PERIOD).ok();
        return;
    }
    if let Some(set) = state.set.filter(|set| set.size > 0) {
        let until = now.checked_add(state.delay).ok().filter(|_| state.delay.is_positive());
        match (set.deadline, until) {
            (Deadline::None, Some(until)) => {
                moves.push(ExperimentMoveKind::SetDeadline(until), "the template has ended");
                moves.recheck_at = Some(until);
            }
            (Deadline::Running(until), Some(_)) => moves.recheck_at = Some(until),
            (Deadline::Passed, _) | (Deadline::None | Deadline::Running(_), None) => {
                moves.push(ExperimentMoveKind::Scale { from: size, to: 0 }, "the template has ended");
            }
        }
    }
    let is_empty = size <= 0 && state.set.is_none_or(|set| set.existing <= 0);
    if is_empty && matches!(state.service, ServiceState::Leads | ServiceState::LeadsElsewhere) {
        moves.push(ExperimentMoveKind::DropService, "its last pod is gone");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    #[test]
    fn moves() {
        use Deadline::{None as Free, Passed, Running};
        use ExperimentMoveKind::{
            ClearDeadline, Create, DropService, MakeService, Scale, SelectPods, SetDeadline,
        };
        use ServiceState::{Leads, LeadsElsewhere, Missing, Unwanted};
        let set = |size, existing, deadline| Some(ExperimentSet { size, existing, deadline });
        let cases = [
            // (set, service, replicas, is over, delay) -> writes
            ((None, Unwanted, 2, false, 30), vec![Create(2)]),
            ((None, Missing, 2, false, 30), vec![MakeService, Create(2)]),
            ((None, Unwanted, -3, false, 30), vec![Create(0)]),
            ((set(0, 0, Free), Missing, 1, false, 30), vec![MakeService, Scale { from: 0, to: 1 }]),
            ((set(1, 1, Running(at(50))), Unwanted, 1, false, 30), vec![ClearDeadline]),
            ((set(3, 3, Passed), Leads, 1, false, 30), vec![Scale { from: 3, to: 1 }]),
            ((set(1, 1, Free), LeadsElsewhere, 1, false, 30), vec![SelectPods]),
            ((set(1, 1, Free), Leads, 1, false, 30), vec![]),
            ((set(1, 1, Free), Leads, 1, true, 30), vec![SetDeadline(at(130))]),
            ((set(1, 1, Running(at(130))), Leads, 1, true, 30), vec![]),
            ((set(1, 1, Passed), Leads, 1, true, 30), vec![Scale { from: 1, to: 0 }]),
            ((set(1, 1, Free), Leads, 1, true, 0), vec![Scale { from: 1, to: 0 }]),
            ((set(0, 1, Free), Leads, 1, true, 30), vec![]),
            ((set(0, 0, Free), Leads, 1, true, 30), vec![DropService]),
            ((set(0, 0, Free), Unwanted, 1, true, 30), vec![]),
            ((None, Missing, 1, true, 30), vec![]),
            ((None, Leads, 1, true, 30), vec![DropService]),
        ];
        for ((set, service, replicas, is_over, delay), wanted) in cases {
            let delay = SignedDuration::from_secs(delay);
            let state = ExperimentState { set, service, replicas, is_over, delay, is_served: false };
            let moves = plan_experiment(&state, at(100));
            let found: Vec<_> = moves.writes.iter().map(|write| write.kind.clone()).collect();
            assert_eq!(found, wanted, "{state:?}");
            if is_over && state.set.is_some_and(|set| set.size > 0) {
                let moves = plan_experiment(&ExperimentState { is_served: true, ..state }, at(100));
                assert_eq!((moves.writes, moves.recheck_at), (vec![], Some(at(101))), "{state:?}");
            }
        }
    }
}

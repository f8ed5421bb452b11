//! Restarts pods that are older than `restartAt`: which one may go now.
//!
//! Pods go by eviction, so that disruption budgets count. One budget serves everything: nothing is evicted in
//! a look that takes pods away anyhow, and available pods never fall below `replicas − maxUnavailable`. Where
//! none may be missing, an extra pod comes first (see [`extra`]). Stable's pods go first, then the new
//! version's, then all others, the oldest first.

use jiff::{SignedDuration, Timestamp};

use crate::moves::{Wait, WaitReason};
use crate::plan::Action;
use crate::replicas::Corridor;
use crate::world::{Pod, Rollout, Spec};

/// Whether a restart is asked for and due, and not done yet; else when it will be due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Nothing is to be restarted.
    Never,
    /// Not before this instant.
    At(Timestamp),
    /// Pods that were created before this instant are to go.
    Now(Timestamp),
}

/// Whether a restart is due.
pub fn due(rollout: &Rollout, now: Timestamp) -> Due {
    let Ok(Spec { restart_at: Some(at), .. }) = &rollout.spec else { return Due::Never };
    // What is recorded has whole seconds, as the ages of pods have.
    let Ok(at) = Timestamp::from_second(at.as_second()) else { return Due::Never };
    let restarted_at = rollout.status.restarted_at.map(sluice_api::Time::timestamp);
    if restarted_at.is_some_and(|time| time.as_second() == at.as_second()) {
        return Due::Never;
    }
    match at.checked_add(SignedDuration::from_nanos(1)) {
        Ok(after) if now < after => Due::At(after),
        _ => Due::Now(at),
    }
}

/// What a restart asks for in one look.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Restart {
    /// Pods to evict now.
    pub evictions: Vec<Action>,
    /// What is awaited, if old pods are left.
    pub wait: Option<Wait>,
    /// When to look at the pods again.
    pub recheck_at: Option<Timestamp>,
    /// No old pod is left.
    pub is_done: bool,
}

/// How often pods are looked at during a restart.
const PERIOD: SignedDuration = SignedDuration::from_secs(5);

/// Pods that are old.
fn old(pods: &[Pod], before: Timestamp) -> impl Iterator<Item = &Pod> {
    pods.iter().filter(move |pod| pod.created_at < before)
}

/// How many pods stable is to have beyond `replicas`, so that an old one can go although none may be missing.
pub fn extra(corridor: Corridor, pods: Option<&[Pod]>, before: Timestamp) -> i64 {
    let is_needed = corridor.unavailable == 0 && corridor.replicas > 0;
    i64::from(is_needed && pods.is_some_and(|pods| old(pods, before).next().is_some()))
}

/// What a restart asks for while nobody knows its pods: to look again.
pub fn unknown(before: Timestamp, now: Timestamp) -> Restart {
    let wait = Wait {
        reason: WaitReason::Restart,
        object: "pods".into(),
        seen: "not known".into(),
        wanted: format!("a list of them, to restart those created before {before:.0}"),
    };
    Restart { wait: Some(wait), recheck_at: now.checked_add(PERIOD).ok(), ..Restart::default() }
}

/// Decides which pods may go now. `rank` orders versions by their ReplicaSet's uid; `is_shrinking` says that
/// this look takes pods away anyhow.
pub fn decide(
    corridor: Corridor,
    pods: &[Pod],
    before: Timestamp,
    rank: impl Fn(&str) -> usize,
    is_shrinking: bool,
    now: Timestamp,
) -> Restart {
    let mut waiting: Vec<&Pod> = old(pods, before).collect();
    if waiting.is_empty() {
        return Restart { is_done: true, ..Restart::default() };
    }
    waiting.sort_by_key(|pod| (rank(&pod.set), pod.created_at, &pod.name));
    let available = pods.iter().filter(|pod| pod.is_available(now)).count();
    let mut budget = i64::try_from(available).unwrap_or(i64::MAX) - corridor.floor();
    let mut evictions = Vec::new();
    for pod in waiting.iter().filter(|pod| !pod.is_terminating && !is_shrinking) {
        // One that is not available costs nothing.
        let cost = i64::from(pod.is_available(now));
        if cost > budget.max(0) {
            continue;
        }
        budget -= cost;
        evictions.push(Action::Evict { pod: pod.name.clone() });
    }
    let wait = Wait {
        reason: WaitReason::Restart,
        object: "pods".into(),
        seen: format!("{} created before {before:.0}, {available} available", waiting.len()),
        wanted: format!("all restarted, with {} available meanwhile", corridor.floor()),
    };
    Restart { evictions, wait: Some(wait), recheck_at: now.checked_add(PERIOD).ok(), is_done: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).expect("in range")
    }

    /// Pods as words: `s` of stable, `n` of the new version, `!` not available, `x` terminating, `+` young.
    fn pods(text: &str) -> Vec<Pod> {
        text.split_whitespace()
            .enumerate()
            .map(|(index, word)| Pod {
                name: format!("{}{index}", &word[..1]),
                set: word[..1].to_owned(),
                created_at: if word.contains('+') { at(200) } else { at(index as i64) },
                available_at: (!word.contains('!')).then(|| at(50)),
                is_terminating: word.contains('x'),
            })
            .collect()
    }

    #[test]
    fn who_may_go_now() {
        // replicas, unavailable, pods => evicted
        for (replicas, unavailable, text, expected) in [
            (3, 2, "s s s", "s0 s1"),
            (3, 2, "s s s!", "s0 s2"), // the one that does nothing goes beside it
            (3, 0, "s s s", ""),
            (3, 0, "s s s s+", "s0"), // an extra pod came first
            (1, 0, "s", ""),
            (1, 0, "s s+", "s0"),
            (1, 1, "s n", "s0 n1"),
            (2, 1, "n s s", "s1 s2"),
            (3, 1, "s sx s", ""), // one is on its way out already
            (3, 1, "s+ s+ s", "s2"),
            (3, 1, "s+ s+ s+", "done"),
            (0, 0, "", "done"),
        ] {
            let corridor = Corridor { replicas, surge: 1, unavailable };
            let rank = |set: &str| usize::from(set != "s");
            let restart = decide(corridor, &pods(text), at(100), rank, false, at(300));
            let mut names: Vec<&str> = restart
                .evictions
                .iter()
                .map(|action| match action {
                    Action::Evict { pod } => pod.as_str(),
                    other => panic!("{other:?}"),
                })
                .collect();
            if restart.is_done {
                names.push("done");
            }
            assert_eq!(names.join(" "), expected, "R={replicas} U={unavailable} {text}");
            assert_eq!(restart.wait.is_none(), restart.is_done);
            let held = decide(corridor, &pods(text), at(100), rank, true, at(300));
            assert!(held.evictions.is_empty(), "one budget serves everything");
        }
    }

    #[test]
    fn what_is_asked_for_within_a_second_is_done_once() {
        let mut story = crate::stories::Story::new(1, &[]);
        let asked = at(0) + SignedDuration::from_millis(500);
        story.spec().restart_at = Some(asked);
        assert_eq!(due(&story.world.rollout, at(-1)), Due::At(at(0) + SignedDuration::from_nanos(1)));
        assert_eq!(due(&story.world.rollout, asked), Due::Now(at(0)));
        story.rollout().status.restarted_at = Some(sluice_api::meta::Time::new(at(0)));
        assert_eq!(due(&story.world.rollout, asked), Due::Never);
    }

    #[test]
    fn an_extra_pod_only_where_none_may_be_missing() {
        let corridor = |unavailable| Corridor { replicas: 3, surge: 1, unavailable };
        assert_eq!(extra(corridor(0), Some(&pods("s s s")), at(100)), 1);
        assert_eq!(extra(corridor(0), Some(&pods("s+ s+ s+")), at(100)), 0);
        assert_eq!(extra(corridor(1), Some(&pods("s s s")), at(100)), 0);
        assert_eq!(extra(corridor(0), None, at(100)), 0);
    }
}

//! What is known of a Rollout's routes: what the objects ask for, and what a proxy may still do.
//!
//! A change of a route is seen by proxies one after the other, so a weight is an interval for a while. The
//! [`Record`] of that interval is kept between looks by whoever looks. It is widened before a write and
//! narrowed when the data plane says so, or, where nobody can be asked, when the settle time is over.
//! Losing it is safe: everything may be live then, for one settle time. Which weight is wanted is not
//! decided here.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use sluice_api::steps::{SetHeaderRoute, SetMirrorRoute};

use crate::moves::{LiveWeight, ManagedRoutes};

/// Where traffic is to go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Routes {
    /// The canary's weight.
    pub weight: i64,
    /// The pod template hash behind the stable destination; `None`: as it is.
    pub stable_hash: Option<String>,
    /// The pod template hash behind the canary destination; `None`: as it is.
    pub canary_hash: Option<String>,
    /// The Services that take turns, stable's first.
    pub ping_pong: Option<(String, String)>,
    /// The managed routes that are to be there, the one with precedence first.
    pub managed: Vec<ManagedRoute>,
    /// Where experiments get a share of what stable has.
    pub extra: Vec<Extra>,
}

/// A further destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extra {
    /// The Service that leads to its pods.
    pub service: String,
    /// The hash of its pods.
    pub hash: String,
    /// Its weight.
    pub weight: i64,
}

/// A route that a step asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ManagedRoute {
    /// `setHeaderRoute`.
    Header(SetHeaderRoute),
    /// `setMirrorRoute`.
    Mirror(SetMirrorRoute),
}

impl ManagedRoute {
    /// Its name.
    pub fn name(&self) -> &str {
        match self {
            ManagedRoute::Header(route) => &route.name,
            ManagedRoute::Mirror(route) => &route.name,
        }
    }

    /// Whether the step takes the route of this name away.
    pub fn is_removal(&self) -> bool {
        match self {
            ManagedRoute::Header(route) => route.r#match.is_empty(),
            ManagedRoute::Mirror(route) => route.r#match.is_empty(),
        }
    }
}

/// What the data plane does, as far as it can be asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verdict {
    /// It does what was asked.
    Live,
    /// It does not yet.
    Pending,
    /// Nobody can tell.
    #[default]
    Unknown,
}

/// Which versions the subsets of a router select, by pod template hash; `None`: all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subsets {
    /// For stable traffic.
    pub stable: Option<String>,
    /// For canary traffic.
    pub canary: Option<String>,
}

/// One subset of a router.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subset {
    /// The version that it selects, by pod template hash; `None`: all of them.
    pub hash: Option<String>,
    /// When its last change has reached every proxy, if that lies ahead.
    pub settles_at: Option<Timestamp>,
}

/// The subsets for stable and for canary traffic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubsetPair {
    /// For stable traffic.
    pub stable: Subset,
    /// For canary traffic.
    pub canary: Subset,
}

/// What the routers' objects ask for at one look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sight {
    /// The canary's weight that each router's objects say; `None`: they do not agree on one.
    pub weights: Vec<Option<i64>>,
    /// Managed routes that are there.
    pub managed: BTreeSet<String>,
    /// What subsets select, if a router has any.
    pub subsets: Option<Subsets>,
    /// Not every object could be read.
    pub is_partial: bool,
    /// The objects show exactly the routes that were last asked for.
    pub shows_last: bool,
    /// What the data plane says of them.
    pub verdict: Verdict,
    /// The Service that plays the canary's part, where two take turns.
    pub canary_role: Option<String>,
}

/// How long things take to be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// How long a change takes to reach every proxy when nobody can be asked; `None`: it is never known.
    pub settle: Option<SignedDuration>,
    /// How much longer pods that lose a share are kept.
    pub drain: SignedDuration,
}

/// What is remembered of a Rollout's routes between looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    requested: i64,
    low: i64,
    high: i64,
    kept: (i64, i64),
    managed_may_be_live: bool,
    managed_may_be_absent: bool,
    subsets: Option<Subsets>,
    /// When the subset for stable traffic changed, and the one for canary traffic.
    subsets_changed_at: (Timestamp, Timestamp),
    changed_at: Timestamp,
    canary_role: Option<String>,
    /// Nothing has been asked for and nothing has settled since the record began.
    pub is_guess: bool,
    /// The routes that were last asked for.
    pub asked: Option<Routes>,
    /// The same, as long as the objects show them.
    pub shown: Option<Routes>,
}

impl Record {
    /// Before anything is known: everything may be live since now.
    pub fn unknown(max: i64, now: Timestamp) -> Record {
        Record {
            requested: 0,
            low: 0,
            high: max,
            kept: (0, max),
            managed_may_be_live: true,
            managed_may_be_absent: true,
            subsets: None,
            subsets_changed_at: (now, now),
            changed_at: now,
            canary_role: None,
            is_guess: true,
            asked: None,
            shown: None,
        }
    }

    /// Notes routes that are about to be asked for: from here on both the old and the new may be live.
    pub fn asks(&mut self, routes: &Routes, now: Timestamp) {
        self.asked = Some(routes.clone());
        if self.shown.as_ref() == Some(routes) {
            return;
        }
        self.is_guess = false;
        self.widen(routes.weight);
        self.requested = routes.weight;
        self.managed_may_be_live |= !routes.managed.is_empty();
        self.managed_may_be_absent |= self.shown.as_ref().is_none_or(|shown| shown.managed != routes.managed);
        self.changed_at = now;
        self.shown = None;
    }

    /// Notes that the objects show these routes now. `is_change`: they did not before.
    pub fn shows(&mut self, routes: &Routes, is_change: bool, now: Timestamp) {
        if is_change {
            self.asks(routes, now);
        }
        self.asked = Some(routes.clone());
        self.shown = Some(routes.clone());
    }

    fn widen(&mut self, weight: i64) {
        self.low = self.low.min(weight);
        self.high = self.high.max(weight);
        self.kept = (self.kept.0.min(weight), self.kept.1.max(weight));
    }

    /// Takes in what one look at the objects shows.
    pub fn see(&mut self, sight: &Sight, max: i64, times: Times, now: Timestamp) {
        if self.canary_role != sight.canary_role {
            if self.canary_role.is_some() && sight.canary_role.is_some() {
                // The two have changed their parts: what one had is now the other's.
                self.requested = max - self.requested;
                (self.low, self.high) = (max - self.high, max - self.low);
                self.kept = (max - self.kept.1, max - self.kept.0);
            }
            self.canary_role.clone_from(&sight.canary_role);
            self.shown = None;
        }
        let side = |subsets: &Option<Subsets>, of: fn(&Subsets) -> &Option<String>| {
            subsets.as_ref().map(|subsets| of(subsets).clone())
        };
        for (of, changed_at) in [
            ((|s| &s.stable) as fn(&Subsets) -> &Option<String>, &mut self.subsets_changed_at.0),
            (|s| &s.canary, &mut self.subsets_changed_at.1),
        ] {
            if side(&self.subsets, of) != side(&sight.subsets, of) {
                *changed_at = now;
            }
        }
        self.subsets.clone_from(&sight.subsets);
        if !sight.shows_last {
            self.shown = None;
        }
        for weight in sight.weights.iter().flatten() {
            if *weight < self.low || *weight > self.high {
                self.changed_at = now; // somebody else wrote it
            }
            self.widen(*weight);
        }
        if !sight.managed.is_empty() && !self.managed_may_be_live {
            self.managed_may_be_live = true;
            self.changed_at = now;
        }
        // Where routers differ, the most is what may be asked for.
        let asked = sight.weights.iter().flatten().max();
        self.requested = asked.copied().unwrap_or(self.requested);
        let is_even = !sight.is_partial && sight.weights.iter().all(|weight| *weight == Some(self.requested));
        let is_over = |after: Option<SignedDuration>| {
            after.and_then(|after| self.changed_at.checked_add(after).ok()).is_some_and(|at| now >= at)
        };
        let is_settled = is_even
            && match sight.verdict {
                Verdict::Live => true,
                Verdict::Pending => false,
                Verdict::Unknown => is_over(times.settle),
            };
        if is_settled {
            self.is_guess = false;
            (self.low, self.high) = (self.requested, self.requested);
            self.managed_may_be_live = !sight.managed.is_empty();
            self.managed_may_be_absent = sight.managed.is_empty();
        }
        let released = match sight.verdict {
            Verdict::Live => Some(times.drain),
            Verdict::Pending | Verdict::Unknown => times.settle.map(|settle| settle + times.drain),
        };
        if is_settled && is_over(released) {
            self.kept = (self.low, self.high);
        }
    }

    /// The weight, as the planner looks at it.
    pub fn weight(&self, verdict: Verdict, times: Times) -> LiveWeight {
        let is_settled = self.low == self.high && self.high == self.requested;
        let by_clock = times.settle.filter(|_| verdict == Verdict::Unknown);
        let end = |after: Option<SignedDuration>| self.changed_at.checked_add(after?).ok();
        let drained = match verdict {
            Verdict::Live => Some(times.drain),
            Verdict::Pending => None,
            Verdict::Unknown => by_clock.map(|settle| settle + times.drain),
        };
        let is_kept = self.kept != (self.low, self.high);
        LiveWeight {
            requested: self.requested,
            low: self.low,
            high: self.high,
            settles_at: end(by_clock).filter(|_| !is_settled),
            kept: self.kept,
            released_at: end(drained).filter(|_| is_kept),
        }
    }

    /// The managed routes, as the planner looks at them.
    pub fn managed(&self, sight: &Sight, times: Times) -> ManagedRoutes {
        let requested = match &self.shown {
            Some(routes) => !routes.managed.is_empty(),
            None => !sight.managed.is_empty(),
        };
        let by_clock = times.settle.filter(|_| sight.verdict == Verdict::Unknown);
        let ends = by_clock.and_then(|settle| self.changed_at.checked_add(settle).ok());
        let is_late = if requested { self.managed_may_be_absent } else { self.managed_may_be_live };
        let is_settled = self.low == self.high && !is_late;
        ManagedRoutes {
            requested,
            may_be_live: self.managed_may_be_live || requested,
            may_be_absent: self.managed_may_be_absent || !requested,
            settles_at: ends.filter(|_| !is_settled),
        }
    }

    /// What the subsets select, and when their last changes have reached every proxy.
    pub fn subsets(&self, times: Times, now: Timestamp) -> Option<SubsetPair> {
        let subsets = self.subsets.as_ref()?;
        let settles_at = |changed_at: Timestamp| {
            let settle = times.settle.unwrap_or(SignedDuration::MAX);
            Some(changed_at.checked_add(settle).unwrap_or(Timestamp::MAX)).filter(|at| *at > now)
        };
        let (stable, canary) = self.subsets_changed_at;
        Some(SubsetPair {
            stable: Subset { hash: subsets.stable.clone(), settles_at: settles_at(stable) },
            canary: Subset { hash: subsets.canary.clone(), settles_at: settles_at(canary) },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMES: Times = Times { settle: Some(SignedDuration::from_secs(5)), drain: SignedDuration::ZERO };

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).expect("in range")
    }

    fn sight(weight: i64) -> Sight {
        Sight { weights: vec![Some(weight)], shows_last: true, ..Sight::default() }
    }

    fn interval(record: &Record) -> (i64, i64, i64) {
        let weight = record.weight(Verdict::Unknown, TIMES);
        (weight.requested, weight.low, weight.high)
    }

    fn asked(weight: i64) -> Routes {
        Routes { weight, ..Routes::default() }
    }

    #[test]
    fn without_a_record_everything_may_be_live_for_one_settle_time() {
        let mut record = Record::unknown(100, at(0));
        record.see(&sight(20), 100, TIMES, at(0));
        assert_eq!(interval(&record), (20, 0, 100));
        assert_eq!(record.weight(Verdict::Unknown, TIMES).settles_at, Some(at(5)));
        record.see(&sight(20), 100, TIMES, at(4));
        assert_eq!(interval(&record), (20, 0, 100));
        record.see(&sight(20), 100, TIMES, at(5));
        assert_eq!(interval(&record), (20, 20, 20));
        assert_eq!(record.weight(Verdict::Unknown, TIMES).settles_at, None);
    }

    fn settled(weight: i64) -> Record {
        let mut record = Record::unknown(100, at(-60));
        record.see(&sight(weight), 100, TIMES, at(-50));
        record.shows(&asked(weight), false, at(-50));
        record
    }

    #[test]
    fn a_write_widens_and_time_narrows() {
        let mut record = settled(20);
        record.asks(&asked(50), at(0));
        assert_eq!(interval(&record), (50, 20, 50));
        record.shows(&asked(50), true, at(0));
        record.see(&sight(50), 100, TIMES, at(1));
        assert_eq!(interval(&record), (50, 20, 50));
        record.see(&sight(50), 100, TIMES, at(5));
        assert_eq!(interval(&record), (50, 50, 50));
    }

    #[test]
    fn a_verdict_outranks_the_clock() {
        let mut record = settled(20);
        record.asks(&asked(50), at(0));
        let pending = Sight { verdict: Verdict::Pending, ..sight(50) };
        record.see(&pending, 100, TIMES, at(500));
        assert_eq!(interval(&record), (50, 20, 50));
        assert_eq!(record.weight(Verdict::Pending, TIMES).settles_at, None);
        record.see(&Sight { verdict: Verdict::Live, ..sight(50) }, 100, TIMES, at(1));
        assert_eq!(interval(&record), (50, 50, 50));
    }

    #[test]
    fn what_somebody_else_writes_counts_from_when_it_is_seen() {
        let mut record = settled(20);
        record.see(&Sight { shows_last: false, ..sight(70) }, 100, TIMES, at(0));
        assert_eq!((interval(&record), &record.shown), ((70, 20, 70), &None));
        record.see(&sight(70), 100, TIMES, at(5));
        assert_eq!(interval(&record), (70, 70, 70));
    }

    #[test]
    fn routers_that_differ_never_settle() {
        let mut record = settled(20);
        let differs = Sight { weights: vec![Some(20), Some(50)], ..sight(0) };
        record.see(&differs, 100, TIMES, at(100));
        record.see(&differs, 100, TIMES, at(200));
        assert_eq!(interval(&record), (50, 20, 50));
    }

    #[test]
    fn an_object_that_cannot_be_read_settles_nothing() {
        let mut record = settled(20);
        record.asks(&asked(50), at(0));
        let partial = Sight { weights: vec![], is_partial: true, ..sight(0) };
        record.see(&partial, 100, TIMES, at(100));
        assert_eq!(interval(&record), (50, 20, 50));
    }

    #[test]
    fn a_change_of_parts_turns_the_interval_around() {
        let mut record = Record::unknown(100, at(-60));
        let before = Sight { canary_role: Some("pong".into()), ..sight(100) };
        record.see(&before, 100, TIMES, at(-60));
        record.see(&before, 100, TIMES, at(-50));
        assert_eq!(interval(&record), (100, 100, 100));
        let after = Sight { canary_role: Some("ping".into()), ..sight(0) };
        record.see(&after, 100, TIMES, at(0));
        assert_eq!(interval(&record), (0, 0, 0), "no route has changed");
    }

    #[test]
    fn pods_are_kept_for_the_drain_time() {
        let times = Times { drain: SignedDuration::from_secs(30), ..TIMES };
        let mut record = settled(20);
        record.asks(&asked(50), at(0));
        record.see(&sight(50), 100, times, at(5));
        let weight = record.weight(Verdict::Unknown, times);
        assert_eq!((weight.low, weight.high, weight.kept), (50, 50, (20, 50)));
        assert_eq!((weight.settles_at, weight.released_at), (None, Some(at(35))));
        record.see(&sight(50), 100, times, at(35));
        assert_eq!(record.weight(Verdict::Unknown, times).kept, (50, 50));
    }

    #[test]
    fn a_subset_that_changes_does_not_unsettle_the_other() {
        let mut record = Record::unknown(100, at(-60));
        let seen = |stable: &str| Sight {
            subsets: Some(Subsets { stable: Some(stable.into()), canary: Some("b".into()) }),
            ..sight(100)
        };
        record.see(&seen("a"), 100, TIMES, at(-60));
        record.see(&seen("b"), 100, TIMES, at(0));
        let pair = record.subsets(TIMES, at(1)).expect("subsets");
        assert_eq!((pair.stable.settles_at, pair.canary.settles_at), (Some(at(5)), None));
    }

    #[test]
    fn strict_never_settles_by_the_clock() {
        let times = Times { settle: None, ..TIMES };
        let mut record = Record::unknown(100, at(0));
        record.see(&sight(50), 100, times, at(1_000_000));
        assert_eq!(interval(&record), (50, 0, 100));
    }
}

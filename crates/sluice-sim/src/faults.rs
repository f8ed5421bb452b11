//! What may go wrong between a client and the cluster.
//!
//! Every fault belongs to an identity; `*` means everybody. Counting starts when a fault is set. Faults
//! are met by clients only, never by the direct doors. Decides which request meets which fault; the
//! requests themselves are `request`'s and `watch`'s.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rand::{Rng, SeedableRng, rngs::SmallRng};
use tokio::sync::watch;

/// When a write fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Nothing was stored.
    Before,
    /// It was stored, and the answer was lost.
    After,
}

/// How a request fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// 500.
    Internal,
    /// 503.
    Unavailable,
    /// 504.
    Timeout,
    /// No answer: the connection breaks.
    Connection,
    /// 409, as if somebody else had written.
    Conflict,
    /// 429 with this many seconds in `Retry-After`.
    Throttled(u32),
}

#[derive(Debug, Default)]
struct Rules {
    /// Write requests so far.
    writes: u64,
    /// Update and patch requests so far.
    updates: u64,
    /// Committed writes so far.
    committed: u64,
    failing_writes: Vec<(u64, When, Failure)>,
    failing_updates: Vec<u64>,
    throttled: Option<(u32, u32)>,
    cut: bool,
    stop_at: Option<u64>,
    stopped: bool,
    latency: Option<(Duration, Duration)>,
    watch_delay: BTreeMap<String, Duration>,
    watch_generation: u64,
    muted_since: Option<u64>,
    expired_before: u64,
    stale_lists: u64,
}

#[derive(Debug)]
struct Book {
    rules: BTreeMap<String, Rules>,
    rng: SmallRng,
}

/// The faults of a cluster.
#[derive(Debug)]
pub struct Faults {
    book: Mutex<Book>,
    changed: watch::Sender<u64>,
}

/// What becomes of a request before it is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gate {
    /// It never gets an answer.
    Hang,
    /// It fails like this.
    Fail(Failure),
    /// It goes on, and its answer is lost like this.
    PassThenFail(Failure),
    /// It goes on.
    Pass,
}

/// What a watch must know about faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WatchFaults {
    pub generation: u64,
    pub cut: bool,
    pub stopped: bool,
    pub muted_since: Option<u64>,
    pub delay: Duration,
}

impl Faults {
    pub(crate) fn new(seed: u64) -> Faults {
        let rng = SmallRng::seed_from_u64(seed ^ 0x5eed_f417);
        Faults { book: Mutex::new(Book { rules: BTreeMap::new(), rng }), changed: watch::Sender::new(0) }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, identity: &str, change: impl FnOnce(&mut Rules)) {
        change(self.book().rules.entry(identity.to_owned()).or_default());
        self.changed.send_modify(|n| *n += 1);
    }

    /// Fails the n-th write from now on (1 is the next one).
    pub fn fail_write(&self, identity: &str, n: u64, when: When, failure: Failure) {
        self.set(identity, |rules| {
            let at = rules.writes + n;
            rules.failing_writes.push((at, when, failure));
        });
    }

    /// Answers the n-th update or patch from now on with 409.
    pub fn conflict_update(&self, identity: &str, n: u64) {
        self.set(identity, |rules| {
            let at = rules.updates + n;
            rules.failing_updates.push(at);
        });
    }

    /// Answers the next `count` requests with 429.
    pub fn throttle(&self, identity: &str, count: u32, retry_after_seconds: u32) {
        self.set(identity, |rules| rules.throttled = Some((count, retry_after_seconds)));
    }

    /// Refuses every connection and breaks open watches.
    pub fn cut(&self, identity: &str) {
        self.set(identity, |rules| {
            rules.cut = true;
            rules.watch_generation += 1;
        });
    }

    /// Undoes [`Faults::cut`].
    pub fn mend(&self, identity: &str) {
        self.set(identity, |rules| rules.cut = false);
    }

    /// Ends open watches, as a restarting API server does.
    pub fn drop_watches(&self, identity: &str) {
        self.set(identity, |rules| rules.watch_generation += 1);
    }

    /// Delivers watch events of a kind (`*` for all) late.
    pub fn delay_watch(&self, identity: &str, kind: &str, delay: Duration) {
        self.set(identity, |rules| {
            rules.watch_delay.insert(kind.to_owned(), delay);
        });
    }

    /// From now on watches deliver nothing, without ending; `version` is the latest resource version.
    pub fn mute_watches(&self, identity: &str, version: u64) {
        self.set(identity, |rules| rules.muted_since = Some(version));
    }

    /// Ends muted watches. What they did not deliver is lost: going on from before `version` gets 410.
    pub fn expire_watches(&self, identity: &str, version: u64) {
        self.set(identity, |rules| {
            rules.muted_since = None;
            rules.expired_before = version;
            rules.watch_generation += 1;
        });
    }

    /// Lists that allow any version (`resourceVersion=0`) are this many versions old; 0 ends that.
    pub fn stale_lists(&self, identity: &str, versions: u64) {
        self.set(identity, |rules| rules.stale_lists = versions);
    }

    /// After the k-th committed write from now on, no request gets an answer any more, and watches
    /// fall silent: the client might as well have crashed there. 0 stops it now.
    pub fn stop_after_writes(&self, identity: &str, k: u64) {
        self.set(identity, |rules| {
            rules.stop_at = Some(rules.committed + k);
            rules.stopped = k == 0;
        });
    }

    /// Undoes [`Faults::stop_after_writes`] for new requests; those that hang go on hanging.
    pub fn restart(&self, identity: &str) {
        self.set(identity, |rules| {
            rules.stop_at = None;
            rules.stopped = false;
            rules.watch_generation += 1;
        });
    }

    /// Whether the k-th write has been made.
    pub fn is_stopped(&self, identity: &str) -> bool {
        self.book().rules.get(identity).is_some_and(|rules| rules.stopped)
    }

    /// Writes of this identity that were committed.
    pub fn committed_writes(&self, identity: &str) -> u64 {
        self.book().rules.get(identity).map_or(0, |rules| rules.committed)
    }

    /// Every request takes between `least` and `most`.
    pub fn latency(&self, identity: &str, least: Duration, most: Duration) {
        self.set(identity, |rules| rules.latency = Some((least, most.max(least))));
    }

    /// Removes all faults of an identity. Counters stay.
    pub fn clear(&self, identity: &str) {
        self.set(identity, |rules| {
            *rules = Rules {
                writes: rules.writes,
                updates: rules.updates,
                committed: rules.committed,
                watch_generation: rules.watch_generation + 1,
                expired_before: rules.expired_before,
                ..Rules::default()
            };
        });
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    fn each<'a>(book: &'a mut Book, identity: &str) -> impl Iterator<Item = &'a mut Rules> {
        let identity = identity.to_owned();
        book.rules
            .iter_mut()
            .filter(move |(name, _)| **name == identity || *name == "*")
            .map(|(_, rules)| rules)
    }

    pub(crate) fn delay_of(&self, identity: &str) -> Duration {
        let mut book = self.book();
        let Some((least, most)) = Self::each(&mut book, identity).find_map(|rules| rules.latency) else {
            return Duration::ZERO;
        };
        let span = u64::try_from(most.saturating_sub(least).as_micros()).unwrap_or(u64::MAX);
        least + Duration::from_micros(if span == 0 { 0 } else { book.rng.random_range(0..=span) })
    }

    pub(crate) fn gate(&self, identity: &str, is_write: bool, is_update: bool) -> Gate {
        let mut book = self.book();
        // Counting needs a line for everybody.
        book.rules.entry(identity.to_owned()).or_default();
        let mut gate = Gate::Pass;
        for rules in Self::each(&mut book, identity) {
            let next = rules.gate(is_write, is_update);
            if gate == Gate::Pass {
                gate = next;
            }
        }
        gate
    }

    pub(crate) fn committed(&self, identity: &str, count: u64) {
        let mut stopped = false;
        for rules in Self::each(&mut self.book(), identity) {
            rules.committed += count;
            if rules.stop_at.is_some_and(|at| rules.committed >= at) && !rules.stopped {
                rules.stopped = true;
                stopped = true;
            }
        }
        if stopped {
            self.changed.send_modify(|n| *n += 1);
        }
    }

    pub(crate) fn watch_faults(&self, identity: &str, kind: &str) -> WatchFaults {
        let mut book = self.book();
        let mut out = WatchFaults {
            generation: 0,
            cut: false,
            stopped: false,
            muted_since: None,
            delay: Duration::ZERO,
        };
        for rules in Self::each(&mut book, identity) {
            out.generation += rules.watch_generation;
            out.cut |= rules.cut;
            out.stopped |= rules.stopped;
            out.muted_since = match (out.muted_since, rules.muted_since) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
            let delay = rules
                .watch_delay
                .get(kind)
                .or_else(|| rules.watch_delay.get("*"))
                .copied()
                .unwrap_or_default();
            out.delay = out.delay.max(delay);
        }
        out
    }

    pub(crate) fn expired_before(&self, identity: &str) -> u64 {
        Self::each(&mut self.book(), identity).map(|rules| rules.expired_before).max().unwrap_or_default()
    }

    pub(crate) fn list_age(&self, identity: &str) -> u64 {
        Self::each(&mut self.book(), identity).map(|rules| rules.stale_lists).max().unwrap_or_default()
    }
}

impl Rules {
    fn gate(&mut self, is_write: bool, is_update: bool) -> Gate {
        if self.stopped {
            return Gate::Hang;
        }
        if self.cut {
            return Gate::Fail(Failure::Connection);
        }
        if let Some((count, seconds)) = self.throttled.filter(|(count, _)| *count > 0) {
            self.throttled = Some((count - 1, seconds));
            return Gate::Fail(Failure::Throttled(seconds));
        }
        self.writes += u64::from(is_write);
        self.updates += u64::from(is_update);
        if is_update && let Some(at) = self.failing_updates.iter().position(|n| *n == self.updates) {
            self.failing_updates.swap_remove(at);
            return Gate::Fail(Failure::Conflict);
        }
        if is_write && let Some(at) = self.failing_writes.iter().position(|(n, _, _)| *n == self.writes) {
            let (_, when, failure) = self.failing_writes.swap_remove(at);
            return match when {
                When::Before => Gate::Fail(failure),
                When::After => Gate::PassThenFail(failure),
            };
        }
        Gate::Pass
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nth_write_fails_and_no_other() {
        let faults = Faults::new(1);
        faults.fail_write("a", 2, When::After, Failure::Unavailable);
        faults.conflict_update("a", 2);
        let gates: Vec<_> =
            [false, true, true].iter().map(|update| faults.gate("a", true, *update)).collect();
        assert_eq!(
            gates,
            [Gate::Pass, Gate::PassThenFail(Failure::Unavailable), Gate::Fail(Failure::Conflict)]
        );
        assert_eq!(faults.gate("b", true, true), Gate::Pass);
    }

    #[test]
    fn a_stopped_client_hangs_until_it_is_restarted() {
        let faults = Faults::new(1);
        faults.stop_after_writes("a", 1);
        assert_eq!(faults.gate("a", true, false), Gate::Pass);
        faults.committed("a", 1);
        assert_eq!(faults.gate("a", false, false), Gate::Hang);
        faults.restart("a");
        assert_eq!(faults.gate("a", false, false), Gate::Pass);
    }
}

//! Whether a cache has caught up with our own writes.
//!
//! Decides between going on, waiting for the watch, and asking the API server directly. It holds no
//! objects and sends nothing. After each own write, the resource version that it produced is put down
//! here; a cache that is older must not be decided on, because it does not show what we did and what
//! others did in between.

use std::{
    cmp::Ordering,
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// Above this many keys, those that nobody asked about for long are dropped.
const MANY_KEYS: usize = 8_192;

/// Compares two resource versions, as Kubernetes allows it since 1.35 and has always meant it:
/// as whole numbers of any length. `None` when one of them is not a number.
pub fn compare_versions(a: &str, b: &str) -> Option<Ordering> {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(a) || !is_number(b) {
        return None;
    }
    let (a, b) = (a.trim_start_matches('0'), b.trim_start_matches('0'));
    Some(a.len().cmp(&b.len()).then_with(|| a.cmp(b)))
}

/// What to do about a key before deciding on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// The cache shows our last write, or something newer.
    Fresh,
    /// The cache is behind; it may have caught up at the given instant, and an event will tell.
    Wait(Instant),
    /// The cache has been behind for too long: read the object from the API server, then call
    /// [`Versions::settle`].
    AskLive,
}

#[derive(Debug)]
enum Expected {
    /// This version or a newer one.
    AtLeast(String),
    /// Not this version or an older one: we deleted the object when it was at it.
    Gone(String),
}

#[derive(Debug)]
struct Write {
    expected: Expected,
    at: Instant,
}

/// The last own write per key.
#[derive(Debug)]
pub struct Versions<K> {
    writes: Mutex<BTreeMap<K, Write>>,
    patience: Duration,
}

impl<K: Ord + Clone> Versions<K> {
    /// Waits `patience` for a watch before asking for a live read.
    pub fn new(patience: Duration) -> Self {
        Self { writes: Mutex::new(BTreeMap::new()), patience }
    }

    fn writes(&self) -> MutexGuard<'_, BTreeMap<K, Write>> {
        self.writes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Our write at `now` brought `key` to `version`.
    pub fn wrote(&self, key: K, version: impl Into<String>, now: Instant) {
        let version = version.into();
        let mut writes = self.writes();
        if writes.len() >= MANY_KEYS {
            let long = self.patience * 60;
            writes.retain(|_, write| now.duration_since(write.at) < long);
        }
        if let Some(Write { expected: Expected::AtLeast(before), .. }) = writes.get(&key)
            && compare_versions(before, &version) == Some(Ordering::Greater)
        {
            return; // Answers came back in another order than the writes took place.
        }
        writes.insert(key, Write { expected: Expected::AtLeast(version), at: now });
    }

    /// We deleted `key` at `now`, when it was at `version` or a later one.
    pub fn deleted(&self, key: K, version: impl Into<String>, now: Instant) {
        self.writes().insert(key, Write { expected: Expected::Gone(version.into()), at: now });
    }

    /// Whether the cache, which has `key` at `cached`, shows our last write. A key that is fresh is
    /// forgotten, so that asking costs nothing while we do not write.
    pub fn check(&self, key: &K, cached: Option<&str>, now: Instant) -> Freshness {
        let mut writes = self.writes();
        let Some(write) = writes.get(key) else { return Freshness::Fresh };
        let fresh = match (&write.expected, cached) {
            (Expected::AtLeast(wanted), Some(cached)) => match compare_versions(cached, wanted) {
                Some(order) => order.is_ge(),
                None => cached == wanted,
            },
            (Expected::AtLeast(_), None) => false,
            (Expected::Gone(last), Some(cached)) => {
                compare_versions(cached, last).map_or(cached != last, Ordering::is_gt)
            }
            (Expected::Gone(_), None) => true,
        };
        if fresh {
            writes.remove(key);
            return Freshness::Fresh;
        }
        let until = write.at + self.patience;
        if now < until { Freshness::Wait(until) } else { Freshness::AskLive }
    }

    /// Whether the cache must not be decided on: [`Versions::check`] is anything but fresh.
    pub fn is_stale(&self, key: &K, cached: Option<&str>, now: Instant) -> bool {
        self.check(key, cached, now) != Freshness::Fresh
    }

    /// A live read has resolved the doubt about `key`, or the object is no longer of interest.
    pub fn settle(&self, key: &K) {
        self.writes().remove(key);
    }

    /// How many keys have a write that no cache has shown yet.
    pub fn pending(&self) -> usize {
        self.writes().len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Freshness::*;

    #[test]
    fn versions_are_numbers_of_any_length() {
        use std::cmp::Ordering::{Equal, Greater, Less};
        for (a, b, expected) in [
            ("9", "10", Some(Less)),
            ("10", "9", Some(Greater)),
            ("10", "10", Some(Equal)),
            ("0", "00", Some(Equal)),
            (
                "340282366920938463463374607431768211457",
                "340282366920938463463374607431768211456",
                Some(Greater),
            ),
            ("", "1", None),
            ("1a", "1", None),
            ("-1", "1", None),
        ] {
            assert_eq!(compare_versions(a, b), expected, "{a} {b}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_cached_version_means_after_a_write() {
        let now = Instant::now();
        let wait = Wait(now + Duration::from_secs(5));
        // (what we did, version of it, what is cached) => what to do
        for (deleted, version, cached, expected) in [
            (false, "100", Some("99"), wait),
            (false, "100", Some("100"), Fresh),
            (false, "100", Some("101"), Fresh),
            (false, "100", None, wait),
            (false, "a7", Some("a6"), wait),
            (false, "a7", Some("a7"), Fresh),
            (true, "100", Some("100"), wait),
            (true, "100", Some("99"), wait),
            (true, "100", Some("101"), Fresh), // being deleted, or created anew
            (true, "100", None, Fresh),
        ] {
            let versions = Versions::new(Duration::from_secs(5));
            if deleted {
                versions.deleted("web", version, now);
            } else {
                versions.wrote("web", version, now);
            }
            assert_eq!(versions.check(&"other", None, now), Fresh);
            assert_eq!(versions.check(&"web", cached, now), expected, "{deleted} {version} {cached:?}");
            assert_eq!(versions.pending(), usize::from(expected != Fresh), "fresh is forgotten");
            if expected != Fresh {
                let later = now + Duration::from_secs(5);
                assert_eq!(versions.check(&"web", cached, later), AskLive, "waiting is bounded");
                versions.settle(&"web");
                assert!(!versions.is_stale(&"web", cached, later));
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_answer_does_not_lower_the_mark_and_memory_is_bounded() {
        let versions = Versions::new(Duration::from_secs(5));
        let now = Instant::now();
        versions.wrote(1, "200", now);
        versions.wrote(1, "150", now);
        assert!(versions.is_stale(&1, Some("150"), now));
        for key in 2..=20_000 {
            versions.wrote(key, "7", now + Duration::from_secs(key / 20));
        }
        assert!(versions.pending() <= MANY_KEYS, "{}", versions.pending());
    }
}

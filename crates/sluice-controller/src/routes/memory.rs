//! What is remembered of each Rollout's routes between looks. Losing it costs one settle time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};
use sluice_engine::traffic::{Record, Routes, Sight, Times};
use sluice_engine::world::Rollout;

/// The first time after which a router that refused is asked again; it doubles with each refusal.
const FIRST_RETRY: SignedDuration = SignedDuration::from_secs(1);
/// The longest.
const LONGEST_RETRY: SignedDuration = SignedDuration::from_secs(30);

/// A router that refused what it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// The object.
    pub object: String,
    /// What was answered.
    pub problem: String,
    /// When it is to be asked again.
    pub retry_at: Timestamp,
}

/// What is remembered, by uid of the Rollout; clones are handles on the same memory.
#[derive(Clone, Debug, Default)]
pub struct RouteMemory(Arc<Mutex<BTreeMap<String, Entry>>>);

#[derive(Debug)]
struct Entry {
    record: Record,
    trouble: Option<Trouble>,
    /// How long the next refusal holds.
    retry_after: SignedDuration,
}

impl RouteMemory {
    fn with<R>(&self, rollout: &Rollout, of: impl FnOnce(&mut BTreeMap<String, Entry>, &str) -> R) -> R {
        of(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner), &rollout.uid)
    }

    /// The routes that were last asked for and shown.
    pub fn shown(&self, rollout: &Rollout) -> Option<Routes> {
        self.with(rollout, |entries, uid| entries.get(uid)?.record.shown.clone())
    }

    /// Takes in one look. Returns what is known then, and the refusal that still holds.
    pub fn see(
        &self,
        rollout: &Rollout,
        sight: &Sight,
        max: i64,
        times: Times,
        now: Timestamp,
    ) -> (Record, Option<Trouble>) {
        self.with(rollout, |entries, uid| {
            let entry = entries.entry(uid.to_owned()).or_insert_with(|| Entry {
                record: Record::unknown(max, now),
                trouble: None,
                retry_after: FIRST_RETRY,
            });
            entry.record.see(sight, max, times, now);
            entry.trouble.take_if(|trouble| now >= trouble.retry_at);
            (entry.record.clone(), entry.trouble.clone())
        })
    }

    /// Notes routes that are about to be asked for.
    pub fn asks(&self, rollout: &Rollout, routes: &Routes, now: Timestamp) {
        self.with(rollout, |entries, uid| {
            if let Some(entry) = entries.get_mut(uid) {
                entry.record.asks(routes, now);
            }
        });
    }

    /// Notes that the objects show these routes; `is_change`: they did not before.
    pub fn shows(&self, rollout: &Rollout, routes: &Routes, is_change: bool, now: Timestamp) {
        self.with(rollout, |entries, uid| {
            if let Some(entry) = entries.get_mut(uid) {
                entry.record.shows(routes, is_change, now);
                entry.trouble = None;
                entry.retry_after = FIRST_RETRY;
            }
        });
    }

    /// Notes that a router refused.
    pub fn refuses(&self, rollout: &Rollout, object: String, problem: String, now: Timestamp) {
        self.with(rollout, |entries, uid| {
            if let Some(entry) = entries.get_mut(uid) {
                let retry_at = now.checked_add(entry.retry_after).unwrap_or(Timestamp::MAX);
                entry.retry_after = (entry.retry_after * 2).min(LONGEST_RETRY);
                entry.trouble = Some(Trouble { object, problem, retry_at });
            }
        });
    }

    /// Forgets a Rollout.
    pub fn forget(&self, uid: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }

    /// Forgets everything: somebody else may have written meanwhile.
    pub fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

//! Since when Services lead where they lead, as this process has seen it.
//!
//! The annotation on a Service is the time at which its change was decided on. The write comes later, by as much
//! as the API server takes; somebody else's change brings no annotation at all. So a change counts from when its
//! answer came, or from when the watch showed it. It is memory of the process: after a start, a recent annotation
//! counts from the moment at which the Service was first seen.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};
use sluice_engine::world::Service;

use crate::cache::{Change, ObjectKey};

/// How much later than its annotation says a change may have been written.
const LONGEST_WRITE: SignedDuration = SignedDuration::from_secs(30);
/// Nothing has to be known of changes that are older than this.
const REMEMBERED: SignedDuration = SignedDuration::from_hours(1);
/// Old entries are looked for when there are more than this.
const CROWDED: usize = 256;

/// When Services were last seen to change.
#[derive(Debug, Default)]
pub struct Selections(Mutex<BTreeMap<ObjectKey, Timestamp>>);

impl Selections {
    /// The selector of a Service was changed, at the latest now.
    pub fn changed(&self, key: &ObjectKey, now: Timestamp) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.insert(key.clone(), now);
        if seen.len() > CROWDED {
            seen.retain(|_, at| now.duration_since(*at) < REMEMBERED);
        }
    }

    /// The watch showed a Service.
    pub fn observed(&self, change: &Change<'_, Service>, now: Timestamp) {
        let Some(new) = change.new_object() else { return };
        let is_recent = match change.old_object() {
            Some(old) => old.selected_hash != new.selected_hash,
            None => new.selected_since.is_some_and(|at| now.duration_since(at) < LONGEST_WRITE),
        };
        if is_recent {
            self.changed(change.key, now);
        }
    }

    /// A Service with the time since when it surely leads where it leads.
    pub fn complete(&self, key: &ObjectKey, service: &Service) -> Service {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let seen_at = seen.get(key).copied();
        Service { selected_since: service.selected_since.max(seen_at), ..service.clone() }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::cache::Body;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).expect("in range")
    }

    fn service(hash: &str, since: i64) -> Body<Service> {
        Body::Good(Arc::new(Service {
            resource_version: "1".to_owned(),
            selected_hash: Some(hash.to_owned()),
            selector: BTreeMap::new(),
            managed_by: None,
            selected_since: Some(at(since)),
            experiment: None,
        }))
    }

    #[test]
    fn a_change_counts_from_when_it_was_seen() {
        let key = ObjectKey::new("default", "web");
        // What was there, what there is, when that is seen, and since when it counts.
        for (old, new, seen, since) in [
            (Some(("a", 0)), ("b", 10), 12, 12), // ours, written late
            (Some(("a", 0)), ("b", 0), 50, 50),  // somebody else's: no annotation
            (Some(("a", 0)), ("a", 0), 50, 0),   // something else changed
            (None, ("a", 40), 50, 50),           // a start just after a change, or a Service made anew
            (None, ("a", 0), 500, 0),            // a start
        ] {
            let selections = Selections::default();
            let old = old.map(|(hash, since)| service(hash, since));
            let new = service(new.0, new.1);
            let change = Change { key: &key, old: old.as_ref(), new: Some(&new), owners: &[] };
            selections.observed(&change, at(seen));
            let got = selections.complete(&key, new.good().expect("good"));
            assert_eq!(got.selected_since, Some(at(since)), "seen at {seen}");
        }
    }

    #[test]
    fn it_remembers_what_it_has_to() {
        let selections = Selections::default();
        for second in 0..10_000 {
            selections.changed(&ObjectKey::new("default", format!("web-{second}")), at(second));
        }
        let seen = selections.0.lock().expect("unpoisoned").len();
        assert!((3_600..=3_700).contains(&seen), "{seen}");
    }
}

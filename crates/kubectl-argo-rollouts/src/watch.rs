//! Follows the rollouts of a cluster: a list, then every change.
//!
//! Decides when a lost watch is opened again and when that is given up: after more than five errors in a
//! row, one second apart, or at once where a repetition cannot help.

use std::time::Duration;

use futures::StreamExt;
use kube::api::{ListParams, WatchEvent, WatchParams};
use serde_json::Value;
use tokio::time::Instant;

use crate::api::{Api, ApiError, Events, ROLLOUTS};
use crate::fields::text;

const MOST_ERRORS: u32 = 5;
const BETWEEN_ERRORS: Duration = Duration::from_secs(1);
/// Servers end a watch after less than this, so one that is silent for longer is dead.
const LONGEST_SILENCE: Duration = Duration::from_secs(330);

/// What was seen.
#[derive(Clone, Debug)]
pub enum Seen {
    /// Everything there is: at first, and whenever changes were missed.
    All(Vec<Value>),
    /// One rollout, new or changed.
    Changed(Value),
    /// The last state of a rollout that is gone.
    Deleted(Value),
}

/// A list with the changes after it.
pub struct Follower<'a> {
    api: &'a Api,
    namespace: Option<String>,
    name: Option<String>,
    version: Option<String>,
    events: Option<(Events, Instant)>,
    errors: u32,
    is_new: bool,
}

impl<'a> Follower<'a> {
    /// Follows the rollouts of one namespace or of all, or of one name.
    pub fn new(api: &'a Api, namespace: Option<String>, name: Option<String>) -> Follower<'a> {
        Follower { api, namespace, name, version: None, events: None, errors: 0, is_new: true }
    }

    /// Waits for the next thing to be seen; the first is always a list.
    ///
    /// # Errors
    /// At once when the very first list fails.
    pub async fn next(&mut self) -> Result<Seen, ApiError> {
        loop {
            match self.step().await {
                Ok(Some(seen)) => return Ok(seen),
                Ok(None) => {}
                // Changes were forgotten before they were seen.
                Err(error) if error.code() == Some(410) => (self.version, self.events) = (None, None),
                Err(error) => {
                    self.events = None;
                    self.errors += 1;
                    if self.is_new || !error.is_passing() || self.errors > MOST_ERRORS {
                        return Err(error);
                    }
                    tokio::time::sleep(BETWEEN_ERRORS).await;
                }
            }
        }
    }

    async fn step(&mut self) -> Result<Option<Seen>, ApiError> {
        let Some(version) = self.version.clone() else {
            let selection = ListParams { field_selector: self.selector(), ..ListParams::default() };
            let listed = self.api.list(ROLLOUTS, self.namespace.as_deref(), &selection).await?;
            self.version = Some(listed.version);
            (self.errors, self.is_new) = (0, false);
            return Ok(Some(Seen::All(listed.items)));
        };
        let Some((events, opened)) = &mut self.events else {
            let selection = WatchParams { field_selector: self.selector(), ..WatchParams::default() };
            let events = self.api.watch(ROLLOUTS, self.namespace.as_deref(), &selection, &version).await?;
            self.events = Some((events, Instant::now()));
            return Ok(None);
        };
        let opened = *opened;
        let Ok(Some(event)) = tokio::time::timeout(LONGEST_SILENCE, events.next()).await else {
            self.events = None;
            // A server that ends watches as soon as they are open must not be asked without a pause.
            tokio::time::sleep(BETWEEN_ERRORS.saturating_sub(opened.elapsed())).await;
            return Ok(None);
        };
        let seen = match event? {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => Some(Seen::Changed(object)),
            WatchEvent::Deleted(object) => Some(Seen::Deleted(object)),
            WatchEvent::Bookmark(bookmark) => {
                self.version = Some(bookmark.metadata.resource_version);
                None
            }
            WatchEvent::Error(status) => return Err(ApiError::Refused(status)),
        };
        if let Some(Seen::Changed(object) | Seen::Deleted(object)) = &seen {
            self.version = Some(text(object, "/metadata/resourceVersion").to_owned());
        }
        self.errors = 0;
        Ok(seen)
    }

    fn selector(&self) -> Option<String> {
        self.name.as_ref().map(|name| format!("metadata.name={name}"))
    }
}

//! Watches: the journal, seen through selectors, as a stream of events.
//!
//! Decides which events a watch gets, in which form, when bookmarks come and when it ends. A watch pulls:
//! it wakes when something was written and reads on in the journal.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::{BufMut, Bytes, BytesMut};
use futures::StreamExt;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{
    audit,
    client::Body,
    cluster::Cluster,
    faults::WatchFaults,
    read::{self, Selectors},
    request::{Call, Reply},
    route::Form,
    status::{Problem, Status},
    store::{Change, Entry},
};

const BOOKMARK_EVERY: Duration = Duration::from_mins(1);

struct Watch {
    cluster: Cluster,
    call: Call,
    selectors: Selectors,
    /// Everything up to this resource version has been looked at.
    position: u64,
    queue: VecDeque<Bytes>,
    deadline: Instant,
    next_bookmark: Option<Instant>,
    bookmarks: bool,
    with_columns: bool,
    /// Faults as they were at the beginning: a higher generation breaks the watch.
    generation: u64,
    ended: bool,
    line: audit::Line,
}

/// Answers a watch.
pub fn open(cluster: &Cluster, call: &Call, line: audit::Line) -> Result<Reply, Status> {
    if !call.subresource.is_empty() {
        return Err(Status::no_such_resource());
    }
    let selectors = Selectors::read(call)?;
    let asked = read::version_option(call)?;
    let initial = call.query.get("sendInitialEvents").map(|_| call.query.flag("sendInitialEvents"));
    let matching = call.query.get("resourceVersionMatch");
    let bookmarks = call.query.flag("allowWatchBookmarks");
    if initial.is_some() && matching != Some("NotOlderThan") {
        let problem = Problem::forbidden(
            "resourceVersionMatch",
            "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
        );
        return Err(Status::invalid("meta.k8s.io", "ListOptions", "", &[problem]));
    }
    if initial.is_none() && matching.is_some() {
        let problem = Problem::forbidden(
            "resourceVersionMatch",
            "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
        );
        return Err(Status::invalid("meta.k8s.io", "ListOptions", "", &[problem]));
    }
    let seconds = call
        .query
        .get("timeoutSeconds")
        .and_then(|text| text.parse::<u64>().ok())
        .filter(|seconds| *seconds > 0);
    let now = Instant::now();
    let faults = cluster.0.faults.watch_faults(&call.identity, &call.target.resource.kind);
    let mut watch = Watch {
        cluster: cluster.clone(),
        call: call.clone(),
        selectors,
        position: 0,
        queue: VecDeque::new(),
        deadline: now + Duration::from_secs(seconds.unwrap_or(1800)),
        next_bookmark: bookmarks.then(|| now + BOOKMARK_EVERY),
        bookmarks,
        with_columns: true,
        generation: faults.generation,
        ended: false,
        line,
    };
    let (entries, current, compacted) = {
        let state = cluster.state();
        let namespace = Some(call.target.namespace.as_str()).filter(|namespace| !namespace.is_empty());
        // From now, or from any version: what exists comes first, as if it had just been added.
        let synthetic = initial.unwrap_or(matches!(asked, None | Some(0)));
        let entries: Vec<Arc<Entry>> = if synthetic {
            let objects = state.store.list(&call.target.resource.table, namespace);
            objects
                .filter(|(_, entry)| watch.selectors.matches(&entry.value))
                .map(|(_, entry)| entry.clone())
                .collect()
        } else {
            Vec::new()
        };
        (synthetic.then_some(entries), state.store.version(), state.store.compacted())
    };
    let expired_before = cluster.0.faults.expired_before(&call.identity);
    match (entries, asked) {
        (Some(entries), _) => {
            if let Some(asked) = asked.filter(|asked| *asked > current) {
                return Err(Status::version_from_the_future(asked, current));
            }
            watch.position = current;
            for entry in &entries {
                watch.push("ADDED", entry);
            }
            if initial == Some(true) && bookmarks {
                watch.push_bookmark(true);
            }
        }
        (None, Some(asked)) if asked != 0 => {
            if asked < compacted || asked < expired_before {
                watch.push_error(&Status::expired(format!(
                    "too old resource version: {asked} ({})",
                    compacted.max(expired_before) + 1
                )));
                watch.ended = true;
            }
            watch.position = asked;
        }
        (None, _) => watch.position = current,
    }
    let stream = futures::stream::unfold(watch, |mut watch| async move {
        let next = watch.next().await?;
        if let Ok(bytes) = &next {
            watch.cluster.0.audit.answered(watch.line, 200, bytes.len() as u64);
        }
        Some((next, watch))
    });
    Ok(Reply { body: Body::Stream(stream.boxed()), ..Reply::json(200, Bytes::new()) })
}

fn event(ty: &str, object: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(object.len() + 40);
    out.put_slice(b"{\"type\":\"");
    out.put_slice(ty.as_bytes());
    out.put_slice(b"\",\"object\":");
    out.put_slice(object);
    out.put_slice(b"}\n");
    out.freeze()
}

impl Watch {
    fn push(&mut self, ty: &str, entry: &Entry) {
        let bytes = match self.call.form {
            Form::Object => event(ty, &read::object_json(&self.call.target, entry)),
            Form::Table => {
                let table = read::table_of(
                    &self.call,
                    &[entry],
                    Some(entry.version),
                    self.with_columns,
                    self.cluster.now(),
                );
                self.with_columns = false;
                event(ty, table.to_string().as_bytes())
            }
            Form::Metadata => event(ty, read::metadata_of(&self.call, entry).to_string().as_bytes()),
        };
        self.queue.push_back(bytes);
    }

    fn push_error(&mut self, status: &Status) {
        self.queue.push_back(event("ERROR", status.to_value().to_string().as_bytes()));
    }

    fn push_bookmark(&mut self, ends_initial: bool) {
        let (kind, api_version) = match self.call.form {
            Form::Object => {
                (&*self.call.target.resource.kind, self.call.target.version().api_version.as_str())
            }
            Form::Table => ("Table", "meta.k8s.io/v1"),
            Form::Metadata => ("PartialObjectMetadata", "meta.k8s.io/v1"),
        };
        let mut metadata = json!({"resourceVersion": self.position.to_string()});
        if ends_initial {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let object = match self.call.form {
            Form::Table => {
                // Rows of a bookmark carry the metadata alone.
                let row = json!({"cells": [], "object": {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata}});
                json!({"kind": kind, "apiVersion": api_version, "metadata": {"resourceVersion": self.position.to_string()}, "columnDefinitions": null, "rows": [row]})
            }
            Form::Object | Form::Metadata => {
                json!({"kind": kind, "apiVersion": api_version, "metadata": metadata})
            }
        };
        self.queue.push_back(event("BOOKMARK", object.to_string().as_bytes()));
    }

    fn faults(&self) -> WatchFaults {
        self.cluster.0.faults.watch_faults(&self.call.identity, &self.call.target.resource.kind)
    }

    /// Reads on in the journal. Returns when the first event that is held back is due.
    fn read_on(&mut self, faults: WatchFaults) -> Option<Instant> {
        let now = self.cluster.now();
        let mut due = None;
        let mut events: Vec<Arc<Change>> = Vec::new();
        let mut end = self.position;
        {
            let state = self.cluster.state();
            if self.position < state.store.compacted() {
                let status = Status::expired(format!(
                    "too old resource version: {} ({})",
                    self.position,
                    state.store.compacted() + 1
                ));
                drop(state);
                self.push_error(&status);
                self.ended = true;
                return None;
            }
            for change in state.store.since(self.position) {
                if faults.muted_since.is_some_and(|since| change.resource_version > since) {
                    break;
                }
                let is_mine = change.table == self.call.target.resource.table
                    && (self.call.target.namespace.is_empty() || change.key.0 == self.call.target.namespace);
                if is_mine && !faults.delay.is_zero() {
                    let at = change.at + jiff::SignedDuration::try_from(faults.delay).unwrap_or_default();
                    if at > now {
                        due = Some(self.cluster.clock().instant(at) + Duration::from_millis(1));
                        break;
                    }
                }
                end = change.resource_version;
                if is_mine {
                    events.push(change.clone());
                }
            }
        }
        for change in events {
            self.position = change.resource_version;
            self.tell(&change);
        }
        self.position = end;
        due
    }

    fn tell(&mut self, change: &Change) {
        let before = change.before.as_ref().is_some_and(|entry| self.selectors.matches(&entry.value));
        let after = !change.deleted && self.selectors.matches(&change.after.value);
        match (before, after) {
            (false, false) => {}
            (false, true) => self.push("ADDED", &change.after),
            (true, true) => self.push("MODIFIED", &change.after),
            (true, false) if change.deleted => self.push("DELETED", &change.after),
            (true, false) => {
                // It left the selection: shown as it was, under the new version.
                if let Some(entry) = &change.before {
                    let mut value = (*entry.value).clone();
                    value["metadata"]["resourceVersion"] = Value::from(change.resource_version.to_string());
                    self.push("DELETED", &Entry::new(value, change.resource_version));
                }
            }
        }
    }

    async fn next(&mut self) -> Option<Result<Bytes, std::io::Error>> {
        let mut versions = self.cluster.versions();
        let mut changes = self.cluster.0.faults.subscribe();
        loop {
            let faults = self.faults();
            if faults.stopped {
                // The client is to learn nothing any more.
                let _ = changes.changed().await;
                continue;
            }
            if faults.cut {
                return if self.ended {
                    None
                } else {
                    self.ended = true;
                    self.queue.clear();
                    Some(Err(std::io::Error::new(
                        std::io::ErrorKind::ConnectionReset,
                        "connection reset by peer",
                    )))
                };
            }
            if faults.generation != self.generation {
                return None;
            }
            if let Some(bytes) = self.queue.pop_front() {
                return Some(Ok(bytes));
            }
            if self.ended {
                return None;
            }
            versions.borrow_and_update();
            changes.borrow_and_update();
            let due = self.read_on(faults);
            if !self.queue.is_empty() {
                continue;
            }
            let now = Instant::now();
            if now >= self.deadline {
                return None;
            }
            if self.bookmarks && self.next_bookmark.is_some_and(|at| at <= now) {
                self.next_bookmark = Some(now + BOOKMARK_EVERY);
                if faults.muted_since.is_none() {
                    self.push_bookmark(false);
                    continue;
                }
            }
            let wake = [Some(self.deadline), self.next_bookmark, due]
                .into_iter()
                .flatten()
                .min()
                .unwrap_or(self.deadline);
            tokio::select! {
                _ = versions.changed() => {}
                _ = changes.changed() => {}
                () = tokio::time::sleep_until(wake) => {}
            }
        }
    }
}

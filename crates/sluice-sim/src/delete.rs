//! What deleting an object means.
//!
//! Decides whether an object goes at once, ends gracefully, or waits for its finalizers.

use serde_json::Value;

use crate::{
    resource::Resource,
    state::{Context, State},
    status::Status,
    time,
    write::{Target, Written, is_stored_so, metadata, text},
};

/// What a deletion may depend on and how it spreads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteOptions {
    /// Seconds for a pod to end by itself.
    pub grace_seconds: Option<i64>,
    /// Only this very object.
    pub uid: Option<String>,
    /// Only this version of it.
    pub resource_version: Option<String>,
    /// `Background`, `Foreground` or `Orphan`.
    pub propagation: Option<String>,
    /// Do everything but delete.
    pub dry_run: bool,
}

impl State {
    /// Deletes an object, or begins to.
    pub fn delete(
        &mut self,
        context: &mut Context,
        target: &Target,
        options: &DeleteOptions,
    ) -> Result<Written, Status> {
        let resource = target.resource.clone();
        let old = self
            .store
            .get(&resource.table, &target.namespace, &target.name)
            .cloned()
            .ok_or_else(|| target.missing())?;
        let before: &Value = &old.value;
        if let Some(uid) = options.uid.as_deref().filter(|uid| *uid != text(before, "uid")) {
            let why = format!(
                "the UID in the precondition ({uid}) does not match the UID in record ({}). The object might have been deleted and then recreated",
                text(before, "uid")
            );
            return Err(precondition(&resource, &target.name, &why));
        }
        if let Some(version) =
            options.resource_version.as_deref().filter(|version| *version != old.version.to_string())
        {
            let why = format!(
                "the ResourceVersion in the precondition ({version}) does not match the ResourceVersion in record ({}). The object might have been modified",
                old.version
            );
            return Err(precondition(&resource, &target.name, &why));
        }
        context.dry_run |= options.dry_run;
        let mut object = (*old.value).clone();
        let deleting = before["metadata"].get("deletionTimestamp").is_some();
        let mut graceful = false;
        if &*resource.table == "pods" && !resource.custom {
            match graceful_pod(&mut object, options, deleting, context) {
                Grace::Pending => return Ok(Written { entry: old, created: false, deleted: false }),
                Grace::Begun => graceful = true,
                Grace::Over => {}
            }
        }
        // A pod whose time is over is marked, and gone in the same moment.
        let is_over = graceful && object["metadata"]["deletionGracePeriodSeconds"] == 0;
        // Jobs leave their pods behind unless told otherwise, as they did in the beginning.
        let is_job = &*resource.table == "jobs.batch";
        if is_job && options.propagation.is_none() {
            context.warnings.push("child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or set propagationPolicy=Orphan to suppress this warning".to_owned());
        }
        let finalizers = match &*resource.table {
            // Nothing depends on an event.
            "events" => before["metadata"]["finalizers"].as_array().cloned().unwrap_or_default(),
            _ => finalizers_after(before, options, is_job),
        };
        let changed = finalizers != before["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
        let namespace_holds = &*resource.table == "namespaces"
            && before["spec"]["finalizers"].as_array().is_some_and(|list| !list.is_empty());
        if !graceful && finalizers.is_empty() && !namespace_holds {
            if context.dry_run {
                return Ok(Written { entry: old, created: false, deleted: true });
            }
            let gone = self
                .erase(context, &resource, target.subresource, &target.key())
                .ok_or_else(|| target.missing())?;
            return Ok(Written { entry: gone.after.clone(), created: false, deleted: true });
        }
        if namespace_holds {
            object["status"]["phase"] = Value::from("Terminating");
        }
        if changed {
            if finalizers.is_empty() {
                metadata(&mut object).remove("finalizers");
            } else {
                metadata(&mut object).insert("finalizers".to_owned(), Value::Array(finalizers));
            }
        }
        if !graceful {
            if !deleting {
                let generation = before["metadata"]["generation"].as_i64().unwrap_or(0);
                let meta_map = metadata(&mut object);
                if generation > 0 {
                    meta_map.insert("generation".to_owned(), Value::from(generation + 1));
                }
                meta_map.insert("deletionTimestamp".to_owned(), Value::from(time::seconds(context.now)));
            }
            // A namespace is not given a period.
            if !namespace_holds {
                metadata(&mut object).insert("deletionGracePeriodSeconds".to_owned(), Value::from(0));
            }
        }
        if is_stored_so(&object, &old) {
            return Ok(Written { entry: old, created: false, deleted: false });
        }
        let ends = is_over && object["metadata"].get("finalizers").is_none();
        let entry = self.keep(context, &resource, target.subresource, target.key(), object);
        if ends && !context.dry_run {
            let gone = self
                .erase(context, &resource, target.subresource, &target.key())
                .ok_or_else(|| target.missing())?;
            return Ok(Written { entry: gone.after.clone(), created: false, deleted: true });
        }
        Ok(Written { entry, created: false, deleted: ends })
    }
}

fn precondition(resource: &Resource, name: &str, why: &str) -> Status {
    // The real text names the kind here, not the resource.
    Status::conflict(&resource.group, &resource.kind, name, why)
}

enum Grace {
    /// It is under way, and nothing new is asked for.
    Pending,
    /// It begins, or becomes shorter.
    Begun,
    /// There is none left: the pod goes as other objects do.
    Over,
}

fn graceful_pod(pod: &mut Value, options: &DeleteOptions, deleting: bool, context: &Context) -> Grace {
    let asked = options.grace_seconds.map(|seconds| if seconds < 0 { 1 } else { seconds });
    if deleting {
        let left = pod["metadata"]["deletionGracePeriodSeconds"].as_i64().unwrap_or(0);
        return match asked {
            _ if left == 0 => Grace::Over,
            Some(seconds) if seconds < left => {
                let until = time::parse(pod["metadata"].get("deletionTimestamp")).unwrap_or(context.now);
                let moved = until - jiff::SignedDuration::from_secs(left - seconds);
                // Somebody still has to see it go, even if the time is over.
                let seconds = if moved < context.now { seconds.min(1) } else { seconds };
                let moved = time::seconds(moved.max(context.now));
                metadata(pod).insert("deletionTimestamp".to_owned(), Value::from(moved));
                metadata(pod).insert("deletionGracePeriodSeconds".to_owned(), Value::from(seconds));
                Grace::Begun
            }
            _ => Grace::Pending,
        };
    }
    let mut period =
        asked.unwrap_or_else(|| pod["spec"]["terminationGracePeriodSeconds"].as_i64().unwrap_or(30));
    if pod["spec"]["nodeName"].as_str().unwrap_or_default().is_empty()
        || matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"))
    {
        period = 0;
    }
    let generation = pod["metadata"]["generation"].as_i64().unwrap_or(0);
    let until = context.now + jiff::SignedDuration::from_secs(period);
    let meta_map = metadata(pod);
    meta_map.insert("deletionTimestamp".to_owned(), Value::from(time::seconds(until)));
    meta_map.insert("deletionGracePeriodSeconds".to_owned(), Value::from(period));
    if generation > 0 {
        meta_map.insert("generation".to_owned(), Value::from(generation + 1));
    }
    Grace::Begun
}

/// The garbage collector's finalizers follow the propagation that this deletion asks for.
fn finalizers_after(object: &Value, options: &DeleteOptions, orphans_by_default: bool) -> Vec<Value> {
    let before: Vec<Value> = object["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
    let has = |name: &str| before.iter().any(|one| one == name);
    let (orphan, foreground) = match options.propagation.as_deref() {
        Some("Orphan") => (true, false),
        Some("Foreground") => (false, true),
        Some(_) => (false, false),
        None if has("orphan") || has("foregroundDeletion") => (has("orphan"), has("foregroundDeletion")),
        None => (orphans_by_default, false),
    };
    let mut out: Vec<Value> =
        before.into_iter().filter(|one| *one != "orphan" && *one != "foregroundDeletion").collect();
    if orphan {
        out.push(Value::from("orphan"));
    }
    if foreground {
        out.push(Value::from("foregroundDeletion"));
    }
    out
}

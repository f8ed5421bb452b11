//! How a Rollout is kept in the cache: whole while something happens to it, packed while it rests.
//!
//! Most Rollouts rest most of the time, and nobody looks at them then. Packed, one takes a tenth of the
//! memory, and the next look at it takes a fraction of a millisecond longer. Decides which form is
//! kept and what can be asked without unpacking; what a Rollout means is read in one place for both.

use std::io::{Read, Write};
use std::sync::Arc;

use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;
use serde_json::Value;
use sluice_api::keys;
use sluice_api::rollout::RolloutPhase;
use sluice_api::validation::validate_rollout;
use sluice_engine::world::{Rollout, Strategy};
use sluice_engine::{spec, status};

use crate::cache::Slim;
use crate::{gather, routes};

/// A Rollout in the cache.
#[derive(Debug)]
pub struct Kept {
    form: Form,
    /// Its uid.
    pub uid: Box<str>,
    /// The entries of the index: what it names.
    entries: Box<[Box<str>]>,
    /// What metrics say of it.
    pub figures: Figures,
}

#[derive(Debug)]
enum Form {
    Whole(Arc<Rollout>),
    /// The object's JSON, deflated.
    Packed(Box<[u8]>),
}

/// What metrics say of a Rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Figures {
    /// The phase under which it is counted.
    pub phase: &'static str,
    /// Its strategy, as Argo Rollouts names it.
    pub strategy: &'static str,
    /// How many pods are wanted.
    pub desired: i64,
    /// How many pods are available.
    pub available: i32,
    /// How many pods are of the newest version.
    pub updated: i32,
}

impl Slim for Kept {
    fn from_object(mut object: Value) -> Result<Kept, String> {
        let rollout = read(&object);
        let entries = gather::index_rollout(&rollout).into_iter().map(Into::into).collect();
        let uid = rollout.uid.as_str().into();
        let figures = figures(&rollout);
        let form = if rests(&rollout) { pack(&mut object) } else { None };
        let form = form.unwrap_or_else(|| Form::Whole(Arc::new(rollout)));
        Ok(Kept { form, uid, entries, figures })
    }
}

impl Kept {
    /// The Rollout.
    ///
    /// # Errors
    /// What was packed cannot be read any more, which does not happen.
    pub fn rollout(&self) -> Result<Arc<Rollout>, String> {
        match &self.form {
            Form::Whole(rollout) => Ok(Arc::clone(rollout)),
            Form::Packed(packed) => {
                let mut json = Vec::new();
                DeflateDecoder::new(&**packed).read_to_end(&mut json).map_err(|error| error.to_string())?;
                let object = serde_json::from_slice(&json).map_err(|error| error.to_string())?;
                Ok(Arc::new(read(&object)))
            }
        }
    }

    /// The entries of the index: Services, objects of routers and the workload that it names.
    pub fn entries(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(AsRef::as_ref)
    }
}

/// Takes a Rollout over from its JSON, with what validation says of it.
fn read(object: &Value) -> Rollout {
    let (rollout, problems) = sluice_api::parse_rollout(object.clone());
    // What cannot be read was left out, so what is said of the rest would be about another object.
    let problem = match problems.first() {
        Some(problem) => Some(problem.to_string()),
        None => validate_rollout(&rollout, false).first().map(ToString::to_string),
    };
    let mut rollout = spec::rollout(rollout, problem);
    routes::mark_unsupported(&mut rollout);
    rollout
}

/// Whether nothing is going to happen until somebody changes something.
fn rests(rollout: &Rollout) -> bool {
    let status = &rollout.status;
    let is_still =
        matches!(status.phase, Some(RolloutPhase::Healthy | RolloutPhase::Paused | RolloutPhase::Degraded));
    is_still
        && !rollout.is_deleting
        && rollout.spec.is_ok()
        && status.observed_generation == rollout.generation.to_string()
}

fn pack(object: &mut Value) -> Option<Form> {
    // Only looked at to explain a mistake, and what rests has none.
    if let Some(annotations) = object.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
        annotations.remove(keys::LAST_APPLIED_CONFIGURATION);
    }
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(object.to_string().as_bytes()).ok()?;
    Some(Form::Packed(encoder.finish().ok()?.into()))
}

fn figures(rollout: &Rollout) -> Figures {
    Figures {
        phase: status::metric_phase(&rollout.status),
        strategy: match rollout.spec.as_ref().map(|spec| &spec.strategy) {
            Ok(Strategy::Canary(_)) => "canary",
            Ok(Strategy::BlueGreen(_)) => "blueGreen",
            Ok(Strategy::Unsupported(_)) | Err(_) => "none",
        },
        desired: rollout.spec.as_ref().ok().and_then(|spec| spec.replicas).unwrap_or(1),
        available: rollout.status.available_replicas,
        updated: rollout.status.updated_replicas,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object(phase: &str, change: impl Fn(&mut Value)) -> Value {
        let mut object = json!({
            "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout",
            "metadata": {
                "name": "web", "namespace": "prod", "uid": "u", "resourceVersion": "7", "generation": 3,
                "annotations": {"rollout.argoproj.io/revision": "2",
                                keys::LAST_APPLIED_CONFIGURATION: "x".repeat(10_000)},
            },
            "spec": {
                "replicas": 5, "selector": {"matchLabels": {"app": "web"}},
                "template": {
                    "metadata": {"labels": {"app": "web"}},
                    "spec": {"containers": [{"name": "app", "image": "registry.example/web:2", "newField": [1, null]}]},
                },
                "strategy": {"canary": {"stableService": "web", "canaryService": "next",
                                        "steps": [{"setWeight": 20}, {"pause": {}}, {"pause": {"duration": "1h"}}]}},
            },
            "status": {
                "observedGeneration": "3", "phase": phase, "stableRS": "a", "currentPodHash": "b",
                "currentStepIndex": 1, "availableReplicas": 5, "updatedReplicas": 1,
                "pauseConditions": [{"reason": "CanaryPauseStep", "startTime": "2026-11-21T07:13:18Z"}],
            },
        });
        change(&mut object);
        object
    }

    #[test]
    fn what_rests_is_packed_and_comes_out_as_it_was() {
        // (phase, what is different about it) => is packed
        let cases: [(&str, fn(&mut Value), bool); 8] = [
            ("Healthy", |_| {}, true),
            ("Paused", |_| {}, true),
            ("Degraded", |_| {}, true),
            ("Progressing", |_| {}, false),
            ("", |object| object["status"] = Value::Null, false),
            ("Healthy", |object| object["metadata"]["generation"] = 4.into(), false),
            ("Healthy", |object| object["spec"]["replicas"] = "many".into(), false),
            (
                "Healthy",
                |object| object["metadata"]["deletionTimestamp"] = "2026-11-21T07:13:18Z".into(),
                false,
            ),
        ];
        for (index, (phase, change, is_packed)) in cases.into_iter().enumerate() {
            let object = object(phase, change);
            let kept = Kept::from_object(object.clone()).expect("any object can be kept");
            assert_eq!(matches!(kept.form, Form::Packed(_)), is_packed, "case {index}");
            let rollout = kept.rollout().expect("it was packed by us");
            assert_eq!(format!("{rollout:?}"), format!("{:?}", read(&object)), "case {index}");
            assert_eq!(kept.figures, figures(&rollout), "case {index}");
            let names: Vec<&str> = kept.entries().collect();
            assert_eq!(names, if rollout.spec.is_ok() { vec!["prod/next", "prod/web"] } else { Vec::new() });
            if let Form::Packed(packed) = &kept.form {
                assert!(packed.len() < 800, "{} bytes", packed.len());
            }
        }
    }
}

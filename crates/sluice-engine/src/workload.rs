//! Templates that stand elsewhere: a Rollout that takes the place of a Deployment, or runs the template of
//! another object.
//!
//! Reads such an object, fills its template into the Rollout that names it, keeps the record of its
//! generation, and turns what `moves` says of its size into writes. What size it may have is decided there.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sluice_api::meta::RawObject;
use sluice_api::rollout::ConditionStatus::True;
use sluice_api::rollout::RolloutPhase;
use sluice_api::validation::validate_pod_template;
use sluice_api::{LabelSelector, keys};

use crate::conditions::{self, kind, reason};
use crate::moves::{self, Direction, DrainState, Resize, ScaleDown, Set};
use crate::pass::Pass;
use crate::plan::{Action, Event, Plan, Write};
use crate::world::{
    Drained, InvalidSpec, ReplicaSet, Rollout, Template, Workload, WorkloadKind, WorkloadRef, World,
};

/// Annotation of a workload: its size before it was first scaled down for a Rollout.
pub const REPLICAS_BEFORE: &str = "sluice.dev/replicas-before";
/// Annotation of a workload: for which Rollout it was scaled down, and how far.
pub const DRAINED: &str = "sluice.dev/drained";

/// Takes over `spec.workloadRef`. Any version of a group is accepted.
pub(crate) fn reference(reference: &sluice_api::rollout::WorkloadRef, gives_selector: bool) -> WorkloadRef {
    let group = reference.api_version.rsplit_once('/').map_or("", |(group, _)| group);
    let kind = match (group, reference.kind.as_str()) {
        ("apps", "Deployment") => Ok(WorkloadKind::Deployment),
        ("apps", "ReplicaSet") => Ok(WorkloadKind::ReplicaSet),
        ("", "PodTemplate") => Ok(WorkloadKind::PodTemplate),
        (group, kind) => Err(format!("{group}/{kind}")),
    };
    let scale_down = match (&kind, reference.scale_down.as_str()) {
        (Ok(WorkloadKind::Deployment), "onsuccess") => ScaleDown::OnSuccess,
        (Ok(WorkloadKind::Deployment), "progressively") => ScaleDown::Progressively,
        _ => ScaleDown::Never,
    };
    WorkloadRef { kind, name: reference.name.clone(), scale_down, gives_selector }
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct WireMeta {
    namespace: String,
    name: String,
    resource_version: String,
    generation: i64,
    annotations: BTreeMap<String, String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct WireSpec {
    replicas: Option<i64>,
    selector: Option<LabelSelector>,
    template: Value,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct WireStatus {
    replicas: i64,
}

#[derive(Deserialize)]
struct Wire {
    metadata: WireMeta,
    #[serde(default)]
    spec: WireSpec,
    #[serde(default)]
    status: WireStatus,
    #[serde(default)]
    template: Value,
}

/// The note on a workload, as it is written.
#[derive(Deserialize, Serialize)]
struct Note {
    rollout: String,
    uid: String,
    to: i64,
}

/// Takes over a workload.
///
/// # Errors
/// What of the object cannot be read.
pub fn read(kind: WorkloadKind, object: Value) -> Result<Workload, serde_json::Error> {
    let wire: Wire = serde_json::from_value(object)?;
    let (template, path, size) = match kind {
        WorkloadKind::PodTemplate => (wire.template, "template", 0),
        WorkloadKind::Deployment | WorkloadKind::ReplicaSet => {
            (wire.spec.template, "spec.template", wire.spec.replicas.unwrap_or(1))
        }
    };
    let raw = RawObject::try_from(template.clone()).unwrap_or_default();
    let note = wire.metadata.annotations.get(DRAINED);
    let note = note.and_then(|text| serde_json::from_str::<Note>(text).ok());
    let before = wire.metadata.annotations.get(REPLICAS_BEFORE).and_then(|text| text.parse().ok());
    Ok(Workload {
        kind,
        namespace: wire.metadata.namespace,
        name: wire.metadata.name,
        resource_version: wire.metadata.resource_version,
        generation: wire.metadata.generation,
        template: Template::new(&template),
        problem: validate_pod_template(&raw, None, path).first().map(ToString::to_string),
        selector: wire.spec.selector.filter(|_| kind != WorkloadKind::PodTemplate),
        size,
        existing: wire.status.replicas,
        drained: note.map(|note| Drained { rollout: note.rollout, uid: note.uid, to: note.to, before }),
    })
}

/// Whether nothing that is looked at differs between two readings of a workload.
pub fn is_same(old: &Workload, new: &Workload) -> bool {
    let without_version =
        |workload: &Workload| Workload { resource_version: String::new(), ..workload.clone() };
    without_version(old) == without_version(new)
}

/// What is known of the object that `spec.workloadRef` names.
#[derive(Clone, Debug)]
pub enum Found {
    /// It is this.
    Workload(Arc<Workload>),
    /// There is none.
    Nothing,
    /// It cannot be read, for this reason.
    Unreadable(String),
}

/// Fills the template, and the selector where the Rollout has none, in from the workload that it names.
///
/// Where that cannot be done, the Rollout goes on with the template of its current ReplicaSet: what serves
/// goes on serving, and scaling and an abort still work. Without one there is nothing to go on with.
pub fn resolve(
    rollout: &Rollout,
    reference: &WorkloadRef,
    found: Found,
    sets: &[Arc<ReplicaSet>],
) -> (Rollout, Result<Arc<Workload>, String>) {
    let mut resolved = rollout.clone();
    let usable = usable(rollout, reference, found);
    let Ok(spec) = &mut resolved.spec else { return (resolved, usable) };
    match &usable {
        Ok(workload) => {
            spec.template.clone_from(&workload.template);
            if let Some(selector) = workload.selector.as_ref().filter(|_| reference.gives_selector) {
                spec.selector_text = selector.to_text();
                spec.selector = serde_json::to_value(selector).unwrap_or_default();
                spec.label_selector = selector.clone();
            }
        }
        Err(problem) => {
            let hash = &rollout.status.current_pod_hash;
            let current = sets.iter().find(|set| !set.hash.is_empty() && set.hash == *hash);
            if let Some(current) = current.filter(|set| !set.is_deleting) {
                spec.template = Template::of_digest(current.template)
            } else {
                let invalid = InvalidSpec { message: problem.clone(), replicas: spec.replicas };
                resolved.spec = Err(invalid);
            }
        }
    }
    (resolved, usable)
}

/// The workload, if its template can become pods of this Rollout.
fn usable(rollout: &Rollout, reference: &WorkloadRef, found: Found) -> Result<Arc<Workload>, String> {
    let invalid = |value: &str, problem: String| {
        format!("spec.workloadRef: Invalid value: \"{value} {}\": {problem}", reference.name)
    };
    let kind = reference.kind.as_ref().map_err(|kind| {
        let remedy = "name a Deployment or ReplicaSet of apps, or a PodTemplate";
        invalid(kind, format!("workload of type {kind} is not supported: {remedy}"))
    })?;
    let name = kind.name();
    let workload = match found {
        Found::Workload(workload) => workload,
        Found::Nothing => {
            let resource = match kind {
                WorkloadKind::Deployment => "deployments.apps",
                WorkloadKind::ReplicaSet => "replicasets.apps",
                WorkloadKind::PodTemplate => "podtemplates",
            };
            let remedy = "create it, or name one that exists";
            return Err(invalid(name, format!("{resource} \"{}\" not found: {remedy}", reference.name)));
        }
        Found::Unreadable(problem) => return Err(invalid(name, problem)),
    };
    if let Some(problem) = &workload.problem {
        return Err(invalid(name, format!("its template cannot be used: {problem}")));
    }
    let own = rollout.spec.as_ref().ok().map(|spec| &spec.label_selector);
    let selector = if reference.gives_selector { workload.selector.as_ref() } else { own };
    match selector {
        None if reference.gives_selector => {
            let remedy = format!("a {name} has no selector, so the Rollout needs one of its own");
            Err(format!("spec.selector: Required value: {remedy}"))
        }
        Some(selector) if !selector.matches(&workload.template.labels) => {
            let labels = serde_json::to_string(&workload.template.labels).unwrap_or_default();
            let mismatch = "`selector` does not match template `labels`";
            let remedy = format!("change spec.selector, or the labels in the template of {name}");
            let message = format!("{mismatch}: {remedy} {}", reference.name);
            Err(format!("spec.template.metadata.labels: Invalid value: {labels}: {message}"))
        }
        _ => Ok(workload),
    }
}

/// Whether a workload was drained for a Rollout of this uid, and nobody else stands in for it since.
pub fn is_drained_for(workload: &Workload, uid: &str) -> bool {
    workload.drained.as_ref().is_some_and(|drained| drained.uid == uid)
}

/// Puts the workload's generation on record, before anything follows from it: until the status says the
/// same, clients know that a change of the template is still to be looked at.
pub(crate) fn note_generation(world: &World) -> Option<Plan> {
    let recorded = world.rollout.annotation(keys::WORKLOAD_GENERATION);
    let (wanted, reason) = match &world.workload {
        None => (None, "the template does not stand in a workload any more"),
        Some(Ok(workload)) => (Some(workload.generation.to_string()), "the workload has changed"),
        Some(Err(_)) => return None,
    };
    if recorded == wanted.as_deref() {
        return None;
    }
    let annotations = [(keys::WORKLOAD_GENERATION.to_owned(), wanted)].into();
    let write = Write { action: Action::AnnotateRollout { annotations }, reason: reason.into() };
    Some(Plan { writes: vec![write], status: world.rollout.status.clone(), ..Plan::default() })
}

/// Gives workloads their pods back that this Rollout does not stand in for any more, before anything else; and
/// once it is gone, lets go of the Services that carry its name.
///
/// When the Rollout goes, its ReplicaSets go with it, and a Service that was narrowed to one of them would
/// lead nowhere, the pods that come back included: it leads to all of them first, which takes nothing away.
pub(crate) fn give_back(world: &World) -> Plan {
    let rollout = &*world.rollout;
    let mut plan = Plan { status: rollout.status.clone(), ..Plan::default() };
    if rollout.is_deleting && !world.left_workloads.is_empty() {
        for (name, service) in &world.services {
            let is_ours = service.managed_by.as_ref() == Some(&rollout.name);
            if is_ours && service.selected_hash.is_some() {
                let resource_version = service.resource_version.clone();
                let action = Action::SelectService { name: name.clone(), resource_version, hash: None };
                let reason = "the version that it leads to goes with its Rollout".into();
                plan.writes.push(Write { action, reason });
            }
        }
    }
    if rollout.is_deleting {
        for (name, service) in &world.former_services {
            let resource_version = service.resource_version.clone();
            let action = Action::ReleaseService { name: name.clone(), resource_version };
            plan.writes.push(Write { action, reason: "its Rollout is gone".into() });
        }
    }
    for workload in &world.left_workloads {
        let Some(drained) = &workload.drained else { continue };
        let resize = moves::give_back(workload.size, drained.to, drained.before);
        let annotations = [(REPLICAS_BEFORE.to_owned(), None), (DRAINED.to_owned(), None)].into();
        write(&mut plan, workload, &resize, annotations);
    }
    plan
}

fn write(
    plan: &mut Plan,
    workload: &Workload,
    resize: &Resize,
    annotations: BTreeMap<String, Option<String>>,
) {
    let (from, to) = (workload.size, resize.to());
    let (kind, name) = (workload.kind, workload.name.clone());
    if from != to {
        let verb = if to > from { "up" } else { "down" };
        let message =
            format!("Scaled {verb} {} {name} from {from} to {to}: {}", kind.name(), resize.reason());
        plan.events.push(Event::normal("ScalingWorkload", message));
    }
    let resource_version = workload.resource_version.clone();
    let action = Action::ScaleWorkload { kind, name, resource_version, replicas: to, annotations };
    plan.writes.push(Write { action, reason: resize.reason().into() });
}

impl Pass<'_> {
    /// Scales the workload down as far as it is not needed, and says so where nobody does.
    pub(crate) fn tend_workload(&mut self) {
        let (reference, workload) = match (&self.rollout.workload, &self.world.workload) {
            (Some(reference), Some(Ok(workload))) => (reference, workload),
            (Some(_), Some(Err(_))) => return,
            _ => return conditions::remove(&mut self.status, kind::DOUBLE_CAPACITY),
        };
        let is_healthy = self.rollout.status.phase == Some(RolloutPhase::Healthy)
            && self.status.phase == Some(RolloutPhase::Healthy);
        self.report_double_capacity(reference, workload, is_healthy);
        if self.is_halted() || workload.kind != WorkloadKind::Deployment {
            return;
        }
        let before = workload.drained.as_ref().filter(|drained| drained.uid == self.rollout.uid);
        let before = before.and_then(|drained| drained.before);
        let sets = self.planner_sets();
        let resize = moves::drain(&DrainState {
            mode: reference.scale_down,
            size: workload.size,
            before,
            corridor: self.spec.strategy.corridor(self.replicas),
            ready: sets.iter().map(|set| set.ready.min(set.size)).sum(),
            stay: sets.iter().map(Set::stay).sum(),
            is_healthy,
            is_updating: self.direction() != Direction::Rest,
        });
        let Some(resize) = resize else { return };
        let note =
            Note { rollout: self.rollout.name.clone(), uid: self.rollout.uid.clone(), to: resize.to() };
        let before = before.unwrap_or(0).max(workload.size);
        let annotations = [
            (REPLICAS_BEFORE.to_owned(), Some(before.to_string())),
            (DRAINED.to_owned(), Some(serde_json::to_string(&note).unwrap_or_default())),
        ];
        write(&mut self.plan, workload, &resize, annotations.into());
    }

    /// Two sets of pods for one job are said once, and for as long as it lasts.
    fn report_double_capacity(&mut self, reference: &WorkloadRef, workload: &Workload, is_healthy: bool) {
        if reference.scale_down != ScaleDown::Never || workload.size == 0 || self.replicas == 0 {
            conditions::remove(&mut self.status, kind::DOUBLE_CAPACITY);
            return;
        }
        let is_known = conditions::get(&self.status, kind::DOUBLE_CAPACITY).is_some();
        if !is_healthy && !is_known {
            return;
        }
        let (what, name) = (workload.kind.name(), &workload.name);
        let remedy = match workload.kind {
            WorkloadKind::Deployment => {
                "scale it to 0, or set spec.workloadRef.scaleDown to onsuccess or progressively"
            }
            WorkloadKind::ReplicaSet | WorkloadKind::PodTemplate => "scale it to 0",
        };
        let (size, replicas) = (workload.size, self.replicas);
        let message =
            format!("{what} {name} has {size} replicas beside the {replicas} of this Rollout: {remedy}");
        if !is_known {
            self.plan.events.push(Event::warning("DoubleCapacity", message.clone()));
        }
        let (status, now) = (&mut self.status, self.now);
        conditions::set_with_message(
            status,
            kind::DOUBLE_CAPACITY,
            True,
            reason::NOT_SCALED_DOWN,
            &message,
            now,
        );
    }
}

#[cfg(test)]
pub(crate) mod tests;

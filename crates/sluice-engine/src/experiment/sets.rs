//! The ReplicaSets and Services of an Experiment, and how each template stands.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use sluice_api::experiment::{TemplateSpec, TemplateStatus, TemplateStatusCode};
use sluice_api::{Time, defaults, keys};

use super::world::{ExperimentAction, ExperimentWrite, Part};
use super::{Look, objects};
use crate::moves::{self, Deadline, ExperimentMoveKind, ExperimentSet, ExperimentState, ServiceState};
use crate::plan::Event;
use crate::world::{ReplicaSet, Service};

/// What is there of one template.
pub(super) struct View<'a> {
    pub template: &'a TemplateSpec,
    /// Its ReplicaSet.
    pub set: Option<&'a Arc<ReplicaSet>>,
    /// The Service that it asks for.
    pub service_name: Option<String>,
    /// That Service, if it is the Experiment's own.
    pub service: Option<&'a Service>,
    /// Why that Service cannot be made.
    pub service_problem: Option<String>,
}

impl View<'_> {
    pub fn replicas(&self) -> i64 {
        i64::from(self.template.replicas.unwrap_or(defaults::EXPERIMENT_REPLICAS).max(0))
    }

    pub fn is_available(&self) -> bool {
        self.set.is_some_and(|set| {
            !set.is_deleting && set.size == self.replicas() && set.available >= self.replicas()
        })
    }

    fn part(&self) -> Part {
        Part::Template(self.template.name.clone())
    }
}

fn count(pods: i64) -> i32 {
    i32::try_from(pods.max(0)).unwrap_or(i32::MAX)
}

fn deadline(set: &ReplicaSet, now: Timestamp) -> Deadline {
    match set.annotation(keys::SCALE_DOWN_DEADLINE).map(str::parse::<Timestamp>) {
        None => Deadline::None,
        Some(Ok(at)) if at > now => Deadline::Running(at),
        // One that nobody can read must not keep pods for ever.
        Some(_) => Deadline::Passed,
    }
}

impl<'a> Look<'a> {
    /// Whether a ReplicaSet is that of a template.
    fn is_of(&self, set: &ReplicaSet, template: &TemplateSpec) -> bool {
        match set.annotation(keys::EXPERIMENT_TEMPLATE_NAME) {
            Some(name) => name == template.name,
            None => set.name == objects::set_name(self.experiment, template, None),
        }
    }

    /// What is there of each template. Of several ReplicaSets of one template the oldest counts.
    pub(super) fn find_sets(&self) -> Vec<View<'a>> {
        let mut claimed: BTreeMap<String, &str> = BTreeMap::new();
        let view = |template: &'a TemplateSpec| {
            let own = self.world.sets.iter().filter(|set| self.is_of(set, template));
            let set = own.min_by_key(|set| (set.is_deleting, set.created_at, &set.name));
            let service_name = objects::service_name(self.experiment, template);
            let found = service_name.as_ref().and_then(|name| self.world.services.get(name));
            let mut problem = None;
            if let Some(name) = &service_name {
                let failed = |why: &str| {
                    format!("Failed to create Service {name} for template '{}': {why}", template.name)
                };
                if let Some(other) = claimed.get(name) {
                    problem = Some(failed(&format!("service {name} is that of template '{other}'")));
                } else if found.is_some_and(|found| !found.is_own) {
                    problem = Some(failed(&format!(
                        "service {name} already exists and is not owned by experiment template {}",
                        template.name
                    )));
                } else {
                    claimed.insert(name.clone(), &template.name);
                }
            }
            let service = found.filter(|found| found.is_own && problem.is_none());
            View {
                template,
                set,
                service_name,
                service: service.map(|found| &found.service),
                service_problem: problem,
            }
        };
        self.spec.templates.iter().map(view).collect()
    }

    /// Says how each template stands. A template that has ended stays as it ended.
    pub(super) fn judge_templates(&mut self, views: &[View<'a>]) {
        let mut statuses: Vec<TemplateStatus> = views.iter().map(|view| self.observed(view)).collect();
        let was_ending = self.is_ending();
        for (view, status) in views.iter().zip(&mut statuses) {
            if status.status.is_terminal() {
                continue;
            }
            let failure = self.failure(&view.part()).filter(|failure| failure.is_final);
            if let Some(failure) = failure {
                status.status = TemplateStatusCode::Error;
                status.message = failure.message.clone();
            } else if was_ending {
                status.status = TemplateStatusCode::Successful;
                status.message = String::new();
            } else if let Some(problem) = &view.service_problem {
                status.status = TemplateStatusCode::Error;
                status.message = problem.clone();
            } else {
                self.progress(view, status);
            }
        }
        let has_failed = |status: &TemplateStatus| {
            matches!(status.status, TemplateStatusCode::Failed | TemplateStatusCode::Error)
        };
        let is_over = statuses.iter().any(has_failed);
        for status in &mut statuses {
            if is_over && !status.status.is_terminal() {
                status.status = TemplateStatusCode::Successful;
                status.message = String::new();
            }
            let old = self.stored.template_statuses.iter().find(|old| old.name == status.name);
            if old.map(|old| old.status) != Some(status.status) {
                status.last_transition_time = Some(Time::new(self.now));
            }
            if status.status != TemplateStatusCode::Progressing {
                self.marks.remove(&status.name);
            }
        }
        self.marks.retain(|name, _| statuses.iter().any(|status| status.name == *name));
        self.status.template_statuses = statuses;
    }

    /// What is seen of a template, apart from how it stands.
    fn observed(&self, view: &View) -> TemplateStatus {
        let name = &view.template.name;
        let old = self.stored.template_statuses.iter().find(|old| old.name == *name);
        let mut status = old.cloned().unwrap_or_default();
        status.name.clone_from(name);
        let of = |get: fn(&ReplicaSet) -> i64| count(view.set.map_or(0, |set| get(set)));
        status.replicas = of(|set| set.existing);
        status.updated_replicas = status.replicas;
        status.ready_replicas = of(|set| set.ready);
        status.available_replicas = of(|set| set.available);
        if let Some(taken) = self.world.taken.get(name) {
            status.collision_count = Some(status.collision_count.unwrap_or(0).max(0).saturating_add(*taken));
        }
        let led = view.service_name.as_ref().filter(|_| view.service.is_some());
        status.service_name = led.cloned().unwrap_or_default();
        status.pod_template_hash = led.map_or_else(String::new, |_| self.hash_of(view));
        status
    }

    /// The hash that the pods of a template have, or will have.
    pub(super) fn hash_of(&self, view: &View) -> String {
        view.set.map_or_else(|| objects::hash(self.experiment, view.template), |set| set.hash.clone())
    }

    /// The name that the ReplicaSet of a template has, or will have.
    pub(super) fn set_name_of(&self, view: &View) -> String {
        let status = self.status.template_statuses.iter().find(|status| status.name == view.template.name);
        let collisions = status.and_then(|status| status.collision_count);
        let name = || objects::set_name(self.experiment, view.template, collisions);
        view.set.map_or_else(name, |set| set.name.clone())
    }

    /// How a template stands that goes on.
    fn progress(&mut self, view: &View, status: &mut TemplateStatus) {
        if view.is_available() {
            let is_over = self.is_duration_over();
            status.status =
                if is_over { TemplateStatusCode::Successful } else { TemplateStatusCode::Running };
            status.message = String::new();
            if !is_over && view.service_name.is_some() && !objects::has_ports(view.template) {
                status.message = NO_PORTS.into();
            }
            return;
        }
        let available = view.set.map_or(0, |set| set.available.max(0));
        let was_running = status.status != TemplateStatusCode::Progressing;
        let mark = self.marks.get(&view.template.name).copied().unwrap_or(0);
        // Pods that come and go are no progress.
        if was_running || available > mark {
            self.marks.insert(view.template.name.clone(), available);
            status.last_transition_time = Some(Time::new(self.now));
        }
        status.status = TemplateStatusCode::Progressing;
        let seen = self.seen(view);
        let limit = SignedDuration::from_secs(i64::from(self.progress_deadline()));
        let since = status.last_transition_time.map_or(self.now, Time::timestamp);
        match since.checked_add(limit) {
            Ok(at) if at < self.now => {
                status.status = TemplateStatusCode::Failed;
                status.message = format!(
                    "Template '{}' exceeded its progressDeadlineSeconds ({}): {seen}",
                    view.template.name,
                    self.progress_deadline()
                );
            }
            Ok(at) => {
                status.message = seen;
                self.recheck(at.checked_add(super::TICK).ok());
            }
            Err(_) => status.message = seen,
        }
    }

    /// What is seen of the pods of a template that has not got them all.
    pub(super) fn seen(&self, view: &View) -> String {
        let name = self.set_name_of(view);
        let failure = self.failure(&view.part()).map(|failure| failure.message.clone());
        let Some(set) = view.set else {
            let why = failure.map_or_else(String::new, |why| format!(" ({why})"));
            return format!("ReplicaSet {name}: not there yet{why}");
        };
        let refused = set.failure.as_ref().map(|(_, _, message)| message.clone());
        let why = failure.or(refused).or_else(|| self.world.troubles.get(&name).cloned());
        let why = why.filter(|why| !why.is_empty()).map_or_else(String::new, |why| format!(" ({why})"));
        if set.is_deleting {
            return format!("ReplicaSet {name}: being deleted{why}");
        }
        format!("ReplicaSet {name}: {} of {} pods available{why}", set.available.max(0), view.replicas())
    }

    /// Asks for what is to be written about pods and Services.
    pub(super) fn tend_sets(&mut self, views: &[View<'a>]) {
        if self.is_held() {
            return;
        }
        for view in views {
            self.tend_set(view);
        }
        self.tend_leftovers(views);
    }

    fn tend_set(&mut self, view: &View<'a>) {
        let Some(index) = self.status.template_statuses.iter().position(|s| s.name == view.template.name)
        else {
            return;
        };
        // One that is being deleted has to be gone before another can have its name.
        if view.set.is_some_and(|set| set.is_deleting)
            && !self.status.template_statuses[index].status.is_terminal()
        {
            return;
        }
        let hash = self.hash_of(view);
        let service = match view.service {
            Some(service) if service.selected_hash.as_deref() == Some(hash.as_str()) => ServiceState::Leads,
            Some(_) => ServiceState::LeadsElsewhere,
            None if view.service_name.is_some() && objects::has_ports(view.template) => ServiceState::Missing,
            None => ServiceState::Unwanted,
        };
        let state = ExperimentState {
            set: view.set.filter(|set| !set.is_deleting).map(|set| ExperimentSet {
                size: set.size,
                existing: set.existing,
                deadline: deadline(set, self.now),
            }),
            service,
            replicas: view.replicas(),
            is_over: self.status.template_statuses[index].status.is_terminal(),
            delay: self.delay(&hash),
            is_served: self.world.served.contains(&hash),
        };
        let planned = moves::plan_experiment(&state, self.now);
        self.recheck(planned.recheck_at);
        for planned in &planned.writes {
            let reason = planned.reason();
            let Some(action) = self.action(view, planned.kind(), &hash) else { continue };
            self.record(view, index, planned.kind(), &hash);
            self.write(action, Some(view.part()), reason);
        }
    }

    /// Puts on record, beside a write, what follows from it.
    fn record(&mut self, view: &View, index: usize, kind: &ExperimentMoveKind, hash: &str) {
        let set_name = self.set_name_of(view);
        let now = Some(Time::new(self.now));
        let status = &mut self.status.template_statuses[index];
        match kind {
            ExperimentMoveKind::MakeService => {
                status.service_name = view.service_name.clone().unwrap_or_default();
                hash.clone_into(&mut status.pod_template_hash);
            }
            ExperimentMoveKind::DropService => {
                status.service_name = String::new();
                status.pod_template_hash = String::new();
            }
            ExperimentMoveKind::Create(_) => {
                status.last_transition_time = now;
                let message = format!("Created ReplicaSet {set_name}");
                self.plan.events.push(Event::normal("NewReplicaSetCreated", message));
            }
            ExperimentMoveKind::Scale { from, to } => {
                if !status.status.is_terminal() {
                    status.last_transition_time = now;
                }
                self.say_scaled(&set_name, *from, *to);
            }
            ExperimentMoveKind::SelectPods
            | ExperimentMoveKind::SetDeadline(_)
            | ExperimentMoveKind::ClearDeadline => {}
        }
    }

    fn say_scaled(&mut self, set: &str, from: i64, to: i64) {
        let way = if to > from { "up" } else { "down" };
        let message = format!("Scaled {way} ReplicaSet {set} from {from} to {to}");
        self.plan.events.push(Event::normal("ScalingReplicaSet", message));
    }

    fn action(&self, view: &View, kind: &ExperimentMoveKind, hash: &str) -> Option<ExperimentAction> {
        let set = view.set.map(|set| (set.name.clone(), set.resource_version.clone()));
        let service =
            view.service_name.clone().zip(view.service.map(|service| service.resource_version.clone()));
        Some(match kind {
            ExperimentMoveKind::MakeService => {
                let name = view.service_name.clone()?;
                let object = objects::service(self.experiment, view.template, &name, hash)?;
                ExperimentAction::CreateService { name, object }
            }
            ExperimentMoveKind::SelectPods => {
                let (name, resource_version) = service?;
                ExperimentAction::SelectPods { name, resource_version, hash: hash.to_owned() }
            }
            ExperimentMoveKind::DropService => {
                let (name, resource_version) = service?;
                ExperimentAction::DeleteService { name, resource_version }
            }
            ExperimentMoveKind::Create(size) => {
                let name = self.set_name_of(view);
                let object = objects::replica_set(self.experiment, view.template, &name, hash, *size);
                ExperimentAction::CreateReplicaSet { name, object }
            }
            ExperimentMoveKind::Scale { to, .. } => {
                let (name, resource_version) = set?;
                ExperimentAction::Scale { name, resource_version, replicas: *to }
            }
            ExperimentMoveKind::SetDeadline(at) => {
                let (name, resource_version) = set?;
                let deadline = Some(not_before(*at).to_string());
                ExperimentAction::SetDeadline { name, resource_version, deadline }
            }
            ExperimentMoveKind::ClearDeadline => {
                let (name, resource_version) = set?;
                ExperimentAction::SetDeadline { name, resource_version, deadline: None }
            }
        })
    }

    /// How long pods stay after their end: as long as proxies may take to hear that their share is gone, at least.
    fn delay(&self, hash: &str) -> SignedDuration {
        let is_weighted = self.world.shares_traffic && !hash.is_empty();
        let least = if is_weighted { self.world.settle } else { SignedDuration::ZERO };
        self.scale_down_delay().max(least)
    }

    /// Clears away what no template of the spec stands for any more.
    fn tend_leftovers(&mut self, views: &[View]) {
        let counts =
            |set: &ReplicaSet| views.iter().any(|view| view.set.is_some_and(|own| own.uid == set.uid));
        let sets: Vec<&Arc<ReplicaSet>> =
            self.world.sets.iter().filter(|set| !set.is_deleting && !counts(set)).collect();
        for set in sets {
            let state = ExperimentState {
                set: Some(ExperimentSet {
                    size: set.size,
                    existing: set.existing,
                    deadline: deadline(set, self.now),
                }),
                service: ServiceState::Unwanted,
                replicas: 0,
                is_over: true,
                delay: self.delay(&set.hash),
                is_served: self.world.served.contains(&set.hash),
            };
            let planned = moves::plan_experiment(&state, self.now);
            self.recheck(planned.recheck_at);
            let (name, resource_version) = (set.name.clone(), set.resource_version.clone());
            for planned in &planned.writes {
                let action = match planned.kind() {
                    ExperimentMoveKind::Scale { from, to } => {
                        self.say_scaled(&name, *from, *to);
                        ExperimentAction::Scale {
                            name: name.clone(),
                            resource_version: resource_version.clone(),
                            replicas: *to,
                        }
                    }
                    ExperimentMoveKind::SetDeadline(at) => ExperimentAction::SetDeadline {
                        name: name.clone(),
                        resource_version: resource_version.clone(),
                        deadline: Some(not_before(*at).to_string()),
                    },
                    ExperimentMoveKind::MakeService
                    | ExperimentMoveKind::SelectPods
                    | ExperimentMoveKind::DropService
                    | ExperimentMoveKind::Create(_)
                    | ExperimentMoveKind::ClearDeadline => continue,
                };
                self.write(action, None, "no template of the spec stands for it");
            }
        }
        let is_named = |name: &String| {
            views.iter().any(|view| view.service.is_some() && view.service_name.as_ref() == Some(name))
        };
        let services: Vec<(&String, &Service)> = self
            .world
            .services
            .iter()
            .filter(|(name, found)| found.is_own && !is_named(name))
            .map(|(name, found)| (name, &found.service))
            .collect();
        for (name, service) in services {
            let unwanted = ExperimentState {
                set: None,
                service: ServiceState::LeadsElsewhere,
                replicas: 0,
                is_over: true,
                delay: SignedDuration::ZERO,
                is_served: false,
            };
            for planned in moves::plan_experiment(&unwanted, self.now).writes {
                if *planned.kind() == ExperimentMoveKind::DropService {
                    let action = ExperimentAction::DeleteService {
                        name: name.clone(),
                        resource_version: service.resource_version.clone(),
                    };
                    self.write(action, None, "no template of the spec asks for it");
                }
            }
        }
    }

    pub(super) fn write(&mut self, action: ExperimentAction, part: Option<Part>, reason: &str) {
        self.plan.writes.push(ExperimentWrite { action, part, reason: reason.to_owned() });
    }
}

/// What is told of a template that asks for a Service and has no port.
pub(super) const NO_PORTS: &str = "no Service: no container of the template has ports";

/// The first whole second that is not before an instant: deadlines are written in seconds.
fn not_before(at: Timestamp) -> Timestamp {
    let second = at.as_second().saturating_add(i64::from(at.subsec_nanosecond() > 0));
    Timestamp::from_second(second).unwrap_or(at)
}

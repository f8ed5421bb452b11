//! Whole rollouts, decided and carried out on plain data: what the engine does from one look to the
//! next, with nothing but itself. Pods start when the story says so.

mod analysis;
mod blue_green;
mod held;
mod pods;
mod routed;
mod trial;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use sluice_api::canary::PingPongSide;
use sluice_api::keys;
use sluice_api::meta::IntOrString;
use sluice_api::traffic_routing::TrafficRouting;

use crate::decide;
use crate::moves::Threshold;
use crate::plan::{Action, Plan};
use crate::template::{self, Injected};
use crate::traffic::{ManagedRoute, Record, Routes, Sight, Subsets, Times, Verdict};
use crate::world::{
    BlueGreen, Canary, CanaryScale, Pod, ReplicaSet, Rollout, Routing, Service, Settings, Spec, Step,
    Strategy, Template, Traffic, Verify, World,
};

/// A cluster of one Rollout.
pub(crate) struct Story {
    pub world: World,
    pub now: Timestamp,
    /// Tags of images whose pods never become available.
    pub broken: BTreeSet<String>,
    /// How many pods of each version start in a round.
    pub pods_per_round: i64,
    pub events: Vec<String>,
    pub log: Vec<String>,
    sets: u32,
    /// What routers ask for, in a story about a Rollout that has one.
    pub router: Option<Router>,
}

/// A router in a story: what its objects ask for, what is remembered of it, and what it says.
pub(crate) struct Router {
    pub routes: Routes,
    pub record: Record,
    pub subsets: Option<Subsets>,
    pub verdict: Verdict,
    pub needs_live_primary: bool,
}

pub(crate) fn template(tag: &str) -> Value {
    json!({
        "metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{"name": "app", "image": format!("registry.example/web:{tag}")}]},
    })
}

fn steps(list: &[Value]) -> Vec<Step> {
    list.iter()
        .map(|step| match (step.get("setWeight"), step.get("pause")) {
            (Some(weight), _) => Step::SetWeight(weight.as_i64().expect("a weight")),
            (_, Some(pause)) => Step::Pause(
                pause.get("duration").map(|d| SignedDuration::from_secs(d.as_i64().expect("seconds"))),
            ),
            _ if step.get("setHeaderRoute").is_some() => Step::SetHeaderRoute("beta".into()),
            _ if step.get("setCanaryScale").is_some() => {
                let scale = &step["setCanaryScale"];
                Step::SetCanaryScale(match (scale["replicas"].as_i64(), scale["weight"].as_i64()) {
                    (Some(replicas), _) => CanaryScale::Replicas(replicas),
                    (None, Some(weight)) => CanaryScale::Weight(weight),
                    (None, None) => CanaryScale::MatchTrafficWeight,
                })
            }
            _ if step.get("analysis").is_some() => Step::Analysis(analysis::of("checks")),
            _ => Step::Unsupported("plugin"),
        })
        .collect()
}

impl Story {
    pub fn new(replicas: i64, list: &[Value]) -> Story {
        let steps = steps(list);
        let canary = Canary {
            step_hash: format!("steps-{}", list.len()),
            steps,
            background: None,
            max_surge: Some(IntOrString::Int(1)),
            max_unavailable: Some(IntOrString::Int(0)),
            canary_service: None,
            stable_service: None,
            routing: None,
            ping_pong: None,
            managed: vec![],
            threshold: Threshold::All,
            min_pods: 1,
            scale_down_delay: SignedDuration::from_secs(30),
            abort_scale_down_delay: (Some(SignedDuration::from_secs(30)), false),
        };
        Story::with(replicas, Strategy::Canary(canary))
    }

    pub fn with(replicas: i64, strategy: Strategy) -> Story {
        let spec = Spec {
            replicas: Some(replicas),
            template: Template::new(&template("1")),
            selector: json!({"matchLabels": {"app": "web"}}),
            label_selector: sluice_api::LabelSelector {
                match_labels: [("app".into(), "web".into())].into(),
                ..Default::default()
            },
            selector_text: "app=web".into(),
            min_ready_seconds: 0,
            revision_history_limit: 10,
            progress_deadline: SignedDuration::from_secs(600),
            progress_deadline_abort: false,
            is_paused: false,
            rollback_window: 0,
            restart_at: None,
            run_limits: crate::analysis::run::RunLimits::default(),
            parts: crate::parts::Parts::default(),
            strategy,
        };
        let rollout = Rollout {
            namespace: "prod".into(),
            name: "web".into(),
            uid: "u1".into(),
            generation: 1,
            resource_version: "1".into(),
            is_deleting: false,
            annotations: BTreeMap::new(),
            workload: None,
            spec: Ok(spec),
            status: sluice_api::rollout::RolloutStatus::default(),
        };
        Story {
            world: World {
                rollout: Arc::new(rollout),
                replica_sets: vec![],
                orphans: vec![],
                services: BTreeMap::new(),
                former_services: BTreeMap::new(),
                workload: None,
                left_workloads: vec![],
                traffic: Traffic::default(),
                analysis: crate::analysis::Analyses::default(),
                trials: vec![],
                troubles: BTreeMap::new(),
                pods: None,
                settings: Settings::default(),
            },
            now: Timestamp::from_second(1_800_000_000).expect("in range"),
            broken: BTreeSet::new(),
            pods_per_round: i64::MAX,
            events: vec![],
            log: vec![],
            sets: 0,
            router: None,
        }
    }

    /// A canary whose share a router carries, with both Services.
    pub fn routed(replicas: i64, list: &[Value]) -> Story {
        let mut story = Story::new(replicas, list);
        let block = TrafficRouting {
            managed_routes: vec![sluice_api::traffic_routing::ManagedRoute { name: "beta".into() }],
            ..TrafficRouting::default()
        };
        let canary = story.canary();
        (canary.canary_service, canary.stable_service) = (Some("canary".into()), Some("stable".into()));
        canary.routing = Some(Routing {
            max_weight: 100,
            dynamic_stable: false,
            staged: false,
            managed_names: vec!["beta".into()],
            drain: SignedDuration::ZERO,
            verify: Verify::Auto,
            block: Arc::new(block),
            unsupported: None,
            is_retired: false,
        });
        for (index, step) in list.iter().enumerate() {
            if let Some(header) = step.get("setHeaderRoute") {
                let route = serde_json::from_value(header.clone()).expect("a header route");
                canary.managed.push((index, ManagedRoute::Header(route)));
            }
        }
        story.service("stable");
        story.service("canary");
        let routes = Routes::default();
        let record = Record::unknown(100, story.now);
        story.router = Some(Router {
            routes,
            record,
            subsets: None,
            verdict: Verdict::Unknown,
            needs_live_primary: false,
        });
        story.settle();
        story.after(6);
        story.settle();
        assert_eq!(story.phase(), "Healthy");
        story
    }

    /// Takes in what the router shows, as whoever looks does before each look.
    fn see(&mut self) {
        let Some(router) = &mut self.router else { return };
        let Ok(Spec { strategy: Strategy::Canary(canary), .. }) = &self.world.rollout.spec else { return };
        let Some(routing) = &canary.routing else { return };
        let settle = (routing.verify != Verify::Strict).then_some(self.world.settings.settle);
        let times = Times { settle, drain: routing.drain };
        let pair = canary.ping_pong.as_ref().map(|(ping, pong)| {
            let stable_is_ping =
                self.world.rollout.status.canary.stable_ping_pong == Some(PingPongSide::Ping);
            if stable_is_ping { (ping, pong) } else { (pong, ping) }
        });
        // The objects name Services: a weight is read by the parts that they play now.
        let is_swapped =
            router.routes.ping_pong.as_ref().zip(pair).is_some_and(|((stable, _), (now, _))| stable != now);
        let weight = if is_swapped { 100 - router.routes.weight } else { router.routes.weight };
        let sight = Sight {
            weights: vec![Some(weight)],
            managed: router.routes.managed.iter().map(|route| route.name().to_owned()).collect(),
            is_partial: self.world.traffic.trouble.is_some(),
            subsets: router.subsets.clone(),
            shows_last: router.record.shown.as_ref() == Some(&router.routes),
            verdict: router.verdict,
            canary_role: pair.map(|(_, canary)| canary.clone()),
        };
        router.record.see(&sight, 100, times, self.now);
        self.world.traffic = Traffic {
            weight: router.record.weight(router.verdict, times),
            managed: router.record.managed(&sight, times),
            subsets: router.record.subsets(times, self.now),
            shown: router.record.shown.clone(),
            asked: router.record.asked.clone(),
            is_guess: router.record.is_guess,
            verified: None,
            needs_live_primary: router.needs_live_primary,
            trouble: self.world.traffic.trouble.clone(),
        };
    }

    fn route(&mut self, routes: &Routes) {
        let now = self.now;
        let router = self.router.as_mut().expect("a Rollout with a router");
        let is_change = router.routes != *routes;
        if is_change {
            let names: Vec<&str> = routes.managed.iter().map(ManagedRoute::name).collect();
            self.log.push(format!("weight {} {}", routes.weight, names.join(" ")).trim().to_owned());
        }
        if let Some(subsets) = &mut router.subsets {
            subsets.stable = routes.stable_hash.clone().or(subsets.stable.take());
            subsets.canary = routes.canary_hash.clone().or(subsets.canary.take());
        }
        router.routes = routes.clone();
        router.record.shows(routes, is_change, now);
    }

    /// What the router asks for: the canary's weight and the managed routes.
    pub fn weight(&self) -> String {
        let router = self.router.as_ref().expect("a Rollout with a router");
        let names: Vec<&str> = router.routes.managed.iter().map(ManagedRoute::name).collect();
        format!("{} {}", router.routes.weight, names.join(" ")).trim().to_owned()
    }

    /// Lets settle times pass until nothing changes.
    #[track_caller]
    pub fn rest(&mut self) -> Plan {
        for _ in 0..50 {
            let before = (self.log.len(), self.world.rollout.status.clone());
            self.settle();
            self.after(6);
            let plan = self.settle();
            if before == (self.log.len(), self.world.rollout.status.clone()) {
                return plan;
            }
        }
        panic!("never comes to rest: {} {}", self.sizes(), self.phase());
    }

    pub fn rollout(&mut self) -> &mut Rollout {
        Arc::make_mut(&mut self.world.rollout)
    }

    pub fn spec(&mut self) -> &mut Spec {
        let rollout = self.rollout();
        rollout.generation += 1;
        rollout.spec.as_mut().expect("a valid spec")
    }

    pub fn canary(&mut self) -> &mut Canary {
        match &mut self.spec().strategy {
            Strategy::Canary(canary) => canary,
            other => unreachable!("no canary: {other:?}"),
        }
    }

    pub fn blue_green(&mut self) -> &mut BlueGreen {
        match &mut self.spec().strategy {
            Strategy::BlueGreen(strategy) => strategy,
            other => unreachable!("no blue-green: {other:?}"),
        }
    }

    pub fn image(&mut self, tag: &str) {
        self.spec().template = Template::new(&template(tag));
    }

    pub fn service(&mut self, name: &str) {
        let service = Service {
            resource_version: "1".into(),
            selected_hash: None,
            selector: [("app".to_owned(), "web".to_owned())].into(),
            managed_by: None,
            selected_since: None,
            experiment: None,
        };
        self.world.services.insert(name.into(), service);
    }

    pub fn set(&self, hash: &str) -> Option<&ReplicaSet> {
        self.world.replica_sets.iter().find(|set| set.hash == hash).map(Arc::as_ref)
    }

    /// Sizes of all ReplicaSets with pods, by revision: `1:4/4 2:1/0`.
    pub fn sizes(&self) -> String {
        let mut sets: Vec<_> =
            self.world.replica_sets.iter().filter(|s| s.size > 0 || s.existing > 0).collect();
        sets.sort_by_key(|set| set.revision());
        let words: Vec<String> =
            sets.iter().map(|s| format!("{}:{}/{}", s.revision(), s.size, s.available)).collect();
        words.join(" ")
    }

    /// The revision that a Service leads to; 0 for all of them.
    pub fn leads(&self, service: &str) -> i64 {
        let hash = self.world.services[service].selected_hash.clone();
        hash.and_then(|hash| self.set(&hash)).map_or(0, ReplicaSet::revision)
    }

    pub fn phase(&self) -> String {
        let status = &self.world.rollout.status;
        format!("{} {}", status.phase.map_or("", |phase| phase.as_str()), status.message).trim().to_owned()
    }

    pub fn set_of(&self, revision: i64) -> &ReplicaSet {
        let found = self.world.replica_sets.iter().find(|set| set.revision() == revision);
        found.expect("a ReplicaSet of this revision")
    }

    pub fn set_available(&mut self, revision: i64, pods: i64) {
        let name = self.set_of(revision).name.clone();
        let set = self.find(&name);
        (set.available, set.ready) = (pods, pods);
    }

    pub fn after(&mut self, seconds: i64) {
        self.now += SignedDuration::from_secs(seconds);
    }

    /// Decides once and carries everything out.
    #[track_caller]
    pub fn look(&mut self) -> Plan {
        self.see();
        let plan = decide(&self.world, self.now);
        assert!(!plan.is_unexplained, "no goal, no write and no wait: {:?} {}", plan.status, self.sizes());
        assert!(plan.recheck_at.is_none_or(|at| at > self.now), "looks again and again: {:?}", plan.wait);
        for write in &plan.writes {
            self.carry_out(&write.action);
        }
        self.rollout().status = plan.status.clone();
        self.events.extend(plan.events.iter().map(|event| format!("{}: {}", event.reason, event.message)));
        plan
    }

    /// Looks, and lets pods come and go, until nothing changes.
    #[track_caller]
    pub fn settle(&mut self) -> Plan {
        for _ in 0..200 {
            let plan = self.look();
            let moved = self.pods();
            if plan.is_empty() && !moved {
                return plan;
            }
        }
        panic!("never comes to rest: {} {}", self.sizes(), self.phase());
    }

    /// One round of the kubelet: every set gets its pods, except broken ones.
    pub fn pods(&mut self) -> bool {
        let mut moved = false;
        for set in &mut self.world.replica_sets {
            let is_broken = self
                .broken
                .iter()
                .any(|tag| set.template == template::digest(&template(tag), &Injected::default()));
            let most = set.available.min(set.size).saturating_add(self.pods_per_round);
            let available = if is_broken { 0 } else { set.size.min(most) };
            if (set.existing, set.available) != (set.size, available) {
                let set = Arc::make_mut(set);
                (set.existing, set.ready, set.available) = (set.size, available, available);
                moved = true;
            }
            if is_broken && set.size > 0 {
                self.world.troubles.insert(set.name.clone(), "CrashLoopBackOff: exit code 1".into());
            }
        }
        moved
    }

    fn carry_out(&mut self, action: &Action) {
        self.log.push(match action {
            Action::CreateReplicaSet { name, object } => {
                format!("create {name} {}", object["spec"]["replicas"])
            }
            Action::Scale { name, replicas, .. } => format!("scale {name} {replicas}"),
            Action::Route(_) => return self.carry_out_route(action),
            Action::Evict { pod } => format!("evict {pod}"),
            Action::ScaleWorkload { name, replicas, .. } => format!("scale workload {name} {replicas}"),
            Action::CreateRun { name, .. } => format!("create run {name}"),
            Action::PlaceRun { name, annotations, .. } => format!("place run {name} {annotations:?}"),
            Action::TerminateRun { name, .. } => format!("terminate run {name}"),
            Action::DeleteRun { name, .. } => format!("delete run {name}"),
            Action::CreateExperiment { name, .. } => format!("create experiment {name}"),
            Action::TerminateExperiment { name, .. } => format!("terminate experiment {name}"),
            Action::DeleteExperiment { name, .. } => format!("delete experiment {name}"),
            other => format!("{other:?}"),
        });
        match action {
            Action::CreateReplicaSet { object, .. } => self.create(object),
            Action::Scale { name, replicas, desired_replicas, .. } => {
                let set = self.find(name);
                set.size = *replicas;
                set.annotations.insert(keys::DESIRED_REPLICAS.into(), desired_replicas.to_string());
            }
            Action::AmendReplicaSet { name, annotations, .. } => {
                let set = self.find(name);
                for (key, value) in annotations {
                    match value {
                        Some(value) => set.annotations.insert(key.clone(), value.clone()),
                        None => set.annotations.remove(key),
                    };
                }
            }
            Action::AdoptReplicaSet { uid, .. } => {
                let position = self.world.orphans.iter().position(|set| set.uid == *uid).expect("an orphan");
                let set = self.world.orphans.remove(position);
                self.world.replica_sets.push(set);
            }
            Action::DeleteReplicaSet { name, .. } => self.world.replica_sets.retain(|set| set.name != *name),
            Action::AnnotateRollout { annotations } => {
                for (key, value) in annotations {
                    let known = &mut self.rollout().annotations;
                    match value {
                        Some(value) => known.insert(key.clone(), value.clone()),
                        None => known.remove(key),
                    };
                }
            }
            Action::DefaultReplicas(replicas) => self.spec().replicas = Some(*replicas),
            Action::SelectService { name, hash, .. } => {
                let now = self.now;
                let service = self.world.services.get_mut(name).expect("a Service that exists");
                service.selected_hash.clone_from(hash);
                service.managed_by = Some("web".into());
                service.selected_since = Some(now);
            }
            Action::ReleaseService { name, .. } => {
                self.world.former_services.remove(name).expect("a Service that exists");
            }
            Action::Evict { pod } => self.evict(pod),
            Action::ScaleWorkload { replicas, annotations, .. } => {
                let workload = match &mut self.world.workload {
                    Some(Ok(workload)) if self.world.left_workloads.is_empty() => workload,
                    _ => self.world.left_workloads.first_mut().expect("a workload to scale"),
                };
                crate::workload::tests::carry_out(Arc::make_mut(workload), *replicas, annotations);
                self.world.left_workloads.retain(|workload| workload.drained.is_some());
            }
            Action::CreateRun { .. }
            | Action::PlaceRun { .. }
            | Action::TerminateRun { .. }
            | Action::DeleteRun { .. } => {
                analysis::carry_out(self, action);
            }
            Action::CreateExperiment { .. }
            | Action::TerminateExperiment { .. }
            | Action::DeleteExperiment { .. } => trial::carry_out(self, action),
            Action::Route(_) => {}
        }
    }

    /// The pods of all versions carry what they should, and the notes are gone.
    pub fn pods_followed(&mut self) {
        for set in &mut self.world.replica_sets {
            Arc::make_mut(set).annotations.remove(crate::parts::PENDING);
        }
    }

    fn evict(&mut self, name: &str) {
        let now = self.now;
        let pods = self.world.pods.as_mut().expect("pods are looked at");
        let pod = pods.iter_mut().find(|pod| pod.name == name).expect("a pod that exists");
        // Another one comes in its place, and is available a little later.
        let later = now + SignedDuration::from_secs(3);
        let set = pod.set.clone();
        *pod = Pod {
            name: format!("{name}+"),
            set,
            created_at: now,
            available_at: Some(later),
            is_terminating: false,
        };
    }

    fn carry_out_route(&mut self, action: &Action) {
        if let Action::Route(routes) = action {
            self.route(routes);
        }
    }

    fn find(&mut self, name: &str) -> &mut ReplicaSet {
        let set = self
            .world
            .replica_sets
            .iter_mut()
            .find(|set| set.name == name)
            .expect("a ReplicaSet that exists");
        Arc::make_mut(set)
    }

    fn create(&mut self, object: &Value) {
        self.sets += 1;
        let text =
            |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let annotations: BTreeMap<String, String> =
            serde_json::from_value(object["metadata"]["annotations"].clone()).expect("annotations");
        self.world.replica_sets.push(Arc::new(ReplicaSet {
            name: text("/metadata/name"),
            uid: format!("rs-{}", self.sets),
            resource_version: "1".into(),
            created_at: self.now,
            generation: 1,
            is_deleting: false,
            hash: object["metadata"]["labels"][keys::POD_TEMPLATE_HASH].as_str().unwrap_or_default().into(),
            annotations,
            labels: BTreeMap::new(),
            template: template::digest(
                &object["spec"]["template"],
                &Injected::from_annotation(
                    object["metadata"]["annotations"][keys::EPHEMERAL_METADATA].as_str(),
                ),
            ),
            apart_from: crate::parts::kept_apart_from(&object["spec"]["template"]),
            size: object["spec"]["replicas"].as_i64().unwrap_or(0),
            min_ready_seconds: 0,
            existing: 0,
            ready: 0,
            available: 0,
            observed_generation: 1,
            failure: None,
        }));
    }
}

fn four_steps() -> Vec<Value> {
    vec![
        json!({"setWeight": 20}),
        json!({"pause": {}}),
        json!({"setWeight": 60}),
        json!({"pause": {"duration": 3600}}),
    ]
}

fn deployed() -> Story {
    let mut story = Story::new(5, &four_steps());
    story.settle();
    assert_eq!(story.phase(), "Healthy");
    assert_eq!(story.sizes(), "1:5/5");
    story
}

/// A blue-green Rollout that runs its first version, with both Services.
pub(crate) fn blue_green(replicas: i64) -> Story {
    let strategy = BlueGreen {
        active_service: "web".into(),
        preview_service: Some("web-preview".into()),
        preview_replicas: None,
        auto_promotion: true,
        auto_promotion_after: None,
        max_unavailable: None,
        scale_down_delay: SignedDuration::from_secs(30),
        delayed_revisions: i64::MAX,
        abort_scale_down_delay: Some(SignedDuration::from_secs(30)),
        pre_promotion: None,
        post_promotion: None,
    };
    let mut story = Story::with(replicas, Strategy::BlueGreen(strategy));
    story.service("web");
    story.service("web-preview");
    story.settle();
    story.after(10);
    story.settle();
    assert_eq!((story.sizes(), story.phase().as_str()), (format!("1:{replicas}/{replicas}"), "Healthy"));
    assert_eq!((story.leads("web"), story.leads("web-preview")), (1, 1));
    story
}

fn resume(story: &mut Story) {
    story.rollout().status.pause_conditions.clear();
}

#[test]
fn a_first_deploy_skips_the_steps() {
    let mut story = deployed();
    assert_eq!(story.world.rollout.status.current_step_index, Some(4));
    let plan = story.look();
    assert!(plan.is_empty(), "quiet when still: {plan:?}");
    assert_eq!(plan.recheck_at, None);
}

#[test]
fn a_canary_goes_through_its_steps() {
    let mut story = deployed();
    story.image("2");
    story.settle();
    assert_eq!((story.sizes().as_str(), story.phase().as_str()), ("1:4/4 2:1/1", "Paused CanaryPauseStep"));
    resume(&mut story);
    story.settle();
    assert_eq!((story.sizes().as_str(), story.phase().as_str()), ("1:2/2 2:3/3", "Paused CanaryPauseStep"));
    story.after(3600);
    story.settle();
    assert_eq!(story.world.rollout.status.current_step_index, Some(3), "over only strictly after its end");
    story.after(1);
    story.settle();
    assert_eq!((story.sizes().as_str(), story.phase().as_str()), ("2:5/5", "Healthy"));
    assert_eq!(story.world.rollout.annotation(keys::REVISION), Some("2"));
}

#[test]
fn an_abort_goes_back_to_stable_and_a_retry_starts_over() {
    let mut story = deployed();
    story.image("2");
    story.settle();
    story.rollout().status.abort = true;
    story.settle();
    assert_eq!(story.sizes(), "1:5/5");
    assert_eq!(story.phase(), "Degraded RolloutAborted: Rollout aborted update to revision 2");
    assert!(story.world.rollout.status.pause_conditions.is_empty());
    story.rollout().status.abort = false;
    story.settle();
    assert_eq!((story.sizes().as_str(), story.phase().as_str()), ("1:4/4 2:1/1", "Paused CanaryPauseStep"));
    story.image("1");
    story.settle();
    assert_eq!((story.sizes().as_str(), story.phase().as_str()), ("3:5/5", "Healthy"));
}

#[test]
fn a_version_that_never_starts_is_aborted_by_its_deadline() {
    let mut story = deployed();
    story.spec().progress_deadline_abort = true;
    story.broken.insert("bad".into());
    story.image("bad");
    let plan = story.settle();
    assert_eq!(
        story.phase(),
        "Progressing more replicas need to be updated: ReplicaSet web-".to_owned()
            + &story.world.rollout.status.current_pod_hash
            + ": 0 of 1 pods available (CrashLoopBackOff: exit code 1), wanted 1 available"
    );
    let at = plan.recheck_at.expect("a deadline");
    story.now = at - SignedDuration::from_nanos(1);
    story.settle();
    assert!(!story.world.rollout.status.abort, "not before its time");
    story.now = at;
    story.settle();
    assert!(story.world.rollout.status.abort);
    assert!(
        story.phase().contains("has timed out progressing: 0 of 1 pods available (CrashLoopBackOff: exit code 1), wanted 1 available within 600s")
            || story.phase().contains("within 10m0s"),
        "{}",
        story.phase()
    );
    assert_eq!(story.sizes(), "1:5/5");
}

#[test]
fn pods_that_come_and_go_are_no_progress() {
    let mut story = deployed();
    story.spec().progress_deadline_abort = true;
    story.image("2");
    story.look();
    // One of the pods flaps for longer than the deadline.
    story.broken.insert("2".into());
    for _ in 0..70 {
        story.pods();
        story.look();
        story.after(5);
        let hash = story.world.rollout.status.current_pod_hash.clone();
        let name = story.set(&hash).map(|set| set.name.clone()).expect("the new set");
        if story.world.rollout.status.abort {
            break;
        }
        let set = story.find(&name);
        set.ready = 1; // ready, but never available for long enough
        story.look();
        story.after(5);
    }
    assert!(story.world.rollout.status.abort, "the deadline of 600 s is over: {}", story.phase());
}

#[test]
fn a_third_revision_supersedes_the_second() {
    let mut story = deployed();
    story.image("2");
    story.settle();
    story.image("3");
    story.settle();
    assert_eq!((story.sizes().as_str(), story.phase().as_str()), ("1:4/4 3:1/1", "Paused CanaryPauseStep"));
    assert_eq!(story.world.rollout.status.current_step_index, Some(1));
}

#[test]
fn promote_full_skips_what_is_left() {
    let mut story = deployed();
    story.image("2");
    story.settle();
    story.rollout().status.promote_full = true;
    story.settle();
    assert_eq!((story.sizes().as_str(), story.phase().as_str()), ("2:5/5", "Healthy"));
    assert!(story.events.iter().any(|event| event.contains("Full promotion requested")));
}

#[test]
fn an_abort_wins_over_promote_full_and_pause() {
    let mut story = deployed();
    story.image("2");
    story.settle();
    story.rollout().status.promote_full = true;
    story.rollout().status.abort = true;
    story.spec().is_paused = true;
    story.settle();
    assert!(!story.world.rollout.status.promote_full);
    assert_eq!(story.sizes(), "1:5/5");
}

#[test]
fn an_abort_with_nothing_under_way_changes_nothing() {
    let mut story = deployed();
    story.rollout().status.abort = true;
    let before = story.log.len();
    story.settle();
    assert_eq!(story.log.len(), before);
    assert_eq!(story.phase(), "Healthy");
    assert!(story.events.iter().any(|event| event.starts_with("RolloutNotAborted")), "{:?}", story.events);
}

#[test]
fn a_lost_status_is_not_a_first_deploy() {
    let mut story = deployed();
    story.image("2");
    story.settle();
    story.rollout().status = sluice_api::rollout::RolloutStatus::default();
    story.settle();
    assert_eq!((story.sizes().as_str(), story.phase().as_str()), ("1:4/4 2:1/1", "Paused CanaryPauseStep"));
}

#[test]
fn old_revisions_beyond_the_limit_go() {
    let mut story = Story::new(1, &[]);
    story.spec().revision_history_limit = 2;
    for tag in ["1", "2", "3", "4", "5"] {
        story.image(tag);
        story.settle();
        story.after(10);
    }
    let mut revisions: Vec<i64> = story.world.replica_sets.iter().map(|set| set.revision()).collect();
    revisions.sort_unstable();
    assert_eq!(revisions, [3, 4, 5]);
}

#[test]
fn an_unsupported_step_holds_with_a_reason() {
    let mut story =
        Story::new(5, &[json!({"setWeight": 20}), json!({"plugin": {}}), json!({"setWeight": 60})]);
    story.settle();
    story.image("2");
    let plan = story.settle();
    assert_eq!(story.sizes(), "1:4/4 2:1/1");
    let wait = plan.wait.expect("a wait").to_string();
    assert!(wait.contains("step 2 of 3: plugin is not carried out by this build"), "{wait}");
}

#[test]
fn services_follow_what_can_serve() {
    let mut story = Story::new(5, &four_steps());
    story.canary().canary_service = Some("web-canary".into());
    story.canary().stable_service = Some("web".into());
    story.service("web-canary");
    story.service("web");
    story.settle();
    let first = story.world.rollout.status.stable_rs.clone();
    assert_eq!(story.world.services["web-canary"].selected_hash, Some(first.clone()));
    story.image("2");
    for _ in 0..3 {
        story.settle();
        story.after(10);
    }
    let second = story.world.rollout.status.current_pod_hash.clone();
    assert_eq!(story.world.services["web-canary"].selected_hash, Some(second));
    assert_eq!(
        story.world.services["web"].selected_hash, None,
        "everybody calls it, so it reaches every version"
    );
    assert_eq!(story.phase(), "Paused CanaryPauseStep");
    story.rollout().status.abort = true;
    for _ in 0..3 {
        story.settle();
        story.after(10);
    }
    assert_eq!(story.world.services["web-canary"].selected_hash, Some(first));
    assert_eq!(story.sizes(), "1:5/5");
}

#[test]
fn a_stable_service_that_is_narrowed_is_widened_before_stable_shrinks() {
    let mut story = deployed();
    story.canary().stable_service = Some("web".into());
    story.service("web");
    let stable = story.world.rollout.status.stable_rs.clone();
    let service = story.world.services.get_mut("web").expect("the Service");
    service.selected_hash = Some(stable);
    service.managed_by = Some("web".into());
    story.settle();
    assert!(story.world.services["web"].selected_hash.is_some(), "at rest it stays as it was found");
    story.image("2");
    let plan = story.look();
    assert!(
        plan.writes.iter().any(|w| matches!(&w.action, Action::SelectService { hash: None, .. })),
        "{plan:?}"
    );
    assert_eq!(story.sizes(), "1:5/5 2:1/0");
}

#[test]
fn a_missing_service_is_named_and_an_abort_still_works() {
    let mut story = deployed();
    story.image("2");
    story.settle();
    story.canary().canary_service = Some("nowhere".into());
    story.settle();
    let message = "InvalidSpec: The Rollout \"web\" is invalid: spec.strategy.canary.canaryService: Invalid value: \"nowhere\": service \"nowhere\" not found";
    assert_eq!(story.phase(), format!("Degraded {message}"));
    assert_eq!(story.sizes(), "1:4/4 2:1/1", "what serves goes on serving");
    story.rollout().status.abort = true;
    story.settle();
    assert_eq!(story.sizes(), "1:5/5");
    story.canary().canary_service = None;
    story.settle();
    assert!(!story.phase().contains("InvalidSpec"), "{}", story.phase());
}

#[test]
fn an_orphan_is_adopted_before_anything_else() {
    let mut story = deployed();
    let set = story.world.replica_sets.remove(0);
    story.world.orphans.push(set);
    let plan = story.look();
    assert!(
        matches!(plan.writes.as_slice(), [write] if matches!(write.action, Action::AdoptReplicaSet { .. })),
        "{plan:?}"
    );
    story.settle();
    assert_eq!((story.sizes().as_str(), story.phase().as_str()), ("1:5/5", "Healthy"));
    assert_eq!(story.world.replica_sets.len(), 1, "nothing was created beside it");
}

#[test]
fn an_abort_that_does_not_stand_any_more_is_not_shown() {
    let mut story = deployed();
    story.image("2");
    story.settle();
    story.rollout().status.abort = true;
    story.settle();
    story.spec().is_paused = true;
    story.image("1");
    story.settle();
    assert_eq!((story.sizes().as_str(), story.phase().as_str()), ("3:5/5", "Paused manually paused"));
}

#[test]
fn a_single_pod_makes_room_although_the_canary_service_leads_to_it() {
    let mut story = Story::new(1, &[json!({"setWeight": 50})]);
    story.canary().max_surge = Some(IntOrString::Int(0));
    story.canary().max_unavailable = Some(IntOrString::Int(1));
    story.canary().canary_service = Some("web-canary".into());
    story.service("web-canary");
    story.settle();
    story.after(10);
    story.image("2");
    for _ in 0..4 {
        story.settle();
        story.after(10);
    }
    assert_eq!((story.sizes().as_str(), story.phase().as_str()), ("2:1/1", "Healthy"));
}

#[test]
fn a_rollback_within_the_window_skips_steps_but_not_capacity() {
    let mut story = deployed();
    story.spec().rollback_window = 3;
    story.image("2");
    story.rollout().status.promote_full = false;
    story.after(1);
    story.settle();
    story.rollout().status.promote_full = true;
    story.settle();
    assert_eq!((story.phase().as_str(), story.sizes().as_str()), ("Healthy", "2:5/5"));
    story.image("1");
    story.look();
    assert_eq!(story.world.rollout.status.current_step_index, Some(4));
    assert_eq!(story.sizes(), "2:5/5 3:1/0", "no more than the corridor allows");
    story.settle();
    assert_eq!((story.phase().as_str(), story.sizes().as_str()), ("Healthy", "3:5/5"));
    assert!(story.events.iter().any(|event| event.contains("Rollback within window")), "{:?}", story.events);
}

/// A canary becomes blue-green, at rest and in the middle of an update: the Service that people call always
/// leads to enough pods, and what belonged to the old strategy goes last.
#[test]
fn w03_a_canary_becomes_blue_green() {
    for is_under_way in [false, true] {
        let mut story = deployed();
        story.service("web-stable");
        story.canary().stable_service = Some("web-stable".into());
        if is_under_way {
            story.image("2");
        }
        story.settle();
        let blue_green = blue_green(1);
        let Ok(Spec { strategy, .. }) = &blue_green.world.rollout.spec else { panic!() };
        story.spec().strategy = strategy.clone();
        let former = story.world.services.remove("web-stable").expect("a Service");
        story.world.former_services.insert("web-stable".into(), former);
        story.service("web");
        story.service("web-preview");
        for _ in 0..100 {
            story.look();
            let leads = story.leads("web");
            let serving: i64 = match leads {
                0 => story.world.replica_sets.iter().map(|set| set.available).sum(),
                revision => story.set_of(revision).available,
            };
            assert!(serving >= 4, "{serving} pods behind the active Service, which leads to {leads}");
            let others = story.world.replica_sets.iter().filter(|set| set.existing > 0).count();
            assert!(others == 1 || !story.world.former_services.is_empty(), "let go of too early");
            story.pods();
            story.after(7);
        }
        let last = if is_under_way { 2 } else { 1 };
        assert_eq!((story.sizes(), story.phase().as_str()), (format!("{last}:5/5"), "Healthy"));
        assert_eq!((story.leads("web"), story.leads("web-preview")), (last, last));
        assert!(story.world.former_services.is_empty());
        let status = &story.world.rollout.status;
        assert_eq!((status.current_step_index, status.canary.weights.is_none()), (None, true));
    }
}

#[test]
fn revisions_never_fall_although_history_is_cleared() {
    let mut story = Story::new(3, &[json!({"setWeight": 40}), json!({"pause": {}})]);
    story.settle();
    story.spec().revision_history_limit = 0;
    story.image("2");
    story.settle();
    story.rollout().status.abort = true;
    story.settle();
    // The next template comes while a Service is missing, so that only the history is cleared.
    story.canary().stable_service = Some("web-stable".into());
    story.image("3");
    story.settle();
    assert_eq!(story.world.replica_sets.len(), 1, "the aborted version is gone");
    story.canary().stable_service = None;
    story.settle();
    let revision = story.world.rollout.annotation(keys::REVISION);
    assert_eq!(revision, Some("3"));
}

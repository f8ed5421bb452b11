use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::json;
use sluice_api::keys;

use super::{DRAINED, Found, REPLICAS_BEFORE, read, reference, resolve};
use crate::moves::ScaleDown;
use crate::stories::{Story, blue_green, template};
use crate::world::{Workload, WorkloadKind, WorkloadRef};

fn deployment(tag: &str, replicas: i64) -> Workload {
    let object = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"namespace": "prod", "name": "src", "resourceVersion": "1", "generation": 1},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "template": template(tag)},
        "status": {"replicas": replicas},
    });
    read(WorkloadKind::Deployment, object).expect("a Deployment")
}

fn named(scale_down: ScaleDown) -> WorkloadRef {
    WorkloadRef { kind: Ok(WorkloadKind::Deployment), name: "src".into(), scale_down, gives_selector: false }
}

/// What the API server makes of a write to a workload.
pub(crate) fn carry_out(
    workload: &mut Workload,
    replicas: i64,
    annotations: &BTreeMap<String, Option<String>>,
) {
    let mut object = json!({
        "metadata": {"namespace": workload.namespace, "name": workload.name, "annotations": annotations},
        "spec": {"replicas": replicas},
    });
    object["spec"]["template"] = workload.template.json();
    let written = read(workload.kind, object.clone());
    // An annotation that is taken away is null here.
    let written = written.unwrap_or_else(|_| {
        object["metadata"]["annotations"] = json!({});
        read(workload.kind, object).expect("a workload")
    });
    (workload.size, workload.existing, workload.drained) = (replicas, replicas, written.drained);
    workload.generation += 1;
}

/// Changes the workload as people and other controllers do.
fn edit(story: &mut Story, change: impl FnOnce(&mut Workload)) {
    let Some(Ok(workload)) = &mut story.world.workload else { panic!("a workload that is there") };
    let workload = Arc::make_mut(workload);
    change(workload);
    workload.generation += 1;
    let found = Found::Workload(Arc::new(workload.clone()));
    see(story, found);
}

/// Lets the next look see the workload so.
fn see(story: &mut Story, found: Found) {
    let reference = story.world.rollout.workload.clone().expect("a reference");
    let sets = &story.world.replica_sets;
    let (rollout, workload) = resolve(&story.world.rollout, &reference, found, sets);
    story.world.rollout = Arc::new(rollout);
    story.world.workload = Some(workload);
}

fn size(story: &Story) -> i64 {
    let Some(Ok(workload)) = &story.world.workload else { panic!("a workload that is there") };
    workload.size
}

fn steps() -> Vec<serde_json::Value> {
    vec![json!({"setWeight": 20}), json!({"pause": {}})]
}

/// A Rollout of five that takes over from a Deployment of five.
fn migration(scale_down: ScaleDown) -> Story {
    let mut story = Story::new(5, &steps());
    story.rollout().workload = Some(named(scale_down));
    see(&mut story, Found::Workload(Arc::new(deployment("1", 5))));
    story
}

fn migrated() -> Story {
    let mut story = migration(ScaleDown::OnSuccess);
    story.settle();
    assert_eq!((story.sizes().as_str(), story.phase().as_str(), size(&story)), ("1:5/5", "Healthy", 0));
    story
}

fn condition(story: &Story, kind: &str) -> Option<String> {
    let conditions = &story.world.rollout.status.conditions;
    conditions.iter().find(|condition| condition.type_ == kind).map(|condition| condition.message.clone())
}

#[test]
fn references() {
    let parse = |api_version: &str, kind: &str, scale_down: &str| {
        let wire = sluice_api::rollout::WorkloadRef {
            api_version: api_version.into(),
            kind: kind.into(),
            name: "src".into(),
            scale_down: scale_down.into(),
        };
        let parsed = reference(&wire, true);
        (parsed.kind, parsed.scale_down)
    };
    use ScaleDown::{Never, OnSuccess, Progressively};
    use WorkloadKind::{Deployment, PodTemplate, ReplicaSet};
    for (api_version, kind, scale_down, expected) in [
        ("apps/v1", "Deployment", "", (Ok(Deployment), Never)),
        ("apps/v1beta2", "Deployment", "onsuccess", (Ok(Deployment), OnSuccess)),
        ("apps/v1", "Deployment", "progressively", (Ok(Deployment), Progressively)),
        ("apps/v1", "Deployment", "sometimes", (Ok(Deployment), Never)),
        ("apps/v1", "ReplicaSet", "onsuccess", (Ok(ReplicaSet), Never)),
        ("v1", "PodTemplate", "progressively", (Ok(PodTemplate), Never)),
        ("v1", "Deployment", "onsuccess", (Err("/Deployment".into()), Never)),
        ("batch/v1", "Job", "", (Err("batch/Job".into()), Never)),
        ("", "", "", (Err("/".into()), Never)),
    ] {
        assert_eq!(parse(api_version, kind, scale_down), expected, "{api_version} {kind} {scale_down}");
    }
}

#[test]
fn the_deployment_goes_when_the_rollout_is_healthy() {
    let mut story = migration(ScaleDown::OnSuccess);
    story.look();
    assert_eq!(
        story.log,
        Vec::from([
            "AnnotateRollout { annotations: {\"rollout.argoproj.io/workload-generation\": Some(\"1\")} }"
        ])
    );
    story.settle();
    assert_eq!((story.phase().as_str(), size(&story)), ("Healthy", 0));
    let scaled: Vec<_> = story.log.iter().filter(|line| line.starts_with("scale workload")).collect();
    assert_eq!(scaled, ["scale workload src 0"]);
    let Some(Ok(workload)) = &story.world.workload else { panic!("a workload") };
    let drained = workload.drained.clone().expect("a note");
    assert_eq!((drained.rollout.as_str(), drained.uid.as_str(), drained.before), ("web", "u1", Some(5)));
    // The scaling itself has changed the generation, and that is on record too.
    assert_eq!(story.world.rollout.annotation(keys::WORKLOAD_GENERATION), Some("2"));
    assert_eq!(story.world.rollout.status.workload_observed_generation, "2");
    assert_eq!(story.set_of(1).annotation(keys::WORKLOAD_GENERATION), Some("2"));
}

#[test]
fn a_deployment_that_goes_pod_by_pod() {
    let mut story = migration(ScaleDown::Progressively);
    story.look();
    for (available, expected) in [(0, 5), (1, 4), (3, 2), (2, 3), (4, 1)] {
        story.look();
        story.set_available(1, available);
        story.look();
        assert_eq!(size(&story), expected, "{available} pods of ours are there");
        assert!(size(&story) + available >= 5);
    }
    story.settle();
    assert_eq!((story.phase().as_str(), size(&story)), ("Healthy", 0));
    let Some(Ok(workload)) = &story.world.workload else { panic!("a workload") };
    assert_eq!(workload.drained.as_ref().and_then(|drained| drained.before), Some(5), "the size before all");
}

/// Whoever re-applies the Deployment's replicas does not get a second set of pods for ever.
#[test]
fn w05_replicas_that_are_set_again_go_again_with_one_event() {
    let mut story = migrated();
    for tag in ["2", "3", "4"] {
        edit(&mut story, |workload| workload.template = crate::world::Template::new(&template(tag)));
        story.settle();
        assert!(story.phase().starts_with("Paused"), "{}", story.phase());
        story.rollout().status.promote_full = true;
        story.settle();
        assert_eq!((story.phase().as_str(), size(&story)), ("Healthy", 0));
    }
    story.events.clear();
    edit(&mut story, |workload| workload.size = 10);
    story.settle();
    assert_eq!(size(&story), 0);
    assert_eq!(
        story.events,
        ["ScalingWorkload: Scaled down Deployment src from 10 to 0: the Rollout's own pods carry everything"]
    );
    assert_eq!(story.sizes(), "4:5/5");
}

#[test]
fn during_an_update_only_what_was_let_go_before_goes_again() {
    let mut story = migrated();
    edit(&mut story, |workload| {
        workload.template = crate::world::Template::new(&template("2"));
        workload.size = 10;
    });
    story.settle();
    assert_eq!((story.sizes().as_str(), size(&story)), ("1:4/4 2:1/1", 0), "its pods would skip all steps");

    // One that was never let go stays until the Rollout is healthy, whatever the revision.
    let mut story = migration(ScaleDown::OnSuccess);
    story.broken.insert("1".into());
    for _ in 0..10 {
        story.look();
        story.pods();
    }
    edit(&mut story, |workload| workload.template = crate::world::Template::new(&template("2")));
    story.settle();
    story.rollout().status.promote_full = true;
    story.settle();
    assert_eq!((story.phase().as_str(), size(&story)), ("Healthy", 0), "{}", story.sizes());
}

#[test]
fn blue_green_takes_over_too() {
    let mut story = blue_green(3);
    story.blue_green().auto_promotion = false;
    story.rollout().workload = Some(named(ScaleDown::OnSuccess));
    see(&mut story, Found::Workload(Arc::new(deployment("1", 3))));
    story.settle();
    assert_eq!((story.phase().as_str(), size(&story)), ("Healthy", 0));
    edit(&mut story, |workload| workload.template = crate::world::Template::new(&template("2")));
    story.settle();
    assert_eq!((story.sizes().as_str(), story.phase().as_str()), ("1:3/3 2:3/3", "Paused BlueGreenPause"));
    edit(&mut story, |workload| workload.size = 3);
    story.settle();
    assert_eq!(size(&story), 0);
}

#[test]
fn two_sets_of_pods_are_said_once() {
    let mut story = migration(ScaleDown::Never);
    story.settle();
    let message = "Deployment src has 5 replicas beside the 5 of this Rollout: scale it to 0, or set spec.workloadRef.scaleDown to onsuccess or progressively";
    assert_eq!(condition(&story, "DoubleCapacity").as_deref(), Some(message));
    edit(&mut story, |workload| workload.size = 4);
    story.settle();
    let warnings: Vec<_> = story.events.iter().filter(|event| event.starts_with("DoubleCapacity")).collect();
    assert_eq!(warnings, [&format!("DoubleCapacity: {message}")]);
    assert_eq!(size(&story), 4, "never is never");
    edit(&mut story, |workload| workload.size = 0);
    story.settle();
    assert_eq!(condition(&story, "DoubleCapacity"), None);
    assert_eq!(story.phase(), "Healthy");
}

#[test]
fn a_rollout_that_sleeps_stands_in_for_nothing() {
    let mut story = migration(ScaleDown::OnSuccess);
    story.spec().replicas = Some(0);
    story.settle();
    assert_eq!((story.phase().as_str(), size(&story)), ("Healthy", 5));
    story.spec().replicas = Some(5);
    story.settle();
    assert_eq!((story.sizes().as_str(), size(&story)), ("1:5/5", 0));
}

#[test]
fn a_rollout_without_replicas_is_as_large_as_what_it_stands_in_for() {
    let mut story = migration(ScaleDown::OnSuccess);
    story.spec().replicas = None;
    story.settle();
    assert_eq!((story.sizes().as_str(), size(&story)), ("1:5/5", 0));
}

#[test]
fn without_its_workload_what_serves_goes_on_and_an_abort_still_works() {
    let mut story = migrated();
    edit(&mut story, |workload| workload.template = crate::world::Template::new(&template("2")));
    story.settle();
    assert_eq!(story.sizes(), "1:4/4 2:1/1");
    see(&mut story, Found::Nothing);
    story.log.clear();
    story.settle();
    let message = "InvalidSpec: The Rollout \"web\" is invalid: spec.workloadRef: Invalid value: \"Deployment src\": deployments.apps \"src\" not found: create it, or name one that exists";
    assert_eq!(story.phase(), format!("Degraded {message}"));
    assert_eq!((story.sizes().as_str(), &story.log), ("1:4/4 2:1/1", &vec![]), "nothing is touched");
    assert_eq!(story.world.rollout.status.selector, "app=web");
    story.rollout().status.pause_conditions.clear();
    story.settle();
    assert_eq!(story.sizes(), "1:4/4 2:1/1", "nothing goes on");
    story.spec().replicas = Some(10);
    story.settle();
    assert_eq!(story.sizes(), "1:8/8 2:2/2", "it scales");
    story.rollout().status.abort = true;
    story.settle();
    assert_eq!(story.sizes(), "1:10/10");
    assert!(!story.log.iter().any(|line| line.contains("Amend") || line.starts_with("create")));
    story.rollout().status.abort = false;
    let mut found = deployment("2", 0);
    found.generation = 9;
    see(&mut story, Found::Workload(Arc::new(found)));
    story.settle();
    assert!(story.phase().starts_with("Paused"), "{}", story.phase());
    assert_eq!(story.world.replica_sets.len(), 2, "it is the same revision");
}

#[test]
fn a_first_version_waits_for_its_workload() {
    let mut story = migration(ScaleDown::OnSuccess);
    see(&mut story, Found::Nothing);
    let plan = story.look();
    assert!(plan.writes.is_empty());
    assert!(story.phase().contains("deployments.apps \"src\" not found"), "{}", story.phase());
}

#[test]
fn what_a_template_is_not_taken_from() {
    let story = migration(ScaleDown::Never);
    let rollout = &story.world.rollout;
    let resolve = |kind: Result<WorkloadKind, String>, gives_selector, found| {
        let reference = WorkloadRef { kind, gives_selector, ..named(ScaleDown::Never) };
        let (resolved, workload) = resolve(rollout, &reference, found, &[]);
        let problem = workload.expect_err("cannot be used");
        assert_eq!(resolved.spec.expect_err("nothing to go on with").message, problem);
        problem
    };
    let job = resolve(Err("batch/Job".into()), false, Found::Nothing);
    assert!(job.contains("workload of type batch/Job is not supported: name a Deployment"), "{job}");
    let mut foreign = deployment("1", 5);
    foreign.template.labels = [("app".to_owned(), "db".to_owned())].into();
    let mismatch = resolve(Ok(WorkloadKind::Deployment), false, Found::Workload(Arc::new(foreign)));
    assert!(
        mismatch.starts_with("spec.template.metadata.labels: Invalid value: {\"app\":\"db\"}"),
        "{mismatch}"
    );
    let object = json!({"metadata": {"name": "src"}, "template": template("1")});
    let bare = read(WorkloadKind::PodTemplate, object).expect("a PodTemplate");
    let selector = resolve(Ok(WorkloadKind::PodTemplate), true, Found::Workload(Arc::new(bare)));
    assert!(
        selector.starts_with("spec.selector: Required value: a PodTemplate has no selector"),
        "{selector}"
    );
    let empty =
        json!({"metadata": {"name": "src"}, "spec": {"template": {"metadata": {"labels": {"app": "web"}}}}});
    let empty = read(WorkloadKind::Deployment, empty).expect("a Deployment");
    let problem = resolve(Ok(WorkloadKind::Deployment), false, Found::Workload(Arc::new(empty)));
    assert!(problem.contains("its template cannot be used: spec.template.spec.containers"), "{problem}");
}

#[test]
fn template_and_missing_selector_come_from_the_workload() {
    let mut story = Story::new(5, &steps());
    let spec = story.spec();
    spec.template = crate::world::Template::new(&serde_json::Value::Null);
    spec.label_selector = sluice_api::LabelSelector::default();
    (spec.selector, spec.selector_text) = (json!({}), "<none>".into());
    let reference = WorkloadRef { gives_selector: true, ..named(ScaleDown::Never) };
    story.rollout().workload = Some(reference);
    see(&mut story, Found::Workload(Arc::new(deployment("1", 0))));
    story.settle();
    assert_eq!(story.world.rollout.status.selector, "app=web");
    assert_eq!((story.sizes().as_str(), story.phase().as_str()), ("1:5/5", "Healthy"));
}

#[test]
fn what_is_left_gets_its_pods_back_before_anything_else() {
    for (is_deleting, size, expected) in [(false, 0, 5), (true, 0, 5), (true, 2, 2)] {
        let mut story = migrated();
        let Some(Ok(mut workload)) = story.world.workload.take() else { panic!("a workload") };
        Arc::make_mut(&mut workload).size = size;
        story.world.left_workloads = vec![workload];
        let rollout = story.rollout();
        (rollout.workload, rollout.is_deleting) = (None, is_deleting);
        story.log.clear();
        story.look();
        assert_eq!(story.log, [format!("scale workload src {expected}")]);
        assert!(story.world.left_workloads.is_empty(), "the notes are gone");
        story.settle();
        if !is_deleting {
            assert_eq!(story.world.rollout.annotation(keys::WORKLOAD_GENERATION), None);
            assert_eq!(story.world.rollout.status.workload_observed_generation, "");
            assert_eq!(story.phase(), "Healthy");
        }
    }
}

#[test]
fn a_service_leads_to_all_pods_before_its_version_goes() {
    let mut story = blue_green(3);
    story.rollout().workload = Some(named(ScaleDown::OnSuccess));
    see(&mut story, Found::Workload(Arc::new(deployment("1", 3))));
    story.settle();
    let Some(Ok(workload)) = story.world.workload.take() else { panic!("a workload") };
    story.world.left_workloads = vec![workload];
    story.rollout().is_deleting = true;
    story.log.clear();
    story.look();
    assert_eq!((story.leads("web"), story.leads("web-preview")), (0, 0));
    assert_eq!(story.log.last().map(String::as_str), Some("scale workload src 3"));
}

#[test]
fn notes_are_read_back_and_odd_ones_are_none() {
    let read_note = |note: &str, before: &str| {
        let object =
            json!({"metadata": {"name": "src", "annotations": {DRAINED: note, REPLICAS_BEFORE: before}}});
        read(WorkloadKind::Deployment, object).expect("a Deployment").drained
    };
    let good = read_note(r#"{"rollout":"web","uid":"u1","to":0}"#, "7").expect("a note");
    assert_eq!((good.rollout.as_str(), good.to, good.before), ("web", 0, Some(7)));
    assert_eq!(read_note(r#"{"rollout":"web","uid":"u1","to":0}"#, "many").expect("a note").before, None);
    for odd in ["", "web", "{}", r#"{"rollout":7}"#] {
        assert_eq!(read_note(odd, "7"), None, "{odd}");
    }
}

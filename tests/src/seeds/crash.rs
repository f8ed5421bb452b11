//! The controller dies at every write of a story, and the story ends the same.

use jiff::SignedDuration;
use serde_json::{Value, json};
use sluice_sim::controllers::Settings;
use sluice_sim::{Failure, When};

use super::bench::{Bench, CONTROLLERS};
use super::scenario::Scenario;
use crate::invariants::view::HASH;

/// What goes wrong at one write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mishap {
    /// The controller dies as soon as so many writes are stored, and is started again.
    Dies(u64),
    /// This write is stored, its answer is lost, and the controller lives on.
    AnswerLost(u64),
    /// This write is not stored, and the controller is told so.
    Refused(u64),
}

/// One thing in a story.
#[derive(Clone, Debug)]
pub enum Act {
    /// A person changes the image.
    Image(&'static str),
    /// A person patches the Rollout.
    Apply(Value),
    /// A person patches the Rollout's status.
    Status(Value),
    /// Waits until this image's version is at this pause step.
    PausedAt(&'static str, i64),
    /// Waits until this image's version is previewed.
    Previewed(&'static str),
    /// Waits until this image's version is in this phase.
    Phase(&'static str, &'static str),
}

/// A story: its name, the Rollout's strategy beyond the ordinary, and what happens.
pub struct Story {
    /// What it is about.
    pub name: &'static str,
    /// Merged into the spec.
    pub spec: Value,
    /// What happens.
    pub acts: Vec<Act>,
}

/// The stories.
pub fn stories() -> Vec<Story> {
    use Act::{Apply, Image, PausedAt, Phase, Previewed, Status};
    let resume = || Status(json!({"pauseConditions": null}));
    let first = || Phase("1", "Healthy");
    let story = |name, acts: Vec<Act>| Story { name, spec: json!({}), acts };
    vec![
        story("first deploy", vec![first()]),
        story(
            "pause and promote",
            vec![
                first(),
                Image("2"),
                PausedAt("2", 1),
                resume(),
                PausedAt("2", 3),
                resume(),
                Phase("2", "Healthy"),
            ],
        ),
        story(
            "abort",
            vec![
                first(),
                Image("2"),
                PausedAt("2", 1),
                Status(json!({"abort": true})),
                Phase("2", "Degraded"),
            ],
        ),
        story(
            "abort and retry",
            vec![
                first(),
                Image("2"),
                PausedAt("2", 1),
                Status(json!({"abort": true})),
                Phase("2", "Degraded"),
                Status(json!({"abort": false})),
                PausedAt("2", 1),
                resume(),
                PausedAt("2", 3),
                resume(),
                Phase("2", "Healthy"),
            ],
        ),
        story(
            "back to the old template",
            vec![first(), Image("2"), PausedAt("2", 1), resume(), PausedAt("2", 3), Image("1"), first()],
        ),
        story(
            "promote in full",
            vec![
                first(),
                Image("2"),
                PausedAt("2", 1),
                Status(json!({"promoteFull": true})),
                Phase("2", "Healthy"),
            ],
        ),
        story(
            "a third revision",
            vec![
                first(),
                Image("2"),
                PausedAt("2", 1),
                resume(),
                PausedAt("2", 3),
                Image("3"),
                PausedAt("3", 1),
                resume(),
                PausedAt("3", 3),
            ],
        ),
        story(
            "scaled on the way",
            vec![
                first(),
                Image("2"),
                PausedAt("2", 1),
                Apply(json!({"spec": {"replicas": 7}})),
                resume(),
                PausedAt("2", 3),
                Apply(json!({"spec": {"replicas": 3}})),
                resume(),
                Phase("2", "Healthy"),
            ],
        ),
        Story {
            name: "aborted by its deadline",
            spec: json!({"progressDeadlineSeconds": 20, "progressDeadlineAbort": true}),
            acts: vec![first(), Image("2-bad"), Phase("2-bad", "Degraded")],
        },
        Story {
            name: "blue-green",
            spec: blue_green(json!({"scaleDownDelaySeconds": 10})),
            acts: vec![first(), Image("2"), Phase("2", "Healthy"), Image("3"), Phase("3", "Healthy")],
        },
        Story {
            name: "a small preview, promoted, aborted and tried again",
            spec: blue_green(json!({
                "autoPromotionEnabled": false, "previewReplicaCount": 1, "abortScaleDownDelaySeconds": 5,
            })),
            acts: vec![
                first(),
                Image("2"),
                Previewed("2"),
                resume(),
                Phase("2", "Healthy"),
                Image("3"),
                Previewed("3"),
                Status(json!({"abort": true})),
                Phase("3", "Degraded"),
                Status(json!({"abort": false})),
                Previewed("3"),
                Status(json!({"promoteFull": true})),
                Phase("3", "Healthy"),
            ],
        },
    ]
}

/// A blue-green strategy on the Services of these stories.
fn blue_green(mut settings: Value) -> Value {
    settings["activeService"] = "web-stable".into();
    settings["previewService"] = "web-canary".into();
    json!({"strategy": {"blueGreen": settings}})
}

/// What is left of a story.
#[derive(Clone, Debug)]
pub struct Left {
    /// The end, without what may differ: times, uids, versions.
    pub state: Value,
    /// Writes that the controller sent.
    pub writes: u64,
    /// ReplicaSets that were ever created.
    pub created: usize,
}

/// Plays a story, with a mishap or without.
pub async fn tell(story: &Story, mishap: Option<Mishap>) -> Result<Left, String> {
    let mut bench = Bench::new(1, Settings::default(), false);
    let created = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let list = std::sync::Arc::clone(&created);
    bench.cluster.on_write(move |_, write| {
        if &*write.kind == "ReplicaSet" && write.before.is_none() {
            list.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(write.name.clone());
        }
    });
    for name in ["web-stable", "web-canary"] {
        bench.create(Scenario::service(name));
    }
    let steps = json!([{"setWeight": 25}, {"pause": {}}, {"setWeight": 50}, {"pause": {}}]);
    let mut rollout = json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {
            "replicas": 4,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "app", "image": "registry.example/web:1"}]},
            },
            "strategy": {"canary": {
                "maxSurge": 1, "maxUnavailable": 0, "steps": steps, "stableService": "web-stable", "canaryService": "web-canary",
            }},
        },
    });
    for (key, value) in story.spec.as_object().into_iter().flatten() {
        rollout["spec"][key] = value.clone();
    }
    bench.create(rollout);
    let faults = bench.cluster.faults();
    match mishap {
        Some(Mishap::Dies(k)) => faults.stop_after_writes(CONTROLLERS[0], k),
        Some(Mishap::AnswerLost(k)) => faults.fail_write(CONTROLLERS[0], k, When::After, Failure::Connection),
        Some(Mishap::Refused(k)) => faults.fail_write(CONTROLLERS[0], k, When::Before, Failure::Internal),
        None => {}
    }
    bench.start();
    for act in &story.acts {
        act_out(&mut bench, act).await?;
    }
    // Whatever is still under way ends, a death at the last write included.
    for _ in 0..3 {
        bench.comes_to_rest(30, SignedDuration::from_mins(10)).await;
        revive(&mut bench).await;
    }
    let created = created.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
    let distinct: std::collections::BTreeSet<&String> = created.iter().collect();
    if distinct.len() != created.len() {
        return Err(format!("created twice: {created:?}"));
    }
    if let Some(violation) = bench.checker.violations().first() {
        return Err(violation.to_string());
    }
    if bench.unexplained() > 0 {
        return Err("a decision found neither goal, write nor wait".into());
    }
    let writes = bench.cluster.faults().committed_writes(CONTROLLERS[0]);
    Ok(Left { state: state(&bench), writes, created: created.len() })
}

/// Starts the controller again if it died at a write.
async fn revive(bench: &mut Bench) {
    if bench.cluster.faults().is_stopped(CONTROLLERS[0]) {
        bench.kill();
        bench.cluster.faults().restart(CONTROLLERS[0]);
        bench.pass_ms(700).await;
        bench.start();
    }
}

async fn act_out(bench: &mut Bench, act: &Act) -> Result<(), String> {
    match act {
        Act::Image(tag) => bench.image(tag),
        Act::Apply(patch) => bench.apply(patch.clone()),
        Act::Status(status) => bench.status(status.clone()),
        Act::PausedAt(..) | Act::Previewed(_) | Act::Phase(..) => {
            let end = bench.now() + SignedDuration::from_mins(15);
            while !is_reached(bench, act) {
                if bench.now() > end {
                    let recent = bench.checker.recent().join("\n    ");
                    return Err(format!(
                        "{act:?} does not come about: {}\n    {recent}",
                        bench.rollout()["status"]
                    ));
                }
                bench.pass_ms(100).await;
                revive(bench).await;
            }
        }
    }
    Ok(())
}

fn is_reached(bench: &Bench, act: &Act) -> bool {
    let rollout = bench.rollout();
    let status = &rollout["status"];
    let is_seen =
        status["observedGeneration"].as_str() == Some(rollout["metadata"]["generation"].to_string().as_str());
    let is_current = |tag: &str| {
        let image = super::scenario::image(tag);
        bench.sets().iter().any(|set| {
            set["metadata"]["labels"][HASH] == status["currentPodHash"]
                && set.pointer("/spec/template/spec/containers/0/image").and_then(Value::as_str)
                    == Some(&image)
        })
    };
    let is_paused = status["pauseConditions"].as_array().is_some_and(|list| !list.is_empty());
    match act {
        Act::Previewed(tag) => is_seen && is_current(tag) && is_paused && status["phase"] == "Paused",
        Act::PausedAt(tag, index) => {
            is_seen
                && is_current(tag)
                && is_paused
                && status["currentStepIndex"] == *index
                && status["phase"] == "Paused"
        }
        Act::Phase(tag, phase) => is_seen && is_current(tag) && status["phase"] == *phase,
        _ => true,
    }
}

/// Everything that has to be the same in the end.
fn state(bench: &Bench) -> Value {
    let rollout = bench.rollout();
    let mut status = rollout["status"].clone();
    if let Some(duration) = status.get_mut("duration") {
        *duration = duration["completionStatus"].clone();
    }
    if let Some(conditions) = status["conditions"].as_array_mut() {
        conditions.sort_by_key(|condition| condition["type"].as_str().map(str::to_owned));
    }
    let sets: Vec<Value> = bench.sets().iter().map(|set| Value::clone(set)).collect();
    let services: Vec<Value> =
        bench.cluster.list("Service", Some("default")).iter().map(|service| Value::clone(service)).collect();
    let mut state = json!({
        "spec": rollout["spec"], "annotations": rollout["metadata"]["annotations"], "status": status, "sets": sets, "services": services,
    });
    forget(&mut state);
    state
}

/// Removes what may differ from run to run.
fn forget(value: &mut Value) {
    const FLEETING: [&str; 9] = [
        "uid",
        "resourceVersion",
        "managedFields",
        "generation",
        "observedGeneration",
        "clusterIP",
        "clusterIPs",
        "sluice.dev/selected-at",
        "creationTimestamp",
    ];
    match value {
        Value::Object(map) => {
            map.retain(|key, _| {
                !FLEETING.contains(&key.as_str()) && !key.ends_with("Time") && !key.ends_with("At")
            });
            map.values_mut().for_each(forget);
        }
        Value::Array(list) => list.iter_mut().for_each(forget),
        _ => {}
    }
}

//! What the definitions would refuse today may be stored from another day.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use kube::api::{ApiResource, DeleteParams, DynamicObject, ListParams, PostParams};
use kube::core::GroupVersionKind;
use kube::{Api, Client};
use serde_json::{Value, json};
use sluice_controller::clock::Clock;
use sluice_controller::{Controller, Options as ControllerOptions};
use sluice_tests::cluster::{ControlPlane, Options, eventually};
use tokio::task::JoinHandle;

use crate::harness::{SOON, canary, define, is_write, text};

const CONTROLLER: &str = "controller";
const NAMESPACE: &str = "default";
/// The Rollout beside them that nothing is wrong with.
const GOOD: &str = "good";

struct Malformed {
    name: &'static str,
    /// What somebody did to its spec.
    change: fn(&mut Value),
    /// What the condition and the event say: field, value and remedy.
    says: &'static [&'static str],
}

const MALFORMED: &[Malformed] = &[
    Malformed {
        name: "wrong-types",
        change: |spec| {
            spec["replicas"] = "many".into();
            spec["strategy"]["canary"]["steps"] = json!([{"setWeight": "half"}]);
        },
        says: &["spec.replicas: Invalid value: \"many\": invalid type: string \"many\", expected i32"],
    },
    Malformed {
        name: "too-many-pods",
        change: |spec| spec["replicas"] = 4_000_000_000_u64.into(),
        says: &["spec.replicas: Invalid value: 4000000000: ", "expected i32"],
    },
    Malformed {
        name: "too-many-steps",
        change: |spec| spec["strategy"]["canary"]["steps"] = vec![json!({"setWeight": 20}); 20_000].into(),
        says: &["spec.strategy.steps: Invalid value: 20000: must have at most 1000 items"],
    },
    Malformed {
        name: "too-long",
        change: |spec| {
            spec["strategy"]["canary"]["steps"] = json!([{"setWeight": "9".repeat(300_000)}]);
        },
        says: &["spec.strategy.canary.steps[0].setWeight: Invalid value: \"999", "…", "expected i32"],
    },
    Malformed {
        name: "two-strategies",
        change: |spec| {
            spec["strategy"]["blueGreen"] = json!({"activeService": "web", "previewService": "next"});
        },
        says: &["spec.strategy", "blueGreen: true canary: true", "Multiple Strategies can not be listed"],
    },
    Malformed {
        name: "no-strategy",
        change: |spec| spec["strategy"] = json!({}),
        says: &["spec.strategy", "missing field '.spec.strategy.canary or .spec.strategy.blueGreen'"],
    },
    Malformed {
        name: "other-labels",
        change: |spec| spec["template"]["metadata"]["labels"]["app"] = "somebody-else".into(),
        says: &[
            "spec.template.metadata.labels: Invalid value: {\"app\":\"somebody-else\"}",
            "`selector` does not match template `labels`",
        ],
    },
    Malformed {
        name: "impossible-deadline",
        change: |spec| {
            spec["minReadySeconds"] = 20.into();
            spec["progressDeadlineSeconds"] = 10.into();
        },
        says: &["spec.progressDeadlineSeconds: Invalid value: 10: must be greater than minReadySeconds"],
    },
    Malformed {
        name: "nobody-may-move",
        change: |spec| spec["strategy"]["canary"]["maxSurge"] = 0.into(),
        says: &["spec.strategy.maxSurge: Invalid value: 0: MaxSurge and MaxUnavailable both can not be zero"],
    },
    Malformed {
        name: "no-quantity",
        change: |spec| {
            spec["template"]["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": "50mm"}});
        },
        says: &["spec.template.spec.containers[0].resources.requests", "50mm", "quantit"],
    },
    Malformed {
        name: "no-template",
        change: |spec| spec["template"] = "web:2".into(),
        says: &["spec.template: Invalid value: \"web:2\"", "expected"],
    },
];

/// A definition of Rollouts that lets everything through.
fn lax() -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "rollouts.argoproj.io"},
        "spec": {
            "group": "argoproj.io",
            "scope": "Namespaced",
            "names": {"kind": "Rollout", "plural": "rollouts", "singular": "rollout", "listKind": "RolloutList"},
            "versions": [{
                "name": "v1alpha1", "served": true, "storage": true, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
            }],
        },
    })
}

fn objects(client: &Client, group: &str, version: &str, kind: &str, plural: &str) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk(group, version, kind);
    Api::namespaced_with(client.clone(), NAMESPACE, &ApiResource::from_gvk_with_plural(&kind, plural))
}

/// A cluster whose definition of Rollouts lets everything through, and what is looked at in it.
struct Lax {
    cluster: ControlPlane,
    rollouts: Api<DynamicObject>,
    sets: Api<DynamicObject>,
    pods: Api<DynamicObject>,
    events: Api<DynamicObject>,
}

impl Lax {
    async fn start() -> Result<Lax> {
        let cluster = ControlPlane::start(Options { nodes: 1, ..Options::default() }).await?;
        cluster.apply(&lax().to_string()).await?;
        let client = cluster.client().await?;
        Ok(Lax {
            cluster,
            rollouts: objects(&client, "argoproj.io", "v1alpha1", "Rollout", "rollouts"),
            sets: objects(&client, "apps", "v1", "ReplicaSet", "replicasets"),
            pods: objects(&client, "", "v1", "Pod", "pods"),
            events: objects(&client, "", "v1", "Event", "events"),
        })
    }

    /// Runs the controller until the task is aborted.
    async fn controller(&self) -> Result<JoinHandle<()>> {
        let client = self.cluster.client_for(CONTROLLER).await?;
        let controller = Controller::new(client, Clock::system(), ControllerOptions::default());
        Ok(tokio::spawn(controller.run(std::future::pending())))
    }

    async fn create(&self, rollout: Value) -> Result<()> {
        let rollout: DynamicObject = serde_json::from_value(rollout)?;
        // A kind that is new is served a moment later.
        eventually("the object to be stored", SOON, async || {
            self.rollouts.create(&PostParams::default(), &rollout).await.map(drop).map_err(text)
        })
        .await?;
        Ok(())
    }

    /// Changes an object as somebody does it who replaces the whole of it.
    async fn change(&self, name: &str, change: impl Fn(&mut Value)) -> Result<()> {
        eventually("the change to be stored", SOON, async || {
            let mut object = self.rollouts.get(name).await.map_err(text)?;
            change(&mut object.data["spec"]);
            self.rollouts.replace(name, &PostParams::default(), &object).await.map(drop).map_err(text)
        })
        .await?;
        Ok(())
    }

    async fn until_phase(&self, name: &str, phase: &str) -> Result<Value> {
        let status = eventually(&format!("{name} to be {phase}"), SOON, async || {
            let rollout = self.rollouts.get(name).await.map_err(text)?;
            let status = &rollout.data["status"];
            let generation = rollout.metadata.generation.unwrap_or(0).to_string();
            if status["phase"] == phase && status["observedGeneration"] == generation.as_str() {
                Ok(status.clone())
            } else {
                Err(format!("{status}, generation {generation}"))
            }
        })
        .await?;
        Ok(status)
    }

    /// What the definition refuses from now on is refused.
    async fn until_strict(&self) -> Result<()> {
        let mut copy = canary("copy", 1, json!([]));
        copy["spec"]["replicas"] = "many".into();
        let copy: DynamicObject = serde_json::from_value(copy)?;
        eventually("the definitions to count", SOON, async || {
            match self.rollouts.create(&PostParams::default(), &copy).await {
                Err(kube::Error::Api(status)) if status.code == 422 => Ok(()),
                other => {
                    let _ = self.rollouts.delete("copy", &DeleteParams::default()).await;
                    Err(format!("{other:?}"))
                }
            }
        })
        .await?;
        Ok(())
    }

    /// ReplicaSets and ready pods of a Rollout, each by its uid and what counts about it.
    async fn serving(&self, name: &str) -> Result<Vec<String>> {
        let mut serving = Vec::new();
        let sets = self.sets.list(&ListParams::default()).await?;
        for set in sets
            .items
            .iter()
            .filter(|set| set.metadata.owner_references.iter().flatten().any(|owner| owner.name == name))
        {
            let size = &set.data["spec"]["replicas"];
            serving.push(format!("ReplicaSet {:?} of {size}", set.metadata.uid));
        }
        let pods = self.pods.list(&ListParams::default().labels(&format!("app={name}"))).await?;
        for pod in &pods.items {
            let conditions = pod.data["status"]["conditions"].as_array().cloned().unwrap_or_default();
            let is_ready = conditions.iter().any(|c| c["type"] == "Ready" && c["status"] == "True");
            if is_ready && pod.metadata.deletion_timestamp.is_none() {
                serving.push(format!("Pod {:?}", pod.metadata.uid));
            }
        }
        serving.sort();
        Ok(serving)
    }

    /// Events about a Rollout: type, reason and message.
    async fn told(&self, name: &str) -> Result<Vec<(String, String, String)>, String> {
        let events = self.events.list(&ListParams::default()).await.map_err(text)?;
        let part =
            |event: &DynamicObject, field: &str| event.data[field].as_str().unwrap_or_default().to_owned();
        let mine = events.items.iter().filter(|event| {
            event.data["involvedObject"]["kind"] == "Rollout" && event.data["involvedObject"]["name"] == name
        });
        Ok(mine.map(|event| (part(event, "type"), part(event, "reason"), part(event, "message"))).collect())
    }
}

/// The message of the condition that says what is wrong with a spec.
fn invalid(status: &Value) -> Option<&str> {
    let mut conditions = status["conditions"].as_array()?.iter();
    conditions.find(|condition| condition["type"] == "InvalidSpec")?["message"].as_str()
}

#[tokio::test]
async fn malformed_ones_are_told_so_go_on_serving_and_harm_nobody() -> Result<()> {
    let lax = Lax::start().await?;
    let controller = lax.controller().await?;
    let names: Vec<&str> = MALFORMED.iter().map(|bad| bad.name).chain([GOOD]).collect();
    try_join_all(names.iter().map(|name| lax.create(canary(name, 2, json!([{"setWeight": 50}]))))).await?;
    let mut before = BTreeMap::new();
    for name in &names {
        lax.until_phase(name, "Healthy").await?;
        before.insert(*name, lax.serving(name).await?);
    }
    controller.abort();
    // Everything that it wrote is in the log, so what comes later was written later.
    let _ = controller.await;
    try_join_all(MALFORMED.iter().map(|bad| lax.change(bad.name, bad.change))).await?;
    define(&lax.cluster).await?;
    lax.until_strict().await?;

    let mark = lax.cluster.audit_mark()?;
    let controller = lax.controller().await?;
    let image = |spec: &mut Value| {
        spec["template"]["spec"]["containers"][0]["image"] = "registry.example/web:2".into();
    };
    lax.change(GOOD, image).await?;
    lax.until_phase(GOOD, "Healthy").await?;
    ensure!(lax.serving(GOOD).await? != before[GOOD], "the good one was not updated");

    for bad in MALFORMED {
        let told = is_told(&lax, bad).await.with_context(|| bad.name.to_owned());
        told?;
    }
    // Who is going to do harm has had the time to do it: the good one went through all its steps.
    for bad in MALFORMED {
        ensure!(lax.serving(bad.name).await? == before[bad.name], "{} does not serve as before", bad.name);
    }
    let requests = lax.cluster.audit_since(mark)?;
    let writes = requests.iter().filter(|entry| {
        entry.user == CONTROLLER && is_write(entry) && !entry.name.starts_with(GOOD) && !entry.name.is_empty()
    });
    let mut writes: Vec<_> = writes
        .map(|entry| format!("{} {}/{} {}", entry.verb, entry.resource, entry.subresource, entry.name))
        .collect();
    writes.sort();
    let mut expected: Vec<_> =
        MALFORMED.iter().map(|bad| format!("patch rollouts/status {}", bad.name)).collect();
    expected.sort();
    ensure!(writes == expected, "{writes:#?}");

    // Each is mended by what its condition says.
    try_join_all(MALFORMED.iter().map(|bad| {
        let mended = canary(bad.name, 2, json!([{"setWeight": 50}]))["spec"].clone();
        lax.change(bad.name, move |spec| *spec = mended.clone())
    }))
    .await?;
    for bad in MALFORMED {
        let status = lax.until_phase(bad.name, "Healthy").await?;
        ensure!(invalid(&status).is_none(), "{}: {status}", bad.name);
        ensure!(lax.serving(bad.name).await? == before[bad.name], "{} was restarted", bad.name);
    }
    controller.abort();
    Ok(())
}

async fn is_told(lax: &Lax, bad: &Malformed) -> Result<()> {
    let status = lax.until_phase(bad.name, "Degraded").await?;
    let message = invalid(&status).with_context(|| format!("no condition: {status}"))?;
    for part in bad.says {
        ensure!(message.contains(part), "{part:?} is not in the condition {message:?}");
    }
    ensure!(message.len() < 2_000, "{} bytes are too much to read", message.len());
    let events = eventually("the event", SOON, async || {
        let events: Vec<_> =
            lax.told(bad.name).await?.into_iter().filter(|(_, reason, _)| reason == "InvalidSpec").collect();
        if events.is_empty() { Err("none".to_owned()) } else { Ok(events) }
    })
    .await?;
    let [(kind, _, event)] = events.as_slice() else { anyhow::bail!("said twice: {events:?}") };
    ensure!(kind == "Warning", "an event of type {kind}");
    for part in bad.says {
        ensure!(event.contains(part), "{part:?} is not in the event {event:?}");
    }
    Ok(())
}

/// Nothing can be added to an object that is as large as an object can be.
#[tokio::test]
async fn one_that_is_too_large_for_a_status_is_told_so_by_an_event() -> Result<()> {
    let lax = Lax::start().await?;
    let mut full = canary("full", 2, json!([{"setWeight": 120}]));
    full["spec"]["template"]["spec"]["containers"][0]["args"] = json!(["x".repeat(1_572_000)]);
    lax.create(full).await?;
    lax.create(canary(GOOD, 2, json!([{"setWeight": 50}]))).await?;
    let controller = lax.controller().await?;
    lax.until_phase(GOOD, "Healthy").await?;
    let event = eventually("the event", Duration::from_mins(1), async || {
        let told = lax.told("full").await?;
        let found = told.iter().find(|(_, reason, _)| reason == "InvalidSpec");
        found.cloned().ok_or_else(|| format!("{told:?}"))
    })
    .await?;
    ensure!(event.2.contains("setWeight: Invalid value: 120: SetWeight needs to be between"), "{event:?}");
    controller.abort();
    Ok(())
}

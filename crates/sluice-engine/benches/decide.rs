//! How long one decision takes.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use jiff::Timestamp;
use serde_json::{Value, json};
use sluice_engine::world::{Settings, Traffic, World};
use sluice_engine::{decide, spec};

fn template(tag: &str) -> Value {
    json!({
        "metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{"name": "app", "image": format!("registry.example/web:{tag}"),
            "env": (0..20).map(|n| json!({"name": format!("VARIABLE_{n}"), "value": "x"})).collect::<Vec<_>>(),
            "resources": {"requests": {"cpu": "500m", "memory": "512Mi"}}}]},
    })
}

/// A Rollout of ten pods with ten ReplicaSets, in the middle of its steps.
fn world(revisions: i64) -> World {
    let object = json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout",
        "metadata": {"name": "web", "namespace": "prod", "uid": "u", "generation": 9,
            "annotations": {"rollout.argoproj.io/revision": revisions.to_string()}},
        "spec": {"replicas": 10, "selector": {"matchLabels": {"app": "web"}}, "template": template(&revisions.to_string()),
            "strategy": {"canary": {"steps": [{"setWeight": 20}, {"pause": {}}, {"setWeight": 40}, {"setWeight": 60}, {"setWeight": 80}]}}},
        "status": {"observedGeneration": "9", "stableRS": (revisions - 1).to_string(), "currentPodHash": revisions.to_string(),
            "currentStepIndex": 1, "controllerPause": true,
            "pauseConditions": [{"reason": "CanaryPauseStep", "startTime": "2026-01-01T00:00:00Z"}]},
    });
    let (rollout, problems) = sluice_api::parse_rollout(object);
    assert!(problems.is_empty(), "{problems:?}");
    let mut rollout = spec::rollout(rollout, None);
    if let Ok(sluice_engine::world::Spec {
        strategy: sluice_engine::world::Strategy::Canary(canary), ..
    }) = &rollout.spec
    {
        rollout.status.current_step_hash.clone_from(&canary.step_hash);
    }
    let set = |revision: i64| {
        let size = match revision {
            r if r == revisions => 2,
            r if r == revisions - 1 => 8,
            _ => 0,
        };
        let object = json!({
            "metadata": {"name": format!("web-{revision}"), "uid": format!("rs-{revision}"), "resourceVersion": "1",
                "creationTimestamp": format!("2026-01-01T00:00:{revision:02}Z"),
                "labels": {"rollouts-pod-template-hash": revision.to_string()},
                "annotations": {"rollout.argoproj.io/revision": revision.to_string(), "rollout.argoproj.io/desired-replicas": "10"},
                "ownerReferences": [{"kind": "Rollout", "name": "web", "uid": "u", "controller": true}]},
            "spec": {"replicas": size, "template": template(&revision.to_string())},
            "status": {"replicas": size, "readyReplicas": size, "availableReplicas": size, "observedGeneration": 1},
        });
        spec::replica_set(object).expect("a ReplicaSet").set
    };
    World {
        rollout: Arc::new(rollout),
        replica_sets: (1..=revisions).map(set).collect(),
        orphans: Vec::new(),
        services: BTreeMap::new(),
        workload: None,
        left_workloads: Vec::new(),
        traffic: Traffic::default(),
        analysis: sluice_engine::analysis::Analyses::default(),
        trials: Vec::new(),
        pods: None,
        former_services: BTreeMap::new(),
        troubles: BTreeMap::new(),
        settings: Settings::default(),
    }
}

fn decisions(criterion: &mut Criterion) {
    let now: Timestamp = "2026-01-01T00:01:00Z".parse().expect("an instant");
    let mut paused = world(10);
    let settled = decide(&paused, now);
    assert!(settled.writes.is_empty(), "{:?}", settled.writes);
    // What the first look writes is in the status of the second.
    Arc::make_mut(&mut paused.rollout).status = settled.status;
    assert!(decide(&paused, now).is_empty());
    criterion.bench_function("decide: paused, 10 ReplicaSets, nothing to do", |bencher| {
        bencher.iter(|| decide(black_box(&paused), black_box(now)));
    });
    let mut resumed = paused.clone();
    Arc::make_mut(&mut resumed.rollout).status.pause_conditions.clear();
    assert!(!decide(&resumed, now).writes.is_empty());
    criterion.bench_function("decide: resumed, 10 ReplicaSets, goes on to the next step", |bencher| {
        bencher.iter(|| decide(black_box(&resumed), black_box(now)));
    });
    let object = template("1");
    criterion.bench_function("template digest, 20 variables", |bencher| {
        bencher.iter(|| {
            sluice_engine::template::digest(black_box(&object), &sluice_engine::template::Injected::default())
        });
    });
}

criterion_group!(benches, decisions);
criterion_main!(benches);

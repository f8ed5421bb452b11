//! Rules beside the vectors: names, arguments, collisions, what is told, what comes back.

use serde_json::{Value, json};
use sluice_api::keys;

use super::model::{Model, UID, analysis, template};
use crate::experiment::{ExperimentAction, Failure, Part};

fn with_service(name: &str) -> Value {
    let mut of = template(name);
    of["service"] = json!({});
    of
}

#[test]
fn objects_carry_the_names_and_annotations_that_argo_rollouts_looks_for() {
    let mut one = with_service("a");
    one["replicas"] = json!(2);
    one["minReadySeconds"] = json!(3);
    let mut model = Model::new(&json!({"templates": [one, template("b")]}));
    model.rest();
    assert_eq!(
        model.log,
        ["create Service ex-a", "create ReplicaSet ex-a 2", "create ReplicaSet ex-b 1"],
        "the Service is there before the first pod, and pods come up at once"
    );
    let set = &model.sets["ex-a"];
    let hash = set["metadata"]["labels"][keys::POD_TEMPLATE_HASH].clone();
    assert_ne!(hash, "of-somebody-else");
    for labels in ["/metadata/labels", "/spec/selector/matchLabels", "/spec/template/metadata/labels"] {
        assert_eq!(
            set.pointer(labels),
            Some(&json!({"app": "web", keys::POD_TEMPLATE_HASH: hash})),
            "{labels}"
        );
    }
    assert_eq!(
        set["metadata"]["annotations"],
        json!({keys::EXPERIMENT_NAME: "ex", keys::EXPERIMENT_TEMPLATE_NAME: "a"})
    );
    let owner = json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Experiment", "name": "ex", "uid": UID,
        "controller": true, "blockOwnerDeletion": true,
    });
    assert_eq!(set["metadata"]["ownerReferences"], json!([owner]));
    assert_eq!(set["spec"]["minReadySeconds"], 3);
    let service = &model.services["ex-a"];
    assert_eq!(service["spec"]["selector"], set["metadata"]["labels"]);
    assert_eq!(service["spec"]["ports"], json!([{"protocol": "TCP", "port": 8080, "targetPort": 8080}]));
    let status = model.status().template_statuses.remove(0);
    assert_eq!((status.service_name.as_str(), json!(status.pod_template_hash)), ("ex-a", hash));
}

#[test]
fn two_templates_of_the_same_pods_do_not_share_them() {
    let mut model = Model::new(&json!({"templates": [template("a"), template("b")]}));
    model.rest();
    let hash = |name: &str| model.sets[name]["metadata"]["labels"][keys::POD_TEMPLATE_HASH].clone();
    assert_ne!(hash("ex-a"), hash("ex-b"));
}

#[test]
fn every_port_of_a_service_has_a_name_where_there_are_several() {
    let mut of = with_service("a");
    of["template"]["spec"]["containers"] = json!([
        {"name": "x", "ports": [{"containerPort": 80, "name": "http"}, {"containerPort": 53, "protocol": "UDP"}]},
        {"name": "y", "ports": [{"containerPort": 81, "name": "http"}, {"containerPort": 80}, {"hostPort": 1}]},
    ]);
    let mut model = Model::new(&json!({"templates": [of]}));
    model.rest();
    let ports = model.services["ex-a"]["spec"]["ports"].as_array().expect("ports").clone();
    let found: Vec<String> =
        ports.iter().map(|p| format!("{} {} {}", p["name"], p["protocol"], p["port"])).collect();
    assert_eq!(found, [r#""http" "TCP" 80"#, r#""udp-53" "UDP" 53"#, r#""tcp-81" "TCP" 81"#]);
}

#[test]
fn the_service_goes_after_the_last_pod() {
    let mut model = Model::new(&json!({"templates": [with_service("a")], "duration": "5s"}));
    model.pass(30);
    assert_eq!(model.services.len(), 1);
    model.pass(10);
    assert_eq!(model.services.len(), 0);
    let status = model.status().template_statuses.remove(0);
    assert_eq!((status.service_name.as_str(), status.pod_template_hash.as_str()), ("", ""));
    assert_eq!(model.log.last().map(String::as_str), Some("delete Service ex-a"));
}

#[test]
fn without_a_delay_pods_go_at_once() {
    let mut model =
        Model::new(&json!({"templates": [template("a")], "duration": "5s", "scaleDownDelaySeconds": 0}));
    model.pass(6);
    assert_eq!(model.size("ex-a"), 0);
    assert!(!model.log.iter().any(|write| write.starts_with("deadline")), "{:?}", model.log);
}

#[test]
fn arguments_name_pods_and_times() {
    let rows = [
        ("{{templates.a.podTemplateHash}}", "HASH"),
        ("{{ templates.a.replicaset.name }}", "ex-a"),
        ("from {{experiment.availableAt}}", "from 1970-01-12T13:46:40Z"),
        ("{{experiment.finishedAt}}", "1970-01-12T14:46:40Z"),
        ("", ""),
        ("plain", "plain"),
    ];
    for (text, wanted) in rows {
        let mut of = analysis("x", false);
        of["args"] =
            json!([{"name": "version", "value": text}, {"name": "nobody-asks", "value": "{{nothing}}"}]);
        let mut model =
            Model::new(&json!({"templates": [template("a")], "duration": "1h", "analyses": [of]}));
        model.rest();
        let hash = model.sets["ex-a"]["metadata"]["labels"][keys::POD_TEMPLATE_HASH].clone();
        let wanted = if wanted == "HASH" { hash } else { json!(wanted) };
        assert_eq!(
            model.runs["ex-x"]["spec"]["args"],
            json!([{"name": "version", "value": wanted}]),
            "{text}"
        );
    }
}

#[test]
fn s30_an_argument_may_come_from_a_secret() {
    let from = json!({"secretKeyRef": {"name": "n", "key": "k"}});
    let mut of = analysis("x", false);
    of["args"] = json!([{"name": "version", "valueFrom": from}]);
    let mut model = Model::new(&json!({"templates": [template("a")], "analyses": [of]}));
    model.rest();
    assert_eq!(model.runs["ex-x"]["spec"]["args"], json!([{"name": "version", "valueFrom": from}]));
}

#[test]
fn w72_what_keeps_a_run_from_being_made_is_told_before_pods_are_made() {
    for (text, told) in [
        ("{{templates.b.podTemplateHash}}", "failed to resolve {{templates.b.podTemplateHash}}"),
        ("{{nothing}}", "failed to resolve {{nothing}}"),
    ] {
        let mut of = analysis("x", true);
        of["args"] = json!([{"name": "version", "value": text}]);
        let mut model = Model::new(&json!({"templates": [template("a")], "analyses": [of]}));
        model.settle();
        assert_eq!(model.phase(), format!("Error Failed to create AnalysisRun for analysis 'x': {told}"));
        assert!(model.sets.is_empty());
    }
}

#[test]
fn runs_carry_what_the_spec_gives_them() {
    let mut spec = json!({"templates": [template("a")], "analyses": [analysis("x", false)]});
    spec["analysisRunMetadata"] = json!({"labels": {"team": "one"}, "annotations": {"note": "two"}});
    spec["dryRun"] = json!([{"metricName": "m"}]);
    spec["measurementRetention"] = json!([{"metricName": "m", "limit": 3}]);
    let mut model = Model::new(&spec);
    model.rest();
    let run = &model.runs["ex-x"];
    assert_eq!(run["metadata"]["labels"], json!({"team": "one"}));
    assert_eq!(run["metadata"]["annotations"], json!({"note": "two"}));
    assert_eq!(run["spec"]["dryRun"], json!([{"metricName": "m"}]));
    assert_eq!(run["spec"]["measurementRetention"], json!([{"metricName": "m", "limit": 3}]));
}

#[test]
fn an_invalid_spec_is_told_and_nothing_else_is_done() {
    let mut same = json!({"templates": [template("a"), template("a")]});
    let mut model = Model::new(&same);
    model.rest();
    let status = model.status();
    assert_eq!(status.phase.as_str(), "", "the phase stays as it is");
    assert_eq!((status.conditions[0].type_.as_str(), status.conditions.len()), ("InvalidSpec", 1));
    assert!(status.conditions[0].message.contains("templates[1].name"), "{}", status.conditions[0].message);
    assert!(model.log.is_empty());
    same["templates"] = json!([template("a")]);
    model.experiment.spec = serde_json::from_value(same).expect("a spec");
    model.rest();
    assert!(!model.status().conditions.iter().any(|condition| condition.type_ == "InvalidSpec"));
    assert_eq!(model.status().phase.as_str(), "Running");
    let twice =
        json!({"templates": [template("a")], "analyses": [analysis("x", true), analysis("x", false)]});
    let mut model = Model::new(&twice);
    model.rest();
    assert_eq!(
        model.status().message,
        "InvalidSpec: Experiment ex has repeated analysis name 'x' in analyses"
    );
}

#[test]
fn a_name_that_is_taken_is_gone_past() {
    let mut model = Model::new(&json!({"templates": [template("a")]}));
    let theirs = json!({"metadata": {"name": "ex-a", "uid": "theirs"}, "spec": {"replicas": 3}});
    model.sets.insert("ex-a".into(), theirs.clone());
    model.taken.insert("a".into(), 1);
    model.look_and_die_after(usize::MAX);
    model.taken.clear();
    model.rest();
    assert_eq!(model.log, ["create ReplicaSet ex-a-1 1"]);
    assert_eq!(model.status().template_statuses[0].collision_count, Some(1));
    assert_eq!(model.status().phase.as_str(), "Running");
    assert_eq!(model.sets["ex-a"]["spec"]["replicas"], 3);
}

#[test]
fn a_service_name_that_two_templates_want_is_an_error() {
    let (mut a, mut b) = (template("a"), template("b"));
    a["service"] = json!({"name": "svc"});
    b["service"] = json!({"name": "svc"});
    let mut model = Model::new(&json!({"templates": [a, b]}));
    model.rest();
    assert_eq!(
        model.phase(),
        "Error Failed to create Service svc for template 'b': service svc is that of template 'a'"
    );
}

#[test]
fn w38_a_write_that_is_refused_is_an_error_and_one_that_fails_is_told_and_tried_again() {
    let part = Part::Template("a".into());
    let mut model = Model::new(&json!({"templates": [template("a")]}));
    let message = "Failed to create ReplicaSet for template 'a': no".to_owned();
    model.failed = Some(Failure { part: part.clone(), message: message.clone(), is_final: false });
    model.settle();
    assert!(model.log.is_empty(), "nothing is asked for until it is tried again");
    assert_eq!(model.parts(), "a:Progressing");
    assert!(model.phase().contains(&message), "{}", model.phase());
    model.pass(601);
    assert_eq!(model.parts(), "a:Failed", "it ends although nothing can be written");

    let mut model = Model::new(&json!({"templates": [template("a"), template("b")]}));
    model.failed = Some(Failure { part, message: message.clone(), is_final: true });
    model.settle();
    model.failed = None;
    model.settle();
    assert_eq!((model.phase(), model.parts().as_str()), (format!("Error {message}"), "a:Error b:Successful"));
    assert!(model.log.is_empty());
}

#[test]
fn pods_that_come_and_go_are_no_progress() {
    let mut of = template("a");
    of["replicas"] = json!(3);
    let mut model = Model::new(&json!({"templates": [of]}));
    model.settle();
    for up in [1, 0, 1, 2, 1, 2, 1, 2] {
        let status = json!({"replicas": 3, "readyReplicas": up, "availableReplicas": up});
        model.sets.get_mut("ex-a").expect("the set")["status"] = status;
        model.settle();
        model.now += jiff::SignedDuration::from_secs(200);
    }
    model.settle();
    assert_eq!(model.parts(), "a:Failed", "{}", model.phase());
}

#[test]
fn a_pod_that_is_lost_is_awaited_again() {
    let mut model = Model::new(&json!({"templates": [template("a")], "duration": "2h"}));
    model.pass(3600);
    model.never.insert("a".into());
    model.pass(60);
    assert_eq!((model.status().phase.as_str(), model.parts().as_str()), ("Pending", "a:Progressing"));
    model.never.clear();
    model.pass(60);
    assert_eq!((model.status().phase.as_str(), model.parts().as_str()), ("Running", "a:Running"));
    model.pass(3600 - 119);
    assert_eq!(model.phase(), "Successful", "the duration goes on");
}

#[test]
fn a_set_that_somebody_deletes_or_scales_is_put_right() {
    let mut model = Model::new(&json!({"templates": [with_service("a")]}));
    model.rest();
    model.sets.remove("ex-a");
    model.rest();
    assert_eq!(model.size("ex-a"), 1);
    model.sets.get_mut("ex-a").expect("the set")["spec"]["replicas"] = json!(5);
    model.rest();
    assert_eq!(model.size("ex-a"), 1);
    model.services.get_mut("ex-a").expect("the Service")["spec"]["selector"][keys::POD_TEMPLATE_HASH] =
        json!("x");
    model.rest();
    assert_eq!(model.services["ex-a"]["spec"]["selector"], model.sets["ex-a"]["metadata"]["labels"]);
}

#[test]
fn a_template_that_the_spec_drops_is_cleared_away() {
    let mut model = Model::new(&json!({"templates": [template("a"), with_service("b")]}));
    model.rest();
    model.experiment.spec.templates.pop();
    model.pass(40);
    assert_eq!((model.size("ex-a"), model.size("ex-b"), model.services.len()), (1, 0, 0));
    assert_eq!(model.parts(), "a:Running");
}

#[test]
fn a_retry_begins_anew_and_measures_anew() {
    let mut model = Model::new(&json!({"templates": [template("a")], "analyses": [analysis("x", true)]}));
    model.rest();
    model.end_run("ex-x", "Failed", "no");
    model.pass(60);
    assert_eq!((model.phase().as_str(), model.size("ex-a")), ("Failed no", 0));
    model.experiment.status = None;
    model.rest();
    assert_eq!((model.status().phase.as_str(), model.size("ex-a")), ("Running", 1));
    assert_eq!(model.runs.keys().collect::<Vec<_>>(), ["ex-x", "ex-x.1"]);
    model.end_run("ex-x.1", "Successful", "");
    model.rest();
    assert_eq!(model.phase(), "Successful Required AnalysisRuns completed");
}

#[test]
fn a_run_that_was_made_and_not_put_on_record_is_taken_up() {
    let mut model = Model::new(&json!({"templates": [template("a")], "analyses": [analysis("x", true)]}));
    for _ in 0..20 {
        if !model.runs.is_empty() {
            break;
        }
        model.look_and_die_after(usize::MAX);
        model.kubelet();
        let plan = model.decide();
        if let Some(write) =
            plan.writes.iter().find(|w| matches!(w.action, ExperimentAction::CreateRun { .. }))
        {
            // It dies before the status is written.
            model.write(&write.action.clone());
        }
    }
    model.rest();
    assert_eq!(model.runs.keys().collect::<Vec<_>>(), ["ex-x"]);
}

#[test]
fn w62_a_required_analysis_that_was_never_begun_passes_nothing() {
    let mut model = Model::new(&json!({"templates": [template("a")], "analyses": [analysis("x", true)]}));
    model.never.insert("a".into());
    model.rest();
    model.experiment.spec.terminate = true;
    model.rest();
    assert_eq!(model.phase(), "Inconclusive ended before required analysis 'x' was begun");
}

#[test]
fn a_run_that_is_deleted_is_made_anew_and_at_the_end_it_is_not_waited_for() {
    let mut model = Model::new(&json!({"templates": [template("a")], "analyses": [analysis("x", true)]}));
    model.rest();
    model.runs.clear();
    model.rest();
    assert_eq!(model.runs.len(), 1);
    model.runs.clear();
    model.experiment.spec.terminate = true;
    model.rest();
    assert_eq!(model.status().phase.as_str(), "Inconclusive", "{}", model.phase());
}

#[test]
fn a_run_of_another_owner_counts_for_nothing_and_is_left_alone() {
    let mut model = Model::new(&json!({"templates": [template("a")], "analyses": [analysis("x", true)]}));
    let theirs = json!({"metadata": {"name": "ex-x", "uid": "theirs"}, "spec": {"metrics": []}});
    model.runs.insert("other".into(), theirs.clone());
    model.rest();
    model.experiment.spec.terminate = true;
    model.pass(60);
    assert_eq!(model.runs["other"], theirs);
}

#[test]
fn what_is_awaited_is_told() {
    let rows = [
        (json!({}), "Experiment ex: runs without end, wanted terminate"),
        (
            json!({"duration": "1h"}),
            "Experiment ex: runs until 1970-01-12T14:46:40Z, wanted the end of its duration",
        ),
        (
            json!({"duration": "5"}),
            r#"Experiment ex: runs without end, because "5" is not a duration such as 1h30m, wanted terminate"#,
        ),
        (json!({"analyses": [analysis("x", true)]}), "AnalysisRun ex-x: Pending, wanted Successful"),
    ];
    for (more, told) in rows {
        let mut spec = json!({"templates": [template("a")]});
        for (key, value) in more.as_object().into_iter().flatten() {
            spec[key] = value.clone();
        }
        let mut model = Model::new(&spec);
        model.settle();
        assert_eq!(model.phase(), "Pending ReplicaSet ex-a: 0 of 1 pods available, wanted 1 available");
        model.rest();
        assert_eq!(model.phase(), format!("Running {told}"));
        let status = model.status();
        let waiting = status.conditions.iter().find(|condition| condition.type_ == "Waiting");
        assert_eq!(waiting.map(|condition| condition.message.as_str()), Some(told));
    }
}

#[test]
fn one_that_is_being_deleted_is_left_alone() {
    let mut model = Model::new(&json!({"templates": [template("a")]}));
    model.rest();
    let gone = json!({"metadata": {"deletionTimestamp": "1970-01-12T14:46:40Z"}});
    let gone: sluice_api::Experiment = serde_json::from_value(gone).expect("an experiment");
    model.experiment.metadata.deletion_timestamp = gone.metadata.deletion_timestamp;
    model.sets.clear();
    assert!(model.decide().is_empty());
}

#[test]
fn w63_a_required_analysis_whose_every_measurement_was_forgiven_passes_nothing() {
    let spec = json!({"templates": [template("a")], "analyses": [analysis("x", true), analysis("y", true)]});
    let mut model = Model::new(&spec);
    model.rest();
    model.end_run("ex-x", "Successful", "");
    model.runs.get_mut("ex-x").expect("the run")["status"]["metricResults"][0]["successful"] = json!(0);
    model.rest();
    assert_eq!(model.status().phase.as_str(), "Running", "the other one goes on");
    model.end_run("ex-y", "Successful", "");
    model.rest();
    assert_eq!(
        model.phase(),
        "Inconclusive required analysis 'x' has ended and not every metric was measured well"
    );
    assert_eq!(model.size("ex-a"), 1, "pods stay for the delay");
    model.pass(40);
    assert_eq!(model.size("ex-a"), 0);
}

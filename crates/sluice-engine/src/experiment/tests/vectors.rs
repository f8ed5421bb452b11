//! The behaviours that users of Argo Rollouts know, X1 to X14, and where we differ.

use serde_json::{Value, json};

use super::model::{Model, analysis, template};

fn spec(more: &Value) -> Value {
    let mut spec = json!({"templates": [template("t")]});
    for (key, value) in more.as_object().into_iter().flatten() {
        spec[key] = value.clone();
    }
    spec
}

fn begun(more: &Value) -> Model {
    let mut model = Model::new(&spec(more));
    model.rest();
    model
}

#[test]
fn x1_a_duration_is_counted_from_when_pods_are_available() {
    let mut model = Model::new(&spec(&json!({"duration": "5s"})));
    model.settle();
    assert_eq!(model.status().phase.as_str(), "Pending");
    assert_eq!(model.status().available_at, None);
    model.kubelet();
    model.settle();
    assert_eq!((model.status().phase.as_str(), model.parts().as_str()), ("Running", "t:Running"));
    assert_eq!(model.status().available_at.map(sluice_api::Time::timestamp), Some(model.now));
    model.pass(5);
    assert_eq!(model.status().phase.as_str(), "Running", "exactly five seconds are not over");
    model.pass(1);
    assert_eq!((model.phase().as_str(), model.parts().as_str()), ("Successful", "t:Successful"));
    assert_eq!(model.size("ex-t"), 1, "pods stay for the delay");
    model.pass(29);
    assert_eq!(model.size("ex-t"), 1);
    model.pass(3);
    assert_eq!(model.size("ex-t"), 0);
    assert_eq!(model.decide().recheck_at, None, "nothing is awaited any more");
}

#[test]
fn x2_pods_that_never_start_fail_it_at_the_deadline() {
    let mut model = Model::new(&spec(&json!({})));
    model.never.insert("t".into());
    model.pass(600);
    assert_eq!(model.status().phase.as_str(), "Pending");
    model.pass(1);
    assert_eq!(model.parts(), "t:Failed");
    let told = model.phase();
    assert!(told.starts_with("Failed Template 't' exceeded its progressDeadlineSeconds (600)"), "{told}");
    assert!(told.ends_with("ReplicaSet ex-t: 0 of 1 pods available"), "{told}");
    model.pass(40);
    assert_eq!(model.size("ex-t"), 0);
}

#[test]
fn x3_an_analysis_that_fails_ends_it_with_its_message() {
    let mut model = begun(&json!({"analyses": [analysis("a", false)]}));
    model.run_runs("ex-a");
    model.rest();
    assert_eq!(model.parts(), "t:Running a:Running", "a run that goes on is told at once");
    model.end_run("ex-a", "Failed", "too many errors");
    model.rest();
    assert_eq!(
        (model.phase().as_str(), model.parts().as_str()),
        ("Failed too many errors", "t:Successful a:Failed")
    );
    model.pass(40);
    assert_eq!(model.size("ex-t"), 0);
}

#[test]
fn x4_required_analyses_end_it() {
    let mut model = begun(&json!({"analyses": [analysis("a", true), analysis("b", true)]}));
    model.end_run("ex-a", "Successful", "");
    model.rest();
    assert_eq!(model.status().phase.as_str(), "Running", "one of two");
    model.end_run("ex-b", "Successful", "");
    model.rest();
    assert_eq!(model.phase(), "Successful Required AnalysisRuns completed");
    model.pass(40);
    assert_eq!(model.size("ex-t"), 0);
}

#[test]
fn x5_a_required_analysis_holds_the_end_beyond_the_duration() {
    let mut model = begun(&json!({"duration": "5s", "analyses": [analysis("a", true)]}));
    model.run_runs("ex-a");
    model.pass(60);
    assert_eq!(model.parts(), "t:Successful a:Running");
    assert_eq!((model.status().phase.as_str(), model.size("ex-t")), ("Running", 0));
    model.end_run("ex-a", "Successful", "");
    model.rest();
    assert_eq!(model.phase(), "Successful Required AnalysisRuns completed");
}

#[test]
fn x6_an_analysis_that_is_not_required_ends_with_the_duration_and_is_followed_to_its_end() {
    let mut model = begun(&json!({"duration": "5s", "analyses": [analysis("a", false)]}));
    model.run_runs("ex-a");
    model.pass(6);
    assert_eq!(model.phase(), "Successful");
    assert_eq!(model.parts(), "t:Successful a:Successful", "what is copied does not stand still");
    assert!(model.log.contains(&"terminate AnalysisRun ex-a".to_owned()), "{:?}", model.log);
}

#[test]
fn x7_a_template_that_is_missing_is_an_error_at_once() {
    for (cluster_scope, kind) in [(false, "AnalysisTemplate"), (true, "ClusterAnalysisTemplate")] {
        let analysis = json!({"name": "a", "templateName": "none", "clusterScope": cluster_scope});
        let mut model = Model::new(&spec(&json!({"analyses": [analysis]})));
        model.rest();
        let told = format!("Error {kind} verification failed for analysis 'a': {kind} 'none' not found");
        assert_eq!(model.phase(), told);
        assert!(model.sets.is_empty(), "no pod is started for it");
    }
}

#[test]
fn x8_one_that_is_told_to_end_before_it_began_is_successful() {
    let mut model = Model::new(&spec(&json!({})));
    model.never.insert("t".into());
    model.rest();
    model.experiment.spec.terminate = true;
    model.rest();
    assert_eq!((model.phase().as_str(), model.parts().as_str()), ("Successful", "t:Successful"));
    model.pass(40);
    assert_eq!(model.size("ex-t"), 0);
}

#[test]
fn x9_without_pods_it_is_over_at_once_unless_an_analysis_is_required() {
    let mut model = Model::new(&json!({"templates": [], "analyses": [analysis("a", false)]}));
    model.rest();
    assert_eq!((model.phase().as_str(), model.runs.len()), ("Successful", 0));
    // A check that never ran has not passed.
    let mut model = Model::new(&json!({"templates": [], "analyses": [analysis("a", true)]}));
    model.rest();
    assert_eq!((model.status().phase.as_str(), model.runs.len()), ("Running", 1));
    model.end_run("ex-a", "Successful", "");
    model.rest();
    assert_eq!(model.phase(), "Successful Required AnalysisRuns completed");
}

#[test]
fn x10_a_service_without_ports_is_not_made_and_that_is_told() {
    let mut bare = template("t");
    bare["service"] = json!({});
    bare["template"]["spec"]["containers"][0]["ports"] = json!([]);
    let mut model = Model::new(&json!({"templates": [bare]}));
    model.rest();
    assert_eq!((model.status().phase.as_str(), model.services.len()), ("Running", 0));
    let status = model.status().template_statuses.remove(0);
    assert_eq!(
        (status.service_name.as_str(), status.message.as_str()),
        ("", "no Service: no container of the template has ports")
    );
    assert_eq!(model.events.iter().filter(|event| event.reason == "ServiceNotCreated").count(), 1);
}

#[test]
fn x11_an_end_that_nobody_knows_is_an_error() {
    let mut of = analysis("a", false);
    of["args"] = json!([{"name": "version", "value": "{{experiment.finishedAt}}"}]);
    let mut model = Model::new(&spec(&json!({"analyses": [of]})));
    model.rest();
    assert_eq!(
        model.phase(),
        "Error Failed to create AnalysisRun for analysis 'a': failed to resolve {{experiment.finishedAt}}"
    );
}

#[test]
fn x12_a_service_of_somebody_else_is_an_error_and_is_not_touched() {
    let mut of = template("t");
    of["service"] = json!({"name": "svc"});
    let mut model = Model::new(&json!({"templates": [of]}));
    let theirs =
        json!({"metadata": {"name": "svc", "resourceVersion": "7"}, "spec": {"selector": {"app": "x"}}});
    model.services.insert("svc".into(), theirs.clone());
    model.pass(100);
    assert_eq!(
        model.phase(),
        "Error Failed to create Service svc for template 't': service svc already exists and is not owned by \
         experiment template t"
    );
    assert_eq!(model.services["svc"], theirs);
    assert!(model.sets.is_empty(), "no pod is started for it");
}

#[test]
fn x13_one_that_is_told_to_end_while_a_required_analysis_runs_ends() {
    for (has_measured, phase) in [
        (true, "Successful Required AnalysisRuns completed"),
        (false, "Inconclusive required analysis 'a' has ended and not every metric was measured well"),
    ] {
        let mut model = begun(&json!({"analyses": [analysis("a", true)]}));
        model.has_measured = has_measured;
        model.run_runs("ex-a");
        model.rest();
        model.experiment.spec.terminate = true;
        model.rest();
        assert_eq!((model.phase().as_str(), model.parts().as_str()), (phase, "t:Successful a:Successful"));
        model.pass(40);
        assert_eq!(model.size("ex-t"), 0);
    }
}

#[test]
fn x14_required_analyses_that_have_passed_end_it_though_others_run() {
    let mut model = begun(&json!({"analyses": [analysis("a", true), analysis("b", false)]}));
    model.run_runs("ex-b");
    model.end_run("ex-a", "Successful", "");
    model.rest();
    assert_eq!(model.phase(), "Successful Required AnalysisRuns completed");
    assert_eq!(
        model.parts(),
        "t:Successful a:Successful b:Successful",
        "what is copied does not stand still"
    );
    model.pass(40);
    assert_eq!(model.size("ex-t"), 0);
}

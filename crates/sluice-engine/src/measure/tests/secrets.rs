//! Secrets: when they are read, where they may be seen, and what happens without them.

use serde_json::{Value, json};
use sluice_api::analysis::{AnalysisPhase, Measurement};
use sluice_lang::template::{SecretKey, SecretValue};

use super::assessed;
use super::simulator::{Simulator, at, measurement, run};
use crate::measure::Secrets;

fn secret_run(metric: Value) -> Simulator {
    let from = |key: &str| json!({"secretKeyRef": {"name": "tokens", "key": key}});
    let args = json!([
        {"name": "token", "value": "beaten", "valueFrom": from("api")},
        {"name": "other", "valueFrom": from("other")},
    ]);
    Simulator::new(run(json!({"metrics": [metric], "args": args})), &[])
}

fn token() -> SecretKey {
    SecretKey { name: "tokens".to_owned(), key: "api".to_owned() }
}

#[test]
fn only_the_secrets_that_are_named_are_read() {
    let web =
        json!({"provider": {"web": {"url": "http://x?t={{args.token}}"}}, "interval": "1m", "count": 2});
    let mut simulator = secret_run(web);
    simulator.secrets.insert(token(), Ok(SecretValue::new("hush")));
    let plan = simulator.decide(&Secrets::new(), vec![]);
    assert_eq!(plan.secrets, [token()]);
    let secrets = simulator.read(&plan);
    let plan = simulator.decide(&secrets, vec![]);
    let web = plan.tasks[0].metric.provider.web.as_ref().expect("a web metric");
    assert_eq!(web.url, "http://x?t=hush");
    assert!(!format!("{plan:?}").contains("hush"));
    simulator.look();
    simulator.read.clear();
    // Nothing is read while nothing is due.
    simulator.pass(30);
    assert!(simulator.look().secrets.is_empty() && simulator.read.is_empty());
}

#[test]
fn secrets_show_nowhere() {
    let web = json!({
        "provider": {"web": {"url": "http://x?t={{args.token}}"}},
        "successCondition": "result != '{{args.token}}'",
    });
    let mut simulator = secret_run(web);
    simulator.secrets.insert(token(), Ok(SecretValue::new("hush")));
    let plan = simulator.decide(&Secrets::new(), vec![]);
    let secrets = simulator.read(&plan);
    let task = simulator.decide(&secrets, vec![]).tasks.remove(0);
    let metadata = [("query", "hush=1"), ("job-name", "hush.m.1")]
        .map(|(key, value)| (key.to_owned(), value.to_owned()));
    let measurement = Measurement {
        phase: AnalysisPhase::Failed,
        value: "\"hush\"".to_owned(),
        message: "got hush".to_owned(),
        metadata: metadata.clone().into(),
        ..Measurement::default()
    };
    let result = task.result(measurement, metadata[..1].iter().cloned().collect());
    let plan = simulator.decide(&secrets, vec![result]);
    let metric = &plan.status.metric_results[0];
    let found = &metric.measurements[0];
    assert_eq!((found.value.as_str(), found.message.as_str()), ("\"*****\"", "got *****"));
    assert_eq!((metric.metadata["query"].as_str(), found.metadata["query"].as_str()), ("*****=1", "*****=1"));
    // The name of a Job is not made of arguments, and it is needed to remove the Job.
    assert_eq!(found.metadata["job-name"], "hush.m.1");
    assert_eq!(
        plan.status.message,
        assessed("Failed", "failed (1) > failureLimit (0)")
            + ": \"Error Message: got *****\"; measured \"*****\", successCondition \"result != '*****'\", measurement 1"
    );
    let events = format!("{:?}", plan.events);
    assert!(!events.contains("hush"));
}

#[test]
fn a_secret_that_cannot_be_read_is_an_error_that_is_tried_again() {
    let web = json!({"provider": {"web": {"url": "http://x?t={{args.token}}"}}});
    let mut simulator = secret_run(web.clone());
    let plan = simulator.look();
    assert_eq!(simulator.status().phase, AnalysisPhase::Running);
    let last = simulator.metric("m").measurements[0].clone();
    assert_eq!(last.phase, AnalysisPhase::Error);
    assert_eq!(
        last.message,
        "Unable to resolve metric arguments: key 'api' does not exist in secret 'tokens'"
    );
    assert_eq!((last.started_at, last.finished_at), (Some(at(1_000).into()), Some(at(1_000).into())));
    simulator.now = plan.recheck_at.expect("tried again");
    assert_eq!(simulator.now.as_second(), 1_010);
    simulator.secrets.insert(token(), Ok(SecretValue::new("hush")));
    simulator.looks(5);
    assert_eq!((simulator.status().phase, simulator.metric("m").error), (AnalysisPhase::Successful, 1));

    // It does not last for ever.
    let mut simulator = secret_run(web);
    simulator.looks(20);
    assert_eq!(simulator.status().phase, AnalysisPhase::Error);
    assert_eq!(simulator.metric("m").consecutive_error, 5);
    assert!(simulator.status().completed_at.is_some());
}

#[test]
fn a_secret_that_cannot_be_read_holds_up_its_own_metric_alone() {
    let mut simulator = secret_run(json!({"provider": {"web": {"url": "{{args.token}}"}}}));
    let mut plain = simulator.run.spec.metrics[0].clone();
    plain.name = "plain".to_owned();
    plain.provider.web.as_mut().expect("a web metric").url = "http://x".to_owned();
    simulator.run.spec.metrics.push(plain);
    simulator.look();
    assert_eq!(simulator.metric("plain").phase, AnalysisPhase::Successful);
    assert_eq!((simulator.metric("m").phase, simulator.metric("m").error), (AnalysisPhase::Running, 1));
}

#[test]
fn a_job_under_way_is_not_lost_for_want_of_a_secret() {
    let job = json!({"provider": {"job": {"spec": {"template": {"x": "{{args.token}}"}}}}});
    let mut simulator = secret_run(job);
    simulator.secrets.insert(token(), Ok(SecretValue::new("hush")));
    simulator.script.insert("m".to_owned(), [measurement('R'), measurement('R'), measurement('S')].into());
    simulator.look();
    simulator.secrets.clear();
    simulator.pass(60);
    simulator.looks(5);
    assert_eq!(simulator.metric("m").error, 0);
    assert_eq!(simulator.status().phase, AnalysisPhase::Successful);
}

#[test]
fn what_is_in_flight_keeps_what_it_is_found_by() {
    let web = json!({"provider": {"web": {"url": "{{args.token}}"}}});
    let mut simulator = secret_run(web);
    simulator.secrets.insert(token(), Ok(SecretValue::new("hush")));
    let plan = simulator.decide(&Secrets::new(), vec![]);
    let secrets = simulator.read(&plan);
    let task = simulator.decide(&secrets, vec![]).tasks.remove(0);
    for (letter, expected) in [('R', "hush-1"), ('S', "*****-1")] {
        let metadata = [("handle".to_owned(), "hush-1".to_owned())].into();
        let result = task.result(Measurement { metadata, ..measurement(letter) }, [].into());
        assert_eq!(result.measurement().metadata["handle"], expected);
    }
}

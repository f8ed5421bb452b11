//! Experiments against a real API server: the objects that they make are accepted, and go again.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use sluice_controller::Options;
use sluice_tests::cluster::eventually;

use crate::analysis::{Metrics, template};
use crate::harness::{IMAGE, SOON, Sandbox};

fn pods(name: &str, tag: &str, service: &Value) -> Value {
    json!({
        "name": name, "selector": {"matchLabels": {"app": "ex"}}, "service": service,
        "template": {
            "metadata": {"labels": {"app": "ex"}},
            "spec": {"containers": [{
                "name": "app", "image": format!("{IMAGE}:{tag}"),
                "ports": [{"containerPort": 8080}, {"containerPort": 8081, "name": "admin"}],
            }]},
        },
    })
}

fn experiment(service: &Value) -> Value {
    json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Experiment", "metadata": {"name": "ex"},
        "spec": {
            "scaleDownDelaySeconds": 2,
            "templates": [pods("baseline", "1", &json!({})), pods("candidate", "2", service)],
            "analyses": [{
                "name": "errors", "templateName": "error-ratio", "requiredForCompletion": true,
                "args": [{"name": "version", "value": "{{templates.candidate.podTemplateHash}}"}],
            }],
        },
    })
}

async fn until_phase(sandbox: &Sandbox, wanted: &str) -> Result<Value> {
    eventually(&format!("the Experiment to be {wanted}"), SOON, async || {
        let all = sandbox.list(sandbox.api("argoproj.io", "v1alpha1", "Experiment", "experiments")).await?;
        let status = all.first().map(|experiment| experiment["status"].clone()).unwrap_or_default();
        let text = |field: &str| status[field].as_str().unwrap_or_default().to_owned();
        let found = format!("{} {}", text("phase"), text("message"));
        if found.starts_with(wanted) { Ok(status) } else { Err(found) }
    })
    .await
    .map_err(Into::into)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_experiment_makes_pods_services_and_a_run_and_clears_up_after_itself() -> Result<()> {
    let metrics = Metrics::start().await?;
    let mut sandbox = Sandbox::new("experiment").await?;
    let ratio = json!([{
        "name": "error-ratio", "interval": "2s", "count": 3, "successCondition": "result[0] < 0.05",
        "provider": {"prometheus": {"address": metrics.address, "query": "errors{version=\"{{args.version}}\"}"}},
    }]);
    sandbox.apply(&template("error-ratio", &ratio)).await?;
    sandbox.start_controller(Options::default()).await?;
    sandbox.apply(&experiment(&json!({"name": "ex-other"}))).await?;
    let status = until_phase(&sandbox, "Running").await?;
    let services = || async { sandbox.list(sandbox.api("", "v1", "Service", "services")).await };
    let found = services().await.map_err(anyhow::Error::msg)?;
    let names: Vec<_> = found.iter().map(|service| service["metadata"]["name"].clone()).collect();
    ensure!(names == [json!("ex-baseline"), json!("ex-other")], "{names:?}");
    let hash = &status["templateStatuses"][1]["podTemplateHash"];
    ensure!(found[1]["spec"]["selector"]["rollouts-pod-template-hash"] == *hash, "{found:#?} {status:#}");

    let status = until_phase(&sandbox, "Successful Required AnalysisRuns completed").await?;
    ensure!(status["analysisRuns"][0]["phase"] == "Successful", "{status:#}");
    eventually("neither pods nor Services", SOON, async || {
        let (pods, services) = (sandbox.pods().await?, services().await?.len());
        if pods.is_empty() && services == 0 { Ok(()) } else { Err(format!("{pods:?}, {services} Services")) }
    })
    .await?;

    // What it may not touch is an error, and stays as it is.
    sandbox.kubectl(&["delete", "experiment", "ex", "--wait"]).await?;
    sandbox.kubectl(&["create", "service", "clusterip", "taken", "--tcp=80"]).await?;
    sandbox.apply(&experiment(&json!({"name": "taken"}))).await?;
    let wanted =
        "Error Failed to create Service taken for template 'candidate': service taken already exists";
    until_phase(&sandbox, wanted).await?;
    let found = services().await.map_err(anyhow::Error::msg)?;
    let taken = found.iter().find(|service| service["metadata"]["name"] == "taken");
    ensure!(
        taken.is_some_and(|service| service["spec"]["selector"] == json!({"app": "taken"})),
        "{found:#?}"
    );
    Ok(())
}

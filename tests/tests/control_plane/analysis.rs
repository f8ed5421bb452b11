//! Analysis against a real API server: runs, Jobs of the cluster, and a metric asked for over the network.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::SeqCst};

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use sluice_controller::Options;
use sluice_tests::cluster::eventually;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::harness::{SOON, Sandbox, canary, image};

/// A server that answers queries as Prometheus does, with one sample.
pub struct Metrics {
    pub address: String,
    /// The sample, in thousandths.
    thousandths: Arc<AtomicU32>,
    asked: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Metrics {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Metrics {
    pub async fn start() -> Result<Metrics> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = format!("http://{}", listener.local_addr()?);
        let (thousandths, asked) = (Arc::new(AtomicU32::new(1)), Arc::new(AtomicUsize::new(0)));
        let (sample, count) = (Arc::clone(&thousandths), Arc::clone(&asked));
        let task = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                count.fetch_add(1, SeqCst);
                let value = f64::from(sample.load(SeqCst)) / 1000.0;
                tokio::spawn(async move {
                    let mut request = [0; 8192];
                    let _ = stream.read(&mut request).await;
                    let body = json!({"status": "success", "data": {"resultType": "vector", "result": [
                        {"metric": {}, "value": [1_800_000_000, value.to_string()]},
                    ]}})
                    .to_string();
                    let answer = format!(
                        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                        body.len()
                    );
                    let _ = stream.write_all(answer.as_bytes()).await;
                });
            }
        });
        Ok(Metrics { address, thousandths, asked, task })
    }
}

pub fn template(name: &str, metrics: &Value) -> Value {
    json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "AnalysisTemplate", "metadata": {"name": name},
        "spec": {"args": [{"name": "version", "value": "none"}], "metrics": metrics},
    })
}

async fn judged(metrics: &Metrics, job_image: &str) -> Result<Sandbox> {
    let mut sandbox = Sandbox::new("judged").await?;
    let ratio = json!([{
        "name": "error-ratio", "interval": "1s", "count": 3, "successCondition": "result[0] < 0.05",
        "provider": {"prometheus": {
            "address": metrics.address, "query": "sum(rate(errors{version=\"{{args.version}}\"}[1m]))",
        }},
    }]);
    sandbox.apply(&template("error-ratio", &ratio)).await?;
    let smoke = json!([{"name": "smoke", "provider": {"job": {"spec": {
        "backoffLimit": 0,
        "template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "smoke", "image": job_image}]}},
    }}}}]);
    sandbox.apply(&template("smoke", &smoke)).await?;
    sandbox.start_controller(Options::default()).await?;
    let steps = json!([
        {"setWeight": 25},
        {"analysis": {"templates": [{"templateName": "smoke"}]}},
        {"analysis": {
            "templates": [{"templateName": "error-ratio"}],
            "args": [{"name": "version", "valueFrom": {"podTemplateHashValue": "Latest"}}],
        }},
    ]);
    sandbox.apply(&canary("web", 4, steps)).await?;
    sandbox.until("1 | 1:4/4 | Healthy").await?;
    sandbox.kubectl(&["patch", "rollout", "web", "--type=json", "--patch", &image("2")]).await?;
    Ok(sandbox)
}

async fn runs(sandbox: &Sandbox) -> Result<Vec<Value>, String> {
    sandbox.list(sandbox.api("argoproj.io", "v1alpha1", "AnalysisRun", "analysisruns")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_version_passes_a_job_and_a_metric() -> Result<()> {
    let metrics = Metrics::start().await?;
    let sandbox = judged(&metrics, "registry.example/smoke:1").await?;
    sandbox.until("2 | 2:4/4 | Healthy").await?;
    let runs = runs(&sandbox).await.map_err(anyhow::Error::msg)?;
    let phases: Vec<_> = runs.iter().map(|run| run["status"]["phase"].clone()).collect();
    ensure!(phases == [json!("Successful"), json!("Successful")], "{runs:#?}");
    let result = &runs[1]["status"]["metricResults"][0];
    ensure!(result["count"] == 3 && result["measurements"][0]["value"] == "[0.001]", "{result:#}");
    let query = result["metadata"]["ResolvedPrometheusQuery"].as_str().unwrap_or_default();
    let hash = runs[1]["metadata"]["labels"]["rollouts-pod-template-hash"].as_str().unwrap_or_default();
    ensure!(query.contains(hash), "{query}");
    ensure!(metrics.asked.load(SeqCst) == 3, "asked once for each measurement");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_version_is_aborted_with_value_and_threshold() -> Result<()> {
    let metrics = Metrics::start().await?;
    metrics.thousandths.store(80, SeqCst);
    let sandbox = judged(&metrics, "registry.example/smoke:1").await?;
    sandbox
        .until(
            "2 | 1:4/4 | Degraded RolloutAborted: Rollout aborted update to revision 2: Step-based analysis phase \
             error/failed: Metric \"error-ratio\" assessed Failed due to failed (1) > failureLimit (0); measured \
             [0.08], successCondition \"result[0] < 0.05\", measurement 1",
        )
        .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_fails_aborts_and_its_pod_is_there_to_be_looked_at() -> Result<()> {
    let metrics = Metrics::start().await?;
    let sandbox = judged(&metrics, "registry.example/smoke:fail").await?;
    sandbox
        .until(
            "2 | 1:4/4 | Degraded RolloutAborted: Rollout aborted update to revision 2: Step-based analysis phase \
             error/failed: Metric \"smoke\" assessed Failed due to failed (1) > failureLimit (0)",
        )
        .await?;
    eventually("the failed Job", SOON, async || {
        let jobs = sandbox.list(sandbox.api("batch", "v1", "Job", "jobs")).await?;
        let owners: Vec<_> =
            jobs.iter().map(|job| job["metadata"]["ownerReferences"][0]["kind"].clone()).collect();
        if owners == [json!("AnalysisRun")] { Ok(()) } else { Err(format!("{owners:?}")) }
    })
    .await?;
    ensure!(metrics.asked.load(SeqCst) == 0, "the step after it never began");
    Ok(())
}

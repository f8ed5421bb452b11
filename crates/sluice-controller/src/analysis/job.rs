//! Measurements that are made by Jobs: the Job is created, asked after, and deleted when it is not awaited any
//! more.
//!
//! A Job's name is made of the run, the metric and the number of the measurement, so that one that was created just
//! before this process died is found again. Conditions of the metric are not asked: how the Job ends is the verdict.

use jiff::{SignedDuration, Timestamp};
use kube::Client;
use kube::api::{DeleteParams, GetParams, ListParams, PostParams};
use kube::core::Request as Builder;
use serde_json::{Value, json};
use sluice_api::analysis::{AnalysisPhase, AnalysisRun, Measurement};
use sluice_api::keys;
use sluice_api::meta::Time;
use sluice_api::providers::JobMetric;

use crate::act::FIELD_MANAGER;

/// Metadata of a measurement: the Job's name.
pub const JOB_NAME: &str = "job-name";
/// Metadata of a measurement: the Job's namespace.
const JOB_NAMESPACE: &str = "job-namespace";
/// A name is not longer than this.
const LONGEST_NAME: usize = 63;
/// What keeps a container from ever starting.
const TERMINAL: [&str; 3] = ["ErrImagePull", "ImagePullBackOff", "InvalidImageName"];

/// A run whose metric is measured by Jobs.
pub struct Jobs<'a> {
    /// To whom requests go.
    pub client: &'a Client,
    /// The run.
    pub run: &'a AnalysisRun,
    /// The metric's name.
    pub metric: &'a str,
    /// The namespace in which Jobs are made; `None`: that of the run.
    pub namespace: Option<&'a str>,
}

/// The name of the Job of a run's n-th measurement of a metric. `mark` tells metrics apart whose names begin
/// alike, and is empty unless there are two.
pub fn name(uid: &str, metric: &str, number: i64, mark: &str) -> String {
    let number = number.to_string();
    let room = LONGEST_NAME.saturating_sub(uid.len() + number.len() + 2 + mark.len());
    let cut = metric.char_indices().take_while(|(at, c)| at + c.len_utf8() <= room).count();
    let metric: String = metric.chars().take(cut).collect();
    format!("{uid}.{metric}{mark}.{number}")
}

/// A mark of a metric's whole name.
fn mark(metric: &str) -> String {
    let hash =
        metric.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    format!("-{:05x}", hash & 0xf_ffff)
}

impl Jobs<'_> {
    fn namespace(&self) -> &str {
        self.namespace.unwrap_or_else(|| self.namespace_of_run())
    }

    fn namespace_of_run(&self) -> &str {
        self.run.metadata.namespace.as_deref().unwrap_or_default()
    }

    fn path(&self, namespace: &str) -> String {
        format!("/apis/batch/v1/namespaces/{namespace}/jobs")
    }

    /// Begins a measurement: the Job is made, or found again.
    ///
    /// # Errors
    /// The Job cannot be made.
    pub async fn begin(&self, job: &JobMetric, number: i64, now: Timestamp) -> Result<Measurement, String> {
        let uid = self.run.metadata.uid.as_deref().unwrap_or_default();
        let mut name = name(uid, self.metric, number, "");
        if !self.create(job, &name, uid).await? {
            name = self::name(uid, self.metric, number, &mark(self.metric));
            if !self.create(job, &name, uid).await? {
                return Err(format!("Job {name} exists and belongs to another metric"));
            }
        }
        let metadata =
            [(JOB_NAME.to_owned(), name), (JOB_NAMESPACE.to_owned(), self.namespace().to_owned())].into();
        Ok(Measurement {
            phase: AnalysisPhase::Running,
            started_at: Some(Time::new(now)),
            resume_at: Some(Time::new(now)),
            metadata,
            ..Measurement::default()
        })
    }

    /// Creates a Job, or finds the one that was created for this measurement before. `false`: the name is taken by
    /// another metric of this run.
    async fn create(&self, job: &JobMetric, name: &str, uid: &str) -> Result<bool, String> {
        let object = self.object(job, name, uid);
        let path = self.path(self.namespace());
        let parameters = PostParams { field_manager: Some(FIELD_MANAGER.into()), ..PostParams::default() };
        let body = serde_json::to_vec(&object).map_err(|error| error.to_string())?;
        let request =
            Builder::new(path.clone()).create(&parameters, body).map_err(|error| error.to_string())?;
        match self.client.request::<Value>(request).await {
            Ok(_) => return Ok(true),
            Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => {}
            Err(error) => return Err(format!("cannot create Job {name}: {error}")),
        }
        let request =
            Builder::new(path).get(name, &GetParams::default()).map_err(|error| error.to_string())?;
        let found: Value = self.client.request(request).await.map_err(|error| error.to_string())?;
        if found["metadata"]["labels"][keys::ANALYSIS_RUN_UID] != uid {
            return Err(format!("Job {name} exists and belongs to something else"));
        }
        let metric = &found["metadata"]["annotations"][keys::ANALYSIS_RUN_METRIC_NAME];
        Ok(metric.is_null() || metric == self.metric)
    }

    fn object(&self, job: &JobMetric, name: &str, uid: &str) -> Value {
        let run = &self.run.metadata;
        let given = |key: &str| {
            let metadata = job.metadata.as_ref().map(sluice_api::RawObject::to_value);
            metadata.map_or_else(|| json!({}), |metadata| metadata[key].clone())
        };
        let mut object = json!({
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {
                "name": name,
                "namespace": self.namespace(),
                "labels": given("labels"),
                "annotations": given("annotations"),
            },
            "spec": job.spec.to_value(),
        });
        // Owners in another namespace are not owners: the garbage collector would take the Job away.
        if self.namespace() == self.namespace_of_run() {
            object["metadata"]["ownerReferences"] = json!([{
                "apiVersion": sluice_api::kind::API_VERSION,
                "kind": "AnalysisRun",
                "name": run.name,
                "uid": uid,
                "controller": true,
                "blockOwnerDeletion": true,
            }]);
        }
        object["metadata"]["labels"][keys::ANALYSIS_RUN_UID] = json!(uid);
        object["metadata"]["annotations"][keys::ANALYSIS_RUN_NAME] = json!(run.name);
        object["metadata"]["annotations"][keys::ANALYSIS_RUN_NAMESPACE] = json!(self.namespace_of_run());
        object["metadata"]["annotations"][keys::ANALYSIS_RUN_METRIC_NAME] = json!(self.metric);
        object["spec"]["template"]["metadata"]["labels"][keys::ANALYSIS_RUN_UID] = json!(uid);
        object
    }

    /// Asks after a measurement that is under way.
    ///
    /// # Errors
    /// The Job is gone, or cannot be asked after.
    pub async fn resume(&self, measurement: &Measurement, now: Timestamp) -> Result<Measurement, String> {
        let (name, namespace) = reference(measurement)?;
        let request = Builder::new(self.path(namespace)).get(name, &GetParams::default());
        let request = request.map_err(|error| error.to_string())?;
        let job: Value = self.client.request(request).await.map_err(|error| match error {
            kube::Error::Api(status) if status.code == 404 => format!("Job {namespace}/{name} is gone"),
            error => format!("cannot read Job {namespace}/{name}: {error}"),
        })?;
        let mut next = measurement.clone();
        next.resume_at = None;
        if let Some(phase) = verdict(&job) {
            next.phase = phase;
            next.finished_at = Some(Time::new(now));
            return Ok(next);
        }
        if let Some(message) = self.stuck(name, namespace).await? {
            next.phase = AnalysisPhase::Inconclusive;
            next.message = message;
            next.finished_at = Some(Time::new(now));
            return Ok(next);
        }
        let begun = measurement.started_at.map_or(now, Time::timestamp);
        next.resume_at = Some(Time::new(now + patience(now.duration_since(begun))));
        Ok(next)
    }

    /// Why a pod of the Job never starts.
    async fn stuck(&self, job: &str, namespace: &str) -> Result<Option<String>, String> {
        let parameters = ListParams::default().labels(&format!("job-name={job}"));
        let request = Builder::new(format!("/api/v1/namespaces/{namespace}/pods")).list(&parameters);
        let request = request.map_err(|error| error.to_string())?;
        let pods: Value = self.client.request(request).await.map_err(|error| error.to_string())?;
        Ok(pods["items"].as_array().into_iter().flatten().find_map(stuck_container))
    }

    /// Ends a measurement that nobody waits for any more.
    ///
    /// # Errors
    /// The Job cannot be deleted.
    pub async fn terminate(&self, measurement: &Measurement, now: Timestamp) -> Result<Measurement, String> {
        let (name, namespace) = reference(measurement)?;
        let request = Builder::new(self.path(namespace)).delete(name, &DeleteParams::foreground());
        let request = request.map_err(|error| error.to_string())?;
        match self.client.request::<Value>(request).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => return Err(format!("cannot delete Job {namespace}/{name}: {error}")),
        }
        let mut next = measurement.clone();
        next.phase = AnalysisPhase::Inconclusive;
        next.message = "Metric Terminated".into();
        next.resume_at = None;
        next.finished_at = Some(Time::new(now));
        Ok(next)
    }
}

fn reference(measurement: &Measurement) -> Result<(&str, &str), String> {
    let of = |key: &str| measurement.metadata.get(key).map(String::as_str);
    of(JOB_NAME).zip(of(JOB_NAMESPACE)).ok_or_else(|| "job metadata reference missing".to_owned())
}

/// How a Job ended, if it has.
fn verdict(job: &Value) -> Option<AnalysisPhase> {
    job["status"]["conditions"].as_array()?.iter().find_map(|condition| match condition["type"].as_str() {
        _ if condition["status"] == "False" => None,
        Some("Complete") => Some(AnalysisPhase::Successful),
        Some("Failed") => Some(AnalysisPhase::Failed),
        _ => None,
    })
}

fn stuck_container(pod: &Value) -> Option<String> {
    let statuses = ["initContainerStatuses", "containerStatuses"].map(|key| &pod["status"][key]);
    let mut all = statuses.into_iter().filter_map(Value::as_array).flatten();
    all.find_map(|status| {
        let waiting = &status["state"]["waiting"];
        let reason = waiting["reason"].as_str().filter(|reason| TERMINAL.contains(reason))?;
        Some(format!(
            "Pod {}, container {} has terminal error ({reason}): {}\n",
            pod["metadata"]["name"].as_str().unwrap_or_default(),
            status["name"].as_str().unwrap_or_default(),
            waiting["message"].as_str().unwrap_or_default()
        ))
    })
}

/// How long a Job is left alone: more, the longer it has run.
fn patience(elapsed: SignedDuration) -> SignedDuration {
    let seconds = (2.0 * elapsed.as_secs_f64().max(0.0)).sqrt().max(1.0);
    SignedDuration::from_secs(seconds.round() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_room_for_the_number() {
        let uid = "0a1b2c3d-0000-4000-8000-000000000001";
        let rows = [
            (
                "smoke-test-with-a-very-long-name",
                1,
                "0a1b2c3d-0000-4000-8000-000000000001.smoke-test-with-a-very-l.1",
            ),
            (
                "smoke-test-with-a-very-long-name",
                12,
                "0a1b2c3d-0000-4000-8000-000000000001.smoke-test-with-a-very-.12",
            ),
            ("smoke", 3, "0a1b2c3d-0000-4000-8000-000000000001.smoke.3"),
        ];
        for (metric, number, expected) in rows {
            assert_eq!(name(uid, metric, number, ""), expected);
            assert!(expected.len() <= LONGEST_NAME);
        }
    }

    #[test]
    fn s22_metrics_whose_names_begin_alike_have_jobs_of_their_own() {
        let uid = "0a1b2c3d-0000-4000-8000-000000000001";
        let of = |metric: &str| name(uid, metric, 1, &mark(metric));
        let (one, other) =
            (of("smoke-test-of-everything-in-the-cart"), of("smoke-test-of-everything-in-the-till"));
        assert_ne!(one, other);
        assert_eq!((one.len(), other.len()), (LONGEST_NAME, LONGEST_NAME));
    }

    #[test]
    fn how_a_job_ends() {
        let job =
            |kind: &str, status: &str| json!({"status": {"conditions": [{"type": kind, "status": status}]}});
        let rows = [
            (job("Complete", "True"), Some(AnalysisPhase::Successful)),
            (job("Failed", "True"), Some(AnalysisPhase::Failed)),
            (job("FailureTarget", "True"), None),
            (job("Complete", "False"), None),
            (json!({}), None),
        ];
        for (job, expected) in rows {
            assert_eq!(verdict(&job), expected, "{job}");
        }
    }

    #[test]
    fn a_long_job_is_asked_after_less_often() {
        for (elapsed, expected) in [(0, 1), (60, 11), (3600, 85)] {
            let found = patience(SignedDuration::from_secs(elapsed));
            assert_eq!(found, SignedDuration::from_secs(expected), "{elapsed}");
        }
    }

    #[test]
    fn s39_an_image_that_cannot_be_pulled_is_named() {
        let pod = json!({
            "metadata": {"name": "p"},
            "status": {"containerStatuses": [
                {"name": "c", "state": {"waiting": {"reason": "ErrImagePull", "message": "not found"}}},
            ]},
        });
        assert_eq!(
            stuck_container(&pod).as_deref(),
            Some("Pod p, container c has terminal error (ErrImagePull): not found\n")
        );
        let pod = json!({"status": {"containerStatuses": [{"state": {"waiting": {"reason": "ContainerCreating"}}}]}});
        assert_eq!(stuck_container(&pod), None);
    }
}

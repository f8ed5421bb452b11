//! Which pods a Job runs, and when it is over.
//!
//! Same rules as Kubernetes 1.36, `pkg/controller/job`, for plain Jobs: parallelism, completions, back-off,
//! deadline, suspension, clean-up. A Job first says that it will end (SuccessCriteriaMet, FailureTarget), and
//! has ended (Complete, Failed) once no pod is left running. Does not know indexed Jobs, failure or success
//! policies; counts the pods that are there, or were there when last counted, instead of tracking each by a
//! finalizer.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::object::{
    Says, condition_is, earliest, flag, has_status, int, is_deleting, items, key_of, kind, kinds, later,
    name, namespace, put, put_condition, remove, seconds, set_count, text, time, uid, wire_time,
};
use super::ownership::{controller_of, is_controlled_by, reference_to};
use super::{pods, seeded};
use crate::seam::{Controller, Key, Op, Outcome, View};

const DEFAULT_BACKOFF_LIMIT: i64 = 6;
const FIRST_BACK_OFF_SECONDS: i64 = 10;
const MAX_BACK_OFF_SECONDS: i64 = 600;

/// The Job controller, together with the one that removes finished Jobs.
#[derive(Debug)]
pub struct Jobs {
    seed: u64,
    named: u64,
}

/// How a Job ends, with reason and message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Complete,
    Failed(&'static str, &'static str),
}

/// The pods of a Job, counted.
struct Count<'a> {
    active: Vec<&'a Value>,
    terminating: i64,
    succeeded: i64,
    failed: i64,
    last_failure: Option<Timestamp>,
}

impl Jobs {
    /// Makes the controller; names follow from `seed`.
    pub fn new(seed: u64) -> Self {
        Self { seed, named: 0 }
    }

    fn new_pod(&mut self, job: &Value, view: &dyn View) -> Value {
        let prefix = format!("{}-", name(job));
        let found = loop {
            self.named += 1;
            let suffix = seeded::suffix(self.seed, &[name(job), &self.named.to_string()]);
            let found = format!("{prefix}{suffix}");
            if view.get(kinds::POD, namespace(job), &found).is_none() {
                break found;
            }
        };
        let mut template = job.pointer("/spec/template").cloned().unwrap_or_default();
        for (label, value) in [
            ("batch.kubernetes.io/controller-uid", uid(job)),
            ("batch.kubernetes.io/job-name", name(job)),
            ("controller-uid", uid(job)),
            ("job-name", name(job)),
        ] {
            put(&mut template, &["metadata", "labels", label], value);
        }
        pods::from_template(
            &template,
            namespace(job),
            &prefix,
            &found,
            reference_to(job, "batch/v1", kinds::JOB),
        )
    }

    fn run(&mut self, job: &Value, view: &dyn View) -> Outcome {
        let now = view.now();
        let all = view.list(kinds::POD, namespace(job));
        let owned: Vec<&Value> =
            all.iter().map(|pod| &**pod).filter(|pod| is_controlled_by(pod, job)).collect();
        let count = Count::of(job, &owned);
        let mut status = job.get("status").filter(|found| found.is_object()).cloned().unwrap_or(json!({}));
        let is_suspended = flag(job, "/spec/suspend");
        if !is_suspended && text(&status, "/startTime").is_none() {
            put(&mut status, &["startTime"], wire_time(now));
        }
        let started = time(&status, "/startTime").unwrap_or(now);
        let deadline = int(job, "/spec/activeDeadlineSeconds").map(|limit| later(started, seconds(limit)));

        let mut ops = vec![];
        let mut recheck_at = None;
        let verdict = announced(job).or_else(|| judge(job, &count, deadline.filter(|_| !is_suspended), now));
        let mut active = count.active.len() as i64;
        if let Some(verdict) = verdict {
            ops.extend(count.active.iter().map(|pod| delete(pod)));
            announce(&mut status, verdict, now);
            if active == 0 && count.terminating == 0 {
                finish(&mut status, verdict, now);
            }
        } else if is_suspended {
            ops.extend(count.active.iter().map(|pod| delete(pod)));
            remove(&mut status, &["startTime"]);
            say(&mut status, ["Suspended", "True", "JobSuspended", "Job suspended"], now);
        } else {
            if condition_is(job, "Suspended", "True") {
                say(&mut status, ["Suspended", "False", "JobResumed", "Job resumed"], now);
                put(&mut status, &["startTime"], wire_time(now));
            }
            let wanted = wanted_active(job, &count);
            recheck_at = deadline;
            match (wanted - active, back_off_until(&count).filter(|until| *until > now)) {
                (1.., Some(until)) => recheck_at = earliest(recheck_at, Some(until)),
                (missing @ 1.., None) => {
                    ops.extend((0..missing).map(|_| Op::Create(self.new_pod(job, view))));
                    active += missing;
                }
                (surplus, _) => {
                    let victims = pods::sort_victims(&count.active, &count.active, now);
                    ops.extend(victims.into_iter().take(surplus.unsigned_abs() as usize).map(delete));
                    active += surplus;
                }
            }
        }
        let ready = count.active.iter().filter(|pod| pods::is_ready(pod)).count();
        set_count(&mut status, "active", if verdict.is_some() || is_suspended { 0 } else { active });
        set_count(&mut status, "succeeded", count.succeeded);
        set_count(&mut status, "failed", count.failed);
        put(&mut status, &["ready"], ready);
        put(&mut status, &["terminating"], count.terminating);
        put(&mut status, &["uncountedTerminatedPods"], json!({}));
        if !has_status(job, &status) {
            let mut written = job.clone();
            put(&mut written, &["status"], status);
            ops.push(Op::UpdateStatus(written));
        }
        Outcome { ops, recheck_at }
    }
}

impl Controller for Jobs {
    fn name(&self) -> &'static str {
        "job-controller"
    }

    fn keys_for(&self, changed: &Value, _view: &dyn View) -> Vec<Key> {
        match kind(changed) {
            kinds::JOB => vec![key_of(changed)],
            kinds::POD => controller_of(changed)
                .filter(|owner| owner.kind == kinds::JOB)
                .map(|owner| super::object::key(kinds::JOB, namespace(changed), owner.name))
                .into_iter()
                .collect(),
            _ => vec![],
        }
    }

    fn reconcile(&mut self, key: &Key, view: &dyn View) -> Outcome {
        if key.kind != kinds::JOB {
            return Outcome::default();
        }
        let Some(job) = view.get(kinds::JOB, key.namespace.as_deref(), &key.name) else {
            return Outcome::default();
        };
        if is_deleting(&job) {
            return Outcome::default();
        }
        match finished_at(&job) {
            Some(at) => clean_up(&job, at, view.now()),
            None => self.run(&job, view),
        }
    }
}

impl<'a> Count<'a> {
    fn of(job: &Value, pods: &[&'a Value]) -> Self {
        let phase = |wanted: &str| {
            pods.iter().filter(|pod| text(pod, "/status/phase") == Some(wanted)).count() as i64
        };
        let counted = |pointer| int(job, pointer).unwrap_or(0);
        let failures = pods.iter().filter(|pod| text(pod, "/status/phase") == Some("Failed"));
        Self {
            active: pods.iter().copied().filter(|pod| pods::is_active(pod)).collect(),
            terminating: pods.iter().filter(|pod| pods::is_terminating(pod)).count() as i64,
            succeeded: phase("Succeeded").max(counted("/status/succeeded")),
            failed: phase("Failed").max(counted("/status/failed")),
            last_failure: failures.filter_map(|pod| ended_at(pod)).max(),
        }
    }
}

fn ended_at(pod: &Value) -> Option<Timestamp> {
    let statuses = items(pod, "/status/containerStatuses");
    statuses.iter().filter_map(|one| time(one, "/state/terminated/finishedAt")).max()
}

fn wanted_active(job: &Value, count: &Count<'_>) -> i64 {
    let parallelism = int(job, "/spec/parallelism").unwrap_or(1).max(0);
    match completions(job) {
        Some(completions) => parallelism.min((completions - count.succeeded).max(0)),
        // The first success of a work queue means that there is no more work to begin.
        None if count.succeeded > 0 => count.active.len() as i64,
        None => parallelism,
    }
}

/// Returns how many pods must succeed; `None` means one, and then all that still run.
fn completions(job: &Value) -> Option<i64> {
    let found = int(job, "/spec/completions");
    if found.is_none() && int(job, "/spec/parallelism").is_none() { Some(1) } else { found }
}

fn judge(job: &Value, count: &Count<'_>, deadline: Option<Timestamp>, now: Timestamp) -> Option<Verdict> {
    let limit = int(job, "/spec/backoffLimit").unwrap_or(DEFAULT_BACKOFF_LIMIT);
    let restarts: i64 = count.active.iter().map(|pod| pods::restarts(pod)).sum();
    let restarts_in_place = text(job, "/spec/template/spec/restartPolicy") == Some("OnFailure");
    let is_past_limit = count.failed > limit || (restarts_in_place && restarts > 0 && restarts >= limit);
    let is_complete = match completions(job) {
        Some(completions) => count.succeeded >= completions,
        None => count.succeeded > 0 && count.active.is_empty(),
    };
    if is_past_limit {
        Some(Verdict::Failed("BackoffLimitExceeded", "Job has reached the specified backoff limit"))
    } else if deadline.is_some_and(|deadline| deadline <= now) {
        Some(Verdict::Failed("DeadlineExceeded", "Job was active longer than specified deadline"))
    } else {
        is_complete.then_some(Verdict::Complete)
    }
}

/// Returns the verdict that was announced before.
fn announced(job: &Value) -> Option<Verdict> {
    if condition_is(job, "SuccessCriteriaMet", "True") {
        return Some(Verdict::Complete);
    }
    let target = super::object::condition(job, "FailureTarget")
        .filter(|found| text(found, "/status") == Some("True"))?;
    Some(match text(target, "/reason") {
        Some("DeadlineExceeded") => {
            Verdict::Failed("DeadlineExceeded", "Job was active longer than specified deadline")
        }
        _ => Verdict::Failed("BackoffLimitExceeded", "Job has reached the specified backoff limit"),
    })
}

fn announce(status: &mut Value, verdict: Verdict, now: Timestamp) {
    match verdict {
        Verdict::Complete => {
            let message = "Reached expected number of succeeded pods";
            say(status, ["SuccessCriteriaMet", "True", "CompletionsReached", message], now);
        }
        Verdict::Failed(reason, message) => say(status, ["FailureTarget", "True", reason, message], now),
    }
}

fn finish(status: &mut Value, verdict: Verdict, now: Timestamp) {
    match verdict {
        Verdict::Complete => {
            let message = "Reached expected number of succeeded pods";
            say(status, ["Complete", "True", "CompletionsReached", message], now);
            put(status, &["completionTime"], wire_time(now));
        }
        Verdict::Failed(reason, message) => say(status, ["Failed", "True", reason, message], now),
    }
}

/// Puts a condition, unless it says so already.
fn say(status: &mut Value, [kind, value, reason, message]: [&str; 4], now: Timestamp) {
    let mut conditions = items(status, "/conditions").to_vec();
    let says_so = |one: &Value| text(one, "/type") == Some(kind) && text(one, "/status") == Some(value);
    if conditions.iter().any(says_so) {
        return;
    }
    let mut condition = Says { kind, status: value, reason, message }.at(now);
    put(&mut condition, &["lastProbeTime"], wire_time(now));
    put_condition(&mut conditions, condition);
    put(status, &["conditions"], conditions);
}

fn finished_at(job: &Value) -> Option<Timestamp> {
    let is_end = |one: &&Value| {
        matches!(text(one, "/type"), Some("Complete" | "Failed")) && text(one, "/status") == Some("True")
    };
    let end = items(job, "/status/conditions").iter().find(is_end)?;
    Some(time(end, "/lastTransitionTime").unwrap_or(Timestamp::MIN))
}

fn clean_up(job: &Value, finished_at: Timestamp, now: Timestamp) -> Outcome {
    let Some(keep_for) = int(job, "/spec/ttlSecondsAfterFinished") else { return Outcome::default() };
    let until = later(finished_at, seconds(keep_for));
    if now < until {
        return Outcome { ops: vec![], recheck_at: Some(until) };
    }
    Outcome { ops: vec![delete_as(job, kinds::JOB)], recheck_at: None }
}

/// Returns until when no new pod is made after failures: 10 s, 20 s, 40 s … up to ten minutes.
fn back_off_until(count: &Count<'_>) -> Option<Timestamp> {
    let doublings = (count.failed - 1).clamp(0, 10) as u32;
    let delay = (FIRST_BACK_OFF_SECONDS << doublings).min(MAX_BACK_OFF_SECONDS);
    count.last_failure.filter(|_| count.failed > 0).map(|at| later(at, SignedDuration::from_secs(delay)))
}

fn delete(pod: &Value) -> Op {
    delete_as(pod, kinds::POD)
}

fn delete_as(object: &Value, kind: &str) -> Op {
    Op::Delete {
        kind: kind.to_owned(),
        namespace: namespace(object).map(str::to_owned),
        name: name(object).to_owned(),
        uid: Some(uid(object).to_owned()),
        grace_seconds: None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Cluster;
    use super::*;

    fn job(spec: &Value) -> Value {
        let mut job = json!({
            "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j", "namespace": "default"}, "spec": spec,
        });
        let tag = job["spec"].as_object_mut().and_then(|spec| spec.remove("tag")).unwrap_or(json!("ok"));
        let image = format!("task:{}", tag.as_str().unwrap_or_default());
        if job["spec"].get("template").is_none() {
            job["spec"]["template"] =
                json!({"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": image}]}});
        }
        job
    }

    fn counts(cluster: &Cluster) -> (i64, i64, i64) {
        let job = cluster.find(kinds::JOB, "j").expect("the job");
        let read = |pointer| int(&job, pointer).unwrap_or(0);
        (read("/status/active"), read("/status/succeeded"), read("/status/failed"))
    }

    fn conditions(cluster: &Cluster) -> Vec<String> {
        let job = cluster.find(kinds::JOB, "j").expect("the job");
        let mut found: Vec<String> = items(&job, "/status/conditions")
            .iter()
            .filter(|one| text(one, "/status") == Some("True"))
            .map(|one| {
                format!(
                    "{}/{}",
                    text(one, "/type").unwrap_or_default(),
                    text(one, "/reason").unwrap_or_default()
                )
            })
            .collect();
        found.sort();
        found
    }

    #[test]
    fn outcomes() {
        let complete = ["Complete/CompletionsReached", "SuccessCriteriaMet/CompletionsReached"].as_slice();
        let backoff = ["Failed/BackoffLimitExceeded", "FailureTarget/BackoffLimitExceeded"].as_slice();
        let deadline = ["Failed/DeadlineExceeded", "FailureTarget/DeadlineExceeded"].as_slice();
        let forever = json!({"metadata": {"annotations": {"sim/crash": "after=9999s"}}, "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "task:1"}]}});
        let in_place = json!({"spec": {"restartPolicy": "OnFailure", "containers": [{"name": "c", "image": "task:fail"}]}});
        // (spec) => after an hour: (active, succeeded, failed), conditions
        for (spec, expected, expected_conditions) in [
            (json!({}), (0, 1, 0), complete),
            (json!({"completions": 5, "parallelism": 2}), (0, 5, 0), complete),
            (json!({"parallelism": 3}), (0, 3, 0), complete),
            (json!({"tag": "fail", "backoffLimit": 0}), (0, 0, 1), backoff),
            (json!({"tag": "fail", "backoffLimit": 2}), (0, 0, 3), backoff),
            (json!({"template": in_place, "backoffLimit": 2}), (0, 0, 0), backoff),
            (json!({"template": forever, "activeDeadlineSeconds": 30}), (0, 0, 0), deadline),
        ] {
            let mut cluster = Cluster::standard();
            cluster.create(job(&spec));
            cluster.advance(3600);
            assert_eq!(counts(&cluster), expected, "{spec}");
            assert_eq!(conditions(&cluster), expected_conditions, "{spec}");
            cluster.check_quiet();
        }
    }

    #[test]
    fn parallelism_bounds_the_active_pods_and_failures_are_retried_later() {
        let mut cluster = Cluster::standard();
        cluster.create(job(&json!({"completions": 3, "parallelism": 2})));
        assert_eq!(counts(&cluster), (2, 0, 0));

        let mut cluster = Cluster::standard();
        cluster.create(job(&json!({"tag": "fail", "backoffLimit": 6})));
        let mut starts = vec![];
        for second in 0..90 {
            if cluster.list(kinds::POD, None).len() > starts.len() {
                starts.push(second);
            }
            cluster.advance(1);
        }
        let waits: Vec<i64> = starts.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert_eq!(starts.len(), 4, "{starts:?}");
        for (wait, delay) in waits.iter().zip([10, 20, 40]) {
            assert!((delay + 1..=delay + 2).contains(wait), "{waits:?}: run of 1 or 2 s, then the delay");
        }
    }

    #[test]
    fn a_job_has_failed_once_its_pods_are_gone() {
        let mut cluster = Cluster::standard();
        let template = json!({
            "metadata": {"annotations": {"sim/crash": "after=9999s"}},
            "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "task:1"}]},
        });
        cluster.create(job(&json!({"activeDeadlineSeconds": 30, "template": template})));
        cluster.advance(30);
        assert_eq!(conditions(&cluster), ["FailureTarget/DeadlineExceeded"], "a pod still stops");
        cluster.advance(1);
        assert_eq!(conditions(&cluster), ["Failed/DeadlineExceeded", "FailureTarget/DeadlineExceeded"]);
    }

    #[test]
    fn suspension_stops_the_pods_and_the_clock() {
        let mut cluster = Cluster::standard();
        let template = json!({"metadata": {"annotations": {"sim/crash": "after=20s code=0"}}, "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "task:1"}]}});
        cluster.create(job(&json!({"suspend": true, "activeDeadlineSeconds": 25, "template": template})));
        cluster.advance(50);
        assert_eq!(
            (counts(&cluster), conditions(&cluster)),
            ((0, 0, 0), vec!["Suspended/JobSuspended".to_owned()])
        );
        cluster.edit(kinds::JOB, Some("default"), "j", |job| job["spec"]["suspend"] = json!(false));
        cluster.advance(10);
        assert_eq!(counts(&cluster), (1, 0, 0));
        cluster.advance(12);
        assert_eq!(counts(&cluster), (0, 1, 0));
    }

    #[test]
    fn a_finished_job_is_removed_after_its_time() {
        let mut cluster = Cluster::standard();
        cluster.create(job(&json!({"ttlSecondsAfterFinished": 60})));
        cluster.advance(59);
        assert!(cluster.find(kinds::JOB, "j").is_some());
        cluster.advance(5);
        assert!(cluster.find(kinds::JOB, "j").is_none());
        assert_eq!(cluster.list(kinds::POD, None), vec![], "its pods went with it");
    }
}

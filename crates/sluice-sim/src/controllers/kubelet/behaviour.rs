//! What the containers of a pod do, and how a test says so.
//!
//! A [`Plan`] is all that is known of a program: when it starts, gets ready, exits. By convention it
//! follows from the image's tag, from the annotations and, for pods that run to completion, from the
//! command; the first line that applies wins:
//!
//! | what | behaviour |
//! | --- | --- |
//! | tag has `pending` | never scheduled |
//! | tag has `pull` | the image cannot be pulled: ErrImagePull, ImagePullBackOff |
//! | annotation `sim/crash: "after=5s code=3 message=no luck"` | exits so, every time; `after` (default 1 s) counts from its start, and before it the container gets ready as others do; each part may be left out |
//! | runs to completion (a Job's pod, or `restartPolicy` other than Always) | after 1 or 2 s exits with 1 if command or args contain `exit 1` or the tag has `fail`, `bad` or `crash`, else with 0 |
//! | tag has `bad` or `crash` | exits with 1 one second after each start, never ready |
//! | tag has `dies-<n>s` | exits n seconds after it became ready, and from then on like `bad` |
//! | tag has `unready` | runs, never ready |
//! | tag has `flap` | ready and not ready for 10 s in turn |
//! | tag has `slow` | ready after 30 s |
//! | anything else | ready after the default time |
//!
//! The annotation `sim/ready-after: 5s` stands in for the default time, and for the 30 s of `slow`.
//! Does not know the time, nor what a pod's status looks like.

use std::fmt;
use std::sync::Arc;

use jiff::SignedDuration;
use serde_json::Value;

use super::super::object::{annotation, items, kinds, name, namespace, text};
use super::super::ownership::controller_of;
use super::super::seeded;

const READY_AFTER: &str = "sim/ready-after";
const CRASH: &str = "sim/crash";
const SLOW_READY_AFTER: SignedDuration = SignedDuration::from_secs(30);
const FLAP_PERIOD: SignedDuration = SignedDuration::from_secs(10);
const CRASH_AFTER: SignedDuration = SignedDuration::from_secs(1);

/// What a container does from its first start on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Whether a node is ever found for the pod.
    pub is_schedulable: bool,
    /// Whether the image cannot be pulled.
    pub pull_fails: bool,
    /// From the pod's arrival on its node to the first start of the container.
    pub start_after: SignedDuration,
    /// What each run does; the last one repeats. Empty means one that is ready at once and stays so.
    pub runs: Vec<Run>,
}

/// What a container does between one start and the next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Run {
    /// From the start to readiness; `None` means never.
    pub ready_after: Option<SignedDuration>,
    /// Once ready, it is ready and not ready for this long in turn.
    pub flaps_every: Option<SignedDuration>,
    /// How it ends; `None` means never.
    pub exit: Option<Exit>,
}

/// How a run of a container ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// From the start of the run.
    pub after: SignedDuration,
    pub code: i64,
    pub message: String,
}

impl Plan {
    /// A container that does these runs, the last one again and again.
    pub fn runs(runs: Vec<Run>) -> Self {
        Self { is_schedulable: true, pull_fails: false, start_after: SignedDuration::ZERO, runs }
    }

    /// A container that gets ready and stays so.
    pub fn ready_after(after: SignedDuration) -> Self {
        Self::runs(vec![Run { ready_after: Some(after), ..Run::default() }])
    }

    /// A container that runs and never gets ready.
    pub fn never_ready() -> Self {
        Self::runs(vec![Run::default()])
    }

    /// A container that exits again and again, and is never ready.
    pub fn crash_loop(code: i64, message: &str) -> Self {
        Self::exits(CRASH_AFTER, code, message)
    }

    /// A container that exits this long after each start, and is never ready.
    pub fn exits(after: SignedDuration, code: i64, message: &str) -> Self {
        let exit = Exit { after, code, message: message.to_owned() };
        Self::runs(vec![Run { exit: Some(exit), ..Run::default() }])
    }

    /// A pod that no node takes.
    pub fn unschedulable() -> Self {
        Self { is_schedulable: false, ..Self::never_ready() }
    }

    /// A container whose image cannot be pulled.
    pub fn pull_failing() -> Self {
        Self { pull_fails: true, ..Self::never_ready() }
    }

    /// Returns what the run after so many restarts does.
    pub(super) fn run(&self, restarts: i64) -> Option<&Run> {
        self.runs.get(restarts.max(0) as usize).or(self.runs.last())
    }
}

/// Says what a pod does, where the conventions do not do.
pub trait PodBehaviour: Send + Sync {
    /// Returns what all containers of the pod do; `None` leaves it to the conventions. Must answer the same
    /// about the same pod every time.
    fn plan(&self, pod: &Value) -> Option<Plan>;
}

impl<F: Fn(&Value) -> Option<Plan> + Send + Sync> PodBehaviour for F {
    fn plan(&self, pod: &Value) -> Option<Plan> {
        self(pod)
    }
}

/// What containers do: by a test's word, or by convention.
#[derive(Clone)]
pub(in super::super) struct Behaviour {
    pub seed: u64,
    pub start_after: SignedDuration,
    pub ready_after: SignedDuration,
    pub ready_jitter: SignedDuration,
    pub custom: Option<Arc<dyn PodBehaviour>>,
}

impl fmt::Debug for Behaviour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Behaviour")
            .field("seed", &self.seed)
            .field("ready_after", &self.ready_after)
            .finish_non_exhaustive()
    }
}

impl Behaviour {
    /// Returns whether a node is ever found for the pod.
    pub fn is_schedulable(&self, pod: &Value) -> bool {
        items(pod, "/spec/containers").iter().all(|container| self.plan(pod, container).is_schedulable)
    }

    /// Returns what one container of a pod does.
    pub fn plan(&self, pod: &Value, container: &Value) -> Plan {
        let custom = self.custom.as_ref().and_then(|custom| custom.plan(pod));
        custom.unwrap_or_else(|| Plan { start_after: self.start_after, ..self.conventional(pod, container) })
    }

    fn conventional(&self, pod: &Value, container: &Value) -> Plan {
        let tag = tag(container);
        let has = |word: &str| tag.contains(word);
        if has("pending") {
            return Plan::unschedulable();
        }
        if has("pull") {
            return Plan::pull_failing();
        }
        let default = self.ready_after + seeded::jitter(self.seed, &pod_id(pod), self.ready_jitter);
        let default = if has("slow") { SLOW_READY_AFTER } else { default };
        let wanted = annotation(pod, READY_AFTER).and_then(|found| found.parse::<SignedDuration>().ok());
        let ready_after = wanted.filter(|found| !found.is_negative()).unwrap_or(default);
        if let Some(crash) = annotation(pod, CRASH) {
            return Plan::runs(vec![Run {
                ready_after: Some(ready_after),
                flaps_every: None,
                exit: Some(parse_crash(crash)),
            }]);
        }
        if runs_to_completion(pod) {
            let after = SignedDuration::from_secs(1 + (seeded::mix(self.seed, &pod_id(pod)) % 2) as i64);
            let fails = has("fail") || has("bad") || has("crash") || says_exit_1(container);
            let mut plan = if fails { Plan::exits(after, 1, "failed") } else { Plan::exits(after, 0, "") };
            plan.runs[0].ready_after = Some(SignedDuration::ZERO);
            return plan;
        }
        let crashing = Plan::crash_loop(1, "fatal: cannot start");
        if has("bad") || has("crash") {
            return crashing;
        }
        if let Some(alive) = lifetime(tag) {
            let exit = Exit { after: ready_after + alive, code: 1, message: "fatal: died".to_owned() };
            let first = Run { ready_after: Some(ready_after), flaps_every: None, exit: Some(exit) };
            return Plan::runs([vec![first], crashing.runs].concat());
        }
        if has("unready") {
            return Plan::never_ready();
        }
        let flaps_every = has("flap").then_some(FLAP_PERIOD);
        Plan::runs(vec![Run { ready_after: Some(ready_after), flaps_every, exit: None }])
    }
}

fn pod_id(pod: &Value) -> [&str; 2] {
    [namespace(pod).unwrap_or_default(), name(pod)]
}

/// Returns the tag of a container's image, empty when there is none.
fn tag(container: &Value) -> &str {
    let image = text(container, "/image").unwrap_or_default();
    let image = image.split_once('@').map_or(image, |(before, _)| before);
    let last = image.rsplit_once('/').map_or(image, |(_, after)| after);
    last.split_once(':').map_or("", |(_, tag)| tag)
}

/// Returns the n of `dies-<n>s`.
fn lifetime(tag: &str) -> Option<SignedDuration> {
    let (_, after) = tag.split_once("dies-")?;
    let (number, _) = after.split_once('s')?;
    Some(SignedDuration::from_secs(number.parse::<u32>().ok()?.into()))
}

fn runs_to_completion(pod: &Value) -> bool {
    let is_one_off = matches!(text(pod, "/spec/restartPolicy"), Some("Never" | "OnFailure"));
    is_one_off || controller_of(pod).is_some_and(|owner| owner.kind == kinds::JOB)
}

fn says_exit_1(container: &Value) -> bool {
    let words = items(container, "/command").iter().chain(items(container, "/args"));
    let line: Vec<&str> = words.filter_map(Value::as_str).collect();
    line.join(" ").contains("exit 1")
}

fn parse_crash(crash: &str) -> Exit {
    let (words, message) = crash.split_once("message=").unwrap_or((crash, "crashed as told"));
    let mut exit = Exit { after: CRASH_AFTER, code: 1, message: message.to_owned() };
    for word in words.split_whitespace() {
        match word.split_once('=') {
            Some(("code", code)) => exit.code = code.parse().unwrap_or(exit.code),
            Some(("after", after)) => {
                let parsed = after.parse::<SignedDuration>().ok().filter(|found| !found.is_negative());
                exit.after = parsed.unwrap_or(exit.after);
            }
            _ => {}
        }
    }
    exit
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn secs(seconds: i64) -> SignedDuration {
        SignedDuration::from_secs(seconds)
    }

    fn behaviour() -> Behaviour {
        Behaviour { seed: 1, start_after: secs(0), ready_after: secs(1), ready_jitter: secs(0), custom: None }
    }

    fn run(ready_after: Option<i64>, flaps: Option<i64>, exit: Option<(i64, i64)>) -> Run {
        let exit = exit.map(|(after, code)| Exit { after: secs(after), code, message: String::new() });
        Run { ready_after: ready_after.map(secs), flaps_every: flaps.map(secs), exit }
    }

    fn plan(image: &str, annotations: &Value, spec: &Value) -> Plan {
        let container = json!({"name": "app", "image": image, "args": spec.get("args")});
        let pod = json!({"metadata": {"name": "p", "annotations": annotations}, "spec": spec});
        let mut plan = behaviour().plan(&pod, &container);
        for exit in plan.runs.iter_mut().filter_map(|run| run.exit.as_mut()) {
            exit.message.clear();
        }
        plan
    }

    #[test]
    fn tags() {
        for (image, expected) in [
            ("registry:5000/bad/web:v1", vec![run(Some(1), None, None)]), // only the tag counts
            ("web", vec![run(Some(1), None, None)]),
            ("web@sha256:bad", vec![run(Some(1), None, None)]),
            ("web:v2-bad", vec![run(None, None, Some((1, 1)))]),
            ("web:crash", vec![run(None, None, Some((1, 1)))]),
            ("web:slow", vec![run(Some(30), None, None)]),
            ("web:flap", vec![run(Some(1), Some(10), None)]),
            ("web:unready", vec![run(None, None, None)]),
            ("web:dies-20s", vec![run(Some(1), None, Some((21, 1))), run(None, None, Some((1, 1)))]),
            ("web:slow-dies-20s", vec![run(Some(30), None, Some((50, 1))), run(None, None, Some((1, 1)))]),
            ("web:dies-xs", vec![run(Some(1), None, None)]),
        ] {
            let found = plan(image, &json!({}), &json!({}));
            assert_eq!(found.runs, expected, "{image}");
            assert!(found.is_schedulable && !found.pull_fails, "{image}");
        }
        assert!(plan("web:pull", &json!({}), &json!({})).pull_fails);
        assert!(!plan("web:pending", &json!({}), &json!({})).is_schedulable);
    }

    #[test]
    fn annotations_and_commands() {
        for (image, annotations, spec, expected) in [
            ("web:1", json!({READY_AFTER: "5s"}), json!({}), run(Some(5), None, None)),
            ("web:slow", json!({READY_AFTER: "1m5s"}), json!({}), run(Some(65), None, None)),
            ("web:1", json!({READY_AFTER: "soon"}), json!({}), run(Some(1), None, None)),
            (
                "web:1",
                json!({CRASH: "exit code=3 message=a=b c"}),
                json!({}),
                run(Some(1), None, Some((1, 3))),
            ),
            ("web:1", json!({CRASH: "after=7s"}), json!({}), run(Some(1), None, Some((7, 1)))),
        ] {
            assert_eq!(plan(image, &annotations, &spec).runs, [expected], "{image} {annotations}");
        }
        for (image, spec, code) in [
            ("job:1", json!({"restartPolicy": "Never"}), 0),
            ("job:fail", json!({"restartPolicy": "Never"}), 1),
            ("job:1", json!({"restartPolicy": "OnFailure", "args": ["-c", "exit 1"]}), 1),
        ] {
            let found = plan(image, &json!({}), &spec).runs[0].exit.clone().expect("runs to completion");
            assert_eq!(found.code, code, "{image} {spec}");
            assert!((1..=2).contains(&found.after.as_secs()), "{image} {spec}");
        }
        assert_eq!(parse_crash("exit code=3 message=a=b c").message, "a=b c");
    }

    #[test]
    fn a_tests_word_comes_first() {
        let custom = |pod: &Value| (name(pod) == "odd").then(Plan::never_ready);
        let behaviour = Behaviour { custom: Some(Arc::new(custom)), ..behaviour() };
        let plan_of =
            |name: &str| behaviour.plan(&json!({"metadata": {"name": name}}), &json!({"image": "web:1"}));
        assert_eq!(plan_of("odd"), Plan::never_ready());
        assert_eq!(plan_of("even"), Plan::ready_after(secs(1)));
    }
}

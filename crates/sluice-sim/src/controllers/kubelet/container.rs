//! What state a container is in at a given time, told from its last written status and its plan.
//!
//! Restarts follow the kubelet's back-off: the first restart is immediate, the next come 10 s, 20 s, 40 s …
//! after the last exit, at most 300 s; a run of more than ten minutes is followed by an immediate one.
//! Unlike the real one, the delay then goes on growing where it was. An exit stays visible as `terminated`
//! for one second, an image that cannot be pulled is `ErrImagePull` for two and `ImagePullBackOff` from then on.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::super::object::{
    earliest, flag, go_duration, int, later, name, namespace, put, since, text, time, uid, wire_time,
};
use super::super::seeded;
use super::behaviour::{Plan, Run};

const EXIT_VISIBLE_FOR: SignedDuration = SignedDuration::from_secs(1);
const PULL_ERROR_FOR: SignedDuration = SignedDuration::from_secs(2);
/// Exit code of a program that a TERM signal ended.
const KILLED: i64 = 143;
const FIRST_BACK_OFF_SECONDS: i64 = 10;
const MAX_BACK_OFF_SECONDS: i64 = 300;
const LONG_RUN: SignedDuration = SignedDuration::from_secs(2 * MAX_BACK_OFF_SECONDS);

/// What the state of a container depends on, apart from its last status.
pub(super) struct Situation<'a> {
    pub pod: &'a Value,
    pub container: &'a Value,
    pub plan: &'a Plan,
    /// When the pod arrived on its node.
    pub pod_start: Timestamp,
    pub now: Timestamp,
    /// Turns a written time, which has only seconds, back into the instant that it stands for.
    pub exact: &'a dyn Fn(Timestamp) -> Timestamp,
}

/// What a container's state means for its pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Has not started yet.
    Waiting,
    /// Runs, or will run again.
    Alive,
    Succeeded,
    Failed,
}

/// The status of a container, and when it changes next by itself.
pub(super) struct Found {
    pub status: Value,
    pub standing: Standing,
    pub next: Option<Timestamp>,
}

#[derive(Clone, Debug)]
enum State {
    Creating,
    Running { started: Timestamp },
    Exited(Ended),
    BackingOff,
}

#[derive(Clone, Debug)]
struct Ended {
    started: Timestamp,
    finished: Timestamp,
    code: i64,
    message: String,
}

struct Container {
    state: State,
    restarts: i64,
    /// How the run before this one ended.
    last: Option<Ended>,
}

/// Returns the status of a container now.
pub(super) fn look(situation: &Situation<'_>, previous: Option<&Value>) -> Found {
    let mut container = Container::read(previous, situation);
    // Each turn makes at most one transition; with nothing but zero times there could be more of them
    // than anybody wants to see in one look.
    for _ in 0..4 {
        if !container.advance(situation) {
            break;
        }
    }
    container.found(situation)
}

/// Returns the status of a container that was told to stop and did.
pub(super) fn stopped(situation: &Situation<'_>, previous: Option<&Value>) -> Value {
    let mut container = Container::read(previous, situation);
    match container.state {
        State::Running { started } => {
            // A server ends in good order; a task that was stopped has not been done.
            let code = if situation.restarts_after(0) { 0 } else { KILLED };
            container.state =
                State::Exited(Ended { started, finished: situation.now, code, message: String::new() });
        }
        State::BackingOff => {
            // What it waited for will not come: its last exit is its end.
            container.state = container.last.take().map_or(State::Creating, State::Exited);
        }
        State::Creating | State::Exited(_) => {}
    }
    container.found(situation).status
}

/// Returns how long after an exit a container starts again that has restarted so often before.
fn back_off(restarts: i64, last_run: SignedDuration) -> SignedDuration {
    if restarts <= 0 || last_run > LONG_RUN {
        return SignedDuration::ZERO;
    }
    let doublings = (restarts - 1).min(10) as u32;
    SignedDuration::from_secs((FIRST_BACK_OFF_SECONDS << doublings).min(MAX_BACK_OFF_SECONDS))
}

impl Situation<'_> {
    /// Whether a container that ended so is started again.
    fn restarts_after(&self, code: i64) -> bool {
        match text(self.pod, "/spec/restartPolicy") {
            Some("Never") => false,
            Some("OnFailure") => code != 0,
            _ => true,
        }
    }

    fn first_start(&self) -> Timestamp {
        later(self.pod_start, self.plan.start_after)
    }
}

impl Container {
    fn read(previous: Option<&Value>, situation: &Situation<'_>) -> Self {
        let fresh = Self { state: State::Creating, restarts: 0, last: None };
        let Some(previous) = previous else { return fresh };
        let ended = |pointer: &str| read_ended(previous.pointer(pointer)?, situation);
        let running = time(previous, "/state/running/startedAt");
        let state = if let Some(started) = running {
            State::Running { started: (situation.exact)(started) }
        } else if let Some(ended) = ended("/state/terminated") {
            State::Exited(ended)
        } else if text(previous, "/state/waiting/reason") == Some("CrashLoopBackOff") {
            State::BackingOff
        } else {
            State::Creating
        };
        Self {
            state,
            restarts: int(previous, "/restartCount").unwrap_or(0),
            last: ended("/lastState/terminated"),
        }
    }

    /// Makes the next transition if its time has come.
    fn advance(&mut self, situation: &Situation<'_>) -> bool {
        let now = situation.now;
        match &self.state {
            State::Creating if !situation.plan.pull_fails && situation.first_start() <= now => {
                self.state = State::Running { started: now };
                true
            }
            State::Running { started } => {
                let exit = situation.plan.run(self.restarts).and_then(|run| run.exit.as_ref());
                let Some(exit) = exit.filter(|exit| later(*started, exit.after) <= now) else { return false };
                let message = exit.message.clone();
                self.state =
                    State::Exited(Ended { started: *started, finished: now, code: exit.code, message });
                true
            }
            State::Exited(ended) if situation.restarts_after(ended.code) => {
                if later(ended.finished, EXIT_VISIBLE_FOR) > now {
                    return false;
                }
                self.last = Some(ended.clone());
                self.state = State::BackingOff;
                true
            }
            State::BackingOff if self.restart_at().is_none_or(|at| at <= now) => {
                self.state = State::Running { started: now };
                self.restarts += 1;
                true
            }
            State::Creating | State::Exited(_) | State::BackingOff => false,
        }
    }

    fn restart_at(&self) -> Option<Timestamp> {
        let last = self.last.as_ref()?;
        let delay = back_off(self.restarts, since(last.started, last.finished));
        Some(later(last.finished, delay.max(EXIT_VISIBLE_FOR)))
    }

    fn found(&self, situation: &Situation<'_>) -> Found {
        let run = situation.plan.run(self.restarts);
        let mut is_ready = false;
        let (state, standing, next) = match &self.state {
            State::Creating => {
                let (state, next) = creating(situation);
                (state, Standing::Waiting, next)
            }
            State::Running { started } => {
                let exit_at = run.and_then(|run| run.exit.as_ref()).map(|exit| later(*started, exit.after));
                let next_flip;
                (is_ready, next_flip) = readiness(run, *started, situation.now);
                let state = json!({"running": {"startedAt": wire_time(*started)}});
                (state, Standing::Alive, earliest(exit_at, next_flip))
            }
            State::Exited(ended) => {
                let state = json!({"terminated": ended.written(situation)});
                if situation.restarts_after(ended.code) {
                    (state, Standing::Alive, Some(later(ended.finished, EXIT_VISIBLE_FOR)))
                } else {
                    (state, if ended.code == 0 { Standing::Succeeded } else { Standing::Failed }, None)
                }
            }
            State::BackingOff => {
                let delay = self
                    .last
                    .as_ref()
                    .map(|last| back_off(self.restarts, since(last.started, last.finished)));
                let message = format!(
                    "back-off {} restarting failed container={} pod={}_{}({})",
                    go_duration(delay.unwrap_or_default()),
                    container_name(situation),
                    name(situation.pod),
                    namespace(situation.pod).unwrap_or_default(),
                    uid(situation.pod),
                );
                let state = json!({"waiting": {"reason": "CrashLoopBackOff", "message": message}});
                (state, Standing::Alive, self.restart_at())
            }
        };
        let is_running = matches!(self.state, State::Running { .. });
        let image = text(situation.container, "/image").unwrap_or_default();
        let mut status = json!({
            "name": container_name(situation), "image": image, "imageID": "",
            "ready": is_ready, "started": is_running, "restartCount": self.restarts,
            "state": state, "lastState": {},
        });
        if !matches!(self.state, State::Creating) {
            let digest = seeded::mix(0, &[image]);
            put(&mut status, &["imageID"], format!("{image}@sim:{digest:016x}"));
            put(&mut status, &["containerID"], container_id(situation, self.restarts));
        }
        if let Some(last) = &self.last {
            put(&mut status, &["lastState", "terminated"], last.written(situation));
        }
        Found { status, standing, next }
    }
}

impl Ended {
    fn written(&self, situation: &Situation<'_>) -> Value {
        let mut written = json!({
            "exitCode": self.code,
            "reason": if self.code == 0 { "Completed" } else { "Error" },
            "startedAt": wire_time(self.started),
            "finishedAt": wire_time(self.finished),
            "containerID": container_id(situation, 0),
        });
        if !self.message.is_empty() {
            put(&mut written, &["message"], self.message.as_str());
        }
        written
    }
}

fn read_ended(terminated: &Value, situation: &Situation<'_>) -> Option<Ended> {
    let finished = (situation.exact)(time(terminated, "/finishedAt")?);
    Some(Ended {
        started: time(terminated, "/startedAt").map_or(finished, situation.exact),
        finished,
        code: int(terminated, "/exitCode").unwrap_or(0),
        message: text(terminated, "/message").unwrap_or_default().to_owned(),
    })
}

fn creating(situation: &Situation<'_>) -> (Value, Option<Timestamp>) {
    let first = situation.first_start();
    let image = text(situation.container, "/image").unwrap_or_default();
    let refused_until = later(first, PULL_ERROR_FOR);
    let (reason, message, next) = if !situation.plan.pull_fails || situation.now < first {
        ("ContainerCreating", String::new(), Some(first))
    } else if situation.now < refused_until {
        (
            "ErrImagePull",
            format!("failed to pull and unpack image \"{image}\": not found"),
            Some(refused_until),
        )
    } else {
        ("ImagePullBackOff", format!("Back-off pulling image \"{image}\""), None)
    };
    let mut state = json!({"waiting": {"reason": reason}});
    if !message.is_empty() {
        put(&mut state, &["waiting", "message"], message);
    }
    (state, next)
}

/// Returns whether a run that began at `started` is ready now, and when that changes next.
fn readiness(run: Option<&Run>, started: Timestamp, now: Timestamp) -> (bool, Option<Timestamp>) {
    let Some(run) = run else { return (true, None) };
    let Some(ready_after) = run.ready_after else { return (false, None) };
    let first = later(started, ready_after);
    if now < first {
        return (false, Some(first));
    }
    let Some(period) = run.flaps_every.filter(SignedDuration::is_positive) else { return (true, None) };
    let turns = since(first, now).as_nanos() / period.as_nanos();
    let next = i64::try_from((turns + 1) * period.as_nanos()).map(SignedDuration::from_nanos).ok();
    (turns % 2 == 0, next.map(|after| later(first, after)))
}

fn container_name<'a>(situation: &Situation<'a>) -> &'a str {
    text(situation.container, "/name").unwrap_or_default()
}

fn container_id(situation: &Situation<'_>, restarts: i64) -> String {
    let parts = [uid(situation.pod), container_name(situation), &restarts.to_string()];
    format!("containerd://{:016x}", seeded::mix(0, &parts))
}

/// Returns whether a written container status says that the container is ready.
pub(super) fn is_ready(status: &Value) -> bool {
    flag(status, "/ready")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn back_off_doubles_up_to_five_minutes() {
        for (restarts, expected) in
            [(0, 0), (1, 10), (2, 20), (3, 40), (4, 80), (5, 160), (6, 300), (60, 300)]
        {
            assert_eq!(back_off(restarts, SignedDuration::ZERO).as_secs(), expected, "{restarts} restarts");
        }
        assert_eq!(back_off(5, SignedDuration::from_secs(601)), SignedDuration::ZERO);
    }

    #[test]
    fn flapping_readiness() {
        let at = |second| Timestamp::from_second(second).expect("in range");
        let run = Run {
            ready_after: Some(SignedDuration::from_secs(5)),
            flaps_every: Some(SignedDuration::from_secs(10)),
            exit: None,
        };
        for (second, expected, next) in
            [(100, false, 105), (105, true, 115), (114, true, 115), (115, false, 125), (125, true, 135)]
        {
            assert_eq!(readiness(Some(&run), at(100), at(second)), (expected, Some(at(next))), "at {second}");
        }
    }
}

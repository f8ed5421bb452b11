//! Steps, pauses, aborts and the rest of the status: who may move them, and what they must say.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use sluice_sim::Write;

use super::State;
use super::view;

/// What people asked for that is not seen to yet.
#[derive(Default)]
pub(super) struct Memory {
    /// Steps that stood at some moment, newest last.
    steps: Vec<Arc<Value>>,
}

pub(super) fn check(state: &mut State, write: &Write, is_own: bool) {
    if &*write.kind != "Rollout" {
        return;
    }
    let Some(after) = write.after.clone() else { return };
    let is_new_plan =
        state.position.steps.last().is_none_or(|last| last["spec"]["strategy"] != after["spec"]["strategy"]);
    if is_new_plan {
        state.position.steps.push(Arc::clone(&after));
    }
    if !is_own || write.subresource != Some("status") {
        return;
    }
    let Some(before) = write.before.clone() else { return };
    let (old, new) = (Status(&before["status"]), Status(&after["status"]));
    arithmetic(state, write, &after);
    abort(state, write, old, new);
    promote_full(state, write, old, new);
    index(state, write, old, new);
    resume(state, write, old, new);
    let after = Arc::clone(&after);
    steps_passed(state, write, old, new, &after);
}

#[derive(Clone, Copy)]
struct Status<'a>(&'a Value);

impl<'a> Status<'a> {
    fn is(self, field: &str) -> bool {
        self.0[field].as_bool().unwrap_or(false)
    }

    fn text(self, field: &str) -> &'a str {
        self.0[field].as_str().unwrap_or_default()
    }

    fn index(self) -> i64 {
        self.0["currentStepIndex"].as_i64().unwrap_or(0)
    }

    fn pause_since(self) -> Option<Timestamp> {
        self.0.pointer("/pauseConditions/0/startTime")?.as_str()?.parse().ok()
    }

    fn is_paused(self) -> bool {
        self.0["pauseConditions"].as_array().is_some_and(|list| !list.is_empty())
    }

    fn is_promoted(self) -> bool {
        self.text("stableRS") == self.text("currentPodHash")
    }

    /// Whether another template or another plan of steps starts over.
    fn starts_over(self, next: Status) -> bool {
        self.text("currentPodHash") != next.text("currentPodHash")
            || self.text("currentStepHash") != next.text("currentStepHash")
    }
}

/// I12: numbers are what they count.
fn arithmetic(state: &mut State, write: &Write, after: &Value) {
    let status = &after["status"];
    if let Some(path) = negative(status, &mut String::from("status")) {
        state.report("I12", write, format!("{path} is negative"));
    }
    let observed: i64 = view::text(status, "/observedGeneration").parse().unwrap_or(-1);
    let generation = view::number(after, "/metadata/generation");
    if observed > generation || observed < 0 {
        state.report("I12", write, format!("observedGeneration {observed} of generation {generation}"));
    }
    let index = status["currentStepIndex"].as_i64();
    let longest = state.position.steps.iter().map(|rollout| steps(rollout).len()).max().unwrap_or(0);
    let plan_is_seen = observed == generation;
    let most = if plan_is_seen { steps(after).len() } else { longest };
    if index.is_some_and(|index| index > most as i64) || (plan_is_seen && index.is_some() != (most > 0)) {
        state.report("I12", write, format!("currentStepIndex {index:?} of {most} steps"));
    }
    let known = ["Healthy", "Progressing", "Degraded", "Paused"];
    let phase = view::text(status, "/phase");
    if !known.contains(&phase) {
        state.report("I12", write, format!("phase \"{phase}\""));
    }
}

fn steps(rollout: &Value) -> &[Value] {
    rollout.pointer("/spec/strategy/canary/steps").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn negative(value: &Value, path: &mut String) -> Option<String> {
    match value {
        Value::Number(number) => (number.as_f64()? < 0.0).then(|| path.clone()),
        Value::Object(map) => map.iter().find_map(|(key, value)| {
            let length = path.len();
            path.push('.');
            path.push_str(key);
            let found = negative(value, path);
            path.truncate(length);
            found
        }),
        Value::Array(list) => list.iter().find_map(|value| negative(value, path)),
        _ => None,
    }
}

/// W24, W29: an abort stands until a person, another template or another plan ends it.
fn abort(state: &mut State, write: &Write, old: Status, new: Status) {
    if old.is("abort") && !new.is("abort") && !old.starts_over(new) && !old.is_promoted() {
        state.report("W24", write, "an abort is gone without retry, other template or other steps".into());
    }
    if old.is("abort") && !old.starts_over(new) && !old.is_promoted() && new.is_promoted() {
        state.report("W20", write, "an aborted version becomes stable".into());
    }
    if new.is("abort") && new.is("promoteFull") {
        state.report("W20", write, "promoteFull stands beside an abort".into());
    }
}

/// W29: a full promotion that a person asked for is done, or outranked.
fn promote_full(state: &mut State, write: &Write, old: Status, new: Status) {
    let is_outranked = new.is("abort") || new.is_promoted() || old.starts_over(new);
    if old.is("promoteFull") && !new.is("promoteFull") && !is_outranked {
        state.report("W29", write, "promoteFull is gone, and nothing was promoted".into());
    }
}

/// W29: the position goes back only to start over.
fn index(state: &mut State, write: &Write, old: Status, new: Status) {
    let is_retry = !old.is("abort") && old.0.get("abortedAt").is_some() && new.0.get("abortedAt").is_none();
    if new.index() < old.index() && !old.starts_over(new) && !new.is("abort") && !is_retry {
        state.report("W29", write, format!("step {} -> {} goes back", old.index(), new.index()));
    }
}

/// W29: who resumed a pause is not paused again by the same step.
fn resume(state: &mut State, write: &Write, old: Status, new: Status) {
    let was_resumed = old.is("controllerPause") && !old.is_paused();
    if was_resumed && new.is_paused() && new.index() == old.index() && !old.starts_over(new) {
        state.report("W29", write, format!("a resume at step {} is lost", old.index()));
    }
    if let (Some(a), Some(b)) = (old.pause_since(), new.pause_since())
        && a != b
        && old.index() == new.index()
        && !old.starts_over(new)
    {
        state.report("W41", write, format!("the pause since {a} begins again at {b}"));
    }
}

/// W41: no pause is passed before its time, or without the person that it waits for.
fn steps_passed(state: &mut State, write: &Write, old: Status, new: Status, after: &Value) {
    let is_seen = view::text(&after["status"], "/observedGeneration")
        == view::number(after, "/metadata/generation").to_string();
    if !is_seen
        || old.starts_over(new)
        || new.is("abort")
        || old.is("promoteFull")
        || new.is_promoted() && old.is_promoted()
    {
        return;
    }
    let is_retry = old.0.get("abortedAt").is_some() && new.0.get("abortedAt").is_none();
    let from = if is_retry { 0 } else { old.index() };
    for (number, step) in steps(after).iter().enumerate().take(usize::try_from(new.index()).unwrap_or(0)) {
        let Some(pause) = step.get("pause").filter(|_| number as i64 >= from) else { continue };
        let is_first = number as i64 == old.index() && !is_retry;
        let was_resumed = is_first && old.is("controllerPause") && !old.is_paused();
        let lasted = old.pause_since().filter(|_| is_first).map(|since| write.at.duration_since(since));
        let wanted = pause["duration"]
            .as_str()
            .and_then(|text| text.trim_end_matches('s').parse().ok())
            .or(pause["duration"].as_i64());
        let is_over = match (wanted, lasted) {
            (Some(wanted), Some(lasted)) => lasted >= SignedDuration::from_secs(wanted),
            _ => false,
        };
        if !was_resumed && !is_over {
            state.report(
                "W41",
                write,
                format!(
                    "pause step {number} is passed after {lasted:?} of {wanted:?} s, and nobody resumed it"
                ),
            );
        }
    }
}

//! Which patches a verb means.
//!
//! [`patches`] is a function of the rollout as it was read. It decides what to write and in which order,
//! with the very bodies that Argo Rollouts v1.10 sends (`pkg/kubectl-argo-rollouts/cmd`); sending them is
//! `commands`' business. `resume` is an addition of ours.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::fields::{has_object, is_true, list, number, text};

/// What a person wants of a rollout.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Go back to stable.
    Abort,
    /// Take an aborted update up again.
    Retry,
    /// Stay where it is.
    Pause,
    /// End every pause, and skip nothing.
    Resume,
    /// Replace every pod created before this time; what is below a second is dropped.
    Restart(Timestamp),
    /// Go on.
    Promote(Promotion),
    /// Use another pod template.
    UseTemplate {
        /// The template.
        template: Value,
        /// Where the object has its template, as a JSON pointer.
        pointer: &'static str,
    },
}

/// How far to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promotion {
    /// To the next step, or out of the pause.
    Next,
    /// To the end, without analysis, pauses and steps.
    Full,
    /// Past the current step.
    SkipCurrentStep,
    /// Past all steps.
    SkipAllSteps,
}

/// Which kind of patch a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchKind {
    /// `application/merge-patch+json`
    Merge,
    /// `application/json-patch+json`
    Json,
}

/// One write.
#[derive(Clone, Debug, PartialEq)]
pub struct PatchRequest {
    /// `status`, or none for the object itself.
    pub subresource: Option<&'static str>,
    /// How to read `body`.
    pub kind: PatchKind,
    /// The patch.
    pub body: Value,
    /// What to send to the object itself, in place of this write and all after it, where there is no
    /// status subresource: definitions older than Argo Rollouts v0.10 have none.
    pub without_subresource: Option<Value>,
}

/// A wish that makes no sense for the rollout. The wording is Argo Rollouts'.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Both ways of skipping at once.
    #[error("Cannot use skip-current-step and skip-all-steps flags at the same time")]
    TwoWaysToSkip,
    /// Blue-green has no steps.
    #[error("Cannot skip steps of a bluegreen rollout. Run without a flags")]
    SkipInBlueGreen,
    /// This rollout has no steps.
    #[error("Cannot skip steps of a rollout without steps")]
    SkipWithoutSteps,
}

impl Promotion {
    /// Reads the flags of `promote`; skipping goes before `--full`.
    pub fn from_flags(
        full: bool,
        skip_current_step: bool,
        skip_all_steps: bool,
    ) -> Result<Promotion, Refusal> {
        match (skip_current_step, skip_all_steps) {
            (true, true) => Err(Refusal::TwoWaysToSkip),
            (true, false) => Ok(Promotion::SkipCurrentStep),
            (false, true) => Ok(Promotion::SkipAllSteps),
            (false, false) if full => Ok(Promotion::Full),
            (false, false) => Ok(Promotion::Next),
        }
    }
}

/// Returns the writes that `action` takes, in order.
///
/// Only [`Action::Promote`] and [`Action::Resume`] look at the rollout; for the others it may be null.
/// No writes means that there is nothing to do.
pub fn patches(rollout: &Value, action: &Action) -> Result<Vec<PatchRequest>, Refusal> {
    Ok(match action {
        Action::Abort => vec![status_or_object(json!({"abort": true}))],
        Action::Retry => vec![status_or_object(json!({"abort": false}))],
        Action::Pause => vec![object(json!({"spec": {"paused": true}}))],
        Action::Resume => {
            let status = is_paused_by_controller(rollout).then(|| json!({"pauseConditions": null}));
            and_unpause(rollout, status)
        }
        Action::Restart(at) => {
            let whole = Timestamp::constant(at.as_second(), 0);
            vec![object(json!({"spec": {"restartAt": whole.to_string()}}))]
        }
        Action::Promote(promotion) => promote(rollout, *promotion)?,
        Action::UseTemplate { template, pointer } => vec![PatchRequest {
            subresource: None,
            kind: PatchKind::Json,
            body: json!([{"op": "replace", "path": pointer, "value": template}]),
            without_subresource: None,
        }],
    })
}

fn promote(rollout: &Value, promotion: Promotion) -> Result<Vec<PatchRequest>, Refusal> {
    let is_canary = has_object(rollout, "/spec/strategy/canary");
    let steps = if is_canary { list(rollout, "/spec/strategy/canary/steps").len() as i64 } else { 0 };
    let index = number(rollout, "/status/currentStepIndex").unwrap_or(0);
    let next = index.saturating_add(1).min(steps);
    let skip_to = |index: i64| {
        if has_object(rollout, "/spec/strategy/blueGreen") {
            return Err(Refusal::SkipInBlueGreen);
        }
        if steps == 0 {
            return Err(Refusal::SkipWithoutSteps);
        }
        Ok(vec![status_or_object(json!({"currentStepIndex": index}))])
    };
    let status = match promotion {
        Promotion::SkipCurrentStep => return skip_to(next),
        Promotion::SkipAllSteps => return skip_to(steps),
        Promotion::Full => {
            let is_promoted = text(rollout, "/status/currentPodHash") == text(rollout, "/status/stableRS");
            (!is_promoted).then(|| json!({"promoteFull": true}))
        }
        Promotion::Next if is_paused_by_controller(rollout) => {
            let phase = text(rollout, "/status/canary/currentStepAnalysisRunStatus/status");
            // The step would otherwise be judged by the same inconclusive run again.
            if steps > 0 && phase == "Inconclusive" && is_true(rollout, "/status/controllerPause") {
                Some(json!({"pauseConditions": null, "controllerPause": false, "currentStepIndex": next}))
            } else {
                Some(json!({"pauseConditions": null}))
            }
        }
        Promotion::Next => (steps > 0).then(|| json!({"pauseConditions": null, "currentStepIndex": next})),
    };
    Ok(and_unpause(rollout, status))
}

fn is_paused_by_controller(rollout: &Value) -> bool {
    !list(rollout, "/status/pauseConditions").is_empty()
}

/// Writes a part of the status, then ends a pause by hand if there is one. The status goes first, so that
/// the controller does not see an unpaused rollout at the old step.
fn and_unpause(rollout: &Value, status: Option<Value>) -> Vec<PatchRequest> {
    let mut requests = Vec::new();
    if let Some(part) = status {
        let mut request = status_or_object(part);
        if let Some(body) = request.without_subresource.as_mut() {
            body["spec"] = json!({"paused": false});
        }
        requests.push(request);
    }
    if is_true(rollout, "/spec/paused") {
        requests.push(object(json!({"spec": {"paused": false}})));
    }
    requests
}

fn status_or_object(part: Value) -> PatchRequest {
    let body = Value::Object(Map::from_iter([("status".to_owned(), part)]));
    PatchRequest {
        subresource: Some("status"),
        kind: PatchKind::Merge,
        without_subresource: Some(body.clone()),
        body,
    }
}

fn object(body: Value) -> PatchRequest {
    PatchRequest { subresource: None, kind: PatchKind::Merge, body, without_subresource: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A canary at step `index` of four.
    fn canary(index: i64) -> Value {
        let steps = json!([{"setWeight": 10}, {"pause": {}}, {"setWeight": 50}, {"pause": {}}]);
        json!({
            "spec": {"strategy": {"canary": {"steps": steps}}},
            "status": {"currentStepIndex": index, "currentPodHash": "new", "stableRS": "old"},
        })
    }

    fn stepless() -> Value {
        json!({"spec": {"strategy": {"canary": {}}}, "status": {"currentPodHash": "new", "stableRS": "old"}})
    }

    fn blue_green() -> Value {
        let strategy = json!({"blueGreen": {"activeService": "web"}});
        json!({"spec": {"strategy": strategy}, "status": {"currentPodHash": "new", "stableRS": "old"}})
    }

    fn with(mut rollout: Value, part: &str, fields: Value) -> Value {
        for (key, value) in fields.as_object().expect("an object") {
            rollout[part][key] = value.clone();
        }
        rollout
    }

    fn waiting(rollout: Value) -> Value {
        let pause = json!([{"reason": "CanaryPauseStep", "startTime": "2026-01-01T00:00:00Z"}]);
        with(rollout, "status", json!({"pauseConditions": pause, "controllerPause": true}))
    }

    fn by_hand(rollout: Value) -> Value {
        with(rollout, "spec", json!({"paused": true}))
    }

    fn inconclusive(rollout: Value) -> Value {
        let run = json!({"name": "web-new-2-2", "status": "Inconclusive"});
        with(rollout, "status", json!({"canary": {"currentStepAnalysisRunStatus": run}}))
    }

    /// The writes as lines: where, then the body.
    fn lines(requests: &[PatchRequest]) -> Vec<String> {
        let line =
            |request: &PatchRequest| format!("{} {}", request.subresource.unwrap_or("main"), request.body);
        requests.iter().map(line).collect()
    }

    #[track_caller]
    fn check(rollout: &Value, action: &Action, expected: &[&str]) {
        let found = patches(rollout, action).expect("an answer");
        let parsed = |line: &str| {
            let (place, body) = line.split_once(' ').expect("a place and a body");
            format!("{place} {}", serde_json::from_str::<Value>(body).expect("JSON"))
        };
        let expected: Vec<String> = expected.iter().map(|line| parsed(line)).collect();
        assert_eq!(lines(&found), expected, "{action:?} of {rollout}");
    }

    #[test]
    fn promotion() {
        use Promotion::{Full, Next, SkipAllSteps, SkipCurrentStep};
        const RESUME: &str = r#"status {"status":{"pauseConditions":null}}"#;
        const UNPAUSE: &str = r#"main {"spec":{"paused":false}}"#;
        const FULL: &str = r#"status {"status":{"promoteFull":true}}"#;
        let past = |index: i64| {
            format!(r#"status {{"status":{{"pauseConditions":null,"currentStepIndex":{index}}}}}"#)
        };
        let judged = |index: i64| {
            format!(
                r#"status {{"status":{{"pauseConditions":null,"controllerPause":false,"currentStepIndex":{index}}}}}"#
            )
        };
        let at = |index: i64| format!(r#"status {{"status":{{"currentStepIndex":{index}}}}}"#);
        let stable = |rollout: Value| with(rollout, "status", json!({"stableRS": "new"}));
        let mut unset = canary(0);
        unset["status"].as_object_mut().expect("an object").remove("currentStepIndex");

        // rollout, how far => writes
        let table: Vec<(Value, Promotion, Vec<String>)> = vec![
            (canary(1), SkipCurrentStep, vec![at(2)]),
            (canary(4), SkipCurrentStep, vec![at(4)]),
            (canary(9), SkipCurrentStep, vec![at(4)]),
            (canary(i64::MAX), SkipCurrentStep, vec![at(4)]),
            (canary(1), SkipAllSteps, vec![at(4)]),
            (by_hand(waiting(canary(1))), SkipAllSteps, vec![at(4)]),
            (canary(1), Full, vec![FULL.into()]),
            (by_hand(canary(1)), Full, vec![FULL.into(), UNPAUSE.into()]),
            (waiting(canary(1)), Full, vec![FULL.into()]),
            (stable(canary(4)), Full, vec![]),
            (stable(by_hand(canary(4))), Full, vec![UNPAUSE.into()]),
            (blue_green(), Full, vec![FULL.into()]),
            (inconclusive(waiting(canary(2))), Next, vec![judged(3)]),
            (by_hand(inconclusive(waiting(canary(2)))), Next, vec![judged(3), UNPAUSE.into()]),
            // Inconclusive, but paused by a step and not by the controller's judgement.
            (
                with(inconclusive(waiting(canary(2))), "status", json!({"controllerPause": false})),
                Next,
                vec![RESUME.into()],
            ),
            (inconclusive(waiting(stepless())), Next, vec![RESUME.into()]),
            (inconclusive(canary(2)), Next, vec![past(3)]),
            (waiting(canary(1)), Next, vec![RESUME.into()]),
            (by_hand(waiting(canary(1))), Next, vec![RESUME.into(), UNPAUSE.into()]),
            (waiting(blue_green()), Next, vec![RESUME.into()]),
            (canary(1), Next, vec![past(2)]),
            (unset, Next, vec![past(1)]),
            (canary(4), Next, vec![past(4)]),
            (by_hand(canary(1)), Next, vec![past(2), UNPAUSE.into()]),
            (with(canary(1), "status", json!({"pauseConditions": []})), Next, vec![past(2)]),
            (blue_green(), Next, vec![]),
            (by_hand(blue_green()), Next, vec![UNPAUSE.into()]),
            (stepless(), Next, vec![]),
            (by_hand(stepless()), Next, vec![UNPAUSE.into()]),
            (Value::Null, Next, vec![]),
        ];
        for (rollout, promotion, expected) in table {
            let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
            check(&rollout, &Action::Promote(promotion), &expected);
        }
    }

    #[test]
    fn skipping_needs_steps() {
        for (rollout, refusal) in [
            (blue_green(), Refusal::SkipInBlueGreen),
            (stepless(), Refusal::SkipWithoutSteps),
            (json!({"spec": {"strategy": {"rollingUpdate": {}}}}), Refusal::SkipWithoutSteps),
        ] {
            for promotion in [Promotion::SkipCurrentStep, Promotion::SkipAllSteps] {
                assert_eq!(patches(&rollout, &Action::Promote(promotion)), Err(refusal.clone()), "{rollout}");
            }
        }
    }

    #[test]
    fn flags_of_promote() {
        // full, -c, -a => promotion
        for (full, current, all, expected) in [
            (false, false, false, Ok(Promotion::Next)),
            (true, false, false, Ok(Promotion::Full)),
            (false, true, false, Ok(Promotion::SkipCurrentStep)),
            (true, true, false, Ok(Promotion::SkipCurrentStep)),
            (false, false, true, Ok(Promotion::SkipAllSteps)),
            (true, false, true, Ok(Promotion::SkipAllSteps)),
            (false, true, true, Err(Refusal::TwoWaysToSkip)),
            (true, true, true, Err(Refusal::TwoWaysToSkip)),
        ] {
            assert_eq!(Promotion::from_flags(full, current, all), expected, "{full} {current} {all}");
        }
    }

    #[test]
    fn other_verbs() {
        let at = "2026-01-02T03:04:05.9Z".parse().expect("a time");
        for (action, expected) in [
            (Action::Abort, r#"status {"status":{"abort":true}}"#),
            (Action::Retry, r#"status {"status":{"abort":false}}"#),
            (Action::Pause, r#"main {"spec":{"paused":true}}"#),
            (Action::Restart(at), r#"main {"spec":{"restartAt":"2026-01-02T03:04:05Z"}}"#),
            (
                Action::UseTemplate { template: json!({"spec": {}}), pointer: "/spec/template" },
                r#"main [{"op":"replace","path":"/spec/template","value":{"spec":{}}}]"#,
            ),
        ] {
            check(&Value::Null, &action, &[expected]);
        }
    }

    #[test]
    fn resuming_ends_pauses_and_skips_nothing() {
        const RESUME: &str = r#"status {"status":{"pauseConditions":null}}"#;
        const UNPAUSE: &str = r#"main {"spec":{"paused":false}}"#;
        for (rollout, expected) in [
            (canary(1), vec![]),
            (waiting(canary(1)), vec![RESUME]),
            (by_hand(canary(1)), vec![UNPAUSE]),
            (by_hand(waiting(canary(1))), vec![RESUME, UNPAUSE]),
            (waiting(blue_green()), vec![RESUME]),
        ] {
            check(&rollout, &Action::Resume, &expected);
        }
    }

    #[test]
    fn one_write_where_there_is_no_status_subresource() {
        // action, rollout => the write that stands for all
        for (action, rollout, expected) in [
            (Action::Abort, Value::Null, json!({"status": {"abort": true}})),
            (Action::Retry, Value::Null, json!({"status": {"abort": false}})),
            (
                Action::Promote(Promotion::Next),
                waiting(canary(1)),
                json!({"spec": {"paused": false}, "status": {"pauseConditions": null}}),
            ),
            (
                Action::Promote(Promotion::Next),
                canary(1),
                json!({"spec": {"paused": false}, "status": {"pauseConditions": null, "currentStepIndex": 2}}),
            ),
            (
                Action::Promote(Promotion::Full),
                by_hand(canary(1)),
                json!({"spec": {"paused": false}, "status": {"promoteFull": true}}),
            ),
            (Action::Promote(Promotion::SkipAllSteps), canary(1), json!({"status": {"currentStepIndex": 4}})),
        ] {
            let requests = patches(&rollout, &action).expect("an answer");
            assert_eq!(requests[0].without_subresource, Some(expected), "{action:?}");
        }
    }
}

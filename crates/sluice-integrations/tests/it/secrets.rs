//! No secret leaves a provider, whatever a server does with it.

use jiff::Timestamp;
use sluice_integrations::{
    HeaderValue, HttpRequest, HttpResponse, InProgress, Memory, Next, Outcome, provider,
};

use crate::golden;

/// What every secret of the written conversations contains.
const CANARY: &str = "canary-";

/// Everything that is shown of a round.
fn shown(next: &Result<Next, sluice_integrations::ProviderError>) -> String {
    let debug = match next {
        // The result itself is data, for the conditions alone.
        Ok(Next::Done(measured)) => {
            let judged = match &measured.outcome {
                Outcome::Judged { message, .. } => message.clone(),
                Outcome::Result(_) => String::new(),
            };
            format!("{judged} {:?} {:?} {:?}", measured.value, measured.metadata, measured.token)
        }
        other => format!("{other:?}"),
    };
    let message = next.as_ref().err().map(ToString::to_string).unwrap_or_default();
    format!("{debug}\n{message}")
}

/// Answers by a server that sends back what it was sent.
fn echoes(request: &HttpRequest) -> Vec<HttpResponse> {
    let mut heard = format!("{} {}", request.url, request.body.as_deref().unwrap_or_default());
    for value in request.headers.values() {
        let value = match value {
            HeaderValue::Plain(value) => value,
            HeaderValue::Secret(value) => value.expose(),
        };
        heard.push_str(&format!(" {value}"));
    }
    let escaped = serde_json::Value::from(heard.as_str()).to_string();
    let bodies = [
        heard.clone(),
        escaped.clone(),
        format!(
            r#"{{"error": {escaped}, "errorType": {escaped}, "errors": [{{"message": {escaped}}}], "message": {escaped}, "status": "error"}}"#
        ),
        format!(
            r#"{{"data": {{"errors": {escaped}, "x": {escaped}, "resultType": {escaped}}}, "status": "success", "warnings": [{escaped}]}}"#
        ),
        format!(
            r#"{{"status": "success", "warnings": [{escaped}], "data": {{"resultType": "vector", "result": []}}}}"#
        ),
    ];
    let statuses = [200, 301, 400, 401, 403, 404, 422, 429, 500, 503];
    let answer = |status: u16, body: &String| HttpResponse {
        status,
        headers: [("location".to_owned(), format!("http://x/?{}", heard.replace(' ', "+")))].into(),
        body: body.clone().into_bytes(),
        cut_at_bytes: None,
    };
    statuses.iter().flat_map(|status| bodies.iter().map(|body| answer(*status, body))).collect()
}

#[test]
fn nothing_shows_a_secret() {
    let mut rounds = 0;
    for (name, cases) in golden::cases() {
        let mut has_secret = false;
        for case in cases {
            let check = |what: &str| assert!(!what.contains(CANARY), "{name}: {}: {what}", case.name);
            let asked = match provider(&case.metric(), &case.context()) {
                Ok(asked) => asked,
                Err(error) => {
                    check(&format!("{error:?} {error}"));
                    continue;
                }
            };
            check(&format!("{asked:?} {:?} {:?}", asked.metadata(), case.context()));
            let mut measurement = InProgress { started_at: case.now(), memory: Memory::default() };
            let mut answer = None;
            let mut answers = case.answers.iter();
            let mut now: Timestamp = case.now();
            loop {
                let next = asked.next(&measurement, answer.as_ref(), now);
                check(&shown(&next));
                rounds += 1;
                match next {
                    Ok(Next::Send(request, memory)) => {
                        has_secret |= echoes(&request)[0]
                            .body
                            .windows(CANARY.len())
                            .any(|part| part == CANARY.as_bytes());
                        measurement.memory = memory;
                        for echo in echoes(&request) {
                            check(&format!("{echo:?}"));
                            check(&shown(&asked.next(&measurement, Some(&echo), now)));
                        }
                        let Some(written) = answers.next() else { break };
                        answer = Some(written.response());
                    }
                    Ok(Next::WaitUntil(instant, memory)) => {
                        measurement.memory = memory;
                        (now, answer) = (instant, None);
                    }
                    Ok(Next::Done(_)) | Err(_) => break,
                }
            }
        }
        assert!(has_secret, "{name}: no conversation sends a secret");
    }
    assert!(rounds > 20);
}

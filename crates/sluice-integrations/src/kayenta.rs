//! Kayenta: a judgement that takes its time.
//!
//! Three steps: find the configuration, start the judgement, ask for its end. The judgement's id is metadata of
//! the measurement, so a restart goes on with the third. Differences to the original: parts of addresses are
//! escaped, a judgement that was not given an id is an error, and `lookback` without a start of the run works.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value as Json, json};
use sluice_api::analysis::AnalysisPhase;
use sluice_api::providers::{KayentaMetric, KayentaScopeDetail};
use sluice_lang::go_duration;

use crate::http::{HttpRequest, HttpResponse};
use crate::url::{self, Address};
use crate::{Context, InProgress, Measured, Memory, MetricProvider, Next, Outcome, ProviderError};

const PROVIDER: &str = "kayenta";
const TIMEOUT: SignedDuration = SignedDuration::from_secs(15);
/// Time between two looks at a judgement.
const PATIENCE: SignedDuration = SignedDuration::from_secs(15);
/// The metadata that names the judgement.
const EXECUTION: &str = "canaryExecutionId";

/// Asks Kayenta.
#[derive(Debug)]
pub struct Kayenta {
    address: Address,
    block: KayentaMetric,
    interval: String,
    run_started_at: Option<Timestamp>,
}

impl Kayenta {
    pub fn new(block: &KayentaMetric, interval: &str, context: &Context) -> Result<Self, ProviderError> {
        let mistake = |field: &str, problem: &str| {
            Err(ProviderError::configuration(format!("provider.kayenta.{field}"), problem))
        };
        let Some(address) = Address::parse(&block.address) else {
            return mistake("address", "kayenta: address has no scheme and host");
        };
        for scope in &block.scopes {
            let (control, experiment) = (&scope.control_scope, &scope.experiment_scope);
            for (name, a, b) in
                [("start", &control.start, &experiment.start), ("end", &control.end, &experiment.end)]
            {
                if a.is_empty() != b.is_empty() {
                    let problem = format!(
                        "controlScope.{name} and experimentScope.{name} must both be set or be empty"
                    );
                    return mistake("scopes", &problem);
                }
            }
        }
        Ok(Self {
            address,
            block: block.clone(),
            interval: interval.to_owned(),
            run_started_at: context.run_started_at,
        })
    }

    fn find_configuration(&self) -> HttpRequest {
        // Where the configuration is kept is asked for by the name of the storage account, as in the original.
        let form = url::form(&[
            ("application", &self.block.application),
            ("configurationAccountName", &self.block.storage_account_name),
        ]);
        HttpRequest::new("GET", &self.address.join("/canaryConfig").with_query(form), TIMEOUT)
    }

    fn start(&self, configuration: &str, now: Timestamp) -> Result<HttpRequest, ProviderError> {
        let block = &self.block;
        let start = if block.lookback {
            self.run_started_at.unwrap_or(now)
        } else {
            let interval = go_duration::parse(&self.interval).map_err(|error| {
                let problem = format!("Invalid duration {:?}: {error}", self.interval);
                ProviderError::configuration("interval", problem)
            })?;
            now.saturating_sub(interval).unwrap_or(Timestamp::MIN)
        };
        let side = |detail: &KayentaScopeDetail| {
            let or = |text: &str, default: Timestamp| match text {
                "" => default.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
                text => text.to_owned(),
            };
            json!({
                "scope": detail.scope,
                "location": detail.region,
                "step": detail.step,
                "start": or(&detail.start, start),
                "end": or(&detail.end, now),
            })
        };
        let scopes: Map<String, Json> = block
            .scopes
            .iter()
            .map(|scope| {
                let sides = json!({
                    "controlScope": side(&scope.control_scope),
                    "experimentScope": side(&scope.experiment_scope),
                });
                (scope.name.clone(), sides)
            })
            .collect();
        let thresholds = json!({"pass": block.threshold.pass, "marginal": block.threshold.marginal});
        let form = url::form(&[
            ("application", &block.application),
            ("metricsAccountName", &block.metrics_account_name),
            ("configurationAccountName", &block.configuration_account_name),
            ("storageAccountName", &block.storage_account_name),
        ]);
        let address = self.address.join(&format!("/canary/{}", url::escape(configuration))).with_query(form);
        Ok(HttpRequest::new("POST", &address, TIMEOUT)
            .with_body("application/json", json!({"scopes": scopes, "thresholds": thresholds}).to_string()))
    }

    fn look(&self, execution: &str) -> HttpRequest {
        let address = self.address.join(&format!("/canary/{}", url::escape(execution)));
        HttpRequest::new("GET", &address, TIMEOUT)
    }

    fn judge(&self, body: &Json) -> Result<Option<Measured>, ProviderError> {
        match body["complete"].as_bool() {
            Some(true) => {}
            Some(false) => return Ok(None),
            None => return Err(ProviderError::shape(PROVIDER, "Missing Complete Status")),
        }
        let Some(score) = body["result"]["judgeResult"]["score"]["score"].as_f64() else {
            return Err(ProviderError::shape(PROVIDER, "Missing Score"));
        };
        let score = score as i64;
        let phase = if score >= self.block.threshold.pass {
            AnalysisPhase::Successful
        } else if score >= self.block.threshold.marginal {
            AnalysisPhase::Inconclusive
        } else {
            AnalysisPhase::Failed
        };
        Ok(Some(Measured {
            outcome: Outcome::Judged { phase, message: String::new() },
            value: Some(score.to_string()),
            keeps_value: true,
            metadata: [].into(),
            token: None,
        }))
    }
}

impl MetricProvider for Kayenta {
    fn next(
        &self,
        measurement: &InProgress,
        answer: Option<&HttpResponse>,
        now: Timestamp,
    ) -> Result<Next, ProviderError> {
        let memory = &measurement.memory;
        let at = |stage: &str| Memory { stage: json!(stage), ..memory.clone() };
        // Metadata is for people and has no secrets in it, so what the server said is kept beside it.
        let told = memory.stage["execution"].as_str();
        let execution = told.or(memory.metadata.get(EXECUTION).map(String::as_str));
        let within = |execution: &str, metadata: BTreeMap<String, String>| Memory {
            stage: json!({"execution": execution}),
            metadata,
            token: None,
        };
        match (execution, answer, memory.stage.as_str()) {
            (Some(execution), None, _) => {
                Ok(Next::Send(self.look(execution), within(execution, memory.metadata.clone())))
            }
            (Some(execution), Some(answer), _) => {
                let measured = self.judge(&body(answer, "Invalid Response")?)?;
                Ok(match measured {
                    Some(measured) => Next::Done(Measured { metadata: memory.metadata.clone(), ..measured }),
                    None => Next::WaitUntil(later(now), within(execution, memory.metadata.clone())),
                })
            }
            (None, Some(answer), Some("start")) => {
                let body = body(answer, "Invalid Response")?;
                let Some(execution) = body["canaryExecutionId"].as_str().filter(|id| !id.is_empty()) else {
                    let problem = "Invalid Response: there is no canaryExecutionId in it";
                    return Err(ProviderError::shape(PROVIDER, problem));
                };
                let metadata = [(EXECUTION.to_owned(), execution.to_owned())].into();
                Ok(Next::WaitUntil(later(now), within(execution, metadata)))
            }
            (None, Some(answer), Some("find")) => {
                let body = body(answer, &format!("Invalid Response: HTTP {}", answer.status))?;
                let name = self.block.canary_config_name.as_str();
                let mut configurations = body.as_array().into_iter().flatten();
                let found = configurations.find(|one| one["name"] == name).and_then(|one| one["id"].as_str());
                let Some(id) = found else {
                    return Err(ProviderError::shape(PROVIDER, "Canary config not found"));
                };
                Ok(Next::Send(self.start(id, now)?, at("start")))
            }
            (None, _, _) => Ok(Next::Send(self.find_configuration(), at("find"))),
        }
    }
}

fn later(now: Timestamp) -> Timestamp {
    now.saturating_add(PATIENCE).unwrap_or(Timestamp::MAX)
}

fn body(answer: &HttpResponse, refused: &str) -> Result<Json, ProviderError> {
    if answer.status == 200 {
        return answer.json(PROVIDER);
    }
    let message = format!("{refused}{}", answer.redirect_hint());
    Err(ProviderError::status(PROVIDER, answer.status, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_restart_only_metadata_is_left() {
        let block: KayentaMetric = serde_json::from_value(json!({"address": "http://k"})).unwrap();
        let asked = Kayenta::new(&block, "", &Context::default()).unwrap();
        let memory =
            Memory { metadata: [(EXECUTION.to_owned(), "a/b".to_owned())].into(), ..Memory::default() };
        let measurement = InProgress { started_at: Timestamp::UNIX_EPOCH, memory };
        let Ok(Next::Send(request, memory)) = asked.next(&measurement, None, Timestamp::UNIX_EPOCH) else {
            panic!("a look at the judgement")
        };
        assert_eq!((request.method.as_str(), request.url.as_str()), ("GET", "http://k/canary/a%2Fb"));
        assert_eq!(memory.metadata[EXECUTION], "a/b");
    }
}

//! What was measured, and what was wanted, for the end of a message.
//!
//! It decides nothing. The original says only how many measurements were bad, so that somebody whose rollout
//! was aborted has to find the run to learn why.

use sluice_api::analysis::{AnalysisPhase, MetricResult};
use sluice_lang::template::SECRET_STAND_IN;

use super::bounds;
use super::terms::Term;

const MAX_VALUE_BYTES: usize = 100;
const MAX_CONDITION_BYTES: usize = 300;

/// Returns the newest measurement that ended as its metric did, and what it was held against:
/// `; measured 0.9, successCondition "result >= 0.95"`. An error tells its own story.
pub fn evidence(result: &MetricResult, term: &Term) -> String {
    let of_phase = result.measurements.iter().rev().find(|measurement| measurement.phase == result.phase);
    let is_judged = matches!(result.phase, AnalysisPhase::Failed | AnalysisPhase::Inconclusive);
    let Some(measurement) = of_phase.filter(|measurement| is_judged && !measurement.value.is_empty()) else {
        return String::new();
    };
    let shown = |text: &str, most| {
        let mut text = text.to_owned();
        bounds::cut(&mut text, most);
        text
    };
    let mut parts = vec![format!("measured {}", shown(&measurement.value, MAX_VALUE_BYTES))];
    let metric = &term.metric;
    let (success, failure) = (&metric.success_condition, &metric.failure_condition);
    let conditions = [("successCondition", success), ("failureCondition", failure)];
    if let Some(kayenta) = &metric.provider.kayenta {
        let threshold = &kayenta.threshold;
        parts.push(format!("threshold pass {}, marginal {}", threshold.pass, threshold.marginal));
    } else {
        // A failure condition that is set is the one that held.
        let has_failed_by = |field| {
            field == "failureCondition" || failure.is_empty() || result.phase != AnalysisPhase::Failed
        };
        for (field, text) in
            conditions.iter().filter(|(field, text)| !text.is_empty() && has_failed_by(*field))
        {
            let text = text.replace(SECRET_STAND_IN, "*****");
            parts.push(format!("{field} \"{}\"", shown(&text, MAX_CONDITION_BYTES)));
        }
    }
    format!("; {}", parts.join(", "))
}

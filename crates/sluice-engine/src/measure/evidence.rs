//! What was measured, and what was wanted, for the end of a message.
//!
//! It decides nothing. The original says only how many measurements were bad, so that somebody whose rollout
//! was aborted has to find the run to learn why.

use std::collections::BTreeMap;

use sluice_api::analysis::{AnalysisPhase, Metric, MetricResult};
use sluice_lang::template::SECRET_STAND_IN;

use super::task::Aside;
use super::terms::Term;
use super::{bounds, record, unjudged};

const MAX_VALUE_BYTES: usize = 100;
const MAX_CONDITION_BYTES: usize = 300;
/// Longest query that stands beside each measurement.
const MAX_QUERY_BYTES: usize = 500;

/// Returns the newest measurement that ended as its metric did, and what it was held against:
/// `; measured 0.9, successCondition "result >= 0.95", measurement 3`. An error tells its own story.
pub fn evidence(result: &MetricResult, term: &Term) -> String {
    let newest_first = result.measurements.iter().rev().enumerate();
    let of_phase = newest_first
        .filter(|(_, measurement)| !unjudged::is_marked(measurement))
        .find(|(_, measurement)| measurement.phase == result.phase);
    let is_judged = matches!(result.phase, AnalysisPhase::Failed | AnalysisPhase::Inconclusive);
    let Some((age, measurement)) = of_phase.filter(|(_, found)| is_judged && !found.value.is_empty()) else {
        return String::new();
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
    let number = record::next_number(Some(result)) - 1 - i64::try_from(age).unwrap_or(0);
    if number > 0 {
        parts.push(format!("measurement {number}"));
    }
    format!("; {}", parts.join(", "))
}

/// What a measurement was asked and what it was held against, for its metadata: whoever reads a run need not join
/// it with its template and arguments.
pub fn asked(metric: &Metric, asides: &[(Aside, Metric)]) -> BTreeMap<String, String> {
    let query = |metric: &Metric| Some(metric.provider.providers().first()?.query()?.into_owned());
    let aside = |which: Aside| asides.iter().find(|(aside, _)| *aside == which);
    let conditions =
        [("successCondition", &metric.success_condition), ("failureCondition", &metric.failure_condition)];
    let conditions: Vec<String> = (conditions.into_iter().filter(|(_, text)| !text.is_empty()))
        .map(|(field, text)| format!("{field} \"{}\"", shown(text, MAX_CONDITION_BYTES)))
        .collect();
    let said = [
        ("query", query(metric).filter(|query| !query.is_empty())),
        ("samplesQuery", aside(Aside::Samples).and_then(|(_, metric)| query(metric))),
        ("baselineQuery", aside(Aside::Baseline).and_then(|(_, metric)| query(metric))),
        ("condition", Some(conditions.join(", ")).filter(|text| !text.is_empty())),
    ];
    let bounded = |(key, text): (&str, Option<String>)| {
        let most = if key == "condition" { 2 * MAX_CONDITION_BYTES + 50 } else { MAX_QUERY_BYTES };
        Some((key.to_owned(), shown(&text?, most)))
    };
    said.into_iter().filter_map(bounded).collect()
}

fn shown(text: &str, most_bytes: usize) -> String {
    let mut text = text.to_owned();
    bounds::cut(&mut text, most_bytes);
    text
}

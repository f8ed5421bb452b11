//! Whether the fields that make a metric a gate fit together.
//!
//! It decides rules for fields of ours alone; a metric without them has no mistake here. What contains a
//! placeholder is not judged. Each message names field, value and remedy.

use std::collections::{BTreeMap, BTreeSet};

use sluice_lang::go_duration;

use super::analysis::{has_placeholder, number};
use crate::analysis::Metric;
use crate::gates::{Baseline, BaselineMethod, Decimal, Origin, Samples, Thresholds};
use crate::meta::IntOrString;
use crate::providers::Provider;

/// Highest index of a step and highest weight that a threshold may name.
const MAX_PLACE: i64 = 1_000_000;

/// Returns the mistakes of one metric.
pub fn gate_mistakes(metric: &Metric) -> Vec<String> {
    let mut mistakes = Vec::new();
    origin(metric, &mut mistakes);
    if !metric.warm_up.is_empty() && !has_placeholder(&metric.warm_up) {
        match go_duration::parse(&metric.warm_up) {
            Ok(time) if time.is_negative() => {
                mistakes.push(format!("warmUp is {:?}: must not be negative, such as 2m", metric.warm_up));
            }
            Ok(_) => {}
            Err(error) => mistakes.push(format!("invalid warmUp string: {error}; write a time such as 2m")),
        }
    }
    if metric.knows_no_data() {
        result(metric, &mut mistakes);
    }
    samples(metric, &mut mistakes);
    if let Some(thresholds) = &metric.thresholds {
        limits(thresholds, &mut mistakes);
    }
    if let Some(baseline) = &metric.baseline {
        compare(metric, baseline, &mut mistakes);
    }
    mistakes
}

/// Returns the mistake of a run or template in which nothing is judged.
pub fn nothing_judged(metrics: &[Metric]) -> Option<String> {
    let is_dependency = |metric: &Metric| metric.origin == Origin::Dependency;
    (!metrics.is_empty() && metrics.iter().all(is_dependency)).then(|| {
        let names: Vec<&str> = metrics.iter().map(|metric| metric.name.as_str()).collect();
        let names = names.join(", ");
        format!(
            "origin is dependency in every metric ({names}): nothing judges the change; add a metric of the version itself"
        )
    })
}

fn origin(metric: &Metric, mistakes: &mut Vec<String>) {
    if metric.origin != Origin::Dependency {
        return;
    }
    let written: [(&str, Option<&IntOrString>); 5] = [
        ("count", metric.count.as_ref()),
        ("failureLimit", metric.failure_limit.as_ref()),
        ("inconclusiveLimit", metric.inconclusive_limit.as_ref()),
        ("consecutiveErrorLimit", metric.consecutive_error_limit.as_ref()),
        ("consecutiveSuccessLimit", metric.consecutive_success_limit.as_ref()),
    ];
    for (field, value) in written {
        if let Some(value) = value {
            mistakes.push(format!(
                "{field} is {value}: a metric with origin dependency is measured as long as the others and ends no run; leave {field} out"
            ));
        }
    }
    if metric.success_condition.is_empty()
        && metric.failure_condition.is_empty()
        && metric.thresholds.is_none()
        && metric.provider.providers().first().is_some_and(Provider::gives_a_result)
    {
        mistakes.push(
            "origin is dependency and nothing says when the dependency is bad: set successCondition, failureCondition or thresholds"
                .to_owned(),
        );
    }
}

/// Fields that look at the result need a provider that has one.
fn result(metric: &Metric, mistakes: &mut Vec<String>) {
    let providers = metric.provider.providers();
    let Some(provider) = providers.first().filter(|provider| !provider.gives_a_result()) else { return };
    let fields = [
        ("minSamples", metric.min_samples.is_some()),
        ("samples", metric.samples.is_some()),
        ("onInsufficientTraffic", metric.on_insufficient_traffic.is_some()),
        ("thresholds", metric.thresholds.is_some()),
        ("baseline", metric.baseline.is_some()),
    ];
    for (field, _) in fields.into_iter().filter(|(_, is_set)| *is_set) {
        let name = provider.name();
        mistakes.push(format!(
            "{field} does not go with provider {name}, which judges by itself: leave {field} out, or use a provider that gives a number"
        ));
    }
}

fn samples(metric: &Metric, mistakes: &mut Vec<String>) {
    let least = number(metric.min_samples.as_ref(), 1);
    if let Some(text) = not_a_number(metric.min_samples.as_ref()) {
        mistakes.push(format!("minSamples is {text:?}: must be a whole number, such as 100"));
    } else if least.is_some_and(|least| least < 1) {
        let value = metric.min_samples.as_ref().map(ToString::to_string).unwrap_or_default();
        mistakes.push(format!("minSamples is {value}: must be 1 or more"));
    }
    match (&metric.samples, &metric.min_samples) {
        (None, Some(_)) => mistakes.push(
            "minSamples needs samples: set samples.query to a query that counts, or samples.key to a member of the result"
                .to_owned(),
        ),
        (Some(Samples { query, key }), _) => match (query.is_empty(), key.is_empty()) {
            (true, true) => mistakes.push("samples is empty: set samples.query or samples.key".to_owned()),
            (false, false) => mistakes.push("samples has both query and key: keep one".to_owned()),
            (false, true) => replaceable(metric, "samples.query", "samples.key", mistakes),
            (true, false) => {}
        },
        (None, None) => {}
    }
}

/// A second query needs a provider that has a first one.
fn replaceable(metric: &Metric, field: &str, instead: &str, mistakes: &mut Vec<String>) {
    let providers = metric.provider.providers();
    if let Some(provider) = providers.first()
        && provider.gives_a_result()
        && provider.with_query("").is_none()
    {
        let name = provider.name();
        mistakes.push(format!("{field} does not go with provider {name}, which has no query: use {instead}"));
    }
}

fn not_a_number(value: Option<&IntOrString>) -> Option<&str> {
    match value {
        Some(IntOrString::Text(text)) if !has_placeholder(text) && text.parse::<i32>().is_err() => Some(text),
        _ => None,
    }
}

fn limits(thresholds: &Thresholds, mistakes: &mut Vec<String>) {
    let Thresholds { min, max, by_step, by_weight, .. } = thresholds;
    match (min, max) {
        (None, None) => mistakes.push(
            "thresholds has neither min nor max: set the one beyond which a measurement is bad; it also holds where byStep and byWeight say nothing"
                .to_owned(),
        ),
        (Some(_), Some(_)) => mistakes.push("thresholds has both min and max: keep one".to_owned()),
        (Some(_), None) | (None, Some(_)) => {}
    }
    if !by_step.is_empty() && !by_weight.is_empty() {
        mistakes.push("thresholds has both byStep and byWeight: keep one".to_owned());
    }
    decimal("thresholds.min", min.as_ref(), mistakes);
    decimal("thresholds.max", max.as_ref(), mistakes);
    places("byStep", "the index of a step, from 0", by_step, mistakes);
    places("byWeight", "a weight as in setWeight", by_weight, mistakes);
}

fn places(field: &str, what: &str, limits: &BTreeMap<String, Decimal>, mistakes: &mut Vec<String>) {
    let mut seen = BTreeSet::new();
    for (place, limit) in limits {
        decimal(&format!("thresholds.{field}[{place}]"), Some(limit), mistakes);
        if has_placeholder(place) {
            continue;
        }
        match place.parse::<i64>() {
            Ok(number) if !(0..=MAX_PLACE).contains(&number) => {
                mistakes.push(format!("thresholds.{field} names {place:?}: must be {what}"));
            }
            Ok(number) if !seen.insert(number) => {
                mistakes.push(format!("thresholds.{field} names {number} twice: keep one"));
            }
            Ok(_) => {}
            Err(_) => mistakes.push(format!("thresholds.{field} names {place:?}: must be {what}")),
        }
    }
}

/// Returns the number of a field; `None` for a mistake, which is noted, and for a placeholder.
fn decimal(field: &str, value: Option<&Decimal>, mistakes: &mut Vec<String>) -> Option<f64> {
    let value = value?;
    if matches!(value, Decimal::Text(text) if has_placeholder(text)) {
        return None;
    }
    let number = value.value();
    if number.is_none() {
        mistakes.push(format!("{field} is \"{value}\": must be a number, such as 0.01"));
    }
    number
}

fn compare(metric: &Metric, baseline: &Baseline, mistakes: &mut Vec<String>) {
    if baseline.method == BaselineMethod::Sequential {
        mistakes.push(
            "baseline.method is sequential, which is not carried out by this build: use ratio, or leave it out"
                .to_owned(),
        );
        return;
    }
    if metric.thresholds.is_none() {
        mistakes.push(
            "baseline needs thresholds: set thresholds.max where more is worse, or thresholds.min where less is; it is what is good however stable does"
                .to_owned(),
        );
    }
    match (baseline.query.is_empty(), baseline.args.is_empty()) {
        (true, true) => mistakes.push(
            "baseline is empty: set baseline.query to the query for the stable version, or baseline.args to the arguments that differ"
                .to_owned(),
        ),
        (false, false) => mistakes.push("baseline has both query and args: keep one".to_owned()),
        (false, true) => replaceable(metric, "baseline.query", "baseline.args", mistakes),
        (true, false) => {}
    }
    let mut names = BTreeSet::new();
    for argument in &baseline.args {
        if argument.name.is_empty() {
            mistakes
                .push("baseline.args has an entry without a name: name the argument that differs".to_owned());
        } else if !names.insert(argument.name.as_str()) {
            mistakes.push(format!("baseline.args names {:?} twice: keep one", argument.name));
        }
    }
    if let Some(ratio) = decimal("baseline.ratio", baseline.ratio.as_ref(), mistakes)
        && ratio < 1.0
    {
        mistakes.push(format!(
            "baseline.ratio is {ratio}: must be 1 or more; 1.2 tolerates what is 1.2 times as bad as stable, in either direction"
        ));
    }
    if let Some(slack) = decimal("baseline.slack", baseline.slack.as_ref(), mistakes)
        && slack < 0.0
    {
        mistakes.push(format!("baseline.slack is {slack}: must be 0 or more"));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::analysis::{AnalysisRunSpec, Metric};
    use crate::validation::validate_analysis_run;

    fn first(metric: Value) -> Option<String> {
        let mut metric = metric;
        metric["name"] = json!("m");
        if metric["provider"].is_null() {
            metric["provider"] = json!({"prometheus": {"query": "up"}});
        }
        let metric: Metric = serde_json::from_value(metric).expect("a metric");
        let own = serde_json::from_value(json!({"name": "own", "provider": {"prometheus": {"query": "up"}}}));
        let metrics = vec![metric, own.expect("a metric")];
        let spec = AnalysisRunSpec { metrics, ..AnalysisRunSpec::default() };
        validate_analysis_run(&spec).first().map(ToString::to_string)
    }

    #[test]
    fn what_fits_together_has_no_mistake() {
        for metric in [
            json!({"origin": "dependency", "interval": "30s", "successCondition": "result < 1"}),
            json!({"origin": "dependency", "provider": {"job": {"spec": {}}}}),
            json!({"warmUp": "2m"}),
            json!({"warmUp": "{{args.w}}", "minSamples": "{{args.n}}", "samples": {"query": "q"}}),
            json!({"minSamples": 100, "samples": {"key": "n"}, "provider": {"web": {"url": "http://x"}}}),
            json!({"samples": {"query": "q"}, "provider": {"datadog": {"query": "q"}}}),
            json!({"onInsufficientTraffic": "pass", "successCondition": "result[0] < 1"}),
            json!({"thresholds": {"max": 0.01, "byStep": {"0": 0.03, "3": "0.02"}}}),
            json!({"thresholds": {"min": "{{args.t}}", "byWeight": {"{{args.w}}": "{{args.t}}"}}}),
            json!({"thresholds": {"max": 1}, "baseline": {"query": "q", "ratio": 1, "slack": "0.001"}}),
            json!({"thresholds": {"max": 1}, "baseline": {"args": [{"name": "v", "value": "x"}]},
                   "provider": {"web": {"url": "http://x"}}}),
        ] {
            assert_eq!(first(metric.clone()), None, "{metric}");
        }
    }

    #[test]
    fn mistakes_name_field_value_and_remedy() {
        let web = json!({"web": {"url": "http://x"}});
        let job = json!({"job": {"spec": {}}});
        for (metric, expected) in [
            (
                json!({"origin": "dependency", "count": 3, "interval": "1m", "successCondition": "true"}),
                "count is 3: a metric with origin dependency is measured as long as the others and ends no run; leave count out",
            ),
            (json!({"origin": "dependency"}), "origin is dependency and nothing says when"),
            (json!({"warmUp": "5"}), "invalid warmUp string"),
            (json!({"warmUp": "-5m"}), "warmUp is \"-5m\": must not be negative"),
            (json!({"minSamples": 5}), "minSamples needs samples: set samples.query"),
            (json!({"minSamples": 0, "samples": {"key": "n"}}), "minSamples is 0: must be 1 or more"),
            (
                json!({"minSamples": "many", "samples": {"key": "n"}}),
                "minSamples is \"many\": must be a whole number",
            ),
            (json!({"samples": {}}), "samples is empty: set samples.query or samples.key"),
            (json!({"samples": {"query": "a", "key": "b"}}), "samples has both query and key: keep one"),
            (
                json!({"samples": {"query": "a"}, "provider": web}),
                "samples.query does not go with provider web, which has no query: use samples.key",
            ),
            (
                json!({"samples": {"query": "a"}, "provider": job}),
                "samples does not go with provider job, which judges by itself",
            ),
            (
                json!({"onInsufficientTraffic": "pass", "provider": {"kayenta": {}}}),
                "onInsufficientTraffic does not go with provider kayenta",
            ),
            (json!({"thresholds": {}}), "thresholds has neither min nor max"),
            (json!({"thresholds": {"min": 1, "max": 2}}), "thresholds has both min and max: keep one"),
            (json!({"thresholds": {"max": "much"}}), "thresholds.max is \"much\": must be a number"),
            (json!({"thresholds": {"max": "NaN"}}), "thresholds.max is \"NaN\": must be a number"),
            (
                json!({"thresholds": {"max": 1, "byStep": {"first": 1}}}),
                "thresholds.byStep names \"first\": must be the index of a step, from 0",
            ),
            (
                json!({"thresholds": {"max": 1, "byWeight": {"-5": 1}}}),
                "thresholds.byWeight names \"-5\": must be a weight as in setWeight",
            ),
            (
                json!({"thresholds": {"max": 1, "byWeight": {"5": 1, "05": 2}}}),
                "thresholds.byWeight names 5 twice: keep one",
            ),
            (
                json!({"thresholds": {"max": 1, "byWeight": {"5": 1}, "byStep": {"5": 1}}}),
                "thresholds has both byStep and byWeight: keep one",
            ),
            (
                json!({"baseline": {"query": "q"}}),
                "baseline needs thresholds: set thresholds.max where more is worse",
            ),
            (json!({"baseline": {}, "thresholds": {"max": 1}}), "baseline is empty: set baseline.query"),
            (
                json!({"baseline": {"query": "q", "args": [{"name": "a", "value": "b"}]}, "thresholds": {"max": 1}}),
                "baseline has both query and args: keep one",
            ),
            (
                json!({"baseline": {"query": "q"}, "thresholds": {"max": 1}, "provider": web}),
                "baseline.query does not go with provider web, which has no query: use baseline.args",
            ),
            (
                json!({"baseline": {"query": "q", "ratio": 0.5}, "thresholds": {"max": 1}}),
                "baseline.ratio is 0.5: must be 1 or more",
            ),
            (
                json!({"baseline": {"query": "q", "slack": -1}, "thresholds": {"max": 1}}),
                "baseline.slack is -1: must be 0 or more",
            ),
            (
                json!({"baseline": {"query": "q", "method": "sequential"}}),
                "baseline.method is sequential, which is not carried out by this build: use ratio",
            ),
        ] {
            let found = first(metric.clone()).unwrap_or_default();
            assert!(found.starts_with(&format!("metrics[0]: {expected}")), "{metric}: {found}");
        }
    }

    #[test]
    fn something_has_to_judge_the_change() {
        let metric = json!({"name": "m", "origin": "dependency", "successCondition": "true",
            "provider": {"prometheus": {"query": "up"}}});
        let metrics = vec![serde_json::from_value(metric).expect("a metric")];
        let spec = AnalysisRunSpec { metrics, ..AnalysisRunSpec::default() };
        let found = validate_analysis_run(&spec).first().map(ToString::to_string).unwrap_or_default();
        assert!(
            found.starts_with("metrics: origin is dependency in every metric (m): nothing judges"),
            "{found}"
        );
    }
}

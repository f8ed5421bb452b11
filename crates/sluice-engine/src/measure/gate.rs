//! What makes a metric a gate: enough samples, limits that tighten, the stable version beside the new one.
//!
//! It decides what a reading comes to beyond the conditions of its metric. It does not decide how many bad ones
//! are tolerated, nor what a bad one means while a dependency is bad; see [`super::origin`].

use std::collections::BTreeMap;

use jiff::SignedDuration;
use sluice_api::analysis::{AnalysisPhase, Metric};
use sluice_api::gates::{Decimal, InsufficientTraffic, Thresholds};
use sluice_api::keys;
use sluice_lang::expr::{Data, Value};
use sluice_lang::figure::{Figure, figure, is_no_data};
use sluice_lang::judge::{Conditions, Verdict, judge};
use sluice_lang::{go_duration, go_format};

use super::limits::number;

/// How much worse than stable is tolerated when nothing else is written.
const RATIO: f64 = 1.2;
/// The share of a limit that only rounding makes.
const NOISE: f64 = 1e-12;

/// Where a Rollout stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Index of its step.
    pub step: Option<i64>,
    /// Weight of the new version, as `setWeight` names it.
    pub weight: Option<i64>,
}

impl Position {
    /// Reads what the Rollout wrote on its run.
    pub fn of(annotations: Option<&BTreeMap<String, String>>) -> Self {
        let number = |key: &str| annotations?.get(key)?.parse().ok();
        Self { step: number(keys::AT_STEP), weight: number(keys::AT_WEIGHT) }
    }
}

/// The numbers of a metric that is a gate, once placeholders are filled in.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gate {
    /// Time from the beginning of the run in which nothing is judged.
    pub warm_up: Option<SignedDuration>,
    /// Whether no data is an outcome of its own.
    knows_no_data: bool,
    samples: Option<SamplesFrom>,
    least: Option<f64>,
    policy: InsufficientTraffic,
    levels: Option<Levels>,
    tolerance: Option<Tolerance>,
}

/// Where the number of samples is found.
#[derive(Clone, Debug, PartialEq, Eq)]
enum SamplesFrom {
    /// In the answer to a query of its own.
    Query,
    /// In the result, at this key.
    Result(String),
}

/// Which side of a limit is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    /// The limit or more.
    Min,
    /// The limit or less.
    Max,
}

impl Side {
    fn name(self) -> &'static str {
        match self {
            Self::Min => "min",
            Self::Max => "max",
        }
    }
}

/// Limits by place, each good from its place to the next.
#[derive(Clone, Debug, PartialEq)]
struct Levels {
    side: Side,
    key: String,
    otherwise: f64,
    by_step: BTreeMap<i64, f64>,
    by_weight: BTreeMap<i64, f64>,
}

/// What the new version may be worse than the stable one.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Tolerance {
    ratio: f64,
    slack: f64,
}

/// A limit as it holds for one measurement.
#[derive(Clone, Debug, PartialEq)]
struct Limit {
    side: Side,
    value: f64,
    /// How people read it: `max 0.01 (step 3)`.
    text: String,
}

/// Everything that was read for one measurement.
#[derive(Clone, Debug)]
pub struct Readings {
    /// What the metric says.
    pub main: Value,
    /// What the query for samples says, if there is one.
    pub samples: Option<Value>,
    /// The same for the stable version, if it is asked for.
    pub baseline: Option<Value>,
}

/// What readings come to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Judgement {
    /// Successful, Failed, Inconclusive, or Error.
    pub phase: AnalysisPhase,
    /// Why, in words; empty where conditions say it.
    pub message: String,
    /// What stood beside the value: samples, baseline, threshold.
    pub metadata: BTreeMap<String, String>,
}

impl Gate {
    /// Reads the numbers of a metric.
    ///
    /// # Errors
    /// A text that was filled in is no number. Which fields go together is validation.
    pub fn of(metric: &Metric) -> Result<Self, String> {
        let warm_up = Some(&metric.warm_up).filter(|text| !text.is_empty());
        let warm_up = warm_up
            .map(|text| go_duration::parse(text).map_err(|error| format!("invalid warmUp string: {error}")));
        let samples = metric.samples.as_ref().map(|samples| {
            if samples.query.is_empty() {
                SamplesFrom::Result(samples.key.clone())
            } else {
                SamplesFrom::Query
            }
        });
        let least = match &metric.min_samples {
            None => None,
            least => Some(f64::from(number("minSamples", least.as_ref(), 0)?)),
        };
        let tolerance = metric.baseline.as_ref().map(|baseline| {
            let ratio = decimal("baseline.ratio", baseline.ratio.as_ref(), RATIO)?;
            let slack = decimal("baseline.slack", baseline.slack.as_ref(), 0.0)?;
            if ratio < 1.0 || slack < 0.0 {
                return Err(format!(
                    "baseline.ratio is {ratio} and baseline.slack {slack}: must be 1 or more, and 0 or more"
                ));
            }
            Ok(Tolerance { ratio, slack })
        });
        Ok(Self {
            warm_up: warm_up.transpose()?,
            knows_no_data: metric.knows_no_data(),
            samples,
            least,
            policy: metric.on_insufficient_traffic.unwrap_or_default(),
            levels: metric.thresholds.as_ref().map(Levels::of).transpose()?.flatten(),
            tolerance: tolerance.transpose()?,
        })
    }

    /// Judges what was read.
    pub fn judge(
        &self,
        metric: &Metric,
        readings: &Readings,
        position: Position,
        now: jiff::Timestamp,
    ) -> Judgement {
        let mut judgement = Judgement::default();
        let said = self.say(metric, readings, position, now, &mut judgement.metadata);
        (judgement.phase, judgement.message) = said.unwrap_or_else(|problem| (AnalysisPhase::Error, problem));
        judgement
    }

    fn say(
        &self,
        metric: &Metric,
        readings: &Readings,
        position: Position,
        now: jiff::Timestamp,
        metadata: &mut BTreeMap<String, String>,
    ) -> Result<(AnalysisPhase, String), String> {
        let stable = self.stable(readings, metadata)?;
        let limit = self.levels.as_ref().map(|levels| levels.at(position)).map(|limit| {
            match (stable, self.tolerance) {
                (Some(Some(stable)), Some(tolerance)) => tolerance.widen(limit, stable),
                (Some(None), _) => Limit { text: format!("{}; no data for stable", limit.text), ..limit },
                _ => limit,
            }
        });
        if let Some(limit) = &limit {
            metadata.insert("threshold".into(), limit.text.clone());
        }
        if let Some(too_few) = self.too_few(readings, metadata)? {
            return Ok(self.insufficient(&too_few));
        }
        let judged = self.levels.as_ref().map(|levels| figure(&readings.main, &levels.key));
        let has_no_data = match &judged {
            Some(judged) => *judged == Figure::NoData,
            None => self.knows_no_data && is_no_data(&readings.main),
        };
        if has_no_data {
            return Ok(self.insufficient("no data"));
        }
        let beyond = match (judged, &limit) {
            (Some(Figure::Mistake(problem)), _) => return Err(format!("thresholds: {problem}")),
            (Some(Figure::Number(x)), Some(limit)) => limit.beyond(x),
            _ => None,
        };
        let conditions = Conditions::new(&metric.success_condition, &metric.failure_condition);
        let verdict =
            judge(&conditions, &Data::new(readings.main.clone(), now)).map_err(|e| e.to_string())?;
        Ok(match (beyond, verdict) {
            (Some(why), _) => (AnalysisPhase::Failed, why),
            (None, Verdict::Successful) => (AnalysisPhase::Successful, String::new()),
            (None, Verdict::Failed) => (AnalysisPhase::Failed, String::new()),
            (None, Verdict::Inconclusive) => (AnalysisPhase::Inconclusive, String::new()),
        })
    }

    /// The figure of the stable version; `Some(None)` is no data, `None` that nobody asked.
    fn stable(
        &self,
        readings: &Readings,
        metadata: &mut BTreeMap<String, String>,
    ) -> Result<Option<Option<f64>>, String> {
        let Some(baseline) = &readings.baseline else { return Ok(None) };
        let key = self.levels.as_ref().map_or("", |levels| levels.key.as_str());
        let stable = match figure(baseline, key) {
            Figure::Number(x) => Some(x),
            Figure::NoData => None,
            Figure::Mistake(problem) => return Err(format!("baseline: {problem}")),
        };
        metadata.insert("baseline".into(), stable.map_or_else(|| "no data".to_owned(), shown));
        Ok(Some(stable))
    }

    /// Why there are too few samples to tell.
    fn too_few(
        &self,
        readings: &Readings,
        metadata: &mut BTreeMap<String, String>,
    ) -> Result<Option<String>, String> {
        let counted = match (&self.samples, &readings.samples) {
            (None, _) | (Some(SamplesFrom::Query), None) => return Ok(None),
            (Some(SamplesFrom::Query), Some(value)) => figure(value, ""),
            (Some(SamplesFrom::Result(key)), _) => figure(&readings.main, key),
        };
        // Whoever counts nothing has counted none.
        let samples = match counted {
            Figure::Number(samples) => samples,
            Figure::NoData => 0.0,
            Figure::Mistake(problem) => return Err(format!("samples: {problem}")),
        };
        metadata.insert("samples".into(), shown(samples));
        let least = self.least.filter(|least| samples < *least);
        Ok(least.map(|least| format!("{} samples, minSamples is {}", shown(samples), shown(least))))
    }

    fn insufficient(&self, why: &str) -> (AnalysisPhase, String) {
        let phase = match self.policy {
            InsufficientTraffic::Inconclusive => AnalysisPhase::Inconclusive,
            InsufficientTraffic::Pass => AnalysisPhase::Successful,
            InsufficientTraffic::Fail => AnalysisPhase::Failed,
        };
        (phase, format!("insufficient traffic: {why}; onInsufficientTraffic is {}", self.policy))
    }
}

impl Levels {
    fn of(thresholds: &Thresholds) -> Result<Option<Self>, String> {
        let (side, otherwise) = match (&thresholds.min, &thresholds.max) {
            (Some(min), _) => (Side::Min, decimal("thresholds.min", Some(min), 0.0)?),
            (None, Some(max)) => (Side::Max, decimal("thresholds.max", Some(max), 0.0)?),
            (None, None) => return Ok(None),
        };
        let places = |field: &str, written: &BTreeMap<String, Decimal>| {
            let place = |(place, limit): (&String, &Decimal)| {
                let field = format!("thresholds.{field}[{place}]");
                let place =
                    place.parse().map_err(|_| format!("{field}: {place:?} must be a whole number"))?;
                Ok((place, decimal(&field, Some(limit), 0.0)?))
            };
            written.iter().map(place).collect::<Result<BTreeMap<i64, f64>, String>>()
        };
        Ok(Some(Self {
            side,
            key: thresholds.key.clone(),
            otherwise,
            by_step: places("byStep", &thresholds.by_step)?,
            by_weight: places("byWeight", &thresholds.by_weight)?,
        }))
    }

    /// The limit that holds where the Rollout stands: the nearest at or before that place.
    fn at(&self, position: Position) -> Limit {
        let nearest = |limits: &BTreeMap<i64, f64>, place: Option<i64>| {
            limits.range(..=place?).next_back().map(|(_, limit)| *limit)
        };
        let by_step = nearest(&self.by_step, position.step).map(|limit| (limit, "step", position.step));
        let by_weight =
            nearest(&self.by_weight, position.weight).map(|limit| (limit, "weight", position.weight));
        let name = self.side.name();
        let (value, text) = match by_step.or(by_weight) {
            Some((limit, what, Some(place))) => (limit, format!("{name} {} ({what} {place})", shown(limit))),
            Some((limit, _, None)) => (limit, format!("{name} {}", shown(limit))),
            None => (self.otherwise, format!("{name} {}", shown(self.otherwise))),
        };
        Limit { side: self.side, value, text }
    }
}

impl Tolerance {
    /// A limit, made wider if the stable version is bad as well.
    fn widen(self, limit: Limit, stable: f64) -> Limit {
        let Self { ratio, slack } = self;
        // Of the size, so that a ratio tolerates something for negative values as well.
        let (tolerated, operation) = match limit.side {
            Side::Max => (stable + stable.abs() * (ratio - 1.0) + slack, '+'),
            Side::Min => (stable - stable.abs() * (1.0 - 1.0 / ratio) - slack, '-'),
        };
        let is_wider = match limit.side {
            Side::Max => tolerated > limit.value,
            Side::Min => tolerated < limit.value,
        };
        if !is_wider || !tolerated.is_finite() {
            let text = format!("{}; stable {}", limit.text, shown(stable));
            return Limit { text, ..limit };
        }
        let factor = if limit.side == Side::Max { '*' } else { '/' };
        let text = format!(
            "{} {} (stable {} {factor} {} {operation} {}, wider than {})",
            limit.side.name(),
            shown(tolerated),
            shown(stable),
            shown(ratio),
            shown(slack),
            limit.text
        );
        Limit { side: limit.side, value: tolerated, text }
    }
}

impl Limit {
    /// By how much a figure lies beyond the limit, in words.
    fn beyond(&self, x: f64) -> Option<String> {
        let (is_beyond, direction) = match self.side {
            Side::Max => (x > self.value, "above"),
            Side::Min => (x < self.value, "below"),
        };
        let by = (x - self.value).abs();
        // What is computed is never exact.
        let is_beyond = is_beyond && by > self.value.abs() * NOISE;
        is_beyond.then(|| format!("{} is {} {direction} {}", shown(x), shown(by), self.text))
    }
}

fn decimal(field: &str, value: Option<&Decimal>, default: f64) -> Result<f64, String> {
    let Some(value) = value else { return Ok(default) };
    value.value().ok_or_else(|| {
        let shown: String = value.to_string().chars().take(100).collect();
        format!("{field} is {shown:?}, must be a number")
    })
}

/// A number with as many digits as people read.
fn shown(x: f64) -> String {
    go_format::float_plain(format!("{x:.5e}").parse().unwrap_or(x))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn metric(fields: &serde_json::Value) -> Metric {
        let mut metric = fields.clone();
        metric["name"] = json!("m");
        metric["provider"] = json!({"prometheus": {"query": "up"}});
        serde_json::from_value(metric).expect("a metric")
    }

    fn readings(
        main: serde_json::Value,
        samples: serde_json::Value,
        baseline: serde_json::Value,
    ) -> Readings {
        let aside = |json: serde_json::Value| (json != "none").then(|| Value::from(&json));
        Readings { main: Value::from(&main), samples: aside(samples), baseline: aside(baseline) }
    }

    fn judged(
        fields: &serde_json::Value,
        readings: &Readings,
        position: Position,
    ) -> (AnalysisPhase, String) {
        let metric = metric(fields);
        let gate = Gate::of(&metric).expect("numbers");
        let found = gate.judge(&metric, readings, position, jiff::Timestamp::UNIX_EPOCH);
        (found.phase, found.message)
    }

    #[test]
    fn w64_too_little_traffic_is_its_own_outcome() {
        use AnalysisPhase::{Error, Failed, Inconclusive, Successful};
        let base = json!({"minSamples": 100, "samples": {"query": "n"}, "successCondition": "result < 0.05"});
        let with = |policy: &str| {
            let mut fields = base.clone();
            fields["onInsufficientTraffic"] = json!(policy);
            fields
        };
        let few = "insufficient traffic: 3 samples, minSamples is 100; onInsufficientTraffic is ";
        for (fields, main, samples, phase, message) in [
            (base.clone(), json!(0.33), json!(3), Inconclusive, format!("{few}inconclusive")),
            (with("pass"), json!(0.33), json!(3), Successful, format!("{few}pass")),
            (with("fail"), json!(0.0), json!([3]), Failed, format!("{few}fail")),
            (base.clone(), json!(0.01), json!(3000), Successful, String::new()),
            (base.clone(), json!(0.06), json!(100), Failed, String::new()),
            (
                base.clone(),
                json!(null),
                json!([]),
                Inconclusive,
                "insufficient traffic: 0 samples, minSamples is 100; onInsufficientTraffic is inconclusive"
                    .to_owned(),
            ),
            (
                base.clone(),
                json!([]),
                json!(100),
                Inconclusive,
                "insufficient traffic: no data; onInsufficientTraffic is inconclusive".to_owned(),
            ),
            (
                base.clone(),
                json!(0.01),
                json!([1, 2]),
                Error,
                "samples: the result has 2 values: make the query return one, or judge it by a condition"
                    .to_owned(),
            ),
            (
                json!({"samples": {"key": "n"}, "minSamples": 10, "successCondition": "result.bad < 2"}),
                json!({"n": 9, "bad": 9}),
                json!("none"),
                Inconclusive,
                "insufficient traffic: 9 samples, minSamples is 10; onInsufficientTraffic is inconclusive"
                    .to_owned(),
            ),
            (
                json!({"samples": {"key": "n"}, "minSamples": 10, "successCondition": "result.bad < 2"}),
                json!({"n": 10, "bad": 9}),
                json!("none"),
                Failed,
                String::new(),
            ),
            // Fields of ours that are not there leave everything as it was.
            (
                json!({"successCondition": "result < 1"}),
                json!(null),
                json!("none"),
                Error,
                "could not evaluate successCondition \"result < 1\": metric result is nil or empty: \
              no data returned from the metric provider"
                    .to_owned(),
            ),
            (
                json!({"onInsufficientTraffic": "pass", "successCondition": "result < 1"}),
                json!(null),
                json!("none"),
                Successful,
                "insufficient traffic: no data; onInsufficientTraffic is pass".to_owned(),
            ),
        ] {
            let found = judged(&fields, &readings(main.clone(), samples, json!("none")), Position::default());
            assert_eq!(found, (phase, message), "{fields} {main}");
        }
        for nothing in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            for main in [Value::Float(nothing), Value::floats([nothing])] {
                let readings = Readings { main, samples: Some(Value::Float(500.0)), baseline: None };
                assert_eq!(judged(&base, &readings, Position::default()).0, Inconclusive);
            }
        }
    }

    #[test]
    fn limits_tighten_with_step_and_weight() {
        let by_step = json!({"thresholds": {"max": 0.01, "byStep": {"1": 0.03, "4": "0.02"}}});
        let by_weight = json!({"thresholds": {"min": "0.9", "byWeight": {"5": 0.8, "25": 0.85}}});
        let at = |step, weight| Position { step, weight };
        for (fields, position, value, expected) in [
            (&by_step, at(None, None), 0.02, "0.02 is 0.01 above max 0.01"),
            (&by_step, at(Some(0), None), 0.02, "0.02 is 0.01 above max 0.01"),
            (&by_step, at(Some(1), Some(5)), 0.02, ""),
            (&by_step, at(Some(3), Some(5)), 0.031, "0.031 is 0.001 above max 0.03 (step 3)"),
            (&by_step, at(Some(9), None), 0.03, "0.03 is 0.01 above max 0.02 (step 9)"),
            (&by_weight, at(None, Some(4)), 0.85, "0.85 is 0.05 below min 0.9"),
            (&by_weight, at(None, Some(5)), 0.85, ""),
            (&by_weight, at(None, Some(24)), 0.79, "0.79 is 0.01 below min 0.8 (weight 24)"),
            (&by_weight, at(None, Some(100)), 0.82, "0.82 is 0.03 below min 0.85 (weight 100)"),
        ] {
            let found = judged(fields, &readings(json!([value]), json!("none"), json!("none")), position);
            assert_eq!(
                (found.0 == AnalysisPhase::Failed, found.1.as_str()),
                (!expected.is_empty(), expected),
                "{position:?}"
            );
        }
    }

    #[test]
    fn w71_what_hits_both_versions_cancels() {
        let max =
            json!({"thresholds": {"max": 0.01}, "baseline": {"query": "q", "ratio": 1.5, "slack": 0.001}});
        let min = json!({"thresholds": {"min": 0.99}, "baseline": {"query": "q", "ratio": 1.1}});
        for (fields, canary, stable, expected) in [
            (&max, json!(0.009), json!(0.0), ""),
            (&max, json!(0.02), json!(0.001), "0.02 is 0.01 above max 0.01; stable 0.001"),
            (&max, json!(0.3), json!(0.3), ""),
            (&max, json!(0.451), json!(0.3), ""),
            (
                &max,
                json!(0.5),
                json!([0.3]),
                "0.5 is 0.049 above max 0.451 (stable 0.3 * 1.5 + 0.001, wider than max 0.01)",
            ),
            (&max, json!(0.02), json!(null), "0.02 is 0.01 above max 0.01; no data for stable"),
            (&max, json!(0.009), json!([]), ""),
            (&min, json!(0.95), json!(1.0), ""),
            (&min, json!(0.6), json!(0.65), ""),
            (
                &min,
                json!(0.5),
                json!(0.66),
                "0.5 is 0.1 below min 0.6 (stable 0.66 / 1.1 - 0, wider than min 0.99)",
            ),
        ] {
            let found =
                judged(fields, &readings(canary.clone(), json!("none"), stable.clone()), Position::default());
            assert_eq!(
                (found.0 == AnalysisPhase::Failed, found.1.as_str()),
                (!expected.is_empty(), expected),
                "{canary} {stable}"
            );
        }
        let several = judged(&max, &readings(json!(1), json!("none"), json!([1, 2])), Position::default());
        assert_eq!(several.0, AnalysisPhase::Error);
    }

    #[test]
    fn a_threshold_joins_conditions() {
        let fields = json!({"thresholds": {"max": 5}, "successCondition": "result > 1", "failureCondition": "result < 0"});
        for (value, phase) in [
            (6, AnalysisPhase::Failed),
            (3, AnalysisPhase::Successful),
            (1, AnalysisPhase::Inconclusive),
            (-1, AnalysisPhase::Failed),
        ] {
            let found =
                judged(&fields, &readings(json!(value), json!("none"), json!("none")), Position::default());
            assert_eq!(found.0, phase, "{value}");
        }
    }

    #[test]
    fn what_was_filled_in_has_to_be_a_number() {
        for (fields, expected) in [
            (json!({"minSamples": "few"}), "minSamples is \"few\", must be a whole number"),
            (json!({"thresholds": {"max": "x"}}), "thresholds.max is \"x\", must be a number"),
            (
                json!({"thresholds": {"max": 1, "byStep": {"a": 1}}}),
                "thresholds.byStep[a]: \"a\" must be a whole number",
            ),
            (
                json!({"thresholds": {"max": 1}, "baseline": {"query": "q", "ratio": "0.5"}}),
                "baseline.ratio is 0.5 and baseline.slack 0: must be 1 or more, and 0 or more",
            ),
            (json!({"warmUp": "soon"}), "invalid warmUp string: time: invalid duration \"soon\""),
        ] {
            assert_eq!(Gate::of(&metric(&fields)), Err(expected.to_owned()));
        }
    }

    proptest! {
        /// A stable version that is worse never makes a gate stricter, and one that is beside it never looser
        /// than both limits allow.
        #[test]
        fn a_baseline_only_widens(canary in -10.0..10.0_f64, stable in -10.0..10.0_f64, limit in -10.0..10.0_f64, is_max: bool) {
            let side = if is_max { "max" } else { "min" };
            let alone = json!({"thresholds": {side: limit}});
            let compared = json!({"thresholds": {side: limit}, "baseline": {"query": "q", "ratio": 1.3, "slack": 0.1}});
            let readings = readings(json!(canary), json!("none"), json!(stable));
            let passes = |fields: &serde_json::Value| judged(fields, &readings, Position::default()).0 == AnalysisPhase::Successful;
            prop_assert!(!passes(&alone) || passes(&compared));
            let is_like_stable = if is_max { canary <= stable } else { canary >= stable };
            prop_assert!(!is_like_stable || passes(&compared));
        }

        /// Below the least number of samples no figure decides anything.
        #[test]
        fn too_few_samples_hide_the_value(main in any::<f64>(), samples in 0..100_u32) {
            let fields = json!({"minSamples": 100, "samples": {"query": "n"}, "thresholds": {"max": 0.5}});
            let metric = metric(&fields);
            let readings = Readings { main: Value::Float(main), samples: Some(Value::Int(i64::from(samples))), baseline: None };
            let found = Gate::of(&metric).expect("numbers").judge(&metric, &readings, Position::default(), jiff::Timestamp::UNIX_EPOCH);
            prop_assert_eq!(found.phase, AnalysisPhase::Inconclusive);
        }
    }
}

//! What a run's spec says once its arguments are filled in.
//!
//! It decides whether a run can be carried out as it is written, which metrics are only shown, how much of
//! each is kept and which Secrets each one needs. It reads no Secret: whatever decides how a run goes (names,
//! intervals, limits) may not depend on one, and everything else is filled in when it is sent.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use jiff::SignedDuration;
use regex::{Regex, RegexBuilder};
use sluice_api::analysis::{self, AnalysisRunSpec, Metric};
use sluice_api::defaults::MEASUREMENT_RETENTION;
use sluice_api::gates::Origin;
use sluice_api::meta::IntOrString;
use sluice_api::validation::validate_analysis_run;
use sluice_lang::go_duration;
use sluice_lang::template::{
    self, Argument, Arguments, Resolve, SECRET_STAND_IN, SecretKey, SecretValue, Values,
};

use super::Secrets;
use super::gate::Gate;
use super::limits::Limits;
use super::task::Aside;

/// Largest compiled pattern over metric names.
const PATTERN_LIMIT_BYTES: usize = 1 << 20;

/// A run's spec, filled in and found sound.
#[derive(Clone, Debug)]
pub struct Terms {
    /// Its metrics, in order.
    pub metrics: Vec<Term>,
    arguments: Arguments,
}

/// One metric.
#[derive(Clone, Debug)]
pub struct Term {
    /// The metric, with stand-ins for Secrets.
    pub metric: Metric,
    /// Whether it is only shown.
    pub dry_run: bool,
    /// Measurements to keep.
    pub kept: usize,
    /// Its numbers.
    pub limits: Limits,
    /// Time between measurements.
    pub interval: Option<SignedDuration>,
    /// Time before the first one.
    pub initial_delay: Option<SignedDuration>,
    /// The keys of Secrets that it names.
    pub secrets: Vec<SecretKey>,
    /// Its place in the spec.
    pub index: usize,
    /// It shows how a dependency does. Such a metric is only shown.
    pub is_dependency: bool,
    /// What makes it a gate.
    pub gate: Gate,
}

impl Term {
    /// The metric's name.
    pub fn name(&self) -> &str {
        &self.metric.name
    }
}

impl Terms {
    /// Fills in a spec.
    ///
    /// # Errors
    /// It cannot be carried out; the text is what becomes the run's message.
    pub fn read(spec: &AnalysisRunSpec) -> Result<Self, String> {
        let arguments = Arguments::new(spec.args.iter().map(|arg| (arg.name.clone(), argument(arg))))
            .map_err(unresolved)?;
        let values = arguments.without_secrets();
        let secrets = secrets_by_tag(spec);
        let metrics: Vec<(Metric, Vec<SecretKey>)> = (spec.metrics.iter())
            .map(|metric| {
                let noted = Noted { values: &values, tags: RefCell::default() };
                let metric = fill_in(metric, &noted)?;
                let tags = noted.tags.into_inner();
                let named: BTreeSet<&SecretKey> = tags.iter().filter_map(|tag| secrets.get(tag)).collect();
                Ok((metric, named.into_iter().cloned().collect()))
            })
            .collect::<Result<_, String>>()?;

        let invalid = |index: usize, error: &str| format!("Analysis spec invalid: metrics[{index}]: {error}");
        let mut limits = Vec::new();
        for (index, (written, (metric, _))) in spec.metrics.iter().zip(&metrics).enumerate() {
            if let Some(field) = secret_field(written, &values, &secrets) {
                return Err(invalid(index, &format!("{field} must not depend on a secret")));
            }
            let numbers = Limits::of(metric).and_then(|limits| Ok((limits, Gate::of(metric)?)));
            limits.push(numbers.map_err(|error| invalid(index, &error))?);
            if let Some(problem) = unused_argument(written, metric) {
                return Err(invalid(index, &problem));
            }
        }
        let filled_in = AnalysisRunSpec {
            metrics: metrics.iter().map(|(metric, _)| metric.clone()).collect(),
            ..with_patterns(spec)
        };
        if let Some(error) = validate_analysis_run(&filled_in).first() {
            return Err(format!("Analysis spec invalid: {error}"));
        }

        let rules = Rules::of(&filled_in);
        let terms = metrics.into_iter().zip(limits).enumerate().map(
            |(index, ((metric, secrets), (limits, gate)))| {
                // Validation leaves alone what looks like a placeholder, and a value may look like one.
                let duration = |text: &str, field: &str| {
                    let duration =
                        Some(text).filter(|text| !text.is_empty()).map(go_duration::parse).transpose();
                    duration.map_err(|error| invalid(index, &format!("invalid {field} string: {error}")))
                };
                Ok(Term {
                    interval: duration(&metric.interval, "interval")?,
                    initial_delay: duration(&metric.initial_delay, "startDelay")?,
                    dry_run: rules.is_dry_run(&metric.name) || metric.origin == Origin::Dependency,
                    is_dependency: metric.origin == Origin::Dependency,
                    gate,
                    kept: rules.kept(&metric.name),
                    limits,
                    secrets,
                    index,
                    metric,
                })
            },
        );
        let metrics = terms.collect::<Result<_, String>>()?;
        Ok(Self { metrics, arguments })
    }

    /// Fills in a metric with the Secrets that it names.
    ///
    /// # Errors
    /// One of them could not be read, or the metric makes no sense with its value.
    pub fn resolve(
        &self,
        spec: &AnalysisRunSpec,
        term: &Term,
        secrets: &Secrets,
    ) -> Result<(Metric, Vec<(Aside, Metric)>), String> {
        let mut values = BTreeMap::new();
        for key in self.arguments.secrets() {
            let value = match secrets.get(key) {
                Some(Ok(value)) => value.clone(),
                Some(Err(error)) if term.secrets.contains(key) => return Err(unresolved(error)),
                // Somebody else's.
                _ => SecretValue::new(SECRET_STAND_IN),
            };
            values.insert(key.clone(), value);
        }
        let values = self.arguments.with_secrets(&values).map_err(unresolved)?;
        let Some(written) = spec.metrics.get(term.index) else {
            return Ok((term.metric.clone(), Vec::new()));
        };
        let metric = fill_in(written, &values)?;
        let asides = asides(written, &metric, &values)?;
        Ok((metric, asides))
    }
}

/// What else is read for a metric, each as a metric whose provider says it.
fn asides(written: &Metric, metric: &Metric, values: &impl Resolve) -> Result<Vec<(Aside, Metric)>, String> {
    let mut asides = Vec::new();
    let asked = |query: &str| {
        let provider = metric.provider.providers().first().and_then(|provider| provider.with_query(query));
        let provider = provider.ok_or("the provider has no query that could be replaced")?;
        Ok::<Metric, String>(Metric { provider, ..metric.clone() })
    };
    if let Some(samples) = metric.samples.as_ref().filter(|samples| !samples.query.is_empty()) {
        asides.push((Aside::Samples, asked(&samples.query)?));
    }
    match &metric.baseline {
        Some(baseline) if !baseline.query.is_empty() => {
            asides.push((Aside::Baseline, asked(&baseline.query)?));
        }
        Some(baseline) if !baseline.args.is_empty() => {
            let given = |tag: &str| {
                let name = tag.strip_prefix("args.")?;
                Some(baseline.args.iter().find(|argument| argument.name == name)?.value.as_str())
            };
            let stable = Overlaid { given, values };
            asides.push((Aside::Baseline, fill_in(written, &stable)?));
        }
        Some(_) | None => {}
    }
    Ok(asides)
}

/// An argument of a baseline that changes nothing, so that the new version would be compared with itself.
fn unused_argument(written: &Metric, metric: &Metric) -> Option<String> {
    let baseline = metric.baseline.as_ref()?;
    let nobody = Values::default();
    let noted = Noted { values: &nobody, tags: RefCell::default() };
    let provider = serde_json::to_value(&written.provider).ok()?;
    // Nothing is resolved here; it is the tags that count.
    let _ = template::render_json(&provider, &noted);
    let tags = noted.tags.into_inner();
    let unused = baseline.args.iter().find(|argument| !tags.contains(&format!("args.{}", argument.name)))?;
    let name = &unused.name;
    Some(format!(
        "baseline.args names {name:?}, which the provider does not use: name an argument of its query"
    ))
}

/// Values some of which are others.
struct Overlaid<'a, G, R> {
    given: G,
    values: &'a R,
}

impl<'g, G: Fn(&str) -> Option<&'g str>, R: Resolve> Resolve for Overlaid<'_, G, R> {
    fn resolve(&self, tag: &str) -> Option<Cow<'_, str>> {
        match (self.given)(tag) {
            Some(value) => Some(Cow::Owned(value.to_owned())),
            None => self.values.resolve(tag),
        }
    }
}

fn unresolved(error: impl std::fmt::Display) -> String {
    format!("Unable to resolve metric arguments: {error}")
}

/// Where an argument's value is. A Secret goes before a value; a field is resolved by the Rollout that makes
/// the run, and counts for nothing here.
fn argument(arg: &analysis::Argument) -> Option<Argument> {
    match secret_key(arg) {
        Some(key) => Some(Argument::Secret(key)),
        None => arg.value.clone().map(Argument::Value),
    }
}

fn secret_key(arg: &analysis::Argument) -> Option<SecretKey> {
    let key = arg.value_from.as_ref()?.secret_key_ref.as_ref()?;
    Some(SecretKey { name: key.name.clone(), key: key.key.clone() })
}

fn secrets_by_tag(spec: &AnalysisRunSpec) -> BTreeMap<String, SecretKey> {
    let tagged = |arg: &analysis::Argument| (format!("args.{}", arg.name), secret_key(arg));
    let tags: BTreeMap<_, _> = spec.args.iter().map(tagged).collect();
    tags.into_iter().filter_map(|(tag, key)| Some((tag, key?))).collect()
}

fn fill_in(metric: &Metric, values: &impl Resolve) -> Result<Metric, String> {
    let json = serde_json::to_value(metric).map_err(unresolved)?;
    let json = template::render_json(&json, values).map_err(unresolved)?;
    serde_json::from_value(json).map_err(unresolved)
}

/// Values that note what they are asked for.
struct Noted<'a> {
    values: &'a Values<'a>,
    tags: RefCell<BTreeSet<String>>,
}

impl Resolve for Noted<'_> {
    fn resolve(&self, tag: &str) -> Option<Cow<'_, str>> {
        self.tags.borrow_mut().insert(tag.to_owned());
        self.values.resolve(tag)
    }
}

/// Returns a field that decides how the run goes and depends on a Secret.
///
/// The original looks such a metric up under the name of a stand-in, measures it again and again and never
/// finds what it measured.
fn secret_field(
    metric: &Metric,
    values: &Values,
    secrets: &BTreeMap<String, SecretKey>,
) -> Option<&'static str> {
    let text = |number: &Option<IntOrString>| number.as_ref().map(ToString::to_string).unwrap_or_default();
    let fields = [
        ("name", metric.name.clone()),
        ("interval", metric.interval.clone()),
        ("initialDelay", metric.initial_delay.clone()),
        ("warmUp", metric.warm_up.clone()),
        ("minSamples", text(&metric.min_samples)),
        ("count", text(&metric.count)),
        ("failureLimit", text(&metric.failure_limit)),
        ("inconclusiveLimit", text(&metric.inconclusive_limit)),
        ("consecutiveErrorLimit", text(&metric.consecutive_error_limit)),
        ("consecutiveSuccessLimit", text(&metric.consecutive_success_limit)),
    ];
    let depends = |text: &str| {
        let noted = Noted { values, tags: RefCell::default() };
        // What cannot be rendered was found before.
        let _ = template::render(text, &noted);
        noted.tags.into_inner().iter().any(|tag| secrets.contains_key(tag))
    };
    fields.into_iter().find(|(_, text)| depends(text)).map(|(field, _)| field)
}

/// A spec with patterns instead of `*`, which is none and which everybody takes to mean every metric.
fn with_patterns(spec: &AnalysisRunSpec) -> AnalysisRunSpec {
    let mut spec = spec.clone();
    let dry_run = spec.dry_run.iter_mut().map(|rule| &mut rule.metric_name);
    let retention = spec.measurement_retention.iter_mut().map(|rule| &mut rule.metric_name);
    dry_run.chain(retention).filter(|pattern| *pattern == "*").for_each(|pattern| ".*".clone_into(pattern));
    spec
}

/// Rules for metrics by name. A pattern may match anywhere in a name; the last rule that matches counts.
struct Rules {
    dry_run: Vec<Regex>,
    retention: Vec<(Regex, i32)>,
}

impl Rules {
    fn of(spec: &AnalysisRunSpec) -> Self {
        let pattern = |text: &str| RegexBuilder::new(text).size_limit(PATTERN_LIMIT_BYTES).build().ok();
        let retention = spec.measurement_retention.iter();
        Self {
            dry_run: spec.dry_run.iter().filter_map(|rule| pattern(&rule.metric_name)).collect(),
            retention: retention.filter_map(|rule| Some((pattern(&rule.metric_name)?, rule.limit))).collect(),
        }
    }

    fn is_dry_run(&self, name: &str) -> bool {
        self.dry_run.iter().any(|pattern| pattern.is_match(name))
    }

    fn kept(&self, name: &str) -> usize {
        let rule = self.retention.iter().rev().find(|(pattern, _)| pattern.is_match(name));
        let limit = rule.map_or(MEASUREMENT_RETENTION, |(_, limit)| *limit);
        usize::try_from(if limit > 0 { limit } else { MEASUREMENT_RETENTION }).unwrap_or(1)
    }
}

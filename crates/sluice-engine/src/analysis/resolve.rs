//! From the templates that a Rollout or an Experiment names to the spec of one run.
//!
//! Decides which templates take part, which of two arguments of one name counts, and which values the
//! Rollout gives. Placeholders in metrics stay as they are: values are put in where things are measured.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use sluice_api::analysis::{AnalysisRunSpec, AnalysisTemplateSpec, Argument};
use sluice_api::steps::{
    AnalysisRunArgument, AnalysisTemplateRef, DryRun, MeasurementRetention, RolloutAnalysis,
};
use sluice_lang::go_format;

use super::Analysis;

/// The templates that exist, of all that a Rollout names directly or through others.
pub type Templates = BTreeMap<AnalysisTemplateRef, std::sync::Arc<AnalysisTemplateSpec>>;

/// How deep templates may name others; more is a mistake.
const DEPTH: usize = 32;

/// The templates that `references` lead to, depth first, each once: those of the namespace, then those of the
/// cluster.
///
/// # Errors
/// A template that does not exist, or one that leads to itself.
pub fn flatten<'a>(
    references: &'a [AnalysisTemplateRef],
    templates: &'a Templates,
) -> Result<Vec<(&'a AnalysisTemplateRef, &'a AnalysisTemplateSpec)>, String> {
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    for reference in references {
        visit(reference, templates, &mut Vec::new(), &mut seen, &mut found)?;
    }
    // The sort is stable: within each scope the order of references stands.
    found.sort_by_key(|(reference, _)| reference.cluster_scope);
    Ok(found)
}

fn visit<'a>(
    reference: &'a AnalysisTemplateRef,
    templates: &'a Templates,
    path: &mut Vec<&'a AnalysisTemplateRef>,
    seen: &mut BTreeSet<&'a AnalysisTemplateRef>,
    found: &mut Vec<(&'a AnalysisTemplateRef, &'a AnalysisTemplateSpec)>,
) -> Result<(), String> {
    if path.contains(&reference) || path.len() > DEPTH {
        let names = path.iter().chain([&reference]).map(|r| r.template_name.as_str()).collect::<Vec<_>>();
        return Err(format!(
            "{} '{}' leads to itself ({})",
            kind(reference),
            reference.template_name,
            names.join(" -> ")
        ));
    }
    if !seen.insert(reference) {
        return Ok(());
    }
    let template = templates
        .get(reference)
        .ok_or_else(|| format!("{} '{}' not found", kind(reference), reference.template_name))?;
    found.push((reference, &**template));
    path.push(reference);
    for inner in &template.templates {
        visit(inner, templates, path, seen, found)?;
    }
    path.pop();
    Ok(())
}

/// The kind that a reference names.
pub fn kind(reference: &AnalysisTemplateRef) -> &'static str {
    if reference.cluster_scope { "ClusterAnalysisTemplate" } else { "AnalysisTemplate" }
}

/// The hashes that arguments may stand for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Hashes<'a> {
    /// Of the stable version.
    pub stable: &'a str,
    /// Of the new version.
    pub new: &'a str,
}

/// Puts the spec of a run together.
///
/// # Errors
/// The first thing that keeps it from being run, in the words of the condition.
pub fn run_spec(
    analysis: &RolloutAnalysis,
    templates: &Templates,
    hashes: Hashes<'_>,
) -> Result<AnalysisRunSpec, String> {
    let rules = Rules { dry_run: &analysis.dry_run, retention: &analysis.measurement_retention };
    assemble(&analysis.templates, templates, rules, |arguments| {
        for given in &analysis.args {
            // What no template declares has nobody to use it.
            if let Some(argument) = arguments.iter_mut().find(|argument| argument.name == given.name) {
                argument.value = Some(value(given, hashes)?);
                argument.value_from = None;
            }
        }
        Ok(())
    })
}

/// Rules about metrics that whoever asks for a run adds to those of its templates.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rules<'a> {
    /// Metrics that are shown and not judged.
    pub dry_run: &'a [DryRun],
    /// How many measurements are kept.
    pub retention: &'a [MeasurementRetention],
}

/// Puts the spec of a run together from templates; `give` fills in what is given to the arguments that they declare.
///
/// # Errors
/// The first thing that keeps it from being run, in the words of the condition.
pub fn assemble(
    references: &[AnalysisTemplateRef],
    templates: &Templates,
    rules: Rules<'_>,
    give: impl FnOnce(&mut [Argument]) -> Result<(), String>,
) -> Result<AnalysisRunSpec, String> {
    let found = flatten(references, templates)?;
    let mut spec = AnalysisRunSpec::default();
    let mut names = BTreeSet::new();
    for (_, template) in &found {
        for metric in &template.metrics {
            if !names.insert(metric.name.as_str()) {
                return Err(format!("two metrics have the same name '{}'", metric.name));
            }
            spec.metrics.push(metric.clone());
        }
    }
    spec.args = combined(found.iter().flat_map(|(_, template)| &template.args))?;
    give(&mut spec.args)?;
    if let Some(missing) = spec.args.iter().find(|arg| arg.value.is_none() && arg.value_from.is_none()) {
        return Err(format!("args.{} was not resolved", missing.name));
    }
    let dry_runs = found.iter().flat_map(|(_, template)| &template.dry_run);
    spec.dry_run = unique(rules.dry_run.iter().chain(dry_runs), |rule| &rule.metric_name, "Dry-Run")?;
    let retention = found.iter().flat_map(|(_, template)| &template.measurement_retention);
    spec.measurement_retention =
        unique(rules.retention.iter().chain(retention), |rule| &rule.metric_name, "Measurement Retention")?;
    Ok(spec)
}

/// Arguments of several templates, by name.
fn combined<'a>(arguments: impl Iterator<Item = &'a Argument>) -> Result<Vec<Argument>, String> {
    let mut all: Vec<Argument> = Vec::new();
    for argument in arguments {
        let Some(earlier) = all.iter_mut().find(|earlier| earlier.name == argument.name) else {
            all.push(argument.clone());
            continue;
        };
        match (&earlier.value, &argument.value) {
            (Some(a), Some(b)) if a != b => {
                return Err(format!(
                    "Argument `{}` specified multiple times with different values: '{a}', '{b}'",
                    argument.name
                ));
            }
            (Some(_), _) => {}
            // One that says nothing takes nothing away.
            (None, None) if argument.value_from.is_none() => {}
            (None, _) => *earlier = argument.clone(),
        }
    }
    Ok(all)
}

fn unique<'a, T: Clone + 'a>(
    rules: impl Iterator<Item = &'a T>,
    name: impl Fn(&T) -> &str,
    what: &str,
) -> Result<Vec<T>, String> {
    let mut all: Vec<T> = Vec::new();
    for rule in rules {
        if all.iter().any(|other| name(other) == name(rule)) {
            return Err(format!("two {what} metric rules have the same name '{}'", name(rule)));
        }
        all.push(rule.clone());
    }
    Ok(all)
}

/// The value that a Rollout gives to an argument. Fields of it are filled in already, see [`with_fields`].
pub fn value(given: &AnalysisRunArgument, hashes: Hashes<'_>) -> Result<String, String> {
    let which = given.value_from.as_ref().and_then(|from| from.pod_template_hash_value.as_deref());
    match which {
        None => Ok(given.value.clone()),
        Some("Stable") => Ok(hashes.stable.to_owned()),
        Some("Latest") => Ok(hashes.new.to_owned()),
        Some(other) => Err(format!("args.{}: '{other}' is neither Latest nor Stable", given.name)),
    }
}

/// The block with the fields of the Rollout that its arguments name filled in, and what of that failed first.
pub fn with_fields(block: &RolloutAnalysis, rollout: &impl Fn() -> Value) -> Analysis {
    let mut block = block.clone();
    let mut problem = None;
    for argument in &mut block.args {
        let path = argument.value_from.as_ref().and_then(|from| from.field_ref.as_ref());
        let Some(path) = path.map(|field| field.field_path.clone()) else { continue };
        match field(&rollout(), &path) {
            Ok(value) => {
                argument.value = value;
                argument.value_from = None;
            }
            Err(error) => {
                problem.get_or_insert(format!("args.{}: {error}", argument.name));
            }
        }
    }
    Analysis { block, problem }
}

/// The text of a field of the Rollout.
///
/// # Errors
/// The path leads nowhere, or to something that is no text, number or truth value.
pub fn field(rollout: &Value, path: &str) -> Result<String, String> {
    let mut value = rollout;
    for step in steps(path) {
        value = match value {
            Value::Array(items) => {
                let index: usize = step.parse().map_err(|_| format!("invalid index '{step}'"))?;
                items.get(index).ok_or_else(|| format!("index {index} out of range"))?
            }
            other => other.get(&step).ok_or_else(|| format!("invalid path {path} in rollout"))?,
        };
    }
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Bool(truth) => Ok(truth.to_string()),
        Value::Number(number) => Ok(number.as_f64().map_or_else(|| number.to_string(), go_format::float)),
        Value::Null | Value::Array(_) | Value::Object(_) => {
            Err(format!("path {path} in rollout must terminate in a primitive value"))
        }
    }
}

/// The names on a path: parted by dots and brackets, where quotes keep a name together.
fn steps(path: &str) -> Vec<String> {
    let mut steps = Vec::new();
    let mut step = String::new();
    let mut quote = None;
    for c in path.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some(_), c) => step.push(c),
            (None, '\'' | '"') => quote = Some(c),
            (None, '.' | '[' | ']') => steps.push(std::mem::take(&mut step)),
            (None, c) => step.push(c),
        }
    }
    steps.push(step);
    steps.retain(|step| !step.is_empty());
    steps
}

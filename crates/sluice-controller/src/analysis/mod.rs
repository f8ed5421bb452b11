//! Analysis runs in the shell: what is known of runs and templates, and who looks at runs.
//!
//! Decides nothing about outcomes. What a Rollout makes of its runs is `sluice_engine::analysis`, what is
//! measured when is `sluice_engine::measure`, and how a provider is asked is `sluice_integrations`.

pub mod job;
pub mod measure;
pub mod runs;
pub mod sender;

use std::collections::BTreeSet;
use std::sync::Arc;

use kube::core::{ApiResource, GroupVersionKind};
use serde::Deserialize;
use serde_json::Value;
use sluice_api::analysis::{AnalysisRun, AnalysisTemplateSpec};
use sluice_api::steps::AnalysisTemplateRef;
use sluice_engine::analysis::{Analyses, OwnedRun, RunOwner, Templates, run};
use sluice_engine::world::Rollout;

use crate::cache::{Body, Cache, ObjectKey, Slim};

/// What is known of analysis.
#[derive(Clone)]
pub struct AnalysisObjects {
    /// Runs.
    pub runs: Cache<HeldRun>,
    /// Templates of namespaces.
    pub templates: Cache<Template>,
    /// Templates of the cluster.
    pub cluster_templates: Cache<Template>,
}

impl Default for AnalysisObjects {
    fn default() -> AnalysisObjects {
        AnalysisObjects {
            runs: Cache::new("AnalysisRun"),
            templates: Cache::new("AnalysisTemplate"),
            cluster_templates: Cache::new("ClusterAnalysisTemplate"),
        }
    }
}

/// A run in the cache: what its Rollout looks at, and the whole object as long as something is to be done
/// with it.
pub struct HeldRun {
    /// What its Rollout looks at.
    pub owned: OwnedRun,
    /// The object; `None`: it has ended, and nothing is to be done any more.
    pub object: Option<Arc<AnalysisRun>>,
}

impl Slim for HeldRun {
    fn from_object(object: Value) -> Result<HeldRun, String> {
        let owned = run::read(object.clone()).map_err(|error| error.to_string())?;
        let keeps_time = !object["spec"]["ttlStrategy"].is_null();
        let is_over = owned.run.phase.is_terminal() && !keeps_time;
        let object = if is_over || owned.run.is_deleting {
            None
        } else {
            Some(Arc::new(serde_json::from_value(object).map_err(|error| error.to_string())?))
        };
        Ok(HeldRun { owned, object })
    }
}

/// A template in the cache.
pub struct Template(pub Arc<AnalysisTemplateSpec>);

impl Slim for Template {
    fn from_object(mut object: Value) -> Result<Template, String> {
        let spec = AnalysisTemplateSpec::deserialize(object["spec"].take());
        Ok(Template(Arc::new(spec.map_err(|error| error.to_string())?)))
    }
}

/// A kind of ours, as it is watched.
pub fn resource(kind: &str, plural: &str) -> ApiResource {
    let kind = GroupVersionKind::gvk(sluice_api::kind::GROUP, sluice_api::kind::VERSION, kind);
    ApiResource::from_gvk_with_plural(&kind, plural)
}

/// The index entries of a Rollout: one if templates of its namespace matter to it, and one for templates of
/// the cluster, which may be led to by any.
pub fn index(rollout: &Rollout) -> Vec<String> {
    let asks = rollout.spec.as_ref().is_ok_and(|spec| !spec.strategy.analyses().is_empty());
    if asks { vec![entry(&rollout.namespace), entry("")] } else { Vec::new() }
}

/// The index entry by which the Rollouts of a template are found.
pub fn entry(namespace: &str) -> String {
    format!("analysis {namespace}")
}

/// What is known of the analysis of a Rollout.
pub fn of(rollout: &Rollout, objects: &AnalysisObjects) -> Analyses {
    let runs = objects.runs.owned_by(&rollout.uid);
    let runs = runs.into_iter().filter_map(|(_, body)| {
        let held = body.good()?;
        let is_own = matches!(&held.owned.owner, RunOwner::Rollout(_, uid) if *uid == rollout.uid);
        is_own.then(|| Arc::clone(&held.owned.run))
    });
    Analyses { runs: runs.collect(), templates: templates(rollout, objects) }
}

/// The templates that a Rollout's spec leads to.
fn templates(rollout: &Rollout, objects: &AnalysisObjects) -> Templates {
    let Ok(spec) = &rollout.spec else { return Templates::new() };
    let analyses = spec.strategy.analyses();
    let references = analyses.iter().flat_map(|(_, analysis, _)| &analysis.block.templates).cloned();
    templates_of(&rollout.namespace, references.collect(), objects)
}

/// The templates of a namespace, or of the cluster, that references lead to.
pub fn templates_of(
    namespace: &str,
    references: Vec<AnalysisTemplateRef>,
    objects: &AnalysisObjects,
) -> Templates {
    let mut found = Templates::new();
    let mut open = references;
    let mut seen = BTreeSet::new();
    while let Some(reference) = open.pop() {
        if !seen.insert(reference.clone()) {
            continue;
        }
        let (cache, namespace) = if reference.cluster_scope {
            (&objects.cluster_templates, "")
        } else {
            (&objects.templates, namespace)
        };
        let key = ObjectKey::new(namespace, reference.template_name.as_str());
        if let Some(Body::Good(template)) = cache.body(&key) {
            open.extend(template.0.templates.iter().cloned());
            found.insert(reference, Arc::clone(&template.0));
        }
    }
    found
}

/// Whether a Rollout would see no difference between two runs.
pub fn is_same(old: &HeldRun, new: &HeldRun) -> bool {
    let without_version = |run: &sluice_engine::analysis::Run| sluice_engine::analysis::Run {
        resource_version: String::new(),
        ..run.clone()
    };
    without_version(&old.owned.run) == without_version(&new.owned.run)
}

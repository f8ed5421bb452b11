//! What a Deployment does with its ReplicaSets.
//!
//! Same rules as Kubernetes 1.36, `pkg/controller/deployment`, in the same order: a pause, then a change of
//! size, then the strategy. Each look emits at most one write per object, so where the real controller
//! writes a Deployment twice in a row, ours does the second on the next look.
//! Does not make pods, and does not know `rollbackTo`.

mod rolling;
mod status;
mod template;

use std::cmp::Reverse;
use std::sync::Arc;

use serde_json::Value;

use self::rolling::{Corridor, Size};
use self::status::Progress;
use super::object::{
    flag, has_status, int, is_deleting, key_of, kind, kinds, labels, name, namespace, put, time, uid,
};
use super::ownership::{adopted, controller_of, is_controlled_by, reference_to, released};
use super::{pods, selector};
use crate::seam::{Controller, Key, Op, Outcome, View};

const DEFAULT_HISTORY: i64 = 10;

/// The Deployment controller.
#[derive(Debug, Default)]
pub struct Deployments;

impl Controller for Deployments {
    fn name(&self) -> &'static str {
        "deployment-controller"
    }

    fn keys_for(&self, changed: &Value, view: &dyn View) -> Vec<Key> {
        match kind(changed) {
            kinds::DEPLOYMENT => vec![key_of(changed)],
            kinds::REPLICA_SET => deployments_of(changed, view),
            // Recreate waits for the last old pod to go.
            kinds::POD if is_deleting(changed) || pods::is_terminal(changed) => controller_of(changed)
                .filter(|owner| owner.kind == kinds::REPLICA_SET)
                .and_then(|owner| view.get(kinds::REPLICA_SET, namespace(changed), owner.name))
                .map_or_else(Vec::new, |set| deployments_of(&set, view)),
            _ => vec![],
        }
    }

    fn reconcile(&mut self, key: &Key, view: &dyn View) -> Outcome {
        if key.kind != kinds::DEPLOYMENT {
            return Outcome::default();
        }
        let Some(deployment) = view.get(kinds::DEPLOYMENT, key.namespace.as_deref(), &key.name) else {
            return Outcome::default();
        };
        if !selector::fits_template(&deployment) {
            // The API server refuses these; each ReplicaSet made would be one that is not found again.
            return Outcome::default();
        }
        let mut ops = vec![];
        let sets = claim(&deployment, view, &mut ops);
        if !ops.is_empty() {
            // The next look sees them as they are after adoption and release.
            return Outcome { ops, recheck_at: None };
        }
        if !is_deleting(&deployment)
            && let Some(status) = status::pause_change(&deployment, view.now())
        {
            let mut written = Value::clone(&deployment);
            put(&mut written, &["status"], status);
            return Outcome { ops: vec![Op::UpdateStatus(written)], recheck_at: None };
        }
        Look::new(&deployment, sets, view).decide()
    }
}

/// One look at one Deployment: the ReplicaSets as they are, and as they shall be.
struct Look<'a> {
    deployment: &'a Value,
    view: &'a dyn View,
    corridor: Corridor,
    /// Oldest first.
    originals: Vec<Arc<Value>>,
    drafts: Vec<Value>,
    new: Option<usize>,
    created: Option<Value>,
    deleted: Vec<usize>,
    collides: bool,
}

impl<'a> Look<'a> {
    fn new(deployment: &'a Value, originals: Vec<Arc<Value>>, view: &'a dyn View) -> Self {
        let new = template::find_new(deployment, &originals);
        let drafts = originals.iter().map(|set| Value::clone(set)).collect();
        let corridor = Corridor::of(deployment);
        let (created, deleted, collides) = (None, vec![], false);
        Self { deployment, view, corridor, originals, drafts, new, created, deleted, collides }
    }

    fn decide(mut self) -> Outcome {
        let progress = if is_deleting(self.deployment) {
            Progress::Ignore
        } else {
            self.sync_new_revision();
            if flag(self.deployment, "/spec/paused") || self.is_scaling() {
                self.scale();
                Progress::Ignore
            } else if rolling::is_recreate(self.deployment) {
                self.recreate()
            } else {
                self.roll()
            }
        };
        let is_complete = |status| status::is_complete(self.deployment, status);
        if progress != Progress::Ignore && self.deployment.get("status").is_some_and(is_complete) {
            self.forget_old_sets();
        }
        self.outcome(progress)
    }

    fn size(&self, at: usize) -> Size {
        let set = &self.drafts[at];
        Size {
            wanted: int(set, "/spec/replicas").unwrap_or(1).max(0),
            available: int(set, "/status/availableReplicas").unwrap_or(0),
        }
    }

    fn total(&self) -> i64 {
        (0..self.drafts.len()).map(|at| self.size(at).wanted).sum()
    }

    /// The positions of all ReplicaSets but the new one, oldest first.
    fn old(&self) -> Vec<usize> {
        (0..self.drafts.len()).filter(|at| Some(*at) != self.new).collect()
    }

    fn next_revision(&self) -> i64 {
        self.old().into_iter().map(|at| template::revision(&self.drafts[at])).max().unwrap_or(0) + 1
    }

    fn sync_new_revision(&mut self) {
        let revision = self.next_revision();
        if let Some(new) = self.new {
            template::take_over(self.deployment, &mut self.drafts[new], revision);
        }
    }

    fn is_scaling(&self) -> bool {
        let noted = |set| template::number(set, template::DESIRED_REPLICAS);
        (0..self.drafts.len())
            .filter(|at| self.size(*at).wanted > 0)
            .any(|at| noted(&self.drafts[at]).is_some_and(|wanted| wanted != self.corridor.replicas))
    }

    fn resize(&mut self, at: usize, size: i64) {
        template::resize(&mut self.drafts[at], size, self.corridor);
    }

    /// Follows a change of `spec.replicas`, without moving the update on.
    fn scale(&mut self) {
        let active: Vec<usize> = (0..self.drafts.len()).filter(|at| self.size(*at).wanted > 0).collect();
        let latest = self.new.or(self.drafts.len().checked_sub(1));
        match (active.as_slice(), latest) {
            ([], None) => {}
            ([], Some(only)) | (&[only], _) => self.resize(only, self.corridor.replicas),
            _ if self.is_saturated() => {
                let new = self.new;
                for at in active.into_iter().filter(|at| Some(*at) != new) {
                    self.resize(at, 0);
                }
            }
            _ if !rolling::is_recreate(self.deployment) => self.scale_in_proportion(active),
            _ => {}
        }
    }

    fn is_saturated(&self) -> bool {
        self.new.is_some_and(|new| {
            let wanted = self.corridor.replicas;
            template::number(&self.drafts[new], template::DESIRED_REPLICAS) == Some(wanted)
                && self.size(new) == Size { wanted, available: wanted }
        })
    }

    fn scale_in_proportion(&mut self, mut active: Vec<usize>) {
        let grows = self.total() < self.corridor.max_total();
        // Of two equally large ones the newer grows first and the older shrinks first.
        active.sort_by_key(|at| {
            let age = *at as i64;
            (Reverse(self.size(*at).wanted), if grows { -age } else { age })
        });
        let limits: Vec<(i64, Option<i64>)> = (active.iter())
            .map(|at| (self.size(*at).wanted, template::number(&self.drafts[*at], template::MAX_REPLICAS)))
            .collect();
        let observed = int(self.deployment, "/status/replicas").unwrap_or(0);
        let sizes = rolling::proportional_sizes(self.corridor, &limits, observed);
        for (at, size) in active.into_iter().zip(sizes) {
            self.resize(at, size);
        }
    }

    fn roll(&mut self) -> Progress {
        let Some(new) = self.new else { return self.create() };
        let size = rolling::new_size(self.corridor, self.size(new).wanted, self.total());
        if size != self.size(new).wanted {
            self.resize(new, size);
            return Progress::Found;
        }
        let old: Vec<usize> = self.old().into_iter().filter(|at| self.size(*at).wanted > 0).collect();
        let sizes: Vec<Size> = old.iter().map(|at| self.size(*at)).collect();
        let wanted = rolling::old_sizes(self.corridor, self.size(new), &sizes);
        for ((at, before), after) in old.into_iter().zip(sizes).zip(wanted) {
            if before.wanted != after {
                self.resize(at, after);
            }
        }
        Progress::Found
    }

    fn recreate(&mut self) -> Progress {
        let active: Vec<usize> = self.old().into_iter().filter(|at| self.size(*at).wanted > 0).collect();
        for at in &active {
            self.resize(*at, 0);
        }
        if !active.is_empty() || self.has_old_pods() {
            return Progress::Judge;
        }
        let Some(new) = self.new else { return self.create() };
        if self.size(new).wanted != self.corridor.replicas {
            self.resize(new, self.corridor.replicas);
        }
        Progress::Found
    }

    /// Returns whether an old pod still runs; one that is on its way out does.
    fn has_old_pods(&self) -> bool {
        let old = self.old();
        let is_old = |pod: &Value| old.iter().any(|at| is_controlled_by(pod, &self.originals[*at]));
        let all = self.view.list(kinds::POD, namespace(self.deployment));
        all.iter().any(|pod| !pods::is_terminal(pod) && is_old(pod))
    }

    fn create(&mut self) -> Progress {
        let size = if rolling::is_recreate(self.deployment) {
            self.corridor.replicas
        } else {
            rolling::new_size(self.corridor, 0, self.total())
        };
        let set = template::new_set(self.deployment, self.next_revision(), size, self.corridor);
        if self.view.get(kinds::REPLICA_SET, namespace(self.deployment), name(&set)).is_some() {
            self.collides = true;
            return Progress::Judge;
        }
        self.created = Some(set);
        Progress::Created
    }

    /// Deletes the oldest revisions beyond the history limit, if they have no pods.
    fn forget_old_sets(&mut self) {
        let limit = int(self.deployment, "/spec/revisionHistoryLimit").unwrap_or(DEFAULT_HISTORY);
        if limit == status::NO_LIMIT {
            return;
        }
        let mut old: Vec<usize> =
            self.old().into_iter().filter(|at| !is_deleting(&self.drafts[*at])).collect();
        old.sort_by_key(|at| template::revision(&self.drafts[*at]));
        let surplus = (old.len() as i64 - limit).max(0) as usize;
        let is_empty = |at: &usize| {
            let set = &self.drafts[*at];
            self.size(*at).wanted == 0
                && int(set, "/status/replicas").unwrap_or(0) == 0
                && int(set, "/metadata/generation").unwrap_or(0)
                    <= int(set, "/status/observedGeneration").unwrap_or(0)
        };
        self.deleted = old.into_iter().take(surplus).filter(is_empty).collect();
    }

    /// Turns the drafts into writes: ReplicaSets first, then the Deployment, which describes them.
    fn outcome(self, progress: Progress) -> Outcome {
        let mut ops = vec![];
        for (at, (original, draft)) in self.originals.iter().zip(&self.drafts).enumerate() {
            if self.deleted.contains(&at) {
                ops.push(delete(original));
            } else if **original != *draft {
                ops.push(Op::Update(draft.clone()));
            }
        }
        ops.extend(self.created.clone().map(Op::Create));
        let new = self.new.map(|at| &self.drafts[at]);
        if let Some(revision) = new.map(template::revision)
            && !is_deleting(self.deployment)
            && template::revision(self.deployment) != revision
        {
            let mut written = self.deployment.clone();
            put(&mut written, &["metadata", "annotations", template::REVISION], revision.to_string());
            // Through the status, as the real one does: an annotation that comes by the other door raises the
            // generation of a Deployment.
            ops.push(Op::UpdateStatus(written));
            return Outcome { ops, recheck_at: None };
        }
        let sets: Vec<&Value> = self.drafts.iter().chain(&self.created).collect();
        let new = new.or(self.created.as_ref());
        let (mut status, recheck_at) = status::status(self.deployment, &sets, new, progress, self.view.now());
        if self.collides {
            let collisions = int(self.deployment, "/status/collisionCount").unwrap_or(0);
            put(&mut status, &["collisionCount"], collisions + 1);
        }
        if !has_status(self.deployment, &status) {
            let mut written = self.deployment.clone();
            put(&mut written, &["status"], status);
            ops.push(Op::UpdateStatus(written));
        }
        Outcome { ops, recheck_at }
    }
}

fn delete(set: &Value) -> Op {
    Op::Delete {
        kind: kinds::REPLICA_SET.to_owned(),
        namespace: namespace(set).map(str::to_owned),
        name: name(set).to_owned(),
        uid: Some(uid(set).to_owned()),
        grace_seconds: None,
    }
}

/// Returns the Deployment's ReplicaSets, oldest first, adopting and releasing where the selector says so.
fn claim(deployment: &Value, view: &dyn View, ops: &mut Vec<Op>) -> Vec<Arc<Value>> {
    let selector = deployment.pointer("/spec/selector").cloned().unwrap_or_default();
    let mut sets = vec![];
    for set in view.list(kinds::REPLICA_SET, namespace(deployment)) {
        let fits = selector::matches(&selector, labels(&set));
        match (is_controlled_by(&set, deployment), fits) {
            (true, true) => sets.push(set),
            (true, false) if !is_deleting(deployment) && !is_deleting(&set) => {
                ops.push(Op::Update(released(&set, &[uid(deployment)])));
            }
            (false, true)
                if controller_of(&set).is_none() && !is_deleting(deployment) && !is_deleting(&set) =>
            {
                ops.push(Op::Update(adopted(&set, reference_to(deployment, "apps/v1", kinds::DEPLOYMENT))));
            }
            _ => {}
        }
    }
    sets.sort_by(|a, b| {
        let created = |set: &Value| time(set, "/metadata/creationTimestamp");
        created(a).cmp(&created(b)).then_with(|| name(a).cmp(name(b)))
    });
    sets
}

/// Returns the Deployment that controls the ReplicaSet, or all that would take it if nobody does.
fn deployments_of(set: &Value, view: &dyn View) -> Vec<Key> {
    if let Some(owner) = controller_of(set) {
        let key = super::object::key(kinds::DEPLOYMENT, namespace(set), owner.name);
        return if owner.kind == kinds::DEPLOYMENT { vec![key] } else { vec![] };
    }
    let takes = |deployment: &&Arc<Value>| {
        deployment
            .pointer("/spec/selector")
            .is_some_and(|found| !selector::is_empty(found) && selector::matches(found, labels(set)))
    };
    view.list(kinds::DEPLOYMENT, namespace(set)).iter().filter(takes).map(|one| key_of(one)).collect()
}

#[cfg(test)]
mod tests;

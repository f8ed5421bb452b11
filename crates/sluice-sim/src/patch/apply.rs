//! Who owns which fields, and server-side apply.
//!
//! Decides what `metadata.managedFields` says after a write, whether an apply conflicts with other
//! owners, what the applied object looks like and which fields it gives up. The rules are those of
//! structured-merge-diff v6 and of the managers that apimachinery 0.36 puts around it.

use std::{collections::BTreeMap, sync::LazyLock};

use serde_json::{Map, Value, json};

use super::{
    conform,
    fieldset::{Comparison, FieldSet, compare, of_value, without},
};
use crate::{
    status::{Status, quoted},
    typed::{ListKind, Shape, Type},
};

/// Update entries beyond this number are folded into one.
const MAX_UPDATE_MANAGERS: usize = 10;

/// Who writes, through which door.
#[derive(Clone, Debug)]
pub struct Writer<'a> {
    /// Field manager.
    pub manager: &'a str,
    /// `group/version` of the written object.
    pub api_version: &'a str,
    /// `status`, `scale`, or empty for the object itself.
    pub subresource: &'a str,
    /// Now, as timestamps say it.
    pub time: String,
    /// Whether the kind has a status subresource, so that this door changes only its part.
    pub splits_status: bool,
    /// Kind of the written object.
    pub kind: &'a str,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct ManagerKey {
    applied: bool,
    manager: String,
    /// Empty for applies, which are one entry over all versions.
    api_version: String,
    subresource: String,
}

#[derive(Clone, Debug)]
struct Managed {
    set: FieldSet,
    api_version: String,
    time: Option<String>,
}

type Managers = BTreeMap<ManagerKey, Managed>;

fn decode(list: &Value) -> Managers {
    let mut out = Managers::new();
    for entry in list.as_array().into_iter().flatten() {
        let text = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let applied = entry["operation"] == "Apply";
        let key = ManagerKey {
            applied,
            manager: text("manager"),
            api_version: if applied { String::new() } else { text("apiVersion") },
            subresource: text("subresource"),
        };
        let time = entry.get("time").and_then(Value::as_str).map(str::to_owned);
        out.insert(
            key,
            Managed { set: FieldSet::from_json(&entry["fieldsV1"]), api_version: text("apiVersion"), time },
        );
    }
    out
}

fn encode(managers: Managers) -> Value {
    let mut list: Vec<(ManagerKey, Managed)> = managers.into_iter().collect();
    list.sort_by(|(a, x), (b, y)| {
        (!a.applied, &x.time, &a.manager, &x.api_version, &a.subresource).cmp(&(
            !b.applied,
            &y.time,
            &b.manager,
            &y.api_version,
            &b.subresource,
        ))
    });
    let entries = list.into_iter().map(|(key, managed)| {
        let mut entry = Map::new();
        entry.insert("manager".to_owned(), Value::from(key.manager));
        entry.insert("operation".to_owned(), Value::from(if key.applied { "Apply" } else { "Update" }));
        entry.insert("apiVersion".to_owned(), Value::from(managed.api_version));
        if let Some(time) = managed.time {
            entry.insert("time".to_owned(), Value::from(time));
        }
        entry.insert("fieldsType".to_owned(), Value::from("FieldsV1"));
        entry.insert("fieldsV1".to_owned(), managed.set.to_json());
        if !key.subresource.is_empty() {
            entry.insert("subresource".to_owned(), Value::from(key.subresource));
        }
        Value::Object(entry)
    });
    Value::Array(entries.collect())
}

fn set_managed_fields(object: &mut Value, managers: Managers) {
    let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else { return };
    if managers.is_empty() {
        metadata.remove("managedFields");
    } else {
        metadata.insert("managedFields".to_owned(), encode(managers));
    }
}

/// What the server keeps itself, and nobody owns.
static SYSTEM: LazyLock<FieldSet> = LazyLock::new(|| {
    let mut system = FieldSet::default();
    for path in [&["f:apiVersion"][..], &["f:kind"], &["f:metadata"]] {
        system.insert(&path.iter().map(|step| (*step).to_owned()).collect::<Vec<_>>());
    }
    for field in [
        "name",
        "namespace",
        "creationTimestamp",
        "selfLink",
        "uid",
        "clusterName",
        "generation",
        "managedFields",
        "resourceVersion",
    ] {
        system.insert(&["f:metadata".to_owned(), format!("f:{field}")]);
    }
    system
});

fn strip_meta(set: &mut FieldSet) {
    *set = std::mem::take(set).difference(&SYSTEM);
}

/// Fields that a write through this door cannot change, and so cannot own.
fn reset(writer: &Writer<'_>, set: &mut FieldSet) {
    if !writer.splits_status {
        return;
    }
    if writer.subresource == "status" {
        set.remove_tree(&["f:spec"]);
        match writer.kind {
            "Deployment" => set.remove_tree(&["f:metadata", "f:labels"]),
            "Pod" => {
                set.remove_tree(&["f:metadata", "f:ownerReferences"]);
                set.remove_tree(&["f:metadata", "f:deletionTimestamp"]);
            }
            _ => {}
        }
        if !is_builtin(writer.api_version) {
            set.remove_tree(&["f:metadata"]);
        }
    } else if writer.subresource.is_empty() {
        set.remove_tree(&["f:status"]);
    }
}

fn is_builtin(api_version: &str) -> bool {
    let group = api_version.split('/').next().unwrap_or_default();
    !group.contains('.') || group.ends_with(".k8s.io")
}

fn compare_restricted(old: &Value, new: &Value, ty: &Type, writer: &Writer<'_>) -> Comparison {
    let mut comparison = compare(old, new, ty);
    comparison.restrict(|set| reset(writer, set));
    comparison
}

/// Takes changed and removed fields away from other managers; tells what they would lose.
fn others_lose(managers: &mut Managers, me: Option<&ManagerKey>, comparison: &Comparison) {
    let changed = comparison.modified.clone().union(&comparison.added);
    if changed.is_empty() && comparison.removed.is_empty() {
        return;
    }
    for (key, managed) in managers.iter_mut() {
        if Some(key) != me {
            managed.set =
                std::mem::take(&mut managed.set).difference(&changed).difference(&comparison.removed);
        }
    }
    managers.retain(|key, managed| Some(key) == me || !managed.set.is_empty());
}

/// Records an update: `new` gets its managed fields. `old` is the empty object for a creation.
pub fn track_update(old: &Value, new: &mut Value, ty: &Type, writer: &Writer<'_>) {
    let given =
        new.get_mut("metadata").and_then(Value::as_object_mut).and_then(|map| map.remove("managedFields"));
    let kept = old["metadata"].get("managedFields");
    let is_create = old["metadata"].get("uid").is_none();
    let is_reset = writer.subresource.is_empty()
        && given.as_ref().and_then(Value::as_array).is_some_and(|list| {
            // Given as an empty list or one empty entry: forget them all.
            list.is_empty() || (list.len() == 1 && list[0].as_object().is_some_and(Map::is_empty))
        });
    // The given ones count, if there are any; through a subresource they never do.
    let current = match given.as_ref().filter(|_| writer.subresource.is_empty()) {
        _ if is_reset => None,
        Some(Value::Array(list)) if !list.is_empty() => given.as_ref(),
        _ => kept,
    };
    if current.is_none() && !is_create {
        return;
    }
    // What cannot be compared belongs to nobody. Only a custom object can get here unfit, through a door at
    // which the rest of it is not looked at.
    if !is_builtin(writer.api_version) && (new["kind"] != writer.kind || conform::fits(new, ty).is_err()) {
        return;
    }
    // The old managed fields count as removed here, which nobody owns and which is not recorded.
    let comparison = compare_restricted(old, new, ty, writer);
    let changed = comparison.modified.clone().union(&comparison.added);
    let mut mine = changed.clone();
    strip_meta(&mut mine);
    let manager = if writer.manager.is_empty() { "unknown" } else { writer.manager };
    let own = current.and_then(|list| unmoved(list, &mine, &changed, &comparison.removed, manager, writer));
    let managed = match (own, current) {
        (Some(own), Some(list)) => {
            // Most often a patch has carried them along.
            let at_hand = given.as_ref() == Some(list);
            let list = if at_hand { given.unwrap_or_default() } else { list.clone() };
            with_new_time(list, own, writer)
        }
        _ => rewritten(current, mine, &comparison, manager, writer),
    };
    if let (Some(metadata), false) =
        (new.get_mut("metadata").and_then(Value::as_object_mut), managed.as_array().is_none_or(Vec::is_empty))
    {
        metadata.insert("managedFields".to_owned(), managed);
    }
}

/// Tells whether the sets can stay as they are, without reading them: nobody loses a field, and the writer owns its
/// own already. The answer is the writer's entry, if there is anything to write in it.
fn unmoved(
    list: &Value,
    mine: &FieldSet,
    changed: &FieldSet,
    removed: &FieldSet,
    manager: &str,
    writer: &Writer<'_>,
) -> Option<Option<usize>> {
    let list = list.as_array()?;
    let mut own = None;
    for (i, entry) in list.iter().enumerate() {
        // Two of the same manager, as a scale leaves them, become one.
        let is_of = |other: &Value| {
            ["manager", "operation", "apiVersion", "subresource"]
                .iter()
                .all(|key| other.get(key) == entry.get(key))
        };
        if list[..i].iter().any(is_of) {
            return None;
        }
        let text = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default();
        let is_mine = entry["operation"] == "Update"
            && text("manager") == manager
            && text("apiVersion") == writer.api_version
            && text("subresource") == writer.subresource;
        if removed.meets(&entry["fieldsV1"]) || (!is_mine && changed.meets(&entry["fieldsV1"])) {
            return None;
        }
        if is_mine && !mine.is_empty() {
            if !mine.is_within(&entry["fieldsV1"]) {
                return None;
            }
            own = Some(i);
        }
    }
    (own.is_some() || mine.is_empty()).then_some(own)
}

/// The list with the time of a write in the writer's entry.
fn with_new_time(mut list: Value, own: Option<usize>, writer: &Writer<'_>) -> Value {
    fn order(entry: &Value) -> [Option<&str>; 5] {
        ["operation", "time", "manager", "apiVersion", "subresource"]
            .map(|key| entry.get(key).and_then(Value::as_str))
    }
    if let Value::Array(entries) = &mut list {
        if let Some(entry) = own.and_then(|own| entries.get_mut(own)) {
            entry["time"] = Value::from(writer.time.as_str());
        }
        entries.sort_by(|one, other| order(one).cmp(&order(other)));
    }
    list
}

fn rewritten(
    current: Option<&Value>,
    mine: FieldSet,
    comparison: &Comparison,
    manager: &str,
    writer: &Writer<'_>,
) -> Value {
    let mut managers = current.map(decode).unwrap_or_default();
    let key = ManagerKey {
        applied: false,
        manager: manager.to_owned(),
        api_version: writer.api_version.to_owned(),
        subresource: writer.subresource.to_owned(),
    };
    others_lose(&mut managers, None, comparison);
    if !mine.is_empty() {
        let before = managers.remove(&key).map(|managed| managed.set).unwrap_or_default();
        let time = Some(writer.time.clone());
        managers.insert(
            key,
            Managed { set: mine.union(&before), api_version: writer.api_version.to_owned(), time },
        );
    }
    cap(&mut managers);
    encode(managers)
}

/// Group and version of scales.
const SCALE: &str = "autoscaling/v1";

/// The managers of an object, as those of its scale: who owns the number of replicas, at `path`.
pub fn scale_managers(object: &Value, path: &[String]) -> Value {
    let owners = decode(&object["metadata"]["managedFields"]).into_iter();
    let replicas = ["f:spec", "f:replicas"].map(str::to_owned);
    let owners = owners.filter(|(_, managed)| managed.set.has(path)).map(|(key, managed)| {
        let mut set = FieldSet::default();
        set.insert(&replicas);
        (key, Managed { set, api_version: SCALE.to_owned(), time: managed.time })
    });
    encode(owners.collect())
}

/// The managers of an object after those of its scale have become `scale`.
///
/// As in a real API server, owners by update are not recognised, because their entries name another
/// version: they lose the number of replicas and get it back in an entry of its own, without a time.
pub fn parent_managers(object: &Value, scale: &Value, path: &[String], api_version: &str) -> Value {
    let parents = decode(&object["metadata"]["managedFields"]);
    let mut scale = decode(scale);
    let mut number = FieldSet::default();
    number.insert(path);
    let mut out = Managers::new();
    for (key, managed) in &parents {
        let keeps = !managed.set.has(path) || scale.remove(key).is_some();
        let set = if keeps { managed.set.clone() } else { managed.set.clone().difference(&number) };
        if !set.is_empty() {
            out.insert(key.clone(), Managed { set, ..managed.clone() });
        }
    }
    let replicas = ["f:spec", "f:replicas"].map(str::to_owned);
    for (key, _) in scale.into_iter().filter(|(_, managed)| managed.set.has(&replicas)) {
        let time = parents.get(&key).and_then(|managed| managed.time.clone());
        out.insert(key, Managed { set: number.clone(), api_version: api_version.to_owned(), time });
    }
    encode(out)
}

fn cap(managers: &mut Managers) {
    let mut updaters: Vec<(Option<String>, ManagerKey)> = managers
        .iter()
        .filter(|(key, _)| !key.applied)
        .map(|(key, managed)| (managed.time.clone(), key.clone()))
        .collect();
    if updaters.len() <= MAX_UPDATE_MANAGERS {
        return;
    }
    updaters.sort();
    let mut left = updaters.len();
    let mut first_of: BTreeMap<String, ManagerKey> = BTreeMap::new();
    for (_, key) in updaters {
        if left <= MAX_UPDATE_MANAGERS {
            return;
        }
        let version = key.api_version.clone();
        let bucket = ManagerKey {
            applied: false,
            manager: "ancient-changes".to_owned(),
            api_version: version.clone(),
            subresource: String::new(),
        };
        let Some(first) = first_of.get(&version) else {
            first_of.insert(version, key);
            continue;
        };
        if !managers.contains_key(&bucket)
            && let Some(managed) = managers.remove(first)
        {
            managers.insert(bucket.clone(), managed);
        }
        if let Some(gone) = managers.remove(&key)
            && let Some(old) = managers.get_mut(&bucket)
        {
            old.set = std::mem::take(&mut old.set).union(&gone.set);
            old.time = gone.time;
            left -= 1;
        }
    }
}

/// Applies `config` to `live`, which is the empty object when it does not exist yet. The result has
/// its managed fields; defaults are not filled in. `empty` is what ownership of an object that nobody
/// has applied before is counted from.
pub fn apply(
    live: &Value,
    config: &Value,
    ty: &Type,
    writer: &Writer<'_>,
    force: bool,
    empty: &Value,
) -> Result<Value, Status> {
    let mut managers = decode(&live["metadata"]["managedFields"]);
    let mut live_bare = live.clone();
    if let Some(metadata) = live_bare.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
    let exists = live["metadata"].get("uid").is_some();
    if managers.is_empty() && exists {
        let early = Writer { manager: "before-first-apply", time: writer.time.clone(), ..*writer };
        let mut tracked = live_bare.clone();
        track_update(empty, &mut tracked, ty, &early);
        managers = decode(&tracked["metadata"]["managedFields"]);
    }
    let merged = merge(Some(&live_bare), Some(config), ty).unwrap_or(Value::Null);
    let key = ManagerKey {
        applied: true,
        manager: writer.manager.to_owned(),
        api_version: String::new(),
        subresource: writer.subresource.to_owned(),
    };
    let last = managers.get(&key).cloned();
    let mut set = of_value(config, ty);
    reset(writer, &mut set);
    managers.insert(
        key.clone(),
        Managed {
            set,
            api_version: writer.api_version.to_owned(),
            time: last.as_ref().and_then(|managed| managed.time.clone()),
        },
    );
    let mut new = match &last {
        Some(last) if !last.set.is_empty() => prune(&merged, &managers, &last.set, ty),
        _ => merged,
    };
    let comparison = compare_restricted(&live_bare, &new, ty, writer);
    if !force {
        let changed = comparison.modified.clone().union(&comparison.added);
        let conflicts: Vec<(&ManagerKey, &Managed, FieldSet)> = managers
            .iter()
            .filter(|(other, _)| **other != key)
            .map(|(other, managed)| (other, managed, managed.set.intersection(&changed)))
            .filter(|(_, _, both)| !both.is_empty())
            .collect();
        if !conflicts.is_empty() {
            let mut conflicts = conflicts;
            conflicts.sort_by_cached_key(|(key, ..)| identifier(key));
            return Err(conflict(&conflicts));
        }
    }
    others_lose(&mut managers, Some(&key), &comparison);
    if let Some(mine) = managers.get_mut(&key) {
        strip_meta(&mut mine.set);
        // Only a difference makes a new time; the first entry of somebody who changed nothing has none.
        if new != live_bare {
            mine.time = Some(writer.time.clone());
        }
        if mine.set.is_empty() {
            managers.remove(&key);
        }
    }
    if writer.manager == "kubectl"
        && new["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"].is_string()
    {
        let mut config = config.clone();
        if let Some(annotations) = config.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut)
        {
            annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
        }
        new["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"] =
            Value::from(format!("{config}\n"));
    }
    set_managed_fields(&mut new, managers);
    Ok(new)
}

/// Whether two objects differ in anything but managed fields.
pub fn rest_differs(a: &Value, b: &Value) -> bool {
    let differs = |a: &Value, b: &Value, except: &str| match (a.as_object(), b.as_object()) {
        (Some(a), Some(b)) => {
            let count = |map: &Map<String, Value>| map.len() - usize::from(map.contains_key(except));
            count(a) != count(b) || a.iter().any(|(key, value)| key != except && b.get(key) != Some(value))
        }
        _ => a != b,
    };
    differs(a, b, "metadata") || differs(&a["metadata"], &b["metadata"], "managedFields")
}

/// Removes what this manager applied last time, not this time, and nobody else owns.
fn prune(merged: &Value, managers: &Managers, last: &FieldSet, ty: &Type) -> Value {
    let last = last.with_named_parents(ty);
    let pruned = without(merged, ty, &last);
    let owned = managers
        .values()
        .fold(FieldSet::default(), |all, managed| all.union(&managed.set))
        .with_named_parents(ty);
    let merged_set = of_value(merged, ty).with_named_parents(ty);
    let pruned_set = of_value(&pruned, ty).with_named_parents(ty);
    let pruned = without(merged, ty, &merged_set.clone().difference(&pruned_set.union(&owned)));
    let pruned_set = of_value(&pruned, ty).with_named_parents(ty);
    without(merged, ty, &merged_set.difference(&pruned_set).intersection(&last))
}

/// A manager as a real API server names it, by which it also orders them.
fn identifier(key: &ManagerKey) -> String {
    let operation = if key.applied { "Apply" } else { "Update" };
    let mut out = format!("{{\"manager\":{},\"operation\":\"{operation}\"", quoted(&key.manager));
    for (name, value) in [("apiVersion", &key.api_version), ("subresource", &key.subresource)] {
        if !value.is_empty() {
            out += &format!(",\"{name}\":{}", quoted(value));
        }
    }
    out + "}"
}

fn conflict(conflicts: &[(&ManagerKey, &Managed, FieldSet)]) -> Status {
    let printed = |key: &ManagerKey, managed: &Managed| {
        let mut text = quoted(&key.manager);
        if !key.subresource.is_empty() {
            text = format!("{text} with subresource {}", quoted(&key.subresource));
        }
        if !key.applied {
            text = format!("{text} using {}", managed.api_version);
        }
        text
    };
    let mut causes = Vec::new();
    let mut lines = Vec::new();
    let mut only = String::new();
    for (key, managed, set) in conflicts {
        let who = printed(key, managed);
        lines.push(format!("conflicts with {who}:"));
        for path in set.paths() {
            only = format!("conflict with {who}: {path}");
            causes.push(json!({"reason": "FieldManagerConflict", "message": format!("conflict with {who}"), "field": path}));
            lines.push(format!("- {path}"));
        }
    }
    let message = if causes.len() == 1 {
        format!("Apply failed with 1 conflict: {only}")
    } else {
        format!("Apply failed with {} conflicts: {}", causes.len(), lines.join("\n"))
    };
    Status::apply_conflict(message, &causes)
}

/// Merges a configuration into an object; the configuration wins.
fn merge(live: Option<&Value>, config: Option<&Value>, ty: &Type) -> Option<Value> {
    let (Some(old), Some(new)) = (live, config) else { return config.or(live).cloned() };
    let any = Type::any();
    match (old, new) {
        (Value::Object(before), Value::Object(after)) if !ty.is_leaf(new) => {
            let mut out = before.clone();
            for (key, value) in after {
                let entry = ty.entry(key).unwrap_or(&any);
                if let Some(value) = merge(before.get(key), Some(value), entry) {
                    out.insert(key.clone(), value);
                }
            }
            Some(Value::Object(out))
        }
        (Value::Array(before), Value::Array(after)) if !ty.is_leaf(new) => match &ty.shape {
            Shape::List { item, list } => Some(Value::Array(merge_lists(before, after, item, list))),
            _ => Some(new.clone()),
        },
        // Null in a configuration of something granular keeps what is there.
        (Value::Object(_) | Value::Array(_), Value::Null) if !ty.is_leaf(old) => Some(Value::Null),
        _ => Some(new.clone()),
    }
}

fn merge_lists(before: &[Value], after: &[Value], item: &Type, list: &ListKind) -> Vec<Value> {
    use super::fieldset::item_step;
    let left: Vec<String> = before.iter().map(|one| item_step(one, item, list)).collect();
    let right: Vec<String> = after.iter().map(|one| item_step(one, item, list)).collect();
    let mut shared = right.iter().filter(|step| left.contains(step));
    let mut next_shared = shared.next();
    let mut merged: Vec<&String> = Vec::new();
    let mut out = Vec::new();
    let (mut l, mut r) = (0, 0);
    while l < left.len() || r < right.len() {
        if l < left.len() && r < right.len() {
            if left[l] == right[r] {
                merged.push(&left[l]);
                out.extend(merge(Some(&before[l]), Some(&after[r]), item));
                l += 1;
                r += 1;
                next_shared = shared.next();
                continue;
            }
            if right.contains(&left[l]) && next_shared.is_some_and(|step| *step != left[l]) {
                l += 1;
                continue;
            }
        }
        if l < left.len() {
            if !right.contains(&left[l]) {
                out.push(before[l].clone());
                l += 1;
                continue;
            } else if merged.contains(&&left[l]) {
                l += 1;
            }
        }
        if r < right.len() {
            merged.push(&right[r]);
            let old = left.iter().position(|step| *step == right[r]).map(|at| &before[at]);
            out.extend(merge(old, Some(&after[r]), item));
            if next_shared == Some(&right[r]) {
                next_shared = shared.next();
            }
            r += 1;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builtin::types;

    fn writer(manager: &str) -> Writer<'_> {
        Writer {
            manager,
            api_version: "apps/v1",
            subresource: "",
            time: "2026-01-01T00:00:00Z".to_owned(),
            splits_status: true,
            kind: "Deployment",
        }
    }

    fn deployment(spec: &Value) -> Value {
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a"}, "spec": spec})
    }

    fn owners(object: &Value) -> Vec<(String, Vec<String>)> {
        decode(&object["metadata"]["managedFields"])
            .into_iter()
            .map(|(key, managed)| (key.manager, managed.set.paths()))
            .collect()
    }

    #[test]
    fn fields_that_are_no_longer_applied_go_unless_owned() {
        let ty = types::find("apps.v1.Deployment").expect("deployment");
        let empty = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {}});
        let mut live = apply(
            &empty,
            &deployment(&json!({"replicas": 3, "paused": true, "minReadySeconds": 5})),
            &ty,
            &writer("a"),
            false,
            &empty,
        )
        .expect("applies");
        live["metadata"]["uid"] = json!("u");
        let shared =
            apply(&live, &deployment(&json!({"minReadySeconds": 5})), &ty, &writer("b"), false, &empty)
                .expect("same value is shared");
        let less = apply(&shared, &deployment(&json!({"replicas": 3})), &ty, &writer("a"), false, &empty)
            .expect("applies");
        assert_eq!(less["spec"], json!({"replicas": 3, "minReadySeconds": 5}));
        assert_eq!(
            owners(&less),
            [
                ("a".to_owned(), vec![".spec.replicas".to_owned()]),
                ("b".to_owned(), vec![".spec.minReadySeconds".to_owned()])
            ]
        );
    }

    #[test]
    fn conflicts_name_owner_and_field() {
        let ty = types::find("apps.v1.Deployment").expect("deployment");
        let empty = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {}, "spec": {}});
        let mut live = deployment(&json!({"replicas": 3}));
        track_update(&empty, &mut live, &ty, &writer("u"));
        live["metadata"]["uid"] = json!("u");
        let config = deployment(&json!({"replicas": 4}));
        let status = apply(&live, &config, &ty, &writer("a"), false, &empty).expect_err("conflict");
        assert_eq!(
            status.message,
            "Apply failed with 1 conflict: conflict with \"u\" using apps/v1: .spec.replicas"
        );
        let forced = apply(&live, &config, &ty, &writer("a"), true, &empty).expect("forced");
        assert_eq!(forced["spec"]["replicas"], 4);
        assert_eq!(owners(&forced), [("a".to_owned(), vec![".spec.replicas".to_owned()])]);
    }

    #[test]
    fn many_updaters_are_folded() {
        let ty = types::find("core.v1.ConfigMap").expect("config map");
        let mut live =
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {}});
        let empty = json!({"metadata": {}});
        for i in 0..14 {
            let mut next = live.clone();
            next["data"][format!("k{i:02}")] = json!("v");
            let name = format!("m{i:02}");
            let mut one = writer(&name);
            one.api_version = "v1";
            one.time = format!("2026-01-01T00:00:{i:02}Z");
            track_update(if i == 0 { &empty } else { &live }, &mut next, &ty, &one);
            next["metadata"]["uid"] = json!("u");
            live = next;
        }
        let names: Vec<_> = owners(&live).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names.len(), MAX_UPDATE_MANAGERS);
        assert_eq!(names[0], "ancient-changes");
    }
}

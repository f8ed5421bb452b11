//! Sets of fields, as `managedFields` records them, and what differs between two objects.
//!
//! Decides which paths an object has, which of them a change added, modified or removed, and how such
//! sets are written down (`FieldsV1`). Follows structured-merge-diff v6, in whose terms a list item or
//! map entry is a path of its own and an atomic value is one path. Whose the paths are is `apply`'s
//! business.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::typed::{ListKind, Omit, Scalar, Shape, Type};

/// A set of paths, as a tree: `member` says that the path itself is in the set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSet {
    member: bool,
    children: BTreeMap<String, FieldSet>,
}

impl FieldSet {
    /// Reads `fieldsV1`.
    pub fn from_json(value: &Value) -> FieldSet {
        let mut out = FieldSet::default();
        if let Value::Object(map) = value {
            for (key, child) in map {
                if key == "." {
                    out.member = true;
                } else {
                    let mut child_set = FieldSet::from_json(child);
                    child_set.member |= child.as_object().is_some_and(Map::is_empty);
                    out.children.insert(key.clone(), child_set);
                }
            }
        }
        out
    }

    /// Writes `fieldsV1`.
    pub fn to_json(&self) -> Value {
        let mut map = Map::new();
        if self.member && !self.children.is_empty() {
            map.insert(".".to_owned(), Value::Object(Map::new()));
        }
        for (key, child) in &self.children {
            map.insert(key.clone(), child.to_json());
        }
        Value::Object(map)
    }

    /// Whether any of these paths is in written-down `fieldsV1`.
    pub fn meets(&self, written: &Value) -> bool {
        let Value::Object(map) = written else { return false };
        if self.member && (map.is_empty() || map.contains_key(".")) {
            return true;
        }
        self.children.iter().any(|(key, child)| map.get(key).is_some_and(|written| child.meets(written)))
    }

    /// Whether all of these paths are in written-down `fieldsV1`.
    pub fn is_within(&self, written: &Value) -> bool {
        let Value::Object(map) = written else { return false };
        if self.member && !(map.is_empty() || map.contains_key(".")) {
            return false;
        }
        self.children.iter().all(|(key, child)| {
            child.is_empty() || map.get(key).is_some_and(|written| child.is_within(written))
        })
    }

    /// Whether this very path is in it.
    pub fn has(&self, path: &[String]) -> bool {
        match path {
            [] => self.member,
            [first, rest @ ..] => self.children.get(first).is_some_and(|child| child.has(rest)),
        }
    }

    /// Whether there is no path in it.
    pub fn is_empty(&self) -> bool {
        !self.member && self.children.values().all(FieldSet::is_empty)
    }

    /// Adds a path.
    pub fn insert(&mut self, path: &[String]) {
        let mut node = self;
        for step in path {
            node = node.children.entry(step.clone()).or_default();
        }
        node.member = true;
    }

    /// Removes a path and everything under it.
    pub fn remove_tree(&mut self, path: &[&str]) {
        match path {
            [] => {}
            [last] => {
                self.children.remove(*last);
            }
            [first, rest @ ..] => {
                if let Some(child) = self.children.get_mut(*first) {
                    child.remove_tree(rest);
                    if child.is_empty() {
                        self.children.remove(*first);
                    }
                }
            }
        }
    }

    fn child(&self, step: &str) -> Option<&FieldSet> {
        self.children.get(step)
    }

    /// Paths in either.
    pub fn union(mut self, other: &FieldSet) -> FieldSet {
        self.add(other);
        self
    }

    fn add(&mut self, other: &FieldSet) {
        self.member |= other.member;
        for (key, child) in &other.children {
            match self.children.get_mut(key) {
                Some(mine) => mine.add(child),
                None => {
                    self.children.insert(key.clone(), child.clone());
                }
            }
        }
    }

    /// Paths in `self` and not in `other`; paths below a path of `other` stay.
    pub fn difference(mut self, other: &FieldSet) -> FieldSet {
        self.subtract(other);
        self
    }

    fn subtract(&mut self, other: &FieldSet) {
        self.member &= !other.member;
        for (key, theirs) in &other.children {
            if let Some(mine) = self.children.get_mut(key) {
                mine.subtract(theirs);
                if mine.is_empty() {
                    self.children.remove(key);
                }
            }
        }
    }

    /// Paths in both.
    pub fn intersection(&self, other: &FieldSet) -> FieldSet {
        let mut out = FieldSet { member: self.member && other.member, children: BTreeMap::new() };
        for (key, mine) in &self.children {
            if let Some(theirs) = other.children.get(key) {
                let both = mine.intersection(theirs);
                if !both.is_empty() {
                    out.children.insert(key.clone(), both);
                }
            }
        }
        out
    }

    /// Adds the named fields on the way to every path.
    pub fn with_named_parents(&self, ty: &Type) -> FieldSet {
        let mut out = FieldSet { member: self.member, children: BTreeMap::new() };
        let any = Type::any();
        for (key, child) in &self.children {
            let (named, entry) = match (key.strip_prefix("f:"), &ty.shape) {
                (Some(field), Shape::Struct { .. } | Shape::Map(_)) => {
                    (ty.has_named(field), ty.entry(field).unwrap_or(&any))
                }
                (None, Shape::List { item, .. }) => (false, item),
                _ => (false, &any),
            };
            let mut child_out = child.with_named_parents(entry);
            if named && !child.children.is_empty() {
                child_out.member = true;
            }
            out.children.insert(key.clone(), child_out);
        }
        out
    }

    /// All paths, in the notation of conflict messages.
    pub fn paths(&self) -> Vec<String> {
        let mut out = Vec::new();
        self.collect("", &mut out);
        out
    }

    fn collect(&self, prefix: &str, out: &mut Vec<String>) {
        // All members of a level come before what is below them.
        let each = || self.children.iter().map(|(key, child)| (format!("{prefix}{}", shown(key)), child));
        out.extend(each().filter(|(_, child)| child.member).map(|(path, _)| path));
        for (path, child) in each() {
            child.collect(&path, out);
        }
    }
}

fn shown(step: &str) -> String {
    if let Some(field) = step.strip_prefix("f:") {
        return format!(".{field}");
    }
    if let Some(value) = step.strip_prefix("v:") {
        return format!("[={value}]");
    }
    if let Some(keys) = step.strip_prefix("k:")
        && let Ok(Value::Object(map)) = serde_json::from_str::<Value>(keys)
    {
        let list: Vec<_> = map.iter().map(|(key, value)| format!("{key}={value}")).collect();
        return format!("[{}]", list.join(","));
    }
    format!("[{}]", step.trim_start_matches("i:"))
}

/// The step that leads to a list item.
pub fn item_step(item: &Value, ty: &Type, list: &ListKind) -> String {
    match list {
        ListKind::Map(keys) => {
            let mut sorted: Vec<&String> = keys.iter().collect();
            sorted.sort();
            let mut map = Map::new();
            for key in sorted {
                if let Some(value) = item.get(key).cloned().or_else(|| key_default(ty, key)) {
                    map.insert(key.clone(), value);
                }
            }
            format!("k:{}", Value::Object(map))
        }
        ListKind::Set | ListKind::Atomic => format!("v:{item}"),
    }
}

/// What a key is where an item leaves it out.
pub fn key_default(item: &Type, key: &str) -> Option<Value> {
    if key == "protocol" {
        return Some(Value::from("TCP"));
    }
    let Shape::Struct { fields, .. } = &item.shape else { return None };
    let field = fields.get(key).filter(|field| field.omit == Omit::Never)?;
    match &field.ty.shape {
        Shape::Scalar(Scalar::String) => Some(Value::from("")),
        Shape::Scalar(Scalar::Integer | Scalar::Long) => Some(Value::from(0)),
        _ => None,
    }
}

/// All paths that an object has.
pub fn of_value(value: &Value, ty: &Type) -> FieldSet {
    let mut out = FieldSet::default();
    collect(value, ty, &mut out);
    out
}

fn collect(value: &Value, ty: &Type, out: &mut FieldSet) {
    if ty.is_leaf(value) {
        out.member = true;
        return;
    }
    match value {
        Value::Object(map) => {
            for (key, entry) in map {
                let any = Type::any();
                let mut child = FieldSet::default();
                collect(entry, ty.entry(key).unwrap_or(&any), &mut child);
                let empty = entry.is_null() || entry.as_object().is_some_and(Map::is_empty);
                child.member |= empty || !ty.has_named(key);
                if !child.is_empty() {
                    out.children.insert(format!("f:{key}"), child);
                }
            }
        }
        Value::Array(items) => {
            if let Shape::List { item: item_type, list } = &ty.shape {
                for item in items {
                    let child = out.children.entry(item_step(item, item_type, list)).or_default();
                    child.member = true;
                    collect(item, item_type, child);
                }
            }
        }
        _ => {}
    }
}

/// What differs between two objects.
#[derive(Debug, Default)]
pub struct Comparison {
    /// Only in the old one.
    pub removed: FieldSet,
    /// In both, with other values.
    pub modified: FieldSet,
    /// Only in the new one.
    pub added: FieldSet,
}

impl Comparison {
    /// Leaves out what this kind of write cannot touch.
    pub fn restrict(&mut self, keep: impl Fn(&mut FieldSet)) {
        keep(&mut self.removed);
        keep(&mut self.modified);
        keep(&mut self.added);
    }
}

/// Compares two objects of a type.
pub fn compare(old: &Value, new: &Value, ty: &Type) -> Comparison {
    let mut out = Comparison::default();
    compare_at(Some(old), Some(new), ty, &mut Vec::new(), &mut out);
    out
}

fn compare_at(
    old: Option<&Value>,
    new: Option<&Value>,
    ty: &Type,
    path: &mut Vec<String>,
    out: &mut Comparison,
) {
    if old != new {
        differ_at(old, new, ty, path, out);
    }
}

/// The same for two values that differ.
fn differ_at(
    old: Option<&Value>,
    new: Option<&Value>,
    ty: &Type,
    path: &mut Vec<String>,
    out: &mut Comparison,
) {
    let leaf = |value: Option<&Value>| value.is_none_or(|value| ty.is_leaf(value));
    let empty = |value: Option<&Value>| match value {
        None | Some(Value::Null) => true,
        Some(Value::Object(map)) => map.is_empty(),
        Some(Value::Array(items)) => items.is_empty(),
        Some(_) => false,
    };
    let same_shape = match (old, new) {
        (Some(Value::Object(_)), Some(Value::Array(_))) | (Some(Value::Array(_)), Some(Value::Object(_))) => {
            false
        }
        (Some(Value::Object(_) | Value::Array(_)), Some(new)) if !new.is_object() && !new.is_array() => {
            new.is_null()
        }
        (Some(old), Some(Value::Object(_) | Value::Array(_))) if !old.is_object() && !old.is_array() => {
            old.is_null()
        }
        _ => true,
    };
    if (leaf(old) && leaf(new)) || (empty(old) && empty(new)) || !same_shape {
        match (old, new) {
            (None, _) => out.added.insert(path),
            (_, None) => out.removed.insert(path),
            _ => out.modified.insert(path),
        }
        return;
    }
    // One side may be null, which takes the shape of the other.
    if let (Some(Value::Object(_)), _) | (_, Some(Value::Object(_))) = (old, new) {
        let nothing = Map::new();
        let (before, after) = (
            old.and_then(Value::as_object).unwrap_or(&nothing),
            new.and_then(Value::as_object).unwrap_or(&nothing),
        );
        let any = Type::any();
        for key in before.keys().chain(after.keys().filter(|key| !before.contains_key(*key))) {
            let (left, right) = (before.get(key), after.get(key));
            if left != right {
                path.push(format!("f:{key}"));
                differ_at(left, right, ty.entry(key).unwrap_or(&any), path, out);
                path.pop();
            }
        }
    } else if let Shape::List { item, list } = &ty.shape {
        fn index<'a>(
            value: Option<&'a Value>,
            item: &Type,
            list: &ListKind,
        ) -> BTreeMap<String, Vec<&'a Value>> {
            let mut map: BTreeMap<String, Vec<&Value>> = BTreeMap::new();
            for one in value.and_then(Value::as_array).into_iter().flatten() {
                map.entry(item_step(one, item, list)).or_default().push(one);
            }
            map
        }
        let (before, after) = (index(old, item, list), index(new, item, list));
        for step in before.keys().chain(after.keys().filter(|step| !before.contains_key(*step))) {
            path.push(step.clone());
            let none = Vec::new();
            let (left, right) = (before.get(step).unwrap_or(&none), after.get(step).unwrap_or(&none));
            match (left.len(), right.len()) {
                (0..=1, 0..=1) => compare_at(left.first().copied(), right.first().copied(), item, path, out),
                (2.., 2..) => {
                    if left != right {
                        out.modified.insert(path);
                    }
                }
                (2.., _) => {
                    if let Some(one) = right.first() {
                        compare_at(None, Some(one), item, path, out);
                    }
                    out.removed.insert(path);
                }
                (_, _) => {
                    if let Some(one) = left.first() {
                        compare_at(Some(one), None, item, path, out);
                    }
                    out.added.insert(path);
                }
            }
            path.pop();
        }
    }
    if old.is_none() {
        out.added.insert(path);
    } else if new.is_none() {
        out.removed.insert(path);
    }
}

/// The object without the paths of a set.
pub fn without(value: &Value, ty: &Type, gone: &FieldSet) -> Value {
    if ty.atomic {
        return value.clone();
    }
    match value {
        Value::Object(map) if !map.is_empty() => {
            let any = Type::any();
            let mut out = Map::new();
            for (key, entry) in map {
                let step = format!("f:{key}");
                match gone.child(&step) {
                    Some(child) if child.member => {}
                    Some(child) if !child.is_empty() => {
                        out.insert(key.clone(), without(entry, ty.entry(key).unwrap_or(&any), child));
                    }
                    _ => {
                        out.insert(key.clone(), entry.clone());
                    }
                }
            }
            if out.is_empty() { Value::Null } else { Value::Object(out) }
        }
        Value::Array(items) if !items.is_empty() => {
            let Shape::List { item: item_type, list } = &ty.shape else { return value.clone() };
            let mut out = Vec::new();
            for item in items {
                match gone.child(&item_step(item, item_type, list)) {
                    Some(child) if child.member => {}
                    Some(child) if !child.is_empty() => out.push(without(item, item_type, child)),
                    _ => out.push(item.clone()),
                }
            }
            if out.is_empty() { Value::Null } else { Value::Array(out) }
        }
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::builtin::types;

    #[test]
    fn sets_survive_being_written_down() {
        for text in [
            json!({"f:spec": {"f:replicas": {}, "f:template": {".": {}, "f:x": {}}}}),
            json!({"f:metadata": {"f:finalizers": {".": {}, "v:\"a\"": {}}}}),
            json!({}),
        ] {
            assert_eq!(FieldSet::from_json(&text).to_json(), text);
        }
    }

    #[test]
    fn comparison_of_pod_specs() {
        let ty = types::find("core.v1.PodSpec").expect("pod spec");
        let old = json!({"containers": [{"name": "a", "image": "1", "args": ["x"]}, {"name": "b"}], "nodeName": "n"});
        let new = json!({"containers": [{"name": "a", "image": "2", "args": ["x"]}, {"name": "c"}]});
        let got = compare(&old, &new, &ty);
        assert_eq!(got.modified.paths(), [".containers[name=\"a\"].image"]);
        assert_eq!(got.added.paths(), [".containers[name=\"c\"]", ".containers[name=\"c\"].name"]);
        assert_eq!(
            got.removed.paths(),
            [".nodeName", ".containers[name=\"b\"]", ".containers[name=\"b\"].name"]
        );
    }

    #[test]
    fn atomic_values_are_one_path() {
        let ty = types::find("apps.v1.ReplicaSetSpec").expect("spec");
        let set = of_value(&json!({"selector": {"matchLabels": {"a": "b"}}, "replicas": 1}), &ty);
        assert_eq!(set.paths(), [".replicas", ".selector"]);
    }

    #[test]
    fn written_sets_answer_without_being_read() {
        let set = |paths: &[&[&str]]| {
            let mut out = FieldSet::default();
            for path in paths {
                out.insert(&path.iter().map(|step| (*step).to_owned()).collect::<Vec<_>>());
            }
            out
        };
        let written = json!({"f:a": {}, "f:b": {".": {}, "f:c": {}}, "f:d": {"f:e": {}}});
        for (paths, meets, within) in [
            (&[&["f:a"][..]][..], true, true),
            (&[&["f:b"]], true, true),
            (&[&["f:b", "f:c"], &["f:x"]], true, false),
            (&[&["f:d"]], false, false),
            (&[&["f:a", "f:z"]], false, false),
            (&[], false, true),
        ] {
            let set = set(paths);
            assert_eq!((set.meets(&written), set.is_within(&written)), (meets, within), "{paths:?}");
            let read = FieldSet::from_json(&written);
            assert_eq!(set.meets(&written), !set.intersection(&read).is_empty(), "{paths:?}");
            assert_eq!(set.is_within(&written), set.clone().difference(&read).is_empty(), "{paths:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn what_was_added_can_be_taken_away(names in proptest::collection::btree_set("[a-d]", 0..4), more in proptest::collection::btree_set("[a-d]", 0..4)) {
            let ty = types::find("core.v1.PodSpec").expect("pod spec");
            let spec = |names: &std::collections::BTreeSet<String>| json!({"hostname": "h", "containers": names.iter().map(|name| json!({"name": name})).collect::<Vec<_>>()});
            let (old, new) = (spec(&names), spec(&more));
            let got = compare(&old, &new, &ty);
            let back = without(&new, &ty, &got.added);
            let left: Vec<_> = names.intersection(&more).cloned().collect();
            let kept: Vec<_> = back["containers"].as_array().into_iter().flatten().filter_map(|c| c["name"].as_str().map(str::to_owned)).collect();
            proptest::prop_assert_eq!(kept, left);
        }
    }
}

//! Objects, the one counter of resource versions, and the journal of changes.
//!
//! Decides what a version is and how far back history reaches. It does not know what objects mean, who
//! may write them or whether they are valid.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::Value;

/// Namespace (empty for kinds without) and name.
pub type ObjectKey = (String, String);

/// One version of one object.
#[derive(Debug)]
pub struct Entry {
    /// The object, with `resourceVersion`, in the stored version of its kind.
    pub value: Arc<Value>,
    /// Its resource version.
    pub version: u64,
    /// What is stored as null, an empty list or an empty map in its metadata. A reader does not see it, but a
    /// write without it is a change.
    pub empties: Vec<(&'static str, Value)>,
    json: OnceLock<Bytes>,
}

impl Entry {
    /// Wraps an object.
    pub fn new(mut value: Value, version: u64) -> Arc<Entry> {
        let empties = drop_empties(&mut value);
        Arc::new(Entry { value: Arc::new(value), version, empties, json: OnceLock::new() })
    }

    /// Wraps an object that is not stored: nothing has dropped what is empty in it.
    pub fn unstored(value: Value, version: u64) -> Arc<Entry> {
        Arc::new(Entry { value: Arc::new(value), version, empties: Vec::new(), json: OnceLock::new() })
    }

    /// The object as JSON text, made once and shared.
    pub fn json(&self) -> &Bytes {
        self.json.get_or_init(|| Bytes::from(serde_json::to_vec(&*self.value).unwrap_or_default()))
    }
}

/// Takes what is empty out of the metadata; tells what there was. Only the apply of a custom object brings some.
pub fn drop_empties(value: &mut Value) -> Vec<(&'static str, Value)> {
    let mut out = Vec::new();
    let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) else { return out };
    for key in ["annotations", "finalizers", "labels", "ownerReferences"] {
        let is_empty = match metadata.get(key) {
            Some(Value::Array(items)) => items.is_empty(),
            Some(Value::Object(map)) => map.is_empty(),
            Some(Value::Null) => true,
            _ => false,
        };
        if is_empty && let Some(empty) = metadata.remove(key) {
            out.push((key, empty));
        }
    }
    out
}

/// One committed write.
#[derive(Clone, Debug)]
pub struct Change {
    /// Resource version that the write got.
    pub resource_version: u64,
    /// When.
    pub at: Timestamp,
    /// Kind of the object.
    pub kind: Arc<str>,
    /// Table the object lives in.
    pub table: Arc<str>,
    /// Namespace and name.
    pub key: Arc<ObjectKey>,
    /// The object before; `None` for a creation.
    pub before: Option<Arc<Entry>>,
    /// The object after; for a deletion its last state.
    pub after: Arc<Entry>,
    /// Whether the object is gone.
    pub deleted: bool,
}

impl Change {
    /// The object that a controller should look at: the new one, or the last one of a deletion.
    pub fn object(&self) -> &Arc<Value> {
        &self.after.value
    }
}

/// Everything that is stored.
#[derive(Debug)]
pub struct Store {
    tables: BTreeMap<Arc<str>, BTreeMap<ObjectKey, Arc<Entry>>>,
    version: u64,
    journal: VecDeque<Arc<Change>>,
    /// Everything up to and including this version has left the journal.
    compacted: u64,
    history: usize,
}

impl Store {
    /// An empty store that keeps the last `history` changes.
    pub fn new(history: usize) -> Store {
        Store { tables: BTreeMap::new(), version: 1, journal: VecDeque::new(), compacted: 0, history }
    }

    /// The latest resource version.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The last version that has left the journal.
    pub fn compacted(&self) -> u64 {
        self.compacted
    }

    /// Forgets all history up to now.
    pub fn compact(&mut self) {
        self.journal.clear();
        self.compacted = self.version;
    }

    /// One object.
    pub fn get(&self, table: &str, namespace: &str, name: &str) -> Option<&Arc<Entry>> {
        self.tables.get(table)?.get(&(namespace.to_owned(), name.to_owned()))
    }

    /// All objects of a table, or of one namespace, sorted by namespace and name.
    pub fn list<'a>(
        &'a self,
        table: &str,
        namespace: Option<&'a str>,
    ) -> impl Iterator<Item = (&'a ObjectKey, &'a Arc<Entry>)> + 'a {
        let start = (namespace.unwrap_or_default().to_owned(), String::new());
        self.tables
            .get(table)
            .into_iter()
            .flat_map(move |objects| objects.range(start.clone()..))
            .take_while(move |(key, _)| namespace.is_none_or(|namespace| key.0 == namespace))
    }

    /// Tables that hold something, sorted.
    pub fn tables(&self) -> impl Iterator<Item = &Arc<str>> {
        self.tables.iter().filter(|(_, objects)| !objects.is_empty()).map(|(table, _)| table)
    }

    /// A table as it was at `version`; `None` if that has left the journal.
    pub fn list_at(
        &self,
        table: &str,
        namespace: Option<&str>,
        version: u64,
    ) -> Option<Vec<(ObjectKey, Arc<Entry>)>> {
        if version < self.compacted {
            return None;
        }
        let mut objects: BTreeMap<ObjectKey, Arc<Entry>> =
            self.list(table, namespace).map(|(key, entry)| (key.clone(), entry.clone())).collect();
        for change in self.journal.iter().rev().take_while(|change| change.resource_version > version) {
            if &*change.table != table || namespace.is_some_and(|namespace| change.key.0 != namespace) {
                continue;
            }
            match &change.before {
                Some(before) => objects.insert((*change.key).clone(), before.clone()),
                None => objects.remove(&*change.key),
            };
        }
        Some(objects.into_iter().collect())
    }

    /// Changes after `version`, oldest first.
    pub fn since(&self, version: u64) -> impl Iterator<Item = &Arc<Change>> {
        let start = self.journal.partition_point(|change| change.resource_version <= version);
        self.journal.range(start..)
    }

    /// Stores an object under the next resource version, which is written into it.
    pub fn put(
        &mut self,
        kind: &Arc<str>,
        table: &Arc<str>,
        key: ObjectKey,
        mut value: Value,
        at: Timestamp,
    ) -> Arc<Change> {
        self.version += 1;
        set_version(&mut value, self.version);
        let entry = Entry::new(value, self.version);
        let before = self.tables.entry(table.clone()).or_default().insert(key.clone(), entry.clone());
        self.record(Change {
            resource_version: self.version,
            at,
            kind: kind.clone(),
            table: table.clone(),
            key: Arc::new(key),
            before,
            after: entry,
            deleted: false,
        })
    }

    /// Removes an object. Its last state, under the next resource version, goes into the journal.
    pub fn remove(
        &mut self,
        kind: &Arc<str>,
        table: &Arc<str>,
        key: &ObjectKey,
        at: Timestamp,
    ) -> Option<Arc<Change>> {
        let before = self.tables.get_mut(table)?.remove(key)?;
        self.version += 1;
        let mut value = (*before.value).clone();
        set_version(&mut value, self.version);
        Some(self.record(Change {
            resource_version: self.version,
            at,
            kind: kind.clone(),
            table: table.clone(),
            key: Arc::new(key.clone()),
            before: Some(before),
            after: Entry::new(value, self.version),
            deleted: true,
        }))
    }

    fn record(&mut self, change: Change) -> Arc<Change> {
        let change = Arc::new(change);
        self.journal.push_back(change.clone());
        self.trim();
        change
    }

    fn trim(&mut self) {
        while self.journal.len() > self.history {
            if let Some(gone) = self.journal.pop_front() {
                self.compacted = gone.resource_version;
            }
        }
    }
}

fn set_version(value: &mut Value, version: u64) {
    value["metadata"]["resourceVersion"] = Value::from(version.to_string());
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn put(store: &mut Store, name: &str, n: i64) -> u64 {
        let (kind, table) = ("ConfigMap".into(), "configmaps".into());
        let value = json!({"metadata": {"name": name}, "n": n});
        store
            .put(&kind, &table, ("a".to_owned(), name.to_owned()), value, Timestamp::UNIX_EPOCH)
            .resource_version
    }

    #[test]
    fn the_past_can_be_listed_until_it_is_forgotten() {
        let mut store = Store::new(3);
        let first = put(&mut store, "x", 1);
        let second = put(&mut store, "y", 1);
        put(&mut store, "x", 2);
        store.remove(
            &"ConfigMap".into(),
            &"configmaps".into(),
            &("a".into(), "y".into()),
            Timestamp::UNIX_EPOCH,
        );
        let names = |at| {
            let objects = store.list_at("configmaps", None, at)?;
            Some(
                objects
                    .iter()
                    .map(|(key, entry)| format!("{}{}", key.1, entry.value["n"]))
                    .collect::<Vec<_>>()
                    .join(" "),
            )
        };
        assert_eq!(names(first).as_deref(), Some("x1"));
        assert_eq!(names(second).as_deref(), Some("x1 y1"));
        assert_eq!(names(store.version()).as_deref(), Some("x2"));
        assert_eq!(names(first - 1), None, "the creation of x has left the journal");
    }
}

//! One object as it comes from a list or a watch, decoded so that it cannot fail the stream.
//!
//! Reads the metadata that a cache needs leniently, and makes the slim form of the rest; an object that
//! has none keeps the reason instead. `managedFields` are skipped while reading. All of that happens
//! while a list is read, so that only one object of it at a time exists in its full form: a page of
//! full objects takes more memory than the whole cache, and it would never come back.

use super::{Body, Slim};
use crate::queue::panic_text;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{
    Resource,
    core::{ApiResource, DynamicResourceScope},
};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Value};
use std::{borrow::Cow, fmt, panic::catch_unwind, sync::Arc};

/// An object of any kind with its slim form, if it has one.
pub(super) struct Watched<T> {
    /// Name, namespace, uid and resource version; nothing else.
    metadata: ObjectMeta,
    /// The uids of its owners.
    pub(super) owners: Box<[Arc<str>]>,
    /// The slim form, or why there is none.
    pub(super) body: Body<T>,
}

impl<T> Clone for Watched<T> {
    fn clone(&self) -> Self {
        Self { metadata: self.metadata.clone(), owners: self.owners.clone(), body: self.body.clone() }
    }
}

impl<T> fmt::Debug for Watched<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.debug_struct("Watched").field("metadata", &self.metadata).finish_non_exhaustive()
    }
}

impl<T> Watched<T> {
    pub(super) fn name(&self) -> Option<&str> {
        self.metadata.name.as_deref()
    }

    pub(super) fn namespace(&self) -> &str {
        self.metadata.namespace.as_deref().unwrap_or_default()
    }

    pub(super) fn version(&self) -> &str {
        self.metadata.resource_version.as_deref().unwrap_or_default()
    }
}

impl<'de, T: Slim> Deserialize<'de> for Watched<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Pruned::Object.deserialize(deserializer)?;
        let metadata = &value["metadata"];
        let text = |field: &str| metadata[field].as_str().map(str::to_owned);
        let owners = metadata["ownerReferences"].as_array().map(Vec::as_slice).unwrap_or_default();
        Ok(Self {
            owners: owners.iter().filter_map(|owner| owner["uid"].as_str().map(Arc::from)).collect(),
            metadata: ObjectMeta {
                name: text("name"),
                namespace: text("namespace"),
                uid: text("uid"),
                resource_version: text("resourceVersion"),
                ..ObjectMeta::default()
            },
            body: slim(value),
        })
    }
}

fn slim<T: Slim>(value: Value) -> Body<T> {
    let read = catch_unwind(|| T::from_object(value))
        .unwrap_or_else(|panic| Err(format!("panic while reading it: {}", panic_text(panic.as_ref()))));
    match read {
        Ok(object) => Body::Good(Arc::new(object)),
        Err(message) => Body::Broken(message.into()),
    }
}

impl<T> Resource for Watched<T> {
    type DynamicType = ApiResource;
    type Scope = DynamicResourceScope;

    fn kind(resource: &ApiResource) -> Cow<'_, str> {
        resource.kind.as_str().into()
    }

    fn group(resource: &ApiResource) -> Cow<'_, str> {
        resource.group.as_str().into()
    }

    fn version(resource: &ApiResource) -> Cow<'_, str> {
        resource.version.as_str().into()
    }

    fn api_version(resource: &ApiResource) -> Cow<'_, str> {
        resource.api_version.as_str().into()
    }

    fn plural(resource: &ApiResource) -> Cow<'_, str> {
        resource.plural.as_str().into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// Reads JSON into a [`Value`] without the parts that nobody here looks at.
#[derive(Clone, Copy)]
enum Pruned {
    Object,
    Metadata,
}

impl<'de> DeserializeSeed<'de> for Pruned {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Pruned {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("a Kubernetes object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(field) = access.next_key::<String>()? {
            let value = match (self, field.as_str()) {
                (Self::Object, "metadata") => access.next_value_seed(Self::Metadata)?,
                (Self::Metadata, "managedFields") => {
                    access.next_value::<IgnoredAny>()?;
                    continue;
                }
                (Self::Object | Self::Metadata, _) => access.next_value::<Value>()?,
            };
            map.insert(field, value);
        }
        Ok(Value::Object(map))
    }

    // What is not an object has no name and no version, so nothing of it is kept.

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        while access.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Value::Null)
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_str<E>(self, _: &str) -> Result<Value, E> {
        Ok(Value::Null)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::ObjectList;
    use serde_json::json;

    #[derive(Clone, Debug, Deserialize)]
    struct Sized {
        spec: Spec,
    }

    impl Slim for Sized {
        fn from_object(object: Value) -> Result<Self, String> {
            serde_json::from_value(object).map_err(|error| error.to_string())
        }
    }

    impl Slim for Value {
        fn from_object(object: Value) -> Result<Self, String> {
            Ok(object)
        }
    }

    #[derive(Clone, Debug, Deserialize)]
    struct Spec {
        replicas: i32,
    }

    #[test]
    fn a_bad_object_spoils_nothing_but_itself() {
        let list = json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": "9"}, "items": [
            {"metadata": {"name": "good", "namespace": "a", "resourceVersion": "5", "uid": "u1",
                          "ownerReferences": [{"uid": "o1", "kind": 7}, {"name": "no uid"}, "odd"],
                          "managedFields": [{"manager": "kubectl"}]},
             "spec": {"replicas": 3, "template": {"deep": [1, 2, 3]}}},
            {"metadata": {"name": "bad", "namespace": "a", "resourceVersion": "6"}, "spec": {"replicas": "x"}},
            {"metadata": {"name": 5, "ownerReferences": "odd"}, "spec": {"replicas": 3}},
            {"metadata": null},
            {}, 7, -7, 7.5, "text", null, true, [1, [2]],
        ]})
        .to_string();
        let list: ObjectList<Watched<Sized>> = serde_json::from_str(&list).expect("never fails");
        let [good, bad, nameless, rest @ ..] = list.items.as_slice() else { panic!("items are missing") };
        assert_eq!((good.name(), good.namespace(), good.version()), (Some("good"), "a", "5"));
        assert_eq!(*good.owners, ["o1".into()]);
        assert_eq!(good.body.good().map(|slim| slim.spec.replicas), Some(3));
        assert_eq!((bad.name(), bad.version()), (Some("bad"), "6"));
        let message = bad.body.broken().expect("bad");
        assert_eq!(message, "invalid type: string \"x\", expected i32");
        assert_eq!(nameless.name(), None);
        assert_eq!(rest.len(), 9);
        assert!(rest.iter().all(|object| object.name().is_none() && object.body.broken().is_some()));
    }

    #[test]
    fn managed_fields_are_skipped_at_their_place_only() {
        let object = json!({"metadata": {"name": "x", "managedFields": [1], "labels": {"managedFields": "kept"}},
                            "managedFields": "kept", "spec": {"metadata": {"managedFields": "kept"}}});
        let watched: Watched<Value> = serde_json::from_str(&object.to_string()).expect("never fails");
        let value = watched.body.good().expect("any value");
        assert_eq!(
            **value,
            json!({"metadata": {"name": "x", "labels": {"managedFields": "kept"}},
                   "managedFields": "kept", "spec": {"metadata": {"managedFields": "kept"}}})
        );
    }
}

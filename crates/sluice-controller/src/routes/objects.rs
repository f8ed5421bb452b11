//! The objects that routes stand in, from watches that begin when the first Rollout names their kind.

use std::sync::Arc;

use kube::core::ApiResource;
use serde_json::Value;
use sluice_traffic::{By, ObjectKind, ObjectRef, Selection};
use tokio::task::JoinSet;

use super::NotReady;
use crate::cache::{Cache, LazyCaches, ObjectKey, Slim, Source, SyncState};

/// An object of a router, as its text: most of them are never looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteObject {
    text: Arc<str>,
    api_version: Option<Arc<str>>,
    /// `metadata.labels`, for routers that pick by them: an object is not read for that.
    labels: Value,
}

impl Slim for RouteObject {
    fn from_object(object: Value) -> Result<RouteObject, String> {
        let api_version = object["apiVersion"].as_str().map(Arc::from);
        let labels = object["metadata"]["labels"].clone();
        Ok(RouteObject { text: object.to_string().into(), api_version, labels })
    }
}

impl RouteObject {
    /// The object.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_default()
    }
}

/// What is known of an object that a router asks for.
#[derive(Debug)]
pub enum Found {
    /// It is this.
    Object(Value),
    /// There is none.
    Nothing,
    /// It cannot be read, for this reason.
    Broken(String),
    /// The cluster does not serve such objects.
    NoSuchKind(String),
}

/// The caches, by kind.
#[derive(Debug)]
pub struct RouteObjects(LazyCaches<ObjectKind, RouteObject>);

/// The name under which Rollouts are indexed by an object of a router.
pub fn index_name(kind: ObjectKind, namespace: &str, name: &str) -> String {
    format!("{}.{}/{namespace}/{name}", kind.kind, kind.group)
}

/// The name under which Rollouts are indexed that pick objects of this kind and namespace by label.
pub fn index_name_of_all(kind: ObjectKind, namespace: &str) -> String {
    index_name(kind, namespace, "")
}

impl RouteObjects {
    /// No watches yet. `source` says how a kind is watched, `follow` begins it.
    pub fn new(
        source: impl Fn(Vec<ApiResource>) -> Source + Send + Sync + 'static,
        follow: impl Fn(ObjectKind, Source, Cache<RouteObject>, &mut JoinSet<()>) + Send + Sync + 'static,
    ) -> RouteObjects {
        RouteObjects(LazyCaches::new(move |kind: ObjectKind, tasks: &mut JoinSet<()>| {
            let resources = kind.versions.iter().map(|version| resource(kind, version)).collect();
            let cache: Cache<RouteObject> = Cache::new(kind.kind);
            follow(kind, source(resources), cache.clone(), tasks);
            cache
        }))
    }

    fn cache(&self, kind: ObjectKind) -> Cache<RouteObject> {
        self.0.cache(kind)
    }

    /// Looks an object up, and begins to follow its kind if nobody has asked for it before.
    ///
    /// # Errors
    /// The first list is not complete.
    pub fn get(&self, reference: &ObjectRef) -> Result<Found, NotReady> {
        let cache = self.cache(reference.kind);
        let key = ObjectKey::new(reference.namespace.as_str(), reference.name.as_str());
        match cache.sync() {
            SyncState::Starting => Err(NotReady::Reading),
            SyncState::Absent => {
                let (kind, group) = (reference.kind.kind, reference.kind.group);
                let problem = format!(
                    "the cluster serves no {kind} of {group}: install it, or take the router out of the spec"
                );
                Ok(Found::NoSuchKind(problem))
            }
            SyncState::Synced => Ok(match cache.body(&key) {
                None => Found::Nothing,
                Some(body) => match body.good() {
                    Some(object) => Found::Object(object.json()),
                    None => Found::Broken(body.broken().unwrap_or_default().to_owned()),
                },
            }),
        }
    }

    /// Looks up the objects that are picked otherwise than by name, and begins to follow their kind if nobody has asked
    /// for it before.
    ///
    /// # Errors
    /// The first list is not complete.
    pub fn select(&self, selection: &Selection) -> Result<Vec<(ObjectRef, Found)>, NotReady> {
        let cache = self.cache(selection.kind);
        let reference = |name: &str| ObjectRef {
            kind: selection.kind,
            namespace: selection.namespace.clone(),
            name: name.to_owned(),
        };
        if cache.sync() != SyncState::Synced {
            let all = reference("");
            return Ok(match self.get(&all)? {
                Found::NoSuchKind(problem) => vec![(all, Found::NoSuchKind(problem))],
                _ => Vec::new(),
            });
        }
        let mut picked = Vec::new();
        if let By::Owner(uid) = &selection.by {
            let owned = cache.owned_by(uid).into_iter();
            let owned = owned.filter_map(|(key, body)| Some((reference(&key.name), body.good()?.json())));
            picked.extend(owned.filter(|(reference, object)| selection.takes(reference, object)));
        } else {
            cache.for_each(|key, body| {
                if *key.namespace == *selection.namespace
                    && let Some(object) = body.good().filter(|object| selection.fits(&object.labels))
                {
                    picked.push((reference(&key.name), object.json()));
                }
            });
        }
        Ok(picked.into_iter().map(|(reference, object)| (reference, Found::Object(object))).collect())
    }

    /// The `apiVersion` in which the cluster serves a kind.
    pub fn served(&self, kind: ObjectKind) -> Option<String> {
        self.cache(kind).served()
    }

    /// The resource version that the cache shows.
    pub fn version(&self, kind: ObjectKind, key: &ObjectKey) -> Option<Arc<str>> {
        self.cache(kind).version(key)
    }

    /// The path of the collection that an object of a kind stands in, by the version that is served.
    pub fn path(&self, kind: ObjectKind, namespace: &str, name: &str) -> String {
        let key = ObjectKey::new(namespace, name);
        let known = self.cache(kind).get(&key).and_then(|object| object.api_version.clone());
        path(kind, known.as_deref(), namespace)
    }

    /// Lists a kind anew.
    pub fn relist(&self, kind: ObjectKind) {
        self.cache(kind).relist();
    }

    /// Ends all watches.
    pub async fn shutdown(&self) {
        self.0.shutdown().await;
    }

    /// The kinds that are followed: name, objects, repairs.
    pub fn counts(&self) -> Vec<(&'static str, usize, u64)> {
        let counts =
            |(kind, cache): (ObjectKind, Cache<RouteObject>)| (kind.kind, cache.len(), cache.repairs());
        self.0.all().into_iter().map(counts).collect()
    }
}

fn resource(kind: ObjectKind, version: &str) -> ApiResource {
    let gvk = kube::core::GroupVersionKind::gvk(kind.group, version, kind.kind);
    ApiResource::from_gvk_with_plural(&gvk, kind.plural)
}

/// The path of a kind's collection in a namespace.
pub fn path(kind: ObjectKind, api_version: Option<&str>, namespace: &str) -> String {
    let preferred = kind.versions.first().copied().unwrap_or("v1");
    let version = api_version.and_then(|text| text.rsplit('/').next()).unwrap_or(preferred);
    if kind.group.is_empty() {
        format!("/api/{version}/namespaces/{namespace}/{}", kind.plural)
    } else {
        format!("/apis/{}/{version}/namespaces/{namespace}/{}", kind.group, kind.plural)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        let kind = ObjectKind {
            group: "networking.istio.io",
            versions: &["v1", "v1beta1"],
            kind: "VirtualService",
            plural: "virtualservices",
        };
        for (api_version, expected) in [
            (
                Some("networking.istio.io/v1beta1"),
                "/apis/networking.istio.io/v1beta1/namespaces/a/virtualservices",
            ),
            (None, "/apis/networking.istio.io/v1/namespaces/a/virtualservices"),
        ] {
            assert_eq!(path(kind, api_version, "a"), expected);
        }
        let core = ObjectKind { group: "", versions: &["v1"], kind: "ConfigMap", plural: "configmaps" };
        assert_eq!(path(core, None, "a"), "/api/v1/namespaces/a/configmaps");
    }
}

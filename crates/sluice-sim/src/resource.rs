//! Which kinds there are, under which paths, and what each can do.
//!
//! Decides the table of built-in kinds and resolves names; kinds of CustomResourceDefinitions are added
//! and removed by `crd`. It holds no objects.

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
};

use crate::{builtin::types, crd::Column, schema::Structural, typed::Type};

/// How a kind behaves where kinds differ.
#[derive(Clone, Copy, Debug, Default)]
pub struct Traits {
    /// A PUT of something absent creates it.
    pub create_on_update: bool,
    /// A PUT without a resource version is refused.
    pub needs_resource_version: bool,
    /// A DELETE answers with the object instead of a Status.
    pub returns_deleted: bool,
    /// `metadata.generation` is kept.
    pub has_generation: bool,
    /// Writable, but nothing is stored.
    pub virtual_only: bool,
}

/// A kind and its path.
#[derive(Debug)]
pub struct Resource {
    /// API group; empty for the core group.
    pub group: String,
    /// Kind, such as `ReplicaSet`.
    pub kind: Arc<str>,
    /// Kind of lists of it.
    pub list_kind: String,
    /// Name in paths.
    pub plural: String,
    /// Singular name.
    pub singular: String,
    /// Short names for kubectl.
    pub short_names: Vec<String>,
    /// Categories such as `all`.
    pub categories: Vec<String>,
    /// Whether objects live in namespaces.
    pub namespaced: bool,
    /// Served versions, preferred first.
    pub versions: Vec<Version>,
    /// Index into `versions` of the version that is stored.
    pub storage: usize,
    /// Key of the table of objects; events.k8s.io shares that of core events.
    pub table: Arc<str>,
    /// Whether this comes from a CustomResourceDefinition.
    pub custom: bool,
    /// Differences in behaviour.
    pub traits: Traits,
}

/// One version of a kind.
#[derive(Debug)]
#[expect(clippy::struct_field_names, reason = "`apiVersion` is what Kubernetes calls it")]
pub struct Version {
    /// Name, such as `v1`.
    pub name: String,
    /// `group/version`, as objects carry it.
    pub api_version: String,
    /// How its objects are put together.
    pub ty: Arc<Type>,
    /// The schema of a custom kind.
    pub structural: Option<Arc<Structural>>,
    /// The schema as it was given, for the OpenAPI documents.
    pub raw_schema: Option<Arc<serde_json::Value>>,
    /// Printer columns of a custom kind.
    pub columns: Vec<Column>,
    /// Has `/status`.
    pub status: bool,
    /// Has `/scale`, at these paths.
    pub scale: Option<Scale>,
    /// Warning for users of a deprecated version.
    pub deprecation: Option<String>,
}

/// Where a scalable kind keeps its numbers, as dotted paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scale {
    /// Path of the wanted number.
    pub spec: String,
    /// Path of the present number.
    pub status: String,
    /// Path of the selector in text form, if any.
    pub selector: Option<String>,
}

impl Resource {
    /// The version that is stored.
    pub fn stored(&self) -> &Version {
        &self.versions[self.storage]
    }

    /// Index of a served version.
    pub fn version(&self, name: &str) -> Option<usize> {
        self.versions.iter().position(|version| version.name == name)
    }

    /// Short names of subresources, in the order of discovery.
    pub fn subresources(&self, version: usize) -> Vec<&'static str> {
        let mut out = Vec::new();
        if &*self.table == "pods" {
            out.extend(["binding", "eviction", "log"]);
        }
        if self.table.as_ref() == "namespaces" {
            out.push("finalize");
        }
        if self.versions[version].scale.is_some() {
            out.push("scale");
        }
        if self.versions[version].status {
            out.push("status");
        }
        if self.custom {
            out.reverse();
        }
        out
    }
}

/// All kinds.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    by_path: BTreeMap<(String, String), Arc<Resource>>,
    by_kind: BTreeMap<String, Vec<Arc<Resource>>>,
    /// Counts changes, so that documents made of the table can be cached.
    pub revision: u64,
}

impl Registry {
    /// The built-in kinds.
    pub fn builtin() -> Registry {
        static BUILTIN: LazyLock<Registry> = LazyLock::new(|| {
            let mut registry = Registry::default();
            for resource in builtin() {
                registry.insert(Arc::new(resource));
            }
            registry
        });
        BUILTIN.clone()
    }

    /// Adds or replaces a kind.
    pub fn insert(&mut self, resource: Arc<Resource>) {
        self.remove(&resource.group, &resource.plural);
        self.by_kind.entry(resource.kind.to_string()).or_default().push(resource.clone());
        self.by_path.insert((resource.group.clone(), resource.plural.clone()), resource);
        self.revision += 1;
    }

    /// Removes a kind.
    pub fn remove(&mut self, group: &str, plural: &str) -> Option<Arc<Resource>> {
        let removed = self.by_path.remove(&(group.to_owned(), plural.to_owned()))?;
        if let Some(list) = self.by_kind.get_mut(&*removed.kind) {
            list.retain(|one| !(one.group == group && one.plural == plural));
            if list.is_empty() {
                self.by_kind.remove(&*removed.kind);
            }
        }
        self.revision += 1;
        Some(removed)
    }

    /// The kind under a path.
    pub fn at(&self, group: &str, plural: &str) -> Option<&Arc<Resource>> {
        self.by_path.get(&(group.to_owned(), plural.to_owned()))
    }

    /// The kind of that name; `Kind.group` where a kind name is used twice. A built-in kind wins over
    /// a custom one, and the core group over any other.
    pub fn kind(&self, name: &str) -> Option<&Arc<Resource>> {
        if let Some(list) = self.by_kind.get(name) {
            return list.iter().min_by_key(|one| (one.custom, !one.group.is_empty(), one.group.clone()));
        }
        let (kind, group) = name.split_once('.')?;
        self.by_kind.get(kind)?.iter().find(|one| one.group == group)
    }

    /// The kind of an object.
    pub fn of_object(&self, api_version: &str, kind: &str) -> Option<(&Arc<Resource>, usize)> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let resource = self.by_kind.get(kind)?.iter().find(|one| one.group == group)?;
        Some((resource, resource.version(version)?))
    }

    /// All kinds, sorted by group and plural.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Resource>> {
        self.by_path.values()
    }
}

fn builtin() -> Vec<Resource> {
    // group, version, type prefix, kind, plural, short names, categories, namespaced, status, scale
    #[rustfmt::skip]
    #[expect(clippy::type_complexity, reason = "a table reads better than a struct per line")]
    let rows: &[(&str, &str, &str, &str, &str, &[&str], &[&str], bool, bool, bool)] = &[
        ("", "v1", "core", "Namespace", "namespaces", &["ns"], &[], false, true, false),
        ("", "v1", "core", "Pod", "pods", &["po"], &["all"], true, true, false),
        ("", "v1", "core", "Service", "services", &["svc"], &["all"], true, true, false),
        ("", "v1", "core", "ConfigMap", "configmaps", &["cm"], &[], true, false, false),
        ("", "v1", "core", "Secret", "secrets", &[], &[], true, false, false),
        ("", "v1", "core", "Event", "events", &["ev"], &[], true, false, false),
        ("", "v1", "core", "ServiceAccount", "serviceaccounts", &["sa"], &[], true, false, false),
        ("", "v1", "core", "Endpoints", "endpoints", &["ep"], &[], true, false, false),
        ("", "v1", "core", "Node", "nodes", &["no"], &[], false, true, false),
        ("", "v1", "core", "PodTemplate", "podtemplates", &[], &[], true, false, false),
        ("", "v1", "core", "PersistentVolumeClaim", "persistentvolumeclaims", &["pvc"], &[], true, true, false),
        ("", "v1", "core", "PersistentVolume", "persistentvolumes", &["pv"], &[], false, true, false),
        ("", "v1", "core", "ReplicationController", "replicationcontrollers", &["rc"], &["all"], true, true, true),
        ("", "v1", "core", "LimitRange", "limitranges", &["limits"], &[], true, false, false),
        ("", "v1", "core", "ResourceQuota", "resourcequotas", &["quota"], &[], true, true, false),
        ("apps", "v1", "apps", "Deployment", "deployments", &["deploy"], &["all"], true, true, true),
        ("apps", "v1", "apps", "ReplicaSet", "replicasets", &["rs"], &["all"], true, true, true),
        ("apps", "v1", "apps", "StatefulSet", "statefulsets", &["sts"], &["all"], true, true, true),
        ("apps", "v1", "apps", "DaemonSet", "daemonsets", &["ds"], &["all"], true, true, false),
        ("apps", "v1", "apps", "ControllerRevision", "controllerrevisions", &[], &[], true, false, false),
        ("batch", "v1", "batch", "Job", "jobs", &[], &["all"], true, true, false),
        ("batch", "v1", "batch", "CronJob", "cronjobs", &["cj"], &["all"], true, true, false),
        ("autoscaling", "v2", "autoscaling", "HorizontalPodAutoscaler", "horizontalpodautoscalers", &["hpa"], &["all"], true, true, false),
        ("policy", "v1", "policy", "PodDisruptionBudget", "poddisruptionbudgets", &["pdb"], &[], true, true, false),
        ("coordination.k8s.io", "v1", "coordination", "Lease", "leases", &[], &[], true, false, false),
        ("discovery.k8s.io", "v1", "discovery", "EndpointSlice", "endpointslices", &[], &[], true, false, false),
        ("networking.k8s.io", "v1", "networking", "Ingress", "ingresses", &["ing"], &[], true, true, false),
        ("networking.k8s.io", "v1", "networking", "IngressClass", "ingressclasses", &[], &[], false, false, false),
        ("networking.k8s.io", "v1", "networking", "NetworkPolicy", "networkpolicies", &["netpol"], &[], true, false, false),
        ("events.k8s.io", "v1", "events", "Event", "events", &["ev"], &[], true, false, false),
        ("rbac.authorization.k8s.io", "v1", "rbac", "Role", "roles", &[], &[], true, false, false),
        ("rbac.authorization.k8s.io", "v1", "rbac", "RoleBinding", "rolebindings", &[], &[], true, false, false),
        ("rbac.authorization.k8s.io", "v1", "rbac", "ClusterRole", "clusterroles", &[], &[], false, false, false),
        ("rbac.authorization.k8s.io", "v1", "rbac", "ClusterRoleBinding", "clusterrolebindings", &[], &[], false, false, false),
        ("scheduling.k8s.io", "v1", "scheduling", "PriorityClass", "priorityclasses", &["pc"], &[], false, false, false),
        ("apiextensions.k8s.io", "v1", "apiextensions", "CustomResourceDefinition", "customresourcedefinitions", &["crd", "crds"], &["api-extensions"], false, true, false),
        ("authorization.k8s.io", "v1", "authorization", "SelfSubjectAccessReview", "selfsubjectaccessreviews", &[], &[], false, false, false),
    ];
    let owned = |list: &[&str]| list.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>();
    rows.iter()
        .map(|(group, version, package, kind, plural, short, categories, namespaced, status, scale)| {
            let singular = kind.to_lowercase();
            let table: Arc<str> = match *group {
                "" | "events.k8s.io" => (*plural).into(),
                group => format!("{plural}.{group}").into(),
            };
            let api_version =
                if group.is_empty() { (*version).to_owned() } else { format!("{group}/{version}") };
            Resource {
                group: (*group).to_owned(),
                kind: (*kind).into(),
                list_kind: format!("{kind}List"),
                plural: (*plural).to_owned(),
                singular,
                short_names: owned(short),
                categories: owned(categories),
                namespaced: *namespaced,
                versions: vec![Version {
                    name: (*version).to_owned(),
                    api_version,
                    ty: types::find(&format!("{package}.{version}.{kind}")).unwrap_or_else(Type::any),
                    structural: None,
                    raw_schema: None,
                    columns: Vec::new(),
                    status: *status,
                    scale: scale.then(|| Scale {
                        spec: ".spec.replicas".to_owned(),
                        status: ".status.replicas".to_owned(),
                        selector: None,
                    }),
                    deprecation: None,
                }],
                storage: 0,
                table,
                custom: false,
                traits: Traits {
                    create_on_update: matches!(
                        *kind,
                        "Service"
                            | "Event"
                            | "Endpoints"
                            | "Lease"
                            | "Role"
                            | "RoleBinding"
                            | "ClusterRole"
                            | "ClusterRoleBinding"
                            | "LimitRange"
                    ),
                    needs_resource_version: matches!(
                        *kind,
                        "PodDisruptionBudget" | "Lease" | "CustomResourceDefinition"
                    ),
                    returns_deleted: matches!(
                        *kind,
                        "ResourceQuota"
                            | "PersistentVolume"
                            | "ServiceAccount"
                            | "PersistentVolumeClaim"
                            | "Namespace"
                            | "Pod"
                            | "Service"
                            | "PodTemplate"
                    ),
                    has_generation: matches!(
                        *kind,
                        "Deployment"
                            | "ReplicaSet"
                            | "StatefulSet"
                            | "DaemonSet"
                            | "Job"
                            | "CronJob"
                            | "PodDisruptionBudget"
                            | "Ingress"
                            | "IngressClass"
                            | "NetworkPolicy"
                            | "EndpointSlice"
                            | "CustomResourceDefinition"
                            | "Pod"
                            | "ReplicationController"
                            | "PriorityClass"
                            | "PodTemplate"
                    ),
                    virtual_only: *kind == "SelfSubjectAccessReview",
                },
            }
        })
        .collect()
}

//! What makes a struct a Kubernetes kind: group, names, scope, metadata.
//!
//! It decides nothing but the names. Columns, subresources and schemas are in [`crate::crds`].

/// API group of all kinds here.
pub const GROUP: &str = "argoproj.io";
/// The only version.
pub const VERSION: &str = "v1alpha1";
/// Group and version as they stand in `apiVersion`.
pub const API_VERSION: &str = "argoproj.io/v1alpha1";

/// Defines one kind over its spec and, where it has one, its status.
macro_rules! kind {
    ($(#[$meta:meta])* $name:ident, $kind:literal, $plural:literal, $scope:ident, $spec:ty $(, $status:ty)?) => {
        $(#[$meta])*
        #[derive(Clone, Debug, Default, PartialEq, serde::Deserialize)]
        #[serde(default)]
        pub struct $name {
            /// Standard object metadata.
            pub metadata: k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta,
            /// What is wanted.
            pub spec: $spec,
            $(
                /// What is.
                pub status: Option<$status>,
            )?
        }

        impl $name {
            /// Makes an object with a name, and nothing else in its metadata.
            pub fn new(name: &str, spec: $spec) -> Self {
                let mut object = Self { spec, ..Self::default() };
                object.metadata.name = Some(name.to_owned());
                object
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                use serde::ser::SerializeMap as _;
                let mut map = serializer.serialize_map(None)?;
                map.serialize_entry("apiVersion", $crate::kind::API_VERSION)?;
                map.serialize_entry("kind", $kind)?;
                map.serialize_entry("metadata", &self.metadata)?;
                map.serialize_entry("spec", &self.spec)?;
                $(
                    let status: Option<&$status> = self.status.as_ref();
                    if let Some(status) = status {
                        map.serialize_entry("status", status)?;
                    }
                )?
                map.end()
            }
        }

        impl k8s_openapi::Resource for $name {
            const API_VERSION: &'static str = $crate::kind::API_VERSION;
            const GROUP: &'static str = $crate::kind::GROUP;
            const KIND: &'static str = $kind;
            const VERSION: &'static str = $crate::kind::VERSION;
            const URL_PATH_SEGMENT: &'static str = $plural;
            type Scope = k8s_openapi::$scope;
        }

        impl k8s_openapi::Metadata for $name {
            type Ty = k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
            fn metadata(&self) -> &Self::Ty {
                &self.metadata
            }
            fn metadata_mut(&mut self) -> &mut Self::Ty {
                &mut self.metadata
            }
        }
    };
}
pub(crate) use kind;

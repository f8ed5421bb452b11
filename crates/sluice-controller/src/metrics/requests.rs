//! What a request to the API server is about, read from its method and path.

use http::{Method, Uri};

/// What the metrics say about a request: as Argo Rollouts does, through `argoproj/pkg`
/// (`kubeclientmetrics/metric.go`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestInfo {
    /// Plural of the kind, or what a path outside of the API starts with.
    pub kind: String,
    /// Empty for what is not in one namespace.
    pub namespace: String,
    /// `N/A` for lists, and for kinds whose names would be too many.
    pub name: String,
    /// `List`, `Watch`, `Get`, `Create`, `Update`, `Patch`, `Delete` or `Unknown`.
    pub verb: &'static str,
}

impl RequestInfo {
    /// Reads a request to an API server.
    pub fn of(method: &Method, uri: &Uri) -> Self {
        let path: Vec<&str> = uri.path().split('/').filter(|part| !part.is_empty()).collect();
        let (["api", _, resource @ ..] | ["apis", _, _, resource @ ..]) = path.as_slice() else {
            // Discovery and the like.
            let kind = path.first().copied().unwrap_or("/").to_owned();
            let verb = if method == Method::GET { "Get" } else { "Unknown" };
            return Self { kind, namespace: String::new(), name: "N/A".to_owned(), verb };
        };
        let (namespace, resource) = match resource {
            ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (*namespace, rest),
            other => ("", other),
        };
        let kind = resource.first().copied().unwrap_or("discovery");
        let name = resource.get(1).copied();
        let query = uri.query().unwrap_or_default();
        let watches = query.split('&').any(|pair| matches!(pair, "watch=true" | "watch=1"));
        let verb = match *method {
            Method::GET if watches => "Watch",
            Method::GET if name.is_some() || resource.is_empty() => "Get",
            Method::GET => "List",
            Method::POST => "Create",
            Method::PUT => "Update",
            Method::PATCH => "Patch",
            Method::DELETE => "Delete",
            _ => "Unknown",
        };
        let name = name.filter(|_| !matches!(kind, "events" | "replicasets"));
        Self {
            kind: kind.to_owned(),
            namespace: namespace.to_owned(),
            name: name.unwrap_or("N/A").to_owned(),
            verb,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_by_their_paths() {
        let rollouts = "/apis/argoproj.io/v1alpha1/namespaces/prod/rollouts";
        for (method, path, expected) in [
            ("GET", format!("{rollouts}?limit=500"), ["rollouts", "prod", "N/A", "List"]),
            (
                "GET",
                format!("{rollouts}?watch=true&timeoutSeconds=290"),
                ["rollouts", "prod", "N/A", "Watch"],
            ),
            (
                "GET",
                "/apis/argoproj.io/v1alpha1/rollouts?&watch=1".to_owned(),
                ["rollouts", "", "N/A", "Watch"],
            ),
            ("GET", format!("{rollouts}/web"), ["rollouts", "prod", "web", "Get"]),
            ("PATCH", format!("{rollouts}/web/status?fieldManager=x"), ["rollouts", "prod", "web", "Patch"]),
            ("POST", "/api/v1/namespaces/prod/events".to_owned(), ["events", "prod", "N/A", "Create"]),
            ("PATCH", "/api/v1/namespaces/prod/events/web.1a".to_owned(), ["events", "prod", "N/A", "Patch"]),
            (
                "DELETE",
                "/apis/apps/v1/namespaces/prod/replicasets/web-1".to_owned(),
                ["replicasets", "prod", "N/A", "Delete"],
            ),
            ("PUT", "/api/v1/namespaces/prod".to_owned(), ["namespaces", "", "prod", "Update"]),
            ("GET", "/api/v1/namespaces".to_owned(), ["namespaces", "", "N/A", "List"]),
            ("GET", "/apis/argoproj.io/v1alpha1".to_owned(), ["discovery", "", "N/A", "Get"]),
            ("GET", "/version".to_owned(), ["version", "", "N/A", "Get"]),
            ("OPTIONS", rollouts.to_owned(), ["rollouts", "prod", "N/A", "Unknown"]),
            ("GET", "/".to_owned(), ["/", "", "N/A", "Get"]),
        ] {
            let method = Method::from_bytes(method.as_bytes()).expect("a method");
            let info = RequestInfo::of(&method, &path.parse().expect("a path"));
            assert_eq!([&*info.kind, &info.namespace, &info.name, info.verb], expected, "{method} {path}");
        }
    }
}

//! The API server's audit log: who asked for what, as the API server saw it.

use std::collections::BTreeMap;

use serde::Deserialize;

/// The policy that the API server runs with: one line per request (and one more when a watch begins), without
/// bodies.
pub(super) const POLICY: &str = "\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
";

/// A request that the API server has answered. A watch is here as soon as it has begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    /// Common name of the client's certificate, or a service account's user name.
    pub user: String,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`.
    pub verb: String,
    /// Empty for the core group and for requests that are not about resources.
    pub api_group: String,
    /// Plural name; empty for requests that are not about resources.
    pub resource: String,
    /// `status`, `scale`, …; empty for the resource itself.
    pub subresource: String,
    /// Empty for what is cluster-wide.
    pub namespace: String,
    /// Empty for lists and, with `generateName`, for creations.
    pub name: String,
    /// HTTP status.
    pub code: u16,
    /// Path and query.
    pub uri: String,
    /// What the client calls itself.
    pub user_agent: String,
}

/// A place in the audit log, to read on from later.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct AuditMark(pub(super) usize);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    #[serde(rename = "auditID")]
    audit_id: String,
    verb: String,
    #[serde(rename = "requestURI")]
    request_uri: String,
    #[serde(default)]
    user_agent: String,
    user: User,
    #[serde(default)]
    object_ref: ObjectRef,
    #[serde(default)]
    response_status: ResponseStatus,
}

#[derive(Deserialize)]
struct User {
    #[serde(default)]
    username: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ObjectRef {
    api_group: String,
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
}

#[derive(Default, Deserialize)]
struct ResponseStatus {
    #[serde(default)]
    code: u16,
}

/// Reads a log, one entry per request in the order in which they were first answered.
///
/// The last line may still be being written, so what is not a whole line is left out.
pub(super) fn parse(log: &str) -> Vec<AuditEntry> {
    let mut entries: Vec<AuditEntry> = Vec::new();
    let mut at_by_id = BTreeMap::new();
    for line in log.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
        let Ok(event) = serde_json::from_str::<Event>(line) else { continue };
        let entry = AuditEntry {
            user: event.user.username,
            verb: event.verb,
            api_group: event.object_ref.api_group,
            resource: event.object_ref.resource,
            subresource: event.object_ref.subresource,
            namespace: event.object_ref.namespace,
            name: event.object_ref.name,
            code: event.response_status.code,
            uri: event.request_uri,
            user_agent: event.user_agent,
        };
        // A watch is told twice: when it begins and when it ends.
        let at = *at_by_id.entry(event.audit_id).or_insert(entries.len());
        if at < entries.len() {
            entries[at] = entry;
        } else {
            entries.push(entry);
        }
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watch_is_one_entry_and_half_a_line_is_none() {
        let log = concat!(
            r#"{"auditID":"1","stage":"ResponseStarted","verb":"watch","requestURI":"/api/v1/pods?watch=1","user":{"username":"a"},"objectRef":{"resource":"pods","apiVersion":"v1"},"responseStatus":{"code":200}}"#,
            "\n",
            r#"{"auditID":"2","stage":"ResponseComplete","verb":"patch","requestURI":"/apis/apps/v1/namespaces/n/deployments/d/status","user":{"username":"b"},"userAgent":"kubectl","objectRef":{"resource":"deployments","namespace":"n","name":"d","apiGroup":"apps","apiVersion":"v1","subresource":"status"},"responseStatus":{"code":409}}"#,
            "\n",
            r#"{"auditID":"1","stage":"ResponseComplete","verb":"watch","requestURI":"/api/v1/pods?watch=1","user":{"username":"a"},"objectRef":{"resource":"pods","apiVersion":"v1"},"responseStatus":{"code":200}}"#,
            "\n",
            r#"{"auditID":"3","stage":"Resp"#,
        );
        let entries = parse(log);
        assert_eq!(entries.len(), 2, "{entries:?}");
        assert_eq!((entries[0].user.as_str(), entries[0].verb.as_str()), ("a", "watch"));
        let expected = AuditEntry {
            user: "b".into(),
            verb: "patch".into(),
            api_group: "apps".into(),
            resource: "deployments".into(),
            subresource: "status".into(),
            namespace: "n".into(),
            name: "d".into(),
            code: 409,
            uri: "/apis/apps/v1/namespaces/n/deployments/d/status".into(),
            user_agent: "kubectl".into(),
        };
        assert_eq!(entries[1], expected);
    }
}

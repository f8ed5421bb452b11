//! Reading paths, queries and `Accept` headers.

use std::collections::BTreeMap;

use http::{HeaderMap, Method};

use crate::status::Status;

/// The query part of a request.
#[derive(Clone, Debug, Default)]
pub struct Query(BTreeMap<String, String>);

impl Query {
    /// Reads the text after the question mark.
    pub fn parse(text: &str) -> Query {
        let pairs = text.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decoded(key), decoded(value))
        });
        Query(pairs.collect())
    }

    /// A parameter, unless it is empty.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// A parameter that says yes.
    pub fn flag(&self, key: &str) -> bool {
        self.0.get(key).is_some_and(|value| matches!(value.as_str(), "true" | "1" | "True" | ""))
    }
}

fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        let hex = |at: usize| bytes.get(at).and_then(|byte| char::from(*byte).to_digit(16));
        match (bytes[i], hex(i + 1), hex(i + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                i += 3;
                continue;
            }
            (b'+', _, _) => out.push(b' '),
            (byte, _, _) => out.push(byte),
        }
        i += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// In which form the client wants objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As they are.
    Object,
    /// As rows.
    Table,
    /// Metadata only.
    Metadata,
}

/// Splits the path of a resource: group, version, namespace, plural, name, subresource.
pub fn split(path: &str) -> Option<(&str, &str, &str, &str, String, String)> {
    let mut parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let (group, version, rest) = match *parts.first()? {
        "api" if parts.len() > 2 => ("", parts[1], parts.split_off(2)),
        "apis" if parts.len() > 3 => (parts[1], parts[2], parts.split_off(3)),
        _ => return None,
    };
    let (namespace, rest) = match rest.as_slice() {
        // Not the subresources of a namespace itself.
        ["namespaces", _, "status" | "finalize"] if group.is_empty() => ("", rest.as_slice()),
        ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (*namespace, rest),
        rest => ("", rest),
    };
    let plural = rest.first()?;
    let name = rest.get(1).map(|name| decoded(&name.replace('+', "%2B"))).unwrap_or_default();
    Some((
        group,
        version,
        namespace,
        plural,
        name,
        rest.get(2..).map(|rest| rest.join("/")).unwrap_or_default(),
    ))
}

pub fn form(headers: &HeaderMap) -> Result<Form, Status> {
    let accept = headers.get(http::header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if accept.is_empty() {
        return Ok(Form::Object);
    }
    for one in accept.split(',') {
        let mut parts = one.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default();
        let mut kind = None;
        for part in parts {
            match part.split_once('=') {
                Some(("as", value)) => kind = Some(value),
                Some(("g", group)) if group != "meta.k8s.io" => kind = Some("?"),
                Some(("v", version)) if version != "v1" => kind = Some("?"),
                _ => {}
            }
        }
        if !matches!(media, "application/json" | "*/*" | "application/*") {
            continue;
        }
        match kind {
            None => return Ok(Form::Object),
            Some("Table") => return Ok(Form::Table),
            Some("PartialObjectMetadata" | "PartialObjectMetadataList") => return Ok(Form::Metadata),
            Some(_) => {}
        }
    }
    Err(Status::not_acceptable(&[
        "application/json",
        "application/yaml",
        "application/vnd.kubernetes.protobuf",
        "application/json;stream=watch",
        "application/vnd.kubernetes.protobuf;stream=watch",
    ]))
}

pub fn verb(method: &Method, has_name: bool, query: &Query) -> Option<&'static str> {
    Some(match (method, has_name) {
        (&Method::GET | &Method::HEAD, _) if query.get("watch").is_some() && query.flag("watch") => "watch",
        (&Method::GET | &Method::HEAD, true) => "get",
        (&Method::GET | &Method::HEAD, false) => "list",
        (&Method::POST, _) => "create",
        (&Method::PUT, true) => "update",
        (&Method::PATCH, true) => "patch",
        (&Method::DELETE, true) => "delete",
        (&Method::DELETE, false) => "deletecollection",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        for (path, expected) in [
            ("/api/v1/namespaces", Some(("", "v1", "", "namespaces", "", ""))),
            ("/api/v1/namespaces/a", Some(("", "v1", "", "namespaces", "a", ""))),
            ("/api/v1/namespaces/a/status", Some(("", "v1", "", "namespaces", "a", "status"))),
            ("/api/v1/namespaces/a/pods", Some(("", "v1", "a", "pods", "", ""))),
            ("/api/v1/namespaces/a/pods/p/eviction", Some(("", "v1", "a", "pods", "p", "eviction"))),
            ("/apis/apps/v1/deployments", Some(("apps", "v1", "", "deployments", "", ""))),
            (
                "/apis/x.io/v1/namespaces/a/foos/f%3Ag/scale",
                Some(("x.io", "v1", "a", "foos", "f:g", "scale")),
            ),
            ("/apis/apps/v1", None),
            ("/api/v1", None),
            ("/version", None),
        ] {
            let got = split(path);
            let got = got
                .as_ref()
                .map(|found| (found.0, found.1, found.2, found.3, found.4.as_str(), found.5.as_str()));
            assert_eq!(got, expected, "{path}");
        }
    }

    #[test]
    fn forms() {
        for (accept, expected) in [
            ("", Some(Form::Object)),
            ("application/json", Some(Form::Object)),
            ("*/*", Some(Form::Object)),
            ("application/json;as=Table;v=v1;g=meta.k8s.io,application/json", Some(Form::Table)),
            ("application/json;as=Table;v=v9;g=meta.k8s.io,application/json", Some(Form::Object)),
            ("application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1", Some(Form::Metadata)),
            ("application/vnd.kubernetes.protobuf,application/json", Some(Form::Object)),
            ("application/vnd.kubernetes.protobuf", None),
        ] {
            let mut headers = HeaderMap::new();
            if !accept.is_empty() {
                headers.insert(http::header::ACCEPT, accept.parse().expect("a header"));
            }
            assert_eq!(form(&headers).ok(), expected, "{accept}");
        }
    }

    #[test]
    fn queries() {
        let query = Query::parse("labelSelector=a%3Db%2Cc&watch=true&x=1+2&empty=");
        assert_eq!(query.get("labelSelector"), Some("a=b,c"));
        assert!(query.flag("watch"));
        assert_eq!(query.get("x"), Some("1 2"));
        assert_eq!(query.get("empty"), None);
    }
}

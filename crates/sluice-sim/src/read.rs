//! Lists, and objects in the forms that clients ask for.

use std::sync::Arc;

use base64::Engine as _;
use bytes::{BufMut, Bytes, BytesMut};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    cluster::Cluster,
    request::{Call, Reply},
    route::Form,
    selector::{FieldSelector, LabelSelector},
    state::State,
    status::{Problem, Status},
    store::{Entry, ObjectKey},
    table,
    write::Target,
};

/// Label and field selectors of a request.
pub struct Selectors {
    /// On labels.
    pub labels: LabelSelector,
    /// On fields.
    pub fields: FieldSelector,
}

impl Selectors {
    /// Reads them; a name in the path of a watch is a field selector too.
    pub fn read(call: &Call) -> Result<Selectors, Status> {
        let labels = LabelSelector::parse(call.query.get("labelSelector").unwrap_or_default())?;
        let mut text = call.query.get("fieldSelector").unwrap_or_default().to_owned();
        if call.verb == "watch" && !call.target.name.is_empty() {
            text = format!("metadata.name={}", call.target.name);
        }
        let target = &call.target;
        let fields = FieldSelector::parse(&text, &target.resource.table, target.resource.custom)?;
        Ok(Selectors { labels, fields })
    }

    /// Whether everything is selected.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    /// Whether an object is looked at at all: a name leads to one object, the node of pods has an index.
    fn reach(&self, object: &Value, table: &str) -> bool {
        self.fields.matches_exactly("metadata.name", object)
            && (table != "pods" || self.fields.matches_exactly("spec.nodeName", object))
    }

    /// Whether an object, as stored, is selected.
    pub fn matches(&self, object: &Value) -> bool {
        (self.labels.is_empty() || self.labels.matches(&object["metadata"]["labels"]))
            && (self.fields.is_empty() || self.fields.matches(object))
    }
}

fn namespace(call: &Call) -> Option<&str> {
    Some(call.target.namespace.as_str()).filter(|namespace| !namespace.is_empty())
}

/// Whether stored objects of the target go out as they are.
fn goes_out_as_stored(target: &Target) -> bool {
    target.version == target.resource.storage && target.resource.group != "events.k8s.io"
}

/// One object as JSON text.
pub fn object_json(target: &Target, entry: &Entry) -> Bytes {
    if goes_out_as_stored(target) {
        return entry.json().clone();
    }
    let shown = State::shown(&target.resource, target.version, &entry.value);
    Bytes::from(serde_json::to_vec(&shown).unwrap_or_default())
}

/// One object's metadata.
pub fn metadata_of(call: &Call, entry: &Entry) -> Value {
    let _ = call;
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": entry.value["metadata"]})
}

/// Objects as a table.
pub fn table_of(
    call: &Call,
    entries: &[&Entry],
    version: Option<u64>,
    with_columns: bool,
    now: Timestamp,
) -> Value {
    let (resource, spoken) = (&call.target.resource, call.target.version());
    let include = call.query.get("includeObject").unwrap_or("Metadata");
    let rows: Vec<Value> = entries
        .iter()
        .map(|entry| {
            if goes_out_as_stored(&call.target) {
                table::row(resource, spoken, &entry.value, include, now)
            } else {
                table::row(
                    resource,
                    spoken,
                    &State::shown(resource, call.target.version, &entry.value),
                    include,
                    now,
                )
            }
        })
        .collect();
    let mut metadata = json!({});
    if let Some(version) = version {
        metadata["resourceVersion"] = Value::from(version.to_string());
    }
    let columns = match (with_columns, &*resource.table) {
        (false, _) => Value::Null,
        (true, "events") => table::event_columns(),
        (true, _) => table::columns(resource, spoken),
    };
    json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata, "columnDefinitions": columns, "rows": rows})
}

/// All objects that a request selects, now.
pub fn select(cluster: &Cluster, call: &Call) -> Result<Vec<Arc<Entry>>, Status> {
    let selectors = Selectors::read(call)?;
    let state = cluster.state();
    let objects = state.store.list(&call.target.resource.table, namespace(call));
    Ok(objects.filter(|(_, entry)| selectors.matches(&entry.value)).map(|(_, entry)| entry.clone()).collect())
}

fn forbidden_option(field: &str, detail: &str) -> Status {
    Status::invalid("meta.k8s.io", "ListOptions", "", &[Problem::forbidden(field, detail)])
}

/// Reads a resource version of a request.
pub fn version_option(call: &Call) -> Result<Option<u64>, Status> {
    let Some(text) = call.query.get("resourceVersion") else { return Ok(None) };
    text.parse().map(Some).map_err(|_| {
        let quoted = crate::status::quoted(text);
        Status::bad_request(format!("invalid resource version: resourceVersion: Invalid value: {quoted}: strconv.ParseUint: parsing {quoted}: invalid syntax"))
    })
}

/// Answers a list.
pub fn list(cluster: &Cluster, call: &Call) -> Result<Reply, Status> {
    if !call.subresource.is_empty() {
        return Err(Status::no_such_resource());
    }
    let selectors = Selectors::read(call)?;
    let asked = version_option(call)?;
    let exact = match call.query.get("resourceVersionMatch") {
        Some(_) if asked.is_none() => {
            return Err(forbidden_option(
                "resourceVersionMatch",
                "resourceVersionMatch is forbidden unless resourceVersion is provided",
            ));
        }
        Some("Exact") if asked == Some(0) => {
            return Err(forbidden_option(
                "resourceVersionMatch",
                "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
            ));
        }
        Some("Exact") => true,
        None | Some("NotOlderThan") => false,
        Some(other) => {
            let supported = ["Exact", "NotOlderThan", ""].map(str::to_owned);
            let problem = Problem::unsupported("resourceVersionMatch", &Value::from(other), &supported);
            return Err(Status::invalid("meta.k8s.io", "ListOptions", "", &[problem]));
        }
    };
    let start = call.query.get("continue").map(Continue::read).transpose()?;
    if start.is_some() && asked.is_some_and(|asked| asked != 0) {
        return Err(Status::bad_request("specifying resource version is not allowed when using continue"));
    }
    // A list of any version is served whole, as from a watch cache.
    let limit = match call.query.get("limit").map(|text| (text, text.parse::<i64>())) {
        Some((text, Err(_))) => {
            return Err(Status::bad_request(format!(
                "strconv.ParseInt: parsing {}: invalid syntax",
                crate::status::quoted(text)
            )));
        }
        Some((_, Ok(limit))) => usize::try_from(limit).ok().filter(|limit| *limit > 0 && asked != Some(0)),
        None => None,
    };
    let table = &call.target.resource.table;
    let (objects, version) = {
        let state = cluster.state();
        let current = state.store.version();
        if let Some(asked) = asked.filter(|asked| *asked > current) {
            return Err(Status::version_from_the_future(asked, current));
        }
        let version = match (&start, asked) {
            (Some(start), _) => start.version,
            (None, Some(asked)) if exact => asked,
            (None, Some(0)) => {
                current.saturating_sub(cluster.0.faults.list_age(&call.identity)).max(state.store.compacted())
            }
            _ => current,
        };
        let objects: Vec<(ObjectKey, Arc<Entry>)> = if version == current {
            state
                .store
                .list(table, namespace(call))
                .map(|(key, entry)| (key.clone(), entry.clone()))
                .collect()
        } else {
            state.store.list_at(table, namespace(call), version).ok_or_else(|| expired(start.is_some()))?
        };
        (objects, version)
    };
    let rest = objects.into_iter().filter(|(key, entry)| match &start {
        Some(start) => (&key.0, &key.1) >= (&start.key.0, &start.key.1),
        None => selectors.reach(&entry.value, table),
    });
    let mut entries: Vec<Arc<Entry>> = Vec::new();
    let mut next = None;
    let mut remaining = None;
    match limit {
        None => {
            let selected = rest.filter(|(_, entry)| selectors.matches(&entry.value));
            entries.extend(selected.map(|(_, entry)| entry));
        }
        Some(limit) => {
            // A part ends with the last object that fits, whether or not a later one is selected.
            let mut rest = rest;
            let selected = rest.by_ref().filter(|(_, entry)| selectors.matches(&entry.value));
            entries.extend(selected.take(limit).map(|(_, entry)| entry));
            if let Some((key, _)) = rest.next() {
                next = Some(Continue { version, key }.write());
                let count = rest.count() + 1;
                remaining = selectors.is_empty().then_some(count);
            }
        }
    }
    Ok(list_reply(cluster, call, &entries, version, next.as_deref(), remaining))
}

fn expired(continued: bool) -> Status {
    if continued {
        Status::expired(
            "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.",
        )
    } else {
        Status::expired("The resourceVersion for the provided list is too old.")
    }
}

/// Where a list in parts goes on.
struct Continue {
    version: u64,
    key: ObjectKey,
}

impl Continue {
    fn write(&self) -> String {
        let text = json!({"v": "meta.k8s.io/v1", "rv": self.version, "start": format!("{}/{}", self.key.0, self.key.1)}).to_string();
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text)
    }

    fn read(text: &str) -> Result<Continue, Status> {
        let bad = |why: &str| {
            Status::bad_request(format!("invalid continue token: continue key is not valid: {why}"))
        };
        let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD
            .decode(text)
            .map_err(|error| bad(&error.to_string()))?;
        let value: Value = serde_json::from_slice(&bytes).map_err(|error| bad(&error.to_string()))?;
        let (namespace, name) =
            value["start"].as_str().and_then(|start| start.split_once('/')).ok_or_else(|| bad("no start"))?;
        let version = value["rv"].as_u64().ok_or_else(|| bad("no version"))?;
        Ok(Continue { version, key: (namespace.to_owned(), name.to_owned()) })
    }
}

/// A list of objects in the form that the client wants.
pub fn list_reply(
    cluster: &Cluster,
    call: &Call,
    entries: &[Arc<Entry>],
    version: u64,
    next: Option<&str>,
    remaining: Option<usize>,
) -> Reply {
    let mut metadata = json!({"resourceVersion": version.to_string()});
    if let Some(next) = next {
        metadata["continue"] = Value::from(next);
    } else if call.target.resource.custom && call.form == Form::Object {
        metadata["continue"] = Value::from("");
    }
    if let Some(remaining) = remaining {
        metadata["remainingItemCount"] = Value::from(remaining);
    }
    let target = &call.target;
    match call.form {
        Form::Object => {
            let head = format!(
                "{{\"kind\":{},\"apiVersion\":{},\"metadata\":{metadata},\"items\":[",
                Value::from(target.resource.list_kind.as_str()),
                Value::from(target.version().api_version.as_str())
            );
            let mut out = BytesMut::with_capacity(
                head.len() + 64 + entries.iter().map(|entry| entry.json().len()).sum::<usize>(),
            );
            out.put_slice(head.as_bytes());
            for (i, entry) in entries.iter().enumerate() {
                if i > 0 {
                    out.put_u8(b',');
                }
                let json = object_json(target, entry);
                if target.resource.custom {
                    out.put_slice(&json);
                } else {
                    put_without_kind(&mut out, target, &json);
                }
            }
            out.put_slice(b"]}");
            Reply::json(200, out.freeze())
        }
        Form::Table => {
            let list: Vec<&Entry> = entries.iter().map(AsRef::as_ref).collect();
            let mut table = table_of(call, &list, Some(version), true, cluster.now());
            table["metadata"] = metadata;
            Reply::value(200, &table)
        }
        Form::Metadata => {
            let items: Vec<Value> = entries.iter().map(|entry| metadata_of(call, entry)).collect();
            Reply::value(
                200,
                &json!({"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": metadata, "items": items}),
            )
        }
    }
}

/// Items of built-in lists do not repeat version and kind.
fn put_without_kind(out: &mut BytesMut, target: &Target, json: &[u8]) {
    let prefix = format!(
        "{{\"apiVersion\":\"{}\",\"kind\":\"{}\",",
        target.version().api_version,
        target.resource.kind
    );
    if let Some(rest) = json.strip_prefix(prefix.as_bytes()) {
        out.put_u8(b'{');
        out.put_slice(rest);
        return;
    }
    let mut value: Value = serde_json::from_slice(json).unwrap_or_default();
    if let Some(map) = value.as_object_mut() {
        map.remove("apiVersion");
        map.remove("kind");
    }
    out.put_slice(value.to_string().as_bytes());
}

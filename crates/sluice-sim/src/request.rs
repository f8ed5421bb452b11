//! Requests of clients: from a path and a body to an operation, and back to an answer.
//!
//! Decides which operation a request asks for, in which form the answer goes out, and which faults it
//! meets on the way. What operations do is in `write`, `read`, `watch` and `subresource`.

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;
use serde_json::{Value, json};

use crate::{
    audit,
    client::Body,
    cluster::Cluster,
    delete::DeleteOptions,
    discovery,
    faults::{Failure, Gate},
    patch::Patch,
    read,
    route::{Form, Query, form, split, verb},
    state::{Context, FieldValidation, State},
    status::{Problem, Status},
    store::Entry,
    watch,
    write::{Target, Written},
};

/// A request that names a kind.
#[derive(Clone, Debug)]
pub struct Call {
    /// What it is about.
    pub target: Target,
    /// Text of the subresource in the path.
    pub subresource: String,
    /// `get`, `list`, …
    pub verb: &'static str,
    /// Parameters.
    pub query: Query,
    /// Wanted form.
    pub form: Form,
    /// Who asks.
    pub identity: Arc<str>,
}

/// An answer on its way out.
#[derive(Debug)]
pub struct Reply {
    /// HTTP status code.
    pub code: u16,
    /// `Content-Type`.
    pub content_type: &'static str,
    /// Body.
    pub body: Body,
    /// Texts of `Warning` headers.
    pub warnings: Vec<String>,
    /// `Retry-After`, in seconds.
    pub retry_after: Option<u32>,
}

impl Reply {
    /// A JSON document.
    pub fn json(code: u16, bytes: Bytes) -> Reply {
        Reply {
            code,
            content_type: "application/json",
            body: Body::Whole(Some(bytes)),
            warnings: Vec::new(),
            retry_after: None,
        }
    }

    /// A JSON value.
    pub fn value(code: u16, value: &Value) -> Reply {
        Reply::json(code, Bytes::from(serde_json::to_vec(value).unwrap_or_default()))
    }

    /// Plain text.
    pub fn text(code: u16, text: &str) -> Reply {
        Reply {
            content_type: "text/plain; charset=utf-8",
            ..Reply::json(code, Bytes::copy_from_slice(text.as_bytes()))
        }
    }

    fn failed(status: &Status) -> Reply {
        let mut reply = Reply::value(status.code, &status.to_value());
        reply.retry_after = status
            .details
            .as_ref()
            .and_then(|details| details["retryAfterSeconds"].as_u64())
            .and_then(|n| u32::try_from(n).ok());
        reply
    }
}

fn failure(failure: Failure) -> Result<Reply, std::io::Error> {
    Ok(Reply::failed(&match failure {
        Failure::Internal => Status::internal("injected fault"),
        Failure::Unavailable => Status::unavailable("the server is currently unable to handle the request"),
        Failure::Timeout => Status {
            code: 504,
            reason: "Timeout",
            message: "Timeout: request did not complete within the allotted timeout".to_owned(),
            details: Some(json!({})),
        },
        Failure::Conflict => Status::stale("", "objects", "injected"),
        Failure::Throttled(seconds) => Status::too_many_requests(
            "the server has received too many requests and has asked us to try again later",
            seconds,
        ),
        Failure::Connection => {
            return Err(std::io::Error::new(std::io::ErrorKind::ConnectionRefused, "connection refused"));
        }
    }))
}

/// Answers one request.
pub async fn handle(
    cluster: &Cluster,
    identity: Arc<str>,
    request: http::Request<Bytes>,
) -> Result<http::Response<Body>, std::io::Error> {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path();
    let query = Query::parse(parts.uri.query().unwrap_or_default());
    let found = split(path);
    let has_name = found.as_ref().is_some_and(|found| !found.4.is_empty());
    let verb = verb(&parts.method, has_name, &query);
    let line = cluster.0.audit.add(audit::Request {
        at: cluster.now(),
        identity: identity.clone(),
        verb: verb.filter(|_| found.is_some()).unwrap_or("get"),
        group: found.as_ref().map(|found| found.0.to_owned()).unwrap_or_default(),
        resource: found.as_ref().map(|found| found.3.to_owned()).unwrap_or_default(),
        subresource: found.as_ref().map(|found| found.5.clone()).unwrap_or_default(),
        namespace: found.as_ref().map(|found| found.2.to_owned()).unwrap_or_default(),
        name: found.as_ref().map(|found| found.4.clone()).unwrap_or_default(),
        code: 0,
        bytes_out: 0,
    });
    let faults = &cluster.0.faults;
    let delay = faults.delay_of(&identity);
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
    let is_write = found.is_some()
        && matches!(verb, Some("create" | "update" | "patch" | "delete" | "deletecollection"));
    let gate = faults.gate(&identity, is_write, matches!(verb, Some("update" | "patch")));
    let reply = match gate {
        Gate::Hang => std::future::pending().await,
        Gate::Fail(how) => failure(how)?,
        Gate::Pass | Gate::PassThenFail(_) => {
            let reply = answer(cluster, &identity, &parts, query, found, verb, &body, line);
            match gate {
                Gate::PassThenFail(how) => failure(how)?,
                _ => reply,
            }
        }
    };
    let bytes = match &reply.body {
        Body::Whole(bytes) => bytes.as_ref().map_or(0, Bytes::len) as u64,
        Body::Stream(_) => 0,
    };
    cluster.0.audit.answered(line, reply.code, bytes);
    let mut response =
        http::Response::builder().status(reply.code).header(http::header::CONTENT_TYPE, reply.content_type);
    for text in &reply.warnings {
        let quoted = text.replace('\\', "\\\\").replace('"', "\\\"");
        response = response.header("Warning", format!("299 - \"{quoted}\""));
    }
    if let Some(seconds) = reply.retry_after {
        response = response.header("Retry-After", seconds.to_string());
    }
    response.body(reply.body).map_err(std::io::Error::other)
}

type Found<'a> = (&'a str, &'a str, &'a str, &'a str, String, String);

#[expect(clippy::too_many_arguments, reason = "one call site")]
fn answer(
    cluster: &Cluster,
    identity: &Arc<str>,
    parts: &http::request::Parts,
    query: Query,
    found: Option<Found<'_>>,
    verb: Option<&'static str>,
    body: &Bytes,
    line: audit::Line,
) -> Reply {
    let accept =
        parts.headers.get(http::header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let Some((group, version, namespace, plural, name, subresource)) = found else {
        return discovery::answer(cluster, parts.uri.path(), accept)
            .unwrap_or_else(|| Reply::text(404, "404 page not found\n"));
    };
    if group.is_empty() && version != "v1" {
        return Reply::text(404, "404 page not found\n");
    }
    let resource = {
        let state = cluster.state();
        state
            .registry
            .at(group, plural)
            .and_then(|resource| Some((resource.clone(), resource.version(version)?)))
    };
    let Some((resource, version)) = resource else {
        return if cluster.state().registry.all().any(|one| one.group == group) {
            Reply::failed(&Status::no_such_resource())
        } else {
            Reply::text(404, "404 page not found\n")
        };
    };
    let Some(verb) = verb else { return Reply::failed(&Status::method_not_allowed()) };
    let target = Target {
        namespace: if resource.namespaced { namespace.to_owned() } else { String::new() },
        name,
        version,
        subresource: None,
        resource,
    };
    let call = match form(&parts.headers) {
        Ok(form) => Call { target, subresource, verb, query, form, identity: identity.clone() },
        Err(status) => return Reply::failed(&status),
    };
    let reply = match call.verb {
        "get" => get(cluster, &call),
        "list" => read::list(cluster, &call),
        "watch" => watch::open(cluster, &call, line),
        _ => write(cluster, &call, &parts.headers, body),
    };
    let mut reply = reply.unwrap_or_else(|status| Reply::failed(&status));
    if let Some(text) = &call.target.version().deprecation {
        reply.warnings.push(text.clone());
    }
    reply
}

fn get(cluster: &Cluster, call: &Call) -> Result<Reply, Status> {
    let target = &call.target;
    match call.subresource.as_str() {
        "" => {}
        "status" if target.version().status => {}
        "scale" if target.version().scale.is_some() => {
            return Ok(Reply::value(200, &cluster.state().scale(target)?));
        }
        "status" | "scale" if target.resource.custom => return Err(target.missing()),
        "log" if &*target.resource.table == "pods" => {
            cluster
                .state()
                .store
                .get("pods", &target.namespace, &target.name)
                .ok_or_else(|| target.missing())?;
            return Ok(Reply::text(200, ""));
        }
        _ => return Err(Status::no_such_resource()),
    }
    let (entry, current) = {
        let state = cluster.state();
        let entry = state.store.get(&target.resource.table, &target.namespace, &target.name).cloned();
        (entry, state.store.version())
    };
    if let Some(asked) = call.query.get("resourceVersion").and_then(|text| text.parse::<u64>().ok())
        && asked > current
    {
        return Err(Status::version_from_the_future(asked, current));
    }
    let entry = entry.ok_or_else(|| target.missing())?;
    Ok(shown(cluster, call, 200, &entry))
}

/// One object in the form that the client wants.
fn shown(cluster: &Cluster, call: &Call, code: u16, entry: &Entry) -> Reply {
    match call.form {
        Form::Object => Reply::json(code, read::object_json(&call.target, entry)),
        Form::Table => {
            Reply::value(code, &read::table_of(call, &[entry], Some(entry.version), true, cluster.now()))
        }
        Form::Metadata => Reply::value(code, &read::metadata_of(call, entry)),
    }
}

fn context(cluster: &Cluster, call: &Call, headers: &HeaderMap) -> Result<Context, Status> {
    let mut context = Context::new(&call.identity, call.verb, cluster.now());
    context.direct = false;
    context.manager = match call.query.get("fieldManager") {
        Some(manager) => manager.to_owned(),
        None => match headers.get(http::header::USER_AGENT).and_then(|value| value.to_str().ok()) {
            Some(agent) => agent.split('/').next().unwrap_or_default().chars().take(128).collect(),
            None => call.identity.to_string(),
        },
    };
    match call.query.get("dryRun") {
        None => {}
        Some("All") => context.dry_run = true,
        Some(other) => {
            let mut problem = Problem::unsupported("dryRun", &json!([other]), &["All".to_owned()]);
            problem.body = format!("Unsupported value: {}: supported values: \"All\"", json!([other]));
            return Err(Status::invalid("meta.k8s.io", options_kind(call.verb), "", &[problem]));
        }
    }
    context.validation = match call.query.get("fieldValidation") {
        None | Some("Warn") => FieldValidation::Warn,
        Some("Ignore") => FieldValidation::Ignore,
        Some("Strict") => FieldValidation::Strict,
        Some(other) => {
            let supported = ["", "Ignore", "Strict", "Warn"].map(str::to_owned);
            let problem = Problem::unsupported("fieldValidation", &Value::from(other), &supported);
            return Err(Status::invalid("meta.k8s.io", options_kind(call.verb), "", &[problem]));
        }
    };
    Ok(context)
}

fn options_kind(verb: &str) -> &'static str {
    match verb {
        "create" => "CreateOptions",
        "update" => "UpdateOptions",
        "patch" => "PatchOptions",
        _ => "DeleteOptions",
    }
}

fn parsed(headers: &HeaderMap, body: &Bytes) -> Result<Value, Status> {
    let content_type = headers
        .get(http::header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or("application/json");
    if content_type.contains("cbor") {
        return Err(Status::unsupported_media_type(&[
            "application/json",
            "application/yaml",
            "application/vnd.kubernetes.protobuf",
        ]));
    }
    if body.is_empty() {
        return Ok(Value::Null);
    }
    if content_type.contains("protobuf") {
        return crate::proto::read(body);
    }
    if content_type.contains("yaml") {
        return parsed_yaml(body);
    }
    serde_json::from_slice(body)
        .map_err(|error| Status::bad_request(format!("couldn't get version/kind; json parse error: {error}")))
}

fn parsed_yaml(body: &Bytes) -> Result<Value, Status> {
    // Most who say YAML send JSON.
    if let Ok(value) = serde_json::from_slice(body) {
        return Ok(value);
    }
    let text = std::str::from_utf8(body).map_err(|error| Status::bad_request(error.to_string()))?;
    let options = serde_yaml::options! { legacy_octal_numbers: true };
    serde_yaml::from_str_with_options(text, options)
        .map_err(|error| Status::bad_request(format!("error decoding YAML: {error}")))
}

fn write(cluster: &Cluster, call: &Call, headers: &HeaderMap, body: &Bytes) -> Result<Reply, Status> {
    let mut context = context(cluster, call, headers)?;
    let outcome = perform(cluster, call, headers, body, &mut context);
    if !context.writes.is_empty() {
        cluster.0.faults.committed(&call.identity, 1);
    }
    let mut reply = outcome.unwrap_or_else(|status| Reply::failed(&status));
    reply.warnings.append(&mut context.warnings);
    Ok(reply)
}

fn perform(
    cluster: &Cluster,
    call: &Call,
    headers: &HeaderMap,
    body: &Bytes,
    context: &mut Context,
) -> Result<Reply, Status> {
    let mut target = call.target.clone();
    match call.subresource.as_str() {
        "" => {}
        "status" if target.version().status && matches!(call.verb, "update" | "patch") => {
            target.subresource = Some("status");
        }
        "status" if target.version().status => return Err(Status::method_not_allowed()),
        _ => return subresource(cluster, call, headers, body, context),
    }
    if target.resource.namespaced
        && target.namespace.is_empty()
        && matches!(call.verb, "create" | "deletecollection")
    {
        return Err(Status::method_not_allowed());
    }
    match call.verb {
        "create" => {
            if !target.name.is_empty() {
                return Err(Status::method_not_allowed());
            }
            let object = parsed(headers, body)?;
            if target.resource.traits.virtual_only {
                return Ok(access_review(object));
            }
            let written =
                cluster.transact(context, |state, context| state.create(context, &target, object))?;
            Ok(shown(cluster, call, 201, &written.entry))
        }
        "update" => {
            let object = parsed(headers, body)?;
            let written =
                cluster.transact(context, |state, context| state.update(context, &target, object))?;
            Ok(shown(cluster, call, if written.created { 201 } else { 200 }, &written.entry))
        }
        "patch" => {
            let patch = patch(call, headers, body)?;
            let written =
                cluster.transact(context, |state, context| state.patch(context, &target, &patch))?;
            Ok(shown(cluster, call, if written.created { 201 } else { 200 }, &written.entry))
        }
        "delete" => {
            let options = delete_options(call, headers, body)?;
            context.dry_run = options.dry_run;
            let written =
                cluster.transact(context, |state, context| state.delete(context, &target, &options))?;
            Ok(deleted(cluster, call, &written))
        }
        "deletecollection" => {
            let options = delete_options(call, headers, body)?;
            context.dry_run = options.dry_run;
            let selected = read::select(cluster, call)?;
            let gone = cluster.transact(context, |state, context| {
                let mut gone = Vec::new();
                for entry in selected {
                    let name = entry.value["metadata"]["name"].as_str().unwrap_or_default().to_owned();
                    let namespace =
                        entry.value["metadata"]["namespace"].as_str().unwrap_or_default().to_owned();
                    let one = Target { namespace, name, ..target.clone() };
                    match state.delete(context, &one, &options) {
                        // The answer shows them as they were selected.
                        Ok(_) => gone.push(entry),
                        Err(status) if status.is_not_found() => {}
                        Err(status) => return Err(status),
                    }
                }
                Ok(gone)
            })?;
            let version = cluster.resource_version();
            Ok(read::list_reply(cluster, call, &gone, version, None, None))
        }
        _ => Err(Status::method_not_allowed()),
    }
}

fn deleted(cluster: &Cluster, call: &Call, written: &Written) -> Reply {
    let target = &call.target;
    if !written.deleted || target.resource.traits.returns_deleted {
        return shown(cluster, call, 200, &written.entry);
    }
    let mut details = json!({"name": target.name, "kind": target.resource.plural, "uid": written.entry.value["metadata"]["uid"]});
    if !target.resource.group.is_empty() {
        details["group"] = Value::from(target.resource.group.as_str());
    }
    Reply::value(
        200,
        &json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}),
    )
}

fn access_review(mut review: Value) -> Reply {
    if !review["metadata"].is_object() {
        review["metadata"] = json!({});
    }
    review["status"] = json!({"allowed": true, "reason": "everybody may do everything here"});
    Reply::value(201, &review)
}

fn patch(call: &Call, headers: &HeaderMap, body: &Bytes) -> Result<Patch, Status> {
    let content_type =
        headers.get(http::header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media = content_type.split(';').next().unwrap_or_default().trim();
    let accepted: &[&str] = if call.target.resource.custom {
        &["application/json-patch+json", "application/merge-patch+json", "application/apply-patch+yaml"]
    } else {
        &[
            "application/json-patch+json",
            "application/merge-patch+json",
            "application/apply-patch+yaml",
            "application/strategic-merge-patch+json",
        ]
    };
    if !accepted.contains(&media) {
        let known = ["application/strategic-merge-patch+json", "application/json"].contains(&media);
        return Err(if known {
            Status::unsupported_media_type(accepted)
        } else {
            Status::unknown_media_type()
        });
    }
    let force = call.query.get("force").map(|_| call.query.flag("force"));
    if media != "application/apply-patch+yaml" && force.is_some() {
        let problem = Problem::forbidden("force", "may not be specified for non-apply patch");
        return Err(Status::invalid("meta.k8s.io", "PatchOptions", "", &[problem]));
    }
    let json = || -> Result<Value, Status> {
        serde_json::from_slice(body)
            .map_err(|error| Status::bad_request(format!("error decoding patch: {error}")))
    };
    Ok(match media {
        "application/json-patch+json" => Patch::Json(json()?),
        "application/merge-patch+json" => Patch::Merge(json()?),
        "application/strategic-merge-patch+json" => Patch::Strategic(json()?),
        _ => {
            let Some(manager) = call.query.get("fieldManager") else {
                let problem = Problem::required("fieldManager", "is required for apply patch");
                return Err(Status::invalid("meta.k8s.io", "PatchOptions", "", &[problem]));
            };
            Patch::Apply {
                object: parsed_yaml(body)?,
                field_manager: manager.to_owned(),
                force: force.unwrap_or_default(),
            }
        }
    })
}

fn delete_options(call: &Call, headers: &HeaderMap, body: &Bytes) -> Result<DeleteOptions, Status> {
    let mut given = parsed(headers, body)?;
    if !given.is_object() {
        given = json!({});
        // Parameters count only where there is no body.
        if let Some(policy) = call.query.get("propagationPolicy") {
            given["propagationPolicy"] = Value::from(policy);
        }
        if call.query.get("orphanDependents").is_some() {
            given["orphanDependents"] = Value::from(call.query.flag("orphanDependents"));
        }
        let seconds = call.query.get("gracePeriodSeconds").and_then(|text| text.parse::<i64>().ok());
        given["gracePeriodSeconds"] = seconds.map_or(Value::Null, Value::from);
        if let Some(dry_run) = call.query.get("dryRun") {
            given["dryRun"] = json!([dry_run]);
        }
    }
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let orphan = given["orphanDependents"].as_bool();
    let propagation = text(&given["propagationPolicy"])
        .or_else(|| orphan.map(|orphan| if orphan { "Orphan".to_owned() } else { "Background".to_owned() }));
    if let Some(policy) = &propagation
        && !matches!(policy.as_str(), "Foreground" | "Background" | "Orphan")
    {
        let supported = ["Foreground", "Background", "Orphan", "nil"].map(str::to_owned);
        let problem = Problem::unsupported("propagationPolicy", &Value::from(policy.as_str()), &supported);
        return Err(Status::invalid("meta.k8s.io", "DeleteOptions", "", &[problem]));
    }
    Ok(DeleteOptions {
        grace_seconds: given["gracePeriodSeconds"].as_i64(),
        uid: text(&given["preconditions"]["uid"]),
        resource_version: text(&given["preconditions"]["resourceVersion"]),
        propagation,
        dry_run: given["dryRun"].as_array().is_some_and(|list| !list.is_empty()),
    })
}

fn subresource(
    cluster: &Cluster,
    call: &Call,
    headers: &HeaderMap,
    body: &Bytes,
    context: &mut Context,
) -> Result<Reply, Status> {
    let target = &call.target;
    let done = || {
        Reply::value(
            201,
            &json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}),
        )
    };
    match (call.subresource.as_str(), &*target.resource.table, call.verb) {
        ("scale", _, "update" | "patch") if target.version().scale.is_some() => {
            let written = if call.verb == "update" {
                let scale = parsed(headers, body)?;
                cluster.transact(context, |state, context| state.update_scale(context, target, &scale))?
            } else {
                let patch = patch(call, headers, body)?;
                cluster.transact(context, |state, context| state.patch_scale(context, target, &patch))?
            };
            let scale = target.version().scale.as_ref().ok_or_else(Status::no_such_resource)?;
            let shown = State::shown(&target.resource, target.version, &written.entry.value);
            Ok(Reply::value(200, &crate::subresource::scale_of(&shown, scale, target.resource.custom)))
        }
        ("eviction", "pods", "create") => {
            let eviction = parsed(headers, body)?;
            cluster.transact(context, |state, context| state.evict(context, target, &eviction))?;
            Ok(done())
        }
        ("binding", "pods", "create") => {
            let binding = parsed(headers, body)?;
            cluster.transact(context, |state, context| state.bind(context, target, &binding))?;
            Ok(done())
        }
        ("finalize", "namespaces", "update") => {
            let namespace = parsed(headers, body)?;
            let written =
                cluster.transact(context, |state, context| state.finalize(context, target, &namespace))?;
            Ok(shown(cluster, call, 200, &written.entry))
        }
        ("status" | "scale", _, _) if target.resource.custom => Err(target.missing()),
        _ => Err(Status::no_such_resource()),
    }
}

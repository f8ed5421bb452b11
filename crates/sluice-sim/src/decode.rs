//! Reading objects: right kind, known fields, defaults, the place that the request names.
//!
//! Decides what a body has to look like to be an object of a kind at all. Whether that object is valid
//! is decided later, in `write`.

use serde_json::{Value, json};

use crate::{
    builtin::{defaults, types},
    schema::prune,
    state::{Context, FieldValidation, convert_back},
    status::{Problem, Status, quoted},
    store::drop_empties,
    write::{Target, metadata, text},
};

/// The head of a body, as complaints quote it.
fn shortened(body: &str) -> String {
    if body.chars().count() <= 30 {
        body.to_owned()
    } else {
        body.chars().take(30).chain(" ...".chars()).collect()
    }
}

/// Reads an object of the target's kind: right kind, known fields, defaults filled in.
pub fn decode(target: &Target, body: Value, context: &mut Context) -> Result<Value, Status> {
    decode_change(target, body, &Value::Null, context)
}

/// The same for what a patch has made of `before`, which is stored. What has a fixed form and was left alone needs
/// no reading again.
pub fn decode_change(
    target: &Target,
    mut body: Value,
    before: &Value,
    context: &mut Context,
) -> Result<Value, Status> {
    let version = target.version();
    let (resource, wanted) = (&target.resource, version.api_version.as_str());
    // What is stored has the form of the version that it is stored in.
    let before = if target.version == resource.storage { before } else { &Value::Null };
    if !body.is_object() {
        return Err(Status::bad_request(format!(
            "the object provided is unrecognized (must be of type {}): couldn't get version/kind; json parse error: json: cannot unmarshal {} into Go value of type struct {{ APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \"json:\\\"kind,omitempty\\\"\" }}",
            resource.kind,
            if body.is_array() { "array" } else { "value" }
        )));
    }
    let (api_version, kind) = (
        body["apiVersion"].as_str().unwrap_or_default().to_owned(),
        body["kind"].as_str().unwrap_or_default().to_owned(),
    );
    if resource.custom && (kind.is_empty() || api_version.is_empty()) {
        let what = if kind.is_empty() { "Kind" } else { "apiVersion" };
        return Err(Status::bad_request(format!(
            "the object provided is unrecognized (must be of type {}): Object '{what}' is missing in '{body}' ({})",
            resource.kind,
            shortened(&body.to_string())
        )));
    }
    let is_wanted_version = api_version.is_empty() || api_version == wanted;
    if !resource.custom && !kind.is_empty() && kind != *resource.kind && is_wanted_version {
        let package = if resource.group.is_empty() {
            "core"
        } else {
            resource.group.split('.').next().unwrap_or_default()
        };
        return Err(Status::bad_request(format!(
            "{kind} in version {} cannot be handled as a {}: converting ({}.{kind}) to ({package}.{}): unknown conversion",
            quoted(&version.name),
            resource.kind,
            version.name,
            resource.kind
        )));
    }
    let is_patched_custom = resource.custom && context.verb == "patch";
    if !api_version.is_empty() && api_version != wanted && !is_patched_custom {
        if !resource.custom {
            let given = api_version.rsplit('/').next().unwrap_or_default();
            return Err(Status::bad_request(format!(
                "{kind} in version {} cannot be handled as a {}: no kind {} is registered for version {} in scheme \"pkg/runtime/scheme.go:111\"",
                quoted(given),
                resource.kind,
                quoted(&kind),
                quoted(&api_version)
            )));
        }
        return Err(Status::bad_request(format!(
            "the API version in the data ({api_version}) does not match the expected API version ({wanted})"
        )));
    }
    // The type of a custom object is looked at last, see `check_type`.
    if !resource.custom {
        body["apiVersion"] = Value::from(wanted);
        body["kind"] = Value::from(&*resource.kind);
    }
    if body["metadata"].is_null() {
        body["metadata"] = json!({});
    }
    // An empty list of them, which is dropped with other empty ones, asks that all be forgotten; not so for
    // custom objects, whose metadata is read and written once more before anybody looks.
    let forgets_managers =
        !resource.custom && body["metadata"].get("managedFields").is_some_and(|list| *list == json!([]));
    // The result of an apply is not read from a text: its metadata keeps what is empty.
    let mut whole = (resource.custom && context.applies).then(|| json!({"metadata": body["metadata"]}));
    // The complaint about a patch quotes the whole object.
    let given =
        (context.validation == FieldValidation::Strict && context.verb == "patch").then(|| body.clone());
    let mut unknown;
    if let Some(schema) = &version.structural {
        let is_as_before = before.get("metadata") == Some(&body["metadata"]);
        let meta_type = types::find("meta.v1.ObjectMeta").filter(|_| !is_as_before);
        unknown = Vec::new();
        if let Some(ty) = meta_type {
            let decoded = types::normalise(&mut body["metadata"], &ty);
            if let Some(why) = &decoded.unreadable {
                return Err(cannot_decode(target, context, &body, why));
            }
            if let Some((path, found, expected)) = decoded.mismatch {
                let why =
                    format!("json: cannot unmarshal {found} into Go struct field {path} of type {expected}");
                return Err(cannot_decode(target, context, &body, &why));
            }
            unknown.extend(decoded.unknown.into_iter().map(|path| format!("metadata.{path}")));
            for (key, empty) in whole.as_mut().map(drop_empties).into_iter().flatten() {
                body["metadata"][key] = empty;
            }
        }
        let dropped = prune::prune(&mut body, schema);
        // Fields are not known or unknown to a kind that is not this one.
        if body["kind"] == *resource.kind {
            unknown.extend(dropped);
        }
        // The result of an apply keeps its nulls, to be complained about.
        if !context.applies {
            prune::drop_nulls(&mut body, schema);
        }
        prune::default(&mut body, schema);
        whole_numbers(&mut body);
    } else if resource.custom {
        unknown = Vec::new();
    } else {
        let decoded = types::normalise_change(&mut body, before, &version.ty);
        if let Some(why) = &decoded.unreadable {
            return Err(cannot_decode(target, context, &body, why));
        }
        if let Some((path, found, expected)) = decoded.mismatch {
            let why =
                format!("json: cannot unmarshal {found} into Go struct field {path} of type {expected}");
            return Err(cannot_decode(target, context, &body, &why));
        }
        unknown = decoded.unknown;
        defaults::fill_in(&resource.kind, &mut body);
    }
    unknown_fields(target, unknown, given.as_ref(), context)?;
    if forgets_managers {
        metadata(&mut body).insert("managedFields".to_owned(), json!([]));
    }
    if !resource.custom || body["apiVersion"] == wanted {
        convert_back(resource, target.version, &mut body);
    }
    Ok(body)
}

/// Numbers without a fraction are written as integers.
fn whole_numbers(value: &mut Value) {
    match value {
        Value::Number(number) if number.is_f64() => {
            if let Some(whole) = number.as_f64().filter(|n| n.fract() == 0.0 && n.abs() < 9e15) {
                *value = Value::from(whole as i64);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(whole_numbers),
        Value::Object(map) => map.values_mut().for_each(whole_numbers),
        _ => {}
    }
}

/// What is wrong with the type of a custom object that is not what the path says.
pub fn type_problem(target: &Target, object: &Value) -> Option<Problem> {
    let (resource, stored) = (&target.resource, target.resource.stored());
    let given = |key: &str| object[key].as_str().unwrap_or_default();
    let (path, must) = match (given("kind") == &*resource.kind, given("apiVersion") == stored.api_version) {
        _ if !resource.custom => return None,
        (true, true) => return None,
        (false, _) => ("kind", &*resource.kind),
        (true, false) => ("apiVersion", target.version().api_version.as_str()),
    };
    Some(Problem::invalid(path, &object[path], &format!("must be {must}")))
}

/// Group and kind under which an object is complained about: as it says itself.
pub fn type_given<'a>(target: &'a Target, object: &'a Value) -> (&'a str, &'a str) {
    if !target.resource.custom {
        return (&target.resource.group, &target.resource.kind);
    }
    let given = |key: &str| object[key].as_str().unwrap_or_default();
    (given("apiVersion").split_once('/').map_or("", |(group, _)| group), given("kind"))
}

fn cannot_decode(target: &Target, context: &Context, given: &Value, why: &str) -> Status {
    if context.applies {
        let (name, version) = (&target.name, &target.version().api_version);
        let message = format!(
            "failed to convert new object (/{name}; {version}, Kind={}) to proper version: {why}",
            target.resource.kind
        );
        return Status { code: 500, reason: "", message, details: None };
    }
    if context.verb == "patch" {
        return bad_patch(given, why);
    }
    let kind = &target.resource.kind;
    Status::bad_request(format!(
        "{kind} in version {} cannot be handled as a {kind}: {why}",
        quoted(&target.version().name)
    ))
}

/// What a patch makes of an object cannot be read; the complaint quotes the whole object.
pub fn bad_patch(given: &Value, why: &str) -> Status {
    let problem = Problem::invalid("patch", &Value::from(given.to_string()), why);
    let mut status = Status::invalid("", "", "", &[problem]);
    if let Some(details) = status.details.as_mut().and_then(Value::as_object_mut) {
        details.retain(|key, _| key == "causes");
    }
    status
}

fn unknown_fields(
    target: &Target,
    mut unknown: Vec<String>,
    given: Option<&Value>,
    context: &mut Context,
) -> Result<(), Status> {
    if unknown.is_empty() {
        return Ok(());
    }
    unknown.sort();
    unknown.dedup();
    let texts: Vec<_> = unknown.iter().map(|path| format!("unknown field {}", quoted(path))).collect();
    match context.validation {
        FieldValidation::Ignore => Ok(()),
        FieldValidation::Warn => {
            context.warnings.extend(texts);
            Ok(())
        }
        FieldValidation::Strict => {
            let why = format!("strict decoding error: {}", texts.join(", "));
            Err(cannot_decode(target, context, given.unwrap_or(&Value::Null), &why))
        }
    }
}

pub fn check_name(target: &Target, object: &Value) -> Result<(), Status> {
    let name = text(object, "name");
    if name == target.name {
        return Ok(());
    }
    Err(Status::bad_request(if name.is_empty() {
        format!(
            "the name of the object ({} based on URL) was undeterminable: name must be provided",
            target.name
        )
    } else {
        format!("the name of the object ({name}) does not match the name on the URL ({})", target.name)
    }))
}

pub fn check_namespace(target: &Target, object: &mut Value) -> Result<(), Status> {
    let given = text(object, "namespace").to_owned();
    if !target.resource.namespaced {
        return Ok(());
    }
    if given.is_empty() {
        metadata(object).insert("namespace".to_owned(), Value::from(target.namespace.as_str()));
    } else if given != target.namespace {
        return Err(Status::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    Ok(())
}

/// What managed fields are compared with when there was nothing before.
pub fn nothing(target: &Target) -> Value {
    let version = target.version();
    let mut out = if target.resource.custom { json!({}) } else { types::empty(&version.ty) };
    out["apiVersion"] = Value::from(version.api_version.as_str());
    out["kind"] = Value::from(&*target.resource.kind);
    out
}

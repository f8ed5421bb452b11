//! Errors in the words of an API server, and the `Status` object that carries them.
//!
//! Decides codes, reasons, messages and details. Who gets which error is decided where the error is
//! found.

use serde_json::{Value, json};

/// A failed request, as a client is told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message} ({reason}, {code})")]
pub struct Status {
    /// HTTP status code.
    pub code: u16,
    /// Machine-readable reason, such as `NotFound`.
    pub reason: &'static str,
    /// What a person reads.
    pub message: String,
    /// `details` of the Status object.
    pub details: Option<Value>,
}

/// One mistake in an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Reason of the cause, such as `FieldValueInvalid`.
    pub reason: &'static str,
    /// Path of the field.
    pub field: String,
    /// Message without the path.
    pub body: String,
}

impl Problem {
    fn new(reason: &'static str, field: &str, head: String, detail: &str) -> Problem {
        let body = if detail.is_empty() { head } else { format!("{head}: {detail}") };
        Problem { reason, field: field.to_owned(), body }
    }

    /// A missing value.
    pub fn required(field: &str, detail: &str) -> Problem {
        Problem::new("FieldValueRequired", field, "Required value".to_owned(), detail)
    }

    /// A malformed value.
    pub fn invalid(field: &str, value: &Value, detail: &str) -> Problem {
        Problem::new("FieldValueInvalid", field, format!("Invalid value: {}", shown(value)), detail)
    }

    /// A value of a wrong type.
    pub fn wrong_type(field: &str, value: &str, detail: &str) -> Problem {
        Problem::new("FieldValueTypeInvalid", field, format!("Invalid value: {}", quoted(value)), detail)
    }

    /// A value outside an enumeration.
    pub fn unsupported(field: &str, value: &Value, supported: &[String]) -> Problem {
        let list: Vec<_> = supported.iter().map(|one| quoted(one)).collect();
        let detail =
            if list.is_empty() { String::new() } else { format!("supported values: {}", list.join(", ")) };
        Problem::new("FieldValueNotSupported", field, format!("Unsupported value: {}", shown(value)), &detail)
    }

    /// A value that may not be given here.
    pub fn forbidden(field: &str, detail: &str) -> Problem {
        Problem::new("FieldValueForbidden", field, "Forbidden".to_owned(), detail)
    }

    /// A value given twice.
    pub fn duplicate(field: &str, value: &Value) -> Problem {
        Problem::new("FieldValueDuplicate", field, format!("Duplicate value: {}", shown(value)), "")
    }

    /// A value that refers to something that is not there.
    pub fn not_found(field: &str, value: &Value) -> Problem {
        Problem::new("FieldValueNotFound", field, format!("Not found: {}", shown(value)), "")
    }

    /// A value that is too long.
    pub fn too_long(field: &str, detail: &str) -> Problem {
        Problem::new("FieldValueTooLong", field, "Too long".to_owned(), detail)
    }

    /// Too many items.
    pub fn too_many(field: &str, count: usize, limit: u64) -> Problem {
        Problem::new(
            "FieldValueTooMany",
            field,
            format!("Too many: {count}"),
            &format!("must have at most {limit} items"),
        )
    }
}

/// `text` as Go's `%q` prints it.
pub fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

fn shown(value: &Value) -> String {
    value.to_string()
}

/// Group and plural (or kind), as error messages name them: `deployments.apps`.
pub fn qualified(group: &str, plural: &str) -> String {
    if group.is_empty() { plural.to_owned() } else { format!("{plural}.{group}") }
}

fn details(group: &str, kind: &str, name: &str) -> serde_json::Map<String, Value> {
    let mut out = serde_json::Map::new();
    for (key, value) in [("name", name), ("group", group), ("kind", kind)] {
        if !value.is_empty() {
            out.insert(key.to_owned(), Value::from(value));
        }
    }
    out
}

impl Status {
    fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Status {
        Status { code, reason, message: message.into(), details: None }
    }

    fn about(mut self, group: &str, kind: &str, name: &str) -> Status {
        self.details = Some(Value::Object(details(group, kind, name)));
        self
    }

    /// No such object.
    pub fn not_found(group: &str, plural: &str, name: &str) -> Status {
        Status::new(404, "NotFound", format!("{} {} not found", qualified(group, plural), quoted(name)))
            .about(group, plural, name)
    }

    /// No such path.
    pub fn no_such_resource() -> Status {
        Status {
            details: Some(json!({})),
            ..Status::new(404, "NotFound", "the server could not find the requested resource")
        }
    }

    /// The name is taken.
    pub fn already_exists(group: &str, plural: &str, name: &str) -> Status {
        Status::new(
            409,
            "AlreadyExists",
            format!("{} {} already exists", qualified(group, plural), quoted(name)),
        )
        .about(group, plural, name)
    }

    /// The operation does not fit the object's present state.
    pub fn conflict(group: &str, plural: &str, name: &str, why: &str) -> Status {
        let message =
            format!("Operation cannot be fulfilled on {} {}: {why}", qualified(group, plural), quoted(name));
        Status::new(409, "Conflict", message).about(group, plural, name)
    }

    /// The object has another resource version than the writer thought.
    pub fn stale(group: &str, plural: &str, name: &str) -> Status {
        Status::conflict(
            group,
            plural,
            name,
            "the object has been modified; please apply your changes to the latest version and try again",
        )
    }

    /// Fields of an apply belong to others.
    pub fn apply_conflict(message: String, causes: &[Value]) -> Status {
        Status { details: Some(json!({ "causes": causes })), ..Status::new(409, "Conflict", message) }
    }

    /// The object has mistakes.
    pub fn invalid(group: &str, kind: &str, name: &str, problems: &[Problem]) -> Status {
        let mut lines: Vec<String> = Vec::new();
        for problem in problems {
            let line = format!("{}: {}", problem.field, problem.body);
            if !lines.contains(&line) {
                lines.push(line);
            }
        }
        let text = if lines.len() == 1 { lines.remove(0) } else { format!("[{}]", lines.join(", ")) };
        let mut out = details(group, kind, name);
        let causes: Vec<_> = problems
            .iter()
            .map(|problem| json!({"reason": problem.reason, "message": problem.body, "field": problem.field}))
            .collect();
        out.insert("causes".to_owned(), Value::Array(causes));
        let message = format!("{} {} is invalid: {text}", qualified(group, kind), quoted(name));
        Status { details: Some(Value::Object(out)), ..Status::new(422, "Invalid", message) }
    }

    /// The request cannot be understood.
    pub fn bad_request(message: impl Into<String>) -> Status {
        Status::new(400, "BadRequest", message)
    }

    /// The body is in a form that this path does not take.
    pub fn unsupported_media_type(accepted: &[&str]) -> Status {
        let message = format!(
            "the body of the request was in an unknown format - accepted media types include: {}",
            accepted.join(", ")
        );
        Status::new(415, "UnsupportedMediaType", message)
    }

    /// The body is in a form that no path takes.
    pub fn unknown_media_type() -> Status {
        Status {
            details: Some(json!({})),
            ..Status::new(415, "UnsupportedMediaType", "415: Unsupported Media Type")
        }
    }

    /// No representation that the client would take.
    pub fn not_acceptable(accepted: &[&str]) -> Status {
        let message = format!("406: Not Acceptable\n\nAvailable representations: {}", accepted.join(", "));
        Status { details: Some(json!({})), ..Status::new(406, "NotAcceptable", message) }
    }

    /// The path exists, the verb does not.
    pub fn method_not_allowed() -> Status {
        Status {
            details: Some(json!({})),
            ..Status::new(
                405,
                "MethodNotAllowed",
                "the server does not allow this method on the requested resource",
            )
        }
    }

    /// Not allowed in the present state.
    pub fn forbidden(group: &str, plural: &str, name: &str, why: &str) -> Status {
        let message = if name.is_empty() {
            format!("{} is forbidden: {why}", qualified(group, plural))
        } else {
            format!("{} {} is forbidden: {why}", qualified(group, plural), quoted(name))
        };
        Status::new(403, "Forbidden", message).about(group, plural, name)
    }

    /// The resource version is too old.
    pub fn expired(message: impl Into<String>) -> Status {
        Status::new(410, "Expired", message)
    }

    /// Come back later.
    pub fn too_many_requests(message: impl Into<String>, retry_after_seconds: u32) -> Status {
        let mut details = json!({});
        if retry_after_seconds > 0 {
            details["retryAfterSeconds"] = retry_after_seconds.into();
        }
        Status { details: Some(details), ..Status::new(429, "TooManyRequests", message) }
    }

    /// The client knows a resource version from the future.
    pub fn version_from_the_future(asked: u64, current: u64) -> Status {
        let message = format!("Timeout: Too large resource version: {asked}, current: {current}");
        let cause = json!({"reason": "ResourceVersionTooLarge", "message": "Too large resource version"});
        Status {
            details: Some(json!({"causes": [cause], "retryAfterSeconds": 1})),
            ..Status::new(504, "Timeout", message)
        }
    }

    /// Trouble inside.
    pub fn internal(message: impl std::fmt::Display) -> Status {
        let cause = json!({"message": message.to_string()});
        Status {
            details: Some(json!({"causes": [cause]})),
            ..Status::new(500, "InternalError", format!("Internal error occurred: {message}"))
        }
    }

    /// Not serving at the moment.
    pub fn unavailable(message: impl Into<String>) -> Status {
        Status::new(503, "ServiceUnavailable", message)
    }

    /// Whether the object or path is not there.
    pub fn is_not_found(&self) -> bool {
        self.code == 404
    }

    /// Whether this is a conflict, of versions or of owners.
    pub fn is_conflict(&self) -> bool {
        self.reason == "Conflict"
    }

    /// Whether the name is taken.
    pub fn is_already_exists(&self) -> bool {
        self.reason == "AlreadyExists"
    }

    /// The `Status` object.
    pub fn to_value(&self) -> Value {
        let mut out = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "code": self.code,
        });
        if !self.reason.is_empty() {
            out["reason"] = Value::from(self.reason);
        }
        if let Some(details) = &self.details {
            out["details"] = details.clone();
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_read_as_the_real_ones() {
        let one = [Problem::required("spec.selector", "")];
        let two = [
            Problem::invalid("spec.replicas", &json!(-1), "must be greater than or equal to 0"),
            Problem::required("spec.selector", ""),
        ];
        for (status, message) in [
            (Status::not_found("apps", "deployments", "a"), "deployments.apps \"a\" not found"),
            (Status::not_found("", "pods", "a"), "pods \"a\" not found"),
            (
                Status::invalid("apps", "Deployment", "a", &one),
                "Deployment.apps \"a\" is invalid: spec.selector: Required value",
            ),
            (
                Status::invalid("apps", "Deployment", "a", &two),
                "Deployment.apps \"a\" is invalid: [spec.replicas: Invalid value: -1: must be greater than or equal to 0, spec.selector: Required value]",
            ),
            (
                Status::stale("", "configmaps", "c"),
                "Operation cannot be fulfilled on configmaps \"c\": the object has been modified; please apply your changes to the latest version and try again",
            ),
        ] {
            assert_eq!(status.message, message);
            assert_eq!(status.to_value()["code"], status.code);
        }
    }
}

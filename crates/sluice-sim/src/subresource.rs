//! Doors beside the object itself: scale, eviction, binding and finalize.

use std::sync::{Arc, LazyLock};

use serde_json::{Value, json};

use crate::{
    builtin::types,
    decode::bad_patch,
    delete::DeleteOptions,
    patch::{Patch, apply, conform, json as json_patch, merge},
    resource::Scale,
    selector::LabelSelector,
    state::{Context, State},
    status::{Problem, Status},
    store::Entry,
    time,
    typed::Type,
    write::{Target, Written},
};

/// Group and version of scales.
const SCALE: &str = "autoscaling/v1";

/// What stands in the scale of a custom object for a number that is not there.
const NO_REPLICAS: i64 = i32::MIN as i64;

/// How scales are put together.
static SCALE_TYPE: LazyLock<Arc<Type>> =
    LazyLock::new(|| types::find("autoscaling.v1.Scale").unwrap_or_else(Type::any));

fn scale_writer(context: &Context) -> apply::Writer<'_> {
    apply::Writer {
        manager: &context.manager,
        api_version: "autoscaling/v1",
        subresource: "scale",
        time: time::seconds(context.now),
        splits_status: false,
        kind: "Scale",
    }
}

/// The steps of a dotted path, as managed fields have them.
fn steps(path: &str) -> Vec<String> {
    path.trim_start_matches('.').split('.').map(|step| format!("f:{step}")).collect()
}

/// The encoder leaves a zero out.
fn set_replicas(scale: &mut Value, replicas: i64) {
    if replicas != 0 {
        scale["spec"]["replicas"] = Value::from(replicas);
    } else if let Some(spec) = scale["spec"].as_object_mut() {
        spec.remove("replicas");
    }
}

/// The number that a scale asks for.
fn wanted(context: &Context, target: &Target, body: &Value) -> Result<i64, Status> {
    let given = &body["spec"]["replicas"];
    let why = "json: cannot unmarshal string into Go struct field ScaleSpec.spec.replicas of type int32";
    match given.as_i64() {
        Some(replicas) => Ok(replicas),
        None if given.is_null() => Ok(0),
        None if context.verb == "patch" => Err(bad_patch(body, why)),
        None if target.resource.custom => Err(Status::bad_request(
            "no kind is registered for the type v1.Scale in scheme \"pkg/runtime/scheme.go:111\"",
        )),
        None => {
            Err(Status::bad_request(format!("Scale in version \"v1\" cannot be handled as a Scale: {why}")))
        }
    }
}

/// Looked at before the version; of a custom object it is looked at with the rest of it.
fn check_replicas(target: &Target, replicas: i64) -> Result<(), Status> {
    if replicas >= 0 || target.resource.custom {
        return Ok(());
    }
    let problem = Problem::invalid("spec.replicas", &json!(replicas), "must be greater than or equal to 0");
    Err(Status::invalid("autoscaling", "Scale", &target.name, &[problem]))
}

fn pointer(path: &str) -> String {
    path.replace('.', "/")
}

fn set_at(object: &mut Value, path: &str, value: Value) {
    let mut slot = object;
    for step in path.trim_start_matches('.').split('.') {
        if !slot.is_object() {
            *slot = json!({});
        }
        slot = &mut slot[step];
    }
    *slot = value;
}

/// Text form of a selector object.
pub fn selector_text(selector: &Value) -> String {
    let mut parts = Vec::new();
    for (key, value) in selector["matchLabels"].as_object().into_iter().flatten() {
        parts.push(format!("{key}={}", value.as_str().unwrap_or_default()));
    }
    for one in selector["matchExpressions"].as_array().into_iter().flatten() {
        let key = one["key"].as_str().unwrap_or_default();
        let values: Vec<&str> =
            one["values"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        parts.push(match one["operator"].as_str().unwrap_or_default() {
            "In" => format!("{key} in ({})", values.join(",")),
            "NotIn" => format!("{key} notin ({})", values.join(",")),
            "DoesNotExist" => format!("!{key}"),
            _ => key.to_owned(),
        });
    }
    parts.join(",")
}

/// The `Scale` object of an object.
pub fn scale_of(object: &Value, scale: &Scale, custom: bool) -> Value {
    let metadata = &object["metadata"];
    let mut meta = json!({});
    for key in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = metadata.get(key) {
            meta[key] = value.clone();
        }
    }
    let number = |path: &str| object.pointer(&pointer(path)).and_then(Value::as_i64);
    let mut spec = json!({});
    if let Some(n) = number(&scale.spec).filter(|n| *n != 0) {
        spec["replicas"] = Value::from(n);
    }
    let mut status = json!({"replicas": number(&scale.status).unwrap_or(0)});
    let selector = match (&scale.selector, custom) {
        (Some(path), _) => {
            object.pointer(&pointer(path)).and_then(Value::as_str).unwrap_or_default().to_owned()
        }
        (None, false) => {
            let selector = &object["spec"]["selector"];
            if selector.get("matchLabels").is_some() || selector.get("matchExpressions").is_some() {
                selector_text(selector)
            } else {
                selector_text(&json!({"matchLabels": selector}))
            }
        }
        (None, true) => String::new(),
    };
    if !selector.is_empty() {
        status["selector"] = Value::from(selector);
    }
    json!({"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": meta, "spec": spec, "status": status})
}

impl State {
    /// Reads the scale of an object.
    pub fn scale(&self, target: &Target) -> Result<Value, Status> {
        let scale = target.version().scale.as_ref().ok_or_else(Status::no_such_resource)?;
        let entry = self
            .store
            .get(&target.resource.table, &target.namespace, &target.name)
            .ok_or_else(|| target.missing())?;
        if target.resource.custom
            && entry.value.pointer(&pointer(&scale.spec)).and_then(Value::as_i64).is_none()
        {
            let why =
                format!("the spec replicas field {} does not exist", crate::status::quoted(&scale.spec));
            return Err(Status::internal(why));
        }
        Ok(scale_of(&entry.value, scale, target.resource.custom))
    }

    /// Writes a scale.
    pub fn update_scale(
        &mut self,
        context: &mut Context,
        target: &Target,
        body: &Value,
    ) -> Result<Written, Status> {
        let replicas = wanted(context, target, body)?;
        let old = self
            .store
            .get(&target.resource.table, &target.namespace, &target.name)
            .cloned()
            .ok_or_else(|| target.missing())?;
        check_replicas(target, replicas)?;
        let given = body["metadata"]["resourceVersion"].as_str().unwrap_or_default();
        if !given.is_empty() && given != old.version.to_string() {
            return Err(Status::stale(&target.resource.group, &target.resource.plural, &target.name));
        }
        let live = self.owned_scale(target, &old.value)?;
        let mut scale = live.clone();
        set_replicas(&mut scale, replicas);
        apply::track_update(&live, &mut scale, &SCALE_TYPE, &scale_writer(context));
        self.put_scale(context, target, &old, replicas, &scale)
    }

    /// The scale of an object, with managed fields.
    fn owned_scale(&self, target: &Target, object: &Value) -> Result<Value, Status> {
        let scale = target.version().scale.as_ref().ok_or_else(Status::no_such_resource)?;
        let shown = State::shown(&target.resource, target.version, object);
        let mut out = scale_of(&shown, scale, target.resource.custom);
        let owners = apply::scale_managers(object, &steps(&scale.spec));
        if owners.as_array().is_some_and(|list| !list.is_empty()) {
            out["metadata"]["managedFields"] = owners;
        }
        Ok(out)
    }

    /// The scale of an object, as patches see it: a number that is not there is one that nobody means.
    fn patched_scale(&self, target: &Target) -> Result<Value, Status> {
        let scale = target.version().scale.as_ref().ok_or_else(Status::no_such_resource)?;
        let entry = self
            .store
            .get(&target.resource.table, &target.namespace, &target.name)
            .ok_or_else(|| target.missing())?;
        let mut out = scale_of(&entry.value, scale, target.resource.custom);
        if target.resource.custom && entry.value.pointer(&pointer(&scale.spec)).is_none() {
            out["spec"]["replicas"] = Value::from(NO_REPLICAS);
        }
        Ok(out)
    }

    fn put_scale(
        &mut self,
        context: &mut Context,
        target: &Target,
        old: &Arc<Entry>,
        replicas: i64,
        scale: &Value,
    ) -> Result<Written, Status> {
        let door = target.version().scale.clone().ok_or_else(Status::no_such_resource)?;
        if replicas == NO_REPLICAS && target.resource.custom {
            let path = crate::status::quoted(&door.spec);
            return Err(Status::bad_request(format!("the spec replicas field {path} cannot be empty")));
        }
        let mut object = State::shown(&target.resource, target.version, &old.value);
        set_at(&mut object, &door.spec, Value::from(replicas));
        let api_version = &target.version().api_version;
        let owners = apply::parent_managers(
            &old.value,
            &scale["metadata"]["managedFields"],
            &steps(&door.spec),
            api_version,
        );
        if let Some(metadata) = object["metadata"].as_object_mut() {
            metadata.remove("managedFields");
            if owners.as_array().is_some_and(|list| !list.is_empty()) {
                metadata.insert("managedFields".to_owned(), owners);
            }
        }
        let scaled = Target { subresource: Some("scale"), ..target.clone() };
        self.replace_owned(context, &scaled, object, old)
    }

    /// Patches a scale; answers with the scaled object.
    pub fn patch_scale(
        &mut self,
        context: &mut Context,
        target: &Target,
        patch: &Patch,
    ) -> Result<Written, Status> {
        let shown = self.patched_scale(target)?;
        let body = match patch {
            Patch::Json(operations) => json_patch::apply(shown, operations)
                .map_err(|error| Status::bad_request(error.to_string()))?,
            Patch::Merge(change) | Patch::Strategic(change) => {
                let mut out = shown;
                merge::merge(&mut out, change);
                out
            }
            Patch::Apply { object, field_manager, force } => {
                context.manager.clone_from(field_manager);
                return self.apply_scale(context, target, object, *force);
            }
        };
        self.update_scale(context, target, &body)
    }

    fn apply_scale(
        &mut self,
        context: &mut Context,
        target: &Target,
        config: &Value,
        force: bool,
    ) -> Result<Written, Status> {
        let old = self
            .store
            .get(&target.resource.table, &target.namespace, &target.name)
            .cloned()
            .ok_or_else(|| target.missing())?;
        if let Err(why) = conform::check(config, &SCALE_TYPE) {
            let of = |key: &str| config["metadata"][key].as_str().unwrap_or_default();
            let message = format!(
                "failed to create typed patch object ({}/{}; autoscaling/v1, Kind=Scale): {why}",
                of("namespace"),
                of("name")
            );
            return Err(Status { code: 500, reason: "", message, details: None });
        }
        let live = self.owned_scale(target, &old.value)?;
        // A real server cannot turn an applied scale into one of a custom object, nor look at one that nobody
        // has written yet. An apply that changes nothing does not get that far.
        let no_conversion = |what: &str| Status {
            code: 500,
            reason: "",
            message: format!(
                "{what}, Kind=Scale) to proper version: request to convert CR to an invalid group/version: {SCALE}"
            ),
            details: None,
        };
        if target.resource.custom && live["metadata"].get("managedFields").is_none() {
            let what = "failed to create manager for existing fields: failed to convert live object (/; autoscaling/v1";
            return Err(no_conversion(what));
        }
        let empty = json!({"apiVersion": SCALE, "kind": "Scale", "metadata": {}, "spec": {}, "status": {"replicas": 0}});
        let scale = apply::apply(&live, config, &SCALE_TYPE, &scale_writer(context), force, &empty)?;
        if target.resource.custom && apply::rest_differs(&live, &scale) {
            let what = format!("failed to convert new object ({}/{}; {SCALE}", target.namespace, target.name);
            return Err(no_conversion(&what));
        }
        let replicas = scale["spec"]["replicas"].as_i64().unwrap_or(0);
        check_replicas(target, replicas)?;
        let given = scale["metadata"]["resourceVersion"].as_str().unwrap_or_default();
        if !given.is_empty() && given != old.version.to_string() {
            return Err(Status::stale(&target.resource.group, &target.resource.plural, &target.name));
        }
        self.put_scale(context, target, &old, replicas, &scale)
    }

    /// Evicts a pod, if its disruption budgets allow.
    pub fn evict(&mut self, context: &mut Context, target: &Target, body: &Value) -> Result<(), Status> {
        let pod = self
            .store
            .get("pods", &target.namespace, &target.name)
            .cloned()
            .ok_or_else(|| target.missing())?;
        let options = DeleteOptions {
            grace_seconds: body["deleteOptions"]["gracePeriodSeconds"].as_i64(),
            uid: body["deleteOptions"]["preconditions"]["uid"].as_str().map(str::to_owned),
            dry_run: body["deleteOptions"]["dryRun"].as_array().is_some_and(|list| !list.is_empty()),
            ..DeleteOptions::default()
        };
        let done = matches!(pod.value["status"]["phase"].as_str(), Some("Succeeded" | "Failed" | "Pending"));
        if !done && pod.value["metadata"].get("deletionTimestamp").is_none() {
            self.take_from_budget(context, target, &pod.value["metadata"]["labels"])?;
        }
        self.delete(context, target, &options).map(drop)
    }

    fn take_from_budget(
        &mut self,
        context: &mut Context,
        target: &Target,
        labels: &Value,
    ) -> Result<(), Status> {
        let table = "poddisruptionbudgets.policy";
        let budgets: Vec<_> = self
            .store
            .list(table, Some(&target.namespace))
            .filter(|(_, entry)| {
                LabelSelector::from_object(&entry.value["spec"]["selector"])
                    .is_some_and(|selector| selector.matches(labels))
            })
            .map(|(key, entry)| (key.clone(), entry.clone()))
            .collect();
        match budgets.as_slice() {
            [] => Ok(()),
            [(key, budget)] => {
                let allowed = budget.value["status"]["disruptionsAllowed"].as_i64().unwrap_or(0);
                if allowed <= 0 {
                    let mut status = Status::too_many_requests(
                        "Cannot evict pod as it would violate the pod's disruption budget.",
                        0,
                    );
                    let number = |name: &str| budget.value["status"][name].as_i64().unwrap_or(0);
                    let message = format!(
                        "The disruption budget {} needs {} healthy pods and has {} currently",
                        key.1,
                        number("desiredHealthy"),
                        number("currentHealthy")
                    );
                    status.details =
                        Some(json!({"causes": [{"reason": "DisruptionBudget", "message": message}]}));
                    return Err(status);
                }
                let mut changed = (*budget.value).clone();
                changed["status"]["disruptionsAllowed"] = Value::from(allowed - 1);
                changed["status"]["disruptedPods"][&target.name] =
                    Value::from(crate::time::seconds(context.now));
                let resource = self
                    .registry
                    .at("policy", "poddisruptionbudgets")
                    .cloned()
                    .ok_or_else(Status::no_such_resource)?;
                if !context.dry_run {
                    self.commit(context, &resource, Some("status"), key.clone(), changed);
                }
                Ok(())
            }
            _ => Err(Status::internal(
                "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
            )),
        }
    }

    /// Puts a pod on a node.
    pub fn bind(&mut self, context: &mut Context, target: &Target, body: &Value) -> Result<(), Status> {
        let old = self
            .store
            .get("pods", &target.namespace, &target.name)
            .cloned()
            .ok_or_else(|| target.missing())?;
        if old.value["spec"].get("nodeName").is_some() {
            let why =
                format!("pod {} is already assigned to node {}", target.name, old.value["spec"]["nodeName"]);
            return Err(Status::conflict("", "pods/binding", &target.name, &why));
        }
        let mut pod = (*old.value).clone();
        pod["spec"]["nodeName"] = body["target"]["name"].clone();
        self.commit(
            context,
            &target.resource,
            Some("binding"),
            (target.namespace.clone(), target.name.clone()),
            pod,
        );
        Ok(())
    }

    /// Sets what holds a terminating namespace, and removes it when nothing does.
    pub fn finalize(
        &mut self,
        context: &mut Context,
        target: &Target,
        body: &Value,
    ) -> Result<Written, Status> {
        let old = self.store.get("namespaces", "", &target.name).cloned().ok_or_else(|| target.missing())?;
        let mut namespace = (*old.value).clone();
        namespace["spec"]["finalizers"] = body["spec"]["finalizers"].clone();
        let empty = |list: &Value| list.as_array().is_none_or(Vec::is_empty);
        if empty(&namespace["spec"]["finalizers"])
            && let Some(spec) = namespace["spec"].as_object_mut()
        {
            spec.remove("finalizers");
        }
        let key = (String::new(), target.name.clone());
        let resource = target.resource.clone();
        if namespace["metadata"].get("deletionTimestamp").is_some()
            && empty(&namespace["spec"]["finalizers"])
            && empty(&namespace["metadata"]["finalizers"])
        {
            self.erase(context, &resource, Some("finalize"), &key).ok_or_else(|| target.missing())?;
            return Ok(Written { entry: Entry::new(namespace, old.version), created: false, deleted: true });
        }
        let change = self.commit(context, &resource, Some("finalize"), key, namespace);
        Ok(Written { entry: change.after.clone(), created: false, deleted: false })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_read_as_the_object_says() {
        let scale = Scale {
            spec: ".spec.replicas".to_owned(),
            status: ".status.replicas".to_owned(),
            selector: None,
        };
        let object = json!({"metadata": {"name": "a", "resourceVersion": "7", "labels": {}}, "spec": {"replicas": 3, "selector": {"matchLabels": {"a": "b"}, "matchExpressions": [{"key": "c", "operator": "In", "values": ["1", "2"]}]}}, "status": {"replicas": 2}});
        let got = scale_of(&object, &scale, false);
        assert_eq!(got["spec"], json!({"replicas": 3}));
        assert_eq!(got["status"], json!({"replicas": 2, "selector": "a=b,c in (1,2)"}));
        assert_eq!(got["metadata"], json!({"name": "a", "resourceVersion": "7"}));
    }
}

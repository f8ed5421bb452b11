//! What creating and changing an object means.
//!
//! Decides which parts of a write count, what is refused and why, what the object becomes, and when
//! there is nothing to write at all. It works on values: requests and their paths are `request`'s.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::{
    builtin::{defaults, rules, types},
    decode::{
        bad_patch, check_name, check_namespace, decode, decode_change, nothing, type_given, type_problem,
    },
    meta,
    patch::{Patch, apply, conform, json as json_patch, merge, strategic},
    resource::{Resource, Version},
    schema::validate,
    state::{Context, FieldValidation, REHEARSED_ADDRESS, State},
    status::{Problem, Status, quoted},
    store::{Entry, drop_empties},
    time,
};

/// Which object of which kind a write is about.
#[derive(Clone, Debug)]
pub struct Target {
    /// The kind.
    pub resource: Arc<Resource>,
    /// Index of the version that the request speaks.
    pub version: usize,
    /// Empty for kinds without namespaces.
    pub namespace: String,
    /// Empty for creations and collections.
    pub name: String,
    /// `status`, or `None` for the object itself. Others are handled before they come here.
    pub subresource: Option<&'static str>,
}

impl Target {
    /// The spoken version.
    pub fn version(&self) -> &Version {
        &self.resource.versions[self.version]
    }

    /// No such object.
    pub fn missing(&self) -> Status {
        Status::not_found(&self.resource.group, &self.resource.plural, &self.name)
    }

    /// Where it is stored.
    pub fn key(&self) -> (String, String) {
        (self.namespace.clone(), self.name.clone())
    }

    /// The key in a real API server's storage, which some messages name.
    fn storage_key(&self) -> String {
        let resource = &self.resource;
        let table = match (resource.custom, resource.plural.as_str()) {
            (true, plural) => format!("{}/{plural}", resource.group),
            (false, "services") => "services/specs".to_owned(),
            (false, "endpoints") => "services/endpoints".to_owned(),
            (false, "nodes") => "minions".to_owned(),
            (false, plural) => plural.to_owned(),
        };
        if self.namespace.is_empty() {
            format!("/registry/{table}/{}", self.name)
        } else {
            format!("/registry/{table}/{}/{}", self.namespace, self.name)
        }
    }

    fn group_of_kind(&self) -> &str {
        &self.resource.group
    }

    fn invalid(&self, name: &str, problems: &[Problem]) -> Status {
        Status::invalid(self.group_of_kind(), &self.resource.kind, name, problems)
    }
}

/// The result of a write.
#[derive(Clone, Debug)]
pub struct Written {
    /// The object, as stored.
    pub entry: Arc<Entry>,
    /// Whether the write created it.
    pub created: bool,
    /// Whether it is gone now.
    pub deleted: bool,
}

/// Through which door a new object came.
enum Creation {
    Post,
    Put,
    /// With the managed fields that the apply made.
    Apply(Value),
}

/// Through which door a changed object came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Door {
    Put,
    Patch,
    Apply,
}

/// A field of the metadata, empty if it is not there.
pub fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value["metadata"].get(key).and_then(Value::as_str).unwrap_or_default()
}

/// The metadata, made if it is not there.
pub fn metadata(value: &mut Value) -> &mut Map<String, Value> {
    if !value["metadata"].is_object() {
        value["metadata"] = json!({});
    }
    match &mut value["metadata"] {
        Value::Object(map) => map,
        _ => unreachable!("metadata was just made an object"),
    }
}

fn writer<'a>(target: &'a Target, context: &'a Context) -> apply::Writer<'a> {
    apply::Writer {
        manager: &context.manager,
        api_version: &target.version().api_version,
        subresource: target.subresource.unwrap_or_default(),
        time: time::seconds(context.now),
        splits_status: target.version().status,
        kind: &target.resource.kind,
    }
}

impl State {
    fn namespace_must_take(&self, target: &Target, name: &str) -> Result<(), Status> {
        if !target.resource.namespaced {
            return Ok(());
        }
        let Some(namespace) = self.store.get("namespaces", "", &target.namespace) else {
            return Err(Status::not_found("", "namespaces", &target.namespace));
        };
        if namespace.value["metadata"].get("deletionTimestamp").is_some() {
            let why = format!(
                "unable to create new content in namespace {} because it is being terminated",
                target.namespace
            );
            let mut status = Status::forbidden(&target.resource.group, &target.resource.plural, name, &why);
            let cause = json!({"reason": "NamespaceTerminating", "message": format!("namespace {} is being terminated", target.namespace), "field": "metadata.namespace"});
            if let Some(details) = &mut status.details {
                details["causes"] = json!([cause]);
            }
            return Err(status);
        }
        Ok(())
    }

    /// Creates an object.
    pub fn create(&mut self, context: &mut Context, target: &Target, body: Value) -> Result<Written, Status> {
        let mut object = decode(target, body, context)?;
        check_namespace(target, &mut object)?;
        self.create_decoded(context, target, object, Creation::Post)
    }

    /// A PUT of something that is not there.
    fn create_by_update(
        &mut self,
        context: &mut Context,
        target: &Target,
        object: Value,
    ) -> Result<Written, Status> {
        let uid = text(&object, "uid");
        if !uid.is_empty() {
            return Err(other_uid(target, context, uid, ""));
        }
        let given = text(&object, "resourceVersion");
        if !given.is_empty() && given.parse::<u64>().is_err() {
            return Err(no_version(given));
        }
        self.create_decoded(context, target, object, Creation::Put)
    }

    fn create_decoded(
        &mut self,
        context: &mut Context,
        target: &Target,
        mut object: Value,
        creation: Creation,
    ) -> Result<Written, Status> {
        let resource = target.resource.clone();
        let rule = meta::name_rule(&resource.table);
        let meta_map = metadata(&mut object);
        let version_given = meta_map
            .get("resourceVersion")
            .and_then(Value::as_str)
            .is_some_and(|version| !version.is_empty() && version != "0");
        meta_map.remove("selfLink");
        // What an update or apply creates keeps what a deletion would say.
        if matches!(creation, Creation::Post) {
            meta_map.remove("deletionTimestamp");
            meta_map.remove("deletionGracePeriodSeconds");
        }
        // A rehearsal shows the version that it was given.
        if !context.dry_run {
            meta_map.remove("resourceVersion");
        }
        let named =
            ["name", "generateName"].map(|key| text(&object, key)).into_iter().find(|name| !name.is_empty());
        self.namespace_must_take(target, named.unwrap_or("Unknown"))?;
        if text(&object, "name").is_empty() && !text(&object, "generateName").is_empty() {
            let name = meta::generate_name(text(&object, "generateName"), &mut self.rng);
            metadata(&mut object).insert("name".to_owned(), Value::from(name));
        }
        if resource.kind.as_ref() == "Namespace" && !resource.custom {
            defaults::fill_in("Namespace", &mut object);
        }
        let name = text(&object, "name").to_owned();
        if let Some(problem) = type_problem(target, &object) {
            let (group, kind) = type_given(target, &object);
            return Err(Status::invalid(group, kind, &name, &[problem]));
        }
        let uid = self.uid();
        let meta_map = metadata(&mut object);
        meta_map.insert("uid".to_owned(), Value::from(uid));
        meta_map.insert("creationTimestamp".to_owned(), Value::from(time::seconds(context.now)));
        let version = target.version();
        // What is filled in from here on belongs to nobody.
        if let Creation::Apply(managed) = &creation {
            if !managed.is_null() {
                metadata(&mut object).insert("managedFields".to_owned(), managed.clone());
            }
        } else {
            let nothing = nothing(target);
            apply::track_update(&nothing, &mut object, &version.ty, &writer(target, context));
        }
        // Whoever sent a status may own it, but no new object keeps it.
        if version.status
            && let Some(map) = object.as_object_mut()
        {
            map.remove("status");
        }
        if !resource.custom {
            let status = version.status.then(|| types::empty(&version.ty)["status"].clone());
            rules::prepare_create(&resource.kind, &mut object, status);
            if &*resource.table == "services" && target.subresource.is_none() {
                self.service_addresses(&mut object, context.dry_run);
            }
        }
        if resource.traits.has_generation {
            metadata(&mut object).insert("generation".to_owned(), Value::from(1));
        }
        let mut problems =
            if resource.custom { Vec::new() } else { rules::create_problems(&resource.kind, &object) };
        // Events are looked at as events first, other kinds in one go with their metadata.
        if &*resource.table != "events" || problems.is_empty() {
            problems.extend(meta::create_problems(&object["metadata"], rule, resource.namespaced));
        }
        if let Some(schema) = &version.structural {
            problems.extend(validate::validate(&object, None, schema, ""));
            problems.extend(scale_problems(version, &object));
            problems.extend(validate::unchecked_rules(schema, &problems));
        }
        if !problems.is_empty() {
            return Err(target.invalid(&name, &problems));
        }
        if version_given && matches!(creation, Creation::Post) && !context.dry_run {
            return Err(Status {
                code: 500,
                reason: "",
                message: "resourceVersion should not be set on objects to be created".to_owned(),
                details: None,
            });
        }
        let key = (if resource.namespaced { target.namespace.clone() } else { String::new() }, name.clone());
        if let Some(found) = self.store.get(&resource.table, &key.0, &key.1) {
            let mut status = Status::already_exists(&resource.group, &resource.plural, &name);
            if found.value["metadata"].get("deletionTimestamp").is_some() {
                status.message = format!("object is being deleted: {}", status.message);
            }
            return Err(status);
        }
        if resource.kind.as_ref() == "CustomResourceDefinition" && !resource.custom {
            let status = crate::crd::status(&object, context.now);
            object["status"] = status;
        }
        let entry = self.keep(context, &resource, target.subresource, key, object);
        Ok(Written { entry, created: true, deleted: false })
    }

    fn service_addresses(&mut self, object: &mut Value, dry_run: bool) {
        let spec = &mut object["spec"];
        if spec["type"] == "ExternalName" {
            return;
        }
        if spec["clusterIP"].as_str().unwrap_or_default().is_empty() {
            // A rehearsal takes none.
            let taken = || if dry_run { REHEARSED_ADDRESS.to_owned() } else { self.address() };
            let address = spec["clusterIPs"][0].as_str().map_or_else(taken, str::to_owned);
            spec["clusterIP"] = Value::from(address);
        }
        spec["clusterIPs"] = json!([spec["clusterIP"]]);
        for (key, value) in rules::FAMILIES.iter() {
            if spec.get(*key).is_none_or(Value::is_null) {
                spec[*key] = value.clone();
            }
        }
        if matches!(spec["type"].as_str(), Some("NodePort" | "LoadBalancer")) {
            let count = spec["ports"].as_array().map_or(0, Vec::len);
            for i in 0..count {
                if spec["ports"][i].get("nodePort").is_none() {
                    spec["ports"][i]["nodePort"] = Value::from(self.node_port());
                }
            }
        }
    }

    /// Stores, unless this is only a rehearsal.
    pub fn keep(
        &mut self,
        context: &mut Context,
        resource: &Arc<Resource>,
        subresource: Option<&'static str>,
        key: (String, String),
        object: Value,
    ) -> Arc<Entry> {
        if context.dry_run {
            let version = self.store.get(&resource.table, &key.0, &key.1).map_or(0, |entry| entry.version);
            return Entry::new(object, version);
        }
        self.commit(context, resource, subresource, key, object).after.clone()
    }

    /// Replaces an object.
    pub fn update(&mut self, context: &mut Context, target: &Target, body: Value) -> Result<Written, Status> {
        let found = self.store.get(&target.resource.table, &target.namespace, &target.name).cloned();
        let before = found.as_ref().map_or(&Value::Null, |old| &*old.value);
        let mut object = decode_change(target, body, before, context)?;
        check_name(target, &object)?;
        check_namespace(target, &mut object)?;
        let Some(old) = found else {
            if target.resource.traits.create_on_update {
                return self.create_by_update(context, target, object);
            }
            return Err(target.missing());
        };
        self.replace(context, target, object, &old, Door::Put)
    }

    /// Writes an object through a door beside it, which knows who owns what.
    pub fn replace_owned(
        &mut self,
        context: &mut Context,
        target: &Target,
        object: Value,
        old: &Arc<Entry>,
    ) -> Result<Written, Status> {
        self.replace(context, target, object, old, Door::Apply)
    }

    /// The common end of PUT and PATCH: `object` is decoded and complete.
    fn replace(
        &mut self,
        context: &mut Context,
        target: &Target,
        mut object: Value,
        old: &Arc<Entry>,
        door: Door,
    ) -> Result<Written, Status> {
        let resource = target.resource.clone();
        let version = target.version();
        let before: &Value = &old.value;
        let uid = text(&object, "uid").to_owned();
        if door == Door::Put && !uid.is_empty() && uid != text(before, "uid") {
            return Err(other_uid(target, context, &uid, text(before, "uid")));
        }
        let given = text(&object, "resourceVersion");
        if given.is_empty() || given == "0" {
            if resource.traits.needs_resource_version && door == Door::Put {
                let problem = Problem::invalid(
                    "metadata.resourceVersion",
                    &Value::from(0),
                    "must be specified for an update",
                );
                return Err(Status::invalid(&resource.group, &resource.plural, &target.name, &[problem]));
            }
        } else if given.parse::<u64>().is_err() {
            return Err(no_version(given));
        } else if given != old.version.to_string() {
            return Err(Status::stale(&resource.group, &resource.plural, &target.name));
        }
        let is_status = target.subresource == Some("status");
        let (group, kind) = type_given(target, &object);
        let (group, kind) = (group.to_owned(), kind.to_owned());
        let of_other_type = type_problem(target, &object).filter(|_| !is_status);
        // Ownership goes by what was sent, before any of it is taken back.
        if door != Door::Apply {
            apply::track_update(before, &mut object, &version.ty, &writer(target, context));
        }
        combine(target, &mut object, before);
        system_fields(&mut object, before);
        let raised = resource.traits.has_generation
            && !is_status
            && if resource.custom {
                custom_spec_changed(version, &object, before)
            } else {
                rules::raises_generation(&resource.kind, &object, before)
            };
        if resource.traits.has_generation {
            let generation = before["metadata"]["generation"].as_i64().unwrap_or(0);
            if raised || generation > 0 {
                metadata(&mut object)
                    .insert("generation".to_owned(), Value::from(generation + i64::from(raised)));
            }
        }
        let is_looked_at_again = !is_status && matches!(&*resource.table, "configmaps" | "pods");
        let mut problems = meta::update_problems(
            &object["metadata"],
            &before["metadata"],
            resource.namespaced,
            1 + usize::from(is_looked_at_again),
        );
        if !resource.custom {
            if is_status {
                problems.extend(rules::status_problems(&resource.kind, &object));
            } else {
                // From inside, pods are put on nodes by an update.
                let mut bound = None;
                if &*resource.kind == "Pod" && context.direct {
                    let pod = bound.insert(before.clone());
                    pod["spec"]["nodeName"] = object["spec"]["nodeName"].clone();
                }
                let before = bound.as_ref().unwrap_or(before);
                problems.extend(rules::update_problems(&resource.kind, &object, before));
            }
        } else if let Some(problem) = of_other_type {
            problems.push(problem);
            let schema = version.structural.iter();
            problems.extend(schema.flat_map(|schema| validate::transitions(&object, before, schema)));
        } else if let Some(schema) = &version.structural {
            if is_status {
                problems.extend(status_problems(schema, &object, before));
            } else {
                problems.extend(validate::validate(&object, Some(before), schema, ""));
            }
            problems.extend(scale_problems(version, &object));
            match validate::unchecked_rules(schema, &problems) {
                Some(problem) => problems.push(problem),
                None => problems.extend(validate::transitions(&object, before, schema)),
            }
        }
        if !problems.is_empty() {
            return Err(Status::invalid(&group, &kind, &target.name, &problems));
        }
        if resource.kind.as_ref() == "CustomResourceDefinition" && !resource.custom && !is_status {
            let status = crate::crd::status(&object, context.now);
            object["status"] = status;
        }
        self.finish(context, target, object, old)
    }

    /// Writes a changed object, removes it if nothing holds it any more, or does nothing.
    fn finish(
        &mut self,
        context: &mut Context,
        target: &Target,
        mut object: Value,
        old: &Arc<Entry>,
    ) -> Result<Written, Status> {
        let before: &Value = &old.value;
        let resource = target.resource.clone();
        metadata(&mut object).insert("resourceVersion".to_owned(), Value::from(old.version.to_string()));
        keep_times(&mut object, before);
        let ends = before["metadata"].get("deletionTimestamp").is_some()
            && before["metadata"]["deletionGracePeriodSeconds"].as_i64().unwrap_or(0) == 0
            && object["metadata"]
                .get("finalizers")
                .is_none_or(|list| list.as_array().is_none_or(Vec::is_empty))
            && (resource.kind.as_ref() != "Namespace"
                || object["spec"]["finalizers"].as_array().is_none_or(Vec::is_empty));
        if ends {
            // Nothing holds it any more, so that it goes as it is stored and is not written first. The
            // answer is what the request made of it, under the version that this was made of.
            if !context.dry_run {
                self.erase(context, &resource, target.subresource, &target.key())
                    .ok_or_else(|| target.missing())?;
            }
            let entry = Entry::unstored(object, old.version);
            return Ok(Written { entry, created: false, deleted: true });
        }
        if is_stored_so(&object, old) {
            return Ok(Written { entry: old.clone(), created: false, deleted: false });
        }
        let entry = self.keep(context, &resource, target.subresource, target.key(), object);
        Ok(Written { entry, created: false, deleted: false })
    }

    /// Patches an object; an apply creates it if needed.
    pub fn patch(
        &mut self,
        context: &mut Context,
        target: &Target,
        patch: &Patch,
    ) -> Result<Written, Status> {
        let found = self.store.get(&target.resource.table, &target.namespace, &target.name).cloned();
        if let Patch::Apply { object, field_manager, force } = patch {
            context.manager.clone_from(field_manager);
            context.applies = true;
            let may_create = target.subresource.is_none() || target.resource.traits.create_on_update;
            if found.is_none() && !may_create {
                return Err(target.missing());
            }
            return self.apply(context, target, object, *force, found.as_ref());
        }
        let Some(old) = found else { return Err(target.missing()) };
        let shown = State::shown(&target.resource, target.version, &old.value);
        let refused = |message: String| Status {
            reason: "Invalid",
            code: 422,
            message: "the server rejected our request due to an error in our request".to_owned(),
            details: Some(json!({"causes": [{"message": message}]})),
        };
        let patched = match patch {
            Patch::Json(operations) => json_patch::apply(shown, operations).map_err(|error| match error {
                json_patch::JsonPatchError::Malformed(message) => Status::bad_request(message),
                json_patch::JsonPatchError::Failed(message) => {
                    Status { details: Some(json!({})), ..refused(message) }
                }
            })?,
            Patch::Merge(change) => {
                if !change.is_object() && context.validation == FieldValidation::Ignore {
                    let why = "couldn't get version/kind; json parse error: json: cannot unmarshal array into Go value of type struct { APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \"json:\\\"kind,omitempty\\\"\" }";
                    return Err(bad_patch(change, why));
                }
                if !change.is_object() {
                    return Err(Status::bad_request(
                        "error decoding patch: json: cannot unmarshal array into Go value of type map[string]interface {}",
                    ));
                }
                let mut out = shown;
                merge::merge(&mut out, change);
                out
            }
            Patch::Strategic(change) => {
                if target.resource.custom {
                    return Err(Status::unsupported_media_type(&[
                        "application/json-patch+json",
                        "application/merge-patch+json",
                        "application/apply-patch+yaml",
                    ]));
                }
                strategic::merge(shown, change, &target.version().ty).map_err(|message| Status {
                    code: 500,
                    reason: "",
                    message,
                    details: None,
                })?
            }
            Patch::Apply { .. } => return Err(Status::internal("apply was handled above")),
        };
        let mut object = decode_change(target, patched, &old.value, context)?;
        check_name(target, &object)?;
        check_namespace(target, &mut object)?;
        self.replace(context, target, object, &old, Door::Patch)
    }

    fn apply(
        &mut self,
        context: &mut Context,
        target: &Target,
        config: &Value,
        force: bool,
        found: Option<&Arc<Entry>>,
    ) -> Result<Written, Status> {
        let version = target.version();
        if config["apiVersion"].as_str() != Some(&version.api_version)
            || config["kind"].as_str() != Some(&target.resource.kind)
        {
            let given = config["apiVersion"].as_str().unwrap_or_default();
            let kind = config["kind"].as_str().unwrap_or_default();
            if target.resource.custom || given == version.api_version {
                return Err(Status::bad_request(format!("invalid object type: {given}, Kind={kind}")));
            }
            return Err(Status::bad_request(format!(
                "Incorrect version specified in apply patch. Specified patch version: {given}, expected: {}",
                version.api_version
            )));
        }
        let given = (text(config, "namespace").to_owned(), text(config, "name").to_owned());
        if config["metadata"].get("managedFields").is_some_and(|fields| !fields.is_null()) {
            return Err(Status::bad_request("metadata.managedFields must be nil"));
        }
        if context.manager.is_empty() {
            let problem = Problem::required("fieldManager", "is required for apply patch");
            return Err(Status::invalid("meta.k8s.io", "PatchOptions", "", &[problem]));
        }
        if let Err(why) = conform::check(config, &version.ty) {
            let who =
                format!("({}/{}; {}, Kind={})", given.0, given.1, version.api_version, target.resource.kind);
            return Err(Status {
                code: 500,
                reason: "",
                message: format!("failed to create typed patch object {who}: {why}"),
                details: None,
            });
        }
        let who = writer(target, context);
        let Some(old) = found else {
            let merged = apply::apply(&nothing(target), config, &version.ty, &who, force, &nothing(target))?;
            let mut object = decode(target, merged, context)?;
            let uid = text(&object, "uid");
            if !uid.is_empty() {
                let why = format!(
                    "uid mismatch: the provided object specified uid {uid}, and no existing object was found"
                );
                let resource = &target.resource;
                return Err(Status::conflict(&resource.group, &resource.plural, &target.name, &why));
            }
            check_namespace(target, &mut object)?;
            check_name(target, &object)?;
            let managed = object["metadata"].get_mut("managedFields").map(Value::take).unwrap_or_default();
            return self.create_decoded(context, target, object, Creation::Apply(managed));
        };
        let shown = State::shown(&target.resource, target.version, &old.value);
        let merged = apply::apply(&shown, config, &version.ty, &who, force, &nothing(target))?;
        let mut object = decode(target, merged, context)?;
        check_namespace(target, &mut object)?;
        check_name(target, &object)?;
        self.replace(context, target, object, old, Door::Apply)
    }
}

fn no_version(given: &str) -> Status {
    let message = format!("strconv.ParseUint: parsing {}: invalid syntax", quoted(given));
    Status { code: 500, reason: "", message, details: None }
}

/// The object that a PUT names by its uid is not the one that is there.
fn other_uid(target: &Target, context: &Context, given: &str, found: &str) -> Status {
    let key = target.storage_key();
    // A rehearsal names it as it is before the storage's own prefix.
    let key = if context.dry_run { key.strip_prefix("/registry").unwrap_or(&key) } else { &key };
    let why = format!(
        "StorageError: invalid object, Code: 4, Key: {key}, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: {given}, UID in object meta: {found}"
    );
    Status::conflict(&target.resource.group, &target.resource.plural, &target.name, &why)
}

/// Takes from the old object what this door cannot change.
fn combine(target: &Target, object: &mut Value, before: &Value) {
    let version = target.version();
    let is_status = target.subresource == Some("status");
    if is_status && target.resource.custom {
        keep_all_but_status(object, before);
        return;
    }
    if is_status {
        let status = object.get("status").cloned();
        let mut meta_new = object["metadata"].clone();
        let mut out = before.clone();
        if let Some(map) = out.as_object_mut() {
            match status {
                Some(status) => map.insert("status".to_owned(), status),
                None => map.remove("status"),
            };
        }
        for key in ["ownerReferences", "deletionTimestamp"] {
            if &*target.resource.table == "pods" {
                match before["metadata"].get(key) {
                    Some(value) => meta_new[key] = value.clone(),
                    None => {
                        if let Some(map) = meta_new.as_object_mut() {
                            map.remove(key);
                        }
                    }
                }
            }
        }
        if target.resource.kind.as_ref() == "Deployment" {
            match before["metadata"].get("labels") {
                Some(value) => meta_new["labels"] = value.clone(),
                None => {
                    if let Some(map) = meta_new.as_object_mut() {
                        map.remove("labels");
                    }
                }
            }
        }
        out["metadata"] = meta_new;
        if &*target.resource.table == "pods" {
            rules::keep_pod_status(&mut out, before);
        }
        *object = out;
        return;
    }
    if version.status
        && let Some(map) = object.as_object_mut()
    {
        match before.get("status") {
            Some(status) => map.insert("status".to_owned(), status.clone()),
            None => map.remove("status"),
        };
    }
    if !target.resource.custom {
        rules::prepare_update(&target.resource.kind, object, before);
    }
}

/// Takes everything back but the status, and of the metadata the managed fields.
fn keep_all_but_status(object: &mut Value, before: &Value) {
    let (Some(new), Some(old)) = (object.as_object_mut(), before.as_object()) else { return };
    take_back(new, old, &["status", "metadata"]);
    match (
        new.get_mut("metadata").and_then(Value::as_object_mut),
        old.get("metadata").and_then(Value::as_object),
    ) {
        (Some(new), Some(old)) => take_back(new, old, &["managedFields"]),
        (_, old) => {
            new.insert("metadata".to_owned(), Value::from(old.cloned().unwrap_or_default()));
        }
    }
}

/// Makes a map what it was, but for some keys. Hardly anything differs, so it is compared before it is copied.
fn take_back(new: &mut Map<String, Value>, old: &Map<String, Value>, but: &[&str]) {
    new.retain(|key, _| but.contains(&key.as_str()) || old.contains_key(key));
    for (key, value) in old {
        if !but.contains(&key.as_str()) && new.get(key) != Some(value) {
            new.insert(key.clone(), value.clone());
        }
    }
}

fn system_fields(object: &mut Value, before: &Value) {
    let old = &before["metadata"];
    let grace = old.get("deletionGracePeriodSeconds").cloned();
    let generation = old.get("generation").cloned();
    let map = metadata(object);
    for key in ["creationTimestamp", "deletionTimestamp"] {
        if let Some(value) = old.get(key) {
            map.insert(key.to_owned(), value.clone());
        }
    }
    if map.get("uid").and_then(Value::as_str).unwrap_or_default().is_empty()
        && let Some(uid) = old.get("uid")
    {
        map.insert("uid".to_owned(), uid.clone());
    }
    match generation {
        Some(value) => map.insert("generation".to_owned(), value),
        None => map.remove("generation"),
    };
    if map.get("deletionGracePeriodSeconds").is_none()
        && let Some(grace) = grace
    {
        map.insert("deletionGracePeriodSeconds".to_owned(), grace);
    }
    map.remove("selfLink");
}

fn custom_spec_changed(version: &Version, new: &Value, old: &Value) -> bool {
    let same = |key: &String| {
        matches!(key.as_str(), "metadata" | "apiVersion" | "kind") || (version.status && key == "status")
    };
    let (Some(after), Some(before)) = (new.as_object(), old.as_object()) else { return true };
    after.iter().any(|(key, value)| !same(key) && before.get(key) != Some(value))
        || before.keys().any(|key| !same(key) && !after.contains_key(key))
}

/// Whether storing this would change nothing.
pub fn is_stored_so(object: &Value, old: &Entry) -> bool {
    if old.empties.is_empty() {
        return *object == *old.value;
    }
    let mut read = object.clone();
    drop_empties(&mut read) == old.empties && read == *old.value
}

/// Managed fields that differ in nothing but their times are left as they were.
fn keep_times(object: &mut Value, before: &Value) {
    if object["metadata"]["managedFields"] == before["metadata"]["managedFields"]
        || apply::rest_differs(object, before)
    {
        return;
    }
    let bare = |value: &Value| {
        let mut list = value["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
        for entry in &mut list {
            if let Some(map) = entry.as_object_mut() {
                map.remove("time");
            }
        }
        list.sort_by_cached_key(ToString::to_string);
        list
    };
    if bare(object) != bare(before) {
        return;
    }
    // Only if nothing else changed either.
    let mine = object["metadata"].get("managedFields").cloned();
    let theirs = before["metadata"].get("managedFields").cloned();
    if let Some(theirs) = theirs {
        metadata(object).insert("managedFields".to_owned(), theirs);
    }
    if object != before
        && let Some(mine) = mine
    {
        metadata(object).insert("managedFields".to_owned(), mine);
    }
}

/// A status written through its own door is judged on its own.
fn status_problems(schema: &crate::schema::Structural, object: &Value, before: &Value) -> Vec<Problem> {
    let (Some(schema), Some(status)) = (schema.properties.get("status"), object.get("status")) else {
        return Vec::new();
    };
    let mut out = validate::validate(status, before.get("status"), schema, "");
    for problem in &mut out {
        problem.field =
            if problem.field == "<nil>" { "status".to_owned() } else { format!("status.{}", problem.field) };
    }
    out
}

/// The scale subresource promises numbers.
fn scale_problems(version: &Version, object: &Value) -> Vec<Problem> {
    let mut out = Vec::new();
    let Some(scale) = &version.scale else { return out };
    for path in [&scale.spec, &scale.status].into_iter().chain(&scale.selector) {
        let pointer = path.replace('.', "/");
        let is_text = scale.selector.as_ref() == Some(path);
        if is_text && object.pointer(&pointer).is_some_and(Value::is_string) {
            continue;
        }
        let go_type = match object.pointer(&pointer) {
            None => continue,
            Some(Value::Number(n)) if n.is_i64() && is_text => "int64",
            Some(Value::Number(n)) if n.is_i64() => {
                if let Some(n) = n.as_i64().filter(|n| *n < 0) {
                    out.push(Problem::invalid(path, &Value::from(n), "should be a non-negative integer"));
                }
                continue;
            }
            Some(Value::Null) => "<nil>",
            Some(Value::Bool(_)) => "bool",
            Some(Value::Number(_)) => "float64",
            Some(Value::String(_)) => "string",
            Some(Value::Array(_)) => "[]interface {}",
            Some(Value::Object(_)) => "map[string]interface {}",
        };
        let found = object
            .pointer(&pointer)
            .map(|value| match value {
                Value::Null => "<nil>".to_owned(),
                Value::String(text) => text.clone(),
                other => other.to_string(),
            })
            .unwrap_or_default();
        out.push(Problem::invalid(
            path,
            &if is_text { Value::from("") } else { Value::from(0) },
            &format!(
                "{path} accessor error: {found} is of the type {go_type}, expected {}",
                if is_text { "string" } else { "int64" }
            ),
        ));
    }
    out
}

//! Kinds that come from CustomResourceDefinitions.
//!
//! Decides what a definition adds to the table of kinds and what its status says. Schemas are read in
//! `schema`.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    resource::{Resource, Scale, Traits, Version},
    schema::Structural,
    status::Problem,
    time,
    typed::Type,
};

/// A printer column.
#[derive(Clone, Debug)]
pub struct Column {
    /// Heading.
    pub name: String,
    /// `string`, `integer`, `number`, `boolean` or `date`.
    pub ty: String,
    /// `format`, if any.
    pub format: String,
    /// What it shows.
    pub description: String,
    /// 0 is always shown, anything else only when asked for.
    pub priority: i64,
    /// Where the value is.
    pub json_path: String,
}

/// The kind that a definition describes. Tells how many rules of its schemas are ignored.
pub fn resource(definition: &Value) -> Option<(Resource, usize)> {
    let spec = &definition["spec"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let strings =
        |value: &Value| -> Vec<String> { value.as_array().into_iter().flatten().map(text).collect() };
    let group = spec["group"].as_str()?.to_owned();
    let names = &spec["names"];
    let kind = names["kind"].as_str()?;
    let plural = names["plural"].as_str()?.to_owned();
    let mut ignored = 0;
    let mut listed: Vec<&Value> =
        spec["versions"].as_array()?.iter().filter(|version| version["served"] == true).collect();
    listed.sort_by_key(|version| std::cmp::Reverse(priority(version["name"].as_str().unwrap_or_default())));
    let mut versions = Vec::new();
    for version in &listed {
        let raw = version["schema"].get("openAPIV3Schema");
        let structural = raw.map(|raw| {
            let (structural, count) = Structural::read(raw);
            ignored += count;
            Arc::new(structural)
        });
        let columns = (version["additionalPrinterColumns"].as_array().into_iter().flatten())
            .map(|column| Column {
                name: text(&column["name"]),
                ty: text(&column["type"]),
                format: text(&column["format"]),
                description: text(&column["description"]),
                priority: column["priority"].as_i64().unwrap_or_default(),
                json_path: text(&column["jsonPath"]),
            })
            .collect();
        let scale = version["subresources"].get("scale").map(|scale| Scale {
            spec: text(&scale["specReplicasPath"]),
            status: text(&scale["statusReplicasPath"]),
            selector: scale.get("labelSelectorPath").map(text),
        });
        let name = text(&version["name"]);
        let deprecation = (version["deprecated"] == true).then(|| {
            let given = version.get("deprecationWarning").map(text);
            given.unwrap_or_else(|| format!("{group}/{name} {kind} is deprecated"))
        });
        versions.push(Version {
            api_version: format!("{group}/{name}"),
            name,
            ty: structural.as_ref().map_or_else(Type::any, |structural| structural.to_type()),
            structural,
            raw_schema: raw.cloned().map(Arc::new),
            columns,
            status: version["subresources"].get("status").is_some(),
            scale,
            deprecation,
        });
    }
    let storage = listed.iter().position(|version| version["storage"] == true).unwrap_or(0);
    if versions.is_empty() {
        return None;
    }
    let or = |value: &Value, otherwise: String| {
        value.as_str().filter(|text| !text.is_empty()).map_or(otherwise, str::to_owned)
    };
    let resource = Resource {
        table: format!("{plural}.{group}").into(),
        kind: kind.into(),
        list_kind: or(&names["listKind"], format!("{kind}List")),
        singular: or(&names["singular"], kind.to_lowercase()),
        short_names: strings(&names["shortNames"]),
        categories: strings(&names["categories"]),
        namespaced: spec["scope"] == "Namespaced",
        group,
        plural,
        versions,
        storage,
        custom: true,
        traits: Traits { needs_resource_version: true, has_generation: true, ..Traits::default() },
    };
    Some((resource, ignored))
}

/// Order of preference of version names: v2 before v1 before v1beta2 before v1alpha1 before others.
fn priority(name: &str) -> (u8, u32, u32, std::cmp::Reverse<String>) {
    let parsed = || -> Option<(u8, u32, u32)> {
        let rest = name.strip_prefix('v')?;
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let major = rest[..end].parse().ok()?;
        match &rest[end..] {
            "" => Some((3, major, 0)),
            tail => {
                let (rank, minor) = match (tail.strip_prefix("beta"), tail.strip_prefix("alpha")) {
                    (Some(minor), _) => (2, minor),
                    (_, Some(minor)) => (1, minor),
                    _ => return None,
                };
                Some((rank, major, minor.parse().ok()?))
            }
        }
    };
    let (rank, major, minor) = parsed().unwrap_or_default();
    (rank, major, minor, std::cmp::Reverse(if rank == 0 { name.to_owned() } else { String::new() }))
}

/// Fills in what a definition leaves out.
pub fn fill_in(definition: &mut Value) {
    let spec = &mut definition["spec"];
    let kind = spec["names"]["kind"].as_str().unwrap_or_default().to_owned();
    let names = &mut spec["names"];
    if names["singular"].as_str().unwrap_or_default().is_empty() {
        names["singular"] = Value::from(kind.to_lowercase());
    }
    if names["listKind"].as_str().unwrap_or_default().is_empty() && !kind.is_empty() {
        names["listKind"] = Value::from(format!("{kind}List"));
    }
    if spec.get("conversion").is_none_or(Value::is_null) {
        spec["conversion"] = json!({"strategy": "None"});
    }
}

/// The status of an accepted definition.
pub fn status(definition: &Value, now: Timestamp) -> Value {
    let spec = &definition["spec"];
    let stored: Vec<&Value> = spec["versions"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|version| version["storage"] == true)
        .map(|version| &version["name"])
        .collect();
    let known = definition["status"]["storedVersions"].as_array().cloned().unwrap_or_default();
    let mut versions = known;
    for name in stored {
        if !versions.contains(name) {
            versions.push(name.clone());
        }
    }
    let condition = |ty: &str, reason: &str, message: &str| {
        let before =
            definition["status"]["conditions"].as_array().into_iter().flatten().find(|one| one["type"] == ty);
        let since = before
            .and_then(|one| one["lastTransitionTime"].as_str())
            .map_or_else(|| time::seconds(now), str::to_owned);
        json!({"type": ty, "status": "True", "reason": reason, "message": message, "lastTransitionTime": since})
    };
    json!({
        "acceptedNames": spec["names"],
        "conditions": [
            condition("NamesAccepted", "NoConflicts", "no conflicts found"),
            condition("Established", "InitialNamesAccepted", "the initial names have been accepted"),
        ],
        "storedVersions": versions,
    })
}

/// What is wrong with a definition.
pub fn problems(definition: &Value) -> Vec<Problem> {
    let mut out = Vec::new();
    let spec = &definition["spec"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (group, plural) = (text(&spec["group"]), text(&spec["names"]["plural"]));
    let wanted = format!("{plural}.{group}");
    if definition["metadata"]["name"] != wanted.as_str() {
        out.push(Problem::invalid(
            "metadata.name",
            &definition["metadata"]["name"],
            "must be spec.names.plural+\".\"+spec.group",
        ));
    }
    for (path, value) in [
        ("spec.group", &group),
        ("spec.names.plural", &plural),
        ("spec.names.kind", &text(&spec["names"]["kind"])),
        ("spec.scope", &text(&spec["scope"])),
    ] {
        if value.is_empty() {
            out.push(Problem::required(path, ""));
        }
    }
    let versions = spec["versions"].as_array().cloned().unwrap_or_default();
    let stored = versions.iter().filter(|version| version["storage"] == true).count();
    if stored != 1 {
        out.push(Problem::invalid(
            "spec.versions",
            &spec["versions"],
            "must have exactly one version marked as storage version",
        ));
    }
    for (i, version) in versions.iter().enumerate() {
        if version["schema"].get("openAPIV3Schema").is_none_or(Value::is_null) {
            out.push(Problem::required(
                &format!("spec.versions[{i}].schema.openAPIV3Schema"),
                "schemas are required",
            ));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_served_in_order_of_preference() {
        let mut names = ["v1alpha1", "foo", "v10", "v1beta2", "v2", "v1", "v1beta1", "bar"];
        names.sort_by_key(|name| std::cmp::Reverse(priority(name)));
        assert_eq!(names, ["v10", "v2", "v1", "v1beta2", "v1beta1", "v1alpha1", "bar", "foo"]);
    }

    #[test]
    fn a_definition_becomes_a_kind() {
        let definition = json!({"spec": {"group": "x.io", "scope": "Namespaced", "names": {"kind": "Foo", "plural": "foos"}, "versions": [
            {"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}, "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.n", "statusReplicasPath": ".status.n"}}},
            {"name": "v2", "served": false, "storage": false, "schema": {"openAPIV3Schema": {"type": "object"}}},
        ]}});
        let (resource, _) = resource(&definition).expect("a kind");
        assert_eq!(resource.versions.len(), 1);
        assert!(resource.namespaced && resource.stored().status && resource.custom);
        assert_eq!(resource.stored().scale.as_ref().map(|scale| scale.spec.as_str()), Some(".spec.n"));
        assert_eq!(resource.list_kind, "FooList");
    }
}

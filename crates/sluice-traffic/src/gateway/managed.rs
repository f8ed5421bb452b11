//! Header and mirror rules of a route.
//!
//! They are made anew from what the steps ask for at every look, one for each rule that holds both
//! Services. A rule is ours by its name. Old CRDs have no names of rules and drop them; which header names
//! belong to which rule is on record for those. What others put into such a rule, a timeout say, stays in
//! it as long as the rule stays.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};
use sluice_api::steps::{SetHeaderRoute, SetMirrorRoute, StringMatch};

use super::paths;
use super::refs::{self, View};
use crate::matches::{Way, beginning_with, way};
use crate::weights::Part;
use crate::{ManagedRoute, Scope, TrafficError, fields, named};

/// Annotation on routes: the managed routes of each Rollout, with the header names that they ask for.
pub(super) const MANAGED_RULES: &str = "sluice.dev/managed-rules";

/// The fields of a managed rule that are ours.
const OURS: &[&str] = &["name", "matches", "filters", "backendRefs"];

/// A managed route on record.
#[derive(Debug)]
struct Entry {
    name: String,
    /// In lower case; none for a mirror route.
    headers: Vec<String>,
}

/// What tells managed rules from others.
#[derive(Debug)]
pub(super) struct Ownership<'a> {
    declared: BTreeSet<&'a str>,
    entries: Vec<Entry>,
    /// How many of the entries are on record.
    recorded: usize,
}

impl<'a> Ownership<'a> {
    /// `declared` are names that the spec knows, `recorded` what the object has on record, `wanted` the
    /// routes that are to be there.
    pub(super) fn new(declared: &'a [String], recorded: &[String], wanted: &[&'a ManagedRoute]) -> Self {
        let mut entries: Vec<Entry> = recorded.iter().filter_map(|text| entry_of(text)).collect();
        let recorded = entries.len();
        // Rules that another controller left without names have no record.
        entries.extend(wanted.iter().filter_map(|route| entry_of(&record_of(route))));
        let names = declared.iter().map(String::as_str).chain(wanted.iter().map(|route| route.name()));
        Ownership { declared: names.collect(), entries, recorded }
    }

    /// The managed route that a rule belongs to.
    pub(super) fn owner(&self, rule: &Value, view: &View) -> Option<&str> {
        let name = fields::text(rule, "name");
        let backends = refs::of(rule);
        let is_mirror = mirrored(rule).is_some_and(|backend| view.part(backend) != Part::Other);
        if name.is_empty() {
            let is_header = backends.len() == 1 && view.part(&backends[0]) == Part::Canary;
            let fits = |entry: &&Entry| match entry.headers.as_slice() {
                [] => is_mirror && view.has_both(rule),
                headers => is_header && asks_for(rule, headers),
            };
            return self.entries.iter().find(fits).map(|entry| entry.name.as_str());
        }
        let recorded = self.entries[..self.recorded].iter().map(|entry| entry.name.as_str());
        let known: BTreeSet<&str> = self.declared.iter().copied().chain(recorded).collect();
        let owner = named::owner(name, known)?;
        // Somebody else may have given a rule of his such a name.
        let leads_to_us = backends.len() == 1 && view.part(&backends[0]) != Part::Other;
        (leads_to_us || is_mirror).then_some(owner)
    }
}

fn entry_of(text: &str) -> Option<Entry> {
    let mut words = text.split_whitespace().map(str::to_owned);
    Some(Entry { name: words.next()?, headers: words.collect() })
}

fn record_of(route: &ManagedRoute) -> String {
    match route {
        ManagedRoute::Header(route) => {
            let headers = route.r#match.iter().map(|header| header.header_name.to_lowercase());
            std::iter::once(route.name.clone()).chain(headers).collect::<Vec<_>>().join(" ")
        }
        ManagedRoute::Mirror(route) => route.name.clone(),
    }
}

/// The backend that the last filter of a rule copies requests to.
fn mirrored(rule: &Value) -> Option<&Value> {
    rule.get("filters")?.as_array()?.last()?.pointer("/requestMirror/backendRef")
}

/// Whether every match of a rule asks for these headers.
fn asks_for(rule: &Value, headers: &[String]) -> bool {
    let matches = rule.get("matches").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let has = |one: &Value, header: &String| {
        let found = one.get("headers").and_then(Value::as_array).into_iter().flatten();
        found.into_iter().any(|found| fields::text(found, "name").eq_ignore_ascii_case(header))
    };
    !matches.is_empty() && matches.iter().all(|one| headers.iter().all(|header| has(one, header)))
}

/// A rule that is to be there.
#[derive(Debug)]
struct Desired<'a> {
    owner: &'a str,
    is_mirror: bool,
    rule: Map<String, Value>,
}

/// The list of rules with these managed ones in it, and what is to be on record of them.
///
/// Header rules go to the end: they ask for more than the rules they were made of, which is what
/// precedence goes by. Mirror rules may ask for the same, so they go to the front.
pub(super) fn arrange(
    rules: &[Value],
    bases: &[usize],
    wanted: &[&ManagedRoute],
    ownership: &Ownership,
    view: &View,
    scope: &Scope,
) -> Result<(Vec<Value>, Vec<String>), TrafficError> {
    let owners: Vec<Option<&str>> = rules.iter().map(|rule| ownership.owner(rule, view)).collect();
    let taken: BTreeSet<&str> = rules
        .iter()
        .zip(&owners)
        .filter(|(_, owner)| owner.is_none())
        .map(|(rule, _)| fields::text(rule, "name"))
        .chain(ownership.declared.iter().copied())
        .collect();
    let mut desired = Vec::new();
    for route in wanted {
        let made = made(route, rules, bases, view, scope)?;
        let names = named::numbered(route.name(), |name| taken.contains(name));
        for (mut rule, name) in made.into_iter().zip(names) {
            rule.insert("name".into(), name.into());
            let is_mirror = matches!(route, ManagedRoute::Mirror(_));
            desired.push(Desired { owner: route.name(), is_mirror, rule });
        }
    }

    desired.sort_by_key(|desired| !desired.is_mirror);

    let present: Vec<usize> = (0..rules.len()).filter(|at| owners[*at].is_some()).collect();
    let mut used = BTreeSet::new();
    let merged: Vec<Value> = desired
        .iter()
        .map(|desired| {
            let fits = |at: &&usize| owners[**at] == Some(desired.owner) && !used.contains(*at);
            let found = present.iter().find(fits).copied();
            used.extend(found);
            merge(found.map(|at| &rules[at]), &desired.rule)
        })
        .collect();
    let is_unnamed = |name: &str| {
        present.iter().any(|at| owners[*at] == Some(name) && fields::text(&rules[*at], "name").is_empty())
    };
    let is_recorded =
        |name: &str| ownership.entries[..ownership.recorded].iter().any(|entry| entry.name == name);
    let needs_record = |route: &&&ManagedRoute| {
        let name = route.name();
        is_recorded(name) || is_unnamed(name) || !owners.contains(&Some(name))
    };
    let is_made = |route: &&&ManagedRoute| desired.iter().any(|desired| desired.owner == route.name());
    let record = wanted.iter().filter(is_made).filter(needs_record).map(|route| record_of(route)).collect();

    let fronts = desired.iter().filter(|desired| desired.is_mirror).count();
    let is_in_front =
        fronts == 0 || bases.first().is_none_or(|base| present.get(fronts - 1).is_some_and(|at| at < base));
    let in_order = desired.iter().map(|desired| Some(desired.owner));
    if is_in_front && present.iter().map(|at| owners[*at]).eq(in_order) {
        let mut arranged = rules.to_vec();
        for (at, rule) in present.into_iter().zip(merged) {
            arranged[at] = rule;
        }
        return Ok((arranged, record));
    }
    let others = rules.iter().zip(&owners).filter(|(_, owner)| owner.is_none()).map(|(rule, _)| rule.clone());
    let mut arranged = merged;
    let backs = arranged.split_off(fronts);
    arranged.extend(others.chain(backs));
    Ok((arranged, record))
}

/// The rules of one managed route, without names.
fn made(
    route: &ManagedRoute,
    rules: &[Value],
    bases: &[usize],
    view: &View,
    scope: &Scope,
) -> Result<Vec<Map<String, Value>>, TrafficError> {
    let mut made = Vec::new();
    for base in bases.iter().filter_map(|at| rules.get(*at)) {
        let (Some(canary), Some(object)) = (view.canary(base), base.as_object()) else { continue };
        let mut rule = object.clone();
        match route {
            ManagedRoute::Header(route) => {
                rule.insert("matches".into(), header_matches(route, base, scope)?.into());
                rule.insert("backendRefs".into(), json!([canary]));
            }
            ManagedRoute::Mirror(route) => {
                let matches = mirror_matches(route, base, scope)?;
                if matches.is_empty() {
                    continue; // it takes no such requests
                }
                rule.insert("matches".into(), matches.into());
                let filters = base.get("filters").and_then(Value::as_array).cloned().unwrap_or_default();
                let filters: Vec<Value> = filters.into_iter().chain([mirror_filter(route, canary)]).collect();
                rule.insert("filters".into(), filters.into());
            }
        }
        made.push(rule);
    }
    if made.is_empty() && !bases.is_empty() {
        let problem = "no rule with both Services takes such requests: ask for a path of one of them";
        return Err(scope.unfit(&format!("setMirrorRoute {}", route.name()), problem));
    }
    Ok(made)
}

/// The matches of a rule; one that asks for nothing if it has none.
fn matches_of(base: &Value) -> Vec<Value> {
    match base.get("matches").and_then(Value::as_array) {
        Some(list) if !list.is_empty() => list.clone(),
        _ => vec![json!({})],
    }
}

fn header_matches(route: &SetHeaderRoute, base: &Value, scope: &Scope) -> Result<Vec<Value>, TrafficError> {
    let mut headers: Vec<Value> = Vec::new();
    for header in &route.r#match {
        let field = format!("setHeaderRoute {}, header {}", route.name, header.header_name);
        let one = header_match(&header.header_name, header.header_value.as_ref(), &field, scope)?;
        let is_same = |known: &Value| fields::text(known, "name").eq_ignore_ascii_case(&header.header_name);
        if headers.iter().any(is_same) {
            let problem = "is asked for twice, and here all headers of a route have to fit at once: give it one value, \
                           as a regex for several";
            return Err(scope.unfit(&field, problem));
        }
        headers.push(one);
    }
    Ok(matches_of(base).into_iter().map(|one| with_headers(one, &headers)).collect())
}

/// A match that asks for these headers besides. They take the place of those of the same name.
fn with_headers(mut matched: Value, headers: &[Value]) -> Value {
    if let Some(one) = matched.as_object_mut().filter(|_| !headers.is_empty()) {
        let name = |header: &Value| fields::text(header, "name").to_lowercase();
        let mut list = one.get("headers").and_then(Value::as_array).cloned().unwrap_or_default();
        list.retain(|known| headers.iter().all(|header| name(header) != name(known)));
        list.extend(headers.iter().cloned());
        one.insert("headers".into(), list.into());
    }
    matched
}

fn header_match(
    name: &str,
    value: Option<&StringMatch>,
    field: &str,
    scope: &Scope,
) -> Result<Value, TrafficError> {
    let (kind, value) = match way(value, field, scope)? {
        Way::Exact(text) => ("Exact", text.to_owned()),
        Way::Prefix(text) => ("RegularExpression", beginning_with(text)),
        Way::Regex(text) => ("RegularExpression", text.to_owned()),
    };
    Ok(json!({"name": name, "type": kind, "value": value}))
}

fn mirror_matches(route: &SetMirrorRoute, base: &Value, scope: &Scope) -> Result<Vec<Value>, TrafficError> {
    let field = format!("setMirrorRoute {}", route.name);
    let mut found = Vec::new();
    for wanted in &route.r#match {
        let headers = wanted
            .headers
            .iter()
            .map(|(name, value)| header_match(name, Some(value), &format!("{field}, header {name}"), scope));
        let headers = headers.collect::<Result<Vec<_>, TrafficError>>()?;
        let method =
            match wanted.method.as_ref().map(|method| way(Some(method), &field, scope)).transpose()? {
                None => None,
                Some(Way::Exact(method)) => Some(method),
                Some(_) => {
                    let problem = "a method can only be matched exactly here: use exact";
                    return Err(scope.unfit(&format!("{field}, method"), problem));
                }
            };
        let path = match wanted.path.as_ref().map(|path| way(Some(path), &field, scope)).transpose()? {
            None => None,
            Some(Way::Exact(text)) => Some(json!({"type": "Exact", "value": text})),
            Some(Way::Prefix(text)) => Some(json!({"type": "PathPrefix", "value": text})),
            Some(Way::Regex(text)) => Some(json!({"type": "RegularExpression", "value": text})),
        };
        for mut one in matches_of(base) {
            if let Some(method) = method {
                if one.get("method").is_some_and(|known| known != method) {
                    continue;
                }
                one["method"] = method.into();
            }
            if let Some(path) = &path {
                let both = paths::both(one.get("path"), path)
                    .map_err(|problem| scope.unfit(&format!("{field}, path"), problem))?;
                let Some(both) = both else { continue };
                one["path"] = both;
            }
            found.push(with_headers(one, &headers));
        }
    }
    Ok(found)
}

fn mirror_filter(route: &SetMirrorRoute, mut canary: Value) -> Value {
    if let Some(canary) = canary.as_object_mut() {
        canary.remove("filters");
    }
    let mut mirror = json!({"backendRef": canary});
    if let Some(percent) = route.percentage.filter(|percent| *percent != 100) {
        mirror["percent"] = percent.into();
    }
    json!({"type": "RequestMirror", "requestMirror": mirror})
}

/// Puts the fields that are ours into a rule, if they do not mean the same already.
fn merge(found: Option<&Value>, rule: &Map<String, Value>) -> Value {
    let Some(mut merged) = found.and_then(Value::as_object).cloned() else { return rule.clone().into() };
    for name in OURS {
        let (before, wanted) = (merged.get(*name), rule.get(*name));
        let is_dropped_name = *name == "name" && before.is_none();
        if is_dropped_name || plain(name, before) == plain(name, wanted) {
            continue;
        }
        match wanted {
            Some(wanted) => merged.insert((*name).into(), wanted.clone()),
            None => merged.remove(*name),
        };
    }
    merged.into()
}

/// A field without what an API server fills in.
fn plain(field: &str, value: Option<&Value>) -> Value {
    let mut plain = value.cloned().unwrap_or_default();
    let list = plain.as_array_mut().into_iter().flatten();
    match field {
        "matches" => list.for_each(plain_match),
        "backendRefs" => list.for_each(plain_backend),
        "filters" => {
            list.filter_map(|filter| filter.pointer_mut("/requestMirror/backendRef")).for_each(plain_backend);
        }
        _ => {}
    }
    if plain.as_array().is_some_and(Vec::is_empty) { Value::Null } else { plain }
}

fn plain_match(matched: &mut Value) {
    let Some(matched) = matched.as_object_mut() else { return };
    if matched.get("path").is_some_and(paths::is_everything) {
        matched.remove("path");
    }
    for field in ["headers", "queryParams"] {
        for header in matched.get_mut(field).and_then(Value::as_array_mut).into_iter().flatten() {
            drop_default(header, "type", &["Exact"]);
        }
    }
    if let Some(method) = matched.get_mut("method") {
        drop_default(method, "type", &["Exact"]);
    }
}

fn plain_backend(backend: &mut Value) {
    drop_default(backend, "group", &[""]);
    drop_default(backend, "kind", &["Service"]);
    if backend.get("weight").and_then(Value::as_i64) == Some(1)
        && let Some(backend) = backend.as_object_mut()
    {
        backend.remove("weight");
    }
}

fn drop_default(object: &mut Value, field: &str, defaults: &[&str]) {
    if let Some(object) = object.as_object_mut()
        && object.get(field).and_then(Value::as_str).is_some_and(|found| defaults.contains(&found))
    {
        object.remove(field);
    }
}

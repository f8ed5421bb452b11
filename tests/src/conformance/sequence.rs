//! Random sequences of requests, made from a seed alone.
//!
//! A request never holds a value that only a server knows: it names it in braces, such as `{rv}`, and
//! each side fills in what it has seen itself (`side`). So a sequence is plain data, the same for both.

use http::Method;
use rand::{Rng, SeedableRng, rngs::SmallRng, seq::IndexedRandom};
use serde_json::{Value, json};

use super::kinds::{Field, KINDS, Kind, METADATA};

/// Name of the object whose creation ends what watches are compared by.
pub const LAST: &str = "last";

/// What a request carries.
#[derive(Clone, Debug)]
pub enum Body {
    /// Nothing.
    Empty,
    /// This, with the names in braces filled in.
    Value(Value),
    /// The object as it was last seen, changed by this merge patch.
    Seen {
        /// What stands for an object that was never seen.
        unseen: Value,
        /// The merge patch.
        change: Value,
    },
}

/// One request.
#[derive(Clone, Debug)]
pub struct Step {
    /// HTTP method.
    pub method: Method,
    /// Path.
    pub path: String,
    /// Parameters.
    pub query: Vec<(&'static str, String)>,
    /// `Content-Type`.
    pub content_type: &'static str,
    /// Body.
    pub body: Body,
    /// Path of the object that names in braces are about.
    pub about: String,
}

/// Requests, and the collections that are watched meanwhile.
#[derive(Debug)]
pub struct Sequence {
    /// Where it all happens; nobody else is there.
    pub namespace: String,
    /// The kinds it is about.
    pub kinds: Vec<&'static Kind>,
    /// The requests.
    pub steps: Vec<Step>,
}

struct Builder {
    rng: SmallRng,
    namespace: String,
    steps: Vec<Step>,
    /// How many names servers were asked to make up.
    made: u32,
}

impl Sequence {
    /// The sequence of a seed.
    pub fn new(seed: u64) -> Sequence {
        let mut builder = Builder {
            rng: SmallRng::seed_from_u64(seed),
            namespace: format!("seq-{seed}"),
            steps: Vec::new(),
            made: 0,
        };
        let count = if builder.chance(25) { 2 } else { 1 };
        let mut kinds: Vec<&'static Kind> = Vec::new();
        while kinds.len() < count {
            let kind = builder.kind();
            if !kinds.iter().any(|one| one.name == kind.name) {
                kinds.push(kind);
            }
        }
        for kind in &kinds {
            builder.create(kind, "a", 0);
        }
        for _ in 0..builder.rng.random_range(14..26) {
            let kind = *kinds.choose(&mut builder.rng).expect("there is a kind");
            builder.any(kind);
        }
        for kind in &kinds {
            let mut object = kind.object(LAST);
            object["metadata"]["labels"] = json!({"app": "web"});
            builder.push(Method::POST, kind, LAST, "", Vec::new(), Body::Value(object));
        }
        if builder.chance(15) {
            builder.end_of_namespace(kinds[0]);
        }
        let Builder { namespace, steps, .. } = builder;
        Sequence { namespace, kinds, steps }
    }
}

/// Sets a value at a JSON pointer, making the objects on the way.
fn set(object: &mut Value, path: &str, value: Value) {
    let mut slot = object;
    for key in path.trim_start_matches('/').split('/') {
        if !slot.is_object() {
            *slot = json!({});
        }
        slot = &mut slot[key];
    }
    *slot = value;
}

impl Builder {
    fn chance(&mut self, percent: u32) -> bool {
        self.rng.random_range(0..100) < percent
    }

    fn of<T: Clone>(&mut self, list: &[T]) -> T {
        list.choose(&mut self.rng).expect("the list is not empty").clone()
    }

    fn kind(&mut self) -> &'static Kind {
        KINDS.choose_weighted(&mut self.rng, |kind| kind.weight).expect("weights are positive")
    }

    fn name(&mut self) -> &'static str {
        self.of(&["a", "a", "a", "a", "a", "a", "b", "b", "b", "c", "{generated}"])
    }

    fn push(
        &mut self,
        method: Method,
        kind: &Kind,
        name: &str,
        subresource: &str,
        query: Vec<(&'static str, String)>,
        body: Body,
    ) {
        let collection = kind.collection("{namespace}");
        let about = format!("{collection}/{name}");
        let is_collection = method == Method::POST || name.is_empty();
        let path = match (is_collection, subresource) {
            (true, _) => collection,
            (false, "") => about.clone(),
            (false, subresource) => format!("{about}/{subresource}"),
        };
        self.steps.push(Step { method, path, query, content_type: "application/json", body, about });
    }

    fn push_patch(
        &mut self,
        kind: &Kind,
        name: &str,
        subresource: &str,
        query: Vec<(&'static str, String)>,
        content_type: &'static str,
        patch: Value,
    ) {
        self.push(Method::PATCH, kind, name, subresource, query, Body::Value(patch));
        if let Some(step) = self.steps.last_mut() {
            step.content_type = content_type;
        }
    }

    /// Parameters of a write.
    fn options(&mut self) -> Vec<(&'static str, String)> {
        let mut query = Vec::new();
        if self.chance(45) {
            query.push(("fieldValidation", self.of(&["Strict", "Strict", "Warn", "Ignore"]).to_owned()));
        }
        if self.chance(75) {
            query.push(("fieldManager", self.of(&["one", "two"]).to_owned()));
        }
        if self.chance(8) {
            query.push(("dryRun", "All".to_owned()));
        }
        query
    }

    /// Sets some fields; each is bad with a probability of `bad` percent.
    fn fill(&mut self, object: &mut Value, fields: &[Field], most: usize, bad: u32) {
        for _ in 0..self.rng.random_range(0..=most) {
            let Some(field) = fields.choose(&mut self.rng) else { return };
            let wants_bad = self.chance(bad);
            let values = if wants_bad { &field.bad } else { &field.good };
            if let Some(value) = values.choose(&mut self.rng) {
                set(object, field.path, value.clone());
            }
        }
    }

    fn any(&mut self, kind: &'static Kind) {
        let name = self.name();
        let flaw = if self.chance(20) { 60 } else { 0 };
        match self.rng.random_range(0..100) {
            0..14 => self.create(kind, name, flaw),
            14..19 => self.get(kind, name),
            19..26 => self.list(kind),
            26..40 => self.update(kind, name, flaw),
            40..52 => self.merge(kind, name, flaw),
            52..59 => self.json(kind, name, flaw),
            59..67 if !kind.is_custom || self.chance(10) => self.strategic(kind, name),
            59..82 => self.apply(kind, name, flaw),
            82..88 if kind.has_scale => self.scale(kind, name),
            82..97 => self.delete(kind, name),
            _ => self.delete_collection(kind),
        }
    }

    fn create(&mut self, kind: &Kind, name: &str, flaw: u32) {
        let mut object = kind.object(name);
        self.fill(&mut object, &kind.fields, 4, flaw);
        self.fill(&mut object, &METADATA, 2, flaw);
        if self.chance(20) {
            self.fill(&mut object, &kind.status, 2, flaw);
        }
        let mut query = self.options();
        if name == "a" && flaw == 0 {
            query.retain(|(key, _)| *key != "dryRun");
        }
        let special = self.rng.random_range(0..100);
        match special {
            _ if flaw == 0 && self.steps.is_empty() => {}
            0..14 => {
                let metadata = &mut object["metadata"];
                // Each with its own beginning, or lists would be in the order of chance.
                self.made += 1;
                let begin = format!("made-{}-", self.made);
                *metadata = json!({"generateName": begin, "labels": metadata["labels"]});
                if metadata["labels"].is_null() {
                    *metadata = json!({"generateName": begin});
                }
            }
            14..17 => object["metadata"]["resourceVersion"] = json!("5"),
            17..19 => object["metadata"]["name"] = json!("Not_A.Name"),
            // A real server's Service without a name fails in its allocator of addresses.
            19..21 if kind.name != "Service" => object["metadata"]["name"] = Value::Null,
            21..23 => object["metadata"]["namespace"] = json!("elsewhere"),
            23..25 => object["metadata"]["namespace"] = json!("{namespace}"),
            25..27 => object["kind"] = json!("Other"),
            27..29 => object["apiVersion"] = json!("other.example/v1"),
            29..31 => object["metadata"]["uid"] = json!("6c0fe1b4-7d52-4f0f-9a8e-2f7f2a4c9d00"),
            31..33 => object["unheardOf"] = json!(true),
            33..35 => object["metadata"]["unheardOf"] = json!(true),
            35..37 => object["metadata"]["generation"] = json!(7),
            _ => {}
        }
        self.push(Method::POST, kind, name, "", query, Body::Value(object));
        if (40..43).contains(&special)
            && !self.steps.is_empty()
            && let Some(step) = self.steps.last_mut().filter(|_| flaw > 0 || name != "a")
        {
            step.path = kind.collection("no-such-namespace");
        }
    }

    fn get(&mut self, kind: &Kind, name: &str) {
        let subresource = self.of(&["", "", "", "status", "scale"]);
        self.push(Method::GET, kind, name, subresource, Vec::new(), Body::Empty);
    }

    fn list(&mut self, kind: &Kind) {
        let mut query = Vec::new();
        if self.chance(40) {
            let selectors = [
                "app=web",
                "app!=web",
                "app in (web,api)",
                "!app",
                "tier",
                "app=web,tier notin (1)",
                "app in (",
                "a b=c",
            ];
            query.push(("labelSelector", self.of(&selectors).to_owned()));
        }
        if self.chance(25) {
            let selectors = [
                "metadata.name=a",
                "metadata.name!=a",
                "metadata.namespace={namespace}",
                "status.phase=Running",
                "spec.nodeName=node-0",
                "spec.title=one",
                "metadata.name",
            ];
            query.push(("fieldSelector", self.of(&selectors).to_owned()));
        }
        if self.chance(40) {
            query.push(("limit", self.of(&["1", "2", "500"]).to_owned()));
            self.push(Method::GET, kind, "", "", query.clone(), Body::Empty);
            query.push(("continue", "{continue}".to_owned()));
        }
        self.push(Method::GET, kind, "", "", query, Body::Empty);
    }

    fn update(&mut self, kind: &Kind, name: &str, flaw: u32) {
        let is_status = kind.has_status && self.chance(35);
        let mut change = json!({});
        self.fill(&mut change, &kind.fields, 2, flaw);
        self.fill(&mut change, &METADATA, 1, flaw);
        self.fill(&mut change, &kind.status, if is_status { 3 } else { 1 }, flaw);
        match self.rng.random_range(0..100) {
            0..8 => change["metadata"]["resourceVersion"] = json!("{old-rv}"),
            8..14 => change["metadata"]["resourceVersion"] = Value::Null,
            14..16 => change["metadata"]["resourceVersion"] = json!("x"),
            16..18 => change["metadata"]["uid"] = json!("6c0fe1b4-7d52-4f0f-9a8e-2f7f2a4c9d00"),
            18..20 => change["metadata"]["name"] = json!("other"),
            20..22 => change["metadata"]["finalizers"] = Value::Null,
            22..24 => change["metadata"]["managedFields"] = json!([]),
            24..26 => change["metadata"]["creationTimestamp"] = Value::Null,
            26..28 => change["kind"] = json!("Other"),
            28..30 => change["unheardOf"] = json!(1),
            30..32 => change["metadata"]["generation"] = json!(40),
            32..34 => change["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z"),
            _ => {}
        }
        let query = self.options();
        let unseen = if self.chance(95) { kind.object(name) } else { json!({"metadata": {"name": name}}) };
        self.push(
            Method::PUT,
            kind,
            name,
            if is_status { "status" } else { "" },
            query,
            Body::Seen { unseen, change },
        );
    }

    /// A partial object, for merge patches and applies.
    fn part(&mut self, kind: &Kind, is_status: bool, flaw: u32) -> Value {
        let mut part = json!({});
        if is_status {
            self.fill(&mut part, &kind.status, 3, flaw);
        } else {
            self.fill(&mut part, &kind.fields, 3, flaw);
        }
        if self.chance(20) {
            self.fill(&mut part, &kind.fields, 1, flaw);
            self.fill(&mut part, &kind.status, 1, flaw);
        }
        self.fill(&mut part, &METADATA, 1, flaw);
        part
    }

    fn merge(&mut self, kind: &Kind, name: &str, flaw: u32) {
        let is_status = kind.has_status && self.chance(30);
        let mut patch = self.part(kind, is_status, flaw);
        match self.rng.random_range(0..100) {
            0..5 => patch["metadata"]["resourceVersion"] = json!("{rv}"),
            5..10 => patch["metadata"]["resourceVersion"] = json!("{old-rv}"),
            10..20 => patch["metadata"]["finalizers"] = Value::Null,
            20..24 => patch["metadata"]["labels"] = json!({"app": null, "tier": "2"}),
            24..26 => patch["metadata"]["name"] = json!("other"),
            26..28 => patch["metadata"]["namespace"] = json!("elsewhere"),
            28..30 => patch = json!([1]),
            30..32 => patch["unheardOf"] = json!(1),
            32..34 => patch["metadata"]["uid"] = json!("6c0fe1b4-7d52-4f0f-9a8e-2f7f2a4c9d00"),
            34..36 => patch["metadata"]["managedFields"] = json!([{}]),
            36..42 => {
                if let Some(field) = kind.fields.choose(&mut self.rng) {
                    set(&mut patch, field.path, Value::Null);
                }
            }
            _ => {}
        }
        let query = self.options();
        self.push_patch(
            kind,
            name,
            if is_status { "status" } else { "" },
            query,
            "application/merge-patch+json",
            patch,
        );
    }

    fn json(&mut self, kind: &Kind, name: &str, flaw: u32) {
        let is_status = kind.has_status && self.chance(25);
        let fields: Vec<&Field> = if is_status {
            kind.status.iter().collect()
        } else {
            kind.fields.iter().chain(METADATA.iter()).collect()
        };
        let mut operations = Vec::new();
        for _ in 0..self.rng.random_range(1..3) {
            let Some(field) = fields.choose(&mut self.rng) else { break };
            let wants_bad = self.chance(flaw);
            let value = if wants_bad { &field.bad } else { &field.good };
            let value = value.choose(&mut self.rng).cloned().unwrap_or(Value::Null);
            operations.push(match self.rng.random_range(0..20) {
                0..10 => json!({"op": "add", "path": field.path, "value": value}),
                10..15 => json!({"op": "replace", "path": field.path, "value": value}),
                15..18 => json!({"op": "remove", "path": field.path}),
                18 => json!({"op": "test", "path": field.path, "value": value}),
                _ => json!({"op": "test", "path": "/metadata/resourceVersion", "value": "{rv}"}),
            });
        }
        match self.rng.random_range(0..100) {
            0..4 => operations.push(json!({"op": "add", "path": "/metadata/labels/extra", "value": "1"})),
            4..6 => operations
                .push(json!({"op": "copy", "from": "/metadata/name", "path": "/metadata/labels/copied"})),
            6..8 => operations.push(json!({"op": "jump", "path": "/spec"})),
            8..10 => operations
                .push(json!({"op": "add", "path": "/metadata/finalizers/-", "value": "sluice.example/hold"})),
            10..12 => operations.push(json!({"op": "add", "path": "/unheardOf", "value": "1"})),
            _ => {}
        }
        let query = self.options();
        self.push_patch(
            kind,
            name,
            if is_status { "status" } else { "" },
            query,
            "application/json-patch+json",
            Value::Array(operations),
        );
    }

    fn strategic(&mut self, kind: &Kind, name: &str) {
        let patch = if self.chance(75) { self.of(&kind.strategic) } else { self.part(kind, false, 0) };
        let subresource = if patch.get("status").is_some() && kind.has_status { "status" } else { "" };
        let query = self.options();
        self.push_patch(kind, name, subresource, query, "application/strategic-merge-patch+json", patch);
    }

    fn apply(&mut self, kind: &Kind, name: &str, flaw: u32) {
        let is_status = kind.has_status && self.chance(25);
        let mut part = self.part(kind, is_status, flaw);
        if !is_status && self.chance(55) {
            let mut whole = kind.base.clone();
            json_patch_merge(&mut whole, &part);
            part = whole;
        }
        part["apiVersion"] = kind.api_version.into();
        part["kind"] = kind.name.into();
        if name != "{generated}" {
            part["metadata"]["name"] = name.into();
        }
        match self.rng.random_range(0..100) {
            0..3 => part["metadata"]["resourceVersion"] = json!("{rv}"),
            3..5 => part["metadata"]["resourceVersion"] = json!("{old-rv}"),
            5..7 => part["metadata"]["name"] = json!("other"),
            7..9 => part["apiVersion"] = json!("other.example/v1"),
            9..11 => part["metadata"]["managedFields"] = json!([]),
            11..13 => part["unheardOf"] = json!(1),
            13..15 => part["metadata"]["uid"] = json!("6c0fe1b4-7d52-4f0f-9a8e-2f7f2a4c9d00"),
            15..17 => part["metadata"]["namespace"] = json!("{namespace}"),
            _ => {}
        }
        let mut query = self.options();
        query.retain(|(key, _)| *key != "fieldManager");
        if !self.chance(3) {
            query.push(("fieldManager", self.of(&["first", "first", "second", "one"]).to_owned()));
        }
        if self.chance(35) {
            query.push(("force", self.of(&["true", "true", "true", "false"]).to_owned()));
        }
        self.push_patch(
            kind,
            name,
            if is_status { "status" } else { "" },
            query,
            "application/apply-patch+yaml",
            part,
        );
    }

    fn scale(&mut self, kind: &Kind, name: &str) {
        let replicas = self.of(&[json!(0), json!(2), json!(7), json!(-1), json!("two")]);
        let mut query = self.options();
        let mut scale = json!({"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": {"name": name, "namespace": "{namespace}"}, "spec": {"replicas": replicas}});
        match self.rng.random_range(0..10) {
            0..2 => self.push(Method::GET, kind, name, "scale", Vec::new(), Body::Empty),
            2..5 => {
                match self.rng.random_range(0..10) {
                    0..5 => scale["metadata"]["resourceVersion"] = json!("{rv}"),
                    5 => scale["metadata"]["resourceVersion"] = json!("{old-rv}"),
                    _ => {}
                }
                self.push(Method::PUT, kind, name, "scale", query, Body::Value(scale));
            }
            5..8 => self.push_patch(
                kind,
                name,
                "scale",
                query,
                "application/merge-patch+json",
                json!({"spec": {"replicas": replicas}}),
            ),
            8 => {
                let patch = json!([{"op": "replace", "path": "/spec/replicas", "value": replicas}]);
                self.push_patch(kind, name, "scale", query, "application/json-patch+json", patch);
            }
            _ => {
                query.retain(|(key, _)| *key != "fieldManager");
                query.push(("fieldManager", self.of(&["first", "second"]).to_owned()));
                if self.chance(50) {
                    query.push(("force", "true".to_owned()));
                }
                self.push_patch(kind, name, "scale", query, "application/apply-patch+yaml", scale);
            }
        }
    }

    fn delete_options(&mut self) -> Value {
        let mut options = json!({"kind": "DeleteOptions", "apiVersion": "v1"});
        match self.rng.random_range(0..100) {
            0..10 => options["propagationPolicy"] = json!("Foreground"),
            10..20 => options["propagationPolicy"] = json!("Background"),
            20..28 => options["propagationPolicy"] = json!("Orphan"),
            28..31 => options["propagationPolicy"] = json!("Sideways"),
            31..38 => options["preconditions"] = json!({"uid": "{uid}"}),
            38..42 => options["preconditions"] = json!({"uid": "6c0fe1b4-7d52-4f0f-9a8e-2f7f2a4c9d00"}),
            42..48 => options["preconditions"] = json!({"resourceVersion": "{rv}"}),
            48..53 => options["preconditions"] = json!({"resourceVersion": "{old-rv}"}),
            53..60 => options["gracePeriodSeconds"] = json!(0),
            60..64 => options["gracePeriodSeconds"] = json!(5),
            64..68 => options["dryRun"] = json!(["All"]),
            68..70 => options["orphanDependents"] = json!(true),
            _ => {}
        }
        options
    }

    fn delete(&mut self, kind: &Kind, name: &str) {
        let body = if self.chance(75) { Body::Value(self.delete_options()) } else { Body::Empty };
        let mut query = Vec::new();
        if self.chance(6) {
            query.push(self.of(&[
                ("propagationPolicy", "Orphan"),
                ("propagationPolicy", "Foreground"),
                ("gracePeriodSeconds", "0"),
                ("dryRun", "All"),
            ]));
        }
        let query = query.into_iter().map(|(key, value)| (key, value.to_owned())).collect();
        self.push(Method::DELETE, kind, name, "", query, body);
    }

    fn delete_collection(&mut self, kind: &Kind) {
        let mut query = Vec::new();
        if self.chance(60) {
            query.push(("labelSelector", self.of(&["app=web", "app=api", "!app"]).to_owned()));
        }
        self.push(Method::DELETE, kind, "", "", query, Body::Empty);
    }

    /// Deletes the namespace and goes on in it.
    fn end_of_namespace(&mut self, kind: &'static Kind) {
        let path = "/api/v1/namespaces/{namespace}".to_owned();
        let step = |method: Method, path: &str, body: Body| Step {
            method,
            path: path.to_owned(),
            query: Vec::new(),
            content_type: "application/json",
            body,
            about: "/api/v1/namespaces/{namespace}".to_owned(),
        };
        self.steps.push(step(Method::GET, &path, Body::Empty));
        self.steps.push(step(Method::DELETE, &path, Body::Empty));
        self.steps.push(step(Method::GET, &path, Body::Empty));
        self.create(kind, "late", 0);
        self.merge(kind, "a", 0);
        self.apply(kind, "late", 0);
        self.delete(kind, "a");
        if self.chance(50) {
            self.steps.push(step(
                Method::PUT,
                &format!("{path}/finalize"),
                Body::Seen { unseen: json!({}), change: json!({"spec": {"finalizers": null}}) },
            ));
            self.steps.push(step(Method::GET, &path, Body::Empty));
            // A real server may not have heard yet that this one is gone; what never was is gone for sure.
            self.create(kind, "later", 0);
            if let Some(step) = self.steps.last_mut() {
                step.path = kind.collection("no-such-namespace");
            }
        }
    }
}

/// Merges `change` into `object` (RFC 7386).
pub fn json_patch_merge(object: &mut Value, change: &Value) {
    let Value::Object(change) = change else {
        *object = change.clone();
        return;
    };
    if !object.is_object() {
        *object = json!({});
    }
    for (key, value) in change {
        if value.is_null() {
            if let Some(map) = object.as_object_mut() {
                map.remove(key);
            }
        } else {
            json_patch_merge(&mut object[key], value);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_seed_is_always_the_same_sequence() {
        for seed in 0..20 {
            assert_eq!(
                format!("{:?}", Sequence::new(seed).steps),
                format!("{:?}", Sequence::new(seed).steps),
                "seed {seed}"
            );
        }
    }

    #[test]
    fn sequences_are_about_everything() {
        let mut seen = BTreeSet::new();
        for seed in 0..400 {
            let sequence = Sequence::new(seed);
            for step in &sequence.steps {
                let patch = if step.method == Method::PATCH { step.content_type } else { "" };
                for kind in &sequence.kinds {
                    let Some(rest) = step.path.strip_prefix(&kind.collection("{namespace}")) else {
                        continue;
                    };
                    let subresource = rest.split('/').nth(2).unwrap_or_default();
                    seen.insert(format!("{} {} {subresource} {patch}", step.method, kind.name));
                }
            }
        }
        for kind in KINDS.iter() {
            let mut wanted = vec![("POST", "", ""), ("GET", "", ""), ("PUT", "", ""), ("DELETE", "", "")];
            for patch in
                ["merge-patch+json", "json-patch+json", "strategic-merge-patch+json", "apply-patch+yaml"]
            {
                wanted.push(("PATCH", "", patch));
                if kind.has_status && patch.starts_with("merge") {
                    wanted.extend([("PATCH", "status", patch), ("PUT", "status", "")]);
                }
                if kind.has_scale && patch.starts_with("merge") {
                    wanted.extend([("PATCH", "scale", patch), ("PUT", "scale", ""), ("GET", "scale", "")]);
                }
            }
            for (method, subresource, patch) in wanted {
                let patch = if patch.is_empty() { String::new() } else { format!("application/{patch}") };
                let line = format!("{method} {} {subresource} {patch}", kind.name);
                assert!(seen.contains(&line), "no sequence has {line}");
            }
        }
    }
}

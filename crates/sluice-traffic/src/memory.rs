//! A router whose route is one plain object: the weights stand in a ConfigMap.
//!
//! It is what tests put in the place of a mesh. Its `data.live` says what the data plane does, so that a
//! test can let it lag behind what was asked.

use serde_json::{Value, json};

use crate::{
    Edit, Edits, Found, ObjectKind, ObjectRef, Objects, PingPong, Routes, Scope, TrafficError, TrafficRouter,
    Verdict,
};

const CONFIG_MAP: ObjectKind =
    ObjectKind { group: "", versions: &["v1"], kind: "ConfigMap", plural: "configmaps" };

/// Splits traffic by the numbers in a ConfigMap.
#[derive(Clone, Debug)]
pub struct MemoryRouter {
    /// What of the Rollout it needs.
    pub scope: Scope,
    /// Name of the ConfigMap.
    pub name: String,
}

impl MemoryRouter {
    fn object(&self) -> ObjectRef {
        ObjectRef { kind: CONFIG_MAP, namespace: self.scope.namespace.clone(), name: self.name.clone() }
    }

    fn data<'a>(&self, observed: &'a Objects, field: &str) -> Result<Option<&'a str>, TrafficError> {
        let reference = self.object();
        let found = observed.get(&reference).ok_or_else(|| TrafficError::not_found(&reference))?;
        Ok(found.get("data").and_then(|data| data.get(field)).and_then(Value::as_str))
    }
}

impl TrafficRouter for MemoryRouter {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn reads(&self) -> Vec<ObjectRef> {
        vec![self.object()]
    }

    fn read(&self, observed: &Objects, _: Option<&PingPong>) -> Result<Found, TrafficError> {
        let managed = self.data(observed, "managed")?.unwrap_or_default();
        Ok(Found {
            weight: self.data(observed, "canary")?.and_then(|text| text.parse().ok()),
            managed: managed.split_whitespace().map(str::to_owned).collect(),
            subsets: None,
        })
    }

    fn with_routes(&self, observed: &Objects, routes: &Routes) -> Result<Edits, TrafficError> {
        let reference = self.object();
        let found = observed.get(&reference).ok_or_else(|| TrafficError::not_found(&reference))?;
        let mut object = found.clone();
        if !object.get("data").is_some_and(Value::is_object) {
            object["data"] = json!({});
        }
        object["data"]["canary"] = routes.canary_weight.to_string().into();
        object["data"]["stable"] = routes.stable_weight(self.scope.max_weight).to_string().into();
        let managed: Vec<&str> = routes.managed.iter().map(crate::ManagedRoute::name).collect();
        object["data"]["managed"] = managed.join(" ").into();
        Ok(if object == *found { Edits::new() } else { [(reference, Edit::Put(object))].into() })
    }

    fn verdict(&self, observed: &Objects, routes: &Routes) -> Verdict {
        match self.data(observed, "live").ok().flatten().map(str::parse::<i64>) {
            Some(Ok(live)) if live == routes.canary_weight => Verdict::Live,
            Some(_) => Verdict::Pending,
            None => Verdict::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apply;

    fn router() -> MemoryRouter {
        let scope = Scope { namespace: "prod".into(), max_weight: 100, ..Scope::default() };
        MemoryRouter { scope, name: "split".into() }
    }

    fn routes(canary_weight: i64) -> Routes {
        Routes { canary_weight, ..Routes::default() }
    }

    fn observed(data: Value) -> Objects {
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"labels": {"team": "x"}}, "data": data});
        [(router().object(), object)].into()
    }

    #[test]
    fn routes_are_written_and_read_back() {
        let mut objects = observed(json!({"foreign": "stays"}));
        let edits = router().with_routes(&objects, &routes(20)).expect("the object is there");
        apply(&mut objects, edits);
        assert_eq!(router().read(&objects, None).expect("it is there").weight, Some(20));
        assert_eq!(router().with_routes(&objects, &routes(20)), Ok(Edits::new()), "twice is once");
        let data = &objects.values().next().expect("one object")["data"];
        assert_eq!((data["foreign"].as_str(), data["stable"].as_str()), (Some("stays"), Some("80")));
    }

    #[test]
    fn a_missing_object_is_named() {
        let error = router().with_routes(&Objects::new(), &routes(20)).expect_err("nothing is there");
        assert_eq!(
            error.to_string(),
            "ConfigMap prod/split not found: create it, or name another in the spec"
        );
    }

    #[test]
    fn verdicts() {
        for (live, verdict) in [
            (json!({"live": "20"}), Verdict::Live),
            (json!({"live": "0"}), Verdict::Pending),
            (json!({}), Verdict::Unknown),
        ] {
            assert_eq!(router().verdict(&observed(live.clone()), &routes(20)), verdict, "{live}");
        }
    }
}

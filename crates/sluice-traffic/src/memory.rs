//! A router whose route is one plain object: the weights stand in a ConfigMap.
//!
//! It is what tests put in the place of a mesh. Its `data.live` says what the data plane does, so that a
//! test can let it lag behind what was asked.

use serde_json::{Value, json};

use crate::{ObjectRef, Objects, Routes, TrafficError, TrafficRouter, Verdict};

/// Splits traffic by the numbers in a ConfigMap.
#[derive(Clone, Debug)]
pub struct MemoryRouter {
    /// Namespace of the ConfigMap.
    pub namespace: String,
    /// Name of the ConfigMap.
    pub name: String,
}

impl MemoryRouter {
    fn object(&self) -> ObjectRef {
        ObjectRef {
            api_version: "v1".into(),
            kind: "ConfigMap".into(),
            namespace: self.namespace.clone(),
            name: self.name.clone(),
        }
    }

    fn read<'a>(&self, observed: &'a Objects, field: &str) -> Option<&'a str> {
        observed.get(&self.object())?.get("data")?.get(field)?.as_str()
    }
}

impl TrafficRouter for MemoryRouter {
    fn reads(&self) -> Vec<ObjectRef> {
        vec![self.object()]
    }

    fn with_routes(&self, observed: &Objects, routes: &Routes) -> Result<Objects, TrafficError> {
        let reference = self.object();
        let Some(found) = observed.get(&reference) else {
            return Err(TrafficError::NotFound {
                kind: reference.kind,
                namespace: reference.namespace,
                name: reference.name,
            });
        };
        let mut object = found.clone();
        if !object.get("data").is_some_and(Value::is_object) {
            object["data"] = json!({});
        }
        object["data"]["canary"] = routes.canary_weight.to_string().into();
        object["data"]["stable"] = routes.stable_weight().to_string().into();
        Ok([(reference, object)].into())
    }

    fn requested(&self, observed: &Objects) -> Option<i64> {
        self.read(observed, "canary")?.parse().ok()
    }

    fn verdict(&self, observed: &Objects, routes: &Routes) -> Verdict {
        match self.read(observed, "live").map(str::parse::<i64>) {
            Some(Ok(live)) if live == routes.canary_weight => Verdict::Live,
            Some(_) => Verdict::Pending,
            None => Verdict::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Backend;

    fn router() -> MemoryRouter {
        MemoryRouter { namespace: "prod".into(), name: "split".into() }
    }

    fn routes(canary_weight: i64) -> Routes {
        let backend = |service: &str| Backend { service: service.into(), hash: service.into() };
        Routes { canary_weight, max_weight: 100, stable: backend("web"), canary: backend("web-canary") }
    }

    fn observed(data: Value) -> Objects {
        [(router().object(), json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"labels": {"team": "x"}}, "data": data}))].into()
    }

    #[test]
    fn routes_are_written_and_read_back() {
        let before = observed(json!({"foreign": "stays"}));
        let once = router().with_routes(&before, &routes(20)).expect("the object is there");
        assert_eq!(router().requested(&once), Some(20));
        assert_eq!(router().with_routes(&once, &routes(20)).as_ref(), Ok(&once), "twice is once");
        let data = &once.values().next().expect("one object")["data"];
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

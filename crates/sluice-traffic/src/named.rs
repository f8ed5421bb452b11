//! Managed routes in a list whose entries have names.

use serde_json::{Map, Value};

/// What of a managed route is ours. Other fields that somebody puts into it stay as long as it stays.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fields {
    /// Their names.
    pub(crate) names: &'static [&'static str],
    /// A value without what says nothing.
    pub(crate) plain: fn(&Value) -> Value,
}

/// The list with these managed routes in it, above the route with the index `below`; `None` if it is so
/// already.
///
/// They go to the top, yet stay where they are if that is above: another Rollout may have put its own
/// first meanwhile, and both would move for ever.
pub(crate) fn arrange(
    list: &[Value],
    wanted: Vec<Map<String, Value>>,
    is_ours: impl Fn(&Value) -> bool,
    fields: Fields,
    below: Option<usize>,
) -> Option<Vec<Value>> {
    let present: Vec<usize> = (0..list.len()).filter(|at| is_ours(&list[*at])).collect();
    let merged: Vec<Value> = wanted
        .into_iter()
        .map(|route| {
            let same_name = |at: &&usize| list[**at].get("name") == route.get("name");
            fields.merge(present.iter().find(same_name).map(|at| &list[*at]), route)
        })
        .collect();
    let names_in_order = present.iter().map(|at| list[*at].get("name"));
    let is_above = !matches!((present.last(), below), (Some(last), Some(below)) if *last > below);
    let is_in_place = is_above && names_in_order.eq(merged.iter().map(|route| route.get("name")));
    let arranged: Vec<Value> = if is_in_place {
        let mut arranged = list.to_vec();
        for (at, route) in present.into_iter().zip(merged) {
            arranged[at] = route;
        }
        arranged
    } else {
        merged.into_iter().chain(list.iter().filter(|route| !is_ours(route)).cloned()).collect()
    };
    (arranged != list).then_some(arranged)
}

impl Fields {
    /// Puts the fields that are ours into a route, if they do not mean the same already.
    pub(crate) fn merge(&self, found: Option<&Value>, route: Map<String, Value>) -> Value {
        let Some(found) = found.and_then(Value::as_object) else { return Value::Object(route) };
        let mut merged = found.clone();
        for name in self.names {
            match route.get(*name) {
                Some(value) => {
                    let same =
                        merged.get(*name).is_some_and(|found| (self.plain)(found) == (self.plain)(value));
                    if !same {
                        merged.insert((*name).into(), value.clone());
                    }
                }
                None => {
                    merged.remove(*name);
                }
            }
        }
        Value::Object(merged)
    }
}

/// The managed route among these that a name belongs to: it is that, or that with a number behind it where
/// there is one for each of several routes.
pub(crate) fn owner<'a>(name: &str, managed: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let mut numbered = None;
    for managed in managed {
        if managed == name {
            return Some(managed);
        }
        let number = name.strip_prefix(managed).and_then(|rest| rest.strip_prefix('-'));
        if number.is_some_and(is_number) {
            numbered = Some(managed);
        }
    }
    numbered
}

/// Names for the routes of one managed route, those that are taken left out.
pub(crate) fn numbered<'a>(
    name: &'a str,
    is_taken: impl Fn(&str) -> bool + 'a,
) -> impl Iterator<Item = String> + 'a {
    let further = (1..).map(move |number| format!("{name}-{number}"));
    std::iter::once(name.to_owned()).chain(further.filter(move |name| !is_taken(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners() {
        for (name, expected) in [
            ("hd", Some("hd")),
            ("hd-12", Some("hd")),
            ("hd-2", Some("hd-2")),
            ("hd-2-1", Some("hd-2")),
            ("hd-x", None),
            ("hd-", None),
            ("hdx", None),
            ("", None),
        ] {
            assert_eq!(owner(name, ["hd", "hd-2"]), expected, "{name}");
        }
        let names: Vec<String> = numbered("hd", |name| name == "hd-2").take(3).collect();
        assert_eq!(names, ["hd", "hd-1", "hd-3"]);
    }
}

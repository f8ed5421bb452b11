//! Weights in a list of destinations, some of which are ours.
//!
//! Many objects hold such a list; they differ in how an entry names its Service, and in what an entry
//! without a weight gets. Entries of others keep what they have.

use serde_json::Value;

use crate::{Extra, extras::Extras, shares::Shares};

/// What weights add up to in lists that know percent.
pub(crate) const PERCENT: i64 = 100;

/// No object holds more; it keeps sums of whatever stands there in bounds.
const MOST: i64 = 1_000_000_000;

/// What of the split an entry carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Canary,
    Stable,
    /// The further destination with this index.
    Extra(usize),
    /// Nothing: it is somebody else's.
    Other,
}

/// How lists of one kind say a weight: a number in the field `weight`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weights {
    /// What an entry without one gets.
    pub(crate) absent: i64,
}

impl Weights {
    /// The weight of an entry.
    pub(crate) fn of(self, entry: &Value) -> i64 {
        match entry.get("weight") {
            None | Some(Value::Null) => self.absent,
            Some(weight) => weight.as_i64().unwrap_or(0).clamp(0, MOST),
        }
    }

    /// Sets it. One that is absent and means the same already is left so.
    pub(crate) fn set(self, entry: &mut Value, weight: i64) {
        let is_number = entry.get("weight").is_none_or(|found| found.is_i64() || found.is_null());
        if (self.of(entry) != weight || !is_number)
            && let Some(entry) = entry.as_object_mut()
        {
            entry.insert("weight".into(), weight.into());
        }
    }

    /// Gives each part its share. Several entries of one part, with different ports say, have it in common.
    pub(crate) fn write(self, list: &mut [Value], part: impl Fn(&Value) -> Part, shares: &Shares) {
        let all: Vec<Part> = list.iter().map(part).collect();
        for (at, entry) in list.iter_mut().enumerate() {
            let part = all[at];
            let total = match part {
                Part::Canary => shares.canary,
                Part::Stable => shares.stable,
                Part::Extra(at) => shares.extra.get(at).copied().unwrap_or_default(),
                Part::Other => continue,
            };
            let before = all[..at].iter().filter(|other| **other == part).count() as i64;
            let count = all.iter().filter(|other| **other == part).count() as i64;
            self.set(entry, total / count + i64::from(before < total % count));
        }
    }

    /// The canary's part, and the sum of all of ours.
    pub(crate) fn read(self, list: &[Value], part: impl Fn(&Value) -> Part) -> (i64, i64) {
        let sum = |is_meant: fn(Part) -> bool| {
            list.iter().filter(|entry| is_meant(part(entry))).map(|entry| self.of(entry)).sum()
        };
        (sum(|part| part == Part::Canary), sum(|part| part != Part::Other))
    }
}

/// Which Service carries what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Names<'a> {
    pub(crate) stable: &'a str,
    pub(crate) canary: &'a str,
    /// The further destinations that are wanted.
    pub(crate) extra: &'a [Extra],
}

impl<'a> Names<'a> {
    /// Without further destinations.
    pub(crate) fn two((stable, canary): (&'a str, &'a str)) -> Names<'a> {
        Names { stable, canary, extra: &[] }
    }

    /// What the Service of this name carries.
    pub(crate) fn part(&self, service: &str) -> Part {
        match self.extra.iter().position(|extra| extra.service == service) {
            _ if service.is_empty() => Part::Other,
            _ if service == self.canary => Part::Canary,
            _ if service == self.stable => Part::Stable,
            Some(at) => Part::Extra(at),
            None => Part::Other,
        }
    }

    /// The same, for what stands in an object now: further destinations are told by what is known of them.
    pub(crate) fn found(&self, service: &str, extras: &Extras) -> Part {
        match self.part(service) {
            Part::Other if extras.know(service) => Part::Extra(usize::MAX),
            part => part,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const NAMES: Names = Names { stable: "s", canary: "c", extra: &[] };

    fn part(entry: &Value) -> Part {
        NAMES.part(entry["name"].as_str().unwrap_or_default())
    }

    #[test]
    fn weights_of_any_shape() {
        for (entry, of_one, of_none) in [
            (json!({"weight": 7}), 7, 7),
            (json!({}), 1, 0),
            (json!({"weight": null}), 1, 0),
            (json!({"weight": -7}), 0, 0),
            (json!({"weight": "7"}), 0, 0),
            (json!({"weight": i64::MAX}), MOST, MOST),
            (json!([]), 1, 0),
        ] {
            assert_eq!(
                (Weights { absent: 1 }.of(&entry), Weights { absent: 0 }.of(&entry)),
                (of_one, of_none)
            );
        }
    }

    #[test]
    fn shares_are_written_and_read() {
        let shares = Shares { canary: 3, extra: vec![], stable: 97 };
        let mut list =
            vec![json!({"name": "c"}), json!({"name": "s"}), json!({"name": "c"}), json!({"name": "z"})];
        Weights { absent: 1 }.write(&mut list, part, &shares);
        let expected = [
            json!({"name": "c", "weight": 2}),
            json!({"name": "s", "weight": 97}),
            json!({"name": "c"}), // 1 is what it has without one
            json!({"name": "z"}),
        ];
        assert_eq!(list, expected);
        assert_eq!(Weights { absent: 1 }.read(&list, part), (3, 100));
    }

    #[test]
    fn a_service_carries_one_part() {
        let extra = [Extra { service: "e".into(), hash: String::new(), weight: 1 }];
        let names = Names { extra: &extra, ..NAMES };
        for (service, expected) in [
            ("s", Part::Stable),
            ("c", Part::Canary),
            ("e", Part::Extra(0)),
            ("", Part::Other),
            ("z", Part::Other),
        ] {
            assert_eq!(names.part(service), expected, "{service}");
        }
    }
}

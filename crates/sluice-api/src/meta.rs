//! Small types that every kind shares: selectors, times, references and JSON that is only carried.
//!
//! It decides how these look on the wire and what a label selector matches. It does not decide
//! whether a value makes sense; that is [`crate::validation`].

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::{Map, Value};

/// True for the zero value, which Kubernetes types leave out when they are written.
pub(crate) fn is_zero<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Defines an enum that is a plain string on the wire, with the empty string for "not set".
macro_rules! text_enum {
    ($(#[$meta:meta])* $name:ident { $($(#[$variant_meta:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$variant_meta])* $variant,)+ }

        impl $name {
            /// Every value, in order of declaration.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// Returns the text used on the wire.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }

            /// Reads the text used on the wire.
            pub fn from_text(text: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|value| value.as_str() == text)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                Self::from_text(&text).ok_or_else(|| {
                    let known: Vec<&str> = Self::ALL.iter().map(|value| value.as_str()).collect();
                    serde::de::Error::custom(format!("unknown value {text:?}, known are {known:?}"))
                })
            }
        }

        impl schemars::JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({"type": "string"})
            }
        }
    };
}
pub(crate) use text_enum;

/// An instant in RFC 3339 form with whole seconds, as every time of these kinds is written.
///
/// A fraction of a second is cut off when the value is made, so that equal values look equal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(Timestamp);

impl Time {
    /// Makes a time of an instant, cutting off the fraction of the second.
    pub fn new(at: Timestamp) -> Self {
        let second = at.as_nanosecond().div_euclid(1_000_000_000) as i64;
        Self(Timestamp::from_second(second).unwrap_or(at))
    }

    /// Returns the instant.
    pub const fn timestamp(self) -> Timestamp {
        self.0
    }
}

impl From<Timestamp> for Time {
    fn from(at: Timestamp) -> Self {
        Self::new(at)
    }
}

impl From<Time> for Timestamp {
    fn from(time: Time) -> Self {
        time.0
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Timestamp::deserialize(deserializer).map(Self::new)
    }
}

impl JsonSchema for Time {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Time".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "format": "date-time"})
    }
}

/// A number or a string, where Kubernetes allows both.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IntOrString {
    /// A JSON number.
    Int(i32),
    /// A JSON string.
    Text(String),
}

impl Default for IntOrString {
    fn default() -> Self {
        Self::Int(0)
    }
}

impl From<i32> for IntOrString {
    fn from(number: i32) -> Self {
        Self::Int(number)
    }
}

impl From<&str> for IntOrString {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl fmt::Display for IntOrString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(number) => write!(f, "{number}"),
            Self::Text(text) => f.write_str(text),
        }
    }
}

impl fmt::Debug for IntOrString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(number) => write!(f, "{number}"),
            Self::Text(text) => write!(f, "{text:?}"),
        }
    }
}

impl IntOrString {
    /// Returns the number, reading a string as a decimal integer; anything else counts as 0.
    pub fn as_int(&self) -> i32 {
        match self {
            Self::Int(number) => *number,
            Self::Text(text) => text.parse().unwrap_or(0),
        }
    }
}

impl Serialize for IntOrString {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Int(number) => serializer.serialize_i32(*number),
            Self::Text(text) => serializer.serialize_str(text),
        }
    }
}

impl<'de> Deserialize<'de> for IntOrString {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = IntOrString;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a 32-bit integer or a string")
            }
            fn visit_i64<E: de::Error>(self, number: i64) -> Result<IntOrString, E> {
                i32::try_from(number)
                    .map(IntOrString::Int)
                    .map_err(|_| E::invalid_value(de::Unexpected::Signed(number), &self))
            }
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<IntOrString, E> {
                i32::try_from(number)
                    .map(IntOrString::Int)
                    .map_err(|_| E::invalid_value(de::Unexpected::Unsigned(number), &self))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<IntOrString, E> {
                Ok(IntOrString::Text(text.to_owned()))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for IntOrString {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "IntOrString".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"x-kubernetes-int-or-string": true})
    }
}

/// A JSON object that is carried and never reshaped: a pod template, a Job, a plugin's configuration.
///
/// Typed structs would drop every field that they do not know, and a dropped field is a changed pod.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct RawObject(pub Map<String, Value>);

impl RawObject {
    /// Returns the object's value at a path of keys.
    pub fn at(&self, path: &[&str]) -> Option<&Value> {
        let (last, parents) = path.split_last()?;
        parents.iter().try_fold(&self.0, |map, key| map.get(*key)?.as_object())?.get(*last)
    }

    /// Returns `metadata.labels`, leaving out whatever is not a string.
    pub fn labels(&self) -> BTreeMap<String, String> {
        self.text_map(&["metadata", "labels"])
    }

    /// Returns `metadata.annotations`, leaving out whatever is not a string.
    pub fn annotations(&self) -> BTreeMap<String, String> {
        self.text_map(&["metadata", "annotations"])
    }

    /// Returns a copy as a JSON value.
    pub fn to_value(&self) -> Value {
        Value::Object(self.0.clone())
    }

    fn text_map(&self, path: &[&str]) -> BTreeMap<String, String> {
        let map = self.at(path).and_then(Value::as_object);
        map.into_iter()
            .flatten()
            .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
            .collect()
    }
}

impl<'de> Deserialize<'de> for RawObject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Map::deserialize(deserializer).map(Self)
    }
}

impl From<RawObject> for Value {
    fn from(object: RawObject) -> Self {
        Self::Object(object.0)
    }
}

impl TryFrom<Value> for RawObject {
    /// The value, when it is not an object.
    type Error = Value;

    fn try_from(value: Value) -> Result<Self, Value> {
        match value {
            Value::Object(map) => Ok(Self(map)),
            other => Err(other),
        }
    }
}

impl JsonSchema for RawObject {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "RawObject".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
    }
}

/// Any JSON value that is only carried.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RawValue(pub Value);

impl JsonSchema for RawValue {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "RawValue".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"x-kubernetes-preserve-unknown-fields": true})
    }
}

/// Labels and annotations to put on pods or runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct PodTemplateMetadata {
    /// Labels.
    #[serde(skip_serializing_if = "is_zero")]
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    #[serde(skip_serializing_if = "is_zero")]
    pub annotations: BTreeMap<String, String>,
}

impl PodTemplateMetadata {
    /// True when there is neither a label nor an annotation.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.annotations.is_empty()
    }
}

/// Selects objects by their labels; all parts must match.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct LabelSelector {
    /// Labels that must be present with these values.
    #[serde(skip_serializing_if = "is_zero")]
    pub match_labels: BTreeMap<String, String>,
    /// Further requirements on labels.
    #[serde(skip_serializing_if = "is_zero")]
    pub match_expressions: Vec<LabelSelectorRequirement>,
}

/// One requirement on a label.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct LabelSelectorRequirement {
    /// Label key.
    pub key: String,
    /// In, NotIn, Exists or DoesNotExist.
    pub operator: String,
    /// Values for In and NotIn.
    #[serde(skip_serializing_if = "is_zero")]
    pub values: Vec<String>,
}

impl LabelSelector {
    /// True when the selector has no part at all and so would match everything.
    pub fn is_empty(&self) -> bool {
        self.match_labels.is_empty() && self.match_expressions.is_empty()
    }

    /// Tells whether an object with these labels is selected.
    ///
    /// An empty selector matches everything; a requirement with an unknown operator matches nothing.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.match_labels.iter().all(|(key, value)| labels.get(key) == Some(value))
            && self.match_expressions.iter().all(|requirement| requirement.matches(labels))
    }

    /// Returns the selector in the text form that list requests and `status.selector` use.
    ///
    /// An empty selector gives `<none>` and a malformed one `<error>`, as Kubernetes prints them.
    pub fn to_text(&self) -> String {
        if self.is_empty() {
            return "<none>".to_owned();
        }
        let mut parts: Vec<(&str, String)> =
            self.match_labels.iter().map(|(key, value)| (key.as_str(), format!("{key}={value}"))).collect();
        for requirement in &self.match_expressions {
            let Some(text) = requirement.to_text() else {
                return "<error>".to_owned();
            };
            parts.push((&requirement.key, text));
        }
        parts.sort_by(|a, b| a.0.cmp(b.0));
        parts.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join(",")
    }
}

impl LabelSelectorRequirement {
    fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        let value = labels.get(&self.key);
        match self.operator.as_str() {
            "In" => value.is_some_and(|value| self.values.contains(value)),
            "NotIn" => value.is_none_or(|value| !self.values.contains(value)),
            "Exists" => value.is_some(),
            "DoesNotExist" => value.is_none(),
            _ => false,
        }
    }

    fn to_text(&self) -> Option<String> {
        let key = &self.key;
        let mut values = self.values.clone();
        values.sort();
        let values = values.join(",");
        match self.operator.as_str() {
            "In" => Some(format!("{key} in ({values})")),
            "NotIn" => Some(format!("{key} notin ({values})")),
            "Exists" => Some(key.clone()),
            "DoesNotExist" => Some(format!("!{key}")),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn selectors_match_and_print() {
        let labels: BTreeMap<String, String> =
            [("app", "web"), ("tier", "x")].map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        // selector => (matches, text)
        for (selector, matches, text) in [
            (json!({}), true, "<none>"),
            (json!({"matchLabels": {"app": "web"}}), true, "app=web"),
            (json!({"matchLabels": {"tier": "x", "app": "db"}}), false, "app=db,tier=x"),
            (
                json!({"matchExpressions": [{"key": "app", "operator": "In", "values": ["web", "api"]}]}),
                true,
                "app in (api,web)",
            ),
            (
                json!({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["web"]}]}),
                false,
                "app notin (web)",
            ),
            (
                json!({"matchExpressions": [{"key": "zone", "operator": "NotIn", "values": ["a"]}]}),
                true,
                "zone notin (a)",
            ),
            (
                json!({"matchExpressions": [{"key": "app", "operator": "Exists"}], "matchLabels": {"tier": "x"}}),
                true,
                "app,tier=x",
            ),
            (json!({"matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]}), false, "!app"),
            (json!({"matchExpressions": [{"key": "app", "operator": "Like"}]}), false, "<error>"),
        ] {
            let parsed: LabelSelector = serde_json::from_value(selector.clone()).unwrap();
            assert_eq!((parsed.matches(&labels), parsed.to_text().as_str()), (matches, text), "{selector}");
        }
    }

    #[test]
    fn times_are_written_in_whole_seconds() {
        // read => written
        for (read, written) in [
            ("2026-11-21T07:13:18Z", "2026-11-21T07:13:18Z"),
            ("2026-11-21T07:13:18.999Z", "2026-11-21T07:13:18Z"),
            ("2026-11-21T08:13:18+01:00", "2026-11-21T07:13:18Z"),
            ("1969-12-31T23:59:59.5Z", "1969-12-31T23:59:59Z"),
        ] {
            let time: Time = serde_json::from_value(json!(read)).unwrap();
            assert_eq!(serde_json::to_value(time).unwrap(), json!(written), "{read}");
        }
    }

    #[test]
    fn int_or_string_keeps_its_form() {
        for value in [json!(5), json!("5"), json!("25%"), json!(-1)] {
            let parsed: IntOrString = serde_json::from_value(value.clone()).unwrap();
            assert_eq!(serde_json::to_value(parsed).unwrap(), value);
        }
        for value in [json!(1.5), json!(true), json!(3_000_000_000_i64), json!([1])] {
            assert!(serde_json::from_value::<IntOrString>(value.clone()).is_err(), "{value}");
        }
    }

    #[test]
    fn raw_objects_are_found_by_path() {
        let object = RawObject::try_from(json!({"metadata": {"labels": {"a": "b", "n": 1}}})).unwrap();
        assert_eq!(object.at(&["metadata", "labels", "a"]), Some(&json!("b")));
        assert_eq!(object.at(&["metadata", "annotations", "a"]), None);
        assert_eq!(object.at(&["metadata", "labels", "a", "b"]), None);
        assert_eq!(object.labels(), [("a".to_owned(), "b".to_owned())].into());
        assert_eq!(RawObject::try_from(json!("text")), Err(json!("text")));
    }
}

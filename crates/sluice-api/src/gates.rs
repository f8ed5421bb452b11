//! Fields of metrics and analyses that Argo Rollouts does not have: they let a gate judge the change, and not
//! the weather. All are optional, and a manifest without them means what it always meant.
//!
//! It decides the wire form. What a measurement comes to is decided where runs are measured.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::analysis::Metric;
use crate::meta::{is_zero, text_enum};

text_enum! {
    /// Whose health a metric shows.
    #[derive(Default)]
    Origin {
        /// That of the version on trial.
        #[default]
        Own = "own",
        /// That of something it depends on.
        Dependency = "dependency",
    }
}

text_enum! {
    /// What a measurement comes to that has too few samples to tell, or no data at all.
    #[derive(Default)]
    InsufficientTraffic {
        /// Neither good nor bad.
        #[default]
        Inconclusive = "inconclusive",
        /// Good.
        Pass = "pass",
        /// Bad.
        Fail = "fail",
    }
}

text_enum! {
    /// How two versions are compared.
    #[derive(Default)]
    BaselineMethod {
        /// The new version may be worse than the stable one by a factor and an amount.
        #[default]
        Ratio = "ratio",
        /// Evidence is added up from measurement to measurement. Not carried out yet.
        Sequential = "sequential",
    }
}

text_enum! {
    /// What a Rollout does when an analysis has failed.
    #[derive(Default)]
    OnFailure {
        /// It goes back to the stable version.
        #[default]
        Abort = "abort",
        /// It stays where it is and leaves the judgement to a person.
        Pause = "pause",
    }
}

/// A number with a fraction. A string is read as one after its placeholders are filled in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Decimal {
    /// A JSON number.
    Number(serde_json::Number),
    /// A JSON string.
    Text(String),
}

impl Decimal {
    /// Returns the number; `None` for a text that is none, and for what is not finite.
    pub fn value(&self) -> Option<f64> {
        let number = match self {
            Self::Number(number) => number.as_f64(),
            Self::Text(text) => text.trim().parse().ok(),
        };
        number.filter(|number| number.is_finite())
    }
}

impl Default for Decimal {
    fn default() -> Self {
        Self::Number(0.into())
    }
}

impl From<&str> for Decimal {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Text(text) => f.write_str(text),
        }
    }
}

impl JsonSchema for Decimal {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Decimal".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        // There is no type that is a number or a string in what the API server takes.
        json_schema!({"x-kubernetes-preserve-unknown-fields": true})
    }
}

/// Where the number of samples behind a measurement is taken from. Exactly one is to be set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Samples {
    /// A second query to the same provider, at the same instant.
    #[serde(skip_serializing_if = "is_zero")]
    pub query: String,
    /// A member of the result, such as n or totals.requests.
    #[serde(skip_serializing_if = "is_zero")]
    pub key: String,
}

/// Limits that may tighten from step to step. Exactly one of min and max is to be set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Thresholds {
    /// Good is this much or more, where byStep and byWeight say nothing else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min: Option<Decimal>,
    /// Good is this much or less, where byStep and byWeight say nothing else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<Decimal>,
    /// Limits by index of step, in quotes. One holds until the next that is named.
    #[serde(skip_serializing_if = "is_zero")]
    pub by_step: BTreeMap<String, Decimal>,
    /// Limits by weight as setWeight names it, in quotes. One holds from its weight up to the next that is
    /// named.
    #[serde(skip_serializing_if = "is_zero")]
    pub by_weight: BTreeMap<String, Decimal>,
    /// The member of the result that is judged. All of the result when not set.
    #[serde(skip_serializing_if = "is_zero")]
    pub key: String,
}

/// The stable version in the same window, for comparison.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Baseline {
    /// A query to the same provider that shows the stable version.
    #[serde(skip_serializing_if = "is_zero")]
    pub query: String,
    /// Arguments that differ, so that the provider as it is written shows the stable version.
    #[serde(skip_serializing_if = "is_zero")]
    pub args: Vec<BaselineArgument>,
    /// How many times as bad as stable is tolerated. Default 1.2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ratio: Option<Decimal>,
    /// What is tolerated beyond that. Default 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slack: Option<Decimal>,
    /// How the two are compared: ratio (default).
    #[serde(skip_serializing_if = "is_zero")]
    #[schemars(extend("enum" = ["ratio", "sequential"]))]
    pub method: BaselineMethod,
}

/// An argument and its value for the stable version.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("required" = ["name", "value"]))]
pub struct BaselineArgument {
    /// Name of an argument.
    pub name: String,
    /// Value, which may name other arguments.
    pub value: String,
}

impl Metric {
    /// Whether too few samples, or none, are an outcome of their own. Other metrics are judged by their
    /// conditions alone, whatever was measured.
    pub fn knows_no_data(&self) -> bool {
        let Self { min_samples, samples, on_insufficient_traffic, thresholds, baseline, .. } = self;
        min_samples.is_some()
            || samples.is_some()
            || on_insufficient_traffic.is_some()
            || thresholds.is_some()
            || baseline.is_some()
    }

    /// Whether its limits depend on where the Rollout stands.
    pub fn follows_position(&self) -> bool {
        self.thresholds.as_ref().is_some_and(|all| !all.by_step.is_empty() || !all.by_weight.is_empty())
    }
}

//! Which destinations were put there for experiments.
//!
//! Most say so by the name of their Service. The others are on record in an annotation of the object, or
//! nobody could tell them from destinations of others once they are to go.

use serde_json::Value;

use crate::{ObjectRef, Routes, TrafficError, ledger};

/// Annotation: which further destinations each Rollout put into the object.
pub const EXTRA_DESTINATIONS: &str = "sluice.dev/extra-destinations";

/// What pod template hashes are written with.
const HASH_DIGITS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// The further destinations of one Rollout in one object.
#[derive(Debug)]
pub(crate) struct Extras {
    rollout: String,
    /// Those on record.
    recorded: Vec<String>,
}

impl Extras {
    /// What the object says.
    pub(crate) fn of(object: &Value, reference: &ObjectRef, rollout: &str) -> Result<Extras, TrafficError> {
        let recorded = ledger::names(object, reference, EXTRA_DESTINATIONS, rollout)?;
        Ok(Extras { rollout: rollout.into(), recorded })
    }

    /// Whether this Service is a further destination of the Rollout.
    pub(crate) fn know(&self, service: &str) -> bool {
        self.recorded.iter().any(|recorded| recorded == service) || self.is_told_by_name(service)
    }

    /// Puts those of these routes on record.
    pub(crate) fn record(
        &self,
        object: &mut Value,
        reference: &ObjectRef,
        routes: &Routes,
    ) -> Result<(), TrafficError> {
        let named = routes.extra.iter().map(|extra| extra.service.clone());
        let to_record = named.filter(|service| !self.is_told_by_name(service)).collect();
        ledger::record(object, reference, EXTRA_DESTINATIONS, &self.rollout, to_record)
    }

    /// Whether the name alone says that a Service belongs to an experiment of this Rollout: a record is
    /// not needed then, and those that Argo Rollouts left are known.
    fn is_told_by_name(&self, service: &str) -> bool {
        let Some(rest) = service.strip_prefix(&self.rollout).and_then(|rest| rest.strip_prefix('-')) else {
            return false;
        };
        let is_number =
            |text: &str| !text.is_empty() && text.bytes().all(|character| character.is_ascii_digit());
        let is_hash = |text: &str| !text.is_empty() && text.bytes().all(|byte| HASH_DIGITS.contains(&byte));
        // <rollout>-<pod template hash>-<revision>-<step>-<template>
        match rest.splitn(4, '-').collect::<Vec<_>>()[..] {
            [hash, revision, step, template] => {
                is_hash(hash) && is_number(revision) && is_number(step) && !template.is_empty()
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_of_experiments() {
        let extras = Extras { rollout: "shop".into(), recorded: vec!["on-record".into()] };
        for (service, expected) in [
            ("shop-779b5f7646-2-3-cand", true),
            ("shop-779b5f7646-2-3-cand-two", true),
            ("shop-779b5f7646-2-cand", false),
            ("shop-779b5f7646-2-3-", false),
            ("shop-legacy", false),
            ("shop-legacy-1-2-x", false),
            ("other-779b5f7646-2-3-cand", false),
            ("on-record", true),
        ] {
            assert_eq!(extras.know(service), expected, "{service}");
        }
    }
}

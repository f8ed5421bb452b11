//! The status stays small, whatever is measured and however often.
//!
//! It decides how long texts may be, how many measurements are kept, and which go first when all of that is
//! still too much for one object. Counters tell of those that are gone.

use std::collections::BTreeMap;

use serde::Serialize;
use sluice_api::analysis::{AnalysisRunStatus, Measurement, MetricResult};
use sluice_api::keys::EXTENSION_PREFIX;

use super::Garbage;
use super::record;
use super::terms::Terms;

/// Longest message of a measurement or metric.
pub const MAX_MESSAGE_BYTES: usize = 1 << 10;
/// Longest message of a run, which quotes that of a metric.
pub const MAX_RUN_MESSAGE_BYTES: usize = 4 << 10;
/// Longest value; values are read by scripts, which cannot do much with half of one.
const MAX_VALUE_BYTES: usize = 4 << 10;
/// Longest value of one of the metadata.
const MAX_METADATA_BYTES: usize = 8 << 10;
/// Longest name of anything that a measurement leaves behind.
const MAX_HANDLE_BYTES: usize = 100;
/// Most that all results come to, as JSON.
const MAX_RESULTS_BYTES: usize = 90 << 10;
/// Longest texts, tried in turn, where there are so many metrics that even one measurement of each is too
/// much.
const MAX_TEXT_IN_NEED_BYTES: [usize; 3] = [100, 40, 10];

/// Cuts a text that is too long, and shows that it was.
pub fn cut(text: &mut String, most_bytes: usize) {
    const MARK: &str = "…";
    if text.len() > most_bytes {
        let end = text.floor_char_boundary(most_bytes.saturating_sub(MARK.len()));
        text.truncate(end);
        text.push_str(MARK);
    }
}

/// Cuts the texts of a measurement. What is in flight keeps its metadata, by which it is found again.
pub fn cut_measurement(measurement: &mut Measurement) {
    cut(&mut measurement.message, MAX_MESSAGE_BYTES);
    cut(&mut measurement.value, MAX_VALUE_BYTES);
    if measurement.finished_at.is_some() {
        measurement.metadata.values_mut().for_each(|value| cut(value, MAX_METADATA_BYTES));
    }
}

/// Drops the oldest measurements beyond what is kept of each metric, and more if all together are too large.
/// The newest of each metric always stays, because the next decision hangs on it.
pub fn trim(status: &mut AnalysisRunStatus, terms: &Terms) -> Vec<Garbage> {
    let mut dropped: BTreeMap<String, Vec<Measurement>> = BTreeMap::new();
    for result in &mut status.metric_results {
        let kept = terms.metrics.iter().find(|term| term.name() == result.name).map_or(1, |term| term.kept);
        drop_oldest(result, result.measurements.len().saturating_sub(kept.max(1)), &mut dropped);
        result.metadata.values_mut().for_each(|value| cut(value, MAX_METADATA_BYTES));
    }

    let mut sizes: Vec<Sizes> = status.metric_results.iter().map(Sizes::of).collect();
    let mut total: usize = sizes.iter().map(|sizes| sizes.total).sum();
    while total > MAX_RESULTS_BYTES {
        let candidates = sizes.iter_mut().filter(|sizes| sizes.dropped + 1 < sizes.measurements.len());
        let Some(largest) = candidates.max_by_key(|sizes| sizes.total) else { break };
        let oldest = largest.measurements[largest.dropped];
        largest.dropped += 1;
        largest.total -= oldest;
        total -= oldest;
    }
    for (result, sizes) in status.metric_results.iter_mut().zip(&sizes) {
        drop_oldest(result, sizes.dropped, &mut dropped);
    }
    for most_bytes in MAX_TEXT_IN_NEED_BYTES {
        if total <= MAX_RESULTS_BYTES {
            break;
        }
        status.metric_results.iter_mut().for_each(|result| cut_to_the_bone(result, most_bytes));
        total = status.metric_results.iter().map(size_bytes).sum();
    }
    let garbage = |(metric, measurements)| Garbage { metric, measurements };
    dropped.into_iter().map(garbage).collect()
}

/// What one metric's result comes to, and how many of its measurements are to go.
struct Sizes {
    measurements: Vec<usize>,
    total: usize,
    dropped: usize,
}

impl Sizes {
    fn of(result: &MetricResult) -> Self {
        let measurements = result.measurements.iter().map(size_bytes).collect();
        Self { measurements, total: size_bytes(result), dropped: 0 }
    }
}

fn drop_oldest(result: &mut MetricResult, count: usize, dropped: &mut BTreeMap<String, Vec<Measurement>>) {
    if count > 0 {
        dropped.entry(result.name.clone()).or_default().extend(result.measurements.drain(..count));
    }
}

fn cut_to_the_bone(result: &mut MetricResult, most_bytes: usize) {
    let is_in_flight = record::in_flight(result).is_some();
    cut(&mut result.message, most_bytes);
    // Counters of ours stay.
    result.metadata.retain(|key, _| key.starts_with(EXTENSION_PREFIX));
    for measurement in &mut result.measurements {
        cut(&mut measurement.message, most_bytes);
        cut(&mut measurement.value, most_bytes);
        // By the name of a Job that is over the Job is removed.
        if !is_in_flight {
            measurement.metadata.values_mut().for_each(|value| cut(value, MAX_HANDLE_BYTES));
        }
    }
}

fn size_bytes(value: &impl Serialize) -> usize {
    struct Count(usize);
    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    // Counting cannot fail.
    let _ = serde_json::to_writer(&mut count, value);
    count.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_text_is_cut_once(text in any::<String>(), most in 3..40_usize) {
            let mut once = text.clone();
            cut(&mut once, most);
            prop_assert!(once.len() <= most);
            prop_assert_eq!(once == text, text.len() <= most);
            let mut twice = once.clone();
            cut(&mut twice, most);
            prop_assert_eq!(once, twice);
        }
    }
}

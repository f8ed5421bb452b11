//! Seeded runs: a seed says what people do and what goes wrong; the invariants say whether the
//! controller got through it.
//!
//! One seed, one run, always the same one. What goes wrong is undone at the end, and then the run has to
//! come to rest where a rollout may rest.

pub mod bench;
pub mod crash;
pub mod ending;
pub mod play;
pub mod scenario;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

pub use self::ending::Ending;
pub use self::play::{Outcome, play};
pub use self::scenario::Scenario;

/// What came of many seeds.
#[derive(Debug, Default)]
pub struct Summary {
    /// How many runs ended where.
    pub endings: BTreeMap<Ending, u64>,
    /// Seeds that failed, and how.
    pub failures: BTreeMap<u64, String>,
    /// Writes of the controllers in all runs.
    pub writes: u64,
}

/// Runs one seed on a runtime of its own with virtual time.
pub fn run(seed: u64, with_timeline: bool) -> Outcome {
    in_virtual_time(play(Scenario::new(seed), with_timeline))
}

/// Runs a future on a runtime of its own, whose time jumps from timer to timer.
pub fn in_virtual_time<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime can be made").block_on(future)
}

/// Runs many seeds, split over the cores.
pub fn run_all(seeds: std::ops::Range<u64>) -> Summary {
    let next = AtomicU64::new(seeds.start);
    let summary = Mutex::new(Summary::default());
    let threads = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let outcome = std::panic::catch_unwind(|| run(seed, false));
                    let mut summary = summary.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    match outcome {
                        Ok(Outcome { result: Ok(ending), writes, .. }) => {
                            *summary.endings.entry(ending).or_default() += 1;
                            summary.writes += writes;
                        }
                        Ok(Outcome { result: Err(problem), .. }) => {
                            summary.failures.insert(seed, problem);
                        }
                        Err(panic) => {
                            let text =
                                panic.downcast_ref::<String>().cloned().unwrap_or_else(|| "a panic".into());
                            summary.failures.insert(seed, text);
                        }
                    }
                }
            });
        }
    });
    summary.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// The command that runs one seed again and shows what happens in it.
pub fn rerun(seed: u64) -> String {
    format!("SLUICE_SEED={seed} cargo test -p sluice-tests --test seeds one_seed -- --nocapture")
}

//! Runs many seeds: `sluice-seeds [first] [count]`, 20,000 from 0 unless told otherwise.

use std::process::ExitCode;
use std::time::Instant;

use sluice_tests::seeds;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).filter_map(|text| text.parse::<u64>().ok());
    let (first, count) = (arguments.next().unwrap_or(0), arguments.next().unwrap_or(20_000));
    let begin = Instant::now();
    let summary = seeds::run_all(first..first + count);
    let took = begin.elapsed();
    for (seed, problem) in &summary.failures {
        println!("seed {seed}: {problem}\n  {}", seeds::rerun(*seed));
    }
    let per_seed = took.as_secs_f64() * 1000.0 / count.max(1) as f64;
    println!(
        "{count} seeds in {took:.1?} ({per_seed:.1} ms each), {} writes of the controllers, {} failed: {:?}",
        summary.writes,
        summary.failures.len(),
        summary.endings
    );
    if summary.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

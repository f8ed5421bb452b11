//! The machine from outside: a table of known sequences, then rule by rule, then what always holds.

mod gates;
mod properties;
mod rules;
mod secrets;
mod simulator;
mod vectors;

fn assessed(phase: &str, reason: &str) -> String {
    format!("Metric \"m\" assessed {phase} due to {reason}")
}

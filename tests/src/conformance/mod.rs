//! The simulated API server against a real one: the same requests, the same answers.
//!
//! A seed makes a sequence of requests in a namespace of its own (`sequence`, `kinds`); both servers get
//! it (`side`); what they tell is brought to a common form (`normal`) and compared (`difference`). Nothing
//! else writes: neither server has controllers.

mod difference;
mod kinds;
mod normal;
mod sequence;
mod side;

use std::collections::BTreeMap;

use futures::StreamExt;
use kube::Client;
use serde_json::Value;

use self::difference::Difference;
use self::normal::{Transcript, normalise};
use self::sequence::{Body, Sequence};
use self::side::Side;

/// Sequences in flight at the same time.
const AT_ONCE: usize = 16;

/// The two servers.
#[derive(Clone)]
pub struct Servers {
    /// The real one.
    pub real: Client,
    /// The simulated one.
    pub simulated: Client,
}

/// What came of many sequences.
#[derive(Debug, Default)]
pub struct Summary {
    /// Requests per server.
    pub requests: u64,
    /// Events per server.
    pub events: u64,
    /// How many answers had which code.
    pub codes: BTreeMap<u16, u64>,
    /// Seeds that differ, with the report.
    pub failures: BTreeMap<u64, String>,
}

/// The definitions that have to be in both servers.
pub fn definitions() -> Vec<Value> {
    let mut definitions = sluice_api::crds::all();
    definitions.push(kinds::widget_crd());
    definitions
}

/// The command that runs one seed again.
pub fn rerun(seed: u64) -> String {
    format!("SLUICE_SEED={seed} cargo test --workspace --test conformance -- --nocapture")
}

/// Runs many seeds.
pub async fn run_all(servers: &Servers, seeds: std::ops::Range<u64>) -> Summary {
    let mut summary = Summary::default();
    let mut runs = futures::stream::iter(seeds)
        .map(|seed| {
            let servers = servers.clone();
            async move { (seed, tokio::spawn(async move { run(&servers, seed).await }).await) }
        })
        .buffer_unordered(AT_ONCE);
    while let Some((seed, outcome)) = runs.next().await {
        let outcome = match outcome {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(problem)) => {
                summary.failures.insert(seed, problem);
                continue;
            }
            Err(panic) => {
                summary.failures.insert(seed, panic.to_string());
                continue;
            }
        };
        summary.requests += outcome.codes.len() as u64;
        summary.events += outcome.events;
        for code in outcome.codes {
            *summary.codes.entry(code).or_default() += 1;
        }
        if let Some(report) = outcome.report {
            summary.failures.insert(seed, report);
        }
    }
    summary
}

struct Outcome {
    codes: Vec<u16>,
    events: u64,
    report: Option<String>,
}

async fn run(servers: &Servers, seed: u64) -> Result<Outcome, String> {
    let sequence = Sequence::new(seed);
    let real = play(servers.real.clone(), &sequence).await.map_err(|problem| format!("real: {problem}"))?;
    let simulated = play(servers.simulated.clone(), &sequence)
        .await
        .map_err(|problem| format!("simulated: {problem}"))?;
    let found = difference::first(&sequence, &real, &simulated);
    let report = found.map(|found| report(&sequence, &found, &real, &simulated));
    let codes = real.answers.iter().map(|answer| answer.code).collect();
    Ok(Outcome { codes, events: real.watches.iter().map(|events| events.len() as u64).sum(), report })
}

/// Plays a sequence to one server.
async fn play(client: Client, sequence: &Sequence) -> Result<Transcript, String> {
    let mut side = Side::new(client, &sequence.namespace);
    side.begin().await?;
    let mut watches = Vec::new();
    for kind in &sequence.kinds {
        for selector in ["", "app=web"] {
            watches.push(side.watch(kind, selector).await?);
        }
    }
    let mut transcript = Transcript { answers: Vec::new(), watches: Vec::new() };
    for step in &sequence.steps {
        transcript.answers.push(side.send(step).await?);
    }
    for watch in watches {
        transcript.watches.push(watch.events().await?);
    }
    Ok(normalise(&transcript))
}

/// The difference, after the requests that led to it.
fn report(sequence: &Sequence, found: &Difference, real: &Transcript, simulated: &Transcript) -> String {
    let mut text = String::new();
    let end = found.step.unwrap_or(sequence.steps.len().saturating_sub(1));
    for (step, answer) in sequence.steps.iter().zip(&real.answers).take(end + 1) {
        let query: Vec<String> = step.query.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let body = match &step.body {
            Body::Empty => String::new(),
            Body::Value(value) => value.to_string(),
            Body::Seen { change, .. } => format!("(as seen) {change}"),
        };
        let content = if step.content_type == "application/json" { "" } else { step.content_type };
        text += &format!(
            "    {} {} {} {content} {body} -> {}\n",
            step.method,
            step.path.replace("{namespace}", "_"),
            query.join("&"),
            answer.code
        );
    }
    if std::env::var_os("SLUICE_SEED").is_some()
        && let Some(step) = found.step
    {
        text += &format!(
            "  real {:#}\n  simulated {:#}\n",
            real.answers[step].body, simulated.answers[step].body
        );
    }
    format!("{}\n{text}", found.what)
}

//! What a person would have seen: one line for each change of sizes, Services and phase.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use sluice_tests::simulation::{NAMESPACE, Simulation, number, revision};

const HASH: &str = "rollouts-pod-template-hash";

/// The changes of the Rollout `web`, as they happen.
pub struct Timeline {
    begin: Timestamp,
    services: [&'static str; 2],
    last: String,
    lines: Vec<String>,
}

impl Timeline {
    /// Begins now, with what there is. Of the Services, the active one comes first.
    pub fn of(simulation: &Simulation, services: [&'static str; 2]) -> Timeline {
        let mut timeline = Timeline { begin: simulation.now(), services, last: String::new(), lines: vec![] };
        timeline.look(simulation);
        timeline
    }

    /// Adds what somebody does.
    pub fn say(&mut self, simulation: &Simulation, what: &str) {
        self.lines.push(format!("{} -- {what}", self.time(simulation)));
    }

    /// Watches for so long.
    pub async fn watch(&mut self, simulation: &Simulation, seconds: i64) {
        self.watch_until(simulation, seconds, |_| false).await;
    }

    /// Watches until `is` holds, or for so long.
    pub async fn watch_until(
        &mut self,
        simulation: &Simulation,
        seconds: i64,
        is: impl Fn(&Simulation) -> bool,
    ) {
        let end = simulation.now() + SignedDuration::from_secs(seconds);
        loop {
            let version = simulation.cluster.resource_version();
            self.look(simulation);
            let left = end.duration_since(simulation.now());
            if is(simulation) || !left.is_positive() {
                return;
            }
            let left = Duration::try_from(left).unwrap_or_default();
            let _ = tokio::time::timeout(left, simulation.cluster.changed(version)).await;
        }
    }

    fn look(&mut self, simulation: &Simulation) {
        let [active, preview] = self.services.map(|service| leads(simulation, service));
        let phase = simulation.phase("web");
        let phase = phase.split(": ").next().unwrap_or_default();
        let line = format!("{:<22} active {active}, preview {preview} | {phase}", sizes(simulation));
        if line != self.last {
            self.lines.push(format!("{}  {line}", self.time(simulation)));
            self.last = line;
        }
    }

    fn time(&self, simulation: &Simulation) -> String {
        format!("{:>4} s", simulation.now().duration_since(self.begin).as_secs())
    }

    /// Compares with what is expected, line by line without the indentation.
    #[track_caller]
    pub fn check(&self, expected: &str) {
        let expected: Vec<&str> = expected.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let found: Vec<&str> = self.lines.iter().map(|line| line.trim()).collect();
        assert!(expected == found, "\n{}\n", self.lines.join("\n"));
    }
}

/// Versions with pods: `v1 4, v2 4 starting`.
fn sizes(simulation: &Simulation) -> String {
    let mut rows: Vec<(i64, String)> = Vec::new();
    for set in simulation.sets("web") {
        let (size, available) = (number(&set, "/spec/replicas"), number(&set, "/status/availableReplicas"));
        if size > 0 {
            let state = if available < size { " starting" } else { "" };
            rows.push((revision(&set), format!("v{} {size}{state}", revision(&set))));
        }
    }
    rows.sort();
    rows.into_iter().map(|(_, row)| row).collect::<Vec<_>>().join(", ")
}

/// The revision that a Service leads to; `all` where it leads to every pod.
pub fn leads(simulation: &Simulation, service: &str) -> String {
    let service = simulation.cluster.get("Service", Some(NAMESPACE), service).expect("the Service exists");
    let Value::String(hash) = &service["spec"]["selector"][HASH] else { return "all".into() };
    let sets = simulation.sets("web");
    let set = sets.iter().find(|set| set["metadata"]["labels"][HASH] == **hash);
    set.map_or_else(|| "nobody".into(), |set| format!("v{}", revision(set)))
}

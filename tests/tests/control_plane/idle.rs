//! A cluster in which nothing happens costs nothing.

use std::time::Duration;

use anyhow::{Result, ensure};
use futures::future::try_join_all;
use serde_json::json;
use sluice_controller::Options;
use sluice_controller::lease::{LeaseOptions, Timings};
use sluice_tests::cluster::AuditEntry;

use crate::harness::{Sandbox, canary};

const ROLLOUTS: usize = 20;
/// The one real wait in these tests: what is looked for is that nothing comes.
const QUIET: Duration = Duration::from_mins(2);

#[tokio::test]
async fn twenty_rollouts_at_rest_cost_two_minutes_of_lease_renewals_only() -> Result<()> {
    let mut sandbox = Sandbox::new("idle").await?;
    let lease = LeaseOptions {
        namespace: sandbox.namespace.clone(),
        name: "controller-lock".into(),
        identity: "idle".into(),
        timings: Timings::default(),
    };
    sandbox.start_controller(Options { lease: Some(lease), ..Options::default() }).await?;
    let names: Vec<String> = (0..ROLLOUTS).map(|index| format!("web-{index:02}")).collect();
    let steps = json!([{"setWeight": 50}, {"pause": {}}]);
    try_join_all(names.iter().map(|name| {
        let manifest = canary(name, 2, steps.clone());
        let sandbox = &sandbox;
        async move { sandbox.apply(&manifest).await }
    }))
    .await?;
    for name in &names {
        sandbox.until_named(name, "1 | 1:2/2 | Healthy").await?;
    }
    // Half of them wait at a pause, which is as quiet as being done.
    try_join_all(names.iter().step_by(2).map(|name| {
        let (sandbox, image) = (&sandbox, crate::harness::image("2"));
        async move { sandbox.kubectl(&["patch", "rollout", name, "--type=json", "--patch", &image]).await }
    }))
    .await?;
    for name in names.iter().step_by(2) {
        sandbox.until_named(name, "2 | 1:1/1 2:1/1 | Paused CanaryPauseStep").await?;
    }
    sandbox.at_rest().await?;

    sandbox.mark = sandbox.cluster.audit_mark()?;
    tokio::time::sleep(QUIET).await;
    let requests = sandbox.requests()?;
    let is_renewal =
        |entry: &AuditEntry| entry.resource == "leases" && entry.verb == "update" && entry.code == 200;
    let renewals = requests.iter().filter(|entry| is_renewal(entry)).count();
    ensure!((30..=70).contains(&renewals), "{renewals} renewals, one each 2 s are due");
    let others: Vec<_> =
        requests.iter().filter(|entry| !is_renewal(entry) && entry.verb != "watch").collect();
    ensure!(others.is_empty(), "{others:#?}");
    let watches = requests.iter().filter(|entry| entry.verb == "watch").count();
    ensure!(watches <= 3, "{watches} watches were renewed, one of each kind may be");
    Ok(())
}

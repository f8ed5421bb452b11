//! The definitions as they are shipped are accepted, and can be applied again.

use std::time::Duration;

use anyhow::{Result, ensure};
use sluice_tests::cluster::eventually;

use crate::harness::{cluster, kubectl};

#[tokio::test]
async fn the_definitions_are_applied_by_plain_kubectl() -> Result<()> {
    // Applied once, client-side and without a flag, when the cluster was set up.
    let cluster = cluster().await?;
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/crds");
    let said = kubectl(cluster, ["apply", "--filename", folder]).await?;
    let unchanged = said.lines().filter(|line| line.ends_with(" unchanged")).count();
    ensure!(unchanged == 5 && said.lines().count() == 5, "{said}");
    let names = kubectl(cluster, ["get", "crds", "--output=name"]).await?;
    for name in ["rollouts", "analysisruns", "analysistemplates", "clusteranalysistemplates", "experiments"] {
        ensure!(names.contains(&format!("/{name}.argoproj.io")), "{names}");
    }
    let shown = kubectl(cluster, ["api-resources", "--api-group=argoproj.io", "--no-headers"]).await?;
    ensure!(shown.lines().any(|line| line.starts_with("rollouts") && line.contains(" ro ")), "{shown}");
    // The API server publishes what it knows of a new kind a moment after it serves it.
    let explained = eventually("kubectl explain knows the kind", Duration::from_mins(1), async || {
        let said = kubectl(cluster, ["explain", "rollout.spec.strategy.canary.steps.setWeight"]).await;
        said.map_err(|error| error.to_string())
    });
    let explained = explained.await?;
    ensure!(explained.contains("<integer>"), "{explained}");
    Ok(())
}

//! The controller is killed, again and again, and another one goes on.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use jiff::Timestamp;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;
use sluice_tests::cluster::eventually;
use tokio::process::{Child, Command};

use crate::harness::{SOON, Sandbox, canary, image, text};

const ROLLOUTS: usize = 6;
const KILLS: usize = 5;

/// The controller as users run it: what `SLUICE_BIN` names, or what cargo built beside this test.
fn binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("SLUICE_BIN") {
        return Ok(path.into());
    }
    let test = std::env::current_exe()?;
    let folder =
        test.parent().and_then(Path::parent).context("tests are built into target/<profile>/deps")?;
    let binary = folder.join("sluice");
    let remedy = "build it with `cargo build --package sluice-controller`";
    let built_at = binary
        .metadata()
        .and_then(|file| file.modified())
        .with_context(|| format!("{}: {remedy}", binary.display()))?;
    // Cargo lists what it was built from. One of another day would say nothing about these sources.
    let sources = std::fs::read_to_string(folder.join("sluice.d"))?;
    for source in sources.split_whitespace().skip(1) {
        let changed_at = Path::new(source).metadata().and_then(|file| file.modified());
        ensure!(
            changed_at.is_ok_and(|at| at <= built_at),
            "{} is older than {source}: {remedy}",
            binary.display()
        );
    }
    Ok(binary)
}

/// A replica of the controller, as a process.
struct Replica {
    process: Child,
}

impl Replica {
    fn start(binary: &Path, sandbox: &Sandbox, kubeconfig: &Path, log: &Path) -> Result<Replica> {
        let log = std::fs::File::options().create(true).append(true).open(log)?;
        let process = Command::new(binary)
            .args(["controller", "--namespaced", "--metricsPort=0", "--healthzPort=0", "--loglevel=debug"])
            .args(["--leader-election-lease-duration=2s", "--leader-election-renew-deadline=1500ms"])
            .arg("--leader-election-retry-period=300ms")
            .arg("--kubeconfig")
            .arg(kubeconfig)
            .env("POD_NAMESPACE", &sandbox.namespace)
            .env("NO_PROXY", "*")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .context("start the controller")?;
        Ok(Replica { process })
    }

    /// SIGKILL: nothing is finished, nothing is given back.
    async fn kill(mut self) -> Result<()> {
        ensure!(self.process.try_wait()?.is_none(), "the controller had ended by itself");
        self.process.kill().await?;
        Ok(())
    }
}

/// Who leads, by a renewal after `since`: the lease of one that was killed still names it for a while.
async fn leading(sandbox: &Sandbox, since: Timestamp) -> Result<String, String> {
    let leases = sandbox.list(sandbox.api("coordination.k8s.io", "v1", "Lease", "leases")).await?;
    let spec = &leases.first().ok_or("no lease yet")?["spec"];
    let renewed: Option<Timestamp> = spec["renewTime"].as_str().and_then(|time| time.parse().ok());
    let holder = spec["holderIdentity"].as_str().unwrap_or_default();
    if !holder.is_empty() && renewed.is_some_and(|at| at > since) {
        Ok(holder.to_owned())
    } else {
        Err(spec.to_string())
    }
}

#[tokio::test]
async fn a_killed_controller_is_replaced_and_nothing_is_created_twice() -> Result<()> {
    let seed = u64::from(Timestamp::now().subsec_nanosecond().unsigned_abs());
    let result = kill_and_go_on(seed).await;
    result.with_context(|| format!("seed {seed}"))
}

async fn kill_and_go_on(seed: u64) -> Result<()> {
    let mut random = StdRng::seed_from_u64(seed);
    let binary = binary()?;
    let sandbox = Sandbox::new("failover").await?;
    let kubeconfig = sandbox.cluster.kubeconfig_for(&sandbox.controller(), Some("system:masters"))?;
    let log = sandbox.cluster.logs_dir().join("failover.log");
    let start = || Replica::start(&binary, &sandbox, &kubeconfig, &log);
    let mut leader = start()?;
    let began = Timestamp::now();
    let mut holders = vec![eventually("a leader", SOON, async || leading(&sandbox, began).await).await?];
    let mut standby = start()?;

    let names: Vec<String> = (0..ROLLOUTS).map(|index| format!("web-{index}")).collect();
    let steps = json!([{"setWeight": 20}, {"pause": {"duration": 1}}, {"setWeight": 60}]);
    try_join_all(names.iter().map(|name| {
        let (sandbox, manifest) = (&sandbox, canary(name, 5, steps.clone()));
        async move { sandbox.apply(&manifest).await }
    }))
    .await?;

    for round in 0..KILLS {
        // From the first round on there is an update under way whenever one is killed.
        let tag = format!("{}", round + 2);
        let patches = names.iter().map(|name| {
            let (sandbox, image) = (&sandbox, image(&tag));
            async move { sandbox.kubectl(&["patch", "rollout", name, "--type=json", "--patch", &image]).await }
        });
        try_join_all(patches).await?;
        let at = Duration::from_millis(random.random_range(0..1200));
        tokio::time::sleep(at).await;
        leader.kill().await?;
        let killed_at = Timestamp::now();
        leader = std::mem::replace(&mut standby, start()?);
        holders.push(eventually("the next leader", SOON, async || leading(&sandbox, killed_at).await).await?);
    }
    holders.dedup();
    // A busy machine can make a leader late, and so the standby the one that is killed.
    ensure!(holders.len() > KILLS / 2, "leadership hardly changed hands: {holders:?}");

    let last = KILLS + 1;
    for name in &names {
        until_done(&sandbox, name, last).await?;
    }
    // One ReplicaSet for each image that anybody saw, created once.
    let sets = sandbox.list(sandbox.replica_sets()).await.map_err(anyhow::Error::msg)?;
    let mut templates: Vec<(String, String)> = sets
        .iter()
        .map(|set| {
            let owner = set["metadata"]["ownerReferences"][0]["name"].as_str().unwrap_or_default();
            let image =
                set["spec"]["template"]["spec"]["containers"][0]["image"].as_str().unwrap_or_default();
            (owner.to_owned(), image.to_owned())
        })
        .collect();
    templates.sort();
    let count = templates.len();
    templates.dedup();
    ensure!(templates.len() == count, "two ReplicaSets of one template: {templates:#?}");
    // A creation that was on its way when its sender was killed may be carried out and never answered, for
    // which the log has 504.
    let mut names: BTreeSet<&str> = sets.iter().filter_map(|set| set["metadata"]["name"].as_str()).collect();
    let creations = eventually("the creations in the audit log", SOON, async || {
        let requests = sandbox.requests().map_err(text)?;
        let sent = requests.into_iter().filter(|entry| {
            entry.resource == "replicasets" && entry.verb == "create" && matches!(entry.code, 201 | 504)
        });
        let sent: Vec<_> = sent.collect();
        let missing: Vec<_> =
            names.iter().filter(|name| !sent.iter().any(|entry| entry.name == **name)).collect();
        if missing.is_empty() { Ok(sent) } else { Err(format!("not there: {missing:?}")) }
    })
    .await?;
    for created in creations.iter().filter(|entry| entry.code == 201) {
        ensure!(names.remove(created.name.as_str()), "{} was created twice, or is gone", created.name);
    }
    let lost = creations.iter().filter(|entry| entry.code == 504).count();
    ensure!(names.len() <= lost, "nobody created {names:?}");
    Ok(())
}

async fn until_done(sandbox: &Sandbox, name: &str, tag: usize) -> Result<()> {
    eventually(&format!("{name} to run image {tag} only"), SOON, async || {
        let rollout = serde_json::to_value(sandbox.rollouts().get(name).await.map_err(text)?).expect("JSON");
        let standing = sandbox.standing(name).await?;
        let revision = sluice_tests::simulation::revision(&rollout);
        let image = rollout["spec"]["template"]["spec"]["containers"][0]["image"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let expected = format!("{revision} | {revision}:5/5 | Healthy");
        if standing == expected && image.ends_with(&format!(":{tag}")) {
            Ok(())
        } else {
            Err(format!("{standing}, {image}"))
        }
    })
    .await?;
    Ok(())
}

//! `undo`

use std::io::Write;

use kube::api::ListParams;
use sluice_api::keys;

use crate::actions::{Action, patches};
use crate::api::{DEPLOYMENTS, Kind, POD_TEMPLATES, REPLICA_SETS, ROLLOUTS};
use crate::error::CommandError;
use crate::fields::{has_object, text};
use crate::kubeconfig::{self, Connection, KubeFlags};
use crate::revisions;

/// Undo a rollout
///
/// Brings back the pod template of the revision before the current one, or of the revision given. The
/// template of a referenced workload is changed in the workload.
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// Rollout to undo
    #[arg(value_name = "ROLLOUT")]
    name: String,
    /// Revision to go back to; 0 means the last one
    #[arg(long, value_name = "REVISION", default_value_t = 0, allow_negative_numbers = true)]
    to_revision: i64,
}

pub(crate) async fn run(
    arguments: &Arguments,
    flags: &KubeFlags,
    out: &mut dyn Write,
) -> Result<(), CommandError> {
    let name = &arguments.name;
    let Connection { api, namespace } = kubeconfig::connect(flags).await?;
    let rollout = api.get(ROLLOUTS, &namespace, name).await?;
    // Every ReplicaSet of a rollout carries the hash.
    let selection = ListParams::default().labels(keys::POD_TEMPLATE_HASH);
    let sets = api.list(REPLICA_SETS, Some(&namespace), &selection).await?.items;
    let (revision, set) = revisions::find(&rollout, &sets, arguments.to_revision)?;
    let (kind, name, pointer) = if has_object(&rollout, "/spec/workloadRef") {
        let (kind, pointer) = workload(text(&rollout, "/spec/workloadRef/kind"))?;
        (kind, text(&rollout, "/spec/workloadRef/name"), pointer)
    } else {
        if revisions::is_current(&rollout, set) {
            write!(out, "skipped rollback (current template already matches revision {revision})")?;
            return Ok(());
        }
        (ROLLOUTS, name.as_str(), "/spec/template")
    };
    let action = Action::UseTemplate { template: revisions::template(set), pointer };
    api.patch(kind, &namespace, name, &patches(&rollout, &action)?).await?;
    writeln!(out, "rollout '{}' undo", arguments.name)?;
    Ok(())
}

/// Where a workload has its template. Argo Rollouts v1.10 patches `/spec/template` of a PodTemplate too,
/// which has none.
fn workload(kind: &str) -> Result<(Kind, &'static str), CommandError> {
    match kind {
        "Deployment" => Ok((DEPLOYMENTS, "/spec/template")),
        "ReplicaSet" => Ok((REPLICA_SETS, "/spec/template")),
        "PodTemplate" => Ok((POD_TEMPLATES, "/template")),
        other => Err(CommandError::UnsupportedWorkload(other.to_owned())),
    }
}

//! One file per command: its flags, its calls, what it prints.
//!
//! What to write and what to show is decided elsewhere.

pub mod abort;
pub mod list;
pub mod pause;
pub mod promote;
pub mod restart;
pub mod resume;
pub mod retry;
pub mod set_image;
pub mod status;
pub mod undo;
pub mod version;

use std::io::Write;

use serde_json::Value;

use crate::actions::{Action, patches};
use crate::api::ROLLOUTS;
use crate::error::CommandError;
use crate::kubeconfig::{self, Connection, KubeFlags};

/// Whether an action depends on the rollout as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    First,
    No,
}

/// Does one action to each rollout, from left to right, and stops at the first that fails.
async fn act(
    names: &[String],
    action: &Action,
    look: Look,
    done: &str,
    flags: &KubeFlags,
    out: &mut dyn Write,
) -> Result<(), CommandError> {
    let Connection { api, namespace } = kubeconfig::connect(flags).await?;
    let mut said = Ok(());
    for name in names {
        let rollout = match look {
            Look::First => api.get(ROLLOUTS, &namespace, name).await?,
            Look::No => Value::Null,
        };
        api.patch(ROLLOUTS, &namespace, name, &patches(&rollout, action)?).await?;
        // A reader that went away is no reason to leave the other rollouts alone.
        said = said.and(writeln!(out, "rollout '{name}' {done}"));
    }
    Ok(said?)
}

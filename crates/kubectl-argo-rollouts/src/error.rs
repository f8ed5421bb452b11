//! Everything that can end a command.
//!
//! Decides the exit code and what to try next; the words come from where things went wrong.

use std::io;

use crate::actions::Refusal;
use crate::api::ApiError;
use crate::image::NoSuchContainer;
use crate::kubeconfig::NoCluster;
use crate::revisions::NoRevision;
use crate::status::Verdict;

/// Why a command did not end well.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// There is no cluster to talk to.
    #[error(transparent)]
    NoCluster(#[from] NoCluster),
    /// The cluster refused or did not answer.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// The wish makes no sense.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// There is nothing to go back to.
    #[error(transparent)]
    NoRevision(#[from] NoRevision),
    /// The container is not there.
    #[error(transparent)]
    NoSuchContainer(#[from] NoSuchContainer),
    /// The rollout is not where it should be.
    #[error(transparent)]
    Verdict(#[from] Verdict),
    /// Wording of Argo Rollouts for a rollout that its cache does not have.
    #[error("rollout.argoproj.io {0:?} not found")]
    RolloutNotFound(String),
    /// A `workloadRef` to something that has no pod template.
    #[error("workload of type {0} is not supported")]
    UnsupportedWorkload(String),
    /// A text that is no duration.
    #[error("--in: {0}")]
    BadDuration(String),
    /// Arguments that do not fit; the usage of this command says the rest.
    #[error("wrong arguments")]
    Usage(&'static [&'static str]),
    /// Output could not be written.
    #[error("output: {0}")]
    Output(#[from] io::Error),
}

impl CommandError {
    /// Whether the reader of our output went away, which is no trouble.
    pub fn is_broken_pipe(&self) -> bool {
        matches!(self, CommandError::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }

    /// What to try next.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            CommandError::NoCluster(NoCluster::NotConfigured(_)) => {
                Some("set KUBECONFIG, or give --kubeconfig or --server")
            }
            CommandError::NoCluster(NoCluster::NoContext(_)) => {
                Some("kubectl config get-contexts lists the contexts")
            }
            CommandError::Api(error) if error.is_unknown_kind() => {
                Some("are the CustomResourceDefinitions of Argo Rollouts installed in this cluster?")
            }
            _ => None,
        }
    }
}

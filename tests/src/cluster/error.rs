//! What can go wrong with a control plane, told so that the cause can be read off the message.

use std::{
    fmt,
    path::{Path, PathBuf},
    process::ExitStatus,
    time::Duration,
};

use super::Component;

/// Why a control plane did not start, or why something could not be done with it.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// Binaries are not where they should be.
    #[error("{} not found in {}: run `make test-tools`, or set SLUICE_TOOLS_DIR", .missing.join(", "), .dir.display())]
    ToolsMissing {
        /// Where they were looked for.
        dir: PathBuf,
        /// Their file names.
        missing: Vec<String>,
    },
    /// `build.sh --print-dir` did not say where the binaries are.
    #[error("{} --print-dir: {reason}", .script.display())]
    ToolsUnknown {
        /// The script that was asked.
        script: PathBuf,
        /// What it wrote to stderr, or why it could not be run.
        reason: String,
    },
    /// A file or a process of our own could not be handled.
    #[error("cannot {action}")]
    Io {
        /// What was tried, with the path or command.
        action: String,
        #[source]
        source: std::io::Error,
    },
    /// A key or a certificate could not be made.
    #[error("cannot make a certificate for {subject}")]
    Certificate {
        /// Whom it was for.
        subject: String,
        #[source]
        source: rcgen::Error,
    },
    /// A component ended, which it should do only when the control plane is dropped.
    #[error("{component} ended with {status}{log}")]
    Exited {
        /// Which one.
        component: Component,
        /// How it ended.
        status: ExitStatus,
        /// The end of its log.
        log: LogTail,
    },
    /// Something did not happen in time.
    #[error("{what} did not happen within {} s; last seen: {last_seen}{log}", .within.as_secs())]
    TimedOut {
        /// What was waited for.
        what: String,
        /// How long.
        within: Duration,
        /// What the last look showed instead.
        last_seen: String,
        /// The log that most likely says why.
        log: LogTail,
    },
    /// A client could not be made from a kubeconfig of ours.
    #[error("cannot make a client for {user}")]
    Client {
        /// Whose client.
        user: String,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The API server refused a request, or could not be reached.
    #[error("cannot {action}")]
    Api {
        /// What the request was for.
        action: String,
        #[source]
        source: Box<kube::Error>,
    },
    /// `kubectl` ran and reported failure.
    #[error("kubectl {arguments}: {status}: {stderr}")]
    Kubectl {
        /// What it was called with.
        arguments: String,
        /// How it ended.
        status: ExitStatus,
        /// What it said.
        stderr: String,
    },
}

impl ClusterError {
    /// True when another process took the API server's port between our finding and our using it.
    pub(super) fn is_port_clash(&self) -> bool {
        matches!(self, Self::Exited { log, .. } if log.lines.contains("address already in use"))
    }

    pub(super) fn io(action: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let action = action.into();
        move |source| Self::Io { action, source }
    }

    pub(super) fn api(action: impl Into<String>) -> impl FnOnce(kube::Error) -> Self {
        let action = action.into();
        move |source| Self::Api { action, source: Box::new(source) }
    }
}

/// The last lines of a component's log, and where the rest is. The default is for what has no log; it prints
/// nothing.
#[derive(Debug, Default)]
pub struct LogTail {
    path: PathBuf,
    lines: String,
}

impl LogTail {
    const LINES: usize = 12;
    const LINE_CHARS: usize = 400;

    /// Reads the end of the log at `path`; a log that cannot be read is as good as an empty one.
    pub(super) fn read(path: &Path) -> Self {
        let log = std::fs::read(path).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let all: Vec<&str> = log.lines().collect();
        let lines = all[all.len().saturating_sub(Self::LINES)..]
            .iter()
            .map(|line| line.chars().take(Self::LINE_CHARS).collect::<String>())
            .collect::<Vec<_>>()
            .join("\n");
        Self { path: path.to_owned(), lines }
    }
}

impl fmt::Display for LogTail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match (self.path.as_os_str().is_empty(), self.lines.is_empty()) {
            (true, _) => Ok(()),
            (false, true) => write!(f, "; its log {path} is empty"),
            (false, false) if super::keeps_files() => write!(f, "; the end of {path}:\n{}", self.lines),
            (false, false) => {
                write!(f, "; the end of {path} (set SLUICE_KEEP=1 to keep it):\n{}", self.lines)
            }
        }
    }
}

//! The processes of one control plane, none of which outlives it.
//!
//! Destructors do not run in a process that is killed with SIGKILL, so the end is not left to them. All
//! components are in one process group, and a small shell outside of it (the *cleaner*) reads from a pipe
//! whose other end is held by this process alone. However this process ends, the kernel closes its end; the
//! cleaner then kills the group and removes the folder.
//!
//! The group exists before its first component, because its leader (the *anchor*) is a `cat` on a second
//! such pipe. Thus there is no instant at which a component runs and the cleaner does not know of it.

use std::{
    ffi::OsString,
    fmt,
    fs::File,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use super::{ClusterError, error::LogTail};

/// A process that is part of a control plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Component {
    Etcd,
    ApiServer,
    ControllerManager,
    Scheduler,
    /// Plays the kubelets of all nodes.
    Kwok,
}

impl Component {
    /// The file name of its binary.
    pub fn binary(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::ApiServer => "kube-apiserver",
            Self::ControllerManager => "kube-controller-manager",
            Self::Scheduler => "kube-scheduler",
            Self::Kwok => "kwok",
        }
    }
}

impl fmt::Display for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.binary())
    }
}

/// Kills the process group `$1` and removes the folder `$2` (unless empty) when stdin ends. Killed processes
/// may take a moment to go and write until then, hence several attempts at the folder. (`kill -KILL -- -1234`
/// is not understood by every shell.)
const CLEANER: &str = r#"
cat >/dev/null
kill -s KILL -- "-$1" 2>/dev/null
[ -n "$2" ] || exit 0
for attempt in 1 2 3 4 5 6 7 8 9 10; do
    rm -rf -- "$2" 2>/dev/null && exit 0
    sleep 0.1
done
"#;

/// The process group of one control plane. Dropping it ends all its processes.
pub(super) struct ProcessGroup {
    anchor: Child,
    cleaner: Child,
    members: Vec<Member>,
    working_dir: PathBuf,
    logs_dir: PathBuf,
}

struct Member {
    component: Component,
    child: Child,
}

impl ProcessGroup {
    /// Begins a group whose components run in `working_dir` and log to `logs_dir`.
    ///
    /// `remove` is the folder to remove when this process has ended in whatever way.
    pub(super) fn new(
        working_dir: &Path,
        logs_dir: &Path,
        remove: Option<&Path>,
    ) -> Result<Self, ClusterError> {
        let anchor = Command::new("cat")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .map_err(ClusterError::io("start cat"))?;
        let cleaner = Command::new("sh")
            .args(["-c", CLEANER, "sluice-cluster-cleaner"])
            .arg(anchor.id().to_string())
            .arg(remove.map(Path::as_os_str).unwrap_or_default())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .map_err(ClusterError::io("start sh"))?;
        let (working_dir, logs_dir) = (working_dir.to_owned(), logs_dir.to_owned());
        Ok(Self { anchor, cleaner, members: Vec::new(), working_dir, logs_dir })
    }

    /// Starts a component as a member of the group.
    pub(super) fn start(
        &mut self,
        component: Component,
        binary: &Path,
        arguments: Vec<OsString>,
    ) -> Result<(), ClusterError> {
        let path = log_path(&self.logs_dir, component);
        let log = File::create(&path).map_err(ClusterError::io(format!("create {}", path.display())))?;
        let errors = log.try_clone().map_err(ClusterError::io("duplicate a file descriptor"))?;
        let group = i32::try_from(self.anchor.id()).expect("process ids fit in pid_t");
        let child = Command::new(binary)
            .args(arguments)
            .current_dir(&self.working_dir)
            // A person's kubeconfig and proxies are none of the components' business.
            .env_remove("KUBECONFIG")
            .envs(["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"].map(|name| (name, "")))
            .env("HOME", &self.working_dir)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .process_group(group)
            .spawn()
            .map_err(ClusterError::io(format!("start {}", binary.display())))?;
        self.members.push(Member { component, child });
        Ok(())
    }

    /// Fails when a component has ended.
    pub(super) fn check_running(&mut self) -> Result<(), ClusterError> {
        for Member { component, child } in &mut self.members {
            let ended = child.try_wait().map_err(ClusterError::io(format!("wait for {component}")))?;
            if let Some(status) = ended {
                let (component, log) = (*component, LogTail::read(&log_path(&self.logs_dir, *component)));
                return Err(ClusterError::Exited { component, status, log });
            }
        }
        Ok(())
    }

    /// The components and their process ids, in the order in which they were started.
    pub(super) fn ids(&self) -> Vec<(Component, u32)> {
        self.members.iter().map(|member| (member.component, member.child.id())).collect()
    }

    pub(super) fn log_tail(&self, component: Component) -> LogTail {
        LogTail::read(&log_path(&self.logs_dir, component))
    }
}

fn log_path(logs_dir: &Path, component: Component) -> PathBuf {
    logs_dir.join(format!("{component}.log"))
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        // What is dead already cannot be killed, and then there is nothing left to do either. Every child is
        // waited for, so that neither a process nor a port of this control plane is left when this returns.
        for member in &mut self.members {
            let _ = member.child.kill();
        }
        for member in &mut self.members {
            let _ = member.child.wait();
        }
        // `wait` closes the pipe first. The anchor goes last: until it is waited for, its id, by which the
        // cleaner knows the group, cannot become anybody else's.
        let _ = self.cleaner.wait();
        let _ = self.anchor.wait();
    }
}

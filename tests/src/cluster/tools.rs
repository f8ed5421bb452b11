//! Where the binaries of the control plane are. They are built by `tests/controlplane/build.sh`, not here.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use super::ClusterError;

/// The folder of this repository that pins the tools and holds kwok's stages.
pub(super) fn controlplane_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("controlplane")
}

/// A folder that holds every binary of [`Tools::NAMES`].
#[derive(Clone, Debug)]
pub(super) struct Tools {
    dir: PathBuf,
}

impl Tools {
    const NAMES: [&str; 6] =
        ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl", "kwok"];

    /// Finds the binaries in `SLUICE_TOOLS_DIR`, or else in the cache that `build.sh` fills.
    pub(super) fn find() -> Result<Self, ClusterError> {
        let dir = match env::var_os("SLUICE_TOOLS_DIR") {
            Some(dir) => PathBuf::from(dir),
            None => cache_dir()?,
        };
        let tools = Self { dir };
        let missing: Vec<String> = Self::NAMES
            .iter()
            .filter(|name| !tools.path(name).is_file())
            .map(|&name| name.to_owned())
            .collect();
        if missing.is_empty() {
            Ok(tools)
        } else {
            Err(ClusterError::ToolsMissing { dir: tools.dir, missing })
        }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

/// Asks `build.sh` for its folder, because the folder's name depends on what goes into the binaries.
fn cache_dir() -> Result<PathBuf, ClusterError> {
    let script = controlplane_dir().join("build.sh");
    let unknown = |reason: String| ClusterError::ToolsUnknown { script: script.clone(), reason };
    let output =
        Command::new(&script).arg("--print-dir").output().map_err(|error| unknown(error.to_string()))?;
    if !output.status.success() {
        return Err(unknown(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    Ok(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()))
}

//! The files and arguments that the components of one control plane are started with.

use std::{
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
};

use base64::{Engine, prelude::BASE64_STANDARD};

use super::{
    ClusterError, MASTERS, audit,
    pki::{Authority, Credentials, SigningKey},
    tools::controlplane_dir,
};

/// etcd listens on this socket in the working folder: no port that anybody else could take or find. The number
/// is part of the file's name, and there because etcd demands something like a port in every address.
const ETCD_SOCKET: &str = "unix://etcd.sock:1";
const ETCD_PEER_SOCKET: &str = "unix://etcd-peer.sock:1";

/// The files that the components are started with.
pub(super) struct Files {
    dir: PathBuf,
    pub(super) logs_dir: PathBuf,
    stages: PathBuf,
}

impl Files {
    pub(super) fn write(dir: &Path, port: u16, authority: &Authority) -> Result<Self, ClusterError> {
        let files = Self {
            dir: dir.to_owned(),
            logs_dir: dir.join("logs"),
            stages: controlplane_dir().join("stages"),
        };
        for folder in [&files.logs_dir, &dir.join("pki")] {
            std::fs::create_dir(folder).map_err(ClusterError::io(format!("create {}", folder.display())))?;
        }
        let server = authority.server(
            "kube-apiserver",
            &[
                "localhost",
                "kubernetes",
                "kubernetes.default",
                "kubernetes.default.svc",
                "127.0.0.1",
                "10.96.0.1",
            ],
        )?;
        let signing = SigningKey::new()?;
        for (name, content) in [
            ("pki/ca.crt", authority.certificate_pem.as_str()),
            ("pki/server.crt", &server.certificate_pem),
            ("pki/server.key", &server.key_pem),
            ("pki/service-accounts.key", &signing.private_pem),
            ("pki/service-accounts.pub", &signing.public_pem),
            ("audit-policy.yaml", audit::POLICY),
        ] {
            let path = dir.join(name);
            std::fs::write(&path, content).map_err(ClusterError::io(format!("write {}", path.display())))?;
        }
        for (name, user) in [
            ("kubeconfig", "admin"),
            ("controller-manager.kubeconfig", "system:kube-controller-manager"),
            ("scheduler.kubeconfig", "system:kube-scheduler"),
            ("kwok.kubeconfig", "kwok"),
        ] {
            write_kubeconfig(&dir.join(name), port, authority, user, Some(MASTERS))?;
        }
        Ok(files)
    }

    /// Builds `--flag=<path of a file of ours>`.
    fn argument(&self, flag: &str, name: &str) -> OsString {
        let mut argument = OsString::from(format!("--{flag}="));
        argument.push(self.dir.join(name));
        argument
    }

    pub(super) fn api_server_arguments(&self, port: u16, has_controllers: bool) -> Vec<OsString> {
        let mut arguments = plain([
            format!("--etcd-servers={ETCD_SOCKET}"),
            format!("--secure-port={port}"),
            "--bind-address=127.0.0.1".to_owned(),
            "--advertise-address=127.0.0.1".to_owned(),
            // The Service `kubernetes` cannot have a loopback address as its endpoint.
            "--endpoint-reconciler-type=none".to_owned(),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            "--service-cluster-ip-range=10.96.0.0/12".to_owned(),
            "--authorization-mode=RBAC".to_owned(),
            "--allow-privileged=true".to_owned(),
            // Never rotate: entries would be lost to whoever reads the file.
            "--audit-log-maxsize=100000".to_owned(),
        ]);
        arguments.extend([
            self.argument("tls-cert-file", "pki/server.crt"),
            self.argument("tls-private-key-file", "pki/server.key"),
            self.argument("client-ca-file", "pki/ca.crt"),
            self.argument("service-account-key-file", "pki/service-accounts.pub"),
            self.argument("service-account-signing-key-file", "pki/service-accounts.key"),
            self.argument("audit-policy-file", "audit-policy.yaml"),
            self.argument("audit-log-path", "logs/audit.log"),
        ]);
        if !has_controllers {
            // It admits no pod before somebody has made the namespace's service account.
            arguments.push("--disable-admission-plugins=ServiceAccount".into());
        }
        arguments
    }

    pub(super) fn controller_manager_arguments(&self) -> Vec<OsString> {
        let mut arguments = plain([
            "--leader-elect=false",
            "--secure-port=0",
            "--kube-api-qps=500",
            "--kube-api-burst=1000",
            "--concurrent-replicaset-syncs=20",
        ]);
        arguments.extend([
            self.argument("kubeconfig", "controller-manager.kubeconfig"),
            self.argument("service-account-private-key-file", "pki/service-accounts.key"),
            self.argument("root-ca-file", "pki/ca.crt"),
        ]);
        arguments
    }

    pub(super) fn scheduler_arguments(&self) -> Vec<OsString> {
        let mut arguments =
            plain(["--leader-elect=false", "--secure-port=0", "--kube-api-qps=500", "--kube-api-burst=1000"]);
        arguments.push(self.argument("kubeconfig", "scheduler.kubeconfig"));
        arguments
    }

    pub(super) fn kwok_arguments(&self, pod_cidr: &str) -> Result<Vec<OsString>, ClusterError> {
        let mut arguments = plain([
            "--manage-all-nodes=true",
            "--node-ip=127.0.0.1",
            // Without leases the nodes turn NotReady after 40 s.
            "--node-lease-duration-seconds=40",
        ]);
        arguments.push(format!("--cidr={pod_cidr}").into());
        arguments.push(self.argument("kubeconfig", "kwok.kubeconfig"));
        let unreadable = || ClusterError::io(format!("read {}", self.stages.display()));
        for entry in std::fs::read_dir(&self.stages).map_err(unreadable())? {
            let path = entry.map_err(unreadable())?.path();
            if path.extension() == Some(OsStr::new("yaml")) {
                arguments.extend(["--config".into(), path.into_os_string()]);
            }
        }
        Ok(arguments)
    }
}

pub(super) fn etcd_arguments() -> Vec<OsString> {
    plain([
        "--name=default".to_owned(),
        "--data-dir=etcd".to_owned(),
        // The data is worth nothing after a crash, and waiting for the disk is most of a write's time.
        "--unsafe-no-fsync".to_owned(),
        format!("--listen-client-urls={ETCD_SOCKET}"),
        format!("--advertise-client-urls={ETCD_SOCKET}"),
        format!("--listen-peer-urls={ETCD_PEER_SOCKET}"),
        format!("--initial-advertise-peer-urls={ETCD_PEER_SOCKET}"),
        format!("--initial-cluster=default={ETCD_PEER_SOCKET}"),
    ])
}

fn plain<const N: usize>(arguments: [impl Into<OsString>; N]) -> Vec<OsString> {
    arguments.map(Into::into).into()
}

pub(super) fn server_url(port: u16) -> String {
    format!("https://127.0.0.1:{port}")
}

pub(super) fn kubeconfig(port: u16, authority: &Authority, credentials: &Credentials) -> serde_json::Value {
    let encode = |pem: &str| BASE64_STANDARD.encode(pem);
    serde_json::json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "sluice", "cluster": {
            "server": server_url(port),
            "certificate-authority-data": encode(&authority.certificate_pem),
        }}],
        "users": [{"name": "sluice", "user": {
            "client-certificate-data": encode(&credentials.certificate_pem),
            "client-key-data": encode(&credentials.key_pem),
        }}],
        "contexts": [{"name": "sluice", "context": {"cluster": "sluice", "user": "sluice"}}],
        "current-context": "sluice",
    })
}

pub(super) fn write_kubeconfig(
    path: &Path,
    port: u16,
    authority: &Authority,
    user: &str,
    group: Option<&str>,
) -> Result<(), ClusterError> {
    let content = kubeconfig(port, authority, &authority.client(user, group)?);
    std::fs::write(path, format!("{content:#}\n"))
        .map_err(ClusterError::io(format!("write {}", path.display())))
}

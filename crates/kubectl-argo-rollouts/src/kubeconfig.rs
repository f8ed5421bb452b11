//! Which cluster to talk to, as whom, and in which namespace.
//!
//! The flags and their order of precedence are kubectl's: flags, then the kubeconfig, then the service
//! account of the pod that this runs in. Caches, log levels and the like are taken and have no effect.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use http::HeaderValue;
use kube::config::{
    AuthInfo, Cluster, Context, InClusterError, KubeConfigOptions, Kubeconfig, KubeconfigError,
    NamedAuthInfo, NamedCluster, NamedContext,
};
use kube::{Client, Config};
use sluice_lang::go_duration;

use crate::api::Api;
use crate::cli::go_bool;

const USER_AGENT: &str = concat!("kubectl-argo-rollouts/v", env!("CARGO_PKG_VERSION"));

/// The flags that kubectl and its plugins share.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Kubernetes options")]
pub struct KubeFlags {
    /// Username to impersonate for the operation
    #[arg(long = "as", global = true, value_name = "USER")]
    pub as_user: Option<String>,
    /// Group to impersonate for the operation, may be repeated
    #[arg(long, global = true, value_name = "GROUP")]
    pub as_group: Vec<String>,
    /// UID to impersonate for the operation
    #[arg(long, global = true, value_name = "UID")]
    pub as_uid: Option<String>,
    /// Taken for compatibility; nothing is cached
    #[arg(long, global = true, value_name = "DIRECTORY")]
    pub cache_dir: Option<PathBuf>,
    /// Path to a cert file for the certificate authority
    #[arg(long, global = true, value_name = "FILE")]
    pub certificate_authority: Option<String>,
    /// Path to a client certificate file for TLS
    #[arg(long, global = true, value_name = "FILE")]
    pub client_certificate: Option<String>,
    /// Path to a client key file for TLS
    #[arg(long, global = true, value_name = "FILE")]
    pub client_key: Option<String>,
    /// Name of the kubeconfig cluster to use
    #[arg(long, global = true, value_name = "NAME")]
    pub cluster: Option<String>,
    /// Name of the kubeconfig context to use
    #[arg(long, global = true, value_name = "NAME")]
    pub context: Option<String>,
    /// Ask the server for uncompressed answers
    #[arg(long, global = true, value_name = "BOOL", num_args = 0..=1, require_equals = true,
        default_missing_value = "true", value_parser = go_bool, hide_possible_values = true)]
    pub disable_compression: Option<bool>,
    /// Do not check the server's certificate; this makes the connection insecure
    #[arg(long, global = true, value_name = "BOOL", num_args = 0..=1, require_equals = true,
        default_missing_value = "true", value_parser = go_bool, hide_possible_values = true)]
    pub insecure_skip_tls_verify: Option<bool>,
    /// Path to the kubeconfig file
    #[arg(long, global = true, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Namespace of the request
    #[arg(short, long, global = true)]
    pub namespace: Option<String>,
    /// How long a single request may take, such as 5s or 1m; 0 means without end
    #[arg(long, global = true, value_name = "DURATION", default_value = "0", value_parser = request_timeout)]
    pub request_timeout: Option<std::time::Duration>,
    /// Address and port of the Kubernetes API server
    #[arg(short, long, global = true, value_name = "URL")]
    pub server: Option<String>,
    /// Server name to check the server's certificate against
    #[arg(long, global = true, value_name = "NAME")]
    pub tls_server_name: Option<String>,
    /// Bearer token for the API server
    #[arg(long, global = true)]
    pub token: Option<String>,
    /// Name of the kubeconfig user to use
    #[arg(long, global = true, value_name = "NAME")]
    pub user: Option<String>,
    /// Taken for compatibility; nothing is logged
    #[arg(short = 'v', long, global = true, value_name = "LEVEL")]
    pub kloglevel: Option<i64>,
    /// Taken for compatibility; nothing is logged
    #[arg(long, global = true, value_name = "LEVEL")]
    pub loglevel: Option<String>,
}

/// Reads a number of seconds or a duration.
fn request_timeout(text: &str) -> Result<Duration, String> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let parsed = if digits { text.parse().ok().map(Duration::from_secs) } else { None };
    let parsed = parsed.or_else(|| Duration::try_from(go_duration::parse(text).ok()?).ok());
    parsed.ok_or_else(|| {
        "a timeout is a whole number of seconds, or a number with a unit such as 1s, 2m or 3h".to_owned()
    })
}

/// Why there is no cluster to talk to.
#[derive(Debug, thiserror::Error)]
pub enum NoCluster {
    /// The kubeconfig has no such context.
    #[error("context {0:?} does not exist")]
    NoContext(String),
    /// The kubeconfig has no such cluster.
    #[error("cluster {0:?} does not exist")]
    NoSuchCluster(String),
    /// The kubeconfig has no such user.
    #[error("auth info {0:?} does not exist")]
    NoUser(String),
    /// There is no kubeconfig, no address, and no service account.
    #[error("no cluster is configured")]
    NotConfigured(#[source] InClusterError),
    /// Trust in one certificate authority and in everybody.
    #[error("specifying a root certificates file with the insecure flag is not allowed")]
    CertificateAndInsecure,
    /// The kubeconfig cannot be read or used.
    #[error("kubeconfig: {0}")]
    Kubeconfig(#[from] KubeconfigError),
    /// The connection cannot be set up.
    #[error("connection to {server}: {source}")]
    Client {
        /// Address of the API server.
        server: String,
        /// What the client says.
        source: Box<kube::Error>,
    },
}

/// A connection and the namespace that names belong to.
pub struct Connection {
    /// Requests.
    pub api: Api,
    /// `-n`, or the context's namespace, or `default`.
    pub namespace: String,
}

/// Opens the connection that `flags` ask for. Nothing is sent yet.
pub async fn connect(flags: &KubeFlags) -> Result<Connection, NoCluster> {
    // Fails only if there is a provider already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let file = read(flags.kubeconfig.as_deref())?;
    let mut config = match effective(&file, flags)? {
        Some(effective) => Config::from_custom_kubeconfig(effective, &KubeConfigOptions::default()).await?,
        None => in_cluster(flags)?,
    };
    config.headers.push((http::header::USER_AGENT, HeaderValue::from_static(USER_AGENT)));
    let namespace = flags.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
    let namespace = if namespace.is_empty() { "default".to_owned() } else { namespace };
    let server = config.cluster_url.to_string();
    let timeout = flags.request_timeout.filter(|timeout| !timeout.is_zero());
    let client = Client::try_from(config)
        .map_err(|source| NoCluster::Client { server: server.clone(), source: Box::new(source) })?;
    Ok(Connection { api: Api::new(client, server, timeout), namespace })
}

fn in_cluster(flags: &KubeFlags) -> Result<Config, NoCluster> {
    let mut config = Config::incluster().map_err(NoCluster::NotConfigured)?;
    override_user(&mut config.auth_info, flags);
    config.accept_invalid_certs |= flags.insecure_skip_tls_verify.unwrap_or_default();
    config.disable_compression |= flags.disable_compression.unwrap_or_default();
    config.tls_server_name = flags.tls_server_name.clone().or(config.tls_server_name);
    Ok(config)
}

/// Reads one file, or all that `KUBECONFIG` names, or the one in the home directory. Only a file that was
/// asked for by flag has to exist.
fn read(file: Option<&Path>) -> Result<Kubeconfig, KubeconfigError> {
    if let Some(file) = file {
        return Kubeconfig::read_from(file);
    }
    let files: Vec<PathBuf> = match std::env::var_os("KUBECONFIG").filter(|list| !list.is_empty()) {
        Some(list) => std::env::split_paths(&list).collect(),
        None => std::env::home_dir().map(|home| home.join(".kube/config")).into_iter().collect(),
    };
    let mut merged = Kubeconfig::default();
    for file in files.iter().filter(|file| file.exists()) {
        merged = merged.merge(Kubeconfig::read_from(file)?)?;
    }
    Ok(merged)
}

/// Returns a kubeconfig with one context, in which the flags have had their say; none if nothing names a
/// server.
pub fn effective(file: &Kubeconfig, flags: &KubeFlags) -> Result<Option<Kubeconfig>, NoCluster> {
    let context_name =
        flags.context.as_ref().or(file.current_context.as_ref()).filter(|name| !name.is_empty());
    let context = match context_name {
        None => None,
        Some(name) => {
            let named = file.contexts.iter().find(|context| context.name == *name);
            Some(
                named
                    .and_then(|named| named.context.clone())
                    .ok_or_else(|| NoCluster::NoContext(name.clone()))?,
            )
        }
    };
    let of_context =
        |pick: fn(&Context) -> Option<&String>| context.as_ref().and_then(pick).filter(|n| !n.is_empty());
    let cluster = match flags.cluster.as_ref().or(of_context(|context| Some(&context.cluster))) {
        None => None,
        Some(name) => {
            let named = file.clusters.iter().find(|cluster| cluster.name == *name);
            Some(
                named
                    .and_then(|named| named.cluster.clone())
                    .ok_or_else(|| NoCluster::NoSuchCluster(name.clone()))?,
            )
        }
    };
    let user = match flags.user.as_ref().or(of_context(|context| context.user.as_ref())) {
        None => AuthInfo::default(),
        Some(name) => {
            let named = file.auth_infos.iter().find(|user| user.name == *name);
            named.and_then(|named| named.auth_info.clone()).ok_or_else(|| NoCluster::NoUser(name.clone()))?
        }
    };
    if cluster.is_none() && flags.server.is_none() {
        return Ok(None);
    }
    let (mut cluster, mut user) = (cluster.unwrap_or_default(), user);
    override_cluster(&mut cluster, flags)?;
    override_user(&mut user, flags);

    const NAME: &str = "effective";
    let namespace = context.and_then(|context| context.namespace);
    let context = Context {
        cluster: NAME.into(),
        user: Some(NAME.into()),
        namespace,
        extensions: None,
        other: file.other.clone(),
    };
    Ok(Some(Kubeconfig {
        clusters: vec![NamedCluster { name: NAME.into(), cluster: Some(cluster), ..NamedCluster::default() }],
        auth_infos: vec![NamedAuthInfo {
            name: NAME.into(),
            auth_info: Some(user),
            ..NamedAuthInfo::default()
        }],
        contexts: vec![NamedContext { name: NAME.into(), context: Some(context), ..NamedContext::default() }],
        current_context: Some(NAME.into()),
        ..Kubeconfig::default()
    }))
}

fn override_cluster(cluster: &mut Cluster, flags: &KubeFlags) -> Result<(), NoCluster> {
    let is_insecure = flags.insecure_skip_tls_verify == Some(true);
    if is_insecure && flags.certificate_authority.is_some() {
        return Err(NoCluster::CertificateAndInsecure);
    }
    if let Some(server) = &flags.server {
        let has_scheme = server.contains("://");
        cluster.server = Some(if has_scheme { server.clone() } else { format!("http://{server}") });
    }
    if is_insecure {
        (cluster.certificate_authority, cluster.certificate_authority_data) = (None, None);
    }
    if let Some(file) = &flags.certificate_authority {
        (cluster.certificate_authority, cluster.certificate_authority_data) = (Some(file.clone()), None);
        cluster.insecure_skip_tls_verify = None;
    }
    cluster.insecure_skip_tls_verify = flags.insecure_skip_tls_verify.or(cluster.insecure_skip_tls_verify);
    cluster.disable_compression = flags.disable_compression.or(cluster.disable_compression);
    cluster.tls_server_name = flags.tls_server_name.clone().or(cluster.tls_server_name.take());
    Ok(())
}

fn override_user(user: &mut AuthInfo, flags: &KubeFlags) {
    if let Some(token) = &flags.token {
        // A token that was given goes before every other way of getting one.
        user.token = Some(token.clone().into());
        (user.token_file, user.username, user.password) = (None, None, None);
        (user.exec, user.auth_provider) = (None, None);
    }
    if let Some(file) = &flags.client_certificate {
        (user.client_certificate, user.client_certificate_data) = (Some(file.clone()), None);
    }
    if let Some(file) = &flags.client_key {
        (user.client_key, user.client_key_data) = (Some(file.clone()), None);
    }
    if let Some(name) = &flags.as_user {
        user.impersonate = Some(name.clone());
    }
    if let Some(uid) = &flags.as_uid {
        user.impersonate_uid = Some(uid.clone());
    }
    if !flags.as_group.is_empty() {
        user.impersonate_groups = Some(flags.as_group.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "
apiVersion: v1
kind: Config
current-context: one
clusters:
- {name: a, cluster: {server: 'https://a', certificate-authority-data: YQ==}}
- {name: b, cluster: {server: 'https://b', insecure-skip-tls-verify: true}}
users:
- {name: ann, user: {username: ann, password: secret, tokenFile: /t}}
- {name: bob, user: {client-certificate-data: YQ==, client-key-data: YQ==}}
contexts:
- {name: one, context: {cluster: a, user: ann, namespace: shop}}
- {name: two, context: {cluster: b, user: bob}}
- {name: lost, context: {cluster: nowhere, user: ann}}
";

    fn flags(change: impl FnOnce(&mut KubeFlags)) -> KubeFlags {
        let mut flags = KubeFlags::default();
        change(&mut flags);
        flags
    }

    /// Server, user and namespace in one line.
    fn outcome(file: &str, flags: &KubeFlags) -> String {
        let file = Kubeconfig::from_yaml(file).expect("a kubeconfig");
        match effective(&file, flags) {
            Err(error) => error.to_string(),
            Ok(None) => "none".to_owned(),
            Ok(Some(config)) => {
                let cluster = config.clusters[0].cluster.clone().unwrap_or_default();
                let user = config.auth_infos[0].auth_info.clone().unwrap_or_default();
                let context = config.contexts[0].context.clone().unwrap_or_default();
                let who = user.username.or(user.client_certificate).or(user.client_certificate_data);
                let token = if user.token.is_some() { "token" } else { "-" };
                let who = who.unwrap_or_else(|| token.to_owned());
                let namespace = context.namespace.unwrap_or_else(|| "-".to_owned());
                format!("{} {who} {namespace}", cluster.server.unwrap_or_default())
            }
        }
    }

    #[test]
    fn flags_go_before_the_file() {
        let text = |value: &str| Some(value.to_owned());
        // file, flags => outcome
        for (file, flags, expected) in [
            (FILE, flags(|_| {}), "https://a ann shop"),
            (FILE, flags(|f| f.context = text("two")), "https://b YQ== -"),
            (FILE, flags(|f| f.cluster = text("b")), "https://b ann shop"),
            (FILE, flags(|f| f.user = text("bob")), "https://a YQ== shop"),
            (FILE, flags(|f| f.server = text("https://c:6443")), "https://c:6443 ann shop"),
            (FILE, flags(|f| f.server = text("localhost:8080")), "http://localhost:8080 ann shop"),
            (FILE, flags(|f| f.token = text("t")), "https://a token shop"),
            (
                FILE,
                flags(|f| {
                    f.user = text("bob");
                    f.client_certificate = text("/c");
                }),
                "https://a /c shop",
            ),
            (FILE, flags(|f| f.context = text("three")), "context \"three\" does not exist"),
            (FILE, flags(|f| f.context = text("lost")), "cluster \"nowhere\" does not exist"),
            (FILE, flags(|f| f.cluster = text("c")), "cluster \"c\" does not exist"),
            (FILE, flags(|f| f.user = text("eve")), "auth info \"eve\" does not exist"),
            ("{}", flags(|_| {}), "none"),
            ("{}", flags(|f| f.server = text("https://c")), "https://c - -"),
        ] {
            assert_eq!(outcome(file, &flags), expected, "{flags:?}");
        }
    }

    #[test]
    fn trust() {
        let file = Kubeconfig::from_yaml(FILE).expect("a kubeconfig");
        let cluster = |flags: &KubeFlags| {
            let config = effective(&file, flags)?.expect("a cluster");
            let cluster = config.clusters[0].cluster.clone().unwrap_or_default();
            let authority = cluster.certificate_authority.or(cluster.certificate_authority_data);
            Ok::<_, NoCluster>((authority, cluster.insecure_skip_tls_verify))
        };
        let authority = |f: &mut KubeFlags| f.certificate_authority = Some("/ca".into());
        let insecure = |f: &mut KubeFlags| f.insecure_skip_tls_verify = Some(true);
        assert_eq!(cluster(&flags(|_| {})).ok(), Some((Some("YQ==".into()), None)));
        assert_eq!(cluster(&flags(authority)).ok(), Some((Some("/ca".into()), None)));
        assert_eq!(cluster(&flags(insecure)).ok(), Some((None, Some(true))));
        let both = cluster(&flags(|f| {
            authority(f);
            insecure(f);
        }));
        assert!(matches!(both, Err(NoCluster::CertificateAndInsecure)));
    }

    #[test]
    fn impersonation() {
        let mut user = AuthInfo::default();
        override_user(
            &mut user,
            &flags(|f| {
                f.as_user = Some("ann".into());
                f.as_uid = Some("7".into());
                f.as_group = vec!["x".into(), "y".into()];
            }),
        );
        assert_eq!(user.impersonate.as_deref(), Some("ann"));
        assert_eq!(user.impersonate_uid.as_deref(), Some("7"));
        assert_eq!(user.impersonate_groups, Some(vec!["x".into(), "y".into()]));
    }

    #[test]
    fn timeouts() {
        for (text, milliseconds) in [
            ("0", Some(0)),
            ("5", Some(5000)),
            ("5s", Some(5000)),
            ("1m30s", Some(90_000)),
            ("250ms", Some(250)),
            ("-1s", None),
            ("soon", None),
            ("", None),
        ] {
            assert_eq!(request_timeout(text).ok(), milliseconds.map(Duration::from_millis), "{text}");
        }
    }
}

//! How to reach the API server: kubectl's rules for files, flags and service accounts.
//!
//! A kubeconfig that was named, else the one of `KUBECONFIG`, else the one of the home directory, else
//! the service account of the pod; then the flags on top.

use super::KubeFlags;
use kube::config::{
    AuthInfo, Cluster, Config, Context, InClusterError, KubeConfigOptions, Kubeconfig, KubeconfigError,
    NamedAuthInfo, NamedCluster, NamedContext,
};
use std::path::PathBuf;

/// Why the API server cannot be reached, before anything was tried.
#[derive(Debug, thiserror::Error)]
pub enum ClientConfigError {
    /// `--kubeconfig` names a file that cannot be used.
    #[error("kubeconfig {path}: {source}")]
    Kubeconfig {
        /// What was named.
        path: String,
        /// What is wrong with it.
        source: KubeconfigError,
    },
    /// The kubeconfig that was found by itself cannot be used.
    #[error("kubeconfig: {0}")]
    FoundKubeconfig(#[source] KubeconfigError),
    /// Neither a kubeconfig nor a service account.
    #[error(
        "no API server: no kubeconfig was found and this is not a pod ({0}); give --kubeconfig or --server"
    )]
    NowhereToGo(#[source] InClusterError),
    /// `--context` and the like need a kubeconfig.
    #[error("flag --{0} needs a kubeconfig, and none was found")]
    NoKubeconfigFor(&'static str),
    /// A value of a flag that is not a URL.
    #[error("flag --{flag} is {value:?}, must be a URL")]
    NotAUrl {
        /// Which flag.
        flag: &'static str,
        /// What it was given.
        value: String,
    },
}

impl KubeFlags {
    /// Finds out how to reach the API server.
    ///
    /// # Errors
    /// [`ClientConfigError`] says which file or flag is to be looked at.
    pub async fn client_config(&self) -> Result<Config, ClientConfigError> {
        for (flag, value) in [("server", &self.server), ("proxy-url", &self.proxy_url)] {
            if let Some(value) = value
                && value.parse::<http::Uri>().ok().and_then(|url| url.scheme().cloned()).is_none()
            {
                return Err(ClientConfigError::NotAUrl { flag, value: value.clone() });
            }
        }
        let mut config = match self.kubeconfig()? {
            Some(kubeconfig) => self.with_kubeconfig(kubeconfig).await?,
            None => self.with_service_account()?,
        };
        if let Some(namespace) = &self.namespace {
            config.default_namespace.clone_from(namespace);
        }
        if !self.request_timeout.is_zero() {
            config.connect_timeout = Some(self.request_timeout);
            config.write_timeout = Some(self.request_timeout);
        }
        Ok(config)
    }

    fn kubeconfig(&self) -> Result<Option<Kubeconfig>, ClientConfigError> {
        if let Some(path) = &self.kubeconfig {
            let read = Kubeconfig::read_from(path);
            return read
                .map(Some)
                .map_err(|source| ClientConfigError::Kubeconfig { path: path.clone(), source });
        }
        if let Some(named) = Kubeconfig::from_env().map_err(ClientConfigError::FoundKubeconfig)? {
            return Ok(Some(named));
        }
        let at_home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".kube/config"));
        if let Some(path) = at_home.filter(|path| path.exists()) {
            return Kubeconfig::read_from(path).map(Some).map_err(ClientConfigError::FoundKubeconfig);
        }
        Ok(self.server.as_ref().map(|_| Kubeconfig::default()))
    }

    async fn with_kubeconfig(&self, mut kubeconfig: Kubeconfig) -> Result<Config, ClientConfigError> {
        let name = self.override_context(&mut kubeconfig);
        let options = KubeConfigOptions { context: Some(name), cluster: None, user: None };
        let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
        config.map_err(|source| match &self.kubeconfig {
            Some(path) => ClientConfigError::Kubeconfig { path: path.clone(), source },
            None => ClientConfigError::FoundKubeconfig(source),
        })
    }

    /// Puts the flags into a context of their own and returns its name. A context, cluster or user
    /// that is not there is left for the loader to complain about.
    fn override_context(&self, kubeconfig: &mut Kubeconfig) -> String {
        let chosen = self.context.clone().or_else(|| kubeconfig.current_context.clone());
        let found = kubeconfig.contexts.iter().find(|context| Some(&context.name) == chosen.as_ref());
        let is_given = self.server.is_some() || self.cluster.is_some();
        let context = match (found.and_then(|found| found.context.clone()), chosen) {
            (Some(context), _) => context,
            (None, Some(chosen)) if self.context.is_some() || !is_given => return chosen,
            (None, _) => Context::default(),
        };
        let cluster = self.cluster.clone().unwrap_or_else(|| context.cluster.clone());
        let user = self.user.clone().or_else(|| context.user.clone());
        let known_cluster = kubeconfig.clusters.iter().find(|named| named.name == cluster);
        let known_cluster = known_cluster.and_then(|named| named.cluster.clone());
        if known_cluster.is_none() && self.server.is_none() {
            return self.context.clone().or_else(|| kubeconfig.current_context.clone()).unwrap_or(cluster);
        }
        let known_user = kubeconfig.auth_infos.iter().find(|named| Some(&named.name) == user.as_ref());
        let known_user = known_user.and_then(|named| named.auth_info.clone());

        let name = "from the command line".to_owned();
        let cluster = self.override_cluster(known_cluster.unwrap_or_default());
        let user = self.override_user(known_user.unwrap_or_default());
        kubeconfig.clusters.push(NamedCluster {
            name: name.clone(),
            cluster: Some(cluster),
            ..Default::default()
        });
        kubeconfig.auth_infos.push(NamedAuthInfo {
            name: name.clone(),
            auth_info: Some(user),
            ..Default::default()
        });
        let context = Context { cluster: name.clone(), user: Some(name.clone()), ..context };
        kubeconfig.contexts.push(NamedContext {
            name: name.clone(),
            context: Some(context),
            ..Default::default()
        });
        name
    }

    fn override_cluster(&self, mut cluster: Cluster) -> Cluster {
        fn set(field: &mut Option<String>, flag: Option<&String>) {
            if let Some(flag) = flag {
                *field = Some(flag.clone());
            }
        }
        set(&mut cluster.server, self.server.as_ref());
        set(&mut cluster.tls_server_name, self.tls_server_name.as_ref());
        set(&mut cluster.proxy_url, self.proxy_url.as_ref());
        if self.certificate_authority.is_some() {
            cluster.certificate_authority_data = None;
        }
        set(&mut cluster.certificate_authority, self.certificate_authority.as_ref());
        if self.insecure_skip_tls_verify {
            cluster.insecure_skip_tls_verify = Some(true);
        }
        if self.disable_compression {
            cluster.disable_compression = Some(true);
        }
        cluster
    }

    fn override_user(&self, mut user: AuthInfo) -> AuthInfo {
        if let Some(token) = &self.token {
            // What was given by hand wins over what would fetch or derive something.
            user = AuthInfo { impersonate: user.impersonate, ..AuthInfo::default() };
            user.token = Some(token.expose().clone().into());
        }
        if let Some(username) = &self.username {
            user.username = Some(username.clone());
        }
        if let Some(password) = &self.password {
            user.password = Some(password.expose().clone().into());
        }
        if let Some(path) = &self.client_certificate {
            user.client_certificate = Some(path.clone());
            user.client_certificate_data = None;
        }
        if let Some(path) = &self.client_key {
            user.client_key = Some(path.clone());
            user.client_key_data = None;
        }
        if let Some(name) = &self.impersonate {
            user.impersonate = Some(name.clone());
        }
        if let Some(uid) = &self.impersonate_uid {
            user.impersonate_uid = Some(uid.clone());
        }
        if !self.impersonate_groups.is_empty() {
            user.impersonate_groups = Some(self.impersonate_groups.clone());
        }
        user
    }

    fn with_service_account(&self) -> Result<Config, ClientConfigError> {
        for (flag, value) in [("context", &self.context), ("cluster", &self.cluster), ("user", &self.user)] {
            if value.is_some() {
                return Err(ClientConfigError::NoKubeconfigFor(flag));
            }
        }
        let mut config = Config::incluster().map_err(ClientConfigError::NowhereToGo)?;
        config.auth_info = self.override_user(config.auth_info);
        config.accept_invalid_certs |= self.insecure_skip_tls_verify;
        config.disable_compression |= self.disable_compression;
        if let Some(name) = &self.tls_server_name {
            config.tls_server_name = Some(name.clone());
        }
        if let Some(url) = self.proxy_url.as_ref().and_then(|url| url.parse().ok()) {
            config.proxy_url = Some(url);
        }
        if let Some(path) = &self.certificate_authority {
            config.root_cert = None;
            config.root_cert_file = Some(path.into());
        }
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const FILE: &str = "
apiVersion: v1
kind: Config
current-context: main
contexts:
- {name: main, context: {cluster: main, user: me, namespace: home}}
- {name: other, context: {cluster: other, user: me}}
- {name: broken, context: {cluster: nowhere, user: me}}
clusters:
- {name: main, cluster: {server: 'https://main:6443'}}
- {name: other, cluster: {server: 'https://other:6443', proxy-url: 'http://proxy:3128'}}
users:
- {name: me, user: {username: jane, password: hunter2}}
";

    async fn config(flags: &KubeFlags) -> Result<Config, ClientConfigError> {
        let kubeconfig = Kubeconfig::from_yaml(FILE).expect("a kubeconfig");
        flags.with_kubeconfig(kubeconfig).await
    }

    #[tokio::test]
    async fn flags_win_over_the_kubeconfig() {
        let plain = config(&KubeFlags::default()).await.expect("the current context");
        assert_eq!(
            (plain.cluster_url.to_string().as_str(), plain.default_namespace.as_str()),
            ("https://main:6443/", "home")
        );
        assert_eq!(plain.auth_info.username.as_deref(), Some("jane"));
        let other = KubeFlags { context: Some("other".to_owned()), ..KubeFlags::default() };
        let other = config(&other).await.expect("the other context");
        assert_eq!(other.cluster_url.host(), Some("other"));
        assert_eq!(other.proxy_url.map(|url| url.to_string()).as_deref(), Some("http://proxy:3128/"));
        let cluster = KubeFlags { cluster: Some("other".to_owned()), ..KubeFlags::default() };
        let cluster = config(&cluster).await.expect("the other cluster");
        assert_eq!((cluster.cluster_url.host(), cluster.default_namespace.as_str()), (Some("other"), "home"));
        let all = KubeFlags {
            server: Some("https://elsewhere".to_owned()),
            token: Some(crate::logging::Secret::new("hunter3".to_owned())),
            impersonate: Some("admin".to_owned()),
            impersonate_groups: vec!["a".to_owned()],
            impersonate_uid: Some("7".to_owned()),
            insecure_skip_tls_verify: true,
            tls_server_name: Some("name".to_owned()),
            ..KubeFlags::default()
        };
        let all = config(&all).await.expect("all flags");
        assert_eq!(all.cluster_url.host(), Some("elsewhere"));
        assert!(all.accept_invalid_certs && all.tls_server_name.as_deref() == Some("name"));
        let user = all.auth_info;
        assert!(user.token.is_some() && user.username.is_none(), "a token replaces other credentials");
        assert_eq!(
            (user.impersonate, user.impersonate_groups),
            (Some("admin".to_owned()), Some(vec!["a".to_owned()]))
        );
        assert_eq!(user.impersonate_uid, Some("7".to_owned()));
    }

    #[tokio::test]
    async fn what_is_missing_is_named() {
        for (flags, part) in [
            (KubeFlags { context: Some("no-such".to_owned()), ..KubeFlags::default() }, "no-such"),
            (KubeFlags { context: Some("broken".to_owned()), ..KubeFlags::default() }, "nowhere"),
        ] {
            let error = config(&flags).await.expect_err(part);
            let chain = format!("{error} {error:?}");
            assert!(chain.contains(part), "{chain}");
        }
        for (flags, message) in [
            (
                KubeFlags { kubeconfig: Some("/no/such/file".to_owned()), ..KubeFlags::default() },
                "kubeconfig /no/such/file: ",
            ),
            (
                KubeFlags { server: Some("not a url".to_owned()), ..KubeFlags::default() },
                "flag --server is \"not a url\", must be a URL",
            ),
        ] {
            let error = flags.client_config().await.expect_err(message).to_string();
            assert!(error.starts_with(message), "{error}");
        }
    }

    #[tokio::test]
    async fn a_server_is_enough() {
        let flags = KubeFlags { server: Some("http://127.0.0.1:1".to_owned()), ..KubeFlags::default() };
        let config = flags.with_kubeconfig(Kubeconfig::default()).await.expect("a server");
        assert_eq!(
            (config.cluster_url.to_string().as_str(), config.default_namespace.as_str()),
            ("http://127.0.0.1:1/", "default")
        );
    }

    #[tokio::test]
    async fn timeouts_and_namespace_apply_to_any_source() {
        let directory = std::env::temp_dir().join(format!("sluice-flags-{}", std::process::id()));
        std::fs::write(&directory, FILE).expect("written");
        let flags = KubeFlags {
            kubeconfig: directory.to_str().map(str::to_owned),
            namespace: Some("prod".to_owned()),
            request_timeout: Duration::from_secs(30),
            ..KubeFlags::default()
        };
        let config = flags.client_config().await;
        std::fs::remove_file(&directory).expect("removed");
        let config = config.expect("read");
        assert_eq!(
            (config.default_namespace.as_str(), config.connect_timeout),
            ("prod", Some(Duration::from_secs(30)))
        );
    }
}

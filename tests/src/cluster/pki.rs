//! Keys and certificates of one control plane. All are made when it starts and are worth nothing elsewhere.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use super::ClusterError;

/// The certificate authority that the API server, and everybody who talks to it, trusts.
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(super) certificate_pem: String,
}

/// A certificate and its private key.
#[derive(Clone)]
pub(super) struct Credentials {
    pub(super) certificate_pem: String,
    pub(super) key_pem: String,
}

/// The key pair with which service account tokens are signed.
pub(super) struct SigningKey {
    pub(super) private_pem: String,
    pub(super) public_pem: String,
}

impl Authority {
    pub(super) fn new() -> Result<Self, ClusterError> {
        let name = "sluice-test-ca";
        let mut params = parameters(name, &[])?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let key = key_for(name)?;
        let certificate = params.self_signed(&key).map_err(certificate_error(name))?;
        Ok(Self { certificate_pem: certificate.pem(), issuer: Issuer::new(params, key) })
    }

    /// Makes the API server's certificate, for the names under which pods and we reach it.
    pub(super) fn server(&self, name: &str, alternative_names: &[&str]) -> Result<Credentials, ClusterError> {
        self.sign(name, parameters(name, alternative_names)?, ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// Makes the certificate by which the API server knows `user`, a member of `group` when given.
    pub(super) fn client(&self, user: &str, group: Option<&str>) -> Result<Credentials, ClusterError> {
        let mut params = parameters(user, &[])?;
        if let Some(group) = group {
            params.distinguished_name.push(DnType::OrganizationName, group);
        }
        self.sign(user, params, ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn sign(
        &self,
        name: &str,
        mut params: CertificateParams,
        purpose: ExtendedKeyUsagePurpose,
    ) -> Result<Credentials, ClusterError> {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![purpose];
        let key = key_for(name)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(certificate_error(name))?;
        Ok(Credentials { certificate_pem: certificate.pem(), key_pem: key.serialize_pem() })
    }
}

impl SigningKey {
    pub(super) fn new() -> Result<Self, ClusterError> {
        let key = key_for("service accounts")?;
        Ok(Self { private_pem: key.serialize_pem(), public_pem: key.public_key_pem() })
    }
}

fn key_for(subject: &str) -> Result<KeyPair, ClusterError> {
    KeyPair::generate().map_err(certificate_error(subject))
}

fn parameters(common_name: &str, alternative_names: &[&str]) -> Result<CertificateParams, ClusterError> {
    let names: Vec<String> = alternative_names.iter().map(|&name| name.to_owned()).collect();
    let mut params = CertificateParams::new(names).map_err(certificate_error(common_name))?;
    params.distinguished_name.push(DnType::CommonName, common_name);
    Ok(params)
}

fn certificate_error(subject: &str) -> impl FnOnce(rcgen::Error) -> ClusterError {
    let subject = subject.to_owned();
    move |source| ClusterError::Certificate { subject, source }
}

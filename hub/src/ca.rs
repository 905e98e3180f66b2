//! The hub's certificate authority: made at the first start, kept in one file with its key, and the
//! certificates that it signs. No sockets here, and no decision about who gets a certificate.
//!
//! Certificates begin in the year 2000, so that a node whose clock is off is warned about and not locked
//! out, and hold for [`YEARS`] years.

use std::{fs, io, path::Path};

use aws_lc_rs::digest::{SHA256, digest};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, date_time_ymd,
};
use rustls::pki_types::{
    CertificateDer, CertificateSigningRequestDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject as _,
};
use secmon_protocol::{ids::NodeId, message::node::SERVER_NAME};

use crate::{HubError, files};

/// The file, in the state folder: the CA's key and its certificate, both PEM.
const FILE: &str = "ca.pem";
/// How long a certificate holds, in years from its making.
const YEARS: i32 = 10;
/// Longest certificate signing request, in bytes; one for an ECDSA key has some 300.
const MAX_CSR: usize = 8 << 10;

/// SHA-256 of a certificate in DER, by which papers are known; of a token's secret, the same.
pub(crate) type Fingerprint = [u8; 32];

/// The fingerprint of some bytes.
pub(crate) fn fingerprint(bytes: &[u8]) -> Fingerprint {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, bytes).as_ref());
    out
}

/// The CA with its key.
pub(crate) struct Ca {
    certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

/// Why a request for a certificate is refused.
#[derive(Debug, thiserror::Error)]
#[error("the certificate signing request cannot be used: {0}")]
pub(crate) struct BadRequest(String);

impl Ca {
    /// Reads the CA of a state folder, or makes it there. `year` is the current one.
    ///
    /// # Errors
    /// The file cannot be read, written or understood.
    pub(crate) fn open(state_dir: &Path, year: i32) -> Result<Self, HubError> {
        let path = state_dir.join(FILE);
        let broken = |reason: String| HubError::Ca { path: path.clone(), reason };
        let pem = match fs::read(&path) {
            Ok(pem) => pem,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let pem = make(year).map_err(|error| broken(error.to_string()))?;
                files::write_secret(&path, pem.as_bytes())
                    .map_err(|source| HubError::file("write", &path, source))?;
                pem.into_bytes()
            }
            Err(source) => return Err(HubError::file("read", &path, source)),
        };
        let key = PrivateKeyDer::from_pem_slice(&pem).map_err(|error| broken(error.to_string()))?;
        let certificate = CertificateDer::from_pem_slice(&pem).map_err(|error| broken(error.to_string()))?;
        let key = KeyPair::try_from(&key).map_err(|error| broken(error.to_string()))?;
        let issuer =
            Issuer::from_ca_cert_der(&certificate, key).map_err(|error| broken(error.to_string()))?;
        Ok(Self { certificate, issuer })
    }

    /// Its certificate.
    pub(crate) fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// SHA-256 of its certificate.
    pub(crate) fn fingerprint(&self) -> Fingerprint {
        fingerprint(&self.certificate)
    }

    /// A fresh key and certificate for the hub's own end of TLS; the chain ends with the CA, so that a
    /// joining node can hold it against its token.
    ///
    /// # Errors
    /// The library's, in its words.
    pub(crate) fn server(
        &self,
        year: i32,
    ) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), HubError> {
        let broken = |error: rcgen::Error| HubError::Tls(error.to_string());
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(broken)?;
        let mut params = CertificateParams::new(vec![SERVER_NAME.to_owned()]).map_err(broken)?;
        params.distinguished_name.push(DnType::CommonName, "secmon hub");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        leaf(&mut params, year);
        let certificate = params.signed_by(&key, &self.issuer).map_err(broken)?;
        let chain = vec![certificate.der().clone(), self.certificate.clone()];
        Ok((chain, PrivatePkcs8KeyDer::from(key.serialize_der()).into()))
    }

    /// A certificate for a node's key. Of the request only the key is taken, once its signature has shown
    /// that the asker holds it.
    ///
    /// # Errors
    /// A request that is no PKCS #10, is not signed by its key, or is too long.
    pub(crate) fn sign(
        &self,
        csr: &[u8],
        node: NodeId,
        year: i32,
    ) -> Result<CertificateDer<'static>, BadRequest> {
        if csr.len() > MAX_CSR {
            return Err(BadRequest(format!("{} bytes are over the limit of {MAX_CSR}", csr.len())));
        }
        let bad = |error: rcgen::Error| BadRequest(error.to_string());
        let request = CertificateSigningRequestParams::from_der(&CertificateSigningRequestDer::from(csr))
            .map_err(bad)?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, node.to_string());
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        leaf(&mut params, year);
        Ok(params.signed_by(&request.public_key, &self.issuer).map_err(bad)?.der().clone())
    }
}

fn leaf(params: &mut CertificateParams, year: i32) {
    params.not_before = date_time_ymd(2000, 1, 1);
    params.not_after = date_time_ymd(year + YEARS, 1, 1);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
}

/// A new CA as PEM: its key, then its certificate.
fn make(year: i32) -> Result<String, rcgen::Error> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "secmon hub CA");
    params.not_before = date_time_ymd(2000, 1, 1);
    // The CA outlives what it signs.
    params.not_after = date_time_ymd(year + 2 * YEARS, 1, 1);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let certificate = params.self_signed(&key)?;
    Ok(format!("{}{}", key.serialize_pem(), certificate.pem()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ca_is_made_once_and_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let first = Ca::open(dir.path(), 2026).unwrap();
        let again = Ca::open(dir.path(), 2027).unwrap();
        assert_eq!(first.fingerprint(), again.fingerprint());
        fs::write(dir.path().join(FILE), "nonsense").unwrap();
        assert!(matches!(Ca::open(dir.path(), 2026), Err(HubError::Ca { .. })));
    }

    #[test]
    fn only_a_request_that_its_key_has_signed_gets_a_certificate() {
        let dir = tempfile::tempdir().unwrap();
        let ca = Ca::open(dir.path(), 2026).unwrap();
        let key = KeyPair::generate().unwrap();
        let csr = CertificateParams::default().serialize_request(&key).unwrap();
        let id = NodeId([1; 16]);
        ca.sign(csr.der(), id, 2026).unwrap();
        let mut forged = csr.der().to_vec();
        let last = forged.len() - 1;
        forged[last] ^= 1;
        ca.sign(&forged, id, 2026).unwrap_err();
        ca.sign(&[0; MAX_CSR + 1], id, 2026).unwrap_err();
    }
}

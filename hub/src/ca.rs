//! The hub's certificate authority: made at the first start, kept in one file with its key, and the
//! certificates that it signs. No sockets here, and no decision about who gets a certificate.
//!
//! Certificates begin in the year 2000, so that a node whose clock is off is warned about and not locked
//! out, and hold for [`YEARS`] years.

use std::{
    fs::File,
    io::{self, Read as _},
    path::Path,
};

use aws_lc_rs::digest::{SHA256, digest};
use nix::unistd::geteuid;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, date_time_ymd,
};
use rustls::pki_types::{
    CertificateDer, CertificateSigningRequestDer, PrivateKeyDer, PrivatePkcs8KeyDer,
    pem::{self, PemObject as _},
};
use secmon_protocol::{ids::NodeId, message::node::SERVER_NAME};
use tracing::warn;

use crate::{HubError, files};

/// The file, in the state folder: the CA's key and its certificate, both PEM.
const FILE: &str = "ca.pem";
/// How to begin with a new CA, and what that costs.
const ANEW: &str = "start the hub again: it then makes a new CA, and every node must join again, without its old folder `node` and with a token of `secmon enroll NAME --replace`";
/// How long a certificate holds, in years from its making.
const YEARS: i32 = 10;
/// Longest certificate signing request, in bytes; one for an ECDSA key has some 300.
const MAX_CSR: usize = 8 << 10;

/// SHA-256 of a certificate in DER, by which papers are known; of a token's secret, the same.
pub type Fingerprint = [u8; 32];

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
        let pem = match File::open(&path) {
            Ok(file) => read(file, &path)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let pem = make(year).map_err(|error| broken(error.to_string()))?;
                files::write_secret(&path, pem.as_bytes())
                    .map_err(|source| HubError::file("write", &path, source))?;
                pem.into_bytes()
            }
            Err(source) => return Err(HubError::file("read", &path, source)),
        };
        parse(&pem).map_err(|reason| {
            broken(format!("{reason}; restore it from a backup, or move it away and {ANEW}"))
        })
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

/// Reads the file. Its key is for the hub alone: where others could read it, that ends, and the log says so.
fn read(mut file: File, path: &Path) -> Result<Vec<u8>, HubError> {
    match files::tighten(&file) {
        Ok(None) => {}
        Ok(Some(mode)) => warn!(
            path = %path.display(),
            mode = format!("{mode:04o}"),
            "others could read the CA's key, and now cannot; if somebody may have, they can pose as this hub: stop it, move the file away and {ANEW}"
        ),
        Err(error) => {
            let (file, own) = (path.display(), geteuid());
            let reason = format!(
                "others may read it, and that cannot be changed: {error}; run `chown {own} {file} && chmod 600 {file}`"
            );
            return Err(HubError::Ca { path: path.to_owned(), reason });
        }
    }
    let mut pem = vec![];
    file.read_to_end(&mut pem).map_err(|source| HubError::file("read", path, source))?;
    Ok(pem)
}

fn parse(pem: &[u8]) -> Result<Ca, String> {
    let part = |what: &str, error: pem::Error| match error {
        pem::Error::NoItemsFound => format!("there is no {what} in it"),
        other => format!("its {what} cannot be read: {other}"),
    };
    let key = PrivateKeyDer::from_pem_slice(pem).map_err(|error| part("key", error))?;
    let certificate = CertificateDer::from_pem_slice(pem).map_err(|error| part("certificate", error))?;
    let key = KeyPair::try_from(&key).map_err(|error| format!("its key cannot be used: {error}"))?;
    let issuer = Issuer::from_ca_cert_der(&certificate, key)
        .map_err(|error| format!("its certificate cannot be used: {error}"))?;
    Ok(Ca { certificate, issuer })
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
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    #[test]
    fn a_ca_is_made_once_and_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let first = Ca::open(dir.path(), 2026).unwrap();
        let again = Ca::open(dir.path(), 2027).unwrap();
        assert_eq!(first.fingerprint(), again.fingerprint());
    }

    #[test]
    fn a_damaged_ca_is_named_with_the_ways_out_and_left_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        drop(Ca::open(dir.path(), 2026).unwrap());
        let whole = fs::read_to_string(&path).unwrap();
        let key_only = &whole[..whole.find("-----BEGIN CERT").unwrap()];
        for damaged in ["", "nonsense", key_only] {
            fs::write(&path, damaged).unwrap();
            let said = Ca::open(dir.path(), 2026).err().unwrap().to_string();
            for part in [path.to_str().unwrap(), "there is no", "restore it from a backup", "join again"] {
                assert!(said.contains(part), "{said}");
            }
            assert_eq!(fs::read_to_string(&path).unwrap(), damaged);
        }
    }

    #[test]
    fn a_key_that_others_could_read_is_taken_from_them() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o7777;
        let made = Ca::open(dir.path(), 2026).unwrap().fingerprint();
        for loose in [0o644, 0o640, 0o604, 0o620, 0o600] {
            fs::set_permissions(&path, fs::Permissions::from_mode(loose)).unwrap();
            let had = files::tighten(&File::open(&path).unwrap()).unwrap();
            assert_eq!(had, (loose != 0o600).then_some(loose));
            fs::set_permissions(&path, fs::Permissions::from_mode(loose)).unwrap();
            assert_eq!(Ca::open(dir.path(), 2026).unwrap().fingerprint(), made);
            assert_eq!(mode(), 0o600);
        }
    }

    /// A hub on a machine whose clock stood at 1970 once made a CA that had expired in 1990.
    #[test]
    fn papers_made_before_the_clock_was_set_hold_once_it_is() {
        use rustls::{RootCertStore, crypto::aws_lc_rs, pki_types::UnixTime, server::WebPkiClientVerifier};
        let dir = tempfile::tempdir().unwrap();
        let unset = crate::hub::year(secmon_protocol::time::UnixNanos(0));
        let ca = Ca::open(dir.path(), unset).unwrap();
        // The UTCTime of RFC 5280 §4.1.2.5.1, twenty years after the release.
        let ends = b"460101000000Z";
        assert!(ca.certificate().windows(ends.len()).any(|part| part == ends));
        let key = KeyPair::generate().unwrap();
        let csr = CertificateParams::default().serialize_request(&key).unwrap();
        let papers = ca.sign(csr.der(), NodeId([1; 16]), unset).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(ca.certificate().clone()).unwrap();
        let verifier =
            WebPkiClientVerifier::builder_with_provider(roots.into(), aws_lc_rs::default_provider().into());
        // 2035-06-15
        let later = UnixTime::since_unix_epoch(std::time::Duration::from_secs(2_065_478_400));
        verifier.build().unwrap().verify_client_cert(&papers, &[], later).unwrap();
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

//! TLS: a certificate and its key from PEM files, read again when they change, whole or not at all.
//!
//! TLS 1.3 alone, as between node and hub: every browser since 2018 has it, and so have curl and the libraries of every
//! distribution that is still kept.

use std::{
    fs::{self, File},
    io::Read as _,
    os::unix::fs::MetadataExt as _,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    version::TLS13,
};
use tokio_rustls::TlsAcceptor;
use tracing::{info, warn};
use zeroize::Zeroizing;

use crate::config::TlsFiles;

/// How often the files are looked at: two stat(2).
pub(super) const LOOK: Duration = Duration::from_secs(2);
/// Largest file that is read: a chain is a few KiB.
const MAX_FILE: u64 = 1 << 20;

/// The certificate that is shown.
pub(super) struct Tls {
    files: TlsFiles,
    now: Mutex<Now>,
}

struct Now {
    acceptor: TlsAcceptor,
    /// The files that were read last, good or bad.
    seen: Seen,
}

/// What changes when a file does, for each of both.
type Seen = [Option<(u64, u64, u64, i64, i64)>; 2];

fn seen(files: &TlsFiles) -> Seen {
    [&files.cert, &files.key].map(|path| {
        let meta = fs::metadata(path).ok()?;
        Some((meta.dev(), meta.ino(), meta.size(), meta.ctime(), meta.ctime_nsec()))
    })
}

impl Tls {
    /// Reads both files.
    ///
    /// # Errors
    /// In words.
    pub(super) fn load(files: TlsFiles) -> Result<Self, String> {
        let seen = seen(&files);
        let acceptor = read(&files)?;
        Ok(Self { files, now: Mutex::new(Now { acceptor, seen }) })
    }

    /// For a new connection.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).acceptor.clone()
    }

    /// Reads the files again where they have changed, or somebody asks for it. What cannot be used changes nothing, and is
    /// said once.
    pub(super) fn look(&self, asked: bool) {
        let seen = seen(&self.files);
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        if now.seen == seen && !asked {
            return;
        }
        now.seen = seen;
        match read(&self.files) {
            Ok(acceptor) => {
                now.acceptor = acceptor;
                info!(cert = %self.files.cert.display(), "the certificate was read again");
            }
            Err(error) => warn!(error, "the certificate stays as it was"),
        }
    }
}

fn read(files: &TlsFiles) -> Result<TlsAcceptor, String> {
    let TlsFiles { cert, key } = files;
    let pem = content("tls.cert", cert, false)?;
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|error| format!("tls.cert: {} is no PEM: {error}", cert.display()))?;
    if chain.is_empty() {
        return Err(format!("tls.cert: there is no certificate in {}", cert.display()));
    }
    let pem = content("tls.key", key, true)?;
    let private = PrivateKeyDer::from_pem_slice(&pem)
        .map_err(|_| format!("tls.key: there is no private key in {}", key.display()))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| error.to_string())?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(|error| {
            format!("tls: {} and {} do not go together: {error}", cert.display(), key.display())
        })?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    // What comes before the handshake is done could be sent again by anybody who saw it.
    config.max_early_data_size = 0;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn content(key: &str, path: &Path, secret: bool) -> Result<Zeroizing<Vec<u8>>, String> {
    const OTHERS: u32 = 0o007;
    const GROUP_WRITES: u32 = 0o020;
    let failed = |error| format!("{key}: cannot read {}: {error}", path.display());
    let file = File::open(path).map_err(failed)?;
    let meta = file.metadata().map_err(failed)?;
    if secret && meta.mode() & (OTHERS | GROUP_WRITES) != 0 {
        let (path, mode) = (path.display(), meta.mode() & 0o7777);
        return Err(format!("{key}: others may use {path} (mode {mode:04o}); run chmod 0600 {path}"));
    }
    if meta.len() > MAX_FILE {
        return Err(format!("{key}: {} is over 1 MiB, which no certificate is", path.display()));
    }
    let mut content = Zeroizing::new(Vec::with_capacity(meta.len() as usize + 1));
    file.take(MAX_FILE).read_to_end(&mut content).map_err(failed)?;
    Ok(content)
}

//! Who this node is: its key, its certificate, the CAs it trusts and where its hub is, in the state folder.
//!
//! `node.toml` (id, name, hub addresses), `node.key` (PKCS #8 PEM, mode 0600), `node.crt` and `ca.crt`
//! (PEM). `node.toml` is written last: with it the node has joined, without it it has not.

use std::{
    fs::{self, File, OpenOptions, Permissions, TryLockError},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use secmon_protocol::ids::{NodeId, NodeName};
use serde::{Deserialize, Serialize};

use crate::trust;

/// A node's papers and its hub's addresses.
pub struct Identity {
    /// The node's id.
    pub node: NodeId,
    /// Its name, as of joining.
    pub name: NodeName,
    /// Where the hub is, `HOST:PORT`, best first.
    pub addresses: Vec<String>,
    /// The node's certificate.
    pub certificate: CertificateDer<'static>,
    /// Its key.
    pub key: PrivateKeyDer<'static>,
    /// The CAs that it trusts.
    pub ca_set: Vec<CertificateDer<'static>>,
}

#[derive(Serialize, Deserialize)]
struct Saved {
    node: String,
    name: NodeName,
    addresses: Vec<String>,
}

/// What is wrong with the node's state folder.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file could not be read or written.
    #[error("cannot {what} {path}: {source}", path = path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A file holds something else.
    #[error("{path} is damaged: {why}; to join anew, move the folder aside and use a new token", path = path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Others could change what is in the folder.
    #[error("{path} may be changed by others than root and this user ({why}): {remedy}", path = path.display())]
    Untrusted {
        /// The folder.
        path: PathBuf,
        /// Its owner, or its mode.
        why: String,
        /// What to do.
        remedy: String,
    },
    /// Another node uses the folder.
    #[error("another secmon node is running on {path}; stop it, or use another --state-dir", path = path.display())]
    Locked {
        /// The folder.
        path: PathBuf,
    },
}

/// The node's state folder, held by this process alone.
pub struct StateDir {
    path: PathBuf,
    _lock: File,
}

impl StateDir {
    /// Makes the folder (mode 0700) if it is not there, and locks it.
    ///
    /// # Errors
    /// It cannot be made, or another node has it.
    pub fn open(path: &Path) -> Result<Self, IdentityError> {
        let error = |what, path: &Path| {
            let path = path.to_owned();
            move |source| IdentityError::Io { what, path, source }
        };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(error("create", path))?;
        let metadata = fs::metadata(path).map_err(error("look at", path))?;
        trust::owner(path, &metadata).and_then(|()| trust::mode(path, &metadata)).map_err(|found| {
            let trust::Untrusted { why, remedy } = found;
            IdentityError::Untrusted { path: path.to_owned(), why, remedy }
        })?;
        let key_path = path.join("node.key");
        if let Ok(key) = fs::metadata(&key_path)
            && key.mode() & 0o077 != 0
        {
            // It may have been copied; but to stop watching would help nobody.
            tracing::warn!(path = %key_path.display(), mode = %format!("{:04o}", key.mode() & 0o7777),
                "others could read this node's key; enroll it anew with --replace");
            fs::set_permissions(&key_path, Permissions::from_mode(0o600))
                .map_err(error("chmod", &key_path))?;
        }
        let lock_path = path.join("lock");
        let lock = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&lock_path);
        let lock = match lock {
            // A disk that was mounted read-only after a fault is no reason to stop watching.
            Err(e) if e.kind() == io::ErrorKind::ReadOnlyFilesystem => File::open(&lock_path),
            other => other,
        };
        let lock = lock.map_err(error("open", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(IdentityError::Locked { path: path.to_owned() }),
            Err(TryLockError::Error(source)) => Err(error("lock", &lock_path)(source)),
        }
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The identity in the folder; none when the node has not joined.
    ///
    /// # Errors
    /// There is one that cannot be read.
    pub fn identity(&self) -> Result<Option<Identity>, IdentityError> {
        let toml_path = self.path.join("node.toml");
        let text = match fs::read_to_string(&toml_path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(IdentityError::Io { what: "read", path: toml_path, source }),
            Ok(text) => text,
        };
        let damaged = |name: &str, why: String| IdentityError::Damaged { path: self.path.join(name), why };
        let saved: Saved = toml::from_str(&text).map_err(|e| damaged("node.toml", e.message().to_owned()))?;
        let node = saved.node.parse().map_err(|_| damaged("node.toml", "the id is not one".into()))?;
        if saved.addresses.is_empty() {
            return Err(damaged("node.toml", "it names no address of a hub".to_owned()));
        }
        let pem = |name: &str| damaged(name, "it is not the PEM it should be, or cannot be read".into());
        let certificate =
            CertificateDer::from_pem_file(self.path.join("node.crt")).map_err(|_| pem("node.crt"))?;
        let key = PrivateKeyDer::from_pem_file(self.path.join("node.key")).map_err(|_| pem("node.key"))?;
        let ca_set: Vec<_> = CertificateDer::pem_file_iter(self.path.join("ca.crt"))
            .and_then(Iterator::collect)
            .map_err(|_| pem("ca.crt"))?;
        if ca_set.is_empty() {
            return Err(pem("ca.crt"));
        }
        Ok(Some(Identity { node, name: saved.name, addresses: saved.addresses, certificate, key, ca_set }))
    }

    /// Keeps an identity, each file whole or not at all.
    ///
    /// # Errors
    /// A file cannot be written; then the node has not joined.
    pub fn save(&self, identity: &Identity) -> Result<(), IdentityError> {
        let saved = Saved {
            node: identity.node.to_string(),
            name: identity.name.clone(),
            addresses: identity.addresses.clone(),
        };
        let ca_set: String = identity.ca_set.iter().map(|ca| pem("CERTIFICATE", ca)).collect();
        // With other papers in the folder: no moment with the key of one and the certificate of the other.
        match fs::remove_file(self.path.join("node.toml")) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(IdentityError::Io { what: "remove", path: self.path.join("node.toml"), source });
            }
            _ => {}
        }
        self.write("node.key", &pem("PRIVATE KEY", identity.key.secret_der()))?;
        self.write("node.crt", &pem("CERTIFICATE", &identity.certificate))?;
        self.write("ca.crt", &ca_set)?;
        // Plain strings in a table always serialize.
        self.write("node.toml", &toml::to_string(&saved).unwrap_or_default())
    }

    fn write(&self, name: &str, text: &str) -> Result<(), IdentityError> {
        let (path, fresh) = (self.path.join(name), self.path.join(format!("{name}.new")));
        let write = || -> io::Result<()> {
            match fs::remove_file(&fresh) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
            let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&fresh)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&fresh, &path)?;
            File::open(&self.path)?.sync_all()
        };
        write().map_err(|source| IdentityError::Io { what: "write", path: path.clone(), source })
    }
}

/// RFC 7468 text of DER bytes.
fn pem(label: &str, der: &[u8]) -> String {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let body = STANDARD.encode(der);
    let mut out = format!("-----BEGIN {label}-----\n");
    for line in body.as_bytes().chunks(64) {
        out.extend(line.iter().map(|b| char::from(*b)));
        out.push('\n');
    }
    out + &format!("-----END {label}-----\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> Identity {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate =
            rcgen::CertificateParams::default().self_signed(&key).unwrap().der().clone().into_owned();
        Identity {
            node: NodeId([7; 16]),
            name: "web-1".parse().unwrap(),
            addresses: vec!["192.0.2.1:7373".to_owned()],
            certificate: certificate.clone(),
            key: PrivateKeyDer::Pkcs8(key.serialize_der().into()),
            ca_set: vec![certificate.clone(), certificate],
        }
    }

    #[test]
    fn papers_that_were_saved_are_read_back_and_only_their_owner_may() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(&dir.path().join("node")).unwrap();
        assert!(state.identity().unwrap().is_none());
        let saved = identity();
        state.save(&saved).unwrap();
        let read = state.identity().unwrap().unwrap();
        assert_eq!((read.node, &read.name, &read.addresses), (saved.node, &saved.name, &saved.addresses));
        assert_eq!((read.certificate, read.ca_set), (saved.certificate, saved.ca_set));
        assert_eq!(read.key.secret_der(), saved.key.secret_der());
        for entry in fs::read_dir(state.path()).unwrap() {
            let entry = entry.unwrap();
            assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", entry.path());
        }
        assert_eq!(fs::metadata(state.path()).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn damaged_papers_are_named_and_never_taken_for_none() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(dir.path()).unwrap();
        for name in ["node.toml", "node.key", "node.crt", "ca.crt"] {
            state.save(&identity()).unwrap();
            fs::write(dir.path().join(name), "\0garbage").unwrap();
            let error = state.identity().err().expect(name).to_string();
            assert!(error.contains(name), "{error}");
        }
    }

    #[test]
    fn a_folder_that_others_may_write_is_refused_with_the_remedy() {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o770)).unwrap();
        let error = StateDir::open(dir.path()).err().unwrap().to_string();
        assert!(error.contains("chmod go-w"), "{error}");
    }

    #[test]
    fn a_folder_has_one_node_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let first = StateDir::open(dir.path()).unwrap();
        assert!(matches!(StateDir::open(dir.path()), Err(IdentityError::Locked { .. })));
        drop(first);
        assert!(StateDir::open(dir.path()).is_ok());
    }
}

//! Secrets: from a file that nobody else reads, or from systemd's credentials; never from an argument.

use std::{
    fs::{self, File},
    io::Read as _,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use nix::unistd::geteuid;
use zeroize::Zeroizing;

/// Longest secret, in bytes: a webhook's address has some 150.
const MAX_SECRET: u64 = 4096;

/// A secret in memory. Its Debug output does not show it, and it is zeroed when it goes.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Why there is no secret.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The system did not let us read it.
    #[error("cannot read the {what} from {}: {reason}", path.display())]
    Read {
        /// What it is.
        what: &'static str,
        /// From where.
        path: PathBuf,
        /// The system's words.
        reason: String,
    },
    /// Others may read it.
    #[error(
        "{} holds the {what}, and others than its owner may read it (mode {mode:03o}): chmod 600 it, and consider what was \
         in it as known",
        path.display()
    )]
    Open {
        /// What it is.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// There is none.
    #[error(
        "no {what}: name a file that holds it by `{key}`, or load it as systemd's credential `{credential}`"
    )]
    None {
        /// What it is.
        what: &'static str,
        /// The key of the configuration.
        key: &'static str,
        /// The name of the credential.
        credential: String,
    },
}

impl Secret {
    /// One that is known already.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The secret itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Reads it from `file`, or else from the credential of that name in `$CREDENTIALS_DIRECTORY` (systemd.exec(5)). White space
    /// around it is left out.
    ///
    /// # Errors
    /// There is none, it cannot be read, is empty or too long, or a plain file is readable by others.
    pub fn load(
        what: &'static str,
        key: &'static str,
        file: Option<&Path>,
        credential: &str,
    ) -> Result<Self, SecretError> {
        if let Some(file) = file {
            return Self::read(what, file, true);
        }
        let folder = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
        match folder.map(|folder| folder.join(credential)) {
            // systemd keeps those from others by the folder.
            Some(path) if path.exists() => Self::read(what, &path, false),
            _ => Err(SecretError::None { what, key, credential: credential.to_owned() }),
        }
    }

    fn read(what: &'static str, path: &Path, strict: bool) -> Result<Self, SecretError> {
        let failed = |reason: String| SecretError::Read { what, path: path.to_owned(), reason };
        let io = |error: std::io::Error| failed(error.to_string());
        let before = fs::metadata(path).map_err(io)?;
        if !before.is_file() {
            return Err(failed("it is not a regular file".to_owned()));
        }
        let file = File::open(path).map_err(io)?;
        let mode = file.metadata().map_err(io)?.mode() & 0o777;
        // A file of root's that one of our groups may read is how a distribution's package would do it.
        let owner = file.metadata().map_err(io)?.uid();
        let group_is_fine = owner == 0 && !geteuid().is_root();
        let forbidden = if group_is_fine { 0o027 } else { 0o077 };
        if strict && mode & forbidden != 0 {
            return Err(SecretError::Open { what, path: path.to_owned(), mode });
        }
        // At once as long as it may become: a text that grows leaves copies behind.
        let mut text = Zeroizing::new(String::with_capacity(MAX_SECRET as usize + 1));
        file.take(MAX_SECRET + 1).read_to_string(&mut text).map_err(io)?;
        if text.len() as u64 > MAX_SECRET {
            return Err(failed(format!("it is over {MAX_SECRET} bytes")));
        }
        let secret = text.trim();
        if secret.is_empty() {
            return Err(failed("it is empty".to_owned()));
        }
        if secret.contains(char::is_control) {
            return Err(failed("it has more than one line".to_owned()));
        }
        Ok(Self::new(secret.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::Permissions, os::unix::fs::PermissionsExt as _};

    use super::*;

    #[test]
    fn a_secret_that_others_may_read_is_refused_and_never_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        fs::write(&path, " 12:AB\n").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        let error = Secret::load("token", "token_file", Some(&path), "x").unwrap_err().to_string();
        assert!(error.contains("mode 644") && !error.contains("12:AB"), "{error}");
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        let secret = Secret::load("token", "token_file", Some(&path), "x").unwrap();
        assert_eq!(secret.expose(), "12:AB");
        assert!(!format!("{secret:?}").contains("12"));
        fs::write(&path, "a\nb").unwrap();
        assert!(Secret::load("token", "token_file", Some(&path), "x").is_err());
        assert!(Secret::load("token", "token_file", Some(folder.path()), "x").is_err());
        let none = Secret::load("token", "token_file", None, "x").unwrap_err().to_string();
        assert_eq!(
            none,
            "no token: name a file that holds it by `token_file`, or load it as systemd's credential `x`"
        );
    }
}

//! What stands beside: one TLS connection, and ssh.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use anyhow::ensure;
use secmon_testkit::{need::Need, realm::Realm, sshd::Sshd};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::READ;
use crate::{connections::bare::Bare, load::fleet};

/// Has the bare server send `bytes` and reads them.
pub(super) async fn raw_tls(bare: &Bare, bytes: u64) -> anyhow::Result<Duration> {
    let start = Instant::now();
    let mut stream = fleet::connect(&bare.client()?, bare.address).await?;
    stream.read_exact(&mut [0]).await?;
    stream.write_all(&bytes.to_be_bytes()).await?;
    let (mut buffer, mut got) = (vec![0; READ], 0);
    while got < bytes {
        let read = stream.read(&mut buffer).await? as u64;
        ensure!(read > 0, "it closed after {got} bytes");
        got += read;
    }
    Ok(start.elapsed())
}

/// A real sshd, on the loopback of a realm.
pub(super) struct Ssh {
    // Before the realm, which it is in.
    sshd: Sshd<'static>,
}

impl Ssh {
    /// None, and a word about it, where there can be none.
    pub(super) fn start() -> anyhow::Result<Option<Self>> {
        let needs =
            [Need::Namespaces, Need::Program("sshd"), Need::Program("ssh"), Need::Program("ssh-keygen")];
        if let Some(lacking) = needs.into_iter().find_map(Need::lacking) {
            eprintln!("not measured beside ssh: this machine lacks {lacking}");
            return Ok(None);
        }
        // The program ends with it.
        let realm: &'static Realm = Box::leak(Box::new(Realm::new("bench")));
        Ok(Some(Self { sshd: Sshd::start(realm) }))
    }

    /// One that runs a shell command there as root, by key.
    pub(super) fn command(&self, remote: &str) -> Command {
        self.sshd.command("root", remote)
    }
}

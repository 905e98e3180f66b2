//! A server that makes handshakes and nothing else, in a process of its own as the hub is, with certificates of the
//! same kinds: what is left when a hub's own work is taken away.

use std::{env, net::SocketAddr, process::Command, sync::Arc};

use anyhow::Context as _;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
    server::{NoServerSessionStorage, WebPkiClientVerifier},
    version::TLS13,
};
use secmon_protocol::{limits::MAX_CHUNK, message::node::SERVER_NAME};
use secmon_testkit::process::Process;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpSocket,
};
use tokio_rustls::TlsAcceptor;

use crate::load::runtime;

/// The server, seen from here.
pub(crate) struct Bare {
    pub(super) process: Process,
    pub(crate) address: SocketAddr,
    ca: CertificateDer<'static>,
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

impl Bare {
    /// Starts one, which resumes sessions or does not.
    pub(crate) fn start(tickets: bool) -> anyhow::Result<Self> {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(env::current_exe()?).arg("bare-tls");
        if tickets {
            command.arg("--tickets");
        }
        let process = Process::spawn("bare-tls", &mut command);
        let said = process.wait_until("the bare server", |output| {
            output.out().lines().find_map(|line| serde_json::from_str::<Value>(line).ok())
        });
        let der = |name: &str| {
            let text = said[name].as_str().context("a text")?;
            anyhow::Ok(STANDARD.decode(text)?)
        };
        Ok(Self {
            address: said["address"].as_str().context("an address")?.parse()?,
            ca: der("ca")?.into(),
            certificate: der("certificate")?.into(),
            key: PrivatePkcs8KeyDer::from(der("key")?).into(),
            process,
        })
    }

    /// A client of its own, with papers of the server's CA.
    pub(crate) fn client(&self) -> anyhow::Result<Arc<ClientConfig>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.ca.clone())?;
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&TLS13])?
            .with_root_certificates(roots)
            .with_client_auth_cert(vec![self.certificate.clone()], self.key.clone_key())?;
        Ok(Arc::new(config))
    }
}

/// Sends as many bytes, as a node sends output.
async fn send(stream: &mut (impl AsyncWrite + Unpin), mut bytes: u64) -> std::io::Result<()> {
    let chunk = vec![0; MAX_CHUNK];
    while bytes > 0 {
        let now = usize::try_from(bytes).map_or(MAX_CHUNK, |bytes| bytes.min(MAX_CHUNK));
        stream.write_all(&chunk[..now]).await?;
        bytes -= now as u64;
    }
    stream.flush().await
}

/// The server's process.
pub(crate) fn serve(tickets: bool) -> anyhow::Result<()> {
    let ca_key = KeyPair::generate()?;
    let mut ca_params = CertificateParams::default();
    ca_params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = ca_params.self_signed(&ca_key)?;
    let issuer = Issuer::new(ca_params, ca_key);
    let signed = |names: Vec<String>| {
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new(names)?.signed_by(&key, &issuer)?;
        anyhow::Ok((certificate.der().clone(), key.serialize_der()))
    };
    let (server, server_key) = signed(vec![SERVER_NAME.to_owned()])?;
    let (client, client_key) = signed(vec!["node.secmon.internal".to_owned()])?;

    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(ca.der().clone())?;
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build()?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![server, ca.der().clone()], PrivatePkcs8KeyDer::from(server_key).into())?;
    if tickets {
        config.ticketer = aws_lc_rs::Ticketer::new()?;
    } else {
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    }
    let acceptor = TlsAcceptor::from(Arc::new(config));
    runtime()?.block_on(async {
        let socket = TcpSocket::new_v4()?;
        socket.bind("127.0.0.1:0".parse()?)?;
        let listener = socket.listen(1 << 16)?;
        let papers = json!({
            "address": listener.local_addr()?.to_string(), "ca": STANDARD.encode(ca.der()),
            "certificate": STANDARD.encode(&client), "key": STANDARD.encode(client_key),
        });
        println!("{papers}");
        loop {
            let (stream, _) = listener.accept().await?;
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                stream.set_nodelay(true)?;
                let mut stream = acceptor.accept(stream).await?;
                // The peer's certificate has been looked at by now.
                stream.write_all(&[1]).await?;
                let mut asked = [0; 8];
                // Who asks for bytes gets as many; the others close.
                while stream.read_exact(&mut asked).await.is_ok() {
                    send(&mut stream, u64::from_be_bytes(asked)).await?;
                }
                std::io::Result::Ok(())
            });
        }
    })
}

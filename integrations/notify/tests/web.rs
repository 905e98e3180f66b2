//! The HTTP client against a real server with TLS of an authority of its own, and through a real proxy: with the environment of a
//! process of its own, for a client reads the proxies from there.
#![expect(clippy::unwrap_used, reason = "clippy exempts test functions, and these are their helpers")]

use std::{
    net::SocketAddr,
    path::PathBuf,
    process::Stdio,
    sync::{Arc, Mutex},
};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use secmon_notify::web;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, copy_bidirectional},
    net::{TcpListener, TcpStream},
    process::Command,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{self, ServerConfig, pki_types::PrivateKeyDer},
};

/// Names the address that the child is to ask.
const ASK: &str = "SECMON_TEST_ASK";
const PASSWORD: &str = "proxy-PASSWORD";
const SECRET: &str = "hook-SECRET";

/// An HTTPS server at `service.test` and on 127.0.0.1, and its authority's certificate in a file.
struct Service {
    address: SocketAddr,
    authority: PathBuf,
    _folder: tempfile::TempDir,
}

impl Service {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = folder.path().join("ca.pem");
        std::fs::write(&authority, params.self_signed(&key).unwrap().pem()).unwrap();
        let issuer = Issuer::new(params, key);
        let key = KeyPair::generate().unwrap();
        let names = vec!["service.test".to_owned(), "127.0.0.1".to_owned()];
        let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();
        let config =
            ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(
                    vec![certificate.der().clone()],
                    PrivateKeyDer::Pkcs8(key.serialize_der().into()),
                )
                .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let Ok(mut stream) = acceptor.accept(stream).await else { return };
                    let mut head = [0; 4096];
                    let read = stream.read(&mut head).await.unwrap_or(0);
                    let moved = String::from_utf8_lossy(&head[..read]).contains("/moved");
                    let answer: &[u8] = if moved {
                        b"HTTP/1.1 302 Found\r\nlocation: https://service.test/elsewhere\r\ncontent-length: 0\r\n\r\n"
                    } else {
                        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"
                    };
                    let _ = stream.write_all(answer).await;
                    let _ = stream.shutdown().await;
                });
            }
        });
        Self { address, authority, _folder: folder }
    }
}

/// A proxy that knows CONNECT, wants the password, and leads to one place.
struct Proxy {
    address: SocketAddr,
    /// The first line of each request, and whether it had the password.
    asked: Arc<Mutex<Vec<(String, bool)>>>,
}

impl Proxy {
    async fn start(to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::<Mutex<Vec<(String, bool)>>>::default();
        let seen = asked.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let seen = seen.clone();
                tokio::spawn(async move {
                    let mut stream = BufReader::new(stream);
                    let (mut first, mut known) = (String::new(), false);
                    loop {
                        let mut line = String::new();
                        if stream.read_line(&mut line).await.unwrap_or(0) == 0 || line == "\r\n" {
                            break;
                        }
                        // base64 of user:proxy-PASSWORD
                        known |= line.to_lowercase().starts_with("proxy-authorization:")
                            && line.contains("dXNlcjpwcm94eS1QQVNTV09SRA==");
                        if first.is_empty() {
                            first = line.trim().to_owned();
                        }
                    }
                    seen.lock().unwrap().push((first, known));
                    if !known {
                        let no = b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n";
                        let _ = stream.get_mut().write_all(no).await;
                        return;
                    }
                    let mut server = TcpStream::connect(to).await.unwrap();
                    stream.get_mut().write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.unwrap();
                    let _ = copy_bidirectional(stream.get_mut(), &mut server).await;
                });
            }
        });
        Self { address, asked }
    }

    fn asked(&self) -> Vec<(String, bool)> {
        self.asked.lock().unwrap().clone()
    }
}

/// What a process with that environment, and no other, gets from that address.
async fn ask(url: &str, environment: &[(&str, &str)]) -> String {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "the_child_that_asks", "--nocapture", "--test-threads=1"])
        .env_clear()
        .envs(environment.iter().copied())
        .env(ASK, url)
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(!text.contains(PASSWORD) && !text.contains(SECRET), "a secret is in\n{text}");
    let said = text.lines().find_map(|line| Some(line.split_once("child: ")?.1.to_owned()));
    said.unwrap_or_else(|| panic!("{text}"))
}

/// The tests beside it run it, in a process with an environment of its own; it asks nobody else.
#[tokio::test]
async fn the_child_that_asks() {
    let Ok(url) = std::env::var(ASK) else { return };
    match web::client().unwrap().post(url).body("x").send().await {
        Ok(answer) => {
            let status = answer.status().as_u16();
            let body = web::body(answer, 3).await.unwrap();
            println!("\nchild: {status} {}", String::from_utf8_lossy(&body));
        }
        Err(error) => println!("\nchild: {}", web::unreachable(error)),
    }
}

#[tokio::test]
async fn a_proxy_of_the_environment_is_used_with_its_password_and_no_name_is_looked_up_here() {
    let service = Service::start().await;
    let proxy = Proxy::start(service.address).await;
    let with = format!("http://user:{PASSWORD}@{}", proxy.address);
    let trust = ("SSL_CERT_FILE", service.authority.to_str().unwrap());
    let url = format!("https://service.test/{SECRET}");
    assert_eq!(ask(&url, &[("HTTPS_PROXY", &with), trust]).await, "200 hel");
    assert_eq!(proxy.asked(), [("CONNECT service.test:443 HTTP/1.1".to_owned(), true)]);
    assert_eq!(ask(&url, &[("ALL_PROXY", &with), trust]).await, "200 hel");
    // And not where it is not to be.
    let direct = format!("https://{}/{SECRET}", service.address);
    assert_eq!(ask(&direct, &[("HTTPS_PROXY", &with), ("NO_PROXY", "127.0.0.1"), trust]).await, "200 hel");
    assert_eq!(proxy.asked().len(), 2);
    // Nor is what it says of itself followed anywhere.
    let moved = format!("https://{}/moved", service.address);
    assert_eq!(ask(&moved, &[trust]).await, "302 ");
}

#[tokio::test]
async fn an_error_says_why_and_no_secret() {
    let service = Service::start().await;
    let proxy = Proxy::start(service.address).await;
    let trust = ("SSL_CERT_FILE", service.authority.to_str().unwrap());
    let url = format!("https://service.test/{SECRET}");
    let wrong = format!("http://user:{PASSWORD}x@{}", proxy.address);
    let said = ask(&url, &[("HTTPS_PROXY", &wrong), trust]).await;
    assert!(said.starts_with("cannot reach the service") && said.contains("proxy"), "{said}");
    // An authority that nobody knows.
    let other = Service::start().await;
    let direct = format!("https://{}/{SECRET}", other.address);
    let said = ask(&direct, &[trust]).await;
    assert!(said.contains("certificate"), "{said}");
    // Nobody there.
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let said = ask(&format!("https://{free}/{SECRET}"), &[trust]).await;
    assert!(said.contains("refused"), "{said}");
    let gone = format!("http://user:{PASSWORD}@{free}");
    let said = ask(&url, &[("HTTPS_PROXY", &gone), trust]).await;
    assert!(said.starts_with("cannot reach the service"), "{said}");
}

//! TLS, and the Unix socket.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, sync::Arc};

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName},
};
use tokio::net::UnixStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::*;

/// Writes a certificate and its key, as a tool does that renews them.
fn renew(dir: &Path) -> CertificateDer<'static> {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    put(&dir.join("cert.pem"), &cert.pem());
    put(&dir.join("key.pem"), &signing_key.serialize_pem());
    cert.der().clone()
}

fn put(path: &Path, text: &str) {
    let new = path.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::set_permissions(&new, fs::Permissions::from_mode(0o600)).unwrap();
    fs::rename(new, path).unwrap();
}

async fn connect(
    address: SocketAddr,
    roots: &[CertificateDer<'static>],
    alpn: &[u8],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut store = RootCertStore::empty();
    roots.iter().for_each(|root| store.add(root.clone()).unwrap());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(store)
        .with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_vec()];
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, TcpStream::connect(address).await?).await
}

fn shown(stream: &TlsStream<TcpStream>) -> CertificateDer<'static> {
    stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_without_a_restart_and_a_bad_pair_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let first = renew(dir.path());
    let path = |name: &str| dir.path().join(name).display().to_string();
    let config = format!("[tls]\ncert = {:?}\nkey = {:?}\n", path("cert.pem"), path("key.pem"));
    let bridge = Bridge::start(&config);
    let held = connect(bridge.address, std::slice::from_ref(&first), b"http/1.1").await.unwrap();
    assert_eq!((shown(&held), held.get_ref().1.alpn_protocol().unwrap()), (first.clone(), &b"http/1.1"[..]));

    // A certificate without its key: half of what is to come.
    let old_key = fs::read_to_string(dir.path().join("key.pem")).unwrap();
    let second = renew(dir.path());
    let new_key = fs::read_to_string(dir.path().join("key.pem")).unwrap();
    put(&dir.path().join("key.pem"), &old_key);
    for _ in 0..3 {
        let stream = connect(bridge.address, &[first.clone(), second.clone()], b"h2").await.unwrap();
        assert!(shown(&stream) == first || shown(&stream) == second);
        assert_eq!(stream.get_ref().1.alpn_protocol().unwrap(), b"h2");
    }
    put(&dir.path().join("key.pem"), &new_key);
    loop {
        let stream = connect(bridge.address, &[first.clone(), second.clone()], b"h2").await.unwrap();
        if shown(&stream) == second {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mut stream = connect(bridge.address, &[second], b"http/1.1").await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer).await;
    assert!(
        answer.contains("200 OK") && answer.contains("strict-transport-security: max-age=31536000"),
        "{answer}"
    );
    drop(held);
    bridge.stop().await;
}

#[tokio::test]
async fn a_key_that_others_may_read_or_that_is_another_ones_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    renew(dir.path());
    let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    let load = || {
        let files = crate::config::TlsFiles { cert: cert.clone(), key: key.clone() };
        super::super::tls::Tls::load(files).map(drop)
    };
    load().unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let error = load().unwrap_err();
    assert!(error.contains("chmod 0600") && error.contains("0644"), "{error}");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
    load().unwrap();
    let old = fs::read_to_string(&key).unwrap();
    renew(dir.path());
    put(&key, &old);
    assert!(load().unwrap_err().contains("do not go together"));
    put(&key, "nonsense");
    assert!(load().unwrap_err().contains("no private key in"));
    put(&cert, "");
    assert!(load().unwrap_err().contains("no certificate in"));
    fs::remove_file(&cert).unwrap();
    assert!(load().unwrap_err().contains("cannot read"));
}

#[tokio::test]
async fn a_handshake_that_does_not_come_is_not_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    renew(dir.path());
    let path = |name: &str| dir.path().join(name).display().to_string();
    let config = format!("[tls]\ncert = {:?}\nkey = {:?}\n", path("cert.pem"), path("key.pem"));
    let bridge = Bridge::start_with(&config, Deadlines { handshake: Duration::from_millis(200), ..PATIENT });
    assert_eq!(bridge.raw("").await, "");
    // In the clear there is nothing to be had.
    let answer = bridge.raw("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert!(!answer.contains("HTTP/1.1"), "{answer}");
    bridge.stop().await;
}

#[tokio::test]
async fn by_the_unix_socket_one_is_known_by_the_kernels_word_and_needs_no_token() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("http.sock");
    let bridge = Bridge::start(&format!("listen = [\"unix:{}\"]\n", path.display()));
    let ask = async |more: &str| {
        let mut stream = UnixStream::connect(&path).await.unwrap();
        let request =
            format!("GET /v1/session HTTP/1.1\r\nHost: anything\r\n{more}Connection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    let answer = ask("").await;
    assert!(answer.contains("200 OK") && answer.contains("\"role\":\"admin\""), "{answer}");
    // Who brings a token is who the token says.
    assert!(ask("Authorization: Bearer x\r\n").await.contains("401 Unauthorized"));
    bridge.stop().await;
    assert!(!path.exists());
}

/// Whoever came through a proxy before the socket was the proxy's user, root perhaps; and where `ssh -L` leads to it, any page in
/// the browser beside could ask in the name of who forwards it.
#[tokio::test]
async fn by_the_unix_socket_neither_a_proxys_visitors_nor_pages_are_the_user() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("http.sock");
    let config = format!("listen = [\"unix:{}\"]\nhosts = [\"monitor.example.org\"]\n", path.display());
    let bridge = Bridge::start(&config);
    let token = bridge.token("laptop");
    let ask = async |method: &str, headers: &str| {
        let mut stream = tokio::net::UnixStream::connect(&path).await.unwrap();
        let path = if method == "GET" { "/v1/who" } else { "/v1/echo" };
        let request = format!("{method} {path} HTTP/1.1\r\n{headers}Connection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        timeout(LONG, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
        answer.split(' ').nth(1).unwrap_or_default().to_owned()
    };
    for host in
        ["", "Host: x\r\n", "Host: localhost:80\r\n", "Host: 127.0.0.1\r\n", "Host: monitor.example.org\r\n"]
    {
        assert_eq!(ask("GET", host).await, "200", "{host}");
    }
    for sign in
        ["X-Forwarded-For: 192.0.2.1", "Forwarded: for=192.0.2.1", "Via: 1.1 x", "X-Real-IP: 192.0.2.1"]
    {
        let headers = format!("Host: x\r\n{sign}\r\n");
        assert_eq!(ask("GET", &headers).await, "401", "{sign}");
        let headers = format!("{headers}Authorization: Bearer {token}\r\n");
        assert_eq!(ask("GET", &headers).await, "200", "{sign}");
    }
    for (method, headers, status) in [
        ("GET", "Host: evil.example\r\n", "421"),
        ("POST", "Host: evil.example\r\nOrigin: http://evil.example\r\n", "421"),
        ("POST", "Host: localhost:7380\r\nOrigin: http://evil.example\r\n", "403"),
        ("POST", "Host: localhost:7380\r\nSec-Fetch-Site: cross-site\r\n", "403"),
        ("POST", "Host: localhost:7380\r\nOrigin: http://localhost:7380\r\n", "200"),
        ("POST", "Host: localhost\r\n", "200"),
    ] {
        assert_eq!(ask(method, headers).await, status, "{method} {headers}");
    }
    bridge.stop().await;
}

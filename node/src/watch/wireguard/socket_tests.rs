use std::{fs, path::PathBuf};

use tempfile::TempDir;
use tokio::{io::BufReader, net::UnixListener, task::JoinHandle};

use super::*;

const KEY: &str = "b85996fecc9c7f1fc6d2572a76eda11d59bcd20be8e543b15ce4bd85a8e75a33";

/// One interface that answers one question, as wireguard-go does, with bytes of the test's choice.
struct Interface {
    _dir: TempDir,
    path: PathBuf,
    listener: UnixListener,
}

impl Interface {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("wg0.sock");
        let listener = UnixListener::bind(&path).unwrap();
        Self { _dir: dir, path, listener }
    }

    /// Checks the question, writes `pieces` one by one, and holds the connection until it is closed from
    /// the other side, unless it is to `hang_up`.
    async fn serve(self, pieces: Vec<Vec<u8>>, hang_up: bool) {
        let mut stream = BufReader::new(self.listener.accept().await.unwrap().0);
        let mut question = vec![0; GET.len()];
        stream.read_exact(&mut question).await.unwrap();
        assert_eq!(question, GET);
        for piece in pieces {
            // The other side may have had enough.
            if stream.write_all(&piece).await.is_err() {
                return;
            }
            tokio::task::yield_now().await;
        }
        if !hang_up {
            let _ = stream.read(&mut [0]).await;
        }
    }

    fn answers(self, pieces: Vec<Vec<u8>>) -> JoinHandle<()> {
        tokio::spawn(self.serve(pieces, false))
    }
}

async fn ask_one_that_answers(answer: &str) -> Result<Answer, Failure> {
    let interface = Interface::new();
    let path = interface.path.clone();
    let served = interface.answers(vec![answer.as_bytes().to_vec()]);
    let got = ask(&path).await;
    served.await.unwrap();
    got
}

#[tokio::test]
async fn an_answer_in_pieces_of_any_size_is_put_together() {
    let text = format!(
        "private_key={KEY}\nlisten_port=51820\nfwmark=1\npublic_key={KEY}\npreshared_key={KEY}\n\
         protocol_version=1\nendpoint=192.0.2.1:51820\nlast_handshake_time_sec=0\n\
         last_handshake_time_nsec=0\ntx_bytes=1\nrx_bytes=2\npersistent_keepalive_interval=25\n\
         allowed_ip=10.0.0.0/8\nerrno=0\n\n"
    );
    for size in [1, 7, 100, text.len()] {
        let interface = Interface::new();
        let path = interface.path.clone();
        let served = interface.answers(text.as_bytes().chunks(size).map(<[u8]>::to_vec).collect());
        let peers = ask(&path).await.unwrap().peers;
        served.await.unwrap();
        assert_eq!(peers.len(), 1);
        let peer = peers.values().next().unwrap();
        assert_eq!((peer.tx_bytes, peer.rx_bytes, peer.keepalive), (1, 2, Some(25)));
        assert_eq!((peer.latest_handshake, peer.online), (None, false));
    }
}

#[tokio::test]
async fn as_many_peers_as_fit_an_answer_are_read_through_a_small_buffer() {
    let peers: String = (0..5000)
        .map(|n| format!("public_key={n:064x}\npreshared_key={KEY}\nallowed_ip=10.0.0.0/8\n"))
        .collect();
    assert!(peers.len() > 20 * BUFFER);
    assert_eq!(ask_one_that_answers(&format!("{peers}errno=0\n\n")).await.unwrap().peers.len(), 5000);
}

#[tokio::test]
async fn a_refusal_keeps_its_errno() {
    let failure = ask_one_that_answers("errno=13\n\n").await.unwrap_err();
    assert!(matches!(failure, Failure::Answer(UapiError::Errno(13))), "{failure:?}");
}

#[tokio::test]
async fn no_failure_shows_a_secret() {
    let secret = format!("private_key={KEY}\npreshared_key={KEY}\n");
    for rest in [
        format!("public_key={KEY}x\n\n"),
        format!("{KEY}\n\n"),
        format!("allowed_ip={KEY}\n\n"),
        format!("private_key={}", KEY.repeat(20)),
        format!("public_key={KEY}\npreshared_key={KEY}\nendpoint={KEY}\n\n"),
    ] {
        let failure = ask_one_that_answers(&format!("{secret}{rest}")).await.unwrap_err();
        let shown = format!("{failure} {failure:?} {}", failure.remedy());
        assert!(matches!(failure, Failure::Answer(_)) && !shown.contains(&KEY[..8]), "{shown}");
    }
}

#[tokio::test]
async fn half_an_answer_is_none() {
    let interface = Interface::new();
    let path = interface.path.clone();
    let served = tokio::spawn(interface.serve(vec![format!("public_key={KEY}\nrx_by").into_bytes()], true));
    let failure = ask(&path).await.unwrap_err();
    served.await.unwrap();
    assert!(matches!(&failure, Failure::Io(e) if e.kind() == io::ErrorKind::UnexpectedEof), "{failure:?}");
}

#[tokio::test(start_paused = true)]
async fn one_that_never_answers_is_waited_for_no_longer_than_the_timeout() {
    for pieces in [vec![], vec![b"listen_port=1\n".to_vec()]] {
        let interface = Interface::new();
        let path = interface.path.clone();
        let served = interface.answers(pieces);
        let start = tokio::time::Instant::now();
        let failure = ask(&path).await.unwrap_err();
        assert!(matches!(failure, Failure::Timeout), "{failure:?}");
        assert!(start.elapsed() >= TIMEOUT && start.elapsed() < 2 * TIMEOUT);
        served.await.unwrap();
    }
}

#[tokio::test]
async fn a_line_without_end_is_cut_off() {
    let failure = ask_one_that_answers(&"x".repeat(1 << 20)).await.unwrap_err();
    assert!(matches!(failure, Failure::Answer(UapiError::LineTooLong(1))), "{failure:?}");
}

#[tokio::test]
async fn a_socket_without_anybody_behind_it_is_dead() {
    let interface = Interface::new();
    let path = interface.path.clone();
    drop(interface.listener);
    let failure = ask(&path).await.unwrap_err();
    assert!(matches!(&failure, Failure::Dead(e) if e.kind() == io::ErrorKind::ConnectionRefused));
    fs::remove_file(&path).unwrap();
    assert!(matches!(ask(&path).await.unwrap_err(), Failure::Dead(_)));
}

#[test]
fn a_socket_of_somebody_else_is_for_root_to_read() {
    let failure = Failure::Io(io::ErrorKind::PermissionDenied.into());
    assert_eq!(failure.remedy(), "run the node as root");
}

use std::{
    fs,
    os::unix::net::UnixDatagram,
    sync::{Arc, Mutex},
};

use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixListener,
    sync::mpsc,
    task::JoinHandle,
};

use super::*;

/// Longer than any wait here; a test that gets there has failed.
const DEADLINE: Duration = Duration::from_secs(20);

/// A machine with a folder for sockets and one that lists interfaces, and its watcher.
struct Machine {
    dir: TempDir,
    rtnetlink: UnixDatagram,
    seen: mpsc::Receiver<Observation>,
    task: JoinHandle<()>,
}

impl Machine {
    /// Starts watching before the folder for sockets is there.
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let class_net = dir.path().join("net");
        fs::create_dir(&class_net).unwrap();
        let config = WireguardConfig { uapi_dir: dir.path().join("wireguard"), ..WireguardConfig::default() };
        let (rtnetlink, links) = UnixDatagram::pair().unwrap();
        links.set_nonblocking(true).unwrap();
        let (out, seen) = mpsc::channel(16);
        let task = tokio::spawn(async move {
            run(&config, &class_net, Links::of(links.into()), &out).await;
        });
        Self { dir, rtnetlink, seen, task }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn make_uapi_dir(&self) {
        fs::create_dir(self.path("wireguard")).unwrap();
    }

    fn socket(&self, interface: &str) -> PathBuf {
        self.path(&format!("wireguard/{interface}.sock"))
    }

    async fn next(&mut self) -> WgFacet {
        match tokio::time::timeout(DEADLINE, self.seen.recv()).await.unwrap().unwrap() {
            Observation::WgPeers(facet) => facet,
            other => panic!("{other:?}"),
        }
    }

    /// The next report, which must be of peers: their interfaces and the first bytes of their keys.
    async fn next_peers(&mut self) -> Vec<(String, u8)> {
        match self.next().await {
            Facet::Ready(peers) => {
                peers.into_keys().map(|key| (key.interface, key.public_key.0[0])).collect()
            }
            other => panic!("{other:?}"),
        }
    }

    async fn next_reason(&mut self) -> String {
        match self.next().await {
            Facet::Unavailable(why) => why.reason,
            other => panic!("{other:?}"),
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A daemon of one interface, whose answer can be changed while it runs.
struct Daemon {
    answer: Arc<Mutex<String>>,
    task: JoinHandle<()>,
}

impl Daemon {
    fn start(path: &Path, answer: String) -> Self {
        Self::serve(UnixListener::bind(path).unwrap(), answer)
    }

    fn serve(listener: UnixListener, answer: String) -> Self {
        let answer = Arc::new(Mutex::new(answer));
        let served = answer.clone();
        let task = tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let _ = stream.read_exact(&mut [0; 7]).await;
                let text = served.lock().unwrap().clone();
                let _ = stream.write_all(text.as_bytes()).await;
            }
        });
        Self { answer, task }
    }

    fn answer(&self, answer: String) {
        *self.answer.lock().unwrap() = answer;
    }

    /// Ends as by SIGKILL: the socket stays behind.
    async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

/// An answer with peers of these keys.
fn peers(keys: &[u8]) -> String {
    let line = |key: &u8| format!("public_key={}\n", format!("{key:02x}").repeat(32));
    keys.iter().map(line).collect::<String>() + "errno=0\n\n"
}

fn of(interface: &str, key: u8) -> (String, u8) {
    (interface.to_owned(), key)
}

#[tokio::test]
async fn an_interface_is_seen_as_it_appears_changes_and_vanishes() {
    let mut machine = Machine::start();
    assert_eq!(machine.next_peers().await, []);
    machine.make_uapi_dir();
    let daemon = Daemon::start(&machine.socket("wg0"), peers(&[1]));
    assert_eq!(machine.next_peers().await, [of("wg0", 1)]);
    daemon.answer(peers(&[1, 2]));
    assert_eq!(machine.next_peers().await, [of("wg0", 1), of("wg0", 2)]);
    let _other = Daemon::start(&machine.socket("wg1"), peers(&[1]));
    assert_eq!(machine.next_peers().await, [of("wg0", 1), of("wg0", 2), of("wg1", 1)]);
    fs::remove_file(machine.socket("wg0")).unwrap();
    assert_eq!(machine.next_peers().await, [of("wg1", 1)]);
}

#[tokio::test]
async fn a_killed_daemon_leaves_no_peers_and_its_successor_is_found() {
    let mut machine = Machine::start();
    assert_eq!(machine.next_peers().await, []);
    machine.make_uapi_dir();
    let daemon = Daemon::start(&machine.socket("wg0"), peers(&[1]));
    assert_eq!(machine.next_peers().await, [of("wg0", 1)]);
    daemon.kill().await;
    assert_eq!(machine.next_peers().await, []);
    fs::remove_file(machine.socket("wg0")).unwrap();
    let _daemon = Daemon::start(&machine.socket("wg0"), peers(&[2]));
    assert_eq!(machine.next_peers().await, [of("wg0", 2)]);
}

#[tokio::test]
async fn a_socket_that_refuses_at_first_is_tried_again() {
    use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket};
    use std::os::fd::AsRawFd as _;

    let mut machine = Machine::start();
    assert_eq!(machine.next_peers().await, []);
    machine.make_uapi_dir();
    let fd = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_NONBLOCK, None).unwrap();
    bind(fd.as_raw_fd(), &UnixAddr::new(&machine.socket("wg0")).unwrap()).unwrap();
    // Bound and not listening, it refuses. Another interface shows that it was looked at meanwhile.
    let _other = Daemon::start(&machine.socket("wg1"), peers(&[1]));
    assert_eq!(machine.next_peers().await, [of("wg1", 1)]);
    listen(&fd, Backlog::new(8).unwrap()).unwrap();
    let listener = std::os::unix::net::UnixListener::from(fd);
    let _daemon = Daemon::serve(UnixListener::from_std(listener).unwrap(), peers(&[2]));
    assert_eq!(machine.next_peers().await, [of("wg0", 2), of("wg1", 1)]);
}

#[tokio::test]
async fn an_interface_that_cannot_be_read_hides_the_others_until_it_can() {
    let mut machine = Machine::start();
    assert_eq!(machine.next_peers().await, []);
    machine.make_uapi_dir();
    let daemon = Daemon::start(&machine.socket("wg1"), peers(&[1]));
    assert_eq!(machine.next_peers().await, [of("wg1", 1)]);
    let broken = Daemon::start(&machine.socket("wg0"), "errno=5\n\n".to_owned());
    assert_eq!(
        machine.next_reason().await,
        "cannot read WireGuard interface wg0: the interface answered with errno 5"
    );
    // What changes meanwhile is not told before the whole is known again.
    daemon.answer(peers(&[3]));
    broken.answer(peers(&[2]));
    assert_eq!(machine.next_peers().await.first(), Some(&of("wg0", 2)));
}

#[tokio::test]
async fn a_daemon_that_fails_once_does_not_make_the_facet_flap() {
    let mut machine = Machine::start();
    assert_eq!(machine.next_peers().await, []);
    machine.make_uapi_dir();
    let listener = UnixListener::bind(machine.socket("wg0")).unwrap();
    // It ends in the middle of an answer.
    drop(tokio::time::timeout(DEADLINE, listener.accept()).await.unwrap().unwrap());
    let _daemon = Daemon::serve(listener, peers(&[1]));
    assert_eq!(machine.next_peers().await, [of("wg0", 1)]);
}

#[tokio::test]
async fn an_interface_of_the_kernel_is_noticed_by_a_link_message_alone() {
    let mut machine = Machine::start();
    assert_eq!(machine.next_peers().await, []);
    let kernel = machine.path("net/wg9");
    fs::create_dir(&kernel).unwrap();
    fs::write(kernel.join("uevent"), "DEVTYPE=wireguard\n").unwrap();
    machine.rtnetlink.send(&[0; 1000]).unwrap();
    assert!(machine.next_reason().await.starts_with("wg9 is a WireGuard interface of the kernel"));
    fs::remove_dir_all(&kernel).unwrap();
    machine.rtnetlink.send(&[0; 1000]).unwrap();
    assert_eq!(machine.next_peers().await, []);
}

#[tokio::test]
async fn a_link_message_is_not_lost_when_the_time_for_a_look_comes_first() {
    let dir = tempfile::tempdir().unwrap();
    let mut watch = PathWatch::new(dir.path(), Expect::Directory).unwrap();
    watch.arm().unwrap();
    let (rtnetlink, links) = UnixDatagram::pair().unwrap();
    links.set_nonblocking(true).unwrap();
    let mut links = Links::of(links.into());
    rtnetlink.send(&[0; 1000]).unwrap();
    let woken = wait(&mut watch, &mut links, Some(LINKS_DELAY / 2)).await;
    assert!(matches!(woken, Woken::Links));
    assert!(matches!(wait(&mut watch, &mut links, Some(LINKS_DELAY / 2)).await, Woken::Timer));
}

#[tokio::test]
async fn switched_off_it_says_so_and_ends() {
    let (out, mut seen) = mpsc::channel(1);
    let config = WireguardConfig { enabled: false, ..WireguardConfig::default() };
    watch(config, out, CancellationToken::new()).await;
    assert_eq!(seen.recv().await, Some(Observation::WgPeers(Facet::NotMonitored)));
    assert_eq!(seen.recv().await, None);
}

#[tokio::test]
async fn it_ends_when_it_is_cancelled() {
    let dir = tempfile::tempdir().unwrap();
    let (out, mut seen) = mpsc::channel(1);
    let cancel = CancellationToken::new();
    let config = WireguardConfig { uapi_dir: dir.path().to_owned(), ..WireguardConfig::default() };
    let task = tokio::spawn(watch(config, out, cancel.clone()));
    assert!(matches!(seen.recv().await, Some(Observation::WgPeers(_))));
    cancel.cancel();
    tokio::time::timeout(DEADLINE, task).await.unwrap().unwrap();
}

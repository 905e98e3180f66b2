use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    sync::{Arc, Mutex},
};

use secmon_protocol::wireguard::WgPublicKey;

use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{UnixDatagram, UnixListener},
    sync::mpsc,
    task::JoinHandle,
};

use super::*;

/// Longer than any wait here; a test that gets there has failed.
const DEADLINE: Duration = Duration::from_secs(20);

/// A kernel whose interfaces, with the peers of each, a test can change.
#[derive(Clone, Default)]
struct FakeKernel {
    interfaces: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
    /// How often they were listed.
    looks: Arc<Mutex<u32>>,
}

impl Kernel for FakeKernel {
    async fn interfaces(&mut self) -> Result<BTreeMap<String, u32>, netlink::Failure> {
        *self.looks.lock().unwrap() += 1;
        Ok(self.interfaces.lock().unwrap().keys().cloned().zip(1..).collect())
    }

    async fn peers(&mut self, index: u32) -> Result<BTreeMap<WgPublicKey, WgPeer>, netlink::Failure> {
        let interfaces = self.interfaces.lock().unwrap();
        let keys =
            interfaces.values().nth(usize::try_from(index).unwrap() - 1).ok_or(netlink::Failure::Gone)?;
        let peer = WgPeer {
            endpoint: None,
            allowed_ips: Vec::new(),
            latest_handshake: None,
            rx_bytes: 0,
            tx_bytes: 0,
            keepalive: None,
            online: false,
        };
        Ok(keys.iter().map(|key| (WgPublicKey([*key; 32]), peer.clone())).collect())
    }
}

/// A machine with a folder for sockets and a kernel, and its watcher.
struct Machine {
    dir: TempDir,
    kernel: FakeKernel,
    rtnetlink: UnixDatagram,
    seen: mpsc::Receiver<Observation>,
    task: JoinHandle<()>,
}

impl Machine {
    /// Starts watching before the folder for sockets is there.
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let uapi_dirs = vec![dir.path().join("wireguard")];
        let config = WireguardConfig { uapi_dirs, ..WireguardConfig::default() };
        let (rtnetlink, links) = UnixDatagram::pair().unwrap();
        let kernel = FakeKernel::default();
        let of_watcher = kernel.clone();
        let (out, seen) = mpsc::channel(16);
        let task = tokio::spawn(async move {
            run(&config, of_watcher, Links::of(links), &out).await;
        });
        Self { dir, kernel, rtnetlink, seen, task }
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
    let set = |machine: &Machine, keys: Option<Vec<u8>>| {
        let mut interfaces = machine.kernel.interfaces.lock().unwrap();
        *interfaces = keys.map(|keys| ("wg9".to_owned(), keys)).into_iter().collect();
    };
    set(&machine, Some(vec![9]));
    machine.rtnetlink.send(&[0; 1000]).await.unwrap();
    assert_eq!(machine.next_peers().await, [of("wg9", 9)]);
    // Of a change of its peers nothing tells.
    set(&machine, Some(vec![9, 10]));
    assert_eq!(machine.next_peers().await, [of("wg9", 9), of("wg9", 10)]);
    set(&machine, None);
    machine.rtnetlink.send(&[0; 1000]).await.unwrap();
    assert_eq!(machine.next_peers().await, []);
}

#[tokio::test]
async fn a_link_message_is_not_lost_when_the_time_for_a_look_comes_first() {
    let dir = tempfile::tempdir().unwrap();
    let Ok(mut folders) = Folders::watch(&[dir.path().to_owned()]) else { panic!("not watched") };
    let (rtnetlink, links) = UnixDatagram::pair().unwrap();
    let mut links = Links::of(links);
    rtnetlink.send(&[0; 1000]).await.unwrap();
    let woken = wait(&mut folders, &mut links, Some(LINKS_DELAY / 2)).await;
    assert!(matches!(woken, Woken::Links));
    assert!(matches!(wait(&mut folders, &mut links, Some(LINKS_DELAY / 2)).await, Woken::Timer));
}

/// How often a machine with these interfaces is looked at in an hour.
async fn looks_in_an_hour(interfaces: &[&str]) -> u32 {
    let dir = tempfile::tempdir().unwrap();
    let (rtnetlink, links) = UnixDatagram::pair().unwrap();
    // Broken, it tells nothing more, so that every look lists the interfaces, and is counted.
    rtnetlink.send(&[]).await.unwrap();
    let (out, mut seen) = mpsc::channel(16);
    let config = WireguardConfig { uapi_dirs: vec![dir.path().to_owned()], ..WireguardConfig::default() };
    let kernel = FakeKernel::default();
    for name in interfaces {
        kernel.interfaces.lock().unwrap().insert((*name).to_owned(), vec![1]);
    }
    let watcher = run(&config, kernel.clone(), Links::of(links), &out);
    // Time jumps from timer to timer.
    assert!(tokio::time::timeout(Duration::from_secs(3600), watcher).await.is_err());
    assert!(matches!(seen.recv().await, Some(Observation::WgPeers(Facet::Ready(_)))));
    *kernel.looks.lock().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_machine_without_wireguard_is_looked_at_no_more() {
    let looks = looks_in_an_hour(&[]).await;
    assert!(looks <= 2, "{looks}: at the start, and because interfaces are no longer told");
    let looks = looks_in_an_hour(&["wg0"]).await;
    assert!((3600 / 5 - 1..=3600 / 5 + 3).contains(&looks), "{looks}");
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
    let config = WireguardConfig { uapi_dirs: vec![dir.path().to_owned()], ..WireguardConfig::default() };
    let task = tokio::spawn(watch(config, out, cancel.clone()));
    assert!(matches!(seen.recv().await, Some(Observation::WgPeers(_))));
    cancel.cancel();
    tokio::time::timeout(DEADLINE, task).await.unwrap().unwrap();
}

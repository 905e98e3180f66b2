//! Connections of other users: a thread takes on their numbers for good, connects, and hands the stream over. What the
//! kernel tells of a peer is what it was when it connected.

use std::{
    env,
    fs::{self, OpenOptions, Permissions},
    io::Write as _,
    os::unix::{fs::PermissionsExt as _, net::UnixStream as StdStream},
    path::Path,
    thread,
};

use rustix::{
    process::{Gid, Uid, geteuid},
    thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid},
};
use secmon_hub::{HubConfig, SocketSection, access::AccessSection};
use secmon_protocol::message::{
    Refusal,
    client::{ClientToHub, HubToClient, Role},
};
use tokio::net::UnixStream;

use crate::common::{Client, Conn, Running, config};

/// Somebody, with numbers that no account has.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Person {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Supplementary groups.
    pub(crate) groups: &'static [u32],
}

pub(crate) const ROOT: Person = Person { uid: 0, gid: 0, groups: &[] };
/// By a rule about his uid.
pub(crate) const VIEWER: Person = person(4_000_101, &[]);
/// By a rule about a supplementary group of his.
pub(crate) const OPERATOR: Person = person(4_000_102, &[4_000_500, 4_000_777]);
/// By a rule about his own group.
pub(crate) const ADMIN: Person = person(4_000_103, &[]);
/// By none.
pub(crate) const STRANGER: Person = person(4_000_104, &[4_000_500, 4_000_101]);

const fn person(uid: u32, groups: &'static [u32]) -> Person {
    Person { uid, gid: uid + 1000, groups }
}

/// Whether this test may take on other users' numbers. Where not it is skipped, loudly, as in the testkit.
pub(crate) fn may_be_others(test: &str) -> bool {
    if geteuid().is_root() {
        return true;
    }
    let report = format!("SKIPPED {test}: this machine lacks root");
    assert!(env::var("CI").as_deref() != Ok("true"), "{report}; with CI=true nothing is skipped");
    eprintln!("{report}");
    if let Some(file) = env::var_os("SECMON_SKIPPED_FILE") {
        let file = OpenOptions::new().create(true).append(true).open(file);
        file.and_then(|mut file| writeln!(file, "{report}")).expect("SECMON_SKIPPED_FILE is writable");
    }
    false
}

/// A configuration that gives each of them his role on `web-*`, and a socket that anybody can reach.
pub(crate) fn with_rules(dir: &Path) -> HubConfig {
    fs::set_permissions(dir, Permissions::from_mode(0o755)).unwrap();
    let rule = |users: &[u32], groups: &[u32], role| AccessSection {
        users: users.iter().copied().map(secmon_hub::access::Account::Number).collect(),
        groups: groups.iter().copied().map(secmon_hub::access::Account::Number).collect(),
        role,
        nodes: Some(vec!["web-*".to_owned()]),
        commands: (role == Role::Operator).then(|| vec!["restart-*".to_owned()]),
    };
    HubConfig {
        socket: SocketSection { mode: 0o666, ..SocketSection::default() },
        access: vec![
            rule(&[VIEWER.uid], &[], Role::Viewer),
            rule(&[], &[4_000_777], Role::Operator),
            rule(&[], &[ADMIN.gid], Role::Admin),
        ],
        ..config(dir)
    }
}

impl Person {
    /// Connects, without a word.
    pub(crate) fn connect(self, socket: &Path) -> Conn<UnixStream> {
        let path = socket.to_owned();
        let stream = thread::spawn(move || {
            if self.uid != 0 {
                let groups: Vec<Gid> = self.groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
                set_thread_groups(&groups).unwrap();
                let gid = Gid::from_raw(self.gid);
                set_thread_res_gid(gid, gid, gid).unwrap();
                let uid = Uid::from_raw(self.uid);
                set_thread_res_uid(uid, uid, uid).unwrap();
            }
            StdStream::connect(path).unwrap()
        });
        let stream = stream.join().unwrap();
        stream.set_nonblocking(true).unwrap();
        Conn::new(UnixStream::from_std(stream).unwrap())
    }

    /// Says Hello, and is let in or not.
    pub(crate) async fn try_client(self, hub: &Running) -> Result<Client, Refusal> {
        let mut wire = self.connect(&hub.socket);
        wire.send(&ClientToHub::Hello { version: 1, agent: "test".into() }).await;
        match wire.next().await {
            Some(HubToClient::Welcome { .. }) => Ok(Client::on(wire)),
            Some(HubToClient::Reject(refusal)) => {
                assert!(wire.next::<HubToClient>().await.is_none(), "the connection ends");
                Err(refusal)
            }
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn client(self, hub: &Running) -> Client {
        self.try_client(hub).await.unwrap()
    }
}

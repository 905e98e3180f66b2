//! The hub's part of the configuration, and its checks: all of them happen before a port is bound or a
//! file is written.

mod jobs;

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use serde::{
    Deserialize, Deserializer,
    de::{self, SeqAccess, Visitor},
};

use secmon_protocol::{
    address::{DEFAULT_PORT, with_port},
    units,
};

pub use self::jobs::JobsSection;
use crate::{
    HubError,
    access::{self, AccessSection, Account},
};

/// Most entries of `hub.advertise`; a token carries no more addresses.
const MAX_ADVERTISE: usize = secmon_protocol::token::MAX_ADDRESSES;
/// Longest path of a Unix socket in bytes, unix(7): 108 with the final NUL.
const MAX_SOCKET_PATH: usize = 107;

/// Least that `log.size` may be: enough for a moment's records.
const MIN_LOG_SIZE: u64 = 1 << 20;
/// Most that `log.size` may be, so that a slip of the pen is noticed.
const MAX_LOG_SIZE: u64 = 1 << 40;
/// Least that `log.age` may be.
const MIN_LOG_AGE: Duration = Duration::from_secs(60);
/// Most that `log.age` may be.
const MAX_LOG_AGE: Duration = Duration::from_secs(3650 * 24 * 60 * 60);

/// `[hub]` of the configuration file.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HubSection {
    /// The address and port for nodes; port 0 lets the system choose. Default `0.0.0.0:7373`.
    pub listen: SocketAddr,
    /// What join tokens name as the hub's address, `HOST` or `HOST:PORT`; one or a list of at most four,
    /// best first. Default: what `listen` says, or this machine's addresses where that is any address.
    #[serde(deserialize_with = "one_or_many")]
    pub advertise: Vec<String>,
    /// Seconds between heartbeats, 1 to 3600; a node that is silent for three of them is gone. Default 15.
    pub heartbeat_secs: u32,
}

impl Default for HubSection {
    fn default() -> Self {
        Self {
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), DEFAULT_PORT),
            advertise: vec![],
            heartbeat_secs: 15,
        }
    }
}

impl HubSection {
    /// Time between heartbeats.
    pub(crate) fn heartbeat(&self) -> Duration {
        Duration::from_secs(u64::from(self.heartbeat_secs))
    }
}

/// `[socket]` of the configuration file.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SocketSection {
    /// Where clients find the hub. Default: chosen by the program.
    pub path: Option<PathBuf>,
    /// The socket file's mode, as an octal text: `"0660"`, the default.
    #[serde(deserialize_with = "mode")]
    pub mode: u32,
    /// The socket file's group, by name or number. Default: the hub's own.
    pub group: Option<Account>,
}

impl Default for SocketSection {
    fn default() -> Self {
        Self { path: None, mode: 0o660, group: None }
    }
}

/// `[log]` of the configuration file: how much of the log is kept for subscribers that are behind.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogSection {
    /// Bytes on the disk, 1 MiB to 1 TiB, as `"256MiB"`, the default. The oldest go when it is more.
    #[serde(deserialize_with = "size")]
    pub size: u64,
    /// How long, a minute to ten years, as `"7d"`, the default.
    #[serde(deserialize_with = "age")]
    pub age: Duration,
    /// What may be lost with the machine's power. Default `"process"`.
    pub durability: Durability,
}

impl Default for LogSection {
    fn default() -> Self {
        Self { size: 256 << 20, age: Duration::from_secs(7 * 24 * 60 * 60), durability: Durability::Process }
    }
}

/// What an acknowledged record survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// A crash of the hub. A power cut may take the last moments, and subscribers get a gap that says so.
    Process,
    /// A power cut as well, at the cost of a sync of the disk for every commit.
    Power,
}

/// Everything a hub needs to start.
#[derive(Debug, Clone)]
pub struct HubConfig {
    /// The folder for the CA's key and the stored state; made with mode 0700 where it is not there.
    pub state_dir: PathBuf,
    /// `[hub]`.
    pub hub: HubSection,
    /// `[log]`.
    pub log: LogSection,
    /// `[jobs]`.
    pub jobs: JobsSection,
    /// `[socket]`.
    pub socket: SocketSection,
    /// `[[access]]`: who may do what, beside root and the hub's own user.
    pub access: Vec<AccessSection>,
    /// Where the socket for clients goes; `socket.path` is not looked at.
    pub socket_path: PathBuf,
}

impl HubConfig {
    /// Checks what parsing alone does not.
    ///
    /// # Errors
    /// The first key whose value makes no sense.
    pub fn check(&self) -> Result<(), HubError> {
        if !(1..=3600).contains(&self.hub.heartbeat_secs) {
            return Err(HubError::config("hub.heartbeat_secs", "1 to 3600 seconds are possible"));
        }
        if !(MIN_LOG_SIZE..=MAX_LOG_SIZE).contains(&self.log.size) {
            return Err(HubError::config("log.size", "1 MiB to 1 TiB are possible"));
        }
        if !(MIN_LOG_AGE..=MAX_LOG_AGE).contains(&self.log.age) {
            return Err(HubError::config("log.age", "1 minute to 3650 days are possible"));
        }
        self.jobs.check()?;
        if self.hub.advertise.len() > MAX_ADVERTISE {
            return Err(HubError::config("hub.advertise", format!("at most {MAX_ADVERTISE} are possible")));
        }
        for address in &self.hub.advertise {
            advertised(address, DEFAULT_PORT)?;
        }
        if self.socket.mode > 0o777 {
            return Err(HubError::config("socket.mode", "0000 to 0777 are possible"));
        }
        access::check(&self.access)?;
        if self.socket_path.as_os_str().len() > MAX_SOCKET_PATH {
            let reason = format!(
                "a socket's path has at most {MAX_SOCKET_PATH} bytes, {} has {}; choose a shorter one with --socket",
                self.socket_path.display(),
                self.socket_path.as_os_str().len()
            );
            return Err(HubError::config("socket.path", reason));
        }
        Ok(())
    }
}

/// An entry of `hub.advertise` with its port.
///
/// # Errors
/// It is no address.
pub(crate) fn advertised(entry: &str, port: u16) -> Result<String, HubError> {
    with_port(entry, port).ok_or_else(|| {
        let reason = format!(
            "{entry:?} is neither a host, as hub.example.org, nor a host and a port, as 192.0.2.1:7373"
        );
        HubError::config("hub.advertise", reason)
    })
}

fn one_or_many<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    struct OneOrMany;
    impl<'de> Visitor<'de> for OneOrMany {
        type Value = Vec<String>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an address or a list of addresses")
        }
        fn visit_str<E: de::Error>(self, one: &str) -> Result<Self::Value, E> {
            Ok(vec![one.to_owned()])
        }
        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            let mut many = vec![];
            while let Some(one) = seq.next_element()? {
                many.push(one);
            }
            Ok(many)
        }
    }
    from.deserialize_any(OneOrMany)
}

fn size<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    units::bytes(&String::deserialize(from)?).map_err(de::Error::custom)
}

fn age<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    units::duration(&String::deserialize(from)?).map_err(de::Error::custom)
}

fn mode<'de, D: Deserializer<'de>>(from: D) -> Result<u32, D::Error> {
    struct Mode;
    impl Visitor<'_> for Mode {
        type Value = u32;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a file mode in octal, as \"0660\"")
        }
        fn visit_str<E: de::Error>(self, text: &str) -> Result<u32, E> {
            let digits = text.strip_prefix("0o").unwrap_or(text);
            match u32::from_str_radix(digits, 8) {
                Ok(mode) if mode <= 0o777 => Ok(mode),
                _ => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
            }
        }
        fn visit_i64<E: de::Error>(self, mode: i64) -> Result<u32, E> {
            match u32::try_from(mode) {
                Ok(mode) if mode <= 0o777 => Ok(mode),
                _ => Err(E::invalid_value(de::Unexpected::Signed(mode), &self)),
            }
        }
    }
    from.deserialize_any(Mode)
}

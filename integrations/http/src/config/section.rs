//! The keys of `http.toml`.

use std::{fmt, marker::PhantomData, net::SocketAddr, path::PathBuf, str::FromStr, time::Duration};

use ipnet::IpNet;
use secmon_protocol::{message::client::Role, units};
use serde::{Deserialize, Deserializer, de};

use crate::access::{self, origin::ProxyHeader};

/// The configuration of the bridge.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The hub's socket; `--socket` wins.
    pub socket: Option<PathBuf>,
    /// The folder of what it keeps; `--state-dir` wins.
    pub state_dir: Option<PathBuf>,
    /// Where it listens; `--listen` wins.
    #[serde(deserialize_with = "one_or_many")]
    pub listen: Vec<Listen>,
    /// Names that it answers to, beside localhost and the addresses that it listens on.
    #[serde(deserialize_with = "one_or_many")]
    pub(crate) hosts: Vec<String>,
    /// Origins whose pages may ask with a token: `https://grafana.example.org`.
    #[serde(deserialize_with = "one_or_many")]
    pub(crate) cors: Vec<String>,
    pub(crate) unix: UnixSection,
    pub(crate) tls: Option<TlsSection>,
    pub(crate) proxy: ProxySection,
    pub(crate) limits: LimitsSection,
    pub(crate) session: SessionSection,
    pub(crate) users: Vec<UserSection>,
}

/// Where to listen.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Listen {
    /// `ADDR:PORT`.
    Tcp(SocketAddr),
    /// `unix:PATH`.
    Unix(PathBuf),
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix("unix:") {
            Some("") => Err("unix: needs a path behind it, as in unix:/run/secmon-http/http.sock".to_owned()),
            Some(path) => Ok(Self::Unix(path.into())),
            None => text
                .parse()
                .map(Self::Tcp)
                .map_err(|_| format!("{text:?} is neither ADDR:PORT, as in 127.0.0.1:7380, nor unix:PATH")),
        }
    }
}

impl TryFrom<String> for Listen {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// `[unix]`: the file of a Unix socket.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct UnixSection {
    #[serde(deserialize_with = "mode")]
    pub(crate) mode: u32,
    pub(crate) group: Option<Account>,
}

impl Default for UnixSection {
    fn default() -> Self {
        Self { mode: 0o660, group: None }
    }
}

/// `[tls]`: PEM files.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TlsSection {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
}

/// `[proxy]`: who may say for whom he asks.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ProxySection {
    #[serde(deserialize_with = "one_or_many")]
    pub(crate) trusted: Vec<Network>,
    pub(crate) header: ProxyHeader,
}

/// A network, or one address.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Network(pub(crate) IpNet);

impl TryFrom<String> for Network {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let address = || text.parse::<std::net::IpAddr>().ok().map(IpNet::from);
        let network = text.parse::<IpNet>().ok().or_else(address);
        network.map(|network| Self(network.trunc())).ok_or_else(|| {
            format!("{text:?} is neither an address, as 10.0.0.1, nor a network, as 10.0.0.0/8")
        })
    }
}

/// `[limits]`.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct LimitsSection {
    pub(crate) connections: usize,
    pub(crate) connections_per_address: usize,
    #[serde(deserialize_with = "size")]
    pub(crate) body: u64,
    pub(crate) requests_per_second: u32,
    pub(crate) burst: u32,
}

impl Default for LimitsSection {
    fn default() -> Self {
        Self {
            connections: 4096,
            connections_per_address: 256,
            body: 2 << 20,
            requests_per_second: 50,
            burst: 200,
        }
    }
}

/// `[session]`.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct SessionSection {
    #[serde(deserialize_with = "time")]
    pub(crate) idle: Duration,
    #[serde(deserialize_with = "time")]
    pub(crate) age: Duration,
}

impl Default for SessionSection {
    fn default() -> Self {
        const HOUR: u64 = 60 * 60;
        Self { idle: Duration::from_secs(12 * HOUR), age: Duration::from_secs(30 * 24 * HOUR) }
    }
}

/// One of `[[users]]`: who may come by a Unix socket, and what he may.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct UserSection {
    pub(crate) user: Option<Account>,
    pub(crate) uid: Option<u32>,
    pub(crate) group: Option<Account>,
    #[serde(deserialize_with = "role")]
    pub(crate) role: Role,
    pub(crate) nodes: Option<Vec<String>>,
    pub(crate) commands: Option<Vec<String>>,
}

/// A user or a group, by name or number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Account {
    Name(String),
    Number(u32),
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(f, "{name:?}"),
            Self::Number(number) => write!(f, "{number}"),
        }
    }
}

impl<'de> Deserialize<'de> for Account {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Of;
        impl de::Visitor<'_> for Of {
            type Value = Account;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name, as \"alice\", or a number, as 1001")
            }
            fn visit_str<E: de::Error>(self, name: &str) -> Result<Account, E> {
                Ok(Account::Name(name.to_owned()))
            }
            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Account, E> {
                // The last number is none: setuid(2) takes it for "leave it as it is".
                match u32::try_from(number) {
                    Ok(number) if number != u32::MAX => Ok(Account::Number(number)),
                    _ => Err(E::invalid_value(de::Unexpected::Signed(number), &self)),
                }
            }
        }
        from.deserialize_any(Of)
    }
}

fn mode<'de, D: Deserializer<'de>>(from: D) -> Result<u32, D::Error> {
    let text = String::deserialize(from)?;
    match u32::from_str_radix(&text, 8) {
        Ok(mode) if mode <= 0o777 => Ok(mode),
        _ => Err(de::Error::custom(format!("{text:?} is no mode, such as \"0660\""))),
    }
}

fn role<'de, D: Deserializer<'de>>(from: D) -> Result<Role, D::Error> {
    access::role(&String::deserialize(from)?).map_err(de::Error::custom)
}

fn size<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    units::bytes(&String::deserialize(from)?).map_err(de::Error::custom)
}

fn time<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    units::duration(&String::deserialize(from)?).map_err(de::Error::custom)
}

/// A list, of which one may be written without brackets. By hand, so that an error about the one value keeps its words.
fn one_or_many<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Vec<T>, D::Error> {
    struct OneOrMany<T>(PhantomData<T>);
    impl<'de, T: Deserialize<'de>> de::Visitor<'de> for OneOrMany<T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a text in quotes, or a list of them")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Vec<T>, E> {
            Ok(vec![T::deserialize(de::value::StrDeserializer::new(text))?])
        }

        fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> Result<Vec<T>, A::Error> {
            let mut all = vec![];
            while let Some(one) = list.next_element()? {
                all.push(one);
            }
            Ok(all)
        }
    }
    from.deserialize_any(OneOrMany(PhantomData))
}

//! A configuration that makes sense: every check that parsing alone does not do, and names looked up.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    num::NonZeroU32,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    time::Duration,
};

use axum::http::{HeaderValue, Uri};
use nix::unistd::{Group, User};
use secmon_protocol::{limits::MAX_PATTERNS, message::client::Role};

use super::{
    ConfigError,
    section::{Account, Config, Listen, UserSection},
};
use crate::access::{
    origin::{Hosts, Proxies},
    peers::{Rule, Whom},
    sessions::Lasting,
};

/// Where it listens when nothing is said.
const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7380);
/// Most places to listen on.
const MAX_LISTEN: usize = 16;
/// Most names, origins, networks and rules, each of which is held against every request or connection.
const MAX_ENTRIES: usize = 256;
/// Longest pattern, in bytes, as in the hub's rules.
const MAX_PATTERN: usize = 256;
/// Longest path of a Unix socket in bytes, unix(7): 108 with the final NUL.
const MAX_SOCKET_PATH: usize = 107;
/// What the kernel calls every user that has no number in the namespace of who asks, user_namespaces(7). It names no one.
const OVERFLOW: u32 = 65_534;

/// What the bridge runs by.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) listen: Vec<Listen>,
    pub(crate) hosts: Hosts,
    pub(crate) cors: Vec<HeaderValue>,
    pub(crate) unix_mode: u32,
    pub(crate) unix_group: Option<u32>,
    pub(crate) tls: Option<TlsFiles>,
    pub(crate) proxies: Proxies,
    pub(crate) limits: Limits,
    pub(crate) lasting: Lasting,
    pub(crate) users: Vec<Rule>,
}

/// A certificate and its key.
#[derive(Debug, Clone)]
pub(crate) struct TlsFiles {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
}

/// What is too much.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Connections at once.
    pub(crate) connections: usize,
    /// Of them, from one address.
    pub(crate) per_address: usize,
    /// Bytes of a request's body.
    pub(crate) body: usize,
    pub(crate) per_second: NonZeroU32,
    pub(crate) burst: NonZeroU32,
}

fn wrong(key: &str, reason: impl AsRef<str>) -> ConfigError {
    ConfigError(format!("{key}: {}", reason.as_ref()))
}

impl Config {
    /// Checks it whole.
    ///
    /// # Errors
    /// The first key that makes no sense: which, why, and what to do.
    pub(crate) fn check(self) -> Result<Settings, ConfigError> {
        let listen = if self.listen.is_empty() { vec![Listen::Tcp(DEFAULT_LISTEN)] } else { self.listen };
        let proxies = Proxies {
            trusted: self.proxy.trusted.iter().map(|network| network.0).collect(),
            header: self.proxy.header,
        };
        few("hosts", self.hosts.len())?;
        few("cors", self.cors.len())?;
        few("proxy.trusted", proxies.trusted.len())?;
        few("users", self.users.len())?;
        check_listen(&listen, self.tls.is_some() || !proxies.trusted.is_empty())?;
        if let Some(all) = proxies.trusted.iter().find(|network| network.prefix_len() == 0) {
            return Err(wrong(
                "proxy.trusted",
                format!("{all} would believe everybody; name the proxies, as [\"10.0.0.1\"]"),
            ));
        }
        let tls = self.tls.map(|tls| TlsFiles { cert: tls.cert, key: tls.key });
        let tcp = listen.iter().filter_map(|listen| match listen {
            Listen::Tcp(address) if !address.ip().is_unspecified() => Some(address.ip().to_canonical()),
            _ => None,
        });
        let hosts = Hosts {
            named: self.hosts.iter().map(|host| name(host)).collect::<Result<_, _>>()?,
            listen: tcp.collect(),
        };
        let cors = self.cors.iter().map(|text| origin(text)).collect::<Result<_, _>>()?;
        let limits = &self.limits;
        within("limits.connections", limits.connections, 1..=1_000_000)?;
        within("limits.connections_per_address", limits.connections_per_address, 1..=1_000_000)?;
        let body = usize::try_from(limits.body).unwrap_or(usize::MAX);
        within("limits.body", body, 1024..=64 << 20)?;
        let rate = |key, value| {
            within(key, value as usize, 1..=1_000_000)?;
            Ok::<_, ConfigError>(NonZeroU32::new(value).unwrap_or(NonZeroU32::MIN))
        };
        let limits = Limits {
            connections: limits.connections,
            per_address: limits.connections_per_address,
            body,
            per_second: rate("limits.requests_per_second", limits.requests_per_second)?,
            burst: rate("limits.burst", limits.burst)?,
        };
        let lasting = Lasting { idle: self.session.idle, age: self.session.age };
        for (key, time) in [("session.idle", lasting.idle), ("session.age", lasting.age)] {
            if !(Duration::from_secs(60)..=Duration::from_secs(400 * 24 * 60 * 60)).contains(&time) {
                return Err(wrong(key, "it is a minute to 400 days, as \"12h\""));
            }
        }
        let unix_group = self.unix.group.as_ref().map(|group| gid("unix.group", group)).transpose()?;
        let users =
            self.users.iter().enumerate().map(|(at, user)| rule(at, user)).collect::<Result<_, _>>()?;
        Ok(Settings {
            listen,
            hosts,
            cors,
            unix_mode: self.unix.mode,
            unix_group,
            tls,
            proxies,
            limits,
            lasting,
            users,
        })
    }
}

fn few(key: &str, entries: usize) -> Result<(), ConfigError> {
    match entries {
        0..=MAX_ENTRIES => Ok(()),
        _ => Err(wrong(key, format!("{entries} entries are over the limit of {MAX_ENTRIES}"))),
    }
}

fn within(key: &str, value: usize, range: RangeInclusive<usize>) -> Result<(), ConfigError> {
    if range.contains(&value) {
        return Ok(());
    }
    Err(wrong(key, format!("{value} is not from {} to {}", range.start(), range.end())))
}

fn check_listen(listen: &[Listen], guarded: bool) -> Result<(), ConfigError> {
    if listen.len() > MAX_LISTEN {
        return Err(wrong("listen", format!("{} places are over the limit of {MAX_LISTEN}", listen.len())));
    }
    for (at, place) in listen.iter().enumerate() {
        match place {
            Listen::Tcp(address) => {
                if !address.ip().to_canonical().is_loopback() && !guarded {
                    return Err(wrong(
                        "listen",
                        format!(
                            "on {address} tokens would cross the network in the clear; give it a certificate ([tls] cert and key), \
                             name the TLS proxy before it ([proxy] trusted = [\"10.0.0.1\"]), or listen on 127.0.0.1:{}",
                            address.port()
                        ),
                    ));
                }
            }
            Listen::Unix(path) => check_socket(path)?,
        }
        if listen[..at].contains(place) && !matches!(place, Listen::Tcp(address) if address.port() == 0) {
            return Err(wrong("listen", format!("{place:?} is there twice")));
        }
    }
    Ok(())
}

fn check_socket(path: &Path) -> Result<(), ConfigError> {
    let len = path.as_os_str().len();
    if len > MAX_SOCKET_PATH {
        return Err(wrong(
            "listen",
            format!(
                "the path {} has {len} bytes, and a Unix socket's has at most {MAX_SOCKET_PATH}",
                path.display()
            ),
        ));
    }
    let folder = match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => return Err(wrong("listen", format!("unix:{} is no path of a file", path.display()))),
    };
    if !folder.is_dir() {
        return Err(wrong(
            "listen",
            format!(
                "the folder {} of the socket is not there; make it, or let systemd do so (RuntimeDirectory=secmon-http)",
                folder.display()
            ),
        ));
    }
    Ok(())
}

fn name(host: &str) -> Result<String, ConfigError> {
    let strange = |c: char| !(c.is_ascii_alphanumeric() || "._-:".contains(c));
    let named = host.trim_end_matches('.').to_ascii_lowercase();
    let bare = named.trim_matches(['[', ']']);
    let port = bare.contains(':') && bare.parse::<IpAddr>().is_err();
    if bare.is_empty() || bare.len() > 253 || bare.contains(strange) || port {
        return Err(wrong(
            "hosts",
            format!(
                "{host:?} is no name of a host; it is one without scheme and port, as \"monitor.example.org\""
            ),
        ));
    }
    Ok(bare.to_owned())
}

fn origin(text: &str) -> Result<HeaderValue, ConfigError> {
    let wrong = || {
        let reason = "is no origin; it is a scheme, a host and perhaps a port, and nothing behind, as \"https://grafana.example.org\"";
        wrong("cors", format!("{text:?} {reason}"))
    };
    let uri: Uri = text.parse().map_err(|_| wrong())?;
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else { return Err(wrong()) };
    // Browsers say it in lower case, without a path.
    let canonical = format!("{scheme}://{authority}");
    if !matches!(scheme, "http" | "https") || canonical != text || authority.as_str().contains('@') {
        return Err(wrong());
    }
    HeaderValue::try_from(canonical.to_ascii_lowercase()).map_err(|_| wrong())
}

fn rule(at: usize, section: &UserSection) -> Result<Rule, ConfigError> {
    let UserSection { user, uid: number, group, role, nodes, commands } = section;
    let key = format!("rule {} of [[users]]", at + 1);
    let whom = match (user, number, group) {
        (Some(user), None, None) => Whom::User(uid(&key, user)?),
        (None, Some(number), None) => Whom::User(*number),
        (None, None, Some(group)) => Whom::Group(gid(&key, group)?),
        _ => {
            return Err(wrong(
                &key,
                "it is about one user or one group: say user, uid or group, and one of them",
            ));
        }
    };
    if matches!(whom, Whom::User(OVERFLOW) | Whom::Group(OVERFLOW)) {
        let reason = format!(
            "{OVERFLOW} is what the kernel calls everybody whom it cannot name, so that the rule would be about all of them"
        );
        return Err(wrong(&key, reason));
    }
    for (what, patterns) in [("nodes", nodes), ("commands", commands)] {
        match patterns.as_deref() {
            Some([]) => {
                let reason =
                    format!("{what} is an empty list; leave it out, or say {what} = [\"*\"] for all");
                return Err(wrong(&key, reason));
            }
            Some(some) if some.len() > MAX_PATTERNS => {
                let reason = format!("{what} has {} patterns, over the limit of {MAX_PATTERNS}", some.len());
                return Err(wrong(&key, reason));
            }
            Some(some) if some.iter().any(|pattern| pattern.is_empty() || pattern.len() > MAX_PATTERN) => {
                return Err(wrong(&key, format!("{what}: a pattern has 1 to {MAX_PATTERN} bytes")));
            }
            _ => {}
        }
    }
    if *role != Role::Operator && commands.is_some() {
        let what =
            if *role == Role::Viewer { "a viewer runs no commands" } else { "an admin runs every command" };
        return Err(wrong(&key, format!("{what}; leave commands out, or make it role = \"operator\"")));
    }
    let all = |patterns: &Option<Vec<String>>| patterns.clone().unwrap_or_default();
    Ok(Rule { whom, role: *role, nodes: all(nodes), commands: all(commands) })
}

fn uid(key: &str, user: &Account) -> Result<u32, ConfigError> {
    let name = match user {
        Account::Number(number) => return Ok(*number),
        Account::Name(name) => name,
    };
    match User::from_name(name) {
        Ok(Some(user)) => Ok(user.uid.as_raw()),
        Ok(None) => Err(wrong(key, format!("there is no user called {user}"))),
        Err(error) => Err(wrong(key, format!("cannot look up the user {user}: {error}"))),
    }
}

fn gid(key: &str, group: &Account) -> Result<u32, ConfigError> {
    let name = match group {
        Account::Number(number) => return Ok(*number),
        Account::Name(name) => name,
    };
    match Group::from_name(name) {
        Ok(Some(group)) => Ok(group.gid.as_raw()),
        Ok(None) => Err(wrong(key, format!("there is no group called {group}"))),
        Err(error) => Err(wrong(key, format!("cannot look up the group {group}: {error}"))),
    }
}

#[cfg(test)]
#[path = "settings_tests.rs"]
mod tests;

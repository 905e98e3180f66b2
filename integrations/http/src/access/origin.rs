//! Where a request comes from: which machine, under which name of ours, from which page. Pure.

use std::net::{IpAddr, Ipv4Addr};

use axum::http::{HeaderMap, HeaderName, Uri, header, uri::Authority};
use ipnet::IpNet;
use serde::Deserialize;

/// Most addresses in a chain of proxies that are looked at, from the nearest on.
const MAX_HOPS: usize = 32;

/// Which header a proxy writes. One of them: a proxy passes the other one through, and then anybody could write it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ProxyHeader {
    /// `X-Forwarded-For`, `-Proto` and `-Host`.
    #[default]
    XForwardedFor,
    /// `Forwarded`, RFC 7239.
    Forwarded,
}

/// The proxies that are believed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Proxies {
    pub(crate) trusted: Vec<IpNet>,
    pub(crate) header: ProxyHeader,
}

impl Proxies {
    /// Whether that is one of them.
    pub(crate) fn trusts(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.trusted.iter().any(|network| network.contains(&address))
    }
}

/// Where a request comes from.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    /// The machine; not for a Unix socket.
    pub(crate) address: Option<IpAddr>,
    /// Whether it came by TLS, to us or to a proxy that is believed.
    pub(crate) secure: bool,
    /// The name under which it was asked for.
    pub(crate) host: Option<Authority>,
}

impl Client {
    /// As far as the connection says it, and the headers, where a proxy wrote them that is believed.
    pub(crate) fn new(
        peer: Option<IpAddr>,
        tls: bool,
        uri: &Uri,
        headers: &HeaderMap,
        proxies: &Proxies,
    ) -> Self {
        let peer = peer.map(|address| address.to_canonical());
        let host = uri.authority().cloned().or_else(|| one(headers, &header::HOST)?.parse().ok());
        let direct = Self { address: peer, secure: tls, host };
        if !peer.is_some_and(|peer| proxies.trusts(peer)) {
            return direct;
        }
        let told = match proxies.header {
            ProxyHeader::XForwardedFor => x_forwarded(headers),
            ProxyHeader::Forwarded => forwarded(headers),
        };
        // From the nearest on: the first that is no proxy of ours is who asks; what stands before it he may have made up.
        let hops = told.hops.iter().rev().take(MAX_HOPS);
        let mut address = peer;
        for hop in hops {
            let Some(hop) = hop else { break };
            address = Some(*hop);
            if !proxies.trusts(*hop) {
                break;
            }
        }
        Self {
            address,
            secure: told.proto.map_or(direct.secure, |proto| proto.eq_ignore_ascii_case("https")),
            host: told.host.and_then(|host| host.parse().ok()).or(direct.host),
        }
    }
}

/// What proxies tell.
#[derive(Debug, Default)]
struct Told {
    /// The farthest first; nothing for one that is hidden or makes no sense.
    hops: Vec<Option<IpAddr>>,
    proto: Option<String>,
    host: Option<String>,
}

/// The only value of a header; none where there are several.
fn one<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

fn parts(headers: &HeaderMap, name: &str) -> Vec<String> {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(|part| part.trim().to_owned()).collect()
}

fn x_forwarded(headers: &HeaderMap) -> Told {
    let last = |name| parts(headers, name).pop().filter(|value| !value.is_empty());
    Told {
        hops: parts(headers, "x-forwarded-for").iter().map(|hop| address(hop)).collect(),
        // The nearest proxy's word.
        proto: last("x-forwarded-proto"),
        host: last("x-forwarded-host"),
    }
}

/// RFC 7239 §4: `for="[2001:db8::1]:4711";proto=https;host=example.org, for=192.0.2.1`.
fn forwarded(headers: &HeaderMap) -> Told {
    let mut told = Told::default();
    for element in parts(headers, "forwarded") {
        let mut hop = None;
        (told.proto, told.host) = (None, None);
        for pair in element.split(';') {
            let Some((key, value)) = pair.split_once('=') else { continue };
            let value = value.trim().trim_matches('"');
            match key.trim().to_ascii_lowercase().as_str() {
                "for" => hop = address(value),
                "proto" => told.proto = Some(value.to_owned()),
                "host" => told.host = Some(value.to_owned()),
                _ => {}
            }
        }
        told.hops.push(hop);
    }
    told
}

/// An address with or without a port and brackets.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.parse::<IpAddr>().ok();
    let with_port = || text.parse::<std::net::SocketAddr>().ok().map(|address| address.ip());
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse::<IpAddr>().ok();
    bare.or_else(with_port).or_else(bracketed).map(|address| address.to_canonical())
}

/// The names that we answer to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Hosts {
    /// Of the configuration, in lower case.
    pub(crate) named: Vec<String>,
    /// Addresses that are listened on.
    pub(crate) listen: Vec<IpAddr>,
}

impl Hosts {
    /// Whether a request by a Unix socket is for us. Programs say any word there, or none; a browser that is let through (`ssh -L`)
    /// says the name of its page, which has a dot where somebody could have let it point to us.
    pub(crate) fn answer_by_socket(&self, host: Option<&Authority>) -> bool {
        let fine = |host: &Authority| {
            let name = host.host().trim_end_matches('.');
            !name.contains(['.', ':']) || self.answer_to(host, IpAddr::V4(Ipv4Addr::LOCALHOST))
        };
        host.is_none_or(fine)
    }

    /// Whether a request for that name is for us. A page of somebody else's whose name he let point to us (DNS rebinding) asks
    /// under its own name. The port is not looked at: a forwarded one (`ssh -L`) is another.
    pub(crate) fn answer_to(&self, host: &Authority, local: IpAddr) -> bool {
        let name = host.host().trim_end_matches('.').to_ascii_lowercase();
        let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(&name);
        if self.named.iter().any(|named| named == bare) {
            return true;
        }
        let local = local.to_canonical();
        match bare.parse::<IpAddr>() {
            Ok(address) => {
                let address = address.to_canonical();
                address == local
                    || (local.is_loopback() && address.is_loopback())
                    || self.listen.contains(&address)
            }
            // RFC 6761 §6.3: these names are this machine's, whoever is asked.
            Err(_) => bare == "localhost" || bare.ends_with(".localhost"),
        }
    }
}

/// Which page a request comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Page {
    /// One of ours.
    Ours,
    /// Somebody else's.
    Other,
    /// Nobody says: no browser, or an old one.
    Unsaid,
}

/// Which page it is, as browsers say it: `Sec-Fetch-Site` (W3C Fetch Metadata) and `Origin` (RFC 6454 §7). A page cannot set
/// either.
pub(crate) fn page(headers: &HeaderMap, client: &Client) -> Page {
    let site = one(headers, &HeaderName::from_static("sec-fetch-site"));
    if headers.contains_key("sec-fetch-site") && !matches!(site, Some("same-origin" | "none")) {
        return Page::Other;
    }
    if headers.contains_key(header::ORIGIN) {
        let ours = one(headers, &header::ORIGIN).is_some_and(|origin| is_ours(origin, client));
        return if ours { Page::Ours } else { Page::Other };
    }
    if site == Some("same-origin") { Page::Ours } else { Page::Unsaid }
}

/// Whether a proxy passed it on, as far as proxies say so.
pub(crate) fn relayed(headers: &HeaderMap) -> bool {
    const SIGNS: [&str; 6] =
        ["forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip"];
    SIGNS.iter().any(|name| headers.contains_key(*name))
}

fn is_ours(origin: &str, client: &Client) -> bool {
    let Some((scheme, place)) = origin.split_once("://") else { return false };
    // Where TLS ends at a proxy that is not named in the configuration we do not know of it.
    if client.secure && scheme != "https" {
        return false;
    }
    let port = match scheme {
        "https" => 443,
        "http" => 80,
        _ => return false,
    };
    let Ok(theirs) = place.parse::<Authority>() else { return false };
    client.host.as_ref().is_some_and(|own| {
        own.host().eq_ignore_ascii_case(theirs.host())
            && own.port_u16().unwrap_or(port) == theirs.port_u16().unwrap_or(port)
    })
}

#[cfg(test)]
#[path = "origin_tests.rs"]
mod tests;

//! What requests say of where they come from, and how much of it is believed.

use super::*;

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(*name, value.parse().unwrap());
    }
    headers
}

fn proxies(header: ProxyHeader) -> Proxies {
    Proxies { trusted: vec!["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()], header }
}

fn client(peer: &str, pairs: &[(&'static str, &str)], header: ProxyHeader) -> Client {
    let peer = peer.parse().ok();
    Client::new(peer, false, &Uri::from_static("/"), &headers(pairs), &proxies(header))
}

fn seen(client: &Client) -> (String, bool, String) {
    let address = client.address.map(|address| address.to_string()).unwrap_or_default();
    (address, client.secure, client.host.as_ref().map(ToString::to_string).unwrap_or_default())
}

#[test]
fn who_is_no_named_proxy_is_believed_nothing() {
    let claims = [
        ("host", "us"),
        ("x-forwarded-for", "1.2.3.4"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "evil"),
        ("forwarded", "for=1.2.3.4;proto=https;host=evil"),
    ];
    for header in [ProxyHeader::XForwardedFor, ProxyHeader::Forwarded] {
        assert_eq!(seen(&client("192.0.2.1", &claims, header)), ("192.0.2.1".into(), false, "us".into()));
        assert_eq!(seen(&client("", &claims, header)), (String::new(), false, "us".into()));
    }
}

#[test]
fn a_proxys_word_counts_from_the_nearest_to_the_first_that_is_none_of_ours() {
    let of = |chain: &str| {
        client("10.0.0.1", &[("host", "us"), ("x-forwarded-for", chain)], ProxyHeader::XForwardedFor)
            .address
            .unwrap()
            .to_string()
    };
    assert_eq!(of("192.0.2.9"), "192.0.2.9");
    assert_eq!(of("6.6.6.6, 192.0.2.9"), "192.0.2.9", "what the client wrote itself");
    assert_eq!(of("6.6.6.6, 192.0.2.9, 10.1.1.1"), "192.0.2.9");
    assert_eq!(of("10.2.2.2, 10.1.1.1"), "10.2.2.2");
    assert_eq!(of("192.0.2.9:4711"), "192.0.2.9");
    assert_eq!(of("[2001:db8::1]:4711"), "2001:db8::1");
    assert_eq!(of("192.0.2.9, unknown"), "10.0.0.1", "beyond a hidden one nothing is known");
    let both = [("x-forwarded-for", "6.6.6.6"), ("x-forwarded-for", "192.0.2.9")];
    assert_eq!(client("::1", &both, ProxyHeader::XForwardedFor).address.unwrap().to_string(), "192.0.2.9");
    let mapped = client("::ffff:10.0.0.1", &[("x-forwarded-for", "192.0.2.9")], ProxyHeader::XForwardedFor);
    assert_eq!(mapped.address.unwrap().to_string(), "192.0.2.9");
}

#[test]
fn the_header_that_the_proxy_does_not_write_is_not_read() {
    let claims = [
        ("host", "us"),
        ("x-forwarded-for", "192.0.2.9"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "monitor"),
        ("forwarded", "for=\"[2001:db8::7]:4711\";proto=http;host=\"other\""),
    ];
    assert_eq!(
        seen(&client("10.0.0.1", &claims, ProxyHeader::XForwardedFor)),
        ("192.0.2.9".into(), true, "monitor".into())
    );
    assert_eq!(
        seen(&client("10.0.0.1", &claims, ProxyHeader::Forwarded)),
        ("2001:db8::7".into(), false, "other".into())
    );
}

#[test]
fn names_are_answered_to_when_they_are_ours() {
    let hosts =
        Hosts { named: vec!["monitor.example.org".into()], listen: vec!["10.0.0.5".parse().unwrap()] };
    let (loopback, lan): (IpAddr, IpAddr) = ("127.0.0.1".parse().unwrap(), "192.168.1.2".parse().unwrap());
    for (host, local, yes) in [
        ("localhost:7380", loopback, true),
        ("LOCALHOST.", loopback, true),
        ("secmon.localhost", loopback, true),
        ("127.0.0.1:9999", loopback, true),
        ("[::1]:7380", loopback, true),
        ("192.168.1.2", lan, true),
        ("10.0.0.5:443", lan, true),
        ("Monitor.Example.Org:8443", lan, true),
        ("127.0.0.1", lan, false),
        ("192.168.1.3", lan, false),
        ("evil.example.org", loopback, false),
        ("localhost.evil.org", loopback, false),
        ("evillocalhost", loopback, false),
        ("monitor.example.org.evil", loopback, false),
    ] {
        assert_eq!(hosts.answer_to(&host.parse().unwrap(), local), yes, "{host} at {local}");
    }
}

#[test]
fn a_page_is_ours_when_scheme_name_and_port_are() {
    let client = |host: &str, secure| Client { address: None, secure, host: Some(host.parse().unwrap()) };
    let plain = client("localhost:7380", false);
    let tls = client("monitor", true);
    for (pairs, client, is) in [
        (&[][..], &plain, Page::Unsaid),
        (&[("origin", "http://localhost:7380")], &plain, Page::Ours),
        (&[("origin", "http://LocalHost:7380"), ("sec-fetch-site", "same-origin")], &plain, Page::Ours),
        (&[("sec-fetch-site", "same-origin")], &plain, Page::Ours),
        (&[("sec-fetch-site", "none")], &plain, Page::Unsaid),
        (&[("sec-fetch-site", "cross-site")], &plain, Page::Other),
        (&[("sec-fetch-site", "same-site")], &plain, Page::Other),
        (&[("origin", "http://localhost:7380"), ("sec-fetch-site", "cross-site")], &plain, Page::Other),
        (&[("origin", "http://localhost:7380"), ("origin", "http://evil")], &plain, Page::Other),
        (&[("origin", "http://localhost:3000")], &plain, Page::Other),
        (&[("origin", "http://localhost")], &plain, Page::Other),
        (&[("origin", "null")], &plain, Page::Other),
        (&[("origin", "http://evil")], &plain, Page::Other),
        (&[("origin", "https://monitor")], &tls, Page::Ours),
        (&[("origin", "https://monitor:443")], &tls, Page::Ours),
        (&[("origin", "http://monitor")], &tls, Page::Other),
        (&[("origin", "https://monitor.evil")], &tls, Page::Other),
    ] {
        assert_eq!(page(&headers(pairs), client), is, "{pairs:?}");
    }
}

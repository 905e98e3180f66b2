//! Who is let in, and for how long.

use futures::{FutureExt as _, StreamExt as _};
use reqwest::header;

use super::*;

#[tokio::test]
async fn without_a_token_that_works_nothing_of_the_api_is_told() {
    let bridge = Bridge::start("");
    let token = bridge.token("laptop");
    for path in ["/v1/who", "/v1/stream", "/v1/session", "/v1/no-such-thing"] {
        let response = bridge.get(path).send().await.unwrap();
        assert_eq!(response.status(), 401, "{path}");
        assert_eq!(response.headers()[header::WWW_AUTHENTICATE], "Bearer realm=\"secmon\"");
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
    }
    // Wrong methods are behind the gate as well, where the path is not everybody's.
    assert_eq!(bridge.post("/v1/who").send().await.unwrap().status(), 401);
    assert_eq!(bridge.post("/v1/who").bearer_auth(&token).send().await.unwrap().status(), 405);
    assert_eq!(bridge.get("/v1/no").bearer_auth(&token).send().await.unwrap().status(), 404);
    for path in ["/", "/healthz"] {
        assert_eq!(bridge.get(path).send().await.unwrap().status(), 200, "{path}");
    }
    let who = bridge.get("/v1/who").header("authorization", format!("bearer {token}")).send().await.unwrap();
    assert_eq!(who.text().await.unwrap(), "laptop");
    bridge.stop().await;
}

#[tokio::test]
async fn who_is_wrong_too_often_waits_and_who_is_right_does_not() {
    let bridge = Bridge::start("");
    let token = bridge.token("laptop");
    let wrong = async |given: &str| {
        let response = bridge.get("/v1/who").header("authorization", given).send().await.unwrap();
        (response.status().as_u16(), response.headers().clone())
    };
    let unknown = "Bearer secmon_0000000000000000000000000000000000000000000000000";
    let mut last = 401;
    for given in [unknown, "Bearer x", "Basic YTpi", "Bearer", "", &format!("Bearer {token}x")].repeat(2) {
        let (status, headers) = wrong(given).await;
        match status {
            401 => assert!(headers[header::WWW_AUTHENTICATE].to_str().unwrap().contains("invalid_token")),
            429 => assert!(headers[header::RETRY_AFTER].to_str().unwrap().parse::<u64>().unwrap() >= 1),
            _ => panic!("{given}: {status}"),
        }
        last = status;
    }
    assert_eq!(last, 429);
    assert_eq!(bridge.get("/v1/who").bearer_auth(&token).send().await.unwrap().status(), 200);
    bridge.stop().await;
}

#[tokio::test]
async fn a_revoked_token_ends_its_streams_and_those_of_its_sessions_and_no_others() {
    let bridge = Bridge::start("");
    let [laptop, other] = [bridge.token("laptop"), bridge.token("other")];
    let cookie = sign_in(&bridge, &laptop).await;
    let open = async |name: &'static str, value: String| {
        let response = bridge.get("/v1/stream").header(name, value).send().await.unwrap();
        assert_eq!(response.status(), 200);
        let mut stream = response.bytes_stream();
        assert_eq!(stream.next().await.unwrap().unwrap(), "data: 1\n\n");
        stream
    };
    let mut by_token = open("authorization", format!("Bearer {laptop}")).await;
    let mut by_cookie = open("cookie", cookie.clone()).await;
    let mut others = open("authorization", format!("Bearer {other}")).await;
    tokens::revoke(&bridge.state(), "laptop").unwrap();
    for stream in [&mut by_token, &mut by_cookie] {
        let end = timeout(LONG, stream.next()).await.unwrap();
        assert!(end.unwrap().is_err(), "cut, so that it does not look whole");
    }
    assert_eq!(bridge.get("/v1/who").bearer_auth(&laptop).send().await.unwrap().status(), 401);
    assert_eq!(bridge.get("/v1/who").header("cookie", cookie).send().await.unwrap().status(), 401);
    assert!(others.next().now_or_never().is_none());
    bridge.stop().await;
    assert!(timeout(LONG, others.next()).await.unwrap().unwrap().is_err(), "a stream ends with the bridge");
}

/// `name=value` of the cookie.
async fn sign_in(bridge: &Bridge, token: &str) -> String {
    let body = format!("{{\"token\":\"{token}\"}}");
    let response = bridge.post("/v1/session").body(body).send().await.unwrap();
    assert_eq!(response.status(), 204);
    let cookie = response.headers()[header::SET_COOKIE].to_str().unwrap().to_owned();
    assert!(cookie.contains("HttpOnly; SameSite=Strict") && !cookie.contains("Secure"), "{cookie}");
    cookie.split(';').next().unwrap().to_owned()
}

#[tokio::test]
async fn a_session_is_for_our_own_page_alone_and_outlives_the_bridge() {
    let bridge = Bridge::start("");
    let token = bridge.token("laptop");
    let cookie = sign_in(&bridge, &token).await;
    let who: serde_json::Value =
        bridge.get("/v1/session").header("cookie", &cookie).send().await.unwrap().json().await.unwrap();
    assert_eq!(
        who,
        serde_json::json!({"name": "laptop", "role": "viewer", "nodes": ["web*"], "commands": [],
                           "hub": {"version": null, "connected": false}})
    );
    let ours = bridge.url("");
    for (name, value, status) in [
        ("x-nothing", "", 403),
        ("origin", "http://evil.example", 403),
        ("origin", "null", 403),
        ("origin", "http://127.0.0.1:1", 403),
        ("sec-fetch-site", "same-site", 403),
        ("sec-fetch-site", "cross-site", 403),
        ("origin", &ours, 200),
        ("sec-fetch-site", "same-origin", 200),
    ] {
        let request = bridge.post("/v1/echo").header("cookie", &cookie).header(name, value);
        assert_eq!(request.send().await.unwrap().status(), status, "{name}: {value}");
    }
    // A WebSocket is a GET, and browsers let every page open one.
    for (origin, status) in [(Some("http://evil.example"), 403), (None, 403), (Some(ours.as_str()), 200)] {
        let mut request = bridge.get("/v1/who").header("cookie", &cookie).header("sec-websocket-key", "eA==");
        if let Some(origin) = origin {
            request = request.header("origin", origin);
        }
        assert_eq!(request.send().await.unwrap().status(), status, "{origin:?}");
    }
    // Another port is the same site, so that the cookie comes along with what a page there asks for. Reading it was kept from
    // that page, but not asking: streams, polls that wait, and how long they take.
    for (name, value, status) in [
        ("sec-fetch-site", "same-site", 403),
        ("sec-fetch-site", "cross-site", 403),
        ("origin", "http://127.0.0.1:1", 403),
        ("sec-fetch-site", "same-origin", 200),
        ("sec-fetch-site", "none", 200),
    ] {
        let request = bridge.get("/v1/who").header("cookie", &cookie).header(name, value);
        assert_eq!(request.send().await.unwrap().status(), status, "{name}: {value}");
    }
    // Signing in from another page would make its reader act as somebody else.
    let evil = bridge.post("/v1/session").header("origin", "http://evil.example").body("{}");
    assert_eq!(evil.send().await.unwrap().status(), 403);
    let Bridge { dir, cancel, task, .. } = bridge;
    cancel.cancel();
    task.await.unwrap().unwrap();

    let bridge = Bridge::start_in(dir, "", PATIENT);
    assert_eq!(bridge.get("/v1/who").header("cookie", &cookie).send().await.unwrap().status(), 200);
    let ours = bridge.url("");
    let out = client().delete(bridge.url("/v1/session")).header("cookie", &cookie).header("origin", ours);
    let out = out.send().await.unwrap();
    assert_eq!(out.status(), 204);
    assert!(out.headers()[header::SET_COOKIE].to_str().unwrap().contains("Max-Age=0"));
    assert_eq!(bridge.get("/v1/who").header("cookie", &cookie).send().await.unwrap().status(), 401);
    bridge.stop().await;
}

#[tokio::test]
async fn what_is_no_sign_in_is_refused_and_repeated_nowhere() {
    let bridge = Bridge::start("");
    for (body, status) in [
        ("", 400),
        ("{\"token\":5}", 400),
        ("{\"token\":\"secmon_secret\",\"x\":1}", 400),
        ("{\"token\":\"secmon_secret\"}", 401),
    ] {
        let response = bridge.post("/v1/session").body(body).send().await.unwrap();
        assert_eq!(response.status(), status, "{body}");
        assert!(!response.text().await.unwrap().contains("secret"));
    }
    let long = bridge.post("/v1/session").body("x".repeat(5000)).send().await.unwrap();
    assert_eq!(long.status(), 413);
    bridge.stop().await;
}

#[tokio::test]
async fn a_name_that_is_not_ours_is_not_answered_to() {
    let bridge = Bridge::start("hosts = [\"monitor.example.org\"]\n");
    let ask = async |host: &str| {
        let host = if host.is_empty() { String::new() } else { format!("Host: {host}\r\n") };
        let answer = bridge.raw(&format!("GET / HTTP/1.1\r\n{host}Connection: close\r\n\r\n")).await;
        answer.split(' ').nth(1).unwrap_or_default().to_owned()
    };
    for host in ["localhost", "127.0.0.1:80", "monitor.example.org:1", "[::1]"] {
        assert_eq!(ask(host).await, "200", "{host}");
    }
    for host in ["evil.example", "monitor.example.org.evil.example", "192.0.2.1"] {
        assert_eq!(ask(host).await, "421", "{host}");
    }
    for host in ["", "a b", "x\r\nHost: localhost"] {
        assert_eq!(ask(host).await, "400", "{host}");
    }
    let health = bridge.raw("GET /healthz HTTP/1.0\r\n\r\n").await;
    assert!(health.contains("200 OK"), "{health}");
    bridge.stop().await;
}

#[tokio::test]
async fn pages_of_other_origins_may_ask_when_they_are_named_and_bring_a_token() {
    let bridge = Bridge::start("cors = [\"https://grafana.example\"]\n");
    let token = bridge.token("grafana");
    let preflight = async |origin: &str| {
        let request = client().request(reqwest::Method::OPTIONS, bridge.url("/v1/who"));
        let request = request.header("origin", origin).header("access-control-request-method", "GET");
        request.send().await.unwrap().headers().clone()
    };
    let allowed = preflight("https://grafana.example").await;
    assert_eq!(allowed["access-control-allow-origin"], "https://grafana.example");
    assert!(!allowed.contains_key("access-control-allow-credentials"));
    assert!(!preflight("https://evil.example").await.contains_key("access-control-allow-origin"));
    let named = bridge.get("/v1/who").bearer_auth(&token).header("origin", "https://grafana.example");
    let named = named.send().await.unwrap();
    assert_eq!(
        (named.status().as_u16(), &named.headers()["access-control-allow-origin"]),
        (200, &"https://grafana.example".parse().unwrap())
    );
    bridge.stop().await;
    let closed = Bridge::start("");
    let headers = closed.get("/").header("origin", "https://grafana.example").send().await.unwrap();
    assert!(!headers.headers().contains_key("access-control-allow-origin"));
    closed.stop().await;
}

#[tokio::test]
async fn a_named_proxy_says_who_asks_and_nobody_else_does() {
    // The address of who is wrong too often tells whose word is believed.
    let asks = async |bridge: &Bridge, from: &str| {
        let request =
            bridge.get("/v1/who").header("x-forwarded-for", from).header("authorization", "Bearer x");
        request.send().await.unwrap().status().as_u16()
    };
    let behind = Bridge::start("[proxy]\ntrusted = [\"127.0.0.1\"]\n");
    let alone = Bridge::start("");
    for bridge in [&behind, &alone] {
        for _ in 0..6 {
            assert_eq!(asks(bridge, "192.0.2.1").await, 401);
        }
        assert_eq!(asks(bridge, "192.0.2.1").await, 429);
    }
    assert_eq!(asks(&behind, "192.0.2.2").await, 401);
    assert_eq!(asks(&alone, "192.0.2.2").await, 429);
    let token = behind.token("laptop");
    let body = format!("{{\"token\":\"{token}\"}}");
    let response = behind.post("/v1/session").header("x-forwarded-proto", "https").body(body);
    let response = response.send().await.unwrap();
    let cookie = response.headers()[header::SET_COOKIE].to_str().unwrap();
    assert!(cookie.starts_with("__Host-") && cookie.ends_with("; Secure"), "{cookie}");
    let evil = behind.get("/").header("x-forwarded-host", "evil.example").send().await.unwrap();
    assert_eq!(evil.status(), 421);
    behind.stop().await;
    alone.stop().await;
}

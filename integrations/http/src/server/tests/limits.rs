//! Too much, too slow, too many.

use std::time::Instant;

use futures::FutureExt as _;

use super::*;

const SHORT: Duration = Duration::from_millis(300);

#[tokio::test]
async fn who_says_nothing_or_says_it_slowly_is_sent_away() {
    let bridge = Bridge::start_with("", Deadlines { head: SHORT, idle: SHORT, ..PATIENT });
    for beginning in
        ["", "G", "GET / HTTP/1.1\r\nHost: localhost\r\nX-A: ", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"]
    {
        let mut stream = TcpStream::connect(bridge.address).await.unwrap();
        stream.write_all(beginning.as_bytes()).await.unwrap();
        to_end(&mut stream).await;
    }
    // One that goes on byte by byte is no better.
    let mut stream = TcpStream::connect(bridge.address).await.unwrap();
    let dripping = async {
        stream.write_all(b"GET / HTTP/1.1\r\n").await?;
        loop {
            stream.write_all(b"X-A: b\r\n").await?;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let ended: std::io::Result<()> = timeout(LONG, dripping).await.expect("it is ended");
    ended.unwrap_err();
    // A connection that is kept is kept for a while.
    let mut stream = TcpStream::connect(bridge.address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    assert!(to_end(&mut stream).await.contains("a page"));
    bridge.stop().await;
}

#[tokio::test]
async fn a_stream_that_says_little_is_not_idle() {
    let bridge = Bridge::start_with("", Deadlines { head: SHORT, idle: SHORT, stuck: NEVER, ..PATIENT });
    let token = bridge.token("laptop");
    let response = bridge.get("/v1/stream").bearer_auth(&token).send().await.unwrap();
    let mut stream = response.bytes_stream();
    stream.next().await.unwrap().unwrap();
    // Another connection came and went as idle in this time.
    let mut other = TcpStream::connect(bridge.address).await.unwrap();
    to_end(&mut other).await;
    assert!(stream.next().now_or_never().is_none());
    bridge.stop().await;
}

#[tokio::test]
async fn who_does_not_read_is_sent_away_and_who_reads_slowly_is_not() {
    let bridge = Bridge::start_with("", Deadlines { stuck: SHORT, ..PATIENT });
    let token = bridge.token("laptop");
    let request =
        format!("GET /v1/flood HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n");
    let mut stream = TcpStream::connect(bridge.address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut reading = TcpStream::connect(bridge.address).await.unwrap();
    reading.write_all(request.as_bytes()).await.unwrap();
    let began = Instant::now();
    let mut piece = vec![0; 1 << 20];
    while began.elapsed() < SHORT * 4 {
        assert!(timeout(LONG, reading.read(&mut piece)).await.unwrap().unwrap() > 0);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // What lies in the system's buffers can be read; then there is an end, though the flood has none.
    to_end(&mut stream).await;
    bridge.stop().await;
}

#[tokio::test]
async fn there_are_no_more_connections_than_there_may_be() {
    let bridge = Bridge::start("[limits]\nconnections = 4\n");
    let mut held = Vec::new();
    for _ in 0..4 {
        let mut stream = TcpStream::connect(bridge.address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        let mut piece = [0; 4096];
        assert!(timeout(LONG, stream.read(&mut piece)).await.unwrap().unwrap() > 0);
        held.push(stream);
    }
    assert_eq!(bridge.raw("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await, "");
    held.pop();
    loop {
        let answer = bridge.raw("GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await;
        if answer.contains("a page") {
            break;
        }
    }
    bridge.stop().await;
}

#[tokio::test]
async fn what_is_too_large_is_refused_with_the_reason() {
    let bridge = Bridge::start("[limits]\nbody = \"4KiB\"\n");
    let token = bridge.token("laptop");
    let echo = async |body: reqwest::Body| {
        let response = bridge.post("/v1/echo").bearer_auth(&token).body(body).send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    };
    assert_eq!(echo("x".repeat(4096).into()).await.0, 200);
    let (status, problem) = echo("x".repeat(4097).into()).await;
    assert!(status == 413 && problem.contains("limits.body"), "{problem}");
    let pieces = stream::iter((0..5).map(|_| Ok::<_, Infallible>(Bytes::from(vec![b'x'; 1024]))));
    assert_eq!(echo(reqwest::Body::wrap_stream(pieces)).await.0, 413);
    let long = bridge.get(&format!("/v1/who?{}", "x".repeat(9000))).bearer_auth(&token).send().await.unwrap();
    assert_eq!(long.status(), 414);
    let many: String = (0..200).map(|n| format!("X-{n}: a\r\n")).collect();
    for head in [many, format!("X: {}\r\n", "x".repeat(100_000))] {
        let answer = bridge.raw(&format!("GET / HTTP/1.1\r\nHost: localhost\r\n{head}\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 431") || answer.is_empty(), "{answer}");
    }
    bridge.stop().await;
}

#[tokio::test]
async fn who_asks_too_often_is_told_when_to_come_again_and_others_are_not() {
    let bridge = Bridge::start("[limits]\nrequests_per_second = 1\nburst = 3\n");
    let (token, other) = (bridge.token("laptop"), bridge.token("other"));
    let ask = async |token: &str| bridge.get("/v1/who").bearer_auth(token).send().await.unwrap();
    let refused = loop {
        let response = ask(&token).await;
        if response.status() == 429 && response.text().await.unwrap().contains("limits.requests_per_second") {
            break true;
        }
    };
    assert!(refused);
    assert_eq!(ask(&other).await.status(), 200);
    bridge.stop().await;
}

#[tokio::test]
async fn a_panic_is_one_answer_and_every_answer_has_what_keeps_browsers_careful() {
    let bridge = Bridge::start("");
    let token = bridge.token("laptop");
    let response = bridge.get("/v1/panic").bearer_auth(&token).send().await.unwrap();
    assert_eq!(response.status(), 500);
    let id = response.headers()["x-request-id"].to_str().unwrap().to_owned();
    let problem = response.text().await.unwrap();
    assert!(problem.contains(&id) && !problem.contains("on purpose"), "{problem}");
    for path in ["/v1/panic", "/v1/who", "/", "/nothing", "/v1/nothing"] {
        let response = bridge.get(path).bearer_auth(&token).send().await.unwrap();
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "no-referrer"),
            ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
        ] {
            assert_eq!(response.headers()[name], value, "{path}");
        }
        assert!(!response.headers().contains_key("strict-transport-security"));
        let kept = response.headers().get("cache-control").map(|value| value.to_str().unwrap());
        assert_eq!(kept, path.starts_with("/v1").then_some("no-store"), "{path}");
    }
    bridge.stop().await;
}

#[tokio::test]
async fn answers_are_compressed_where_it_helps_and_streams_are_not() {
    let bridge = Bridge::start("");
    let token = bridge.token("laptop");
    let ask = async |path: &str| {
        let request = bridge.get(path).bearer_auth(&token).header("accept-encoding", "gzip");
        request.send().await.unwrap().headers().clone()
    };
    let tagged = ask("/v1/tagged").await;
    assert_eq!(tagged["content-encoding"], "gzip");
    assert_eq!(
        (&tagged["etag"], &tagged["cache-control"]),
        (&"W/\"x\"".parse().unwrap(), &"private, no-cache".parse().unwrap())
    );
    assert!(!ask("/v1/stream").await.contains_key("content-encoding"));
    bridge.stop().await;
}

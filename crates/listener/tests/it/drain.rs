//! Stopping: what is idle goes at once, what waits is told, what is in flight has its grace.

use std::time::{Duration, Instant};

use listener::{Drained, Endpoint, ListenerMetrics, ServerBuilder, StartError};

use crate::{
    protocols::Http2,
    support::{LIMIT, closed, get, identity, response, send, start, tcp, tls},
};

const GRACE: Duration = Duration::from_secs(15);

#[actix_rt::test]
async fn a_drain_answers_long_polls_and_closes_idle_connections_at_once() {
    let identity = identity();
    let server = start(identity.endpoint()).await;
    let mut poll = tls(server.port, &identity.roots, &[]).await.unwrap();
    send(&mut poll, "GET /wait HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let mut h2 = Http2::open(tls(server.port, &identity.roots, &["h2"]).await.unwrap()).await;
    let h2_poll = actix_rt::spawn(async move { h2.get("/wait").await });
    server.routes.until_waiting(2).await;
    let mut idle = tls(server.port, &identity.roots, &[]).await.unwrap();
    assert_eq!(get(&mut idle, "/hello").await.0, 200);
    let mut h2_idle = Http2::open(tls(server.port, &identity.roots, &["h2"]).await.unwrap()).await;
    assert_eq!(h2_idle.get("/hello").await.0, 200);
    let unused = tls(server.port, &identity.roots, &[]).await.unwrap();

    let started = Instant::now();
    let drain = actix_rt::spawn({
        let handle = server.handle.clone();
        async move { handle.drain(GRACE).await }
    });
    assert_eq!(response(&mut poll).await.unwrap(), (200, "draining".into()));
    assert_eq!(h2_poll.await.unwrap(), (200, "draining".into()));
    assert!(closed(&mut idle).await.is_empty());
    closed(&mut poll).await;
    drop(unused);
    assert_eq!(drain.await.unwrap(), Drained { cut: 0 });
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "{:?}",
        started.elapsed()
    );
    assert!(
        tokio::net::TcpStream::connect(("127.0.0.1", server.port))
            .await
            .is_err()
    );
    assert_eq!(server.handle.open_connections(), 0);
    // A second call finds nothing to do.
    assert_eq!(server.handle.drain(GRACE).await, Drained { cut: 0 });
}

#[actix_rt::test]
async fn connections_are_refused_as_soon_as_the_drain_begins() {
    let server = start(Endpoint::new("agents", "127.0.0.1", 0)).await;
    // A response that cannot end keeps the drain open.
    let mut busy = tcp(server.port).await;
    send(&mut busy, "GET /endless HTTP/1.1\r\nHost: x\r\n\r\n").await;
    server.routes.until_waiting(1).await;
    let drain = actix_rt::spawn({
        let handle = server.handle.clone();
        async move { handle.drain(Duration::from_secs(2)).await }
    });
    let started = Instant::now();
    while tokio::net::TcpStream::connect(("127.0.0.1", server.port))
        .await
        .is_ok()
    {
        assert!(started.elapsed() < Duration::from_secs(2), "still accepting");
        tokio::task::yield_now().await;
    }
    assert_eq!(drain.await.unwrap(), Drained { cut: 1 });
}

#[actix_rt::test]
async fn what_does_not_end_within_the_grace_is_cut() {
    let identity = identity();
    let server = start(identity.endpoint()).await;
    let mut http1 = tls(server.port, &identity.roots, &[]).await.unwrap();
    send(&mut http1, "GET /endless HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let mut http2 = Http2::open(tls(server.port, &identity.roots, &["h2"]).await.unwrap()).await;
    let request = http::Request::get("https://localhost/endless").body(()).unwrap();
    let (response, _stream) = http2.request(request, None).await;
    let _unread = response.await.unwrap();
    server.routes.until_waiting(2).await;
    server.until_open(2).await;
    let started = Instant::now();
    let drained = tokio::time::timeout(LIMIT, server.handle.drain(Duration::from_millis(700)))
        .await
        .unwrap();
    assert_eq!(drained, Drained { cut: 2 });
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "{:?}",
        started.elapsed()
    );
    server.routes.until_waiting(0).await;
}

#[actix_rt::test]
async fn silent_connections_do_not_hold_a_drain() {
    let identity = identity();
    let secure = start(identity.endpoint()).await;
    let plain = start(Endpoint::new("admin", "127.0.0.1", 0)).await;
    let before_tls = tcp(secure.port).await;
    let mut partial = tcp(secure.port).await;
    send(&mut partial, "\x16\x03\x01\x02\x00").await;
    let after_tls = tls(secure.port, &identity.roots, &[]).await.unwrap();
    let h2 = tls(secure.port, &identity.roots, &["h2"]).await.unwrap();
    let without_tls = tcp(plain.port).await;
    secure.until_open(4).await;
    plain.until_open(1).await;
    let started = Instant::now();
    for server in [&secure, &plain] {
        let drained = tokio::time::timeout(LIMIT, server.handle.drain(GRACE))
            .await
            .unwrap();
        assert_eq!(drained, Drained { cut: 0 });
    }
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "{:?}",
        started.elapsed()
    );
    drop((before_tls, partial, after_tls, h2, without_tls));
}

#[actix_rt::test]
async fn a_request_that_comes_while_the_server_stops_is_answered_and_told_to_close() {
    let identity = identity();
    let secure = start(identity.endpoint()).await;
    let plain = start(Endpoint::new("admin", "127.0.0.1", 0)).await;
    let mut tls_io = tls(secure.port, &identity.roots, &[]).await.unwrap();
    let mut io = tcp(plain.port).await;
    secure.until_open(1).await;
    plain.until_open(1).await;
    let drains: Vec<_> = [&secure, &plain]
        .map(|server| server.handle.clone())
        .map(|handle| actix_rt::spawn(async move { handle.drain(GRACE).await }))
        .into();
    secure.routes.shutdown.get().unwrap().notified().await;
    plain.routes.shutdown.get().unwrap().notified().await;
    let request = "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n";
    send(&mut tls_io, request).await;
    send(&mut io, request).await;
    for answer in [closed(&mut tls_io).await, closed(&mut io).await] {
        let answer = String::from_utf8(answer).unwrap();
        assert!(
            answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("hello"),
            "{answer}"
        );
        assert!(answer.contains("connection: close\r\n"), "{answer}");
    }
    for drain in drains {
        assert_eq!(drain.await.unwrap(), Drained { cut: 0 });
    }
}

#[actix_rt::test]
async fn two_listeners_are_one_server() {
    let bound = listener::bind(
        &Endpoint::new("agents", "localhost", 0),
        &mut listener::PassedSockets::default(),
    )
    .unwrap();
    let other = listener::bind(
        &Endpoint::new("admin", "127.0.0.1", 0),
        &mut listener::PassedSockets::default(),
    )
    .unwrap();
    let ports = [bound.port(), other.port()];
    let agents = || actix_web::App::new().route("/", actix_web::web::to(async || "agents"));
    let admin = || actix_web::App::new().route("/", actix_web::web::to(async || "admin"));
    let handle = ServerBuilder::new(ListenerMetrics::default())
        .listen(bound, agents)
        .unwrap()
        .listen(other, admin)
        .unwrap()
        .start()
        .await
        .unwrap();
    let said: Vec<&str> = handle
        .listening()
        .iter()
        .map(|listening| listening.address.as_str())
        .collect();
    assert_eq!(
        said,
        [
            format!("localhost:{}", ports[0]),
            format!("127.0.0.1:{}", ports[1])
        ]
    );
    assert_eq!(get(&mut tcp(ports[0]).await, "/").await, (200, "agents".into()));
    assert_eq!(get(&mut tcp(ports[1]).await, "/").await, (200, "admin".into()));
    handle.drain(GRACE).await;
}

#[actix_rt::test]
async fn a_server_without_listeners_does_not_start() {
    let outcome = ServerBuilder::new(ListenerMetrics::default()).start().await;
    assert!(matches!(outcome, Err(StartError::NoListener)));
}

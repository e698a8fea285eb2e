//! Requests that wait long: what happens on their connection meanwhile, and after them.

use std::time::{Duration, Instant};

use listener::Timeouts;
use tokio::io::AsyncWriteExt as _;

use crate::support::{closed, get, identity, response, send, start, tcp, tls};

const WAIT: &str = "POST /wait HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody";

#[actix_rt::test]
async fn a_waiting_request_is_answered_and_its_connection_goes_on() {
    let identity = identity();
    let server = start(identity.endpoint()).await;
    let mut io = tls(server.port, &identity.roots, &[]).await.unwrap();
    assert_eq!(get(&mut io, "/hello").await, (200, "hello".into()));
    for _ in 0..2 {
        send(&mut io, WAIT).await;
        server.routes.until_waiting(1).await;
        server.routes.release.notify_one();
        assert_eq!(response(&mut io).await.unwrap(), (200, "released".into()));
        server.routes.until_waiting(0).await;
        server.until("requests_active", 0).await;
        assert_eq!(get(&mut io, "/hello").await, (200, "hello".into()));
    }
    assert_eq!(server.metric("connections_opened_total"), 1);
    server.stop().await;
}

#[actix_rt::test]
async fn a_client_that_goes_while_its_request_waits_frees_its_handler() {
    let identity = identity();
    let server = start(identity.endpoint()).await;
    for is_half_closed in [false, true] {
        let mut io = tls(server.port, &identity.roots, &[]).await.unwrap();
        send(&mut io, WAIT).await;
        server.routes.until_waiting(1).await;
        // The beginning of a next request does not hide that the client goes.
        send(&mut io, "GET /hello HTTP/1.1\r\n").await;
        let gone = Instant::now();
        if is_half_closed {
            io.get_mut().0.shutdown().await.unwrap();
        } else {
            drop(io);
        }
        server.routes.until_waiting(0).await;
        assert!(gone.elapsed() < Duration::from_secs(1), "{:?}", gone.elapsed());
        server.routes.until_waiting(0).await;
    }
    server.stop().await;
}

#[actix_rt::test]
async fn requests_that_come_early_are_answered_in_their_turn() {
    let identity = identity();
    let server = start(identity.endpoint()).await;
    let mut io = tls(server.port, &identity.roots, &[]).await.unwrap();
    send(&mut io, WAIT).await;
    server.routes.until_waiting(1).await;
    // More than is kept while the first waits, in more than one piece.
    let padding = "x".repeat(7000);
    let hello = format!("GET /hello HTTP/1.1\r\nHost: x\r\nX-Padding: {padding}\r\n\r\n");
    for _ in 0..4 {
        send(&mut io, &hello).await;
    }
    send(&mut io, WAIT).await;
    server.routes.release.notify_one();
    assert_eq!(response(&mut io).await.unwrap(), (200, "released".into()));
    for _ in 0..4 {
        assert_eq!(response(&mut io).await.unwrap(), (200, "hello".into()));
    }
    server.routes.until_waiting(1).await;
    server.routes.release.notify_one();
    assert_eq!(response(&mut io).await.unwrap(), (200, "released".into()));
    server.stop().await;
}

#[actix_rt::test]
async fn a_drain_answers_waiting_requests_and_closes_behind_them() {
    let identity = identity();
    let server = start(identity.endpoint()).await;
    let mut io = tls(server.port, &identity.roots, &[]).await.unwrap();
    send(&mut io, WAIT).await;
    server.routes.until_waiting(1).await;
    let handle = server.handle.clone();
    let drain = actix_rt::spawn(async move { handle.drain(Duration::from_secs(15)).await });
    let text = String::from_utf8(closed(&mut io).await).unwrap();
    assert!(
        text.starts_with("HTTP/1.1 200 OK\r\n") && text.ends_with("draining"),
        "{text}"
    );
    assert!(text.contains("connection: close\r\n"), "{text}");
    assert!(text.contains("date: "), "{text}");
    assert_eq!(drain.await.unwrap().cut, 0);
}

#[actix_rt::test]
async fn an_idle_connection_behind_a_waiting_request_has_its_deadlines() {
    let identity = identity();
    let mut endpoint = identity.endpoint();
    endpoint.timeouts = Timeouts {
        idle: Duration::from_millis(800),
        read_header: Duration::from_millis(800),
        ..Timeouts::default()
    };
    let server = start(endpoint).await;
    let mut silent = tls(server.port, &identity.roots, &[]).await.unwrap();
    let mut slow = tls(server.port, &identity.roots, &[]).await.unwrap();
    let mut answered = tls(server.port, &identity.roots, &[]).await.unwrap();
    for io in [&mut silent, &mut slow, &mut answered] {
        send(io, WAIT).await;
    }
    server.routes.until_waiting(3).await;
    server.routes.release.notify_waiters();
    for io in [&mut silent, &mut slow, &mut answered] {
        assert_eq!(response(io).await.unwrap(), (200, "released".into()));
    }
    assert_eq!(get(&mut answered, "/hello").await.0, 200);
    send(&mut slow, "GET /hello HTTP/1.1\r\n").await;
    assert!(closed(&mut silent).await.is_empty());
    closed(&mut slow).await;
    server.until_open(0).await;
    server.stop().await;
}

#[actix_rt::test]
async fn a_drain_closes_a_connection_that_is_idle_behind_a_waiting_request() {
    let identity = identity();
    let server = start(identity.endpoint()).await;
    let mut io = tls(server.port, &identity.roots, &[]).await.unwrap();
    send(&mut io, WAIT).await;
    server.routes.until_waiting(1).await;
    server.routes.release.notify_one();
    assert_eq!(response(&mut io).await.unwrap().0, 200);
    let started = Instant::now();
    assert_eq!(server.handle.drain(Duration::from_secs(15)).await.cut, 0);
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "{:?}",
        started.elapsed()
    );
    assert!(closed(&mut io).await.is_empty());
}

#[actix_rt::test]
async fn a_chunked_request_waits_like_any_other() {
    let server = start(listener::Endpoint::new("agents", "127.0.0.1", 0)).await;
    let mut io = tcp(server.port).await;
    let chunked = "POST /wait HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    for _ in 0..2 {
        send(&mut io, chunked).await;
        server.routes.until_waiting(1).await;
        server.routes.release.notify_waiters();
        assert_eq!(response(&mut io).await.unwrap().1, "released");
    }
    server.stop().await;
}

#[actix_rt::test]
async fn a_large_answer_to_a_waiting_request_arrives_whole_and_a_client_that_does_not_read_it_is_let_go() {
    const LENGTH: usize = 24 * 1024 * 1024;
    let mut endpoint = listener::Endpoint::new("agents", "127.0.0.1", 0);
    endpoint.timeouts.write = Duration::from_millis(700);
    let server = start(endpoint).await;
    let request = format!("GET /wait-large/{LENGTH} HTTP/1.1\r\nHost: x\r\n\r\n");
    let mut reads = tcp(server.port).await;
    let mut stalls = tcp(server.port).await;
    send(&mut reads, &request).await;
    send(&mut stalls, &request).await;
    server.routes.until_waiting(2).await;
    server.routes.release.notify_waiters();
    let (status, body) = response(&mut reads).await.unwrap();
    assert_eq!((status, body.len()), (200, LENGTH));
    // The one that read is still there, the other one is not.
    server.until_open(1).await;
    assert_eq!(get(&mut reads, "/hello").await.0, 200);
    assert!(closed(&mut stalls).await.len() < LENGTH);
    server.stop().await;
}

#[actix_rt::test]
async fn a_panic_of_a_waiting_handler_is_a_500() {
    let server = start(listener::Endpoint::new("agents", "127.0.0.1", 0)).await;
    let mut io = tcp(server.port).await;
    send(&mut io, "GET /wait-panic HTTP/1.1\r\nHost: x\r\n\r\n").await;
    server.routes.until_waiting(1).await;
    server.routes.release.notify_one();
    assert_eq!(response(&mut io).await.unwrap(), (500, String::new()));
    assert_eq!(get(&mut io, "/hello").await.0, 200);
    assert_eq!(server.metric("handler_panics_total"), 1);
    server.stop().await;
}

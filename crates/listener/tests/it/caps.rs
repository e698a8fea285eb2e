//! How many connections and handshakes there may be.

use std::time::{Duration, Instant};

use listener::{Endpoint, Timeouts};

use crate::support::{closed, get, identity, response, start, tcp, tls};

#[actix_rt::test]
async fn gen_24_the_twelfth_connection_is_closed_without_a_byte() {
    let identity = identity();
    let mut endpoint = identity.endpoint();
    endpoint.limits.max_connections = 10;
    let server = start(endpoint).await;
    // Counted from accept: connections that never say a word fill the cap over both workers.
    let mut held = Vec::new();
    for _ in 0..11 {
        held.push(tcp(server.port).await);
    }
    server.until_open(11).await;
    let mut twelfth = tcp(server.port).await;
    assert!(closed(&mut twelfth).await.is_empty());
    assert_eq!(server.metric("connections_refused_total"), 1);
    assert_eq!(server.metric("connections_open"), 11);

    // A place comes back when a connection ends.
    drop(held.pop());
    server.until_open(10).await;
    let mut io = tls(server.port, &identity.roots, &[]).await.unwrap();
    assert_eq!(get(&mut io, "/hello").await, (200, "hello".into()));
    server.stop().await;
}

#[actix_rt::test]
async fn no_cap_when_max_connections_is_zero() {
    let server = start(Endpoint::new("agents", "127.0.0.1", 0)).await;
    let mut connections = Vec::new();
    for _ in 0..200 {
        let mut io = tcp(server.port).await;
        assert_eq!(get(&mut io, "/hello").await.0, 200);
        connections.push(io);
    }
    assert_eq!(server.metric("connections_open"), 200);
    server.stop().await;
}

#[actix_rt::test]
async fn silent_sockets_never_starve_a_good_handshake() {
    let identity = identity();
    let mut endpoint = identity.endpoint();
    endpoint.timeouts = Timeouts {
        handshake: Duration::from_secs(60),
        ..Timeouts::default()
    };
    let server = start(endpoint).await;
    let mut silent = Vec::new();
    for _ in 0..40 {
        silent.push(tcp(server.port).await);
    }
    let started = Instant::now();
    for _ in 0..4 {
        let mut io = tls(server.port, &identity.roots, &[]).await.unwrap();
        assert_eq!(get(&mut io, "/hello").await, (200, "hello".into()));
    }
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "{:?}",
        started.elapsed()
    );
    server.stop().await;
}

#[actix_rt::test]
async fn the_handshake_has_one_deadline() {
    let identity = identity();
    let mut endpoint = identity.endpoint();
    endpoint.timeouts = Timeouts {
        handshake: Duration::from_millis(300),
        ..Timeouts::default()
    };
    let server = start(endpoint).await;
    let started = Instant::now();
    let mut silent = tcp(server.port).await;
    // The beginning of a ClientHello that never ends.
    let mut partial = tcp(server.port).await;
    crate::support::send(&mut partial, "\x16\x03\x01\x02\x00").await;
    assert!(closed(&mut silent).await.is_empty());
    assert!(closed(&mut partial).await.is_empty());
    assert!(started.elapsed() >= Duration::from_millis(300));
    // Not TLS at all: an alert, then closed.
    let mut plain = tcp(server.port).await;
    crate::support::send(&mut plain, "GET / HTTP/1.1\r\n\r\n").await;
    closed(&mut plain).await;
    let mut io = tls(server.port, &identity.roots, &[]).await.unwrap();
    assert_eq!(get(&mut io, "/hello").await, (200, "hello".into()));
    server.stop().await;
}

/// Counted as failures, the probes of a load balancer would hide the clients that fail.
#[actix_rt::test]
async fn r33_a_tcp_probe_is_no_failed_handshake() {
    let identity = identity();
    let mut registry = prometheus_client::registry::Registry::default();
    let metrics = tls_reload::ReloadMetrics::register(&mut registry);
    let server = start(identity.endpoint().with_handshake_metrics(metrics.handshakes())).await;
    drop(tcp(server.port).await);
    let reset = tcp(server.port).await;
    reset.set_zero_linger().unwrap();
    drop(reset);
    let mut plain = tcp(server.port).await;
    crate::support::send(&mut plain, "GET / HTTP/1.1\r\n\r\n").await;
    closed(&mut plain).await;
    let counted = |result: &str| {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        let series = format!("handshakes_total{{result=\"{result}\",version=\"unknown\"}} ");
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(&series)?.parse().ok());
        value.unwrap_or(0u64)
    };
    let reached = async {
        while counted("closed") + counted("failure") < 3 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(crate::support::LIMIT, reached)
        .await
        .unwrap();
    assert_eq!((counted("closed"), counted("failure")), (2, 1));
    server.stop().await;
}

#[actix_rt::test]
async fn requests_in_flight_are_counted_while_they_wait() {
    let server = start(Endpoint::new("agents", "127.0.0.1", 0)).await;
    let mut io = tcp(server.port).await;
    crate::support::send(&mut io, "GET /wait HTTP/1.1\r\nHost: x\r\n\r\n").await;
    server.routes.until_waiting(1).await;
    assert_eq!(server.metric("requests_active"), 1);
    server.routes.release.notify_one();
    assert_eq!(response(&mut io).await.unwrap(), (200, "released".into()));
    assert_eq!(get(&mut io, "/hello").await.0, 200);
    server.until("requests_active", 0).await;
    server.stop().await;
}

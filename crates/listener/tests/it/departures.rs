//! A client that goes frees what waited for it.

use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt as _;

use crate::{
    protocols::Http2,
    support::{closed, get, identity, send, start, tls},
};

#[actix_rt::test]
async fn a_client_that_is_gone_frees_its_handler_within_a_second() {
    let identity = identity();
    let server = start(identity.endpoint()).await;
    let mut io = tls(server.port, &identity.roots, &[]).await.unwrap();
    send(&mut io, "GET /wait HTTP/1.1\r\nHost: x\r\n\r\n").await;
    server.routes.until_waiting(1).await;
    let gone = Instant::now();
    drop(io);
    server.routes.until_waiting(0).await;
    assert!(gone.elapsed() < Duration::from_secs(1), "{:?}", gone.elapsed());

    // Also with the beginning of a second request behind the first.
    let mut io = tls(server.port, &identity.roots, &[]).await.unwrap();
    send(
        &mut io,
        "GET /wait HTTP/1.1\r\nHost: x\r\n\r\nGET /hello HTTP/1.1\r\nHost: x\r\n\r\n",
    )
    .await;
    server.routes.until_waiting(1).await;
    let gone = Instant::now();
    drop(io);
    server.routes.until_waiting(0).await;
    assert!(gone.elapsed() < Duration::from_secs(1), "{:?}", gone.elapsed());
    server.stop().await;
}

#[actix_rt::test]
async fn a_half_closed_client_counts_as_gone() {
    let identity = identity();
    let server = start(identity.endpoint()).await;
    let mut io = tls(server.port, &identity.roots, &[]).await.unwrap();
    send(&mut io, "GET /wait HTTP/1.1\r\nHost: x\r\n\r\n").await;
    server.routes.until_waiting(1).await;
    let gone = Instant::now();
    io.get_mut().0.shutdown().await.unwrap();
    server.routes.until_waiting(0).await;
    assert!(gone.elapsed() < Duration::from_secs(1), "{:?}", gone.elapsed());
    closed(&mut io).await;
    server.stop().await;
}

#[actix_rt::test]
async fn an_h2_reset_frees_one_handler_and_a_close_all() {
    let identity = identity();
    let server = start(identity.endpoint()).await;
    let io = tls(server.port, &identity.roots, &["h2"]).await.unwrap();
    let (client, connection) = h2::client::handshake(io).await.unwrap();
    let driver = actix_rt::spawn(connection);
    let mut streams = Vec::new();
    for _ in 0..3 {
        let mut client = client.clone().ready().await.unwrap();
        let request = http::Request::get("https://localhost/wait").body(()).unwrap();
        streams.push(client.send_request(request, true).unwrap());
    }
    server.routes.until_waiting(3).await;
    let gone = Instant::now();
    streams[0].1.send_reset(h2::Reason::CANCEL);
    server.routes.until_waiting(2).await;
    assert!(gone.elapsed() < Duration::from_secs(1), "{:?}", gone.elapsed());
    let gone = Instant::now();
    driver.abort();
    server.routes.until_waiting(0).await;
    assert!(gone.elapsed() < Duration::from_secs(1), "{:?}", gone.elapsed());

    let mut client = Http2::open(tls(server.port, &identity.roots, &["h2"]).await.unwrap()).await;
    assert_eq!(client.get("/hello").await.0, 200);
    let mut io = tls(server.port, &identity.roots, &[]).await.unwrap();
    assert_eq!(get(&mut io, "/hello").await.0, 200);
    server.stop().await;
}

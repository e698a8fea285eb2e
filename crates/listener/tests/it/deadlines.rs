//! How long a client may take.

use std::time::{Duration, Instant};

use listener::{Endpoint, Timeouts};
use tokio::io::AsyncWriteExt as _;

use crate::{
    protocols::Http2,
    support::{closed, get, identity, response, send, start, tcp, tls},
};

fn endpoint(timeouts: Timeouts) -> Endpoint {
    let mut endpoint = Endpoint::new("agents", "127.0.0.1", 0);
    endpoint.timeouts = timeouts;
    endpoint
}

#[actix_rt::test]
async fn a_slow_first_head_is_answered_408() {
    let timeouts = Timeouts {
        read_header: Duration::from_millis(700),
        ..Timeouts::default()
    };
    let server = start(endpoint(timeouts)).await;
    let mut io = tcp(server.port).await;
    send(&mut io, "GET /hello HTTP/1.1\r\nHost: ").await;
    assert_eq!(response(&mut io).await.unwrap().0, 408);
    closed(&mut io).await;
    server.stop().await;
}

#[actix_rt::test]
async fn a_slow_later_head_is_closed_however_it_drips() {
    let timeouts = Timeouts {
        read_header: Duration::from_millis(700),
        idle: Duration::from_secs(60),
        ..Timeouts::default()
    };
    let server = start(endpoint(timeouts)).await;
    let mut io = tcp(server.port).await;
    assert_eq!(get(&mut io, "/hello").await.0, 200);
    let (mut reader, mut writer) = io.into_split();
    let started = Instant::now();
    let dripping = async {
        send(&mut writer, "GET /hello HTTP/1.1\r\nX-Drip: ").await;
        let mut tick = tokio::time::interval(Duration::from_millis(50));
        loop {
            tick.tick().await;
            if writer.write_all(b"a").await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    };
    tokio::select! {
        rest = closed(&mut reader) => assert!(rest.is_empty()),
        () = dripping => {}
    }
    assert!(
        started.elapsed() >= Duration::from_millis(600),
        "{:?}",
        started.elapsed()
    );
    assert!(
        started.elapsed() < Duration::from_secs(10),
        "{:?}",
        started.elapsed()
    );
    server.stop().await;
}

#[actix_rt::test]
async fn the_head_deadline_does_not_touch_a_long_poll() {
    let timeouts = Timeouts {
        read_header: Duration::from_millis(600),
        idle: Duration::from_millis(600),
        ..Timeouts::default()
    };
    let server = start(endpoint(timeouts)).await;
    let mut io = tcp(server.port).await;
    for _ in 0..2 {
        send(&mut io, "GET /wait HTTP/1.1\r\nHost: x\r\n\r\n").await;
        server.routes.until_waiting(1).await;
        // Longer than both deadlines: it is their passing that must do nothing.
        tokio::time::sleep(Duration::from_millis(1500)).await;
        assert_eq!(server.routes.waiting(), 1);
        server.routes.release.notify_one();
        assert_eq!(response(&mut io).await.unwrap(), (200, "released".into()));
    }
    server.stop().await;
}

#[actix_rt::test]
async fn ac_06_a_connection_that_is_used_now_and_then_is_kept() {
    let timeouts = Timeouts {
        read_header: Duration::from_millis(300),
        idle: Duration::from_secs(60),
        ..Timeouts::default()
    };
    let identity = identity();
    let mut tls_endpoint = identity.endpoint();
    tls_endpoint.timeouts = timeouts;
    let secure = start(tls_endpoint).await;
    let plain = start(endpoint(timeouts)).await;
    let mut tls_io = tls(secure.port, &identity.roots, &[]).await.unwrap();
    let mut io = tcp(plain.port).await;
    for _ in 0..3 {
        assert_eq!(get(&mut tls_io, "/hello").await.0, 200);
        assert_eq!(get(&mut io, "/hello").await.0, 200);
        // Longer than a head may take: its passing must do nothing. An agent polls again up to 1.5 s after an answer.
        tokio::time::sleep(Duration::from_millis(1600)).await;
    }
    secure.stop().await;
    plain.stop().await;
}

#[actix_rt::test]
async fn an_idle_connection_is_closed() {
    let timeouts = Timeouts {
        idle: Duration::from_millis(700),
        ..Timeouts::default()
    };
    let server = start(endpoint(timeouts)).await;
    let mut io = tcp(server.port).await;
    assert_eq!(get(&mut io, "/hello").await.0, 200);
    assert!(closed(&mut io).await.is_empty());
    server.stop().await;
}

#[actix_rt::test]
async fn an_idle_h2_connection_is_closed_and_a_waiting_one_kept() {
    let identity = identity();
    let mut endpoint = identity.endpoint();
    endpoint.timeouts.idle = Duration::from_millis(400);
    let server = start(endpoint).await;
    let mut waiting = Http2::open(tls(server.port, &identity.roots, &["h2"]).await.unwrap()).await;
    let poll = actix_rt::spawn({
        let mut client = waiting.clone();
        async move { client.get("/wait").await }
    });
    server.routes.until_waiting(1).await;
    let mut idle = Http2::open(tls(server.port, &identity.roots, &["h2"]).await.unwrap()).await;
    assert_eq!(idle.get("/hello").await.0, 200);
    server.until_open(2).await;
    server.until_open(1).await;
    server.routes.release.notify_one();
    assert_eq!(poll.await.unwrap(), (200, "released".into()));
    assert_eq!(waiting.get("/hello").await.0, 200);
    server.stop().await;
}

#[actix_rt::test]
async fn a_client_that_does_not_read_cannot_hold_a_response() {
    let timeouts = Timeouts {
        write: Duration::from_millis(800),
        ..Timeouts::default()
    };
    let identity = identity();
    let mut tls_endpoint = identity.endpoint();
    tls_endpoint.timeouts = timeouts;
    let server = start(tls_endpoint).await;
    let mut http1 = tls(server.port, &identity.roots, &[]).await.unwrap();
    send(&mut http1, "GET /endless HTTP/1.1\r\nHost: x\r\n\r\n").await;
    server.routes.until_waiting(1).await;
    server.routes.until_waiting(0).await;

    let mut http2 = Http2::open(tls(server.port, &identity.roots, &["h2"]).await.unwrap()).await;
    let request = http::Request::get("https://localhost/endless").body(()).unwrap();
    // The response is never read, so its flow-control window stays shut.
    let (response, _stream) = http2.request(request, None).await;
    let _unread = response.await.unwrap();
    server.routes.until_waiting(1).await;
    server.routes.until_waiting(0).await;
    server.stop().await;

    let server = start(endpoint(timeouts)).await;
    let mut plain = tcp(server.port).await;
    send(&mut plain, "GET /endless HTTP/1.1\r\nHost: x\r\n\r\n").await;
    server.routes.until_waiting(1).await;
    server.routes.until_waiting(0).await;
    server.stop().await;
}

#[actix_rt::test]
async fn a_body_nobody_reads_ends_with_its_connection() {
    let timeouts = Timeouts {
        read_header: Duration::from_millis(500),
        disconnect: Duration::from_millis(500),
        ..Timeouts::default()
    };
    let server = start(endpoint(timeouts)).await;
    for head in [
        "Transfer-Encoding: chunked\r\n\r\n",
        "Content-Length: 100000000000\r\n\r\n",
    ] {
        let io = tcp(server.port).await;
        let (mut reader, mut writer) = io.into_split();
        send(
            &mut writer,
            &format!("POST /ignore-body HTTP/1.1\r\nHost: x\r\n{head}"),
        )
        .await;
        let feeding = async {
            loop {
                let chunk = if head.starts_with('T') {
                    "1\r\na\r\n"
                } else {
                    "aaaaaa"
                };
                if writer.write_all(chunk.as_bytes()).await.is_err() {
                    std::future::pending::<()>().await;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::select! {
            answer = closed(&mut reader) => {
                let answer = String::from_utf8(answer).unwrap();
                assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
            }
            () = feeding => {}
        }
    }
    server.stop().await;
}

//! Clients that mean harm, or act as if: what they cost, and what the others see.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::io::AsyncWriteExt as _;

use crate::protocols::Http2;
use crate::support::{SHARED, closed, get, identity, response, send, start, tcp, tls};

/// The first flight of a handshake, as a real client sends it.
fn client_hello(roots: &rustls::RootCertStore) -> Vec<u8> {
    let config = rustls::ClientConfig::builder()
        .with_root_certificates(roots.clone())
        .with_no_client_auth();
    let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
    let mut client = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let mut hello = Vec::new();
    client.write_tls(&mut hello).unwrap();
    hello
}

#[actix_rt::test]
async fn handshakes_that_stall_do_not_hold_up_others() {
    let identity = identity();
    let server = start(identity.endpoint()).await;
    let hello = client_hello(&identity.roots);
    let mut stalled = Vec::new();
    for _ in 0..700 {
        let mut io = tcp(server.port).await;
        io.write_all(&hello).await.unwrap();
        stalled.push(io);
    }
    // Both workers answer the last of them, and wait for the client now.
    let started = Instant::now();
    for io in &mut stalled {
        io.readable().await.unwrap();
    }
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "{:?}",
        started.elapsed()
    );
    for _ in 0..4 {
        let started = Instant::now();
        let mut io = tls(server.port, &identity.roots, &[]).await.unwrap();
        assert_eq!(get(&mut io, "/hello").await.0, 200);
        assert!(
            started.elapsed() < Duration::from_secs(1),
            "{:?}",
            started.elapsed()
        );
    }
    server.stop().await;
}

#[actix_rt::test]
async fn a_refusal_before_the_body_keeps_the_connection() {
    let identity = identity();
    let server = start(identity.endpoint()).await;
    let mut io = tls(server.port, &identity.roots, &[]).await.unwrap();
    for length in [0, 1000, 60_000] {
        let body = "b".repeat(length);
        let head = format!("POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n");
        send(&mut io, &(head + &body)).await;
        assert_eq!(response(&mut io).await.unwrap().0, 404);
        let chunked = "POST /nowhere HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
        send(
            &mut io,
            &format!("{chunked}3e8\r\n{}\r\n0\r\n\r\n", "b".repeat(1000)),
        )
        .await;
        assert_eq!(response(&mut io).await.unwrap().0, 404);
    }
    assert_eq!(server.metric("connections_opened_total"), 1);
    // A body that would have to be taken for long is not: the client reads why, and the connection ends.
    send(
        &mut io,
        "POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\nb",
    )
    .await;
    let answer = String::from_utf8(closed(&mut io).await).unwrap();
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
    assert!(answer.contains("connection: close\r\n"), "{answer}");
    server.stop().await;
}

#[actix_rt::test]
async fn a_client_that_goes_is_noticed_behind_what_it_sent_early() {
    let identity = identity();
    let server = start(identity.endpoint()).await;
    let early = "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n".repeat(3000);
    for is_half_closed in [false, true] {
        let mut io = tls(server.port, &identity.roots, &[]).await.unwrap();
        send(&mut io, "GET /wait HTTP/1.1\r\nHost: x\r\n\r\n").await;
        server.routes.until_waiting(1).await;
        send(&mut io, &early).await;
        let gone = Instant::now();
        if is_half_closed {
            io.get_mut().0.shutdown().await.unwrap();
        } else {
            drop(io);
        }
        server.routes.until_waiting(0).await;
        assert!(gone.elapsed() < Duration::from_secs(1), "{:?}", gone.elapsed());
    }
    server.stop().await;
}

#[actix_rt::test]
async fn a_malformed_chunk_is_answered_400_before_the_close() {
    let identity = identity();
    let server = start(identity.endpoint()).await;
    for chunk in ["zz\r\n", "4\r\nbodyXX", "-1\r\n", "fffffffffffffffff\r\n"] {
        let mut io = tls(server.port, &identity.roots, &[]).await.unwrap();
        send(
            &mut io,
            &format!("POST /count HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}"),
        )
        .await;
        let answer = String::from_utf8(closed(&mut io).await).unwrap();
        assert!(answer.starts_with("HTTP/1.1 400"), "{chunk:?}: {answer}");
    }
    server.stop().await;
}

/// A frame as it goes over the wire.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// `GET /wait` with nothing but entries of the static table and literals.
fn wait_head() -> Vec<u8> {
    [&[0x82, 0x87, 0x04, 5][..], b"/wait", &[0x01, 9], b"localhost"].concat()
}

const END_HEADERS: u8 = 4;

#[actix_rt::test]
async fn floods_of_frames_end_their_connection_and_others_do_not_notice() {
    const FLOOD: usize = 200_000;
    let identity = identity();
    let server = start(identity.endpoint()).await;
    let opened = frame(1, END_HEADERS, 1, &wait_head());
    let floods: [(&str, Vec<u8>, Vec<u8>); 7] = [
        ("empty DATA", opened.clone(), frame(0, 0, 1, b"")),
        ("padded DATA", opened.clone(), frame(0, 8, 1, &[3, 0, 0, 0])),
        ("PING", Vec::new(), frame(6, 0, 0, &[0; 8])),
        ("SETTINGS", Vec::new(), frame(4, 0, 0, b"")),
        ("CONTINUATION", frame(1, 0, 1, &wait_head()), frame(9, 0, 1, b"")),
        ("PRIORITY", opened, frame(2, 0, 1, &[0, 0, 0, 0, 1])),
        ("RST", Vec::new(), Vec::new()),
    ];
    let mut other = tls(server.port, &identity.roots, &[]).await.unwrap();
    for (name, opening, one) in floods {
        let mut io = tls(server.port, &identity.roots, &["h2"]).await.unwrap();
        io.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        io.write_all(&[frame(4, 0, 0, b""), opening].concat())
            .await
            .unwrap();
        let (mut reader, mut writer) = tokio::io::split(io);
        let flooding = async {
            for block in 0..FLOOD / 100 {
                let bytes = match name {
                    // Each request is withdrawn as soon as it is made.
                    "RST" => (0..100)
                        .flat_map(|at| {
                            let stream = u32::try_from(block * 100 + at).unwrap() * 2 + 1;
                            let reset = frame(3, 0, stream, &[0, 0, 0, 8]);
                            [frame(1, END_HEADERS, stream, &wait_head()), reset].concat()
                        })
                        .collect(),
                    _ => one.repeat(100),
                };
                if writer.write_all(&bytes).await.is_err() {
                    return block * 100;
                }
            }
            std::future::pending().await
        };
        let ended = async {
            let mut rest = tokio::io::sink();
            // A reset is an end too.
            let _end = tokio::io::copy(&mut reader, &mut rest).await;
        };
        let slowest = async {
            let mut slowest = Duration::ZERO;
            loop {
                let began = Instant::now();
                assert_eq!(get(&mut other, "/hello").await.0, 200);
                slowest = slowest.max(began.elapsed());
                assert!(
                    slowest < Duration::from_secs(1),
                    "{name}: others wait {slowest:?}"
                );
            }
        };
        let cut = async {
            tokio::select! {
                () = ended => {}
                _ = flooding => {}
            }
        };
        tokio::select! {
            outcome = tokio::time::timeout(crate::support::LIMIT, cut) => {
                assert!(outcome.is_ok(), "{name}: the connection goes on");
            }
            () = slowest => {}
        }
        server.routes.until_waiting(0).await;
    }
    server.stop().await;
}

#[actix_rt::test]
async fn a_window_that_opens_byte_by_byte_does_not_hold_a_response() {
    let identity = identity();
    let mut endpoint = identity.endpoint();
    endpoint.timeouts.write = Duration::from_millis(800);
    let server = start(endpoint).await;
    let io = tls(server.port, &identity.roots, &["h2"]).await.unwrap();
    let mut client = Http2::open(io).await;
    let request = http::Request::get("https://localhost/endless").body(()).unwrap();
    let (response, _stream) = client.request(request, None).await;
    let mut body = response.await.unwrap().into_body();
    server.routes.until_waiting(1).await;
    let trickling = async {
        while let Some(Ok(chunk)) = body.data().await {
            for _ in 0..chunk.len() {
                if body.flow_control().release_capacity(1).is_err() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    };
    tokio::select! {
        () = trickling => {}
        () = server.routes.until_waiting(0) => {}
    }
    server.routes.until_waiting(0).await;
    server.stop().await;
}

fn resident_mib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    let kib: usize = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib >> 10
}

#[actix_rt::test]
async fn answers_that_nobody_reads_over_http2_share_their_bytes_and_end_at_the_deadline() {
    const STREAMS: usize = 100;
    let identity = identity();
    let mut endpoint = identity.endpoint();
    // Long enough for all streams to be open at once, also on a busy machine.
    endpoint.timeouts.write = Duration::from_secs(12);
    let server = start(endpoint).await;
    let before = resident_mib();
    let io = tls(server.port, &identity.roots, &["h2"]).await.unwrap();
    // The client never opens a window: not a byte of an answer's body may be sent.
    let mut client = Http2::open_as(h2::client::Builder::new().initial_window_size(0), io).await;
    let mut answers = Vec::new();
    for _ in 0..STREAMS {
        let request = http::Request::get("https://localhost/shared").body(()).unwrap();
        let (response, _stream) = client.request(request, None).await;
        answers.push(response.await.unwrap().into_body());
    }
    server.routes.until_waiting(STREAMS).await;
    // Other tests of this process take some too; private copies would take 800 MiB.
    let growth = resident_mib().saturating_sub(before);
    assert!(
        growth < STREAMS * (SHARED >> 20) / 2,
        "{growth} MiB for {STREAMS} answers"
    );
    server.routes.until_waiting(0).await;
    for mut body in answers {
        let outcome = body.data().await.unwrap();
        let reason = outcome.expect_err("the stream was cut").reason();
        assert_eq!(reason, Some(h2::Reason::CANCEL));
    }
    server.stop().await;
}

#[actix_rt::test]
async fn a_client_that_reads_slowly_over_http2_gets_its_answer() {
    // Four of these are progress; the window holds four, the connection's a little less.
    const STEP: usize = 16 * 1024;
    let identity = identity();
    let mut endpoint = identity.endpoint();
    endpoint.timeouts.write = Duration::from_secs(3);
    let server = start(endpoint).await;
    let io = tls(server.port, &identity.roots, &["h2"]).await.unwrap();
    let mut client = Http2::open_as(
        h2::client::Builder::new().initial_window_size(4 * STEP as u32),
        io,
    )
    .await;
    let bytes = 40 * STEP;
    let request = http::Request::get(format!("https://localhost/large/{bytes}"))
        .body(())
        .unwrap();
    let (response, _stream) = client.request(request, None).await;
    let mut body = response.await.unwrap().into_body();
    let (started, mut read, mut held) = (Instant::now(), 0, 0);
    while let Some(chunk) = body.data().await {
        let chunk = chunk.unwrap();
        (read, held) = (read + chunk.len(), held + chunk.len());
        if held >= STEP {
            // All of these are longer than the deadline, those of one progress are not.
            tokio::time::sleep(Duration::from_millis(150)).await;
            body.flow_control()
                .release_capacity(std::mem::take(&mut held))
                .unwrap();
        }
    }
    assert_eq!(read, bytes);
    assert!(
        started.elapsed() > Duration::from_secs(3),
        "it was not slow: {:?}",
        started.elapsed()
    );
    server.stop().await;
}

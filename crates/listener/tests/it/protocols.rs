//! Which protocol is spoken, and what the application knows of the connection.

use bytes::Bytes;
use futures_util::FutureExt as _;
use listener::{Endpoint, Limits};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::timeout,
};

use crate::support::{LIMIT, closed, get, identity, response, send, start, tcp, tls};

#[actix_rt::test]
async fn ac_03_no_alpn_is_http1_over_tls() {
    let identity = identity();
    let server = start(identity.endpoint()).await;
    let mut io = tls(server.port, &identity.roots, &[]).await.unwrap();
    assert_eq!(io.get_ref().1.alpn_protocol(), None);
    assert_eq!(get(&mut io, "/hello").await, (200, "hello".into()));
    assert_eq!(get(&mut io, "/hello").await, (200, "hello".into()));
    assert_eq!(
        get(&mut io, "/who").await,
        (
            200,
            "peer=127.0.0.1 tls=Some(TLSv1_3) certificate=false scheme=https secure=true".into()
        )
    );
    server.stop().await;
}

#[actix_rt::test]
async fn ac_04_alpn_chooses_between_h2_and_http1() {
    let identity = identity();
    let server = start(identity.endpoint()).await;

    let mut io = tls(server.port, &identity.roots, &["http/1.1"]).await.unwrap();
    assert_eq!(io.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    assert_eq!(get(&mut io, "/hello").await, (200, "hello".into()));

    let io = tls(server.port, &identity.roots, &["h2", "http/1.1"])
        .await
        .unwrap();
    assert_eq!(io.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let mut client = Http2::open(io).await;
    assert_eq!(client.get("/hello").await, (200, "hello".into()));
    assert_eq!(
        client.get("/who").await,
        (
            200,
            "peer=127.0.0.1 tls=Some(TLSv1_3) certificate=false scheme=https secure=true".into()
        )
    );
    server.stop().await;
}

#[actix_rt::test]
async fn an_upgraded_connection_carries_bytes_both_ways_until_the_client_goes() {
    let identity = identity();
    let server = start(identity.endpoint()).await;
    let mut io = tls(server.port, &identity.roots, &[]).await.unwrap();
    let head = "HTTP/1.1\r\nhost: x\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n";
    // What is sent early is not lost.
    send(&mut io, &format!("GET /upgrade {head}early")).await;
    let mut seen = Vec::new();
    while !seen.ends_with(b"early") {
        assert!(timeout(LIMIT, io.read_buf(&mut seen)).await.unwrap().unwrap() > 0);
    }
    let answer = String::from_utf8(seen).unwrap().to_lowercase();
    assert!(answer.starts_with("http/1.1 101 "), "{answer}");
    assert!(
        answer.contains("connection: upgrade\r\n") && answer.contains("upgrade: websocket\r\n"),
        "{answer}"
    );
    assert!(
        !answer.contains("transfer-encoding") && !answer.contains("content-length"),
        "{answer}"
    );
    // More than the listener reads ahead.
    let large = vec![b'x'; 200_000];
    let (mut reader, mut writer) = tokio::io::split(io);
    let sending = async {
        writer.write_all(&large).await.unwrap();
        writer.flush().await.unwrap();
    };
    let mut echoed = vec![0; large.len()];
    let receiving = async { reader.read_exact(&mut echoed).await.unwrap() };
    timeout(LIMIT, async { tokio::join!(sending, receiving) })
        .await
        .unwrap();
    assert_eq!(echoed, large);
    server.until_open(1).await;
    drop((reader, writer));
    server.until_open(0).await;

    // An application that does not agree answers as always, and the connection ends.
    let mut io = tls(server.port, &identity.roots, &[]).await.unwrap();
    send(&mut io, &format!("GET /hello {head}GET /hello {head}")).await;
    let mut answer = String::new();
    timeout(LIMIT, io.read_to_string(&mut answer))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(answer.matches("HTTP/1.1 200").count(), 1, "{answer}");
    assert!(answer.contains("connection: close\r\n"), "{answer}");
    server.stop().await;
}

#[actix_rt::test]
async fn http2_carries_bodies_both_ways_and_many_streams() {
    let identity = identity();
    let server = start(identity.endpoint()).await;
    let mut client = Http2::open(tls(server.port, &identity.roots, &["h2"]).await.unwrap()).await;
    let body = Bytes::from(vec![b'a'; 700_000]);
    assert_eq!(client.post("/count", body.clone()).await, (200, "700000".into()));
    let many: Vec<_> = (0..50).map(|_| client.clone()).collect();
    let answers = futures_util::future::join_all(
        many.into_iter()
            .map(|mut client| async move { client.get("/hello").await }),
    )
    .await;
    assert!(
        answers.iter().all(|answer| *answer == (200, "hello".into())),
        "{answers:?}"
    );
    server.stop().await;
}

/// curl up to 7.88 takes a reset behind a complete answer for a failure.
#[actix_rt::test]
async fn http2_an_answer_before_the_end_of_the_request_is_no_reset() {
    let identity = identity();
    let server = start(identity.endpoint()).await;
    let mut client = Http2::open(tls(server.port, &identity.roots, &["h2"]).await.unwrap()).await;
    client.client = client.client.clone().ready().await.unwrap();
    let request = http::Request::post("https://localhost/ignore-body")
        .body(())
        .unwrap();
    let (response, mut stream) = client.client.send_request(request, false).unwrap();
    assert_eq!(read(response.await.unwrap()).await, (200, "not read".to_owned()));
    stream.send_data(Bytes::from(vec![b'a'; 10_000]), true).unwrap();
    // A reset would have come before this answer.
    assert_eq!(client.get("/hello").await, (200, "hello".into()));
    let reset = std::future::poll_fn(|cx| stream.poll_reset(cx)).now_or_never();
    assert!(!matches!(reset, Some(Ok(_))), "{reset:?}");
    server.stop().await;
}

#[actix_rt::test]
async fn bodies_of_every_size_arrive_whole() {
    let identity = identity();
    let server = start(identity.endpoint()).await;
    let mut http1 = tls(server.port, &identity.roots, &[]).await.unwrap();
    let mut http2 = Http2::open(tls(server.port, &identity.roots, &["h2"]).await.unwrap()).await;
    for bytes in [0, 1, 3584, 3585, 60_000, 1024 * 1024, 3 * 1024 * 1024] {
        let expected: String = (0..bytes).map(|at| char::from(b'a' + (at % 23) as u8)).collect();
        let path = format!("/large/{bytes}");
        assert!(
            get(&mut http1, &path).await == (200, expected.clone()),
            "{bytes} over HTTP/1.1"
        );
        assert!(http2.get(&path).await == (200, expected), "{bytes} over HTTP/2");
    }
    server.stop().await;
}

#[actix_rt::test]
async fn http2_heads_above_the_limit_are_refused() {
    let identity = identity();
    let mut endpoint = identity.endpoint();
    endpoint.limits = Limits {
        max_header_bytes: 8192,
        ..Limits::default()
    };
    let server = start(endpoint).await;
    let mut client = Http2::open(tls(server.port, &identity.roots, &["h2"]).await.unwrap()).await;
    let (status, _) = client.get_with_header("/hello", &"v".repeat(20_000)).await;
    assert_eq!(status, 431);
    // The connection goes on.
    assert_eq!(client.get("/hello").await, (200, "hello".into()));
    server.stop().await;
}

#[actix_rt::test]
async fn plain_endpoint_speaks_http1_only() {
    let server = start(Endpoint::new("metrics", "127.0.0.1", 0)).await;
    let mut io = tcp(server.port).await;
    assert_eq!(get(&mut io, "/hello").await, (200, "hello".into()));
    assert_eq!(
        get(&mut io, "/who").await,
        (
            200,
            "peer=127.0.0.1 tls=None certificate=false scheme=http secure=false".into()
        )
    );
    let mut io = tcp(server.port).await;
    send(&mut io, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    let answer = String::from_utf8(closed(&mut io).await).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    server.stop().await;
}

#[actix_rt::test]
async fn heads_above_the_limit_are_answered_431() {
    let mut endpoint = Endpoint::new("agents", "127.0.0.1", 0);
    endpoint.limits.max_header_bytes = 8192;
    let server = start(endpoint).await;
    let request = |bytes: usize| {
        format!(
            "GET /hello HTTP/1.1\r\nHost: localhost\r\nX-Long: {}\r\n\r\n",
            "v".repeat(bytes)
        )
    };
    let mut io = tcp(server.port).await;
    send(&mut io, &request(8192 + 3900)).await;
    assert_eq!(response(&mut io).await.unwrap().0, 200);
    send(&mut io, &request(8192 + 4100)).await;
    assert_eq!(response(&mut io).await.unwrap().0, 431);

    // An endless head: refused while it grows, with bounded memory.
    let mut io = tcp(server.port).await;
    send(&mut io, "GET /hello HTTP/1.1\r\nHost: localhost\r\nX-Long: ").await;
    let part = "v".repeat(16 * 1024);
    for _ in 0..9 {
        if tokio::io::AsyncWriteExt::write_all(&mut io, part.as_bytes())
            .await
            .is_err()
        {
            break;
        }
    }
    let answer = String::from_utf8_lossy(&closed(&mut io).await).into_owned();
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 431"),
        "{answer}"
    );
    server.stop().await;
}

/// An HTTP/2 client.
#[derive(Clone)]
pub(crate) struct Http2 {
    client: h2::client::SendRequest<Bytes>,
}

impl Http2 {
    pub(crate) async fn open(
        io: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + 'static,
    ) -> Self {
        Self::open_as(&mut h2::client::Builder::new(), io).await
    }

    pub(crate) async fn open_as(
        client: &mut h2::client::Builder,
        io: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + 'static,
    ) -> Self {
        let (client, connection) = client.handshake(io).await.unwrap();
        actix_rt::spawn(async move {
            // Its errors are those of the requests.
            let _ = connection.await;
        });
        Self { client }
    }

    pub(crate) async fn request(
        &mut self,
        request: http::Request<()>,
        body: Option<Bytes>,
    ) -> (h2::client::ResponseFuture, h2::SendStream<Bytes>) {
        self.client = self.client.clone().ready().await.unwrap();
        let (response, mut stream) = self.client.send_request(request, body.is_none()).unwrap();
        if let Some(body) = body {
            stream.send_data(body, true).unwrap();
        }
        (response, stream)
    }

    pub(crate) async fn get(&mut self, path: &str) -> (u16, String) {
        let request = http::Request::get(format!("https://localhost{path}"))
            .body(())
            .unwrap();
        let (response, _stream) = self.request(request, None).await;
        read(response.await.unwrap()).await
    }

    pub(crate) async fn post(&mut self, path: &str, body: Bytes) -> (u16, String) {
        let request = http::Request::post(format!("https://localhost{path}"))
            .body(())
            .unwrap();
        let (response, _stream) = self.request(request, Some(body)).await;
        read(response.await.unwrap()).await
    }

    pub(crate) async fn get_with_header(&mut self, path: &str, value: &str) -> (u16, String) {
        let request = http::Request::get(format!("https://localhost{path}"))
            .header("x-long", value)
            .body(())
            .unwrap();
        let (response, _stream) = self.request(request, None).await;
        read(response.await.unwrap()).await
    }
}

async fn read(response: http::Response<h2::RecvStream>) -> (u16, String) {
    let status = response.status().as_u16();
    let mut body = response.into_body();
    let mut text = Vec::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk.unwrap();
        body.flow_control().release_capacity(chunk.len()).unwrap();
        text.extend_from_slice(&chunk);
    }
    (status, String::from_utf8(text).unwrap())
}

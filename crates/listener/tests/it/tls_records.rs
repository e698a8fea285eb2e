//! TLS as clients may cut and join it: by rustls's own client, whose records go out in pieces of any size.

use std::{io::Write as _, sync::Arc};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use rustls::{
    AlertDescription, ClientConfig, ClientConnection, Error, RootCertStore, SupportedProtocolVersion,
    pki_types::{PrivateKeyDer, ServerName},
    version::{TLS12, TLS13},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use crate::support::{self, LIMIT, closed, identity, start, tls};

const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

/// A client that decides what goes into one write.
struct Client {
    tls: ClientConnection,
    io: TcpStream,
    /// Bytes of one write; the socket sends each at once.
    piece: usize,
    /// Bytes of one read.
    read: usize,
}

impl Client {
    async fn connect(port: u16, config: ClientConfig, piece: usize) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(64 * 1024).unwrap();
        let io = socket.connect(([127, 0, 0, 1], port).into()).await.unwrap();
        io.set_nodelay(true).unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let tls = ClientConnection::new(Arc::new(config), name).unwrap();
        let read = 16 * 1024;
        Self { tls, io, piece, read }
    }

    /// Sends all records that wait.
    async fn send(&mut self) {
        let mut records = Vec::new();
        while self.tls.wants_write() {
            self.tls.write_tls(&mut records).unwrap();
        }
        for piece in records.chunks(self.piece) {
            self.io.write_all(piece).await.unwrap();
        }
    }

    /// Reads once; `false` at the end of the connection.
    async fn receive(&mut self) -> Result<bool, Error> {
        let mut bytes = vec![0; self.read];
        let count = timeout(LIMIT, self.io.read(&mut bytes)).await.unwrap().unwrap();
        let mut bytes = &bytes[..count];
        while !bytes.is_empty() {
            self.tls.read_tls(&mut bytes).unwrap();
            self.tls.process_new_packets()?;
        }
        Ok(count > 0)
    }

    async fn shake(&mut self) -> Result<(), Error> {
        loop {
            self.send().await;
            if !self.tls.is_handshaking() {
                return Ok(());
            }
            assert!(self.receive().await?, "closed in the middle of the handshake");
        }
    }

    fn write(&mut self, text: &str) {
        self.tls.writer().write_all(text.as_bytes()).unwrap();
    }

    /// Reads until `end` stands at the end of the text.
    async fn text_until(&mut self, end: &str) -> String {
        let mut text = Vec::new();
        loop {
            // What there is; its end is not the connection's.
            let _would_block = std::io::Read::read_to_end(&mut self.tls.reader(), &mut text);
            if text.ends_with(end.as_bytes()) {
                return String::from_utf8(text).unwrap();
            }
            assert!(
                self.receive().await.unwrap(),
                "{:?}",
                String::from_utf8_lossy(&text)
            );
        }
    }
}

fn config(roots: &RootCertStore, version: &'static SupportedProtocolVersion) -> ClientConfig {
    let mut config = ClientConfig::builder_with_protocol_versions(&[version])
        .with_root_certificates(roots.clone())
        .with_no_client_auth();
    config.resumption = rustls::client::Resumption::disabled();
    config
}

fn post(body: &str) -> String {
    let length = body.len();
    format!("POST /count HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{body}")
}

#[actix_rt::test]
async fn records_that_come_byte_by_byte_are_read() {
    let identity = identity();
    let server = start(identity.endpoint()).await;
    for version in VERSIONS {
        let mut client = Client::connect(server.port, config(&identity.roots, version), 1).await;
        client.shake().await.unwrap();
        client.write(&post(&"b".repeat(3000)));
        client.send().await;
        client.text_until("\r\n\r\n3000").await;
    }
    server.stop().await;
}

#[actix_rt::test]
async fn many_records_in_one_write_are_read() {
    let identity = identity();
    let server = start(identity.endpoint()).await;
    for version in VERSIONS {
        let mut config = config(&identity.roots, version);
        config.max_fragment_size = Some(64);
        let mut client = Client::connect(server.port, config, usize::MAX).await;
        client.tls.set_buffer_limit(None);
        client.shake().await.unwrap();
        // 900,000 bytes in 20,000 records, and the next request behind them.
        client.write(&post(&"b".repeat(900_000)));
        client.write(&post("cc"));
        let mut records = Vec::new();
        while client.tls.wants_write() {
            client.tls.write_tls(&mut records).unwrap();
        }
        client.io.write_all(&records).await.unwrap();
        let text = client.text_until("\r\n\r\n2").await;
        assert!(text.contains("\r\n\r\n900000"), "{text}");
    }
    server.stop().await;
}

#[actix_rt::test]
async fn keys_are_changed_in_the_middle_by_either_side() {
    let identity = identity();
    let server = start(identity.endpoint()).await;
    let mut client = Client::connect(server.port, config(&identity.roots, &TLS13), 7).await;
    client.shake().await.unwrap();
    for round in 1..=5 {
        // Asks for the server's new keys too, which go before its answer.
        client.tls.refresh_traffic_keys().unwrap();
        client.write(&post(&"b".repeat(round)));
        client.send().await;
        client.text_until(&format!("\r\n\r\n{round}")).await;
    }
    // Also while nothing is under way.
    client.tls.refresh_traffic_keys().unwrap();
    client.send().await;
    client.write("GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n");
    client.send().await;
    client.text_until("hello").await;
    server.stop().await;
}

#[actix_rt::test]
async fn a_close_notify_is_answered_with_one() {
    let identity = identity();
    let server = start(identity.endpoint()).await;
    for version in VERSIONS {
        let mut client = Client::connect(server.port, config(&identity.roots, version), usize::MAX).await;
        client.shake().await.unwrap();
        client.write("GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n");
        client.tls.send_close_notify();
        client.send().await;
        client.text_until("hello").await;
        while client.receive().await.unwrap() {}
        let end = std::io::Read::read(&mut client.tls.reader(), &mut [0]);
        assert_eq!(end.unwrap(), 0, "the end was said, not cut");
    }
    server.stop().await;
}

#[actix_rt::test]
async fn a_long_answer_that_is_taken_slowly_arrives_whole() {
    let identity = identity();
    let server = start(identity.endpoint()).await;
    // More than the sockets hold: the server is stopped in the middle of records, again and again.
    let bytes = 12_000_000;
    let expected: String = (0..bytes).map(|at| char::from(b'a' + (at % 23) as u8)).collect();
    for version in VERSIONS {
        let mut client = Client::connect(server.port, config(&identity.roots, version), usize::MAX).await;
        client.shake().await.unwrap();
        client.write(&format!("GET /large/{bytes} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        client.send().await;
        client.read = 1500;
        client.text_until(&expected).await;
    }
    server.stop().await;
}

#[actix_rt::test]
async fn a_client_is_told_why_there_is_no_handshake() {
    let identity = identity();
    let server = start(identity.endpoint()).await;
    let mut other = config(&identity.roots, &TLS13);
    other.alpn_protocols = vec![b"spdy".to_vec()];
    let mut client = Client::connect(server.port, other, usize::MAX).await;
    assert_eq!(
        client.shake().await.unwrap_err(),
        Error::AlertReceived(AlertDescription::NoApplicationProtocol)
    );
    // An alert: type 21, fatal.
    for not_tls in [
        "GET / HTTP/1.1\r\n\r\n",
        "\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00",
    ] {
        let mut io = support::tcp(server.port).await;
        io.write_all(not_tls.as_bytes()).await.unwrap();
        let alert = closed(&mut io).await;
        assert_eq!((alert.first(), alert.get(5)), (Some(&21), Some(&2)), "{alert:?}");
    }
    // After the handshake: a record that does not decrypt.
    let mut client = Client::connect(server.port, config(&identity.roots, &TLS13), usize::MAX).await;
    client.shake().await.unwrap();
    client.io.write_all(b"\x17\x03\x03\x00\x20").await.unwrap();
    client.io.write_all(&[7; 32]).await.unwrap();
    let told = loop {
        match client.receive().await {
            Ok(true) => {}
            outcome => break outcome,
        }
    };
    assert_eq!(
        told.unwrap_err(),
        Error::AlertReceived(AlertDescription::BadRecordMac)
    );
    server.stop().await;
}

#[actix_rt::test]
async fn a_client_certificate_of_several_records_is_read() {
    let key = KeyPair::generate().unwrap();
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, key).unwrap();
    let names: Vec<String> = (0..1500)
        .map(|number| format!("agent-{number}.example"))
        .collect();
    let mut client = CertificateParams::new(names).unwrap();
    client.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let client_key = KeyPair::generate().unwrap();
    let client = client.signed_by(&client_key, &authority).unwrap();
    // Not of more either: TLS 1.3 tickets carry it, and rustls's client takes none of 64 KiB.
    assert!(client.der().len() > 20 * 1024);

    let pair = tls::fresh();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ca.pem");
    std::fs::write(&file, authority.pem()).unwrap();
    let source = tls::Source::with(&pair, |settings| {
        settings.client_authorities = vec![tls_reload::PemSource::Path(file)];
        settings.client_authentication = Some(tls_reload::ClientAuth::Required);
    });
    let endpoint = listener::Endpoint::new("agents", "127.0.0.1", 0).with_tls(source.resolver());
    let server = start(endpoint).await;
    for (version, piece) in VERSIONS.into_iter().zip([1000, 33]) {
        let mut config = ClientConfig::builder_with_protocol_versions(&[version])
            .with_root_certificates(tls::roots([&pair.certificate]))
            .with_client_auth_cert(
                vec![client.der().clone()],
                PrivateKeyDer::Pkcs8(client_key.serialize_der().into()),
            )
            .unwrap();
        config.resumption = rustls::client::Resumption::disabled();
        let mut client = Client::connect(server.port, config, piece).await;
        client.shake().await.unwrap();
        client.write("GET /who HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        client.send().await;
        let text = client.text_until("secure=true").await;
        assert!(text.contains("certificate=true"), "{text}");
    }
    server.stop().await;
}

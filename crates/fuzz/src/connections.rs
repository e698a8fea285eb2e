//! The bytes of whole connections, through the real listener with the agents' API behind it.
//!
//! In: what a client writes before it closes its end. Out: what the server writes before it closes its own, in time.
//! On HTTP/2 the first byte chooses: bytes as they are, or a list of frames (kind, flags, stream, length, payload),
//! which are given their proper heads. `{agent}` and the like are filled in as everywhere.

use std::{num::NonZeroUsize, sync::Arc};

use listener::{Endpoint, ListenerMetrics, PassedSockets, ServerBuilder, ServerHandle, bind};
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use tempfile::TempDir;
use test_support::{CertificateAuthority, PairFiles};
use tls_reload::{PemSource, ReloadHandle, Reloader, Settings};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;

use crate::house::{House, LIMIT, house};

pub(crate) fn http1(input: &[u8]) {
    house(|house| {
        PLAIN.with(|listening| {
            let input = house.fill(input);
            let told = house.block_on(async {
                let io = connect(listening.port).await;
                let told = converse(io, &input).await;
                alive(listening.port).await;
                told
            });
            assert!(
                told.is_empty() || told.starts_with(b"HTTP/1."),
                "{}",
                shown(&told)
            );
            no_fault(&told);
        });
    });
}

pub(crate) fn http2(input: &[u8]) {
    let Some((mode, rest)) = input.split_first() else {
        return;
    };
    house(|house| {
        SECURE.with(|listening| {
            let mut bytes = PREFACE.to_vec();
            match mode {
                b'f' => frames(&house.fill(rest), &mut bytes),
                _ => bytes.extend(house.fill(rest)),
            }
            let told = house.block_on(async {
                let io = listening.secure().await;
                converse(io, &bytes).await
            });
            // The first frame is the server's SETTINGS, whatever came.
            assert!(told.is_empty() || told.get(3) == Some(&4), "{}", shown(&told));
        });
    });
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Frames whose lengths are right.
fn frames(mut input: &[u8], bytes: &mut Vec<u8>) {
    while let [kind, flags, stream, length, rest @ ..] = input {
        let (payload, rest) = rest.split_at(rest.len().min(usize::from(*length)));
        let length = u8::try_from(payload.len()).expect("at most a byte's worth");
        bytes.extend([0, 0, length, *kind, *flags, 0, 0, 0, *stream]);
        bytes.extend(payload);
        input = rest;
    }
}

/// Writes everything, ends the writing and reads to the end.
async fn converse(io: impl AsyncRead + AsyncWrite, input: &[u8]) -> Vec<u8> {
    let (mut reader, mut writer) = tokio::io::split(io);
    let mut told = Vec::new();
    let writing = async {
        // The server may close at any time.
        if writer.write_all(input).await.is_ok() {
            let _closed = writer.shutdown().await;
        }
    };
    let reading = async {
        // A reset is an end too.
        let _end = reader.read_to_end(&mut told).await;
    };
    timeout(LIMIT, async { tokio::join!(writing, reading) })
        .await
        .expect("the connection ends with its client");
    told
}

/// Once in a while somebody else asks.
async fn alive(port: u16) {
    thread_local! {
        static TURN: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
    }
    if TURN.replace(TURN.get().wrapping_add(1)).is_multiple_of(64) {
        let io = connect(port).await;
        let told = converse(
            io,
            b"GET /api/status HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        )
        .await;
        assert!(told.starts_with(b"HTTP/1.1 200 "), "{}", shown(&told));
    }
}

fn no_fault(told: &[u8]) {
    let status = told.get(b"HTTP/1.1 ".len()..).unwrap_or_default();
    assert!(!status.starts_with(b"500"), "{}", shown(told));
}

fn shown(told: &[u8]) -> String {
    String::from_utf8_lossy(told).into_owned()
}

async fn connect(port: u16) -> TcpStream {
    TcpStream::connect(("127.0.0.1", port))
        .await
        .expect("a connection")
}

thread_local! {
    static PLAIN: Listening = house(|house| Listening::start(house, false));
    static SECURE: Listening = house(|house| Listening::start(house, true));
}

/// A listener on a port of its own.
struct Listening {
    port: u16,
    connector: Option<TlsConnector>,
    _server: ServerHandle,
    _certificates: Option<(ReloadHandle, TempDir)>,
}

impl Listening {
    fn start(house: &House, is_secure: bool) -> Self {
        let mut endpoint = Endpoint::new("agents", "127.0.0.1", 0);
        let (certificates, connector) = if is_secure {
            let (handle, directory, roots) = house.block_on(async { certificates() });
            endpoint = endpoint.with_tls(handle.resolver());
            (Some((handle, directory)), Some(connector(roots)))
        } else {
            (None, None)
        };
        let bound = bind(&endpoint, &mut PassedSockets::default()).expect("a port");
        let port = bound.port();
        let api = house.api.clone();
        let server = house.block_on(async {
            ServerBuilder::new(ListenerMetrics::default())
                .workers(NonZeroUsize::MIN)
                .listen(bound, move || api.app())
                .expect("a listener")
                .start()
                .await
                .expect("a server")
        });
        Self {
            port,
            connector,
            _server: server,
            _certificates: certificates,
        }
    }

    async fn secure(&self) -> impl AsyncRead + AsyncWrite + use<> {
        let connector = self.connector.as_ref().expect("a listener with TLS");
        let name = ServerName::try_from("localhost").expect("a name");
        let io = connect(self.port).await;
        connector.connect(name, io).await.expect("a handshake")
    }
}

fn certificates() -> (ReloadHandle, TempDir, RootCertStore) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let authority = CertificateAuthority::new("fuzz");
    let files = PairFiles::create(directory.path(), &authority.issue(&["localhost"]));
    let mut settings = Settings::single(
        PemSource::Path(files.certificate),
        Some(PemSource::Path(files.key)),
    );
    settings.alpn = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let handle = Reloader::new(settings).start().expect("certificates");
    (handle, directory, authority.roots())
}

/// Sessions are resumed: the handshake is not what is looked at.
fn connector(roots: RootCertStore) -> TlsConnector {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    TlsConnector::from(Arc::new(config))
}

//! Starts a server with a few routes, and clients that can misbehave.

use std::{
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use actix_web::{App, HttpRequest, HttpResponse, web};
use futures_util::StreamExt as _;
use listener::{
    ConnectionInfo, Endpoint, ListenerMetrics, PassedSockets, ServerBuilder, ServerHandle, Shutdown, bind,
};
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
    sync::Notify,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

/// Generous: only a hang reaches it.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// What the routes share with the test.
#[derive(Default)]
pub(crate) struct Routes {
    waiting: AtomicUsize,
    changed: Notify,
    pub(crate) release: Notify,
    pub(crate) shutdown: std::sync::OnceLock<Shutdown>,
}

/// Counts a handler while its future lives.
struct Waiting(Arc<Routes>);

impl Waiting {
    fn begin(routes: &Arc<Routes>) -> Self {
        routes.waiting.fetch_add(1, Ordering::SeqCst);
        routes.changed.notify_waiters();
        Self(Arc::clone(routes))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::SeqCst);
        self.0.changed.notify_waiters();
    }
}

impl Routes {
    /// Waits until exactly `count` handlers of `/wait` live.
    pub(crate) async fn until_waiting(&self, count: usize) {
        let reached = async {
            loop {
                let changed = self.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                if self.waiting.load(Ordering::SeqCst) == count {
                    return;
                }
                changed.await;
            }
        };
        timeout(LIMIT, reached).await.unwrap_or_else(|_| {
            panic!(
                "{} handlers wait, not {count}",
                self.waiting.load(Ordering::SeqCst)
            )
        });
    }

    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::SeqCst)
    }

    fn configure(self: &Arc<Self>, config: &mut web::ServiceConfig) {
        config
            .app_data(web::Data::from(Arc::clone(self)))
            .app_data(web::PayloadConfig::new(1 << 20))
            .route("/hello", web::to(async || "hello"))
            .route("/wait", web::to(wait))
            .route("/wait-large/{bytes}", web::to(wait_large))
            .route("/wait-panic", web::to(wait_panic))
            .route("/count", web::to(count))
            .route("/large/{bytes}", web::to(large))
            .route("/endless", web::to(endless))
            .route("/shared", web::to(shared))
            .route("/who", web::to(who))
            .route("/upgrade", web::to(upgrade))
            .route("/ignore-body", web::to(async || "not read"))
            .route("/panic", web::to(panics))
            .route("/panic-later", web::to(panics_later));
    }
}

async fn wait(routes: web::Data<Routes>) -> &'static str {
    let routes = routes.into_inner();
    let mut released = std::pin::pin!(routes.release.notified());
    // Before it counts as waiting, so that a test that sees it wait can release it.
    released.as_mut().enable();
    let _waiting = Waiting::begin(&routes);
    let draining = async {
        match routes.shutdown.get() {
            Some(shutdown) => shutdown.notified().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = released => "released",
        () = draining => "draining",
    }
}

async fn wait_large(routes: web::Data<Routes>, bytes: web::Path<usize>) -> Vec<u8> {
    wait(routes).await;
    large(bytes).await
}

async fn wait_panic(routes: web::Data<Routes>) -> &'static str {
    wait(routes).await;
    panic!("a handler panics after a long wait, as the test wants")
}

async fn count(body: web::Bytes) -> String {
    body.len().to_string()
}

/// A body of that many bytes with a known length, in one chunk.
async fn large(bytes: web::Path<usize>) -> Vec<u8> {
    (0..*bytes).map(|at| b'a' + (at % 23) as u8).collect()
}

async fn endless(routes: web::Data<Routes>) -> HttpResponse {
    let waiting = Waiting::begin(&routes.into_inner());
    let chunk = web::Bytes::from(vec![b'x'; 64 * 1024]);
    HttpResponse::Ok().streaming(futures_util::stream::repeat_with(move || {
        let _ = &waiting;
        Ok::<_, std::io::Error>(chunk.clone())
    }))
}

/// The length of the body of `/shared`.
pub(crate) const SHARED: usize = 8 << 20;

/// A body that is the same bytes for every client.
async fn shared(routes: web::Data<Routes>) -> HttpResponse {
    static BYTES: std::sync::LazyLock<web::Bytes> =
        std::sync::LazyLock::new(|| web::Bytes::from(vec![b'x'; SHARED]));
    let waiting = Waiting::begin(&routes.into_inner());
    HttpResponse::Ok().streaming(futures_util::stream::iter([()]).map(move |()| {
        let _ = &waiting;
        Ok::<_, std::io::Error>(BYTES.clone())
    }))
}

/// Another protocol: every byte comes back.
async fn upgrade(payload: web::Payload) -> HttpResponse {
    HttpResponse::SwitchingProtocols()
        .upgrade("websocket")
        .body(actix_web::body::BodyStream::new(payload))
}

async fn who(request: HttpRequest) -> String {
    let info = ConnectionInfo::of(&request).unwrap();
    format!(
        "peer={} tls={:?} certificate={} scheme={} secure={}",
        info.peer().unwrap().ip(),
        info.tls(),
        info.has_client_certificate(),
        request.connection_info().scheme(),
        request.app_config().secure(),
    )
}

async fn panics() -> &'static str {
    panic!("a handler panics, as the test wants")
}

async fn panics_later() -> &'static str {
    tokio::task::yield_now().await;
    panic!("a handler panics after a wait, as the test wants")
}

/// A running server.
pub(crate) struct Started {
    pub(crate) handle: ServerHandle,
    pub(crate) port: u16,
    pub(crate) routes: Arc<Routes>,
    pub(crate) registry: prometheus_client::registry::Registry,
}

impl Started {
    pub(crate) fn metrics(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        text
    }

    /// The value of a metric of the only listener.
    pub(crate) fn metric(&self, name: &str) -> i64 {
        let text = self.metrics();
        let line = text
            .lines()
            .find(|line| line.starts_with(&format!("{name}{{")))
            .unwrap_or_default();
        line.rsplit(' ')
            .next()
            .and_then(|value| value.parse().ok())
            .unwrap_or_else(|| panic!("{name}: {text}"))
    }

    /// Waits until the workers have taken in exactly `count` connections.
    pub(crate) async fn until_open(&self, count: i64) {
        self.until("connections_open", count).await;
    }

    /// Waits until a metric has that value.
    pub(crate) async fn until(&self, name: &str, value: i64) {
        let reached = async {
            while self.metric(name) != value {
                tokio::task::yield_now().await;
            }
        };
        timeout(LIMIT, reached)
            .await
            .unwrap_or_else(|_| panic!("{name} is {}, not {value}", self.metric(name)));
    }

    pub(crate) async fn stop(self) {
        timeout(LIMIT, self.handle.drain(Duration::ZERO)).await.unwrap();
    }
}

/// Starts one listener with two workers.
pub(crate) async fn start(endpoint: Endpoint) -> Started {
    let mut registry = prometheus_client::registry::Registry::default();
    let bound = bind(&endpoint, &mut PassedSockets::default()).unwrap();
    let port = bound.port();
    let routes: Arc<Routes> = Arc::default();
    let builder =
        ServerBuilder::new(ListenerMetrics::register(&mut registry)).workers(NonZeroUsize::new(2).unwrap());
    routes.shutdown.set(builder.shutdown()).unwrap();
    let shared = Arc::clone(&routes);
    let app = move || {
        let shared = Arc::clone(&shared);
        App::new().configure(move |config| shared.configure(config))
    };
    let handle = builder.listen(bound, app).unwrap().start().await.unwrap();
    Started {
        handle,
        port,
        routes,
        registry,
    }
}

/// A certificate authority with one server certificate.
pub(crate) struct Identity {
    pub(crate) roots: RootCertStore,
    pub(crate) source: tls::Source,
}

/// Certificates, and the one place that knows how a resolver is made.
pub(crate) mod tls {
    use super::*;

    use tls_reload::{PemSource, ReloadHandle, ReloadResult, Reloader, Resolver, Settings, Trigger};

    /// A certificate for localhost with its key.
    pub(crate) struct Pair {
        pem: String,
        pub(crate) certificate: rustls::pki_types::CertificateDer<'static>,
    }

    pub(crate) fn fresh() -> Pair {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
        Pair {
            pem: made.cert.pem() + &made.signing_key.serialize_pem(),
            certificate: made.cert.der().clone(),
        }
    }

    /// A resolver over one file, which the test can change.
    pub(crate) struct Source {
        directory: tempfile::TempDir,
        handle: ReloadHandle,
    }

    impl Source {
        pub(crate) fn new(pair: &Pair) -> Self {
            Self::with(pair, |_| ())
        }

        /// With more settings than the pair.
        pub(crate) fn with(pair: &Pair, set: impl FnOnce(&mut Settings)) -> Self {
            let directory = tempfile::tempdir().unwrap();
            let file = directory.path().join("tls.pem");
            std::fs::write(&file, &pair.pem).unwrap();
            let mut settings = Settings::single(PemSource::Path(file), None);
            settings.alpn = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
            set(&mut settings);
            Self {
                directory,
                handle: Reloader::new(settings).start().unwrap(),
            }
        }

        pub(crate) fn resolver(&self) -> Resolver {
            self.handle.resolver()
        }

        pub(crate) async fn swap(&self, pair: &Pair) {
            let new = self.directory.path().join("new.pem");
            std::fs::write(&new, &pair.pem).unwrap();
            std::fs::rename(&new, self.directory.path().join("tls.pem")).unwrap();
            let outcome = timeout(LIMIT, self.handle.reload_now(Trigger::Api))
                .await
                .unwrap();
            // Unchanged: the watch was faster.
            assert!(
                matches!(outcome.result, ReloadResult::Success | ReloadResult::Unchanged),
                "{}",
                outcome.message
            );
        }
    }

    pub(crate) fn roots<'a>(
        certificates: impl IntoIterator<Item = &'a rustls::pki_types::CertificateDer<'static>>,
    ) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        for certificate in certificates {
            roots.add(certificate.clone()).unwrap();
        }
        roots
    }
}

pub(crate) fn identity() -> Identity {
    let pair = tls::fresh();
    Identity {
        roots: tls::roots([&pair.certificate]),
        source: tls::Source::new(&pair),
    }
}

impl Identity {
    pub(crate) fn endpoint(&self) -> Endpoint {
        Endpoint::new("agents", "127.0.0.1", 0).with_tls(self.source.resolver())
    }
}

pub(crate) async fn tcp(port: u16) -> TcpStream {
    timeout(LIMIT, TcpStream::connect(("127.0.0.1", port)))
        .await
        .unwrap()
        .unwrap()
}

pub(crate) async fn tls(
    port: u16,
    roots: &RootCertStore,
    alpn: &[&str],
) -> std::io::Result<TlsStream<TcpStream>> {
    tls_over(tcp(port).await, roots, alpn).await
}

/// TLS on a connection that is open already.
pub(crate) async fn tls_over(
    io: TcpStream,
    roots: &RootCertStore,
    alpn: &[&str],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut config = ClientConfig::builder()
        .with_root_certificates(roots.clone())
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    config.resumption = rustls::client::Resumption::disabled();
    let connector = TlsConnector::from(Arc::new(config));
    let name = ServerName::try_from("localhost").unwrap();
    timeout(LIMIT, connector.connect(name, io)).await.unwrap()
}

/// Sends text as it is.
pub(crate) async fn send(io: &mut (impl AsyncWrite + Unpin), text: &str) {
    timeout(LIMIT, async {
        io.write_all(text.as_bytes()).await.unwrap();
        io.flush().await.unwrap();
    })
    .await
    .unwrap();
}

pub(crate) async fn get(io: &mut (impl AsyncRead + AsyncWrite + Unpin), path: &str) -> (u16, String) {
    send(io, &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")).await;
    response(io).await.unwrap()
}

/// Reads one response with a Content-Length; `None` when the server closes before one begins.
pub(crate) async fn response(io: &mut (impl AsyncRead + Unpin)) -> Option<(u16, String)> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        match timeout(LIMIT, io.read(&mut byte)).await.unwrap() {
            Ok(1) => head.push(byte[0]),
            _ if head.is_empty() => return None,
            outcome => panic!("{outcome:?} after {:?}", String::from_utf8_lossy(&head)),
        }
    }
    let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .unwrap()
        .parse()
        .unwrap();
    let mut body = vec![0; length];
    timeout(LIMIT, io.read_exact(&mut body)).await.unwrap().unwrap();
    Some((status, String::from_utf8(body).unwrap()))
}

/// Waits until the server has closed the connection; gives what it sent before.
pub(crate) async fn closed(io: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    let mut rest = Vec::new();
    // A reset is a close too.
    let _ = timeout(LIMIT, io.read_to_end(&mut rest))
        .await
        .expect("the server keeps the connection");
    rest
}

//! One listener's service on one worker: accepted socket in, finished connection out.
//!
//! ```text
//! TcpStream ─ place (cap) ─ NODELAY ─ TLS handshake ─┬─ http/1.1 ─ http1.rs ─┐
//!                                                    └─ h2 ─────── http2.rs ─┴─ Answered ─ App
//! ```
//!
//! The future of a connection is boxed twice on purpose: the memory of the handshake is freed when it ends, and
//! actix-server holds what it is given in two copies.

use std::{
    fmt,
    future::ready,
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
};

use actix_http::{KeepAlive, Request, Response, ServiceConfig, body::MessageBody};
use actix_service::{IntoServiceFactory, Service, ServiceFactory};
use actix_web::dev::AppConfig;
use futures_util::future::LocalBoxFuture;
use tokio::net::TcpStream;

use crate::{
    answered::Answered,
    connection_info::{ConnectionInfo, TlsFacts, peer_name},
    endpoint::Endpoint,
    guarded_io::{GuardedIo, Socket},
    handshake::Handshaker,
    http1::{self, Http1Rules},
    http2,
    open_connections::{ListenerConnections, Place},
    shutdown::Shutdown,
    unstable,
};

/// The part of a listener that all its workers share.
#[derive(Clone)]
pub(crate) struct Listener {
    pub(crate) endpoint: Arc<Endpoint>,
    /// `HOST:PORT`, for the `App`.
    pub(crate) host: String,
    pub(crate) address: SocketAddr,
    pub(crate) connections: Arc<ListenerConnections>,
    pub(crate) shutdown: Shutdown,
}

/// Builds the service of `listener` for the current worker.
pub(crate) async fn on_worker<I, S, B>(
    listener: Listener,
    app: I,
) -> Result<ConnectionService<S::Service, B>, ()>
where
    I: IntoServiceFactory<S, Request>,
    S: ServiceFactory<Request, Config = AppConfig> + 'static,
    S::InitError: fmt::Debug,
{
    let endpoint = &listener.endpoint;
    let config = unstable::app_config(endpoint.tls.is_some(), listener.host.clone(), listener.address);
    let app = app.into_factory().new_service(config).await.map_err(|error| {
        log::error!(
            "the application of listener {} cannot start: {error:?}",
            endpoint.name
        );
    })?;
    let max_header_bytes = endpoint.limits.header_bytes_with_slack();
    let counters = listener.connections.counters().clone();
    let timeouts = endpoint.timeouts;
    Ok(ConnectionService {
        worker: Rc::new(Worker {
            app: Rc::new(Answered::new(app, max_header_bytes, counters)),
            handshaker: endpoint.tls.clone().map(|resolver| Handshaker {
                resolver,
                timeout: timeouts.handshake,
                metrics: endpoint.handshakes.clone(),
                shutdown: listener.shutdown.clone(),
            }),
            http1: Rc::new(Http1Rules {
                codec: ServiceConfig::new(
                    KeepAlive::Timeout(timeouts.idle),
                    timeouts.read_header,
                    timeouts.disconnect,
                    endpoint.tls.is_some(),
                    Some(listener.address),
                ),
                timeouts,
                max_header_bytes,
                shutdown: listener.shutdown.clone(),
            }),
            listener,
        }),
    })
}

/// Serves accepted sockets. Always ready: connections above the cap are closed, never left waiting (a worker that is
/// not ready would stop all its listeners).
pub(crate) struct ConnectionService<S, B> {
    worker: Rc<Worker<S, B>>,
}

struct Worker<S, B> {
    listener: Listener,
    app: Rc<Answered<S, B>>,
    handshaker: Option<Handshaker>,
    http1: Rc<Http1Rules>,
}

impl<S, B> Service<TcpStream> for ConnectionService<S, B>
where
    S: Service<Request> + 'static,
    S::Error: Into<actix_web::Error>,
    S::Response: Into<Response<B>>,
    B: MessageBody + 'static,
{
    type Response = ();
    type Error = ();
    type Future = LocalBoxFuture<'static, Result<(), ()>>;

    fn poll_ready(&self, _: &mut Context<'_>) -> Poll<Result<(), ()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&self, io: TcpStream) -> Self::Future {
        match self.worker.listener.connections.enter() {
            Some(place) => Box::pin(Rc::clone(&self.worker).serve(io, place)),
            None => Box::pin(ready(Ok(()))),
        }
    }
}

impl<S, B> Worker<S, B>
where
    S: Service<Request> + 'static,
    S::Error: Into<actix_web::Error>,
    S::Response: Into<Response<B>>,
    B: MessageBody + 'static,
{
    async fn serve(self: Rc<Self>, io: TcpStream, place: Place) -> Result<(), ()> {
        let peer = io.peer_addr().ok();
        // Off by default, and each answer would wait for the client's delayed acknowledgement.
        if let Err(error) = io.set_nodelay(true) {
            log::debug!("{}: no TCP_NODELAY for {}: {error}", self.name(), peer_name(peer));
        }
        let Some(handshaker) = &self.handshaker else {
            return self.http1(io, ConnectionInfo::new(peer, None), place).await;
        };
        // Boxed, so that its memory is free once it is done.
        let (io, tls) = match Box::pin(handshaker.shake(io)).await {
            Ok(stream) => stream,
            Err(error) => {
                log::debug!("{}: TLS handshake with {}: {error}", self.name(), peer_name(peer));
                return Err(());
            }
        };
        let info = ConnectionInfo::new(peer, Some(tls));
        match tls {
            TlsFacts { is_http2: true, .. } => self.http2(io, info, place).await,
            TlsFacts { is_http2: false, .. } => self.http1(io, info, place).await,
        }
    }

    async fn http1<T: Socket>(&self, io: T, info: ConnectionInfo, place: Place) -> Result<(), ()> {
        let io = GuardedIo::new(io, &self.http1.timeouts, place);
        let served = Box::pin(http1::serve(
            io,
            info,
            Rc::clone(&self.app),
            Rc::clone(&self.http1),
        ))
        .await;
        served.map_err(|error| self.broken(info, "HTTP/1.1", &error))
    }

    async fn http2<T: Socket>(&self, io: T, info: ConnectionInfo, place: Place) -> Result<(), ()> {
        let io = GuardedIo::new(io, &self.http1.timeouts, place);
        let (app, shutdown) = (Rc::clone(&self.app), self.listener.shutdown.clone());
        let served = Box::pin(http2::serve(io, info, app, &self.listener.endpoint, shutdown)).await;
        served.map_err(|error| self.broken(info, "HTTP/2", &error))
    }

    fn broken(&self, info: ConnectionInfo, protocol: &str, error: &dyn std::error::Error) {
        self.listener.connections.counters().broken.inc();
        log::debug!(
            "{}: {protocol} connection of {}: {error}",
            self.name(),
            peer_name(info.peer())
        );
    }

    fn name(&self) -> &str {
        &self.listener.endpoint.name
    }
}

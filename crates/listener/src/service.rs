//! One listener's service on one worker: accepted socket in, finished connection out.
//!
//! ```text
//! TcpStream ─ place (cap) ─ NODELAY ─ TLS handshake ─┬─ http/1.1 ─ actix-http ─┐
//!                                                    └─ h2 ─────── http2.rs ───┴─ Answered ─ App
//! ```
//!
//! The future of a connection is boxed twice on purpose: the memory of the handshake is freed when it ends, and
//! actix-server holds what it is given in two copies.

use std::{
    future::ready,
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
};

use actix_http::{Request, Response, body::MessageBody};
use actix_service::{IntoServiceFactory, Service, ServiceFactory};
use actix_web::dev::AppConfig;
use futures_util::future::LocalBoxFuture;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::Semaphore,
};
use tokio_rustls::server::TlsStream;

use crate::{
    answered::Answered,
    connection_info::Connection,
    endpoint::Endpoint,
    guarded_io::{Deadlines, GuardedIo, NextRequestDeadlines},
    handshake::Handshaker,
    http1::http1,
    http2,
    open_connections::{ListenerConnections, Place},
    shutdown::Shutdown,
    unstable,
};

/// What all workers know of a listener.
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
pub(crate) async fn on_worker<I, S, B>(listener: Listener, app: I) -> Result<ConnectionService, ()>
where
    I: IntoServiceFactory<S, Request>,
    S: ServiceFactory<Request, Config = AppConfig> + 'static,
    S::Service: 'static,
    S::Error: Into<actix_web::Error> + 'static,
    S::InitError: std::fmt::Debug,
    S::Response: Into<Response<B>> + 'static,
    <S::Service as Service<Request>>::Future: 'static,
    B: MessageBody + 'static,
{
    let endpoint = Arc::clone(&listener.endpoint);
    let config = unstable::app_config(endpoint.tls.is_some(), listener.host.clone(), listener.address);
    let app = app.into_factory().new_service(config).await.map_err(|error| {
        log::error!(
            "the application of listener {} cannot start: {error:?}",
            endpoint.name
        );
    })?;
    let app = Rc::new(Answered::new(
        app,
        endpoint.limits.header_bytes_with_slack(),
        listener.connections.counters().clone(),
    ));
    let transport = match endpoint.tls.clone() {
        None => Transport::Plain {
            http1: http1(&listener, app).await?,
        },
        Some(resolver) => Transport::Tls {
            handshaker: Handshaker {
                resolver,
                permits: Semaphore::new(endpoint.limits.handshakes_per_worker.max(1)),
                timeout: endpoint.timeouts.handshake,
                metrics: endpoint.handshakes.clone(),
            },
            http1: http1(&listener, Rc::clone(&app)).await?,
            http2: http2(&listener, app),
        },
    };
    Ok(ConnectionService {
        worker: Rc::new(Worker::new(listener, transport)),
    })
}

/// Serves accepted sockets. Always ready: what is too much is closed, never left waiting (and a worker that is
/// not ready would stop all its listeners).
pub(crate) struct ConnectionService {
    worker: Rc<Worker>,
}

struct Worker {
    listener: Listener,
    transport: Transport,
    http1_deadlines: Rc<Deadlines>,
    http2_deadlines: Rc<Deadlines>,
}

enum Transport {
    Plain {
        http1: Serve<TcpStream>,
    },
    Tls {
        handshaker: Handshaker,
        http1: Serve<TlsStream<TcpStream>>,
        http2: Serve<TlsStream<TcpStream>>,
    },
}

/// Runs one connection to its end.
pub(crate) type Serve<T> = Box<dyn Fn(GuardedIo<T>) -> LocalBoxFuture<'static, ()>>;

impl Service<TcpStream> for ConnectionService {
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

impl Worker {
    fn new(listener: Listener, transport: Transport) -> Self {
        let timeouts = listener.endpoint.timeouts;
        let http2_deadlines = Deadlines {
            write: timeouts.write,
            disconnect: timeouts.disconnect,
            next_request: None,
        };
        let next_request = Some(NextRequestDeadlines {
            idle: timeouts.idle,
            read_header: timeouts.read_header,
        });
        Self {
            listener,
            transport,
            http1_deadlines: Rc::new(Deadlines {
                next_request,
                ..http2_deadlines
            }),
            http2_deadlines: Rc::new(http2_deadlines),
        }
    }

    async fn serve(self: Rc<Self>, io: TcpStream, place: Place) -> Result<(), ()> {
        let peer = io.peer_addr().ok();
        // Off by default, and each answer would wait for the client's delayed acknowledgement.
        if let Err(error) = io.set_nodelay(true) {
            log::debug!("{}: no TCP_NODELAY for {peer:?}: {error}", self.name());
        }
        match &self.transport {
            Transport::Plain { http1 } => {
                let connection = Connection::new(peer, None);
                http1(GuardedIo::new(
                    io,
                    connection,
                    Rc::clone(&self.http1_deadlines),
                    place,
                ))
                .await;
            }
            Transport::Tls {
                handshaker,
                http1,
                http2,
            } => {
                // Boxed, so that its memory is free once it is done.
                let (io, tls) = match Box::pin(handshaker.shake(io)).await {
                    Ok(stream) => stream,
                    Err(error) => {
                        log::debug!("{}: TLS handshake with {peer:?}: {error}", self.name());
                        return Err(());
                    }
                };
                let connection = Connection::new(peer, Some(tls));
                let (serve, deadlines) = match tls.is_http2 {
                    true => (http2, &self.http2_deadlines),
                    false => (http1, &self.http1_deadlines),
                };
                serve(GuardedIo::new(io, connection, Rc::clone(deadlines), place)).await;
            }
        }
        Ok(())
    }

    fn name(&self) -> &str {
        &self.listener.endpoint.name
    }
}

fn http2<T, S, B>(listener: &Listener, app: Rc<Answered<S, B>>) -> Serve<T>
where
    T: AsyncRead + AsyncWrite + Unpin + 'static,
    S: Service<Request> + 'static,
    S::Error: Into<actix_web::Error> + 'static,
    S::Response: Into<Response<B>> + 'static,
    S::Future: 'static,
    B: MessageBody + 'static,
{
    let endpoint = Arc::clone(&listener.endpoint);
    let shutdown = listener.shutdown.clone();
    let broken = listener.connections.counters().broken.clone();
    Box::new(move |io| {
        let (endpoint, broken) = (Arc::clone(&endpoint), broken.clone());
        let (shutdown, app) = (shutdown.clone(), Rc::clone(&app));
        Box::pin(async move {
            let peer = io.connection().peer;
            if let Err(error) = http2::serve(io, app, &endpoint, shutdown).await {
                broken.inc();
                log::debug!("{}: HTTP/2 connection of {peer:?}: {error}", endpoint.name);
            }
        })
    })
}

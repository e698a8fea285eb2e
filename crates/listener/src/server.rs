//! Puts listeners and their applications on one set of workers, and takes them down again.
//!
//! In: [`Bound`] sockets, each with an application factory. Out: a [`ServerHandle`] once every socket accepts.
//! Stopping is [`ServerHandle::drain`]: no new connections, idle ones closed, [`Shutdown`] told, what is in
//! flight may finish within the grace, the rest is cut. OS signals are the program's matter.

use std::{future::Future as _, io, num::NonZeroUsize, pin::pin, sync::Arc, time::Duration};

use actix_http::{Request, Response, body::MessageBody};
use actix_service::{IntoServiceFactory, Service, ServiceFactory, fn_factory};
use actix_web::dev::AppConfig;
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

use crate::{
    bind::Bound,
    endpoint::display_address,
    metrics::ListenerMetrics,
    open_connections::{ListenerConnections, OpenConnections},
    service::{self, Listener},
    shutdown::{Shutdown, ShutdownSender},
};

/// Collects listeners; [`start`](ServerBuilder::start) runs them.
pub struct ServerBuilder {
    server: actix_server::ServerBuilder,
    metrics: ListenerMetrics,
    connections: Arc<OpenConnections>,
    sender: ShutdownSender,
    shutdown: Shutdown,
    listening: Vec<Listening>,
}

/// One listener that accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Listening {
    pub name: String,
    /// `HOST:PORT` with the host as configured and the real port: what the log line says.
    pub address: String,
    pub port: u16,
    pub is_tls: bool,
}

/// Why the server does not run.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the texts and the fields' names say it")]
pub enum StartError {
    #[error("listener {name} cannot be served")]
    Listener { name: String, source: io::Error },
    #[error("the server's workers cannot start")]
    Workers(#[source] io::Error),
    #[error("there is nothing to listen on")]
    NoListener,
}

impl ServerBuilder {
    /// A server whose workers number the machine's cores.
    pub fn new(metrics: ListenerMetrics) -> Self {
        let (sender, shutdown) = ShutdownSender::new();
        let server = actix_server::Server::build()
            .disable_signals()
            // The caps are ours, per listener; a worker that stops accepting would stop all its listeners.
            .max_concurrent_connections(usize::MAX)
            // `drain` applies the grace and ends the workers itself.
            .shutdown_timeout(NEVER);
        Self {
            server,
            metrics,
            connections: Arc::default(),
            sender,
            shutdown,
            listening: Vec::new(),
        }
    }

    /// Sets the number of worker threads (at most 512).
    pub fn workers(mut self, workers: NonZeroUsize) -> Self {
        self.server = self.server.workers(workers.get().min(MAX_WORKERS));
        self
    }

    /// A handle that is notified of the drain, for handlers that wait.
    pub fn shutdown(&self) -> Shutdown {
        self.shutdown.clone()
    }

    /// Serves `app` on the sockets of `bound`. The factory runs once for each socket on each worker.
    pub fn listen<F, I, S, B>(mut self, bound: Bound, app: F) -> Result<Self, StartError>
    where
        F: Fn() -> I + Send + Clone + 'static,
        I: IntoServiceFactory<S, Request> + 'static,
        S: ServiceFactory<Request, Config = AppConfig> + 'static,
        S::Service: 'static,
        S::Error: Into<actix_web::Error> + 'static,
        S::InitError: std::fmt::Debug,
        S::Response: Into<Response<B>> + 'static,
        <S::Service as Service<Request>>::Future: 'static,
        B: MessageBody + 'static,
    {
        let (port, host) = (bound.port(), bound.display_address());
        let endpoint = Arc::new(bound.endpoint);
        let failed = |source| StartError::Listener {
            name: endpoint.name.clone(),
            source,
        };
        let connections = ListenerConnections::new(
            endpoint.limits.hard_cap(),
            Arc::clone(&self.connections),
            self.metrics.of(&endpoint.name),
        );
        for socket in bound.sockets {
            let listener = Listener {
                endpoint: Arc::clone(&endpoint),
                host: host.clone(),
                address: socket.local_addr().map_err(failed)?,
                connections: Arc::clone(&connections),
                shutdown: self.shutdown.clone(),
            };
            let app = app.clone();
            let factory = move || {
                let (listener, app) = (listener.clone(), app.clone());
                fn_factory(move || service::on_worker(listener.clone(), app()))
            };
            self.server = self
                .server
                .listen(&endpoint.name, socket, factory)
                .map_err(failed)?;
        }
        self.listening.push(Listening {
            name: endpoint.name.clone(),
            address: display_address(&endpoint.host, port),
            port,
            is_tls: endpoint.tls.is_some(),
        });
        Ok(self)
    }

    /// Starts the workers. When this returns, every listener accepts: the moment to say `Listening on …`.
    pub async fn start(self) -> Result<ServerHandle, StartError> {
        if self.listening.is_empty() {
            return Err(StartError::NoListener);
        }
        let mut server = Box::pin(self.server.run());
        // The first poll starts the workers and the acceptor and waits for both.
        let first = std::future::poll_fn(|cx| std::task::Poll::Ready(server.as_mut().poll(cx))).await;
        if let std::task::Poll::Ready(Err(error)) = first {
            return Err(StartError::Workers(error));
        }
        let server_handle = server.handle();
        let (cut, mut cutting) = watch::channel(false);
        let (ended, end) = watch::channel(false);
        tokio::spawn(async move {
            tokio::select! {
                outcome = server => if let Err(error) = outcome {
                    log::error!("the server's acceptor failed: {error}; restart the server");
                },
                // Dropping the server stops its workers and what they still hold.
                _ = cutting.wait_for(|cut| *cut) => {}
            }
            ended.send_replace(true);
        });
        Ok(ServerHandle {
            running: Arc::new(Running {
                server: server_handle,
                connections: self.connections,
                sender: self.sender,
                shutdown: self.shutdown,
                listening: self.listening,
                cut,
                end,
            }),
        })
    }
}

/// A running server.
#[derive(Clone)]
pub struct ServerHandle {
    running: Arc<Running>,
}

struct Running {
    server: actix_server::ServerHandle,
    connections: Arc<OpenConnections>,
    sender: ShutdownSender,
    shutdown: Shutdown,
    listening: Vec<Listening>,
    cut: watch::Sender<bool>,
    end: watch::Receiver<bool>,
}

/// How a drain ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Connections that were still open when the grace was over, and were cut.
    pub cut: usize,
}

impl ServerHandle {
    /// The listeners, in the order they were added.
    pub fn listening(&self) -> &[Listening] {
        &self.running.listening
    }

    /// A handle that is notified of the drain.
    pub fn shutdown(&self) -> Shutdown {
        self.running.shutdown.clone()
    }

    /// Connections open now, over all listeners.
    pub fn open_connections(&self) -> usize {
        self.running.connections.count()
    }

    /// Stops: takes no more connections, closes the listening sockets and idle connections, tells [`Shutdown`], waits at most
    /// `grace` for what is in flight, then cuts what is left. Calling it again only waits for the end.
    pub async fn drain(&self, grace: Duration) -> Drained {
        let running = &*self.running;
        if !running.shutdown.is_draining() {
            running.server.pause().await;
        }
        running.sender.drain();
        // A stopped worker resets connections that were accepted for it but not taken yet. actix-server does not
        // report when all are taken; it takes one turn of each worker's event loop.
        sleep(HANDED_TO_WORKERS.min(grace)).await;
        // Not awaited: it would wait for the workers' own look at their connections, once a second.
        let mut stopping = pin!(running.server.stop(true));
        let finished = async {
            tokio::select! {
                () = &mut stopping => {}
                () = running.connections.none_left() => {}
            }
        };
        let cut = match timeout(grace, finished).await {
            Ok(()) => 0,
            Err(_) => running.connections.count(),
        };
        running.cut.send_replace(true);
        self.ended().await;
        Drained { cut }
    }

    /// Resolves when the server has ended, by a drain or on its own.
    pub async fn ended(&self) {
        let mut end = self.running.end.clone();
        // An error means that the task is gone, which is an end as well.
        let _ = end.wait_for(|ended| *ended).await;
    }
}

/// Wait for connections that were accepted when the drain began, but not yet taken by a worker.
const HANDED_TO_WORKERS: Duration = Duration::from_millis(100);

/// Seconds; effectively disables the workers' own limit for a drain.
const NEVER: u64 = 60 * 60 * 24 * 365;

/// Largest number that actix-server allows.
const MAX_WORKERS: usize = 512;

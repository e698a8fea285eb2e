//! The one pointer every listener reads (reload.md 6.1, 6.6).

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::generation::Generation;

/// The served generation. Clones are the same pointer: all listeners that hold one serve the same set.
///
/// Take [`server_config`](Self::server_config) once for each connection, when its ClientHello is there, and
/// finish the handshake with it (`tokio_rustls::LazyConfigAcceptor`): then client CAs, CRLs and sessions reload
/// too. As a [`ResolvesServerCert`] inside a `ServerConfig` of your own (actix-web's `bind_rustls_0_23`) only
/// the certificates reload; the rest of that configuration stays as you built it.
#[derive(Clone)]
pub struct Resolver {
    served: Arc<ArcSwap<Generation>>,
}

impl Resolver {
    /// A resolver that serves `generation` until it is told otherwise.
    pub(crate) fn new(generation: Arc<Generation>) -> Self {
        Self {
            served: Arc::new(ArcSwap::new(generation)),
        }
    }

    /// The generation served now. No lock, no allocation, no I/O.
    #[must_use]
    pub fn current(&self) -> Arc<Generation> {
        self.served.load_full()
    }

    /// What a handshake that begins now is served with. No lock, no allocation, no I/O.
    #[must_use]
    pub fn server_config(&self) -> Arc<ServerConfig> {
        self.served.load().server_config().clone()
    }

    pub(crate) fn swap(&self, next: Arc<Generation>) {
        self.served.store(next);
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.served.load().certificate_for(hello.server_name()).clone())
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver")
            .field("serves", &self.served.load().info().fingerprint())
            .finish()
    }
}

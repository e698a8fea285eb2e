//! The notification that a drain has begun, for everything that waits: long polls, idle connections, HTTP/2.

use std::time::Duration;

use tokio::{sync::watch, time::sleep};

/// Notifies that the server has begun to drain. Cheap to clone; every clone is notified, also one made later.
#[derive(Clone, Debug)]
pub struct Shutdown {
    phase: watch::Receiver<bool>,
}

impl Shutdown {
    /// Whether the drain has begun.
    pub fn is_draining(&self) -> bool {
        *self.phase.borrow()
    }

    /// Resolves when the server begins to drain, at once if it already does.
    pub async fn notified(&self) {
        let mut phase = self.phase.clone();
        if phase.wait_for(|draining| *draining).await.is_err() {
            // The server is gone without a drain; the waiting task is being dropped with it.
            std::future::pending::<()>().await;
        }
    }
}

impl Shutdown {
    /// Resolves a moment after a drain has begun: until then, a connection that has asked for nothing may still do so.
    pub(crate) async fn last_call(&self) {
        self.notified().await;
        sleep(LAST_CALL).await;
    }
}

/// The sending half, which belongs to the server.
#[derive(Debug)]
pub(crate) struct ShutdownSender {
    phase: watch::Sender<bool>,
}

impl ShutdownSender {
    pub(crate) fn new() -> (Self, Shutdown) {
        let (sender, receiver) = watch::channel(false);
        (Self { phase: sender }, Shutdown { phase: receiver })
    }

    pub(crate) fn drain(&self) {
        self.phase.send_replace(true);
    }
}

/// How long a connection that has not sent anything yet may hold a drain.
pub(crate) const LAST_CALL: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt as _;

    use super::*;

    #[actix_rt::test]
    async fn early_and_late_listeners_hear_the_drain() {
        let (sender, shutdown) = ShutdownSender::new();
        let early = shutdown.clone();
        let mut waiting = Box::pin(early.notified());
        assert!((&mut waiting).now_or_never().is_none());
        sender.drain();
        tokio::time::timeout(Duration::from_secs(10), waiting)
            .await
            .unwrap();
        tokio::time::timeout(Duration::from_secs(10), shutdown.notified())
            .await
            .unwrap();
        assert!(shutdown.is_draining());
    }

    #[actix_rt::test]
    async fn a_server_that_is_gone_is_not_a_drain() {
        let (sender, shutdown) = ShutdownSender::new();
        drop(sender);
        assert!(shutdown.notified().now_or_never().is_none());
    }
}

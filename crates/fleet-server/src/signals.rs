//! What the operating system asks of the running server.
//!
//! Signals that arrive while a process begins are held back by the kernel and delivered once somebody handles them. Before
//! `main` nothing can hold them: the loader runs then, and a signal has its default effect.

use std::io;

use nix::sys::signal::{SigSet, Signal as Kind};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Holds back what a server is asked by; called first of all, before there are threads.
pub fn hold() {
    // It fails for a wrong argument only, and this one is fixed.
    let _ = asked().thread_block();
}

/// Delivers what was held back, to handlers or with its default effect.
pub(crate) fn release() -> io::Result<()> {
    Ok(asked().thread_unblock()?)
}

fn asked() -> SigSet {
    [
        Kind::SIGTERM,
        Kind::SIGINT,
        Kind::SIGQUIT,
        Kind::SIGHUP,
        Kind::SIGUSR2,
    ]
    .into_iter()
    .collect()
}

/// A request by signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// SIGTERM, SIGINT or SIGQUIT: stop in good order.
    Stop(&'static str),
    /// SIGHUP: read the certificates now.
    Reload,
    /// SIGUSR2: give the place to a new process.
    Restart,
}

/// The signals that the server listens to.
#[derive(Debug)]
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    hang_up: Signal,
    user: Signal,
    /// Held so that a write beyond the file size limit fails (SIGXFSZ is caught) instead of ending the process.
    _file_limit: Signal,
}

impl Signals {
    /// Installs handlers in place of the signals' default effects, and delivers to them what was held back.
    ///
    /// # Errors
    /// The operating system's.
    pub(crate) fn listen() -> io::Result<Self> {
        let signals = Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            hang_up: signal(SignalKind::hangup())?,
            user: signal(SignalKind::user_defined2())?,
            _file_limit: signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()))?,
        };
        release()?;
        Ok(signals)
    }

    /// Waits for the next request. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Request {
        tokio::select! {
            _ = self.terminate.recv() => Request::Stop("SIGTERM"),
            _ = self.interrupt.recv() => Request::Stop("SIGINT"),
            _ = self.quit.recv() => Request::Stop("SIGQUIT"),
            _ = self.hang_up.recv() => Request::Reload,
            _ = self.user.recv() => Request::Restart,
        }
    }
}

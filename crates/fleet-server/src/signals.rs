//! What the operating system asks of the running server.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

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
    /// Installs handlers in place of the signals' default effects.
    ///
    /// # Errors
    /// The operating system's.
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            hang_up: signal(SignalKind::hangup())?,
            user: signal(SignalKind::user_defined2())?,
            _file_limit: signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()))?,
        })
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

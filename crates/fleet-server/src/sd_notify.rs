//! What systemd is told with `Type=notify`: ready, reloading, stopping, still alive.
//!
//! Without `NOTIFY_SOCKET` in the environment every call does nothing.

use std::{env, io, os::unix::net::UnixDatagram, time::Duration};

/// The service manager's socket, if there is one.
#[derive(Debug)]
pub(crate) struct ServiceManager {
    socket: Option<UnixDatagram>,
    watchdog: Option<Duration>,
}

impl ServiceManager {
    /// Looks for the service manager in the environment.
    #[must_use]
    pub(crate) fn from_environment() -> Self {
        let socket = env::var_os("NOTIFY_SOCKET").and_then(|path| match connect(&path) {
            Ok(socket) => Some(socket),
            Err(error) => {
                log::warn!("cannot reach the service manager's socket: {error}");
                None
            }
        });
        Self {
            socket,
            watchdog: watchdog_interval(env::var("WATCHDOG_USEC").ok(), env::var("WATCHDOG_PID").ok()),
        }
    }

    /// How often [`ServiceManager::alive`] is to be said, if the manager watches.
    #[must_use]
    pub(crate) const fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    /// The server listens.
    pub(crate) fn ready(&self, status: &str) {
        self.send(&format!("READY=1\nSTATUS={status}"));
    }

    /// A reload begins; [`ServiceManager::ready`] ends it.
    pub(crate) fn reloading(&self) {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let micros = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1000;
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={micros}"));
    }

    /// The server drains.
    pub(crate) fn stopping(&self) {
        self.send("STOPPING=1");
    }

    /// Another process serves in this one's place.
    pub(crate) fn main_process(&self, pid: u32) {
        self.send(&format!("MAINPID={pid}"));
    }

    /// The event loop turns.
    pub(crate) fn alive(&self) {
        self.send("WATCHDOG=1");
    }

    fn send(&self, state: &str) {
        if let Some(socket) = &self.socket
            && let Err(error) = socket.send(state.as_bytes())
        {
            log::warn!("cannot tell the service manager: {error}");
        }
    }
}

fn connect(path: &std::ffi::OsStr) -> io::Result<UnixDatagram> {
    use std::os::{
        linux::net::SocketAddrExt as _,
        unix::{ffi::OsStrExt as _, net::SocketAddr},
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    match path.as_bytes() {
        [b'@', name @ ..] => socket.connect_addr(&SocketAddr::from_abstract_name(name)?)?,
        _ => socket.connect(path)?,
    }
    Ok(socket)
}

/// Half of the manager's limit, so that one late beat does not kill the server.
fn watchdog_interval(micros: Option<String>, pid: Option<String>) -> Option<Duration> {
    if pid.is_some_and(|pid| pid.parse() != Ok(std::process::id())) {
        return None;
    }
    let micros: u64 = micros?.parse().ok()?;
    (micros > 0).then(|| Duration::from_micros(micros / 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_the_manager_and_beats_twice_a_limit() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        let service = ServiceManager {
            socket: Some(connect(path.as_os_str()).unwrap()),
            watchdog: None,
        };
        service.ready("serving");
        service.reloading();
        let mut buffer = [0; 200];
        let n = manager.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..n], b"READY=1\nSTATUS=serving");
        let n = manager.recv(&mut buffer).unwrap();
        assert!(buffer[..n].starts_with(b"RELOADING=1\nMONOTONIC_USEC="));
        assert_eq!(
            watchdog_interval(Some("20000000".into()), None),
            Some(Duration::from_secs(10))
        );
        assert_eq!(watchdog_interval(Some("20000000".into()), Some("1".into())), None);
        assert_eq!(watchdog_interval(None, None), None);
    }

    #[test]
    fn an_abstract_socket_is_reached_too() {
        use std::os::{linux::net::SocketAddrExt as _, unix::net::SocketAddr};
        let name = format!("fleet-server-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(name.as_bytes()).unwrap();
        let manager = UnixDatagram::bind_addr(&address).unwrap();
        let service = ServiceManager {
            socket: Some(connect(format!("@{name}").as_ref()).unwrap()),
            watchdog: None,
        };
        service.stopping();
        let mut buffer = [0; 20];
        let n = manager.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..n], b"STOPPING=1");
    }
}

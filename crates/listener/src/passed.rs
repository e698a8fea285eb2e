//! Listening sockets that another process opened for this one: the service manager, or the server that this one
//! replaces. They stay open while processes come and go, so connections queue in the kernel meanwhile.
//!
//! In: sockets with names. Out: each at the endpoint with its address. A socket without an endpoint is an error.

use std::{
    fmt::Write as _,
    io,
    net::{SocketAddr, TcpListener},
};

use socket2::SockRef;

use crate::endpoint::{Endpoint, display_address};

/// Sockets that listen and wait for their endpoint.
#[derive(Debug, Default)]
pub struct PassedSockets {
    sockets: Vec<Passed>,
}

#[derive(Debug)]
struct Passed {
    name: String,
    address: SocketAddr,
    socket: TcpListener,
}

/// Why passed sockets cannot be used.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the texts and the fields' names say it")]
pub enum PassError {
    #[error("the socket \"{name}\" that was passed to this process cannot be used")]
    Unusable { name: String, source: io::Error },
    #[error(
        "the socket \"{name}\" that was passed to this process listens on {address}, and no listener is configured \
         there, only {configured}; make ListenStream= of the socket unit and the configuration agree"
    )]
    Unmatched {
        name: String,
        address: SocketAddr,
        /// All listeners: `NAME on HOST:PORT`.
        configured: String,
    },
}

impl PassedSockets {
    /// Adds a socket. Its name decides only where the configuration leaves the port open.
    ///
    /// # Errors
    /// It does not listen.
    pub fn add(&mut self, name: &str, socket: TcpListener) -> Result<(), PassError> {
        let listens = |socket: &TcpListener| -> io::Result<SocketAddr> {
            if !SockRef::from(socket).is_listener()? {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "it does not listen"));
            }
            socket.local_addr()
        };
        let address = listens(&socket).map_err(|source| PassError::Unusable {
            name: name.to_owned(),
            source,
        })?;
        self.sockets.push(Passed {
            name: name.to_owned(),
            address,
            socket,
        });
        Ok(())
    }

    /// The name of each socket's listener, with the socket.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &TcpListener)> {
        self.sockets
            .iter()
            .map(|passed| (passed.name.as_str(), &passed.socket))
    }

    /// Second handles of the same sockets.
    ///
    /// # Errors
    /// The process has no file descriptors left.
    pub fn try_clone(&self) -> io::Result<Self> {
        let duplicate = |passed: &Passed| {
            Ok(Passed {
                name: passed.name.clone(),
                address: passed.address,
                socket: passed.socket.try_clone()?,
            })
        };
        let sockets = self.sockets.iter().map(duplicate).collect::<io::Result<_>>()?;
        Ok(Self { sockets })
    }

    /// Checks that every socket was taken by an endpoint.
    ///
    /// # Errors
    /// Names the first socket that was not.
    pub fn all_taken<'a>(&self, endpoints: impl Iterator<Item = &'a Endpoint>) -> Result<(), PassError> {
        let Some(left) = self.sockets.first() else {
            return Ok(());
        };
        let mut configured = String::new();
        for endpoint in endpoints {
            let separator = if configured.is_empty() { "" } else { ", " };
            let address = display_address(&endpoint.host, endpoint.port);
            // Writing to a string cannot fail.
            let _ = write!(configured, "{separator}{} on {address}", endpoint.name);
        }
        Err(PassError::Unmatched {
            name: left.name.clone(),
            address: left.address,
            configured,
        })
    }

    /// The socket that listens on `address`; port 0 stands for the port of the socket with the listener's name.
    pub(crate) fn take(&mut self, name: &str, address: SocketAddr) -> Option<TcpListener> {
        let fits = |passed: &Passed| {
            passed.address.ip() == address.ip()
                && (passed.address.port() == address.port() || (address.port() == 0 && passed.name == name))
        };
        let place = self.sockets.iter().position(fits)?;
        Some(self.sockets.swap_remove(place).socket)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bind::bind;

    fn listening() -> (TcpListener, u16) {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        (socket, port)
    }

    #[test]
    fn a_socket_goes_to_the_listener_with_its_address_whatever_its_name() {
        let (socket, port) = listening();
        let mut passed = PassedSockets::default();
        passed.add("fleet-server.socket", socket).unwrap();
        let other = Endpoint::new("admin", "127.0.0.1", 0);
        let bound = bind(&other, &mut passed).unwrap();
        assert_ne!(bound.port(), port, "another port");
        let agents = Endpoint::new("agents", "127.0.0.1", port);
        assert_eq!(bind(&agents, &mut passed).unwrap().port(), port);
        passed.all_taken([&agents].into_iter()).unwrap();
    }

    #[test]
    fn an_open_port_is_that_of_the_listener_with_this_name() {
        let (first, _) = listening();
        let (second, port) = listening();
        let mut passed = PassedSockets::default();
        passed.add("agents", first).unwrap();
        passed.add("admin", second).unwrap();
        let bound = bind(&Endpoint::new("admin", "127.0.0.1", 0), &mut passed).unwrap();
        assert_eq!(bound.port(), port);
    }

    #[test]
    fn one_that_fits_no_listener_is_an_error_with_both_addresses() {
        let (socket, port) = listening();
        let mut passed = PassedSockets::default();
        passed.add("fleet-server.socket", socket).unwrap();
        let agents = Endpoint::new("agents", "127.0.0.1", 8220);
        let error = passed.all_taken([&agents].into_iter()).unwrap_err().to_string();
        assert!(
            error.contains(&format!("listens on 127.0.0.1:{port},"))
                && error.contains("only agents on 127.0.0.1:8220;"),
            "{error}"
        );
    }

    #[test]
    fn one_that_does_not_listen_is_refused() {
        let (listening, _) = listening();
        let connected = std::net::TcpStream::connect(listening.local_addr().unwrap()).unwrap();
        let socket = TcpListener::from(std::os::fd::OwnedFd::from(connected));
        let error = PassedSockets::default().add("agents", socket).unwrap_err();
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert!(source.contains("it does not listen"), "{source}");
    }
}

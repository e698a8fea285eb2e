//! Turns an [`Endpoint`] into listening sockets: all addresses of its host, on one port.
//!
//! A name may stand for several addresses (`localhost` is 127.0.0.1 and ::1): they are one listener on one
//! port, and an address family the host lacks is skipped. Sockets that were passed to this process are used where they
//! fit. Nothing is accepted here.

use std::{
    io,
    net::{SocketAddr, TcpListener, ToSocketAddrs as _},
};

use socket2::{Domain, Protocol, Socket, Type};

use crate::{
    endpoint::{Endpoint, bare_host, display_address},
    passed::{PassError, PassedSockets},
};

/// Sockets that listen for one endpoint; connections queue in the kernel until a server takes them.
pub struct Bound {
    pub(crate) endpoint: Endpoint,
    pub(crate) sockets: Vec<TcpListener>,
    port: u16,
}

impl Bound {
    /// The endpoint these sockets listen for.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The real port, also when the configured one was 0.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `HOST:PORT` with the host as configured and the real port.
    pub fn display_address(&self) -> String {
        display_address(&self.endpoint.host, self.port)
    }

    /// Adds second handles of the sockets to `passed`, under the endpoint's name.
    ///
    /// # Errors
    /// The process has no file descriptors left.
    pub fn share(&self, passed: &mut PassedSockets) -> Result<(), PassError> {
        self.sockets.iter().try_for_each(|socket| {
            let name = &self.endpoint.name;
            let duplicate = socket.try_clone().map_err(|source| PassError::Unusable {
                name: name.clone(),
                source,
            })?;
            passed.add(name, duplicate)
        })
    }

    /// Whether these sockets take an address that `endpoint` asks for. Blocks while its host name is looked up.
    pub fn takes_from(&self, endpoint: &Endpoint) -> bool {
        let wanted = resolve(&endpoint.host, endpoint.port).unwrap_or_default();
        let covers = |one: SocketAddr, other: SocketAddr| {
            one.ip().is_unspecified() && (one.is_ipv6() || other.is_ipv4())
        };
        let meet = |one: SocketAddr, other: SocketAddr| {
            one.port() == other.port() && (one == other || covers(one, other) || covers(other, one))
        };
        let taken = self.addresses();
        wanted
            .into_iter()
            .any(|wanted| taken.iter().any(|taken| meet(wanted, *taken)))
    }

    /// The socket addresses, one for each address of the host.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.sockets
            .iter()
            .filter_map(|socket| socket.local_addr().ok())
            .collect()
    }
}

/// Why an endpoint cannot listen.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the texts and the fields' names say it")]
pub enum BindError {
    #[error(
        "cannot listen on {address}: the host name cannot be resolved; use an address of this machine or a name it knows"
    )]
    UnknownHost { address: String, source: io::Error },
    #[error("cannot listen on {address}: the host name has no address; use an address of this machine")]
    NoAddress { address: String },
    #[error(
        "cannot listen on {address}: the port is in use; stop the program that uses it or choose another port"
    )]
    PortInUse {
        /// `HOST:PORT` as configured, or the address that is in use.
        address: String,
    },
    #[error(
        "cannot listen on {address}: permission denied; choose a port above 1023 or grant CAP_NET_BIND_SERVICE"
    )]
    NotPermitted { address: String },
    #[error(
        "cannot listen on {address}: this machine does not have that address; use one of its own or 0.0.0.0"
    )]
    ForeignAddress { address: String },
    #[error("cannot listen on {address}")]
    Refused { address: String, source: io::Error },
}

/// Opens the sockets of `endpoint`, or takes them from `passed`. Blocks while the host name is looked up: call it
/// before serving.
pub fn bind(endpoint: &Endpoint, passed: &mut PassedSockets) -> Result<Bound, BindError> {
    let addresses = resolve(&endpoint.host, endpoint.port)?;
    bind_addresses(endpoint, &addresses, passed)
}

fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, BindError> {
    let address = display_address(host, port);
    let mut addresses: Vec<SocketAddr> = Vec::new();
    let found = (bare_host(host), port)
        .to_socket_addrs()
        .map_err(|source| BindError::UnknownHost {
            address: address.clone(),
            source,
        })?;
    for found in found {
        if !addresses.contains(&found) {
            addresses.push(found);
        }
    }
    if addresses.is_empty() {
        return Err(BindError::NoAddress { address });
    }
    Ok(addresses)
}

fn bind_addresses(
    endpoint: &Endpoint,
    addresses: &[SocketAddr],
    passed: &mut PassedSockets,
) -> Result<Bound, BindError> {
    let mut attempt = 1;
    loop {
        match bind_once(endpoint, addresses, passed) {
            // The port that was free for the first address may be taken for the second: ask for another.
            Err(BindError::PortInUse { .. })
                if endpoint.port == 0 && addresses.len() > 1 && attempt < FREE_PORT_ATTEMPTS =>
            {
                attempt += 1;
            }
            outcome => return outcome,
        }
    }
}

fn bind_once(
    endpoint: &Endpoint,
    addresses: &[SocketAddr],
    passed: &mut PassedSockets,
) -> Result<Bound, BindError> {
    let mut port = endpoint.port;
    let mut sockets = Vec::with_capacity(addresses.len());
    let mut lacking = None;
    // If the name stands for both families, `::` must not bind the IPv4 side as well.
    let only_v6 = addresses.iter().any(SocketAddr::is_ipv4);
    for address in addresses {
        let mut address = *address;
        address.set_port(port);
        let socket = match passed.take(&endpoint.name, address) {
            Some(socket) => socket.set_nonblocking(true).map(|()| socket),
            None => listen(address, endpoint.limits.backlog, only_v6),
        };
        match socket {
            Ok(socket) => {
                port = socket
                    .local_addr()
                    .map_err(|error| refusal(endpoint, address, error))?
                    .port();
                sockets.push(socket);
            }
            Err(error) if addresses.len() > 1 && is_lacking_family(&error) => {
                lacking = Some((address, error))
            }
            Err(error) => return Err(refusal(endpoint, address, error)),
        }
    }
    match lacking {
        Some((address, error)) if sockets.is_empty() => Err(refusal(endpoint, address, error)),
        Some((address, error)) => {
            log::debug!("{}: {address} is skipped: {error}", endpoint.name);
            Ok(Bound {
                endpoint: endpoint.clone(),
                sockets,
                port,
            })
        }
        None => Ok(Bound {
            endpoint: endpoint.clone(),
            sockets,
            port,
        }),
    }
}

fn listen(address: SocketAddr, backlog: u32, only_v6: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restarted server must not wait for its predecessor's connections in TIME_WAIT.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(only_v6)?;
    }
    socket.bind(&address.into())?;
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

fn is_lacking_family(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable
        || error.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error())
}

fn refusal(endpoint: &Endpoint, address: SocketAddr, source: io::Error) -> BindError {
    let configured = display_address(&endpoint.host, endpoint.port);
    match source.kind() {
        io::ErrorKind::AddrInUse => BindError::PortInUse {
            address: if endpoint.port == 0 {
                address.to_string()
            } else {
                configured
            },
        },
        io::ErrorKind::PermissionDenied => BindError::NotPermitted { address: configured },
        io::ErrorKind::AddrNotAvailable => BindError::ForeignAddress { address: configured },
        _ => BindError::Refused {
            address: configured,
            source,
        },
    }
}

const FREE_PORT_ATTEMPTS: u32 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(host: &str, port: u16) -> Endpoint {
        Endpoint::new("test", host, port)
    }

    fn addresses(list: &[&str]) -> Vec<SocketAddr> {
        list.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn a_name_with_two_addresses_is_one_listener_on_one_port() {
        let bound = bind_addresses(
            &endpoint("localhost", 0),
            &addresses(&["127.0.0.1:0", "[::1]:0"]),
            &mut PassedSockets::default(),
        )
        .unwrap();
        let ports: Vec<u16> = bound.addresses().iter().map(SocketAddr::port).collect();
        assert_eq!(ports, vec![bound.port(); ports.len()]);
        assert_ne!(bound.port(), 0);
        assert_eq!(bound.display_address(), format!("localhost:{}", bound.port()));
    }

    #[test]
    fn an_address_family_the_host_lacks_is_skipped() {
        // 192.0.2.1 is reserved for documentation, so no machine has it.
        let bound = bind_addresses(
            &endpoint("name", 0),
            &addresses(&["192.0.2.1:0", "127.0.0.1:0"]),
            &mut PassedSockets::default(),
        )
        .unwrap();
        assert_eq!(bound.addresses().len(), 1);
        assert!(matches!(
            bind_addresses(
                &endpoint("192.0.2.1", 0),
                &addresses(&["192.0.2.1:0"]),
                &mut PassedSockets::default()
            ),
            Err(BindError::ForeignAddress { .. })
        ));
    }

    #[test]
    fn a_busy_port_is_one_sentence_with_the_address_and_the_remedy() {
        let first = bind(&endpoint("127.0.0.1", 0), &mut PassedSockets::default()).unwrap();
        let error = bind(
            &endpoint("127.0.0.1", first.port()),
            &mut PassedSockets::default(),
        )
        .err()
        .unwrap();
        assert_eq!(
            error.to_string(),
            format!(
                "cannot listen on 127.0.0.1:{}: the port is in use; stop the program that uses it or choose another port",
                first.port()
            )
        );
    }

    #[test]
    fn a_free_port_that_is_taken_in_one_family_is_given_up() {
        // 127.0.0.1 twice can never share a port, so every attempt fails and the loop ends.
        let twice = addresses(&["127.0.0.1:0", "127.0.0.1:0"]);
        assert!(matches!(
            bind_addresses(&endpoint("x", 0), &twice, &mut PassedSockets::default()),
            Err(BindError::PortInUse { .. })
        ));
    }

    #[test]
    fn ipv6_hosts_need_no_brackets() {
        assert_eq!(display_address("::1", 8220), "[::1]:8220");
        assert_eq!(display_address("[::1]", 8220), "[::1]:8220");
        assert_eq!(display_address("localhost", 8220), "localhost:8220");
        assert_eq!(resolve("::1", 1).unwrap(), addresses(&["[::1]:1"]));
        assert_eq!(resolve("[::1]", 1).unwrap(), addresses(&["[::1]:1"]));
    }

    #[test]
    fn an_unknown_host_says_so() {
        let error = bind(
            &endpoint("no-such-host.invalid", 8220),
            &mut PassedSockets::default(),
        )
        .err()
        .unwrap();
        assert!(matches!(error, BindError::UnknownHost { .. }), "{error}");
        assert!(
            error
                .to_string()
                .starts_with("cannot listen on no-such-host.invalid:8220: "),
            "{error}"
        );
    }
}

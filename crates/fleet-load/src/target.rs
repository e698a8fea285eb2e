//! The server that is tested: what the URL says, where it leads, and whether it may be tested at all.

use std::{
    net::{IpAddr, SocketAddr, ToSocketAddrs as _},
    path::Path,
};

use rustls::pki_types::{CertificateDer, pem::PemObject as _};

use crate::{fault::Fault, plan::Server};

impl Server {
    /// Reads `url`, resolves its host and reads the CA. `owned`: any address will do.
    pub(crate) fn find(url: &str, ca: Option<&Path>, owned: bool) -> Result<Self, Fault> {
        let (is_tls, host, port) = parse(url).map_err(|reason| Fault::Url {
            url: url.into(),
            reason,
        })?;
        let bare = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = |source| Fault::Name {
            host: bare.clone(),
            source,
        };
        let mut addresses: Vec<SocketAddr> = (bare.as_str(), port).to_socket_addrs().map_err(name)?.collect();
        // Only 127.x gives source addresses without end.
        addresses.sort_by_key(SocketAddr::is_ipv6);
        // Every address of the name: which of them answers is not ours to choose later.
        if let Some(foreign) = addresses
            .iter()
            .find(|address| !owned && !is_at_home(address.ip()))
        {
            return Err(Fault::ForeignAddress(*foreign));
        }
        let address = *addresses
            .first()
            .ok_or_else(|| name(std::io::ErrorKind::AddrNotAvailable.into()))?;
        let ca = match (is_tls, ca) {
            (false, _) => None,
            (true, Some(path)) => Some(certificates(path)?),
            (true, None) => {
                return Err(Fault::Missing {
                    option: "--ca",
                    why: "an https URL needs the CA that signed the server's certificate: --ca FILE, or --quickstart",
                });
            }
        };
        Ok(Self {
            address,
            authority: format!("{host}:{port}"),
            host: bare,
            ca,
            sources: Vec::new(),
        })
    }
}

/// Whether TLS is spoken, the host as written, the port.
fn parse(url: &str) -> Result<(bool, &str, u16), &'static str> {
    let (scheme, rest) = url.split_once("://").ok_or("it has no scheme")?;
    let is_tls = match scheme {
        "https" => true,
        "http" => false,
        _ => return Err("its scheme is neither https nor http"),
    };
    let authority = match rest.split_once('/') {
        None | Some((_, "")) => rest.trim_end_matches('/'),
        Some(_) => return Err("it has a path"),
    };
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (
            host,
            port.parse().map_err(|_| "its port is not a number below 65536")?,
        ),
        _ => (authority, if is_tls { 443 } else { 80 }),
    };
    if host.is_empty() || host.contains(['@', '?', '#']) {
        return Err("it has no plain host");
    }
    Ok((is_tls, host, port))
}

/// Loopback, link-local and private ranges.
fn is_at_home(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_private() || v4.is_link_local(),
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => is_at_home(v4.into()),
            None => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
        },
    }
}

fn certificates(path: &Path) -> Result<Vec<Vec<u8>>, Fault> {
    let pem = std::fs::read(path).map_err(|source| Fault::File {
        path: path.into(),
        source,
    })?;
    let ca = |reason: String| Fault::Ca {
        path: path.into(),
        reason,
    };
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem)
        .map(|certificate| certificate.map(|certificate| certificate.to_vec()))
        .collect();
    match certificates {
        Ok(certificates) if certificates.is_empty() => Err(ca("no PEM block in it".into())),
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(ca(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        assert_eq!(parse("https://localhost:8220"), Ok((true, "localhost", 8220)));
        assert_eq!(parse("https://[::1]:8220/"), Ok((true, "[::1]", 8220)));
        assert_eq!(parse("http://[::1]"), Ok((false, "[::1]", 80)));
        assert_eq!(parse("https://10.0.0.1"), Ok((true, "10.0.0.1", 443)));
        for wrong in [
            "localhost:8220",
            "ftp://x",
            "https://",
            "https://x:99999",
            "https://x/path",
            "https://u@x",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn only_what_is_near_is_tested() {
        for near in [
            "127.0.0.1",
            "10.1.2.3",
            "192.168.0.9",
            "172.31.0.1",
            "169.254.1.1",
            "::1",
            "fd00::1",
            "::ffff:10.0.0.1",
        ] {
            assert!(is_at_home(near.parse().unwrap()), "{near}");
        }
        for far in [
            "8.8.8.8",
            "172.32.0.1",
            "2001:db8::1",
            "0.0.0.0",
            "::ffff:8.8.8.8",
            "100.64.0.1",
        ] {
            assert!(!is_at_home(far.parse().unwrap()), "{far}");
        }
        let far = Server::find("https://203.0.113.9:8220", None, false);
        assert!(matches!(far, Err(Fault::ForeignAddress(_))));
        let owned = Server::find("http://203.0.113.9:8220", None, true).unwrap();
        assert_eq!(owned.authority, "203.0.113.9:8220");
    }
}

//! The addresses that listeners ask for: no two may want the same one.
//!
//! In: the typed configuration. Out: one problem for each pair that collides, with both keys and where they stand. No
//! name is looked up, so two names of one machine are found only when the sockets are opened.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use crate::{
    Config,
    engine::{
        place::Place,
        problem::{Problem, Report},
    },
};

/// What one listener asks for.
struct Claim<'a> {
    /// The key that decides the port.
    key: &'static str,
    host: &'a str,
    port: u16,
}

impl fmt::Display for Claim<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match bare(self.host).parse() {
            Ok(IpAddr::V6(address)) => write!(f, "[{address}]:{}", self.port),
            _ => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// Reports each pair of listeners that cannot both have what they ask for.
pub(crate) fn check(config: &Config, report: &mut Report) {
    let claims = claims(config);
    for (index, one) in claims.iter().enumerate() {
        for other in claims.iter().skip(index + 1) {
            if one.port != 0 && one.port == other.port && overlap(one.host, other.host) {
                collision(one, other, report);
            }
        }
    }
}

fn claims(config: &Config) -> Vec<Claim<'_>> {
    let server = config.server();
    let claim = |key, host, port| Claim { key, host, port };
    let mut claims = vec![claim("inputs.0.server.port", server.host.as_str(), server.port)];
    if let Some((host, port)) = server.internal_address() {
        claims.push(claim("inputs.0.server.internal_port", host, port));
    }
    if config.admin.enabled {
        claims.push(claim("admin.port", &config.admin.host, config.admin.port));
    }
    if config.http.enabled {
        let host = &config.http.host;
        claims.push(match host.port {
            Some(port) => claim("http.host", &host.host, port),
            None => claim("http.port", &host.host, config.http.port),
        });
    }
    claims
}

/// The problem stands with the key that was said last; a default is never blamed for what somebody wrote.
fn collision(one: &Claim<'_>, other: &Claim<'_>, report: &mut Report) {
    let place = |claim: &Claim<'_>| report.places.exactly(claim.key).unwrap_or_else(Place::built_in);
    let (one_place, other_place) = (place(one), place(other));
    let (late, place, early, first) = match one_place > other_place {
        true => (one, one_place, other, other_place),
        false => (other, other_place, one, one_place),
    };
    let problem = Problem::SameAddress {
        key: late.key.to_owned(),
        address: late.to_string(),
        other: early.key.to_owned(),
        other_address: early.to_string(),
        first,
    };
    report.add(place, problem);
}

/// Whether a socket of the one host takes an address of the other, as the kernel sees it: `0.0.0.0` covers every IPv4
/// address, `::` both families. A name is taken to have addresses in every family.
fn overlap(one: &str, other: &str) -> bool {
    match (addresses(one), addresses(other)) {
        (Some(some), Some(others)) => some
            .iter()
            .any(|one| others.iter().any(|other| meet(*one, *other))),
        (Some(known), None) | (None, Some(known)) => known.iter().any(IpAddr::is_unspecified),
        (None, None) => one.eq_ignore_ascii_case(other),
    }
}

fn meet(one: IpAddr, other: IpAddr) -> bool {
    let covers = |one: IpAddr, other: IpAddr| match one {
        IpAddr::V4(address) => address.is_unspecified() && other.is_ipv4(),
        IpAddr::V6(address) => address.is_unspecified(),
    };
    one == other || covers(one, other) || covers(other, one)
}

/// What is known without a look-up; `None`: a name of the machine.
fn addresses(host: &str) -> Option<Vec<IpAddr>> {
    if host.eq_ignore_ascii_case("localhost") {
        return Some(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
    }
    bare(host).parse().ok().map(|address| vec![address])
}

fn bare(host: &str) -> &str {
    let inside = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    inside.unwrap_or(host)
}

/// A listener's host: a name or an address, and nothing behind it.
pub(crate) fn host_alone(host: &str) -> Result<(), String> {
    // An address of a link has its interface behind it: fe80::1%eth0.
    let address = bare(host).split('%').next().unwrap_or_default();
    let is_ipv6 = address.parse::<Ipv6Addr>().is_ok();
    match host {
        host if host.contains("://") || host.contains(['/', '@']) => {
            Err("a host name or an address, not a URL".to_owned())
        }
        host if host.contains(':') && !is_ipv6 => {
            Err("a host name or an address: host takes no port, which belongs into `port`".to_owned())
        }
        host if host.is_empty() || host.contains(char::is_whitespace) => {
            Err("a host name or an address; 0.0.0.0 is every IPv4 address of this machine".to_owned())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_overlap_as_the_kernel_sees_it() {
        for (one, other, expected) in [
            ("localhost", "LOCALHOST", true),
            ("localhost", "127.0.0.1", true),
            ("localhost", "::1", true),
            ("localhost", "[::1]", true),
            ("localhost", "127.0.0.2", false),
            ("0.0.0.0", "localhost", true),
            ("0.0.0.0", "192.0.2.7", true),
            ("0.0.0.0", "::1", false),
            ("0.0.0.0", "::", true),
            ("::", "127.0.0.1", true),
            ("[::]", "::1", true),
            ("192.0.2.7", "192.0.2.8", false),
            ("fleet.example", "0.0.0.0", true),
            ("fleet.example", "Fleet.Example", true),
            ("fleet.example", "192.0.2.7", false),
            ("fleet.example", "other.example", false),
        ] {
            assert_eq!(overlap(one, other), expected, "{one} {other}");
            assert_eq!(overlap(other, one), expected, "{other} {one}");
        }
    }

    #[test]
    fn a_host_has_no_port() {
        let is_good = |host: &str| host_alone(host).is_ok();
        for host in ["localhost", "0.0.0.0", "::", "[::1]", "fe80::1%eth0", "a.example"] {
            assert!(is_good(host), "{host}");
        }
        for host in [
            "localhost:8220",
            "[::1]:8220",
            "0.0.0.0:1",
            "http://a",
            "a/b",
            "",
            "a b",
        ] {
            assert!(!is_good(host), "{host}");
        }
    }
}

//! Files and ports: how many processes and source addresses a fleet needs, and whether the machine gives them.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr},
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::fault::Fault;

/// Raises the limit of open files as far as it goes without asking anybody; gives what it is now.
pub(crate) fn raise_file_limit() -> u64 {
    let files = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: files.maximum,
        ..files
    };
    // If it cannot be raised, what is there counts.
    let _ = setrlimit(Resource::Nofile, raised);
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// How many processes so many connections need.
pub(crate) fn processes(connections: usize, files: u64) -> Result<usize, Fault> {
    let of_one = usize::try_from(files.saturating_sub(OTHER_FILES)).unwrap_or(usize::MAX);
    let processes = connections.div_ceil(of_one.max(1)).max(1);
    if processes > MOST_PROCESSES {
        return Err(Fault::Files {
            connections,
            processes,
            files,
        });
    }
    Ok(processes)
}

/// Where so many connections come from. To a loopback address: from others of 127.0.0.0/8, new ones for each run,
/// since ports of earlier runs are in TIME_WAIT. Else from `given`, or wherever the system likes.
pub(crate) fn sources(connections: usize, server: IpAddr, given: &[IpAddr]) -> Result<Vec<IpAddr>, Fault> {
    let ports = ports_of_an_address();
    if given.is_empty() && is_loopback_v4(server) {
        // Four times as many as there are agents: after a storm the old ports are blocked for a minute.
        let count = (connections * 4).div_ceil(ports.max(1)).clamp(4, 200);
        let [.., high, low] = std::process::id().to_be_bytes();
        // 127.0.0.x is left to others.
        let high = high.max(1);
        return Ok((0..count)
            .filter_map(|last| u8::try_from(last + 2).ok())
            .map(|last| IpAddr::V4(Ipv4Addr::new(127, high, low, last)))
            .collect());
    }
    let addresses = given.len().max(1);
    if connections > ports * addresses {
        return Err(Fault::Ports {
            connections,
            ports: ports * addresses,
            addresses,
        });
    }
    Ok(given.to_vec())
}

fn is_loopback_v4(address: IpAddr) -> bool {
    matches!(address, IpAddr::V4(v4) if v4.is_loopback())
}

fn ports_of_an_address() -> usize {
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let mut ends = range.split_whitespace().map(str::parse::<usize>);
    match (ends.next(), ends.next()) {
        (Some(Ok(first)), Some(Ok(last))) => last.saturating_sub(first) + 1,
        // The kernel's own default.
        _ => 28_232,
    }
}

/// Files of a process that are no agent's connection.
const OTHER_FILES: u64 = 64;
const MOST_PROCESSES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_by_files() {
        assert_eq!(processes(18_000, 20_000).unwrap(), 1);
        assert_eq!(processes(18_000, 1_024).unwrap(), 19);
        assert_eq!(processes(1, 0).unwrap(), 1);
        assert!(matches!(
            processes(100_000, 1_024),
            Err(Fault::Files { processes: 105, .. })
        ));
    }

    #[test]
    fn sources_by_ports() {
        let near = sources(18_000, "127.0.0.1".parse().unwrap(), &[]).unwrap();
        assert!(
            near.len() >= 4 && near.iter().all(IpAddr::is_loopback),
            "{near:?}"
        );
        let far = "10.0.0.1".parse().unwrap();
        assert!(sources(1_000, far, &[]).unwrap().is_empty());
        assert!(matches!(sources(1_000_000, far, &[]), Err(Fault::Ports { .. })));
        let given = ["10.0.0.2".parse().unwrap(), "10.0.0.3".parse().unwrap()];
        assert_eq!(sources(1_000, far, &given).unwrap(), given);
    }
}

//! How many connections each listener takes: the process's file descriptors shared out, so that what fills one listener
//! cannot take those of the agents.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Connections that each listener has descriptors for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ConnectionShares {
    pub(crate) agents: usize,
    pub(crate) internal: usize,
    pub(crate) admin: usize,
    pub(crate) http: usize,
}

impl ConnectionShares {
    /// Of all the descriptors that this process may have; it asks the system for them.
    pub(crate) fn of_this_process() -> Self {
        let limit = getrlimit(Resource::Nofile);
        let raised = Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        };
        let current = match setrlimit(Resource::Nofile, raised) {
            Ok(()) => limit.maximum,
            Err(error) => {
                log::warn!("error.message":% = error; "the limit of open files stays as it is");
                limit.current
            }
        };
        let shares = Self::of(current);
        log::debug!(
            "{} connections for agents, {} internal, {} for operators, {} for probes",
            shares.agents,
            shares.internal,
            shares.admin,
            shares.http
        );
        shares
    }

    /// `None`: any number of descriptors.
    fn of(descriptors: Option<u64>) -> Self {
        let all = descriptors.map_or(usize::MAX / 2, |all| {
            usize::try_from(all).unwrap_or(usize::MAX / 2)
        });
        // The store, logs, watched directories, stored files, probes of clients.
        let left = all.saturating_sub((all / 8).clamp(32, 512));
        let small = |part: usize, most: usize| (left / part).clamp(LEAST, most);
        // A few hundred clients are many for each of these; every other descriptor is an agent's.
        let (internal, admin, http) = (small(16, 256), small(16, 256), small(32, 128));
        Self {
            agents: left.saturating_sub(internal + admin + http).max(LEAST),
            internal,
            admin,
            http,
        }
    }
}

const LEAST: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attack_18_every_listener_has_a_share_and_the_agents_the_largest() {
        for descriptors in [64, 200, 1024, 65_536, 1 << 20] {
            let shares = ConnectionShares::of(Some(descriptors));
            let ConnectionShares {
                agents,
                internal,
                admin,
                http,
            } = shares;
            let all = agents + internal + admin + http;
            assert!(all < usize::try_from(descriptors).unwrap(), "{shares:?}");
            assert!(agents >= internal.max(admin).max(http), "{shares:?}");
            assert!(descriptors < 200 || agents > all / 2, "{shares:?}");
        }
        assert!(ConnectionShares::of(None).agents > 1 << 40);
        assert!(
            ConnectionShares::of(Some(20_000)).agents >= 18_500,
            "what the others do not need is not kept from the agents"
        );
    }
}

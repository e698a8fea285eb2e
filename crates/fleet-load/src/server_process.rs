//! Memory and processor time of the server, as Linux counts them, when it runs on the same machine.

use std::{fs, time::Duration};

use crate::fault::Fault;

/// What a process takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taken {
    pub(crate) resident_kib: u64,
    /// The most it ever had.
    pub(crate) peak_kib: u64,
    pub(crate) cpu: Duration,
}

/// The server, if its process id was given.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ServerProcess(pub(crate) Option<i32>);

impl ServerProcess {
    /// What it takes now; `None`: no process was named.
    pub(crate) fn taken(self) -> Result<Option<Taken>, Fault> {
        self.0.map(|pid| read(pid).ok_or(Fault::Process(pid))).transpose()
    }
}

fn read(pid: i32) -> Option<Taken> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let kib = |name: &str| {
        let value = status.lines().find_map(|line| line.strip_prefix(name))?;
        value.trim().trim_end_matches(" kB").parse().ok()
    };
    // The name stands in parentheses and may hold anything; user and system time are 12 and 13 after its end.
    let (_, after) = stat.rsplit_once(')')?;
    let ticks: u64 = after
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<u64>().ok())
        .sum();
    Some(Taken {
        resident_kib: kib("VmRSS:")?,
        peak_kib: kib("VmHWM:")?,
        cpu: Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_read_and_a_missing_one_is_said() {
        let own = i32::try_from(std::process::id()).unwrap();
        let taken = ServerProcess(Some(own)).taken().unwrap().unwrap();
        assert!(taken.resident_kib > 500 && taken.peak_kib >= taken.resident_kib);
        assert!(ServerProcess(None).taken().unwrap().is_none());
        assert!(ServerProcess(Some(i32::MAX)).taken().is_err());
    }
}

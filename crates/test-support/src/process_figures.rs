//! What a process costs, as Linux counts it.

use std::{fs, time::Duration};

/// Memory and processor time of a running process.
#[derive(Clone, Copy, Debug)]
pub struct ProcessFigures {
    /// Resident memory in KiB.
    pub resident_kib: u64,
    /// Processor time of all its threads so far, in steps of a clock tick (10 ms).
    pub cpu: Duration,
    pub threads: u64,
}

impl ProcessFigures {
    /// Reads them.
    ///
    /// # Panics
    /// If no process has this id.
    pub fn of(pid: i32) -> Self {
        let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).expect("a running process");
        let status = read("status");
        let number = |name: &str| {
            let value = status.lines().find_map(|line| line.strip_prefix(name));
            let value = value.expect("a line of this name").trim().trim_end_matches(" kB");
            value.parse().expect("a number")
        };
        let stat = read("stat");
        // The name stands in parentheses and may hold anything; user and system time are 12 and 13 after its end.
        let (_, after) = stat.rsplit_once(')').expect("a name in parentheses");
        let ticks = after.split_whitespace().skip(11).take(2);
        let ticks: u64 = ticks
            .map(|field| field.parse::<u64>().expect("a number of ticks"))
            .sum();
        Self {
            resident_kib: number("VmRSS:"),
            threads: number("Threads:"),
            cpu: Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{hint::black_box, time::Instant};

    use super::*;

    #[test]
    fn work_and_memory_show() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let before = ProcessFigures::of(pid);
        let touched = black_box(vec![1_u8; 32 << 20]);
        let begun = Instant::now();
        let mut after = ProcessFigures::of(pid);
        while after.cpu < before.cpu + Duration::from_millis(50) && begun.elapsed() < crate::LIMIT {
            black_box(touched.iter().map(|byte| u64::from(*byte)).sum::<u64>());
            after = ProcessFigures::of(pid);
        }
        assert!(after.cpu >= before.cpu + Duration::from_millis(50));
        assert!(after.resident_kib >= before.resident_kib + (16 << 10));
    }
}

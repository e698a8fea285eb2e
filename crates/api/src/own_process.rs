//! What the kernel says of this process, with the names that collectors of `/stats` know (agents.md 9.1).
//!
//! In: `/proc/self` and the resource limits. Out: numbers; 0 where the system does not tell. Reads memory, never a disk.

use std::fs;

use rustix::process::{Resource, getrlimit};
use schemars::JsonSchema;
use serde::Serialize;

#[derive(Serialize, JsonSchema)]
pub(crate) struct Memory {
    /// Resident bytes.
    rss: u64,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Cpu {
    user: Spent,
    system: Spent,
    total: Spent,
}

/// Processor time since the start.
#[derive(Serialize, JsonSchema)]
struct Spent {
    /// In ticks of the system's clock.
    ticks: u64,
    time: Milliseconds,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Milliseconds {
    pub(crate) ms: u64,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Runtime {
    threads: u64,
}

/// File descriptors.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Handles {
    open: u64,
    limit: HandleLimits,
}

#[derive(Serialize, JsonSchema)]
struct HandleLimits {
    hard: u64,
    soft: u64,
}

impl Memory {
    pub(crate) fn now() -> Self {
        let pages = read("/proc/self/statm")
            .and_then(|text| text.split_ascii_whitespace().nth(1)?.parse::<u64>().ok());
        Self {
            rss: pages
                .unwrap_or(0)
                .saturating_mul(rustix::param::page_size() as u64),
        }
    }
}

/// Both stand in one file, which is read once.
pub(crate) fn cpu_and_runtime() -> (Cpu, Runtime) {
    let Stat {
        user_ticks,
        system_ticks,
        threads,
    } = stat().unwrap_or_default();
    let cpu = Cpu {
        user: Spent::of(user_ticks),
        system: Spent::of(system_ticks),
        total: Spent::of(user_ticks + system_ticks),
    };
    (cpu, Runtime { threads })
}

impl Spent {
    fn of(ticks: u64) -> Self {
        let ms = ticks * 1000 / rustix::param::clock_ticks_per_second().max(1);
        Self {
            ticks,
            time: Milliseconds { ms },
        }
    }
}

impl Handles {
    pub(crate) fn now() -> Self {
        let limit = getrlimit(Resource::Nofile);
        Self {
            // The look itself opens one.
            open: fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count().saturating_sub(1) as u64),
            limit: HandleLimits {
                hard: limit.maximum.unwrap_or(u64::MAX),
                soft: limit.current.unwrap_or(u64::MAX),
            },
        }
    }
}

#[derive(Default)]
struct Stat {
    user_ticks: u64,
    system_ticks: u64,
    threads: u64,
}

/// proc_pid_stat(5). The second field is the program's name in parentheses, with whatever is in it.
fn stat() -> Option<Stat> {
    let text = read("/proc/self/stat")?;
    let (_, rest) = text.rsplit_once(')')?;
    let field = |number: usize| rest.split_ascii_whitespace().nth(number - 3)?.parse().ok();
    Some(Stat {
        user_ticks: field(14)?,
        system_ticks: field(15)?,
        threads: field(20)?,
    })
}

fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_tells_of_this_process() {
        assert!(Memory::now().rss > 1 << 20);
        let mut spun = 0u64;
        while cpu_and_runtime().0.total.ticks == 0 {
            spun = std::hint::black_box(spun + 1);
        }
        let (cpu, runtime) = cpu_and_runtime();
        assert!(cpu.total.time.ms > 0 && cpu.total.ticks >= cpu.user.ticks);
        assert!(runtime.threads >= 1);
        let handles = Handles::now();
        assert!(handles.open >= 1 && handles.open < handles.limit.soft);
    }
}

//! How much memory this process may use: the tightest control group, else the machine.

use std::{
    fs,
    path::{Path, PathBuf},
};

const MIB: u64 = 1 << 20;

/// Available memory in MiB; `None` if the system does not report it. `root` is `/` except in tests.
pub(crate) fn available_mib(root: &Path) -> Option<u64> {
    let host = host_bytes(root);
    let group = group_bytes(root);
    let bytes = match (host, group) {
        (Some(host), Some(group)) => host.min(group),
        (host, group) => host.or(group)?,
    };
    Some(bytes / MIB)
}

fn host_bytes(root: &Path) -> Option<u64> {
    // A unit with `ProcSubset=pid` has no meminfo; the system call returns the same, but only for the real root.
    meminfo_bytes(root).or_else(|| (root == Path::new("/")).then(machine_bytes))
}

fn machine_bytes() -> u64 {
    let machine = rustix::system::sysinfo();
    machine.totalram.saturating_mul(machine.mem_unit.into())
}

fn meminfo_bytes(root: &Path) -> Option<u64> {
    let text = fs::read_to_string(root.join("proc/meminfo")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim()
        .strip_suffix("kB")?
        .trim()
        .parse::<u64>()
        .ok()?
        .checked_mul(1024)
}

/// The tightest limit on the way from this process's group to the top, in version 2 or 1.
fn group_bytes(root: &Path) -> Option<u64> {
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let tops = groups.lines().filter_map(|line| {
        let mut fields = line.splitn(3, ':');
        let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        if controllers.is_empty() {
            Some((root.join("sys/fs/cgroup"), "memory.max", path))
        } else if controllers.split(',').any(|controller| controller == "memory") {
            Some((root.join("sys/fs/cgroup/memory"), "memory.limit_in_bytes", path))
        } else {
            None
        }
    });
    tops.filter_map(|(top, file, path)| tightest(&top, path.trim_start_matches('/'), file))
        .min()
}

fn tightest(top: &Path, path: &str, file: &str) -> Option<u64> {
    let mut group: PathBuf = top.join(path);
    let mut least = None;
    loop {
        // `max`, or anything else that is not a number, means no limit.
        let limit = fs::read_to_string(group.join(file))
            .ok()
            .and_then(|text| text.trim().parse::<u64>().ok());
        least = [least, limit].into_iter().flatten().min();
        if group == top || !group.pop() {
            return least;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, file: &str, text: &str) {
        let path = root.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn the_tightest_group_counts() {
        let root = tempfile::tempdir().unwrap();
        write(
            root.path(),
            "proc/meminfo",
            "MemTotal:       16777216 kB\nMemFree: 1 kB\n",
        );
        assert_eq!(available_mib(root.path()), Some(16_384));
        write(root.path(), "proc/self/cgroup", "0::/a/b\n");
        write(root.path(), "sys/fs/cgroup/a/b/memory.max", "max\n");
        assert_eq!(available_mib(root.path()), Some(16_384));
        write(root.path(), "sys/fs/cgroup/a/memory.max", "536870912\n");
        assert_eq!(available_mib(root.path()), Some(512));
        write(root.path(), "sys/fs/cgroup/a/b/memory.max", "134217728\n");
        assert_eq!(available_mib(root.path()), Some(128));
    }

    #[test]
    fn groups_of_version_1_count_too() {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), "proc/self/cgroup", "3:cpu:/x\n2:memory:/x\n");
        write(
            root.path(),
            "sys/fs/cgroup/memory/x/memory.limit_in_bytes",
            "268435456\n",
        );
        assert_eq!(available_mib(root.path()), Some(256));
    }

    #[test]
    fn the_machine_says_by_call_what_it_says_in_the_file() {
        let said = meminfo_bytes(Path::new("/")).unwrap();
        assert_eq!(machine_bytes() / MIB, said / MIB);
    }

    #[test]
    fn a_system_that_says_nothing_has_no_limit() {
        assert_eq!(available_mib(tempfile::tempdir().unwrap().path()), None);
    }
}

//! What watching costs while nothing changes: memory, and how often its threads wake.
//! `cargo run --release --example idle_watch` (Linux). The figures of the README come from here.
#![expect(clippy::print_stdout, reason = "its figures are its output")]

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use rcgen::{CertificateParams, KeyPair};
use tls_reload::{Generation, PemSource, ReloadHandle, Reloader, Settings};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let place = tempfile::tempdir()?;
    let key = KeyPair::generate()?;
    let certificate = CertificateParams::new(["localhost".to_owned()])?.self_signed(&key)?;
    fs::write(place.path().join("tls.crt"), certificate.pem())?;
    fs::write(place.path().join("tls.key"), key.serialize_pem())?;
    let source = |name: &str| PemSource::Path(place.path().join(name));
    let mut settings = Settings::single(source("tls.crt"), Some(source("tls.key")));

    // What serving alone costs, the library's first use included, is not the watch's.
    let _served = Generation::load(&settings, std::time::SystemTime::now())?;
    for interval in [0, 5] {
        settings.reload.reload_interval = Duration::from_secs(interval);
        let before = anonymous_kib()?;
        let handles: Vec<ReloadHandle> = (0..SETS)
            .map(|_| Reloader::new(settings.clone()).spawn_system())
            .collect::<Result<_, _>>()?;
        // The first look arms the watch; the thread that looked goes after ten idle seconds.
        rest(Duration::from_secs(15));
        let grown = anonymous_kib()?.saturating_sub(before);
        println!(
            "reload_interval {interval}s: {} KiB of memory a set (of {SETS})",
            grown / SETS
        );
        let start = wakes()?;
        rest(WATCHED);
        let mut by_name: BTreeMap<String, u64> = BTreeMap::new();
        for (task, (name, count)) in wakes()? {
            let earlier = start.get(&task).map_or(0, |(_, count)| *count);
            *by_name.entry(name).or_default() += count - earlier;
        }
        // This thread only waits.
        by_name.retain(|name, _| name != "idle_watch");
        for (name, count) in by_name {
            println!("  {name}: {count} wake-ups of {SETS} sets in {WATCHED:?}");
        }
        let stopping = handles.iter().map(ReloadHandle::shutdown);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(async {
            for stopped in stopping {
                stopped.await;
            }
        });
    }
    Ok(())
}

/// Heap and stacks.
fn anonymous_kib() -> Result<u64, Box<dyn std::error::Error>> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    Ok(number.ok_or("no RssAnon")?.parse()?)
}

/// Voluntary context switches by thread: each is a wake-up that ended.
fn wakes() -> Result<BTreeMap<String, (String, u64)>, Box<dyn std::error::Error>> {
    let mut found = BTreeMap::new();
    for task in fs::read_dir("/proc/self/task")? {
        let task = task?;
        let name = fs::read_to_string(task.path().join("comm"))?.trim().to_owned();
        let status = fs::read_to_string(task.path().join("status"))?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        let count = line.ok_or("no voluntary_ctxt_switches")?.trim().parse()?;
        found.insert(task.file_name().to_string_lossy().into_owned(), (name, count));
    }
    Ok(found)
}

fn rest(time: Duration) {
    let (_never, wait) = std::sync::mpsc::sync_channel::<()>(1);
    let _elapsed = wait.recv_timeout(time);
}

/// Enough that a page more or less does not matter.
const SETS: u64 = 20;
const WATCHED: Duration = Duration::from_secs(30);

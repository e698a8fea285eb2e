//! reload.md 7.3: the actor panics, and nobody but the counter notices.

use std::fs;
use std::path::Path;
use std::time::Duration;

use prometheus_client::registry::Registry;

use super::actor::Panic;
use super::{ReloadHandle, Reloader};
use crate::metrics::ReloadMetrics;
use crate::source::{PemSource, ReloadSettings, Settings};
use crate::state::{ReloadResult, Trigger};

#[path = "../../tests/reload/records.rs"]
mod records;

fn write(directory: &Path) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    fs::write(directory.join("tls.crt"), made.cert.pem()).unwrap();
    fs::write(directory.join("tls.key"), made.signing_key.serialize_pem()).unwrap();
}

async fn until(handle: &ReloadHandle, is_so: impl FnMut(&std::sync::Arc<crate::state::ReloadState>) -> bool) {
    let mut states = handle.subscribe();
    let found = tokio::time::timeout(Duration::from_secs(20), states.wait_for(is_so)).await;
    assert!(found.is_ok(), "{:#?}", handle.state());
}

#[tokio::test]
async fn r31_a_panic_in_the_actor_is_counted_and_healed() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path());
    let source = |name: &str| PemSource::Path(directory.path().join(name));
    let mut settings = Settings::single(source("tls.crt"), Some(source("tls.key")));
    settings.reload = ReloadSettings {
        debounce: Duration::from_millis(50),
        reload_interval: Duration::ZERO,
        ..ReloadSettings::default()
    };
    let mut registry = Registry::default();
    let metrics = ReloadMetrics::register(&mut registry);
    let handle = Reloader::new(settings).metrics(metrics).spawn_system().unwrap();
    let config = handle.resolver().server_config();
    for panics in 1..=2u64 {
        let mut addresses = handle.actor.addresses();
        let address = addresses
            .wait_for(Option::is_some)
            .await
            .unwrap()
            .clone()
            .unwrap();
        // Files change in the same moment: the next actor must find it without an event.
        write(directory.path());
        let broken = address.send(Panic).await;
        assert!(broken.is_err(), "a caller gets a typed error");
        assert!(
            !config.alpn_protocols.iter().any(Vec::is_empty),
            "handshakes need no actor"
        );
        until(&handle, |state| state.reloader_restarts == panics).await;
        until(&handle, |state| state.generation.number == panics + 1).await;
    }
    // A request that meets a dying actor follows it to the next.
    let address = handle.actor.address().unwrap();
    address.try_send(Panic).unwrap();
    let outcome = handle.reload_now(Trigger::Api).await;
    assert!(
        matches!(outcome.result, ReloadResult::Unchanged | ReloadResult::Success),
        "{outcome:?}"
    );
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    assert!(text.contains("reloader_restarts_total 3"), "{text}");
    handle.shutdown().await;
}

/// A file system that hangs: told once, without a poll, and the health stays as told until it answers.
#[tokio::test]
async fn r16_r35_a_file_system_that_does_not_answer_is_told() {
    use crate::signals::EventSink;
    use crate::watch::DirectoryWatcher;
    use crate::watch_failure::WatchFailure;
    use std::sync::{Arc, Mutex, mpsc};
    /// Arming the second time waits for the test, as a stat of a dead mount would.
    struct Hanging(
        #[expect(dead_code, reason = "dropped, it would tell that it died")] EventSink,
        Gate,
    );
    type Gate = Arc<Mutex<(bool, mpsc::Receiver<()>)>>;
    impl DirectoryWatcher for Hanging {
        fn watch(&mut self, _: &Path) -> Result<(), WatchFailure> {
            let mut gate = self.1.lock().unwrap();
            if std::mem::replace(&mut gate.0, true) {
                gate.1.recv_timeout(Duration::from_secs(30)).unwrap();
            }
            Ok(())
        }
        fn unwatch(&mut self, _: &Path) {}
    }
    records::keep();
    let directory = tempfile::tempdir().unwrap();
    write(directory.path());
    let source = |name: &str| PemSource::Path(directory.path().join(name));
    let mut settings = Settings::single(source("tls.crt"), Some(source("tls.key")));
    settings.reload.reload_interval = Duration::ZERO;
    let (open, gate) = mpsc::sync_channel(8);
    let gate = Arc::new(Mutex::new((false, gate)));
    let handle = Reloader::new(settings)
        .watcher(Arc::new(move |sink| Ok(Box::new(Hanging(sink, gate.clone())))))
        .stuck_after(Duration::from_millis(100))
        .spawn_system()
        .unwrap();
    until(&handle, |state| !state.watched_directories.is_empty()).await;
    // The read works; the look after it arms anew, and hangs.
    let outcome = handle.reload_now(Trigger::Api).await;
    assert_eq!(outcome.result, ReloadResult::Unchanged);
    until(&handle, |state| state.stuck_since.is_some()).await;
    let state = handle.state();
    assert!(!state.healthy, "{state:?}");
    let told = state.degraded.clone().unwrap();
    assert!(told.contains("has not answered since"), "{told}");
    // reload.md 8.2: one error line says so, and which files are meant.
    let mut lines = records::about(&directory.path().display().to_string());
    lines.retain(|line| line.field("event.reason") == Some("stuck"));
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert_eq!(
        (lines[0].level, lines[0].message.as_str()),
        (log::Level::Error, told.as_str())
    );
    // Whatever judges the health meanwhile comes to the same.
    let mut judged = (*state).clone();
    super::report::judge_health(
        &mut judged,
        &crate::expiry::Expiry::new(&[]),
        std::time::SystemTime::now(),
    );
    assert_eq!(judged.degraded, Some(told));
    open.send(()).unwrap();
    until(&handle, |state| state.stuck_since.is_none() && state.healthy).await;
    handle.shutdown().await;
}

//! S22: the disk takes no more. In a process of its own, once with a limit on the size of its files (the system
//! answers EFBIG), once on a small file system of memory (ENOSPC) where this may be mounted.

use std::{fs, io::Write as _, path::Path, process::Command, time::Duration};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use store::{
    Actions as _, AgentId, Agents as _, ApiKey, AuditMark, ChangeKind, Engine as _, Feed as _, KeyId,
    KeyOwner, Keys as _, Policies as _, PolicyId, RawJson, StoreError, TokenId, UpgradeChange,
    conformance::samples::*,
};

use super::{
    super::SqliteStore,
    child::{Second, not_run, role, say},
    open,
};

#[test]
fn s22_files_that_may_not_grow() {
    let directory = tempfile::tempdir().unwrap();
    // The signal that comes with the limit is ignored across exec; its default would end the process.
    let mut command = Command::new("sh");
    command
        .args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""])
        .arg(std::env::current_exe().unwrap());
    let child = Second::start_through(command, "tests::full_disk::child_meets_a_limit", directory.path());
    assert_eq!(outcome(child), ["full", "recovered"]);
}

#[test]
fn s22_a_full_disk() {
    let directory = tempfile::tempdir().unwrap();
    let mut command = Command::new("unshare");
    let mount =
        "mount -t tmpfs -o size=8m,mode=0700 tmpfs \"$STORE_TEST_CHILD_DIRECTORY\" && exec \"$0\" \"$@\"";
    command
        .args(["-Urm", "sh", "-c", mount])
        .arg(std::env::current_exe().unwrap());
    let mut probe = Command::new("unshare");
    let may_mount = probe
        .args(["-Urm", "sh", "-c", "mount -t tmpfs tmpfs \"$0\""])
        .arg(directory.path())
        .output();
    match may_mount {
        Ok(output) if output.status.success() => {
            let test = "tests::full_disk::child_fills_the_disk";
            assert_eq!(
                outcome(Second::start_through(command, test, directory.path())),
                ["full", "recovered"]
            );
        }
        refused => not_run(
            "s22_a_full_disk",
            &format!("no file system may be mounted here ({refused:?})"),
        ),
    }
}

/// What the child said, if it ended well.
fn outcome(mut child: Second) -> Vec<String> {
    let said = std::iter::from_fn(|| child.hear()).collect();
    assert!(child.process.wait().unwrap().success(), "{said:?}");
    said
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_meets_a_limit() {
    let Some(directory) = role() else { return };
    let log = directory.join("fleet.db-wal");
    let limit = |bytes: Option<u64>| {
        let before = getrlimit(Resource::Fsize);
        setrlimit(
            Resource::Fsize,
            Rlimit {
                current: bytes,
                maximum: before.maximum,
            },
        )
        .unwrap();
    };
    meet(
        &directory,
        || limit(Some(fs::metadata(&log).unwrap().len())),
        || limit(None),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_fills_the_disk() {
    let Some(directory) = role() else { return };
    let filler = directory.join("filler");
    let fill = || {
        let mut file = fs::File::create(&filler).unwrap();
        let mut size = 1 << 20;
        while size > 0 {
            if file.write_all(&vec![0; size]).is_err() {
                size /= 2;
            }
        }
    };
    meet(&directory, fill, || fs::remove_file(&filler).unwrap()).await;
}

/// Everything before, during and after.
async fn meet(directory: &Path, fill: impl Fn(), free: impl Fn()) {
    let store = open(directory).unwrap();
    policy(&store, "p").await;
    policy(&store, "empty").await;
    let keys = [
        admitting(&store, "t", "p").await.1,
        enrolled(&store, "a").await.access_key,
        enrolled(&store, "b").await.access_key,
        store
            .issue(KeyOwner::Operator, purpose("k"), at(0))
            .await
            .unwrap(),
        given("k2"),
        given("k3"),
    ];
    let mut ending = action("d", &["a"]);
    ending.expiration = Some(at(2));
    store.append_actions(vec![ending]).await.unwrap();
    let before = everything(&store, &keys).await;

    fill();
    refused_without_a_trace(&store, &keys[3].id).await;
    assert_eq!(
        everything(&store, &keys).await,
        before,
        "reads go on and nothing was half-written"
    );
    let health = store.health().await;
    assert_eq!((health.readable, health.writable), (true, false));
    assert!(health.reason.is_some_and(|reason| reason.contains("disk")));
    assert_eq!(store.shared.metrics.up.get(), 0);
    // A waiting reader of the feed goes on waiting.
    let last = store.last_change(ChangeKind::Agent).await.unwrap();
    let idle = store
        .changes(ChangeKind::Agent, &last, 10, Duration::from_millis(50))
        .await
        .unwrap();
    assert!(idle.ids.is_empty());
    say("full");

    free();
    // Nobody writes; the store finds out by itself.
    let recovery = async {
        while !store.health().await.writable {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), recovery)
        .await
        .unwrap();
    assert_eq!(store.health().await.reason, None);
    assert_eq!(store.shared.metrics.up.get(), 1);
    assert_eq!(everything(&store, &keys).await, before);
    store.enroll(enrollment("c", "p")).await.unwrap();
    let changes = store
        .changes(ChangeKind::Agent, &last, 10, Duration::ZERO)
        .await
        .unwrap();
    assert_eq!(changes.ids, ["c"]);
    store.close().await.unwrap();
    drop(store);
    assert!(agent(&open(directory).unwrap(), "c").await.is_active);
    say("recovered");
}

/// Each operation that writes.
async fn refused_without_a_trace(store: &SqliteStore, key: &KeyId) {
    let (a, p) = (AgentId::from("a"), PolicyId::from("p"));
    let mark = AuditMark {
        reason: "orphaned".to_owned(),
        time: String::new(),
    };
    let large = RawJson::parse(format!("{{\"filler\":\"{}\"}}", "x".repeat(50_000))).unwrap();
    let mut enrolling = enrollment("c", "p");
    enrolling.agent.local_metadata = Some(large);
    let upgrade = UpgradeChange {
        ends_attempts: true,
        ..UpgradeChange::default()
    };
    let outcomes = [
        ("enroll", store.enroll(enrolling).await.map(|_| ())),
        (
            "record_checkins",
            store.record_checkins(vec![checkin("a", at(9))]).await,
        ),
        (
            "confirm_policy",
            store.confirm_policy(&a, &p, 1, at(9)).await.map(|_| ()),
        ),
        ("report_policy", store.report_policy(&a, &p, 1, at(9)).await),
        ("change_upgrade", store.change_upgrade(&a, upgrade, at(9)).await),
        ("mark_audit", store.mark_audit(&a, mark, at(9)).await),
        (
            "reassign",
            store
                .reassign(std::slice::from_ref(&a), &p, at(9))
                .await
                .map(|_| ()),
        ),
        (
            "append_actions",
            store.append_actions(vec![action("e", &["a"])]).await.map(|_| ()),
        ),
        (
            "insert_result",
            store.insert_result(result("x", "a")).await.map(|_| ()),
        ),
        (
            "delete_expired_actions",
            store.delete_expired_actions(at(9), 10).await.map(|_| ()),
        ),
        (
            "append_policy_revision",
            store
                .append_policy_revision(Some(1), revision("p"))
                .await
                .map(|_| ()),
        ),
        (
            "delete_policy",
            store.delete_policy(&PolicyId::from("empty"), at(9)).await,
        ),
        (
            "create_token",
            store.create_token(token("t2", "p")).await.map(|_| ()),
        ),
        (
            "revoke_token",
            store.revoke_token(&TokenId::from("t"), at(9)).await,
        ),
        (
            "issue",
            store
                .issue(KeyOwner::Operator, purpose("k2"), at(9))
                .await
                .map(|_| ()),
        ),
        (
            "adopt_key",
            store
                .adopt_key(&given("k2"), KeyOwner::Operator, purpose("k2"), at(9))
                .await,
        ),
        (
            "adopt_token",
            store
                .adopt_token(token("t3", "p"), &given("k3"))
                .await
                .map(|_| ()),
        ),
        (
            "invalidate_keys",
            store.invalidate_keys(std::slice::from_ref(key), at(9)).await,
        ),
        ("unenroll", store.unenroll(&AgentId::from("b"), None, at(9)).await),
    ];
    for (what, outcome) in outcomes {
        assert!(
            matches!(outcome, Err(StoreError::Unavailable { .. })),
            "{what}: {outcome:?}"
        );
    }
}

/// What can be read of the store, as text.
async fn everything(store: &SqliteStore, presented: &[ApiKey]) -> String {
    let mut keys = Vec::new();
    for key in presented {
        keys.push(store.verify(key).await.unwrap());
    }
    let in_file = store
        .read(|connection| {
            Ok(connection.query_row("SELECT count(*) FROM api_key", [], |row| row.get::<_, i64>(0))?)
        })
        .await
        .unwrap();
    format!(
        "{:?}",
        (
            store.agents(&everyone(), all(), at(1)).await.unwrap(),
            store.policies(all()).await.unwrap(),
            store.tokens(all()).await.unwrap(),
            (keys, in_file),
            store
                .pending_actions(&AgentId::from("a"), None, None, at(1), 10)
                .await
                .unwrap(),
            store.results(&"x".into(), all()).await.unwrap(),
            store.last_change(ChangeKind::Agent).await.unwrap(),
        )
    )
}

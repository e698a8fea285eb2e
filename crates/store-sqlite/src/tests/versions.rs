//! S27: files of every version, of later ones, and of others.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, sync::Mutex};

use rusqlite::Connection;
use store::{
    ActionId, Actions as _, Agents as _, Blobs as _, ChangeKind, EnrollmentId, Feed as _, KeyOwner,
    Keys as _, Policies as _, PolicyId, TokenId, Verification, conformance::samples::*,
};

use super::{
    super::{
        OpenError, connection,
        migration::{MIGRATIONS, Migration, migrate},
        ownership::APPLICATION_ID,
    },
    open,
};

/// A file of version 1 as it was first published, with a row in every table.
fn version_1(directory: &Path) -> std::path::PathBuf {
    let path = directory.join("fleet.db");
    let file = Connection::open(&path).unwrap();
    file.execute_batch(include_str!("v1.sql")).unwrap();
    file.close().unwrap();
    path
}

#[tokio::test]
async fn s27_a_file_of_version_1_opens_with_its_data() {
    let directory = tempfile::tempdir().unwrap();
    version_1(directory.path());
    let store = open(directory.path()).unwrap();
    let agent = store
        .agent_by_enrollment_id(&EnrollmentId::from("e1"))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (agent.id.as_str(), agent.policy_revision, &agent.action_position),
        ("a1", Some(2), &Some("7".into()))
    );
    assert_eq!(
        agent.local_metadata.unwrap().as_str(),
        r#"{"host": {"hostname":"box"}, "n":9007199254740993}"#
    );
    assert_eq!(
        store
            .policy(&PolicyId::from("p1"))
            .await
            .unwrap()
            .unwrap()
            .revision,
        2
    );
    assert!(store.token(&TokenId::from("t1")).await.unwrap().unwrap().active);
    // Its keys are good, and nobody else's.
    for (key, owner) in [
        ("key-a1", KeyOwner::Agent("a1".into())),
        ("key-t1", KeyOwner::Token("t1".into())),
    ] {
        let verified = store.verify(&given(key)).await.unwrap();
        assert_eq!(verified, Verification::Active(owner));
    }
    let other = store::ApiKey::from_token("a2V5LWExOm90aGVy").unwrap();
    assert_eq!(other.id, agent.access_key);
    assert_eq!(store.verify(&other).await.unwrap(), Verification::Unknown);
    let pending = store
        .pending_actions(&agent.id, None, agent.action_position.as_ref(), at(0), 10)
        .await
        .unwrap();
    assert_eq!(docs(&pending), ["doc-8"]);
    assert_eq!(
        store
            .results(&ActionId::from("action-7"), all())
            .await
            .unwrap()
            .total
            .count(),
        1
    );
    let summary = &store.policies(all()).await.unwrap().items[0];
    assert_eq!((summary.agents, summary.pending), (1, 0));
    // Counters go on behind rows that are gone.
    let last = store.last_change(ChangeKind::Action).await.unwrap();
    assert_eq!(last.as_str(), "12");
    store.append_actions(vec![action("next", &["a1"])]).await.unwrap();
    let next = store
        .pending_actions(&agent.id, Some(&"next".into()), None, at(0), 10)
        .await
        .unwrap();
    assert_eq!(next.position, Some("31".into()));
    let changes = store
        .changes(ChangeKind::Action, &last, 10, std::time::Duration::ZERO)
        .await
        .unwrap();
    assert_eq!(
        (changes.ids, changes.next.as_str()),
        (vec!["next".to_owned()], "13")
    );
    // An answer of version 1 says what it said.
    let progress = store.action_progress(&ActionId::from("action-7")).await.unwrap();
    assert_eq!((progress.succeeded + progress.failed, progress.cancelled), (1, 0));
    drop(store);
    let copy = directory
        .path()
        .join(format!("fleet.db.before-v{}", MIGRATIONS.len()));
    fs::remove_file(&copy).unwrap();
    open(directory.path()).unwrap();
    assert!(!copy.exists(), "a file of this version is not copied");
}

/// The copy of the schema in the tests is what this program makes: nobody edited a published step.
#[test]
fn s27_version_1_is_what_it_was() {
    let schema = |file: &Connection| {
        let mut rows = file
            .prepare("SELECT name, sql FROM sqlite_schema ORDER BY name")
            .unwrap();
        rows.query_map([], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, Option<String>>(1)?))
        })
        .unwrap()
        .collect::<Result<Vec<_>, _>>()
        .unwrap()
    };
    let directory = tempfile::tempdir().unwrap();
    let published = Connection::open(version_1(directory.path())).unwrap();
    let ours = Connection::open_in_memory().unwrap();
    ours.execute_batch(MIGRATIONS[0]).unwrap();
    let without_space = |schema: Vec<(String, Option<String>)>| {
        schema
            .into_iter()
            .map(|(name, sql)| {
                (
                    name,
                    sql.map(|sql| sql.split_whitespace().collect::<Vec<_>>().join(" ")),
                )
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(without_space(schema(&ours)), without_space(schema(&published)));
}

fn migrated(path: &Path, migrations: &[Migration]) -> Result<Connection, OpenError> {
    let mut file = connection::open_writer(path)?;
    migrate(&mut file, path, migrations).map(|()| file)
}

/// The steps of this program and one more.
fn and(step: Migration) -> Vec<Migration> {
    MIGRATIONS.iter().copied().chain([step]).collect()
}

#[tokio::test]
async fn s27_a_file_of_version_2_takes_bodies() {
    let directory = tempfile::tempdir().unwrap();
    drop(migrated(&version_1(directory.path()), &MIGRATIONS[..2]).unwrap());
    let store = open(directory.path()).unwrap();
    let body = futures_util::stream::iter([Ok("bytes".into())]);
    let terms = store::BlobTerms::at_most(5);
    store
        .put_blob(&"body".into(), Box::pin(body), terms)
        .await
        .unwrap();
    let space = store.blob_space().await.unwrap();
    assert_eq!((space.blobs, space.bytes), (1, 5));
    assert!(store.agent(&"a1".into()).await.unwrap().is_some());
}

const NEXT: Migration = "ALTER TABLE probe ADD COLUMN note TEXT; UPDATE probe SET note = 'new';";

#[test]
fn s27_a_later_version_is_reached_after_a_copy_was_put_aside() {
    let directory = tempfile::tempdir().unwrap();
    let path = version_1(directory.path());
    let (ours, next) = (MIGRATIONS.len(), MIGRATIONS.len() + 1);
    let file = migrated(&path, &and(NEXT)).unwrap();
    let note: String = file
        .query_row("SELECT note FROM probe", [], |row| row.get(0))
        .unwrap();
    assert_eq!(note, "new");
    let copy = directory.path().join(format!("fleet.db.before-v{next}"));
    assert_eq!(fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600);
    let copied = Connection::open(&copy).unwrap();
    let version: i64 = copied
        .query_row("PRAGMA user_version", [], |row| row.get(0))
        .unwrap();
    let agents: i64 = copied
        .query_row("SELECT count(*) FROM agent", [], |row| row.get(0))
        .unwrap();
    let whole: String = copied
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap();
    assert_eq!((version, agents, whole.as_str()), (1, 1, "ok"));
    assert!(
        !directory
            .path()
            .join(format!("fleet.db.before-v{next}.partial"))
            .exists()
    );
    // Back with the version before: refused, both named.
    drop(file);
    let error = open(directory.path()).unwrap_err();
    assert!(
        matches!(error, OpenError::NewerVersion { file, ours: newest, .. }
            if (file, newest) == (next as i64, ours as i64)),
        "{error:?}"
    );
    let text = error.to_string();
    assert!(
        text.contains(&format!("version {next}")) && text.contains(&format!("at most version {ours}")),
        "{text}"
    );
    // And restoring the copy works.
    fs::rename(&copy, &path).unwrap();
    for log in ["fleet.db-wal", "fleet.db-shm"] {
        drop(fs::remove_file(directory.path().join(log)));
    }
    open(directory.path()).unwrap();
}

#[test]
fn s27_a_failed_step_leaves_the_file_as_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let path = version_1(directory.path());
    let broken = "ALTER TABLE probe ADD COLUMN note TEXT; INSERT INTO nowhere VALUES (1);";
    let error = migrated(&path, &and(broken)).unwrap_err();
    let failed = MIGRATIONS.len() as i64 + 1;
    assert!(
        matches!(error, OpenError::Migration { to, .. } if to == failed),
        "{error:?}"
    );
    assert!(error.hint().contains("unchanged"));
    let file = Connection::open(&path).unwrap();
    let version: i64 = file
        .query_row("PRAGMA user_version", [], |row| row.get(0))
        .unwrap();
    assert_eq!(version, failed - 1);
    assert!(file.prepare("SELECT note FROM probe").is_err());
    drop(file);
    // A second attempt puts its copy over the first one's.
    migrated(&path, &and(NEXT)).unwrap();
}

#[test]
fn a_database_of_something_else_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("fleet.db");
    let file = Connection::open(&path).unwrap();
    file.execute_batch("CREATE TABLE mine (x); INSERT INTO mine VALUES (1); PRAGMA user_version = 1;")
        .unwrap();
    drop(file);
    let error = open(directory.path()).unwrap_err();
    assert!(matches!(error, OpenError::Foreign { .. }), "{error:?}");
    let file = Connection::open(&path).unwrap();
    let (x, id): (i64, i64) = file
        .query_row(
            "SELECT x, (SELECT count(*) FROM sqlite_schema) FROM mine",
            [],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .unwrap();
    assert_eq!((x, id), (1, 1));
    let owner: i64 = file
        .query_row("PRAGMA application_id", [], |row| row.get(0))
        .unwrap();
    assert_ne!(owner, APPLICATION_ID);
}

/// Every cause is one line that names the file, and has a remedy.
#[test]
fn every_refusal_is_one_sentence_with_a_remedy() {
    let path = std::path::PathBuf::from("data/fleet.db");
    let io = || std::io::Error::other("no space");
    let why = || rusqlite::Error::InvalidQuery;
    let errors = [
        OpenError::InUse {
            directory: "data".into(),
            pid: Some(7),
        },
        OpenError::InUse {
            directory: "data".into(),
            pid: None,
        },
        OpenError::NotWritable {
            path: path.clone(),
            source: io(),
        },
        OpenError::NewerVersion {
            path: path.clone(),
            file: 3,
            ours: 1,
        },
        OpenError::Foreign { path: path.clone() },
        OpenError::Damaged {
            path: path.clone(),
            source: store::Cause::new("why"),
        },
        OpenError::Migration {
            path: path.clone(),
            to: 2,
            source: why(),
        },
        OpenError::Refused { path, source: why() },
    ];
    let seen = Mutex::new(std::collections::HashSet::new());
    for error in errors {
        let (text, hint) = (error.to_string(), error.hint());
        assert!(text.contains("data") && !text.contains('\n') && !hint.is_empty() && !hint.contains('\n'));
        assert!(seen.lock().unwrap().insert(text), "each has words of its own");
    }
}

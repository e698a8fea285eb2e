//! S26 and S21: two processes, and one that dies without a word.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    io::Read,
    path::Path,
    sync::Arc,
};

use rusqlite::Connection;
use store::{
    Actions as _, AgentId, ApiKey, Engine as _, Keys as _, Policies as _, PolicyId, Position, Store, TokenId,
    conformance::samples::*,
};

use super::{
    super::OpenError,
    child::{Second, role, say},
    open,
};

/// S26, M10: the second is refused with the first's pid; a dead one's lock file does not block.
#[tokio::test]
async fn s26_a_second_process_is_refused_with_the_firsts_pid() {
    let directory = tempfile::tempdir().unwrap();
    let mut first = Second::start("tests::death::child_holds", directory.path());
    assert_eq!(first.hear().as_deref(), Some("open"));
    let error = open(directory.path()).unwrap_err();
    let pid = first.process.id();
    assert!(
        matches!(error, OpenError::InUse { pid: Some(named), .. } if named == pid),
        "{error}"
    );
    let text = error.to_string();
    assert!(text.contains(&format!("in use by process {pid}")), "{text}");
    assert!(error.hint().contains(&pid.to_string()));
    first.kill();
    let lock = std::fs::read_to_string(directory.path().join("fleet.lock")).unwrap();
    assert_eq!(
        lock.trim(),
        pid.to_string(),
        "the dead one's lock file is still there"
    );
    let store = open(directory.path()).unwrap();
    // The same process is refused as well.
    let error = open(directory.path()).unwrap_err();
    assert!(
        matches!(error, OpenError::InUse { pid: Some(own), .. } if own == std::process::id()),
        "{error}"
    );
    store.close().await.unwrap();
    open(directory.path()).unwrap();
}

/// The other process of S26.
#[tokio::test]
async fn child_holds() {
    let Some(directory) = role() else { return };
    let _store = open(&directory).unwrap();
    say("open");
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

/// S21, H8.
#[test]
fn s21_kill_9_loses_nothing_that_was_answered() {
    kill_at_random_points(10);
}

/// S21 in full.
#[test]
#[ignore = "torture: make torture"]
fn s21_kill_9_a_hundred_times() {
    kill_at_random_points(100);
}

fn kill_at_random_points(times: u64) {
    let directory = tempfile::tempdir().unwrap();
    let mut answered = Vec::new();
    for round in 0..times {
        let random = RandomState::new().hash_one(round);
        let mut child = Second::start("tests::death::child_writes", directory.path());
        for _ in 0..random % 400 {
            answered.push(child.hear().expect("the child works until it is killed"));
        }
        // Somewhere inside the work that follows.
        for _ in 0..(random >> 32) % 200_000 {
            std::hint::spin_loop();
        }
        child.kill();
        // What it had said before it died is in the pipe.
        while let Some(said) = child.hear() {
            answered.push(said);
        }
        check(directory.path(), &answered, round);
    }
    assert!(answered.len() as u64 > times, "{} answers", answered.len());
}

/// Writes everything there is to write and says so, until it is killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_writes() {
    let Some(directory) = role() else { return };
    let store: Arc<dyn Store> = Arc::new(open(&directory).unwrap());
    let process = std::process::id();
    let tasks: Vec<_> = (0..8)
        .map(|task| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                for n in 0.. {
                    write_one(&*store, &format!("{process}-{task}-{n}")).await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}

/// One agent's life, each step said once it was answered.
async fn write_one(store: &dyn Store, name: &str) {
    let (agent, p) = (AgentId::from(name), PolicyId::from(name));
    store.append_policy_revision(None, revision(name)).await.unwrap();
    store
        .append_policy_revision(Some(1), revision(name))
        .await
        .unwrap();
    say(&format!("policy {name} 2"));
    let (admitting, key) = store.create_token(token(name, name)).await.unwrap();
    say(&format!("token-key {name} {}", key.to_token()));
    say(&format!("token {name} true"));
    let mut enrolling = enrollment(name, name);
    enrolling.admitted_by = Some(admitting.key);
    let enrolled = store.enroll(enrolling).await.unwrap();
    say(&format!("agent-key {name} {}", enrolled.access_key.to_token()));
    say(&format!("agent {name} true"));
    store.append_actions(vec![action(name, &[name])]).await.unwrap();
    let place = number(place(store, name).await);
    say(&format!("action {name} {place}"));
    store.record_checkins(vec![checkin(name, at(5))]).await.unwrap();
    store.insert_result(result(name, name)).await.unwrap();
    say(&format!("result {name} 1"));
    store.confirm_policy(&agent, &p, 2, at(6)).await.unwrap();
    say(&format!("confirmed {name} 2"));
    store.revoke_token(&TokenId::from(name), at(7)).await.unwrap();
    say(&format!("token {name} false"));
    store.unenroll(&agent, None, at(8)).await.unwrap();
    say(&format!("agent {name} false"));
}

/// Where the action of this name stands.
async fn place(store: &dyn Store, name: &str) -> Option<Position> {
    store
        .pending_actions(&name.into(), Some(&name.into()), None, at(9), 10)
        .await
        .unwrap()
        .position
}

fn number(place: Option<Position>) -> i64 {
    place.unwrap().as_str().parse().unwrap()
}

/// Everything said is there, the file is whole, and numbers go on.
fn check(directory: &Path, answered: &[String], round: u64) {
    let store = open(directory).unwrap();
    let mut newest = 0;
    // The last word about a thing counts; a later step may have been done and not said.
    let said: HashMap<(&str, &str), &str> = answered
        .iter()
        .map(|line| {
            let mut words = line.split(' ');
            let mut word = || words.next().unwrap();
            ((word(), word()), word())
        })
        .collect();
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(async {
            let key = |of: &str, name: &str| {
                let said = said.get(&(of, name)).unwrap();
                ApiKey::from_token(said).unwrap()
            };
            for (&(what, name), &value) in &said {
                match what {
                    "policy" => {
                        let policy = store.policy(&PolicyId::from(name)).await.unwrap().unwrap();
                        assert_eq!(policy.revision.to_string(), value);
                    }
                    "token" => {
                        let token = store.token(&TokenId::from(name)).await.unwrap().unwrap();
                        assert!(!token.active || value == "true");
                        assert_eq!(is_alive(&store, &key("token-key", name)).await, token.active);
                    }
                    "agent" => {
                        let agent = agent(&store, name).await;
                        assert!(!agent.is_active || value == "true");
                        assert_eq!(is_alive(&store, &key("agent-key", name)).await, agent.is_active);
                    }
                    "action" => {
                        let place = number(place(&store, name).await);
                        assert_eq!(place.to_string(), value);
                        newest = newest.max(place);
                        let pending = store
                            .pending_actions(&name.into(), None, None, at(9), 10)
                            .await
                            .unwrap();
                        assert_eq!(pending.actions.len(), 1);
                    }
                    "token-key" | "agent-key" => {}
                    "result" => {
                        assert_eq!(store.results(&name.into(), all()).await.unwrap().total.count(), 1)
                    }
                    "confirmed" => assert_eq!(agent(&store, name).await.policy_revision, Some(2)),
                    other => panic!("{other}"),
                }
            }
            let doc = format!("after round {round}");
            store.append_actions(vec![action(&doc, &[])]).await.unwrap();
            assert!(number(place(&store, &doc).await) > newest);
            store.close().await.unwrap();
        });
    let file = Connection::open(directory.join("fleet.db")).unwrap();
    let whole: String = file
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap();
    assert_eq!(whole, "ok");
    let foreign = file
        .prepare("PRAGMA foreign_key_check")
        .unwrap()
        .exists([])
        .unwrap();
    assert!(!foreign);
    let differs: i64 = file
        .query_row(
            "SELECT count(*) FROM (
                SELECT policy, coalesce(policy_revision, -1), state, last_checkin IS NOT NULL, heard, count(*)
                FROM presence GROUP BY 1, 2, 3, 4, 5 EXCEPT SELECT * FROM census)",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(differs, 0, "the census disagrees with the agents");
}

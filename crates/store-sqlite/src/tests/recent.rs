//! What is kept of recent readings is never another answer than SQLite's, whatever changed it.

use std::sync::Arc;

use proptest::prelude::*;
use store::{
    ActionDocId, Actions as _, AgentId, Agents as _, ApiKey, AuditMark, Keys as _, PolicyId, Position,
    Replacement, UpgradeChange, UpgradeEnd, Verification, conformance::samples::*,
};

use super::Directory;
use crate::{SqliteStore, actions, agents, keys};

#[derive(Clone, Debug)]
enum Deed {
    CheckIn(Option<u8>),
    Confirm,
    Report,
    Upgrade,
    Audit,
    Reassign,
    Append,
    Cancel,
    Expire,
    InvalidateKey,
    Unenroll,
    TakeOver,
    Replace,
}

fn deeds() -> impl Strategy<Value = Vec<(usize, Deed)>> {
    let deed = prop_oneof![
        4 => proptest::option::of(any::<u8>()).prop_map(Deed::CheckIn),
        4 => Just(Deed::Append),
        1 => Just(Deed::Confirm),
        1 => Just(Deed::Report),
        1 => Just(Deed::Upgrade),
        1 => Just(Deed::Audit),
        1 => Just(Deed::Reassign),
        1 => Just(Deed::Cancel),
        1 => Just(Deed::Expire),
        1 => Just(Deed::InvalidateKey),
        1 => Just(Deed::Unenroll),
        1 => Just(Deed::TakeOver),
        1 => Just(Deed::Replace),
    ];
    proptest::collection::vec((0usize..3, deed), 1..24)
}

struct Fleet {
    store: Arc<SqliteStore>,
    keys: Vec<ApiKey>,
    positions: Vec<Option<Position>>,
    appended: u32,
}

impl Fleet {
    async fn does(&mut self, agent: usize, deed: Deed, second: i64) {
        let (store, id) = (&self.store, AgentId::from(IDS[agent]));
        let (now, policy) = (at(second), PolicyId::from("p"));
        match deed {
            Deed::CheckIn(changed) => {
                let mut record = checkin(IDS[agent], now);
                record.local_metadata = changed.map(|byte| json(&format!("{{\"a\":{byte}}}")));
                record.positions.extend(self.positions[agent].clone());
                store.record_checkins(vec![record]).await.unwrap();
            }
            Deed::Confirm => {
                store.confirm_policy(&id, &policy, second, now).await.unwrap();
            }
            Deed::Report => store.report_policy(&id, &policy, second, now).await.unwrap(),
            Deed::Upgrade => {
                let change = UpgradeChange {
                    end: Some(UpgradeEnd::Reached),
                    ..UpgradeChange::default()
                };
                store.change_upgrade(&id, change, now).await.unwrap();
            }
            Deed::Audit => {
                let mark = AuditMark {
                    reason: "orphaned".to_owned(),
                    time: "2026-01-01T00:00:00Z".to_owned(),
                };
                store.mark_audit(&id, mark, now).await.unwrap();
            }
            Deed::Reassign => {
                store.reassign(&[id], &PolicyId::from("q"), now).await.unwrap();
            }
            Deed::Append => {
                self.appended += 1;
                let doc = format!("d{}", self.appended);
                store
                    .append_actions(vec![action(&doc, &[IDS[agent]])])
                    .await
                    .unwrap();
            }
            Deed::Cancel if self.appended > 0 => {
                let mut result = result(&format!("action of d{}", self.appended), IDS[agent]);
                result.outcome = store::ActionOutcome::Cancelled;
                store.insert_result(result).await.unwrap();
            }
            Deed::Cancel => {}
            Deed::Expire => {
                store.delete_expired_actions(at(10_000), 100).await.unwrap();
            }
            Deed::InvalidateKey => store
                .invalidate_keys(&[self.keys[agent].id.clone()], now)
                .await
                .unwrap(),
            Deed::Unenroll => store.unenroll(&id, Some("gone"), now).await.unwrap(),
            Deed::TakeOver | Deed::Replace => {
                let mut enrollment = enrollment(IDS[agent], "p");
                enrollment.replaces = match deed {
                    Deed::Replace => Replacement::Remove(id),
                    _ => Replacement::TakeOver {
                        access_key: self.keys[agent].id.clone(),
                        agent: id,
                    },
                };
                // Refused where the agent is not as it has to be.
                if let Ok(enrolled) = store.enroll(enrollment).await {
                    self.keys[agent] = enrolled.access_key;
                }
            }
        }
    }

    /// Asked twice, so that the second answer may be one that was kept.
    async fn agrees(&mut self, second: i64) {
        for (agent, name) in IDS.iter().enumerate() {
            let id = AgentId::from(*name);
            let store = &self.store;
            let direct = store.find(&id, agents::by_id).await.unwrap();
            let token = Some(ActionDocId::from(format!("d{}", self.appended)));
            for key in &self.keys {
                let stored = store.find(&key.id, keys::by_id).await.unwrap();
                let wrong = given(key.id.as_str());
                for _ in 0..2 {
                    assert_eq!(
                        store.verify(key).await.unwrap(),
                        keys::verify(stored.clone(), key)
                    );
                    assert_eq!(store.verify(&wrong).await.unwrap(), Verification::Unknown);
                }
            }
            for token in [None, token] {
                let stored = direct.as_ref().and_then(|agent| agent.action_position.clone());
                let (id_of, token_of, stored_of) = (id.clone(), token.clone(), stored.clone());
                let (expected, _) = store
                    .read(move |connection| {
                        let asked = (&id_of, token_of.as_ref(), stored_of.as_ref());
                        actions::pending(connection, asked, at(second), 10)
                    })
                    .await
                    .unwrap();
                for _ in 0..2 {
                    assert_eq!(store.agent(&id).await.unwrap(), direct);
                    let pending = store.pending_actions(&id, token.as_ref(), stored.as_ref(), at(second), 10);
                    let pending = pending.await.unwrap();
                    let docs = |pending: &store::Pending| -> Vec<_> {
                        pending.actions.iter().map(|one| one.action.doc.clone()).collect()
                    };
                    assert_eq!(docs(&pending), docs(&expected));
                    assert_eq!(pending.position, expected.position);
                    self.positions[agent] = pending.position;
                }
            }
        }
    }
}

const IDS: [&str; 3] = ["a", "b", "c"];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn o02_o03_o10_what_is_kept_is_what_sqlite_answers(deeds in deeds()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let bench = Directory::new();
            let store = bench.store.clone().unwrap();
            policy(&*store, "p").await;
            policy(&*store, "q").await;
            let mut fleet = Fleet {
                store: Arc::clone(&store),
                keys: Vec::new(),
                positions: vec![None; IDS.len()],
                appended: 0,
            };
            for id in IDS {
                fleet.keys.push(enrolled(&*store, id).await.access_key);
            }
            fleet.agrees(1).await;
            for ((agent, deed), second) in deeds.into_iter().zip(2..) {
                fleet.does(agent, deed, second).await;
                fleet.agrees(second).await;
            }
        });
    }
}

/// S3: readers that ask all the time never see an older state than a writer was told of.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn s03_no_reader_puts_back_what_a_commit_changed() {
    let bench = Directory::new();
    let store = bench.store.clone().unwrap();
    policy(&*store, "p").await;
    let key = enrolled(&*store, "a").await.access_key;
    let (told, watched) = tokio::sync::watch::channel(0);
    let readers: Vec<_> = (0..3)
        .map(|_| {
            let (store, mut watched, key) = (Arc::clone(&store), watched.clone(), key.clone());
            tokio::spawn(async move {
                while watched.has_changed().is_ok() {
                    let least = *watched.borrow_and_update();
                    let agent = store.agent(&"a".into()).await.unwrap().unwrap();
                    assert!(agent.policy_revision.unwrap_or(0) >= least);
                    assert!(matches!(
                        store.verify(&key).await.unwrap(),
                        Verification::Active(_)
                    ));
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    for revision in 1..=300 {
        store
            .confirm_policy(&"a".into(), &"p".into(), revision, at(revision))
            .await
            .unwrap();
        told.send_replace(revision);
    }
    drop(told);
    for reader in readers {
        reader.await.unwrap();
    }
    store
        .invalidate_keys(std::slice::from_ref(&key.id), at(999))
        .await
        .unwrap();
    assert!(matches!(
        store.verify(&key).await.unwrap(),
        Verification::Revoked(_)
    ));
}

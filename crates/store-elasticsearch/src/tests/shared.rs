//! What others do to the same documents: a second writer, Kibana's own, an index that is made anew, a cluster that is gone.

use std::{sync::Arc, time::Duration};

use reqwest::Method;
use serde_json::{Value, json};
use store::{
    AgentId, AgentQuery, Agents as _, ChangeKind, Engine as _, PageRequest, PolicyId, StoreError,
    UnhealthyReason,
    conformance::{Bench as _, samples::*},
};

use super::{bench, cluster::Cluster, nobody};
use crate::{
    Connection, Credentials, ElasticStore, Failure, Flush,
    api_keys::write,
    bulk::{Bulk, Kind},
    connection::{Body, Call},
    document::Members,
    documents::{Documents, Visible},
    index::Index,
};

async fn send(connection: &Connection, method: Method, path: &str, body: &Value) -> Value {
    let call = Call::new(method, path, write(body).unwrap());
    connection.json(call).await.unwrap()
}

async fn read(connection: &Connection, path: &str) -> Value {
    connection
        .json(Call::new(Method::GET, path, Body::None))
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs make elastic-check"]
async fn a_second_writer_loses_nothing_and_takes_nothing_away() {
    let bench = bench().await;
    let store = bench.store();
    enrolled(&*store, "a").await;
    let other = bench.cluster.connect_as_operator();
    let writing = tokio::spawn(async move {
        for n in 1..=100 {
            let body = json!({"doc": {"of_kibana": {"counted": n}, "tags": [format!("tag-{n}")]}});
            let path = "/.fleet-agents/_update/a?retry_on_conflict=20";
            send(&other, Method::POST, path, &body).await;
            tokio::time::sleep(Duration::from_millis(fastrand::u64(0..10))).await;
        }
        other
    });
    for n in 1..=40 {
        let seconds = i64::from(n);
        let mut record = checkin("a", at(seconds));
        record.unhealthy_reason = Some(vec![UnhealthyReason::Output; usize::from(n % 2 == 0)]);
        record.local_metadata = (n % 3 == 0).then(|| json(&format!(r#"{{"n{n}":{n}}}"#)));
        let (policy, id) = (PolicyId::from("p"), AgentId::from("a"));
        let (checked, confirmed) = tokio::join!(
            store.record_checkins(vec![record]),
            store.confirm_policy(&id, &policy, seconds, at(seconds)),
        );
        checked.unwrap();
        assert!(confirmed.unwrap());
    }
    let other = writing.await.unwrap();
    let stored = agent(&*store, "a").await;
    assert_eq!(
        (stored.policy_revision, stored.last_checkin),
        (Some(40), Some(at(40)))
    );
    assert_eq!(stored.tags, ["tag-100"]);
    // The object was replaced, not merged.
    assert_eq!(stored.local_metadata.unwrap().as_str(), r#"{"n39":39}"#);
    let source = read(&other, "/.fleet-agents/_source/a").await;
    assert_eq!(source["of_kibana"], json!({"counted": 100}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs make elastic-check"]
async fn documents_of_others_are_read_as_far_as_they_can_be() {
    let bench = bench().await;
    let store = bench.store();
    let other = bench.cluster.connect_as_operator();
    let make = async |path: &str, body: Value| {
        send(&other, Method::PUT, &format!("{path}?refresh=true"), &body).await
    };
    make(
        "/.fleet-agents/_doc/bare",
        json!({"active": true, "agent": {"id": "bare"}}),
    )
    .await;
    let nulls = json!({"active": true, "policy_id": "p#9.2", "tags": null, "agent": {"id": "nulls"},
        "policy_revision_idx": null, "action_seq_no": null, "unhealthy_reason": null, "upgrade_details": null,
        "last_checkin": 1_767_225_600_000_i64});
    make("/.fleet-agents/_doc/nulls", nulls).await;
    make(
        "/.fleet-agents/_doc/wrong",
        json!({"active": true, "components": 7, "replace_token": {"not": "text"}}),
    )
    .await;
    let bare = agent(&*store, "bare").await;
    assert_eq!(
        (bare.is_active, bare.policy.as_str(), bare.policy_revision),
        (true, "", None)
    );
    let nulls = agent(&*store, "nulls").await;
    assert_eq!(
        (nulls.policy_base.as_str(), nulls.last_checkin),
        ("p", Some(at(0)))
    );
    assert_eq!((nulls.upgrade_details, nulls.action_position), (None, None));
    let wrong = store.agent(&AgentId::from("wrong")).await.unwrap_err();
    assert!(matches!(wrong, StoreError::Corrupt { .. }), "{wrong}");
    // One that cannot be read hides none of the others.
    let listed = store
        .agents(&everyone(), PageRequest::first(10), at(1))
        .await
        .unwrap();
    let mut ids: Vec<_> = listed.items.iter().map(|item| item.agent.id.as_str()).collect();
    ids.sort_unstable();
    assert_eq!(ids, ["bare", "nulls"]);

    let action = json!({"action_id": "of Kibana", "agents": ["nulls"], "type": "UPGRADE",
        "@timestamp": "2026-01-01T00:00:00.123Z", "expiration": "2026-02-01T00:00:00.000Z",
        "data": {"version": "9.6.0"}, "total": 1, "is_automatic": false, "policyId": "p"});
    let heard = store.last_change(ChangeKind::Action).await.unwrap();
    make("/.fleet-actions/_doc/token-1", action).await;
    let changes = store
        .changes(ChangeKind::Action, &heard, 10, Duration::from_secs(30))
        .await
        .unwrap();
    assert_eq!(changes.ids, ["token-1"]);
    let pending = store
        .pending_actions(&"nulls".into(), None, None, at(1), 10)
        .await
        .unwrap();
    assert_eq!(docs(&pending), ["token-1"]);
    assert_eq!((pending.actions[0].index, pending.actions[0].targets), (0, 1));
    assert_eq!(
        pending.actions[0].action.data.as_ref().unwrap().as_str(),
        r#"{"version":"9.6.0"}"#
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs make elastic-check"]
async fn a_checkpoint_that_goes_back_is_noticed() {
    let bench = bench().await;
    let store = bench.store();
    store.append_actions(vec![action("old", &["a"])]).await.unwrap();
    let heard = store.last_change(ChangeKind::Action).await.unwrap();
    let waiting = {
        let (store, heard) = (store.clone(), heard.clone());
        tokio::spawn(async move {
            loop {
                let changes = store
                    .changes(ChangeKind::Action, &heard, 10, Duration::from_secs(60))
                    .await;
                match changes {
                    // The index was gone under the call.
                    Err(StoreError::Unavailable { .. }) => {}
                    done => return done,
                }
            }
        })
    };
    let other = bench.cluster.connect_as_operator();
    let index = "/.fleet-actions-7";
    let known = read(&other, index).await;
    let mapping = &known[".fleet-actions-7"]["mappings"];
    other
        .call(Call::new(Method::DELETE, index, Body::None))
        .await
        .unwrap();
    let body = json!({"mappings": mapping, "aliases": {".fleet-actions": {"is_hidden": true}},
        "settings": {"number_of_shards": 1, "auto_expand_replicas": "0-1", "hidden": true}});
    send(&other, Method::PUT, index, &body).await;
    let told = waiting.await.unwrap();
    let kind = ChangeKind::Action;
    assert_eq!(told.unwrap_err(), StoreError::Trimmed { kind });
    // Read anew, it goes on.
    let heard = store.last_change(kind).await.unwrap();
    store.append_actions(vec![action("new", &["a"])]).await.unwrap();
    let changes = store
        .changes(kind, &heard, 10, Duration::from_secs(30))
        .await
        .unwrap();
    assert_eq!(changes.ids, ["new"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs make elastic-check"]
async fn a_cluster_that_is_gone_is_told_with_its_host() {
    let cluster = Cluster::named();
    let mut settings = cluster.settings(Credentials::ServiceToken(cluster.service_token().await));
    settings.hosts = vec![nobody()];
    let host = format!("127.0.0.1:{}", settings.hosts[0].port().unwrap());
    let store = ElasticStore::start(Connection::new(settings).unwrap(), Flush::default());
    let health = store.health().await;
    assert_eq!((health.readable, health.writable), (false, false));
    assert!(health.reason.unwrap().contains(&host));
    let error = store.agent(&AgentId::from("a")).await.unwrap_err();
    assert!(
        matches!(&error, StoreError::Unavailable { reason, .. } if reason.contains(&host)),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs make elastic-check"]
async fn what_waits_is_sent_when_it_is_enough() {
    let bench = bench().await;
    let connection = Arc::new(bench.cluster.connect_as_server().await);
    let never = Flush {
        after: Duration::from_secs(3600),
        items: 10,
        ..Flush::default()
    };
    let read = |bulk: &Bulk, padding: usize| {
        let bulk = bulk.clone();
        let text = json!({"_index": Index::Agents.name(), "_id": "none", "_source": ["x".repeat(padding)]})
            .to_string();
        tokio::spawn(async move { bulk.ask(Kind::Read, text.into()).await })
    };
    // By items.
    let bulk = Bulk::start(Arc::clone(&connection), never);
    let first: Vec<_> = (0..9).map(|_| read(&bulk, 1)).collect();
    read(&bulk, 1).await.unwrap().unwrap();
    for one in first {
        one.await.unwrap().unwrap();
    }
    // By bytes.
    let bytes = 1000;
    let bulk = Bulk::start(Arc::clone(&connection), Flush { bytes, ..never });
    read(&bulk, 1000).await.unwrap().unwrap();
    // By time.
    let after = Duration::from_millis(20);
    let bulk = Bulk::start(connection, Flush { after, ..never });
    read(&bulk, 1).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs make elastic-check"]
async fn one_refused_item_does_not_refuse_its_neighbours() {
    let bench = bench().await;
    let connection = Arc::new(bench.cluster.connect_as_server().await);
    let documents = Documents::start(connection, Flush::default());
    let with_date = |date: &str| {
        let mut members = Members::default();
        members.set("enrolled_at", &date).unwrap();
        members
    };
    let (good, bad) = (with_date("2026-01-01T00:00:00Z"), with_date("soon"));
    let (one, two, three) = tokio::join!(
        documents.create(Index::Agents, "one", &good, Visible::AtOnce),
        documents.create(Index::Agents, "two", &bad, Visible::AtOnce),
        documents.create(Index::Agents, "three", &good, Visible::AtOnce),
    );
    assert!(one.is_ok() && three.is_ok());
    assert!(
        matches!(two, Err(Failure::Refused { status: 400, .. })),
        "{two:?}"
    );
    let again = documents
        .create(Index::Agents, "one", &good, Visible::AtOnce)
        .await;
    assert!(matches!(again, Err(Failure::VersionConflict)), "{again:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs make elastic-check"]
async fn s17_lists_with_each_filter_and_sort_are_stable() {
    store::conformance::s17_with(&mut bench().await, 500).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs make elastic-check"]
async fn counts_agree_with_the_list() {
    let bench = bench().await;
    let store = bench.store();
    policy(&*store, "p").await;
    for n in 0..10 {
        enrolled(&*store, &format!("a{n}")).await;
    }
    store
        .record_checkins(vec![checkin("a1", at(1)), checkin("a2", at(1))])
        .await
        .unwrap();
    confirm(&*store, "a1", 1).await;
    store.unenroll(&"a3".into(), None, at(2)).await.unwrap();
    for seconds in [2, 400, 20 * 24 * 3600] {
        let query = AgentQuery {
            shows_inactive: true,
            ..AgentQuery::default()
        };
        let listed = store.agents(&query, all(), at(seconds)).await.unwrap();
        let mut counted = store::StatusCounts::new();
        for item in &listed.items {
            *counted.entry(item.status).or_insert(0) += 1;
        }
        assert_eq!(store.count_by_status(&query, at(seconds)).await.unwrap(), counted);
    }
}

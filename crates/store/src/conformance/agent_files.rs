//! O21, O24: files for agents.

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};

use super::{Bench, samples::*};
use crate::{AgentFile, BlobTerms, Conflict, NewAgentFile, Store, StoreError, agent_file_blob};

async fn put(store: &dyn Store, id: &str, seconds: i64, bytes: &'static [u8]) -> crate::Result<AgentFile> {
    let new = NewAgentFile {
        id: id.into(),
        name: format!("{id}.bin"),
        mime_type: "application/x-thing".to_owned(),
        library: None,
        agents: vec!["a".into(), "b".into()],
        at: at(seconds),
    };
    let body = stream::iter([Ok(Bytes::from_static(bytes))]).boxed();
    store.put_agent_file(new, body, BlobTerms::at_most(10)).await
}

/// O21, O24.
pub async fn o21_files_for_agents_come_and_go_with_their_bytes(bench: &mut dyn Bench) {
    let store = bench.store();
    let stored = put(&*store, "f1", 10, b"bytes").await.unwrap();
    assert_eq!((stored.blob.bytes, stored.file.agents.len()), (5, 2));
    let taken = put(&*store, "f1", 11, b"bytes").await.unwrap_err();
    assert!(
        matches!(taken, StoreError::Conflict(Conflict::IdTaken(_))),
        "{taken}"
    );
    let long = put(&*store, "f2", 11, b"more than ten").await.unwrap_err();
    assert!(matches!(long, StoreError::Body(_)), "{long}");
    assert_eq!(store.agent_file(&"f2".into()).await.unwrap(), None);
    put(&*store, "f3", 12, b"other").await.unwrap();
    drop(store);

    bench.restart().await;
    let store = bench.store();
    assert_eq!(store.agent_file(&"f1".into()).await.unwrap(), Some(stored));
    let page = store.agent_files(all()).await.unwrap();
    let ids: Vec<_> = page.items.iter().map(|item| item.file.id.as_str()).collect();
    assert_eq!((page.total.count(), ids), (2, vec!["f3", "f1"]));
    let mut reading = store
        .read_blob(&agent_file_blob(&"f1".into()), 1..4)
        .await
        .unwrap();
    assert_eq!(reading.next().await.unwrap().unwrap(), "yte");
    assert!(store.delete_agent_file(&"f1".into()).await.unwrap());
    assert!(!store.delete_agent_file(&"f1".into()).await.unwrap());
    assert_eq!(store.delete_agent_files(at(12), 10).await.unwrap(), 0);
    assert_eq!(store.delete_agent_files(at(13), 10).await.unwrap(), 1);
    let space = store.blob_space().await.unwrap();
    assert_eq!((space.blobs, space.bytes), (0, 0));
}

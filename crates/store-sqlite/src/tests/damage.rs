//! Damaged files: refused at the start with a remedy, or reported by the operation that met the damage.

use std::{
    fs::{self, OpenOptions},
    io::{Seek, SeekFrom, Write},
    path::Path,
};

use store::{AgentId, Agents as _, Engine as _, KeyOwner, Keys as _, StoreError, conformance::samples::*};

use super::{super::OpenError, open};

async fn filled(directory: &Path) -> Vec<AgentId> {
    let store = open(directory).unwrap();
    let mut ids = Vec::new();
    for n in 0..400 {
        let mut enrollment = enrollment(&format!("agent-{n:04}"), "p");
        enrollment.agent.local_metadata = Some(json(&format!("{{\"filler\":\"{}\"}}", "x".repeat(2000))));
        ids.push(store.enroll(enrollment).await.unwrap().agent.id);
    }
    store.close().await.unwrap();
    ids
}

fn overwrite(file: &Path, from: u64, bytes: usize) {
    let mut file = OpenOptions::new().write(true).open(file).unwrap();
    file.seek(SeekFrom::Start(from)).unwrap();
    file.write_all(&vec![0xA5; bytes]).unwrap();
}

#[tokio::test]
async fn a_damaged_file_is_refused_with_the_remedy() {
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path()).await;
    let file = directory.path().join("fleet.db");
    let whole = fs::read(&file).unwrap();
    type Harm = Box<dyn Fn(&Path)>;
    let harms: Vec<(&str, Harm)> = vec![
        ("no header", Box::new(|file| overwrite(file, 0, 100))),
        ("no schema", Box::new(|file| overwrite(file, 100, 3996))),
        (
            "cut off",
            Box::new(|file| {
                OpenOptions::new()
                    .write(true)
                    .open(file)
                    .unwrap()
                    .set_len(20_000)
                    .unwrap()
            }),
        ),
        (
            "text",
            Box::new(|file| {
                fs::write(file, "not a database, but long enough to be one".repeat(200)).unwrap()
            }),
        ),
    ];
    for (what, harm) in harms {
        fs::write(&file, &whole).unwrap();
        harm(&file);
        let harmed = fs::read(&file).unwrap();
        let error = open(directory.path()).unwrap_err();
        assert!(matches!(error, OpenError::Damaged { .. }), "{what}: {error:?}");
        assert!(error.to_string().contains("is damaged"), "{what}: {error}");
        assert!(error.hint().contains("restore a backup"), "{what}");
        assert_eq!(
            fs::read(&file).unwrap(),
            harmed,
            "{what}: what may be salvaged was left alone"
        );
    }
    fs::write(&file, &whole).unwrap();
    open(directory.path()).unwrap();
}

#[tokio::test]
async fn a_damaged_page_is_reported_by_who_meets_it() {
    let directory = tempfile::tempdir().unwrap();
    let ids = filled(directory.path()).await;
    let file = directory.path().join("fleet.db");
    // The end of the file is full of agents' wide rows.
    let length = fs::metadata(&file).unwrap().len();
    overwrite(&file, length - 40 * 4096, 20 * 4096);
    let store = open(directory.path()).unwrap();
    assert_eq!(store.health().await.reason, None);
    let (mut read, mut damaged) = (0, 0);
    for id in &ids {
        match store.agent(id).await {
            Ok(agent) => {
                assert!(agent.is_some());
                read += 1;
            }
            Err(StoreError::Corrupt { .. }) => damaged += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert!(read > 0 && damaged > 0, "{read} read, {damaged} damaged");
    let reason = store.health().await.reason.unwrap();
    assert!(reason.contains("damaged"), "{reason}");
    // Others are still served, also for writing.
    let key = store
        .issue(KeyOwner::Operator, purpose("k"), at(0))
        .await
        .unwrap();
    assert!(is_alive(&store, &key).await);
    assert!(store.health().await.writable);
}

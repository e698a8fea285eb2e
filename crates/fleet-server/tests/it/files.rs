//! Files that agents send, over TLS, on both listeners, and through kill −9 in the middle of each step.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use test_support::{HttpClient, LIMIT, Request, Response, SimulatedAgent, server_command};

use crate::agents::Scene;

const CHUNK: usize = 4 << 20;

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn transit(file: &[u8]) -> Value {
    let mut hash = Sha256::new();
    file.chunks(CHUNK)
        .for_each(|chunk| hash.update(Sha256::digest(chunk)));
    let hash: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    json!({"transithash": {"sha256": hash}})
}

/// Bytes that no two places share for long.
fn file(bytes: usize) -> Vec<u8> {
    (0u64..)
        .flat_map(|block| Sha256::digest(block.to_be_bytes()))
        .take(bytes)
        .collect()
}

/// An agent with a file for the server.
struct Sender {
    client: HttpClient,
    key: String,
    id: String,
    file: Vec<u8>,
}

impl Sender {
    fn new(scene: &Scene, listener: &str, agent: &SimulatedAgent, file: Vec<u8>) -> Self {
        Self {
            client: scene.facts.client(listener),
            key: agent.access_key.clone(),
            id: agent.id.clone(),
            file,
        }
    }

    fn signed(&self, request: Request) -> Request {
        request.header("Authorization", &format!("ApiKey {}", self.key))
    }

    async fn ask(&self, request: Request) -> Response {
        self.client.request(&self.signed(request)).await.unwrap()
    }

    async fn begin(&self, action: &str) -> String {
        let begun = self.try_to_begin(action, self.file.len()).await;
        assert_eq!(begun.status, 200, "{}", begun.text());
        begun.json()["upload_id"].as_str().unwrap().to_owned()
    }

    async fn try_to_begin(&self, action: &str, size: usize) -> Response {
        let body = json!({
            "action_id": action, "agent_id": self.id, "src": "agent", "contents": null,
            "file": {"name": "diagnostics.zip", "mime_type": "application/zip", "size": size, "hash": {"sha256": ""}},
        });
        self.ask(Request::post_json("/api/fleet/uploads?", &body)).await
    }

    fn chunk(&self, upload: &str, number: usize) -> Request {
        let bytes = self.file.chunks(CHUNK).nth(number).unwrap();
        Request::new("PUT", &format!("/api/fleet/uploads/{upload}/{number}?"))
            .header("Content-Type", "application/json")
            .header("X-Chunk-Sha2", &sha256(bytes))
            .body(bytes)
    }

    async fn put(&self, upload: &str, number: usize) {
        let answer = self.ask(self.chunk(upload, number)).await;
        assert_eq!((answer.status, answer.text().as_str()), (200, ""));
    }

    async fn complete(&self, upload: &str) -> Response {
        let target = format!("/api/fleet/uploads/{upload}?");
        self.ask(Request::post_json(&target, &transit(&self.file))).await
    }
}

fn start(directory: &Path) -> Scene {
    Scene::of(server_command!().directory(directory).quickstart().start())
}

/// The files that bodies are kept in.
fn kept(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory.join("data/blobs")).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// Looks until it is so.
async fn until(mut is_so: impl FnMut() -> bool) {
    let looking = async {
        while !is_so() {
            actix_rt::time::sleep(Duration::from_millis(2)).await;
        }
    };
    actix_rt::time::timeout(LIMIT, looking)
        .await
        .expect("the event came in time");
}

async fn downloaded(scene: &Scene, agent: &str) -> Response {
    let listed = scene
        .admin
        .call("GET", &format!("/agents/{agent}/uploads"), None)
        .await;
    let item = &listed.json()["items"][0];
    assert_eq!(
        (&item["status"], &item["name"]),
        (&json!("READY"), &json!("diagnostics.zip"))
    );
    let path = item["filePath"]
        .as_str()
        .unwrap()
        .strip_prefix("/api/fleet")
        .unwrap();
    scene.admin.call("GET", path, None).await
}

/// UPL-08, UPL-16, AC-79 and AC-80 over TLS, with the server killed in the middle of a chunk, behind a chunk and behind
/// the end.
#[actix_rt::test]
async fn upl_08_16_ac_79_80_an_upload_survives_kill_9_in_each_of_its_steps() {
    let directory = tempfile::tempdir().unwrap();
    let scene = start(directory.path());
    let agent = scene.enroll().await;
    let bytes = file(2 * CHUNK + 1);
    let sender = Sender::new(&scene, "url", &agent, bytes.clone());
    let upload = sender.begin("a1").await;
    drop(scene.server.kill());

    // Behind the beginning: it is repeated, as an agent does whose connection broke.
    let scene = start(directory.path());
    let sender = Sender::new(&scene, "internal_url", &agent, bytes.clone());
    assert_eq!(sender.begin("a1").await, upload);
    sender.put(&upload, 2).await;
    assert_eq!(kept(directory.path()).len(), 1);
    // In the middle of a chunk: the server has written a part of it.
    let mut connection = sender.client.connect().await.unwrap();
    let whole = sender.signed(sender.chunk(&upload, 0)).to_bytes();
    connection.send_raw(&whole[..whole.len() - 1000]).await.unwrap();
    until(|| kept(directory.path()).len() == 2).await;
    drop(scene.server.kill());
    assert_eq!(kept(directory.path()).len(), 2);

    let scene = start(directory.path());
    assert_eq!(kept(directory.path()).len(), 1, "what was not whole is gone");
    let sender = Sender::new(&scene, "url", &agent, bytes.clone());
    let early = sender.complete(&upload).await;
    assert_eq!(
        (early.status, early.error_name().as_str()),
        (400, "ErrMissingChunks")
    );
    sender.put(&upload, 0).await;
    drop(scene.server.kill());

    let scene = start(directory.path());
    let sender = Sender::new(&scene, "internal_url", &agent, bytes.clone());
    sender.put(&upload, 0).await;
    sender.put(&upload, 1).await;
    assert_eq!(sender.complete(&upload).await.json(), json!({"status": "ok"}));
    drop(scene.server.kill());

    let scene = start(directory.path());
    let download = downloaded(&scene, &agent.id).await;
    assert_eq!(download.status, 200);
    assert!(download.body == bytes, "the file came back as it was sent");
    assert_eq!(download.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(
        download.header("content-disposition"),
        Some("attachment; filename=\"diagnostics.zip\"; filename*=UTF-8''diagnostics.zip")
    );
    let sender = Sender::new(&scene, "url", &agent, bytes);
    let again = sender.complete(&upload).await;
    assert_eq!(
        (again.status, again.error_name().as_str()),
        (400, "ErrStatusNoUploads")
    );
    // Removed, and killed behind it.
    let listed = scene
        .admin
        .call("GET", &format!("/agents/{}/uploads", agent.id), None)
        .await;
    let id = listed.json()["items"][0]["id"].as_str().unwrap().to_owned();
    let removed = scene
        .admin
        .call("DELETE", &format!("/agents/files/{id}"), None)
        .await;
    assert_eq!(removed.json(), json!({"id": id, "deleted": true}));
    drop(scene.server.kill());
    let scene = start(directory.path());
    assert!(kept(directory.path()).is_empty());
    let gone = scene
        .admin
        .call("GET", &format!("/agents/files/{id}/x"), None)
        .await;
    assert_eq!(gone.status, 404);
}

/// UPL-05: many agents at once, over TLS, at the edge of the quota of all files; then kill −9, also in the middle of an
/// operator's file, which holds its room no longer than it comes.
#[actix_rt::test]
async fn upl_05_what_was_announced_holds_its_room_through_kill_9() {
    const SIZE: usize = 1 << 20;
    // Four uploads with their records, and less than one more.
    const QUOTA: usize = 5 * SIZE - (100 << 10);
    let directory = tempfile::tempdir().unwrap();
    let start = || {
        let command = server_command!().directory(directory.path()).quickstart();
        let command = command.set("files.max_total_size", &QUOTA.to_string());
        Scene::of(command.allow_log("there is no room for the file").start())
    };
    let scene = start();
    let mut agents = Vec::new();
    for _ in 0..12 {
        agents.push(scene.enroll().await);
    }
    let senders = |scene: &Scene| -> Vec<Sender> {
        let of = |agent| Sender::new(scene, "url", agent, file(SIZE));
        agents.iter().map(of).collect()
    };
    let all_begin = async |senders: &[Sender]| {
        let beginnings = senders.iter().map(|sender| sender.try_to_begin("a1", SIZE));
        let answers = futures_util::future::join_all(beginnings).await;
        let mut begun = Vec::new();
        for (at, answer) in answers.iter().enumerate() {
            match answer.status {
                200 => begun.push((at, answer.json()["upload_id"].as_str().unwrap().to_owned())),
                _ => assert_eq!(
                    (answer.status, answer.error_name().as_str()),
                    (507, "ErrStorageFull")
                ),
            }
        }
        begun
    };
    let begun = all_begin(&senders(&scene)).await;
    assert_eq!(begun.len(), 4, "{begun:?}");
    drop(scene.server.kill());

    let scene = start();
    let sending = senders(&scene);
    assert_eq!(all_begin(&sending).await, begun);
    // One is whole, one has failed: the one keeps its room, the other gives it back to an operator's file.
    let (whole, failed) = (&begun[0], &begun[1]);
    sending[whole.0].put(&whole.1, 0).await;
    assert_eq!(sending[whole.0].complete(&whole.1).await.status, 200);
    sending[failed.0].put(&failed.1, 0).await;
    let other = json!({"transithash": {"sha256": sha256(b"")}});
    let target = format!("/api/fleet/uploads/{}?", failed.1);
    let ended = sending[failed.0].ask(Request::post_json(&target, &other)).await;
    assert_eq!(
        (ended.status, ended.error_name().as_str()),
        (400, "ErrFailValidation")
    );
    let lay_down = Request::new("POST", "/api/fleet/files?source=x")
        .header(
            "Authorization",
            &format!("ApiKey {}", scene.facts.admin_api_key()),
        )
        .header("Content-Type", "application/octet-stream")
        .header("kbn-xsrf", "1")
        .body(file(SIZE));
    let mut connection = scene.facts.client("admin_url").connect().await.unwrap();
    let bytes = lay_down.to_bytes();
    connection.send_raw(&bytes[..bytes.len() - 1000]).await.unwrap();
    until(|| kept(directory.path()).len() == 2).await;
    let is_begun = |at: usize| begun.iter().any(|(begun, _)| *begun == at);
    let another = (0..agents.len()).find(|at| !is_begun(*at)).unwrap();
    let refused = sending[another].try_to_begin("a1", SIZE).await;
    assert_eq!(
        (refused.status, refused.error_name().as_str()),
        (507, "ErrStorageFull")
    );
    drop(scene.server.kill());

    let scene = start();
    let sending = senders(&scene);
    assert_eq!(sending[another].try_to_begin("a1", SIZE).await.status, 200);
    let refused = sending[failed.0].try_to_begin("a1", SIZE).await;
    assert_eq!(
        (refused.status, refused.error_name().as_str()),
        (507, "ErrStorageFull")
    );
}

/// An operator lays a file down, an agent fetches it, and the server is killed in the middle of and behind each step.
#[actix_rt::test]
async fn fil_a_file_for_an_agent_survives_kill_9_in_each_of_its_steps() {
    let directory = tempfile::tempdir().unwrap();
    let scene = start(directory.path());
    let agent = scene.enroll().await;
    let bytes = file(2 * CHUNK + 1);
    let lay_down = |scene: &Scene| {
        Request::new(
            "POST",
            &format!("/api/fleet/files?agents={}&name=f.bin", agent.id),
        )
        .header(
            "Authorization",
            &format!("ApiKey {}", scene.facts.admin_api_key()),
        )
        .header("Content-Type", "application/octet-stream")
        .header("kbn-xsrf", "1")
        .body(bytes.clone())
    };
    // In the middle of the file: the server has written a part of it.
    let mut connection = scene.facts.client("admin_url").connect().await.unwrap();
    let whole = lay_down(&scene).to_bytes();
    connection.send_raw(&whole[..whole.len() - 1000]).await.unwrap();
    until(|| kept(directory.path()).len() == 1).await;
    drop(scene.server.kill());

    let scene = start(directory.path());
    assert_eq!(
        kept(directory.path()),
        [] as [PathBuf; 0],
        "what was not whole is gone"
    );
    let listed = scene.admin.call("GET", "/files", None).await.json();
    assert_eq!(listed["total"], 0);
    let answer = scene
        .facts
        .client("admin_url")
        .request(&lay_down(&scene))
        .await
        .unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    let id = answer.json()["item"]["id"].as_str().unwrap().to_owned();
    drop(scene.server.kill());

    // In the middle of the delivery: the agent has the first part, and asks for the rest.
    let scene = start(directory.path());
    let fetch = |range: Option<String>| {
        let request = Request::get(&format!("/api/fleet/file/{id}"))
            .header("Authorization", &format!("ApiKey {}", agent.access_key))
            .header("User-Agent", "Elastic Agent v9.6.0");
        match range {
            Some(range) => request.header("Range", &range),
            None => request,
        }
    };
    let mut connection = scene.facts.client("url").connect().await.unwrap();
    connection.send(&fetch(None)).await.unwrap();
    let begun = connection.receive_raw(100_000).await.unwrap();
    drop(scene.server.kill());
    let end = begun.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
    let mut had = begun[end..].to_vec();
    assert!(String::from_utf8_lossy(&begun[..end]).starts_with("HTTP/1.1 200"));
    let scene = start(directory.path());
    let client = scene.facts.client("internal_url");
    let rest = client
        .request(&fetch(Some(format!("bytes={}-", had.len()))))
        .await
        .unwrap();
    assert_eq!(rest.status, 206);
    had.extend(rest.body);
    assert!(had == bytes, "the file came as it was laid down");
    assert_eq!(
        hash_of(&client.request(&fetch(None)).await.unwrap()),
        sha256(&bytes)
    );

    // Removed, and killed behind it.
    let removed = scene.admin.call("DELETE", &format!("/files/{id}"), None).await;
    assert_eq!(removed.status, 200);
    drop(scene.server.kill());
    let scene = start(directory.path());
    assert_eq!(kept(directory.path()), [] as [PathBuf; 0]);
    let gone = scene.facts.client("url").request(&fetch(None)).await.unwrap();
    assert_eq!((gone.status, gone.error_name().as_str()), (404, "ErrNoFile"));
}

/// The hash that the server says, of a body that has it.
fn hash_of(response: &Response) -> String {
    let said = response.header("x-file-sha2").unwrap().to_owned();
    assert_eq!(sha256(&response.body), said);
    said
}

/// C14 from the operator's request to the zip: the command asks, an agent sends, the command saves.
#[actix_rt::test]
async fn c14_diagnostics_on_the_command_line() {
    let directory = tempfile::tempdir().unwrap();
    let scene = start(directory.path());
    let mut agent = scene.enroll().await;
    let first = agent.checkin().await.unwrap();
    agent.apply(&first).await.unwrap();
    agent.begin_checkin().await.unwrap();
    let zip = directory.path().join("x.zip");
    let command = |words: &[&str]| {
        let mut command = server_command!().directory(directory.path());
        for (place, word) in words.iter().enumerate() {
            command = match place {
                0 => command.sub_command(word),
                _ => command.arg(*word),
            };
        }
        command
    };
    let asking = {
        let command = command(&[
            "agents",
            "diagnostics",
            &agent.id,
            "--output",
            zip.to_str().unwrap(),
        ]);
        std::thread::spawn(move || command.output())
    };
    let checkin = agent.end_checkin(LIMIT).await.unwrap();
    let asked = checkin.of_type("REQUEST_DIAGNOSTICS");
    let action = asked[0]["id"].as_str().unwrap().to_owned();
    let bytes = file(CHUNK + 5);
    let sender = Sender::new(&scene, "url", &agent, bytes.clone());
    let upload = sender.begin(&action).await;
    for number in [0, 1] {
        sender.put(&upload, number).await;
    }
    assert_eq!(sender.complete(&upload).await.status, 200);
    let mut event = agent.ack_event(asked[0]);
    event["data"] = json!({"upload_id": upload});
    agent.ack_events(&[event]).await.unwrap();
    let (code, out, err) = asking.join().unwrap();
    assert_eq!(code, 0, "{err}");
    assert!(out.contains(&format!("asked agent {}", agent.id)), "{out}");
    assert!(
        out.ends_with(&format!("{}: {} bytes\n", zip.display(), bytes.len())),
        "{out}"
    );
    assert!(std::fs::read(&zip).unwrap() == bytes);

    let id = format!("{action}.{}", agent.id);
    let (code, out, err) = command(&["uploads", "list", &agent.id, "-o", "wide"]).output();
    assert_eq!(code, 0, "{err}");
    assert!(
        out.contains(&format!("\n{id}  ")) && out.contains("READY") && out.contains("diagnostics.zip"),
        "{out}"
    );
    // What is there already is not written over.
    let (code, _, err) = command(&["uploads", "get", &id, "--output", zip.to_str().unwrap()]).output();
    assert!(code == 1 && err.contains("exists"), "{err}");
    let (code, out, err) = command(&["fsck"]).output();
    assert_eq!(
        (code, out.as_str()),
        (0, format!("2 files, {} bytes; 0 faults\n", bytes.len()).as_str()),
        "{err}"
    );
    let copy = directory.path().join("copy");
    let (code, out, err) = command(&["backup", copy.to_str().unwrap()]).output();
    assert!(code == 0 && out.contains("2 files"), "{out}{err}");
    let (code, out, err) = command(&["uploads", "delete", &id]).output();
    assert_eq!((code, out), (0, format!("{id} is removed\n")), "{err}");
    let (code, _, err) = command(&["uploads", "get", &id]).output();
    assert!(code == 4 && err.contains("answered 404"), "{err}");
}

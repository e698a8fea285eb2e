//! What was answered is there after a restart and after a kill.

use std::{
    cell::RefCell,
    rc::Rc,
    time::{Duration, Instant},
};

use fleet::Timestamp;
use serde_json::{Value, json};
use test_support::{AgentError, HttpClient, LIMIT, Request, SimulatedAgent, server_command};
use tokio::sync::{Mutex, Notify};

use crate::agents::Scene;

#[actix_rt::test]
async fn a_restart_keeps_everything() {
    let scene = Scene::start();
    let mut agent = scene.enroll().await;
    let first = agent.checkin().await.unwrap();
    agent.apply(&first).await.unwrap();
    let created = scene
        .admin
        .create_policy(&json!({"name": "second", "namespace": "default"}))
        .await;
    let Scene { server, facts, .. } = scene;
    let directory = tempfile::tempdir().unwrap();
    let killed = server.kill();
    copy(
        killed.directory().join("data").as_path(),
        &directory.path().join("data"),
    );

    let again = Scene::of(server_command!().directory(directory.path()).quickstart().start());
    assert_eq!(
        again.facts.enrollment_token(),
        facts.enrollment_token(),
        "a second start reuses all of it"
    );
    assert_eq!(again.facts.admin_api_key(), facts.admin_api_key());
    assert_eq!(again.facts.get("ca_sha256"), facts.get("ca_sha256"));
    assert_eq!(
        again.admin.policy(created["id"].as_str().unwrap()).await["revision"],
        1
    );
    let client = again.facts.client("url");
    let mut agent = SimulatedAgent::with_credentials(&client, &agent.id, &agent.access_key);
    agent.policy = Some((facts.policy_id().to_owned(), 1));
    agent.begin_checkin().await.unwrap();
    again.admin.touch_policy(facts.policy_id()).await;
    assert!(agent.end_checkin(LIMIT).await.unwrap().policy().is_some());
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// What the server has answered so far; nothing else may be expected of it after a crash.
#[derive(Default)]
struct Answered {
    agents: Vec<AnsweredAgent>,
    revision: i64,
    items: usize,
}

struct AnsweredAgent {
    id: String,
    access_key: String,
    acknowledged: Option<i64>,
    /// When its last check-in was sent.
    checked_in: Option<Timestamp>,
    /// An action whose result was answered, with the token that came with it.
    result: Option<(String, String)>,
    has_action: bool,
    is_gone: bool,
}

/// One of those who enrol, acknowledge and operate without pause, until the server is gone.
struct Worker {
    agents: HttpClient,
    admin: HttpClient,
    token: String,
    operator: String,
    policy: String,
    answered: Rc<RefCell<Answered>>,
    progress: Rc<Notify>,
    since: Instant,
    /// Held by the writer that changes the policy: too many at once are told to come back later.
    editor: Rc<Mutex<()>>,
}

impl Worker {
    /// Whatever ends it: the first request without an answer.
    async fn run(self) -> AgentError {
        loop {
            if let Err(ended) = self.round().await {
                return ended;
            }
        }
    }

    async fn round(&self) -> Result<(), AgentError> {
        let mut agent = SimulatedAgent::enroll(&self.agents, &self.token).await?;
        let place = self.note(|answered| {
            answered.agents.push(AnsweredAgent {
                id: agent.id.clone(),
                access_key: agent.access_key.clone(),
                acknowledged: None,
                checked_in: None,
                result: None,
                has_action: false,
                is_gone: false,
            });
            answered.agents.len() - 1
        });
        let now = Timestamp::now();
        let first = agent.checkin().await?;
        let revision = first.policy().unwrap()["revision"].as_i64().unwrap();
        self.note(|answered| answered.agents[place].checked_in = Some(now));
        agent.apply(&first).await?;
        self.note(|answered| answered.agents[place].acknowledged = Some(revision));
        let actions = format!("/api/fleet/agents/{}/actions", agent.id);
        let settings = json!({"action": {"type": "SETTINGS", "data": {"log_level": "info"}}});
        self.operate(&actions, "POST", &settings).await?;
        // A policy that came meanwhile is due before the action.
        let delivered = agent
            .checkin_until(|checkin| !checkin.of_type("SETTINGS").is_empty())
            .await?;
        let action = delivered.of_type("SETTINGS")[0];
        agent.ack(&[action]).await?;
        let result = (
            action["id"].as_str().unwrap().to_owned(),
            delivered.ack_token.clone(),
        );
        self.note(|answered| answered.agents[place].result = Some(result));
        if place.is_multiple_of(4) {
            self.operate(&actions, "POST", &json!({"action": {"type": "UNENROLL"}}))
                .await?;
            let delivered = agent
                .checkin_until(|checkin| !checkin.of_type("UNENROLL").is_empty())
                .await?;
            agent.ack(&[delivered.of_type("UNENROLL")[0]]).await?;
            self.note(|answered| answered.agents[place].is_gone = true);
        } else {
            self.operate(&actions, "POST", &settings).await?;
            self.note(|answered| answered.agents[place].has_action = true);
        }
        let _editor = self.editor.lock().await;
        let path = format!("/api/fleet/agent_policies/{}", self.policy);
        let changed = json!({"name": "Default policy", "namespace": "default"});
        let stored = self.operate(&path, "PUT", &changed).await?;
        let revision = stored["item"]["revision"].as_i64().unwrap();
        self.note(|answered| answered.revision = answered.revision.max(revision));
        Ok(())
    }

    async fn operate(&self, path: &str, method: &str, body: &Value) -> Result<Value, AgentError> {
        let request = Request::new(method, path)
            .header("Content-Type", "application/json")
            .header("Authorization", &self.operator)
            .header("kbn-xsrf", "true")
            .body(body.to_string().into_bytes());
        let response = self
            .admin
            .request(&request)
            .await
            .map_err(AgentError::Connection)?;
        assert_eq!(response.status, 200, "{path}: {}", response.text());
        Ok(response.json())
    }

    fn note<T>(&self, change: impl FnOnce(&mut Answered) -> T) -> T {
        let mut answered = self.answered.borrow_mut();
        answered.items += 1;
        if answered.items >= ITEMS_BEFORE_KILL && self.since.elapsed() >= LOAD {
            self.progress.notify_one();
        }
        change(&mut answered)
    }
}

/// Enough that the store's groups are full and its log was written over many commits.
const ITEMS_BEFORE_KILL: usize = 200;
const WORKERS: usize = 8;
/// How old a check-in may be that a kill takes away.
const OLDEST: Duration = Duration::from_secs(10);
/// Long enough that there are older ones, each more than a batch's way to the disk.
const LOAD: Duration = Duration::from_secs(14);

#[actix_rt::test]
async fn h8_kill_9_under_load_loses_nothing_that_was_answered() {
    let Scene { server, facts, .. } = Scene::of(
        server_command!()
            .quickstart()
            .set("inputs.0.server.limits.max_agents", "-1")
            .set("inputs.0.server.limits.enroll_limit.interval", "-1")
            .start(),
    );
    let answered: Rc<RefCell<Answered>> = Rc::default();
    let progress: Rc<Notify> = Rc::default();
    let editor: Rc<Mutex<()>> = Rc::default();
    let workers: Vec<_> = (0..WORKERS)
        .map(|_| {
            let worker = Worker {
                agents: facts.client("url"),
                admin: facts.client("admin_url"),
                token: facts.enrollment_token().to_owned(),
                operator: format!("ApiKey {}", facts.admin_api_key()),
                policy: facts.policy_id().to_owned(),
                answered: Rc::clone(&answered),
                progress: Rc::clone(&progress),
                since: Instant::now(),
                editor: Rc::clone(&editor),
            };
            actix_rt::spawn(worker.run())
        })
        .collect();
    actix_rt::time::timeout(LIMIT, progress.notified())
        .await
        .expect("the load goes on");
    assert!(
        workers.iter().all(|worker| !worker.is_finished()),
        "somebody was refused"
    );
    // Nobody is answered between this and the end: the workers live on this thread.
    let killed_at = Timestamp::now();
    let killed = server.kill();
    for worker in workers {
        let ended = worker.await.unwrap();
        assert_eq!(ended.status(), 0, "refused: {ended}");
    }

    let again = Scene::of(
        server_command!()
            .directory(killed.directory())
            .quickstart()
            .start(),
    );
    let answered = answered.take();
    let revision = again.admin.policy(facts.policy_id()).await["revision"]
        .as_i64()
        .unwrap();
    // The change that was under way may have been stored or not.
    assert!(
        (answered.revision..=answered.revision + 1).contains(&revision),
        "revision {} was answered, {revision} is stored",
        answered.revision
    );
    let oldest = killed_at.minus(OLDEST + Duration::from_secs(1));
    let mut seen = [0; 4];
    for answered in &answered.agents {
        let shown = again.admin.agent(&answered.id).await;
        if let Some(checked_in) = answered.checked_in.filter(|at| *at < oldest) {
            let stored = shown["last_checkin"].as_str().and_then(Timestamp::parse);
            assert!(
                stored.is_some_and(|stored| stored >= checked_in.minus(SECOND)),
                "{shown}"
            );
            seen[0] += 1;
        }
        if let Some((action, _)) = &answered.result {
            let path = format!("/agents/actions/{action}");
            let progress = again.admin.call("GET", &path, None).await.json();
            assert_eq!(progress["item"]["status"], "COMPLETE", "{progress}");
            seen[1] += 1;
        }
        if answered.is_gone {
            assert_eq!(shown["active"], false, "{shown}");
            let mut agent = of(&again, answered);
            assert_eq!(agent.checkin().await.unwrap_err().status(), 401);
            seen[2] += 1;
        } else if let Some(acknowledged) = answered.acknowledged {
            assert_eq!(shown["policy_revision"], acknowledged, "{shown}");
        }
        if answered.has_action {
            // Numbers go on: what is posted now comes behind what was answered before, and nothing comes twice.
            let settings = json!({"type": "SETTINGS", "data": {"log_level": "debug"}});
            again.admin.post_action(&answered.id, &settings).await;
            let mut agent = of(&again, answered);
            let delivered = agent.checkin().await.unwrap();
            let levels: Vec<_> = delivered
                .of_type("SETTINGS")
                .iter()
                .map(|action| action["data"]["log_level"].clone())
                .collect();
            assert_eq!(levels, ["info", "debug"], "{}", answered.id);
            seen[3] += 1;
        }
    }
    assert!(seen.iter().all(|count| *count > 0), "{seen:?}");
    assert_eq!(again.admin.touch_policy(facts.policy_id()).await, revision + 1);
}

/// It sends the token that came with the result it answered.
fn of(scene: &Scene, answered: &AnsweredAgent) -> SimulatedAgent {
    let client = scene.facts.client("url");
    let mut agent = SimulatedAgent::with_credentials(&client, &answered.id, &answered.access_key);
    agent.ack_token = answered.result.as_ref().map(|(_, token)| token.clone());
    agent
}

/// Times of records are whole seconds.
const SECOND: Duration = Duration::from_secs(1);

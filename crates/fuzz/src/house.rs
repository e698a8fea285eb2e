//! The real domain on the real embedded store in a temporary directory, and its APIs: one for each thread, started
//! by the first input, with limits that a single hasty client does not meet.

use std::{cell::RefCell, collections::HashMap, future::Future, rc::Rc, sync::Arc, time::Duration};

use actix_http::Request;
use actix_rt::SystemRunner;
use actix_web::{
    Error,
    body::{BoxBody, to_bytes},
    dev::{Service, ServiceResponse},
    test::{TestRequest, init_service},
    web::Bytes,
};
use api::{
    AdminApi, AdminOptions, AgentApi, AgentOptions, HttpMetrics, Limits, Route, RouteLimits, SigningKey,
    SigningKeyError, TlsAdmin,
};
use async_trait::async_trait;
use fleet::{Fleet, ReplaceTokenHashing, Settings, Timestamp, operators};
use futures_util::future::LocalBoxFuture;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use store::StoreMetrics;
use store_sqlite::{OpenOptions, SqliteStore};
use tempfile::TempDir;
use tokio::time::timeout;

/// What a client sees of an answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

type Face = Rc<dyn Fn(Request) -> LocalBoxFuture<'static, Answer>>;

pub(crate) struct House {
    system: SystemRunner,
    pub(crate) api: AgentApi,
    agents: Face,
    operators: Face,
    /// What stands in inputs for what differs from run to run: `{agent}`, `{key}`, `{token}`, `{admin}`, `{action}`,
    /// `{file}` and `{artifact}` (identifier and digest).
    names: HashMap<&'static str, String>,
    upload: RefCell<String>,
    /// Id and key.
    departing: RefCell<(String, String)>,
    _directory: TempDir,
}

thread_local! {
    static HOUSE: House = House::start();
}

/// Calls `with` on this thread's house.
pub(crate) fn house<T>(with: impl FnOnce(&House) -> T) -> T {
    HOUSE.with(with)
}

impl House {
    fn start() -> Self {
        let system = actix_rt::System::new();
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (fleet, admin) = system.block_on(domain(&directory));
        let metrics = HttpMetrics::register(&mut Registry::default());
        let options = AgentOptions {
            limits: roomy(),
            ..AgentOptions::default()
        };
        let api = AgentApi::new(Arc::clone(&fleet), Arc::new(Fixed), options, metrics.clone());
        let admin_api = AdminApi::new(fleet, Arc::new(Fixed), AdminOptions::default(), metrics);
        let (agents, operators) = system.block_on(async {
            let agents = face(init_service(api.app()).await);
            (agents, face(init_service(admin_api.app()).await))
        });
        let mut house = Self {
            system,
            api,
            agents,
            operators,
            names: HashMap::from([("{admin}", admin)]),
            upload: RefCell::default(),
            departing: RefCell::default(),
            _directory: directory,
        };
        house.move_in();
        house
    }

    /// A policy with its token, an agent that runs it, an action that waits for the agent.
    fn move_in(&mut self) {
        let policy = json!({"id": "P", "name": "P", "namespace": "default"});
        let created = self.operator(
            "POST",
            "/api/fleet/agent_policies",
            "application/json",
            policy.to_string(),
        );
        let token = text(&created, "/enrollment_api_key/api_key");
        self.names.insert("{token}", token);
        let (agent, key) = self.enrolled();
        self.names.insert("{agent}", agent);
        self.names.insert("{key}", key);
        let action = json!({"action": {"type": "SETTINGS", "data": {"log_level": "debug"}}});
        let path = format!("/api/fleet/agents/{}/actions", self.names["{agent}"]);
        let posted = self.operator("POST", &path, "application/json", action.to_string());
        self.names.insert("{action}", text(&posted, "/item/id"));
        let path = format!("/api/fleet/files?agents={}", self.names["{agent}"]);
        let laid_down = self.operator("POST", &path, "application/x-thing", FILE);
        self.names.insert("{file}", text(&laid_down, "/item/id"));
        let stored = self.operator(
            "PUT",
            "/api/fleet/artifacts/list",
            "application/octet-stream",
            "[]",
        );
        let digest = text(&stored, "/item/entry/decoded_sha256");
        let entry = json!({"artifact_manifest": {"artifacts": {"list": {
            "decoded_sha256": digest, "relative_url": format!("/api/fleet/artifacts/list/{digest}")}}}});
        let policy = json!({"overrides": {"inputs": [{"id": "e", "type": "endpoint", "artifact_manifest": entry["artifact_manifest"]}]}});
        self.operator(
            "PUT",
            "/api/fleet/agent_policies/P",
            "application/json",
            policy.to_string(),
        );
        self.names.insert("{artifact}", format!("list/{digest}"));
    }

    /// `input` with the names filled in.
    pub(crate) fn fill(&self, input: &[u8]) -> Vec<u8> {
        let mut filled = Vec::with_capacity(input.len());
        let mut rest = input;
        while let Some(at) = rest.iter().position(|byte| *byte == b'{') {
            let (before, from) = rest.split_at(at);
            filled.extend_from_slice(before);
            let known = self
                .names
                .iter()
                .find(|(name, _)| from.starts_with(name.as_bytes()));
            let (put, taken) = known.map_or((&b"{"[..], 1), |(name, value)| (value.as_bytes(), name.len()));
            filled.extend_from_slice(put);
            rest = &from[taken..];
        }
        filled.extend_from_slice(rest);
        filled
    }

    /// A request of an agent with this key; `None`: it waits.
    pub(crate) fn agent(&self, path: &str, key: &str, body: impl Into<Vec<u8>>) -> Option<Answer> {
        self.agent_coded(path, key, body, None)
    }

    /// The same with a body that is coded.
    pub(crate) fn agent_coded(
        &self,
        path: &str,
        key: &str,
        body: impl Into<Vec<u8>>,
        coding: Option<&str>,
    ) -> Option<Answer> {
        let mut request = TestRequest::post()
            .uri(&self.text(path))
            .insert_header(("user-agent", "Elastic Agent v9.6.0"))
            .set_payload(body.into());
        if let Some(coding) = coding {
            request = request.insert_header(("content-encoding", coding));
        }
        self.ask_as_agent(
            key,
            request,
            if path.ends_with("/checkin") { POLL } else { LIMIT },
        )
    }

    /// Any request of an agent with this key, which is answered.
    pub(crate) fn of_agent(&self, key: &str, request: TestRequest) -> Answer {
        self.ask_as_agent(key, request, LIMIT).expect("an answer")
    }

    fn ask_as_agent(&self, key: &str, request: TestRequest, patience: Duration) -> Option<Answer> {
        let request = request.insert_header(("authorization", format!("ApiKey {}", self.text(key))));
        let answer = (self.agents)(request.to_request());
        self.block_on(async {
            let answer = timeout(patience, answer).await.ok();
            assert!(patience == POLL || answer.is_some(), "no answer");
            answer
        })
    }

    /// [`Self::fill`] for what is text.
    pub(crate) fn text(&self, text: &str) -> String {
        String::from_utf8(self.fill(text.as_bytes())).expect("text")
    }

    /// Id and key of a new agent.
    fn enrolled(&self) -> (String, String) {
        let body = json!({"type": "PERMANENT"}).to_string();
        let enrolled = self.agent("/api/fleet/agents/enroll", "{token}", body);
        let enrolled = enrolled.expect("an answer");
        (
            text(&enrolled, "/item/id"),
            text(&enrolled, "/item/access_api_key"),
        )
    }

    /// Id and key of an agent that may say that it goes. `is_spent`: it has.
    pub(crate) fn departing(&self, is_spent: bool) -> (String, String) {
        let mut departing = self.departing.borrow_mut();
        if is_spent || departing.0.is_empty() {
            *departing = self.enrolled();
        }
        departing.clone()
    }

    /// The agent's upload of one byte, which has arrived. `is_spent`: it can no longer be used.
    pub(crate) fn upload(&self, is_spent: bool) -> String {
        let mut upload = self.upload.borrow_mut();
        if is_spent || upload.is_empty() {
            let said = self.text(
                r#"{"action_id":"{action}","agent_id":"{agent}","src":"agent","file":{"name":"f","mime_type":"m","size":1}}"#,
            );
            let begun = self
                .agent("/api/fleet/uploads", "{key}", said)
                .expect("an answer");
            *upload = text(&begun, "/upload_id");
            let chunk = TestRequest::put()
                .uri(&format!("/api/fleet/uploads/{upload}/0"))
                .insert_header(("x-chunk-sha2", SHA256_OF_X))
                .set_payload("x");
            let stored = self.of_agent("{key}", chunk);
            assert_eq!(stored.status, 200, "{stored:?}");
        }
        upload.clone()
    }

    /// A request of an operator.
    pub(crate) fn operator(&self, method: &str, path: &str, kind: &str, body: impl Into<Vec<u8>>) -> Answer {
        let request = TestRequest::with_uri(path)
            .method(method.parse().expect("a method"))
            .insert_header(("authorization", format!("ApiKey {}", self.names["{admin}"])))
            .insert_header(("kbn-xsrf", "true"))
            .insert_header(("content-type", kind))
            .set_payload(body.into());
        self.block_on((self.operators)(request.to_request()))
    }

    pub(crate) fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.system.block_on(future)
    }
}

async fn domain(directory: &TempDir) -> (Arc<Fleet>, String) {
    let options = OpenOptions::new(directory.path());
    let store: Arc<dyn store::Store> =
        Arc::new(SqliteStore::open(options, StoreMetrics::unregistered()).expect("a store"));
    let settings = Settings {
        long_poll: Duration::from_millis(1),
        checkin_jitter: Duration::ZERO,
        replace_token: ReplaceTokenHashing {
            iterations: 1000,
            key_length: 32,
            salt_length: 16,
        },
        ..Settings::default()
    };
    let fleet = Fleet::start(store, settings, &mut Registry::default())
        .await
        .expect("a domain");
    let key = operators::ensure_key(&fleet, None, Timestamp::now())
        .await
        .expect("an operator's key");
    (fleet, key.to_token())
}

/// The default sizes at any rate.
fn roomy() -> Limits {
    Route::LIMITED.iter().fold(Limits::default(), |limits, route| {
        let unhurried = RouteLimits {
            interval: None,
            in_flight: None,
            ..RouteLimits::default_of(*route)
        };
        limits.with(*route, unhurried)
    })
}

fn face<S>(service: S) -> Face
where
    S: Service<Request, Response = ServiceResponse<BoxBody>, Error = Error> + 'static,
{
    let service = Rc::new(service);
    Rc::new(move |request| {
        let service = Rc::clone(&service);
        Box::pin(async move {
            let response = match service.call(request).await {
                Ok(response) => response.into_parts().1,
                Err(error) => error.error_response(),
            };
            let status = response.status().as_u16();
            let body = to_bytes(response.into_body()).await.expect("a body in memory");
            Answer {
                status,
                body: body.to_vec(),
            }
        })
    })
}

fn text(answer: &Answer, pointer: &str) -> String {
    let body: Value = serde_json::from_slice(&answer.body).expect("JSON");
    let found = body.pointer(pointer).and_then(Value::as_str);
    found.unwrap_or_else(|| panic!("{pointer} in {body}")).to_owned()
}

/// What the APIs pass on; no input reaches it.
struct Fixed;

#[async_trait]
impl TlsAdmin for Fixed {
    fn state(&self) -> Value {
        Value::Null
    }

    async fn reload(&self) -> Value {
        Value::Null
    }
}

#[async_trait]
impl SigningKey for Fixed {
    async fn read(&self) -> Result<Bytes, SigningKeyError> {
        Ok(Bytes::from_static(b"a key"))
    }
}

/// A file for the agent: no byte of it comes twice.
pub(crate) const FILE: &[u8] = b"0123456789abcdefghijklmnopqrstuvwxyz";
const SHA256_OF_X: &str = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881";

/// A poll that is not answered by then waits, as it should.
const POLL: Duration = Duration::from_millis(50);
/// Generous: only a hang reaches it.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

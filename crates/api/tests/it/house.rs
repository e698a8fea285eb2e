//! One domain on its own store in its own directory, and the words agents and operators use.

use std::{rc::Rc, sync::Arc, time::Duration};

use actix_http::Request;
use actix_web::{
    Error,
    body::{BoxBody, to_bytes},
    dev::{Service, ServiceResponse},
    http::{Method, StatusCode, header::HeaderMap},
    test::{TestRequest, init_service},
};
use api::{AdminApi, AdminOptions, AgentApi, AgentOptions, HttpMetrics, TlsAdmin};
use async_trait::async_trait;
use fleet::{Agent, AgentId, ApiKey, Fleet, PolicyId, Settings, Timestamp, operators, policies};
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use store::StoreMetrics;
use store_sqlite::{OpenOptions, SqliteStore};
use tempfile::TempDir;

/// Generous: only a failing test waits that long.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// What a client sees of an answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    /// The connection may be used again.
    pub(crate) keeps_alive: bool,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// Asserts an error body.
    #[track_caller]
    pub(crate) fn assert_error(&self, status: u16, name: &str) -> String {
        let body = self.json();
        assert_eq!(
            (self.status.as_u16(), body["error"].as_str()),
            (status, Some(name)),
            "{body}"
        );
        assert_eq!(body["statusCode"], status);
        assert_eq!(self.header("content-type"), "application/json; charset=utf-8");
        assert_eq!(self.header("x-content-type-options"), "nosniff");
        assert!(!self.header("x-request-id").is_empty());
        body["message"].as_str().unwrap_or_default().to_owned()
    }

    #[track_caller]
    pub(crate) fn ok(self) -> Value {
        assert_eq!(self.status, StatusCode::OK, "{}", self.text());
        self.json()
    }
}

/// One API of the server as a client reaches it.
#[derive(Clone)]
pub(crate) struct Face(Rc<dyn Fn(Request) -> futures_util::future::LocalBoxFuture<'static, Answer>>);

impl Face {
    pub(crate) async fn of<S>(service: S) -> Self
    where
        S: Service<Request, Response = ServiceResponse<BoxBody>, Error = Error> + 'static,
    {
        let service = Rc::new(service);
        Self(Rc::new(move |request| {
            let service = Rc::clone(&service);
            Box::pin(async move {
                let response = match service.call(request).await {
                    Ok(response) => response.into_parts().1,
                    Err(error) => error.error_response(),
                };
                let keeps_alive = response.keep_alive();
                let (status, headers) = (response.status(), response.headers().clone());
                let body = to_bytes(response.into_body()).await.unwrap().to_vec();
                Answer {
                    status,
                    headers,
                    body,
                    keeps_alive,
                }
            })
        }))
    }

    pub(crate) async fn send(&self, request: TestRequest) -> Answer {
        self.send_raw(request.to_request()).await
    }

    pub(crate) async fn send_raw(&self, request: Request) -> Answer {
        tokio::time::timeout(LIMIT, (self.0)(request))
            .await
            .expect("an answer in time")
    }

    /// Sends a request that waits; the answer comes through the handle.
    pub(crate) fn start(&self, request: TestRequest) -> tokio::task::JoinHandle<Answer> {
        actix_rt::spawn((self.0)(request.to_request()))
    }
}

pub(crate) struct House {
    pub(crate) fleet: Arc<Fleet>,
    pub(crate) store: Arc<dyn store::Store>,
    pub(crate) metrics: HttpMetrics,
    pub(crate) registry: Registry,
    pub(crate) policy: PolicyId,
    /// An enrollment token of the policy.
    pub(crate) token: String,
    /// The operator's key.
    pub(crate) admin_key: String,
    directory: TempDir,
}

/// An agent that has enrolled.
pub(crate) struct Enrolled {
    pub(crate) id: String,
    pub(crate) key: String,
}

impl House {
    pub(crate) async fn new() -> Self {
        Self::with(Settings::default()).await
    }

    pub(crate) async fn with(settings: Settings) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let options = OpenOptions::new(directory.path());
        let store: Arc<dyn store::Store> =
            Arc::new(SqliteStore::open(options, StoreMetrics::unregistered()).unwrap());
        let mut registry = Registry::with_prefix("fleet_server");
        let metrics = HttpMetrics::register(&mut registry);
        let settings = Settings {
            checkin_jitter: Duration::ZERO,
            store_key: Some(fleet::StoreKey::generate().unwrap()),
            replace_token: fleet::ReplaceTokenHashing {
                iterations: 1000,
                key_length: 32,
                salt_length: 16,
            },
            ..settings
        };
        let fleet = Fleet::start(Arc::clone(&store), settings, &mut registry)
            .await
            .unwrap();
        let settings = serde_json::from_value(json!({"name": "P", "namespace": "default"})).unwrap();
        let (policy, token) = policies::create(&fleet, Some("P"), settings, Timestamp::now())
            .await
            .unwrap();
        let admin_key = operators::ensure_key(&fleet, None, Timestamp::now())
            .await
            .unwrap()
            .to_token();
        let (policy, token) = (policy.policy, token.to_token());
        Self {
            fleet,
            store,
            metrics,
            registry,
            policy,
            token,
            admin_key,
            directory,
        }
    }

    pub(crate) fn api(&self, options: AgentOptions) -> AgentApi {
        AgentApi::new(
            Arc::clone(&self.fleet),
            Arc::new(NoSigningKey),
            options,
            self.metrics.clone(),
        )
    }

    pub(crate) async fn agents_with(&self, options: AgentOptions) -> Face {
        Face::of(init_service(self.api(options).app()).await).await
    }

    /// The agents' API with default limits.
    pub(crate) async fn agents(&self) -> Face {
        self.agents_with(AgentOptions::default()).await
    }

    /// The operators' API.
    pub(crate) async fn operators(&self) -> Face {
        let api = AdminApi::new(
            Arc::clone(&self.fleet),
            fixed_tls(),
            AdminOptions::default(),
            self.metrics.clone(),
        );
        Face::of(init_service(api.app()).await).await
    }

    /// A request of an operator.
    pub(crate) fn admin(&self, method: Method, path: &str) -> TestRequest {
        TestRequest::with_uri(path)
            .method(method)
            .insert_header(("authorization", format!("ApiKey {}", self.admin_key)))
            .insert_header(("kbn-xsrf", "true"))
    }

    pub(crate) async fn enroll(&self, face: &Face) -> Enrolled {
        let body = face
            .send(enroll_request(&self.token, &json!({"type": "PERMANENT"})))
            .await
            .ok();
        Enrolled {
            id: body["item"]["id"].as_str().unwrap().to_owned(),
            key: body["item"]["access_api_key"].as_str().unwrap().to_owned(),
        }
    }

    /// Names of the files that bodies are kept in.
    pub(crate) fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.directory.path().join("blobs")).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    /// From now on the store fails, in SQLite itself, whenever it is to keep a result of this action; or no more.
    pub(crate) fn results_fail(&self, action: &str, is_so: bool) {
        let other = rusqlite::Connection::open(self.directory.path().join("fleet.db")).unwrap();
        let change = match is_so {
            true => format!(
                "CREATE TRIGGER fault BEFORE INSERT ON action_result WHEN NEW.action = '{action}'
                 BEGIN SELECT abs(-9223372036854775807 - 1); END"
            ),
            false => "DROP TRIGGER fault".to_owned(),
        };
        other.execute_batch(&change).unwrap();
    }

    pub(crate) async fn agent(&self, id: &str) -> Agent {
        self.store.agent(&AgentId::from(id)).await.unwrap().unwrap()
    }

    pub(crate) fn scrape(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        text
    }
}

fn fixed_tls() -> Arc<dyn TlsAdmin> {
    Arc::new(FixedTls)
}

/// Nothing is encrypted here, so nobody gets as far as the key.
struct NoSigningKey;

#[async_trait]
impl api::SigningKey for NoSigningKey {
    async fn read(&self) -> Result<actix_web::web::Bytes, api::SigningKeyError> {
        Err(api::SigningKeyError::File {
            detail: "there is none".to_owned(),
        })
    }
}

/// A TLS set that never changes: the api only passes it on.
struct FixedTls;

#[async_trait]
impl TlsAdmin for FixedTls {
    fn state(&self) -> Value {
        json!({"fingerprint": "3f9a"})
    }

    async fn reload(&self) -> Value {
        json!({"outcome": "unchanged", "fingerprint": "3f9a"})
    }
}

pub(crate) fn post(path: &str) -> TestRequest {
    TestRequest::post().uri(path)
}

/// A request that carries a key and an agent's User-Agent.
pub(crate) fn with_key(path: &str, key: &str) -> TestRequest {
    post(path)
        .insert_header(("authorization", format!("ApiKey {key}")))
        .insert_header(("user-agent", "Elastic Agent v9.6.0"))
}

pub(crate) fn enroll_request(token: &str, body: &Value) -> TestRequest {
    with_key("/api/fleet/agents/enroll?", token).set_payload(body.to_string())
}

pub(crate) fn checkin_request(agent: &Enrolled, body: &Value) -> TestRequest {
    with_key(&format!("/api/fleet/agents/{}/checkin?", agent.id), &agent.key).set_payload(body.to_string())
}

/// A check-in of an agent that runs this revision of P: nothing is due, it waits.
pub(crate) fn poll_request(agent: &Enrolled, revision: i64) -> TestRequest {
    let body =
        json!({"status": "online", "message": "ok", "agent_policy_id": "P", "policy_revision_idx": revision});
    checkin_request(agent, &body)
}

pub(crate) fn acks_request(agent: &Enrolled, body: &Value) -> TestRequest {
    post(&format!("/api/fleet/agents/{}/acks?", agent.id))
        .insert_header(("authorization", format!("ApiKey {}", agent.key)))
        .set_payload(body.to_string())
}

/// A key that nobody knows.
pub(crate) fn stranger() -> String {
    ApiKey::generate().unwrap().to_token()
}

/// Polls `done` until it holds, within [`LIMIT`]: for counts that announce no change.
pub(crate) async fn until(mut done: impl FnMut() -> bool) {
    let wait = async {
        while !done() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(LIMIT, wait)
        .await
        .expect("the event came in time");
}

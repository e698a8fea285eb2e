//! One domain on its own store in its own directory, and what its agents say.

use std::{sync::Arc, time::Duration};

use fleet::{
    Agent, AgentId, ApiKey, Fleet, FleetError, PolicyId, RawJson, Settings, Timestamp,
    actions::DeliveredAction,
    checkin::{self, Begun, CheckinReply, CheckinRequest, Waiting},
    enrollment::{self, EnrollRequest, Enrolled},
    policies::{self, PolicySettings},
};
use prometheus_client::registry::Registry;
use serde_json::{Map, Value, json};
use store::StoreMetrics;
use store_sqlite::{OpenOptions, SqliteStore};
use tempfile::TempDir;

/// Generous: only a failing test waits that long.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

pub(crate) struct House {
    pub(crate) fleet: Arc<Fleet>,
    pub(crate) store: Arc<dyn fleet::Store>,
    pub(crate) registry: Registry,
    pub(crate) token: ApiKey,
    pub(crate) policy: PolicyId,
    _directory: TempDir,
}

impl House {
    pub(crate) async fn new() -> Self {
        Self::with(Settings::default()).await
    }

    pub(crate) async fn with(settings: Settings) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let options = OpenOptions::new(directory.path());
        let store: Arc<dyn fleet::Store> =
            Arc::new(SqliteStore::open(options, StoreMetrics::unregistered()).unwrap());
        let mut registry = Registry::with_prefix("fleet_server");
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
        let (policy, token) = policies::create(&fleet, Some("P"), named("P"), Timestamp::now())
            .await
            .unwrap();
        Self {
            fleet,
            store,
            registry,
            token,
            policy: policy.policy,
            _directory: directory,
        }
    }

    /// A new domain on the same store; [`Self::flush`] comes before.
    pub(crate) async fn restarted(self) -> Self {
        let mut registry = Registry::with_prefix("fleet_server");
        let settings = self.fleet.settings().clone();
        let fleet = Fleet::start(Arc::clone(&self.store), settings, &mut registry)
            .await
            .unwrap();
        Self {
            fleet,
            registry,
            ..self
        }
    }

    pub(crate) async fn enroll(&self) -> Enrolled {
        self.try_enroll(request()).await.unwrap()
    }

    pub(crate) async fn try_enroll(&self, request: EnrollRequest) -> Result<Enrolled, FleetError> {
        self.try_enroll_with(&self.token, request).await
    }

    pub(crate) async fn try_enroll_with(
        &self,
        token: &ApiKey,
        request: EnrollRequest,
    ) -> Result<Enrolled, FleetError> {
        let admission = enrollment::admit(&self.fleet, token).await?;
        enrollment::enroll(&self.fleet, admission, "9.6.0", request, Timestamp::now()).await
    }

    pub(crate) async fn agent(&self, id: &AgentId) -> Agent {
        self.store.agent(id).await.unwrap().unwrap()
    }

    pub(crate) async fn checkin(&self, id: &AgentId, request: CheckinRequest) -> Result<Begun, FleetError> {
        self.checkin_as("9.6.0", id, request).await
    }

    pub(crate) async fn checkin_as(
        &self,
        version: &str,
        id: &AgentId,
        request: CheckinRequest,
    ) -> Result<Begun, FleetError> {
        let agent = self.agent(id).await;
        checkin::begin(
            &self.fleet,
            agent,
            version,
            request,
            Duration::ZERO,
            Timestamp::now(),
        )
        .await
    }

    /// The answer of a check-in that is answered at once.
    pub(crate) async fn answer(&self, id: &AgentId, request: CheckinRequest) -> Value {
        match self.checkin(id, request).await.unwrap() {
            Begun::Reply(reply) => shown(&reply),
            Begun::Wait(_) => panic!("the check-in of {id} waits"),
        }
    }

    /// A check-in that waits.
    pub(crate) async fn poll(&self, id: &AgentId, request: CheckinRequest) -> Box<Waiting> {
        match self.checkin(id, request).await.unwrap() {
            Begun::Wait(waiting) => waiting,
            Begun::Reply(reply) => panic!("answered: {}", shown(&reply)),
        }
    }

    /// A check-in of an agent that runs this revision of its policy.
    pub(crate) fn runs(&self, revision: i64) -> CheckinRequest {
        CheckinRequest {
            agent_policy_id: Some(self.policy.to_string()),
            policy_revision_idx: Some(revision),
            ..online()
        }
    }

    pub(crate) async fn change_policy(&self) -> i64 {
        policies::update(&self.fleet, &self.policy, Map::new(), Timestamp::now())
            .await
            .unwrap()
            .revision
    }

    /// Writes out the pending check-ins.
    pub(crate) async fn flush(&self) {
        self.fleet.stop().await;
    }

    pub(crate) fn metrics(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        text
    }

    pub(crate) fn metric(&self, name: &str) -> f64 {
        let text = self.metrics();
        let line = text
            .lines()
            .find(|line| line.starts_with(name) && !line.starts_with('#'));
        line.unwrap_or_else(|| panic!("{name} is missing in\n{text}"))
            .rsplit(' ')
            .next()
            .unwrap()
            .parse()
            .unwrap()
    }
}

pub(crate) fn named(name: &str) -> PolicySettings {
    PolicySettings {
        name: name.into(),
        namespace: "default".into(),
        ..PolicySettings::default()
    }
}

pub(crate) fn request() -> EnrollRequest {
    EnrollRequest {
        kind: "PERMANENT".into(),
        ..EnrollRequest::default()
    }
}

pub(crate) fn online() -> CheckinRequest {
    CheckinRequest {
        status: Some("online".into()),
        message: Some("Running".into()),
        ..CheckinRequest::default()
    }
}

pub(crate) fn raw(value: &Value) -> RawJson {
    RawJson::from_value(value).unwrap()
}

pub(crate) async fn answered(waiting: Box<Waiting>) -> Value {
    let reply = actix_rt::time::timeout(LIMIT, waiting.answer())
        .await
        .expect("the poll is answered")
        .unwrap();
    shown(&reply)
}

/// The reply by the names that agents know. The bytes are written, and tested, above.
pub(crate) fn shown(reply: &CheckinReply) -> Value {
    match reply {
        CheckinReply::Empty => json!({"action": "checkin", "ack_token": ""}),
        CheckinReply::Actions {
            agent,
            ack_token,
            actions,
        } => {
            let shown = |action: &DeliveredAction| {
                json!({
                    "agent_id": agent, "id": action.id, "type": action.kind.as_str(), "data": action.data,
                    "start_time": action.start_time.map(Timestamp::to_seconds_text),
                })
            };
            let actions: Vec<_> = actions.iter().map(shown).collect();
            json!({"ack_token": ack_token, "actions": actions})
        }
        CheckinReply::Policy { agent, policy } => json!({
            "ack_token": "",
            "actions": [{
                "agent_id": agent, "id": policy.action_id(), "type": "POLICY_CHANGE",
                "data": {"policy": serde_json::from_slice::<Value>(policy.json()).unwrap()},
            }],
        }),
    }
}

/// Polls `is_so` until it holds, within [`LIMIT`]: for states of the store and the actors that announce nothing.
pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, mut is_so: impl FnMut() -> F) {
    let until = std::time::Instant::now() + LIMIT;
    while !is_so().await {
        assert!(std::time::Instant::now() < until, "still not: {what}");
        actix_rt::time::sleep(Duration::from_millis(20)).await;
    }
}

pub(crate) fn settings_action(level: &str) -> fleet::actions::ActionDraft {
    fleet::actions::ActionDraft {
        data: Some(raw(&json!({"log_level": level}))),
        ..fleet::actions::ActionDraft::new(fleet::actions::ActionKind::Settings)
    }
}

//! An Elastic Agent as the server sees it: headers, bodies and order of calls (agents.md 8.1 to 8.7).
//!
//! Check-ins run on one connection that is kept, other calls on others, as with the real agent. It never waits
//! by itself: pauses between calls are the test's.

use std::{io, time::Duration};

use fleet_load::wire;
use serde_json::{Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{
    LIMIT,
    http_client::{Connection, HttpClient},
    http_message::{Request, Response},
};

/// An enrolled agent.
pub struct SimulatedAgent {
    client: HttpClient,
    polls: Option<Connection>,
    version: String,
    /// The id the server gave.
    pub id: String,
    /// What stands after `ApiKey `.
    pub access_key: String,
    /// The last token received; sent with the next check-in.
    pub ack_token: Option<String>,
    /// The policy that was applied, and its revision; reported in check-ins.
    pub policy: Option<(String, i64)>,
    /// Status of the next check-in.
    pub status: String,
    /// Message of the next check-in.
    pub message: String,
    /// `local_metadata` of the next check-in.
    pub metadata: Value,
    /// `components` of the next check-in.
    pub components: Value,
    /// Further members of the next check-ins, for example `upgrade_details`.
    pub extra: serde_json::Map<String, Value>,
}

/// Why a call did not give what it should.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The connection failed.
    #[error("connection: {0}")]
    Connection(#[from] io::Error),
    /// The server answered something else.
    #[error("status {status}: {body}")]
    Refused {
        status: u16,
        /// Body, inflated.
        body: String,
    },
}

impl AgentError {
    /// The status, 0 when there was no answer.
    pub fn status(&self) -> u16 {
        match self {
            Self::Connection(_) => 0,
            Self::Refused { status, .. } => *status,
        }
    }

    /// The `error` of the body.
    pub fn name(&self) -> String {
        match self {
            Self::Connection(_) => String::new(),
            Self::Refused { body, .. } => serde_json::from_str::<Value>(body)
                .ok()
                .and_then(|body| body["error"].as_str().map(str::to_owned))
                .unwrap_or_default(),
        }
    }
}

/// An answered check-in.
#[derive(Clone, Debug)]
pub struct Checkin {
    /// The token, empty if none came.
    pub ack_token: String,
    /// The delivered actions.
    pub actions: Vec<Value>,
}

impl Checkin {
    /// The actions of one type.
    pub fn of_type(&self, kind: &str) -> Vec<&Value> {
        self.actions
            .iter()
            .filter(|action| action["type"] == kind)
            .collect()
    }

    /// The delivered policy, if one came.
    pub fn policy(&self) -> Option<&Value> {
        self.of_type("POLICY_CHANGE")
            .first()
            .map(|action| &action["data"]["policy"])
    }
}

impl SimulatedAgent {
    /// Enrols with a token.
    pub async fn enroll(client: &HttpClient, token: &str) -> Result<Self, AgentError> {
        Self::enroll_with(client, token, json!({})).await
    }

    /// Enrols; `changes` replaces members of the usual body (agents.md 8.3).
    pub async fn enroll_with(client: &HttpClient, token: &str, changes: Value) -> Result<Self, AgentError> {
        let answer = expect_ok(client.request(&enroll_request(token, &changes)).await?)?.json();
        Ok(Self::enrolled(client, &answer))
    }

    /// Enrols, and keeps its one connection for everything that follows: the cheapest agent, for fleets.
    pub async fn enroll_on_one_connection(client: &HttpClient, token: &str) -> Result<Self, AgentError> {
        let mut connection = client.connect().await?;
        let answer = expect_ok(connection.request(&enroll_request(token, &json!({}))).await?)?.json();
        let mut agent = Self::enrolled(client, &answer);
        agent.polls = Some(connection);
        Ok(agent)
    }

    fn enrolled(client: &HttpClient, answer: &Value) -> Self {
        let text = |member: &str| answer["item"][member].as_str().unwrap_or_default();
        Self::with_credentials(client, text("id"), text("access_api_key"))
    }

    /// An agent with credentials from elsewhere.
    pub fn with_credentials(client: &HttpClient, id: &str, access_key: &str) -> Self {
        Self {
            client: client.clone(),
            polls: None,
            version: wire::VERSION.into(),
            id: id.into(),
            access_key: access_key.into(),
            ack_token: None,
            policy: None,
            status: "online".into(),
            message: "Running".into(),
            metadata: local_metadata(id),
            components: json!([]),
            extra: serde_json::Map::new(),
        }
    }

    /// Calls with the `User-Agent` of another release.
    pub fn set_version(&mut self, version: &str) {
        version.clone_into(&mut self.version);
    }

    /// Uses another way to the server (another listener, another source address).
    pub fn set_client(&mut self, client: &HttpClient) {
        self.client = client.clone();
        self.polls = None;
    }

    /// The request of the next check-in.
    pub fn checkin_request(&self) -> Request {
        let mut body = json!({
            "status": self.status, "message": self.message, "local_metadata": self.metadata,
            "components": self.components, "upgrade": {},
        });
        if let Some(body) = body.as_object_mut() {
            if let Some(token) = &self.ack_token {
                body.insert("ack_token".into(), json!(token));
            }
            if let Some((id, revision)) = &self.policy {
                body.insert("agent_policy_id".into(), json!(id));
                body.insert("policy_revision_idx".into(), json!(revision));
            }
            body.extend(self.extra.clone());
        }
        self.request(&format!("/api/fleet/agents/{}/checkin?", self.id))
            .body(body.to_string().into_bytes())
            .gzip()
    }

    /// Checks in and waits for the answer, however long the server's poll is (10 min at most, as the agent).
    pub async fn checkin(&mut self) -> Result<Checkin, AgentError> {
        self.begin_checkin().await?;
        self.end_checkin(Duration::from_secs(600)).await
    }

    /// Sends a check-in; [`end_checkin`](Self::end_checkin) reads its answer.
    pub async fn begin_checkin(&mut self) -> Result<(), AgentError> {
        let request = self.checkin_request();
        let mut connection = match self.polls.take() {
            Some(connection) => connection,
            None => self.client.connect().await?,
        };
        if connection.send(&request).await.is_err() {
            // The server closed the idle connection: the agent's HTTP library tries once on a new one.
            connection = self.client.connect().await?;
            connection.send(&request).await?;
        }
        self.polls = Some(connection);
        Ok(())
    }

    /// Reads the answer of a check-in that was begun, and takes its token.
    pub async fn end_checkin(&mut self, limit: Duration) -> Result<Checkin, AgentError> {
        let connection = self
            .polls
            .as_mut()
            .ok_or_else(|| io::Error::other("no check-in was begun"))?;
        let response = match connection.receive_within(limit).await {
            Ok(response) => {
                if response
                    .header("connection")
                    .is_some_and(|value| value.eq_ignore_ascii_case("close"))
                {
                    self.polls = None;
                }
                expect_ok(response)?
            }
            Err(error) => {
                self.polls = None;
                return Err(error.into());
            }
        };
        let answer = response.json();
        let ack_token = answer["ack_token"].as_str().unwrap_or_default().to_owned();
        if !ack_token.is_empty() {
            self.ack_token = Some(ack_token.clone());
        }
        let actions = answer["actions"].as_array().cloned().unwrap_or_default();
        Ok(Checkin { ack_token, actions })
    }

    /// Checks in (applying and acknowledging delivered policies) until `wanted` returns true; gives that check-in.
    ///
    /// # Panics
    /// If that does not happen within [`LIMIT`].
    pub async fn checkin_until(&mut self, wanted: impl Fn(&Checkin) -> bool) -> Result<Checkin, AgentError> {
        let looking = async {
            loop {
                let checkin = self.checkin().await?;
                self.apply(&checkin).await?;
                if wanted(&checkin) {
                    return Ok(checkin);
                }
            }
        };
        tokio::time::timeout(LIMIT, looking)
            .await
            .expect("a check-in with what the test waits for")
    }

    /// Applies a delivered policy as the agent does: reports it from now on and acknowledges it. Without one it
    /// does nothing.
    pub async fn apply(&mut self, checkin: &Checkin) -> Result<(), AgentError> {
        for action in checkin.of_type("POLICY_CHANGE") {
            let policy = &action["data"]["policy"];
            if let (Some(id), Some(revision)) = (policy["id"].as_str(), policy["revision"].as_i64()) {
                self.policy = Some((id.to_owned(), revision));
            }
            self.ack(&[action]).await?;
        }
        Ok(())
    }

    /// As [`apply`](Self::apply), with the acknowledgement on the connection of the check-ins.
    pub async fn apply_on_one_connection(&mut self, checkin: &Checkin) -> Result<(), AgentError> {
        let Some(action) = checkin.of_type("POLICY_CHANGE").first().copied() else {
            return Ok(());
        };
        let policy = &action["data"]["policy"];
        if let (Some(id), Some(revision)) = (policy["id"].as_str(), policy["revision"].as_i64()) {
            self.policy = Some((id.to_owned(), revision));
        }
        let body = json!({"events": [self.ack_event(action)]});
        let request = self.request(&format!("/api/fleet/agents/{}/acks?", self.id));
        let connection = self
            .polls
            .as_mut()
            .ok_or_else(|| io::Error::other("the connection is gone"))?;
        expect_ok(
            connection
                .request(&request.body(body.to_string().into_bytes()))
                .await?,
        )?;
        Ok(())
    }

    /// Acknowledges actions as done; gives the answer's body.
    pub async fn ack(&self, actions: &[&Value]) -> Result<Value, AgentError> {
        let events: Vec<Value> = actions.iter().map(|action| self.ack_event(action)).collect();
        self.ack_events(&events).await
    }

    /// Sends ack events as they are; gives the answer's body (of a 200).
    pub async fn ack_events(&self, events: &[Value]) -> Result<Value, AgentError> {
        Ok(expect_ok(self.post_acks(&json!({"events": events})).await?)?.json())
    }

    /// Posts a body to the acks route and gives the response, whatever it is.
    pub async fn post_acks(&self, body: &Value) -> io::Result<Response> {
        let request = self.request(&format!("/api/fleet/agents/{}/acks?", self.id));
        self.client
            .request(&request.body(body.to_string().into_bytes()))
            .await
    }

    /// The event that acknowledges an action (agents.md 8.7); for INPUT_ACTION with a result.
    pub fn ack_event(&self, action: &Value) -> Value {
        let (id, kind) = (&action["id"], &action["type"]);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let now = OffsetDateTime::now_utc().format(&Rfc3339).expect("a timestamp");
        let mut event = json!({
            "type": "ACTION_RESULT", "subtype": "ACKNOWLEDGED", "action_id": id, "agent_id": self.id,
            "timestamp": now,
            "message": format!("Action {:?} of type {:?} acknowledged.", text(id), text(kind)),
        });
        if kind == "INPUT_ACTION"
            && let Some(event) = event.as_object_mut()
        {
            let input = text(&action["input_type"]);
            event.insert("action_response".into(), json!({ input.clone(): {"ok": true} }));
            event.insert("action_input_type".into(), json!(input));
            event.insert("action_data".into(), action["data"].clone());
            event.insert("started_at".into(), json!(now));
            event.insert("completed_at".into(), json!(now));
        }
        event
    }

    /// A POST to `target` with this agent's headers.
    pub fn request(&self, target: &str) -> Request {
        agent_request(target, &self.access_key, &self.version)
    }

    /// Drops the check-in connection: the agent is gone, as far as the server can see.
    pub fn disconnect(&mut self) {
        self.polls = None;
    }

    /// The connection of the check-ins, if one is open.
    pub fn connection(&self) -> Option<&Connection> {
        self.polls.as_ref()
    }
}

fn enroll_request(token: &str, changes: &Value) -> Request {
    let mut body: Value = serde_json::from_slice(&wire::enroll_body(HOST)).expect("a body in JSON");
    if let (Some(body), Some(changes)) = (body.as_object_mut(), changes.as_object()) {
        body.extend(changes.clone());
    }
    agent_request("/api/fleet/agents/enroll?", token, wire::VERSION).body(body.to_string().into_bytes())
}

/// A POST with the headers of agents.md 8.2.
fn agent_request(target: &str, key: &str, version: &str) -> Request {
    wire::headers(key, version, &wire::ulid())
        .iter()
        .fold(Request::new("POST", target), |request, (name, value)| {
            request.header(name, value)
        })
}

/// Metadata of the size and shape of a real agent's.
fn local_metadata(id: &str) -> Value {
    serde_json::from_str(&wire::local_metadata(id, HOST)).expect("metadata in JSON")
}

fn expect_ok(response: Response) -> Result<Response, AgentError> {
    match response.status {
        200 => Ok(response),
        status => Err(AgentError::Refused {
            status,
            body: response.text(),
        }),
    }
}

/// The name of the agents' machine.
const HOST: &str = "test-host";

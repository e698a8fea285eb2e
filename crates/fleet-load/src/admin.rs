//! The operator's side, for scenarios that change something: an admin API with Kibana's paths (data.md 9.1).

use serde_json::{Value, json};

use crate::{
    connection::{Connection, Way},
    fault::Fault,
};

/// Calls the admin API with a key, on one connection.
pub(crate) struct Admin {
    way: Way,
    key: String,
    connection: Option<Connection>,
}

impl Admin {
    pub(crate) const fn new(way: Way, key: String) -> Self {
        Self {
            way,
            key,
            connection: None,
        }
    }

    /// The policy that an agent is assigned to.
    pub(crate) async fn policy_of(&mut self, agent: &str) -> Result<String, Fault> {
        let item = self
            .call("GET", &format!("/api/fleet/agents/{agent}"), None)
            .await?;
        match item["item"]["policy_id"].as_str() {
            Some(policy) => Ok(policy.to_owned()),
            None => Err(Fault::Admin(format!("agent {agent} has no policy_id"))),
        }
    }

    /// A policy's settings.
    pub(crate) async fn policy(&mut self, id: &str) -> Result<Value, Fault> {
        let mut answer = self
            .call("GET", &format!("/api/fleet/agent_policies/{id}"), None)
            .await?;
        Ok(answer["item"].take())
    }

    /// Writes a policy's settings anew, with `overrides` if given; gives its new revision.
    pub(crate) async fn update_policy(
        &mut self,
        settings: &Value,
        overrides: Option<&Value>,
    ) -> Result<i64, Fault> {
        let id = settings["id"].as_str().unwrap_or_default();
        let mut body = json!({"name": settings["name"], "namespace": settings["namespace"]});
        if let (Some(body), Some(overrides)) = (body.as_object_mut(), overrides) {
            body.insert("overrides".into(), overrides.clone());
        }
        let path = format!("/api/fleet/agent_policies/{id}");
        let answer = self.call("PUT", &path, Some(&body)).await?;
        answer["item"]["revision"]
            .as_i64()
            .ok_or_else(|| Fault::Admin("an update without a revision".into()))
    }

    /// Posts an action to an agent; gives its id.
    pub(crate) async fn post_action(&mut self, agent: &str, action: &Value) -> Result<String, Fault> {
        let path = format!("/api/fleet/agents/{agent}/actions");
        let answer = self.call("POST", &path, Some(&json!({"action": action}))).await?;
        match answer["item"]["id"].as_str() {
            Some(id) => Ok(id.to_owned()),
            None => Err(Fault::Admin("an action without an id".into())),
        }
    }

    async fn call(&mut self, method: &str, path: &str, body: Option<&Value>) -> Result<Value, Fault> {
        let body = body.map(ToString::to_string).unwrap_or_default();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: ApiKey {}\r\nkbn-xsrf: true\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            self.way.authority,
            self.key,
            body.len()
        );
        let failed = |error: &dyn std::fmt::Display| Fault::Admin(format!("{method} {path}: {error}"));
        let mut connection = match self.connection.take().and_then(Connection::if_open) {
            Some(kept) => kept,
            None => self.way.connect(0).await.map_err(|error| failed(&error))?,
        };
        let response = connection
            .call(request.as_bytes())
            .await
            .map_err(|error| failed(&error))?;
        self.connection = Some(connection);
        if response.status != 200 {
            let words: String = String::from_utf8_lossy(&response.body)
                .chars()
                .take(300)
                .collect();
            return Err(failed(&format!("status {}: {words}", response.status)));
        }
        serde_json::from_slice(&response.body).map_err(|error| failed(&error))
    }
}

/// Overrides that make a policy about so large: inputs as integrations have them, so that it compresses as policies do.
pub(crate) fn large_overrides(bytes: usize) -> Value {
    let mut inputs = Vec::new();
    let mut written = 0;
    while written < bytes {
        let number = inputs.len();
        let input = json!({
            "id": format!("logfile-{number}-{:016x}", fastrand::u64(..)), "type": "logfile", "use_output": "default",
            "data_stream": {"namespace": "default"}, "revision": 1,
            "meta": {"package": {"name": "custom_logs", "version": "1.2.3"}},
            "streams": [{
                "id": format!("stream-{:016x}", fastrand::u64(..)),
                "data_stream": {"dataset": format!("service_{number}.log"), "type": "logs"},
                "paths": [format!("/var/log/service-{number}/*.log"), format!("/srv/{:08x}/log/*.json", fastrand::u32(..))],
                "exclude_files": [".gz$"], "ignore_older": "72h",
                "processors": [{"add_fields": {"target": "labels", "fields": {"team": format!("team-{}", fastrand::u8(..))}}}],
            }],
        });
        written += input.to_string().len();
        inputs.push(input);
    }
    json!({ "inputs": inputs })
}

//! The operator's side: Kibana's Fleet paths (data.md 9.1).

use serde_json::{Value, json};

use crate::{
    http_client::HttpClient,
    http_message::{Request, Response},
};

/// Calls the admin API with a key.
#[derive(Clone)]
pub struct AdminClient {
    client: HttpClient,
    authorization: String,
}

impl AdminClient {
    /// `key` is what stands after `ApiKey `.
    pub fn new(client: HttpClient, key: &str) -> Self {
        Self {
            client,
            authorization: format!("ApiKey {key}"),
        }
    }

    /// Sends a request to `path` below `/api/fleet` and gives the response, whatever it is.
    pub async fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Response {
        let mut request = Request::new(method, &format!("/api/fleet{path}"));
        if let Some(body) = body {
            request = request
                .header("Content-Type", "application/json")
                .body(body.to_string().into_bytes());
        }
        self.send(request).await
    }

    /// Sends a request as it is, with key and `kbn-xsrf`.
    pub async fn send(&self, request: Request) -> Response {
        let request = request
            .header("Authorization", &self.authorization)
            .header("kbn-xsrf", "true");
        self.client
            .request(&request)
            .await
            .expect("an answer of the admin API")
    }

    async fn succeed(&self, method: &str, path: &str, body: Option<&Value>) -> Value {
        let response = self.call(method, path, body).await;
        assert_eq!(response.status, 200, "{method} {path}: {}", response.text());
        response.json()
    }

    /// Creates a policy; gives its `item`.
    pub async fn create_policy(&self, body: &Value) -> Value {
        self.succeed("POST", "/agent_policies", Some(body)).await["item"].take()
    }

    /// Reads a policy's `item`.
    pub async fn policy(&self, id: &str) -> Value {
        self.succeed("GET", &format!("/agent_policies/{id}"), None).await["item"].take()
    }

    /// Updates a policy; gives its `item`. Revision + 1, also when nothing changes.
    pub async fn update_policy(&self, id: &str, body: &Value) -> Value {
        self.succeed("PUT", &format!("/agent_policies/{id}"), Some(body))
            .await["item"]
            .take()
    }

    /// Makes a new revision without a visible change; gives its number.
    pub async fn touch_policy(&self, id: &str) -> i64 {
        let item = self.policy(id).await;
        let same = json!({"name": item["name"], "namespace": item["namespace"]});
        self.update_policy(id, &same).await["revision"]
            .as_i64()
            .expect("a revision")
    }

    pub async fn delete_policy(&self, id: &str) -> Response {
        self.call(
            "POST",
            "/agent_policies/delete",
            Some(&json!({"agentPolicyId": id})),
        )
        .await
    }

    /// Creates an enrollment token for a policy; gives its `item` (`api_key` is the token).
    pub async fn create_token(&self, policy: &str) -> Value {
        self.succeed(
            "POST",
            "/enrollment_api_keys",
            Some(&json!({"policy_id": policy})),
        )
        .await["item"]
            .take()
    }

    /// Revokes an enrollment token.
    pub async fn revoke_token(&self, id: &str) {
        self.succeed("DELETE", &format!("/enrollment_api_keys/{id}"), None)
            .await;
    }

    /// An agent's `item`.
    pub async fn agent(&self, id: &str) -> Value {
        self.succeed("GET", &format!("/agents/{id}"), None).await["item"].take()
    }

    /// Posts an action to an agent; gives its `item`.
    pub async fn post_action(&self, agent: &str, action: &Value) -> Value {
        let body = json!({"action": action});
        self.succeed("POST", &format!("/agents/{agent}/actions"), Some(&body))
            .await["item"]
            .take()
    }

    /// Ends an agent's enrolment at once.
    pub async fn force_unenroll(&self, agent: &str) {
        self.succeed(
            "POST",
            &format!("/agents/{agent}/unenroll"),
            Some(&json!({"force": true, "revoke": true})),
        )
        .await;
    }

    /// What is served by TLS, and the last attempts.
    pub async fn tls(&self) -> Value {
        self.get_json("/api/tls").await
    }

    /// Reloads the certificates now; gives the outcome.
    pub async fn reload_tls(&self) -> Value {
        let response = self
            .send(Request::new("POST", "/api/tls/reload").body(Vec::new()))
            .await;
        assert_eq!(response.status, 200, "{}", response.text());
        response.json()
    }

    async fn get_json(&self, path: &str) -> Value {
        let response = self.send(Request::get(path)).await;
        assert_eq!(response.status, 200, "{path}: {}", response.text());
        response.json()
    }
}

//! Sample documents and short forms of the calls that many cases make.

use std::time::Duration;

use crate::{
    ActionDocId, ActionOutcome, ActionResult, Agent, AgentId, AgentQuery, ApiKey, CheckinRecord, Enrolled,
    Enrollment, EnrollmentId, EnrollmentToken, KeyPurpose, NewAction, NewAgent, NewRevision, NewToken,
    PagePosition, PageRequest, PageStart, Pending, PolicyId, PolicyRevision, RawJson, Replacement,
    StatusReport, Store, Timestamp, Total, Verification,
};

/// A time `seconds` after the suite's beginning.
#[must_use]
pub fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(1_767_225_600_000 + seconds * 1000)
}

/// JSON that must be valid.
#[must_use]
pub fn json(text: &str) -> RawJson {
    RawJson::parse(text.to_owned()).expect("the sample is JSON")
}

/// The largest first page.
#[must_use]
pub const fn all() -> PageRequest {
    PageRequest::first(PageRequest::WINDOW)
}

/// Every agent of the list, page by page.
pub async fn walk(store: &dyn Store, query: &AgentQuery, now: Timestamp, limit: u32) -> Vec<StatusReport> {
    let mut next = Some(PageRequest::first(limit));
    let mut seen = Vec::new();
    while let Some(request) = next {
        let page = store.agents(query, request, now).await.expect("reads");
        assert!(page.items.len() <= limit as usize);
        seen.extend(page.items);
        next = page.next.map(|position| behind(position, limit));
    }
    seen
}

/// The page behind a position.
#[must_use]
pub const fn behind(position: PagePosition, limit: u32) -> PageRequest {
    PageRequest {
        from: PageStart::After(position),
        limit,
    }
}

/// Asserts the length of a list: the exact number, or a lower bound that an engine may give.
pub fn assert_total(total: Total, expected: u64) {
    match total {
        Total::Exact(count) => assert_eq!(count, expected),
        Total::AtLeast(count) => assert!(
            u64::from(PageRequest::WINDOW) <= count && count <= expected,
            "{count} of {expected}"
        ),
    }
}

/// Every agent, inactive ones too.
#[must_use]
pub fn everyone() -> AgentQuery {
    AgentQuery {
        shows_inactive: true,
        ..AgentQuery::default()
    }
}

/// What a key is for.
#[must_use]
pub fn purpose(name: &str) -> KeyPurpose {
    KeyPurpose {
        name: format!("key of {name}"),
        metadata: Some(json(r#"{"managed":true}"#)),
    }
}

/// A key with this id whose secret comes from outside.
#[must_use]
pub fn given(id: &str) -> ApiKey {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    ApiKey::from_token(&STANDARD.encode(format!("{id}:secret of {id}"))).expect("the sample is a key")
}

/// An enrolment of agent `id` into `policy`.
#[must_use]
pub fn enrollment(id: &str, policy: &str) -> Enrollment {
    Enrollment {
        agent: NewAgent {
            id: id.into(),
            kind: "PERMANENT".to_owned(),
            policy: policy.into(),
            policy_base: policy.into(),
            policy_revision: None,
            namespaces: vec!["default".to_owned()],
            version: "9.6.0".to_owned(),
            tags: Vec::new(),
            local_metadata: None,
            enrollment_id: None,
            replace_token: None,
            at: at(0),
        },
        purpose: purpose(id),
        admitted_by: None,
        replaces: Replacement::None,
        collector: None,
    }
}

/// The same with an idempotency key.
#[must_use]
pub fn enrollment_with_id(id: &str, enrollment_id: &str) -> Enrollment {
    let mut enrollment = enrollment(id, "p");
    enrollment.agent.enrollment_id = Some(EnrollmentId::from(enrollment_id));
    enrollment
}

/// A check-in that reports `online` and nothing else.
#[must_use]
pub fn checkin(agent: &str, at: Timestamp) -> CheckinRecord {
    CheckinRecord {
        agent: agent.into(),
        at,
        status: Some("online".to_owned()),
        message: None,
        version: None,
        local_metadata: None,
        components: None,
        unhealthy_reason: None,
        positions: Vec::new(),
        rollbacks: None,
        clears_audit: false,
        collector: None,
    }
}

/// A deliverable action that ends after an hour.
#[must_use]
pub fn action(doc: &str, agents: &[&str]) -> NewAction {
    NewAction {
        doc: ActionDocId::from(doc),
        action: format!("action of {doc}").into(),
        kind: "SETTINGS".to_owned(),
        is_deliverable: true,
        agents: agents.iter().map(|agent| AgentId::from(*agent)).collect(),
        mark: None,
        input_type: None,
        data: Some(json(r#"{"log_level":"debug"}"#)),
        at: at(0),
        expiration: Some(at(3600)),
        start_time: None,
        rollout_duration_seconds: None,
        timeout: None,
        user_id: None,
        namespaces: vec!["default".to_owned()],
        signed: None,
        traceparent: None,
        secrets: Vec::new(),
        recall: None,
    }
}

/// An answer without error.
#[must_use]
pub fn result(action: &str, agent: &str) -> ActionResult {
    ActionResult {
        action: action.into(),
        agent: agent.into(),
        timestamp: "2026-01-01T00:00:00.123456789+02:00".to_owned(),
        received_at: at(1),
        outcome: ActionOutcome::Succeeded,
        error: None,
        namespaces: vec!["default".to_owned()],
        details: None,
    }
}

/// A revision of `policy`.
#[must_use]
pub fn revision(policy: &str) -> NewRevision {
    NewRevision {
        policy: policy.into(),
        data: json(r#"{"inputs":[]}"#),
        settings: json(r#"{"name":"sample"}"#),
        namespaces: vec!["default".to_owned()],
        inactivity_timeout: Some(Duration::from_secs(14 * 24 * 3600)),
        at: at(0),
    }
}

/// A token for `policy`.
#[must_use]
pub fn token(id: &str, policy: &str) -> NewToken {
    NewToken {
        id: id.into(),
        purpose: purpose(id),
        name: format!("token {id}"),
        policy: policy.into(),
        namespaces: vec!["default".to_owned()],
        expires_at: None,
        at: at(0),
    }
}

/// Stores agent `id` in policy `p`.
pub async fn enrolled(store: &dyn Store, id: &str) -> Enrolled {
    store.enroll(enrollment(id, "p")).await.expect("enrols")
}

/// Stores the first revision of `policy`.
pub async fn policy(store: &dyn Store, policy: &str) -> PolicyRevision {
    store
        .append_policy_revision(None, revision(policy))
        .await
        .expect("the policy is new")
}

/// Stores a token.
pub async fn admitting(store: &dyn Store, id: &str, policy: &str) -> (EnrollmentToken, ApiKey) {
    store
        .create_token(token(id, policy))
        .await
        .expect("the token is new")
}

/// The agent, which must exist.
pub async fn agent(store: &dyn Store, id: &str) -> Agent {
    store
        .agent(&AgentId::from(id))
        .await
        .expect("reads")
        .expect("the agent exists")
}

/// Ids of the waiting documents.
#[must_use]
pub fn docs(pending: &Pending) -> Vec<&str> {
    let docs = pending.actions.iter().map(|one| one.action.doc.as_str());
    docs.collect()
}

/// Stores that the agent confirmed everything up to this document, as a check-in would.
pub async fn acknowledge(store: &dyn Store, id: &str, doc: &str, time: Timestamp) {
    let (agent, token) = (agent(store, id).await, ActionDocId::from(doc));
    let pending = store
        .pending_actions(&agent.id, Some(&token), agent.action_position.as_ref(), time, 1)
        .await
        .expect("reads");
    let record = CheckinRecord {
        positions: pending.position.into_iter().collect(),
        ..checkin(id, time)
    };
    store
        .record_checkins(vec![record])
        .await
        .expect("the agent exists");
}

/// Whether the key is accepted.
pub async fn is_alive(store: &dyn Store, key: &ApiKey) -> bool {
    let verified = store.verify(key).await.expect("reads");
    matches!(verified, Verification::Active(_))
}

/// Confirms `revision` of policy `p` for an agent.
pub async fn confirm(store: &dyn Store, agent: &str, revision: i64) -> bool {
    store
        .confirm_policy(&AgentId::from(agent), &PolicyId::from("p"), revision, at(1))
        .await
        .expect("the agent exists")
}

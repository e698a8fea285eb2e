//! What operators ask of agents by Kibana's paths: upgrade, unenrol, migrate, change of privileges. For many agents each is
//! one action, which the store takes as a whole or not at all; how far it is, `GET /api/fleet/agents/actions/{id}` says.

use std::sync::Arc;

use actix_web::HttpResponse;
use fleet::{
    AgentId, RawJson, Timestamp,
    actions::{self, ActionDraft, ActionKind},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{AdminState, moment::moment, ok, query::Query, targets::Targets};
use crate::{
    call::Call,
    error::{ApiError, Family},
    operation::{Answer, KeyKind, Operation},
};

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "AgentsOrdered")]
struct Ordered {
    action_id: String,
}

/// Kibana's `force` and `skipRateLimitCheck` lift checks that this server does not make.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "AgentsUpgrade")]
struct Upgrade {
    agents: Option<Targets>,
    version: String,
    source_uri: Option<String>,
    start_time: Option<String>,
    rollout_duration_seconds: Option<u32>,
    #[serde(default, rename = "force")]
    _force: bool,
    #[serde(default, rename = "skipRateLimitCheck")]
    _skips_rate_limit: bool,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "AgentsMigration")]
struct Migration {
    agents: Option<Targets>,
    uri: String,
    enrollment_token: String,
    settings: Option<Map<String, Value>>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "AgentsPrivilege")]
struct Privilege {
    agents: Option<Targets>,
    user_info: Option<Map<String, Value>>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "AgentsUnenroll")]
struct Unenroll {
    agents: Option<Targets>,
    #[serde(default)]
    force: bool,
    #[serde(default)]
    revoke: bool,
}

fn about<T: JsonSchema>(id: &'static str, summary: &'static str) -> Operation {
    const PROGRESS: &[(&str, &str)] = &[("path.id", "$response.body#/actionId")];
    Operation::new(id, summary, KeyKind::OPERATOR)
        .takes_json::<T>()
        .answers(Answer::json::<Ordered>(200, "It is on its way").link("progress", "action", PROGRESS))
        .fails(&[
            Family::AgentKey,
            Family::Missing,
            Family::Rule,
            Family::Conflict,
            Family::Policy,
        ])
}

pub(super) fn about_upgrade() -> Operation {
    about::<Upgrade>("agentUpgrade", "Upgrades an agent").path("id", "The agent's id")
}

pub(super) fn about_bulk_upgrade() -> Operation {
    about::<Upgrade>("agentsUpgrade", "Upgrades agents, all at once or over a time")
}

pub(super) fn about_migrate() -> Operation {
    about::<Migration>("agentMigrate", "Moves an agent to another fleet").path("id", "The agent's id")
}

pub(super) fn about_bulk_migrate() -> Operation {
    about::<Migration>("agentsMigrate", "Moves agents to another fleet")
}

pub(super) fn about_change_privilege() -> Operation {
    about::<Privilege>(
        "agentChangePrivilege",
        "Has an agent go on without the rights of an administrator",
    )
    .path("id", "The agent's id")
}

pub(super) fn about_bulk_change_privilege() -> Operation {
    about::<Privilege>(
        "agentsChangePrivilege",
        "Has agents go on without the rights of an administrator",
    )
}

pub(super) fn about_bulk_unenroll() -> Operation {
    about::<Unenroll>("agentsUnenroll", "Asks agents to unenrol")
}

pub(super) async fn upgrade(state: Arc<AdminState>, mut call: Call) -> Result<HttpResponse, ApiError> {
    Query::none(&call.query)?;
    let wanted: Upgrade = state.json(&mut call, "upgrade").await?;
    let now = Timestamp::now();
    let mut data = json!({ "version": wanted.version });
    if let Some(uri) = wanted.source_uri.filter(|uri| !uri.is_empty()) {
        data["source_uri"] = uri.into();
    }
    let draft = ActionDraft {
        start_time: moment(wanted.start_time.as_deref(), "start_time", now)?,
        rollout_duration_seconds: wanted.rollout_duration_seconds,
        ..draft(ActionKind::Upgrade, &data)?
    };
    order(&state, &call, wanted.agents, draft, now).await
}

pub(super) async fn migrate(state: Arc<AdminState>, mut call: Call) -> Result<HttpResponse, ApiError> {
    Query::none(&call.query)?;
    let wanted: Migration = state.json(&mut call, "migrate").await?;
    let mut data = json!({ "target_uri": wanted.uri, "enrollment_token": wanted.enrollment_token });
    if let Some(settings) = wanted.settings {
        data["settings"] = settings.into();
    }
    let draft = draft(ActionKind::Migrate, &data)?;
    order(&state, &call, wanted.agents, draft, Timestamp::now()).await
}

pub(super) async fn change_privilege(
    state: Arc<AdminState>,
    mut call: Call,
) -> Result<HttpResponse, ApiError> {
    Query::none(&call.query)?;
    let wanted: Privilege = state.json(&mut call, "privilege level change").await?;
    let mut data = json!({ "unprivileged": true });
    if let Some(user) = wanted.user_info {
        data["user_info"] = user.into();
    }
    let draft = draft(ActionKind::PrivilegeLevelChange, &data)?;
    order(&state, &call, wanted.agents, draft, Timestamp::now()).await
}

pub(super) async fn bulk_unenroll(state: Arc<AdminState>, mut call: Call) -> Result<HttpResponse, ApiError> {
    Query::none(&call.query)?;
    let wanted: Unenroll = state.json(&mut call, "unenroll").await?;
    if wanted.force || wanted.revoke {
        return Err(ApiError::Invalid(
            "force and revoke are not supported for many agents: use POST /api/fleet/agents/{id}/unenroll for each"
                .into(),
        ));
    }
    let draft = ActionDraft::new(ActionKind::Unenroll);
    order(&state, &call, wanted.agents, draft, Timestamp::now()).await
}

fn draft(kind: ActionKind, data: &Value) -> Result<ActionDraft, ApiError> {
    let data = RawJson::from_value(data).map_err(|_| ApiError::Broken("no JSON".into()))?;
    Ok(ActionDraft {
        data: Some(data),
        ..ActionDraft::new(kind)
    })
}

/// One action for the agent of the path, or else for those that the body names.
async fn order(
    state: &AdminState,
    call: &Call,
    agents: Option<Targets>,
    draft: ActionDraft,
    now: Timestamp,
) -> Result<HttpResponse, ApiError> {
    let targets = match (call.id.as_str(), agents) {
        ("", Some(agents)) => agents.of_an_action(&state.fleet, now).await?,
        ("", None) => return Err(ApiError::Invalid("agents is missing: give ids or a kuery".into())),
        (id, None) => vec![AgentId::from(id)],
        (_, Some(_)) => {
            return Err(ApiError::Invalid(
                "agents is for many: the path names the one".into(),
            ));
        }
    };
    if targets.is_empty() {
        return Err(ApiError::Invalid(
            "no agent that takes actions is meant: nothing was done".into(),
        ));
    }
    let action = actions::post(&state.fleet, targets, draft, now).await?;
    ok(&Ordered {
        action_id: action.action.to_string(),
    })
}

//! The operators' API: Kibana's Fleet paths and JSON (data.md 9.1), on a listener of its own.
//!
//! Every route needs an operator's key with the role that it declares; writes need the header `kbn-xsrf`. Spaces are not told apart in this
//! version: the prefix `/s/default` is accepted, another space is answered 404.

mod agent_actions;
mod agent_files;
mod agent_json;
mod agent_orders;
mod agent_policies;
mod agent_query;
mod agent_status;
mod agents;
mod artifacts;
mod audit;
mod enrollment_api_keys;
mod files;
mod kuery;
mod moment;
mod operator_keys;
mod policy_copies;
mod policy_history;
mod query;
mod secrets;
mod targets;
mod tls;

use std::{
    future::Future,
    sync::{Arc, LazyLock},
    time::Duration,
};

use actix_service::ServiceFactory;
use actix_web::{
    App, Error, HttpRequest, HttpResponse, Resource, Route,
    body::BoxBody,
    dev::{ResourceDef, ServiceRequest, ServiceResponse},
    http::{
        Method,
        header::{HeaderName, HeaderValue},
    },
    web::{self, Bytes, ServiceConfig},
};
use fleet::{
    AuditActor, AuditDraft, Fleet, FleetError, FromObject, NewAudit, OperatorRole, Timestamp,
    operators::Operator,
};
use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    agent::{Identity, status},
    body_budget::BodyBudget,
    call::{self, API_VERSION as API_VERSION_HEADER, Call, REQUEST_ID},
    error::{ApiError, Audience, Family},
    exchange::SHOWN_ID,
    gate::Gate,
    json::{self, JsonError},
    limits::{Limits, RouteLimits},
    log_budget::shown,
    metrics::HttpMetrics,
    note::{Note, Standing},
    off_the_loop::off_the_loop_if_large,
    operation::{Answer, Described, KeyKind, Operation, Parameter},
    tls_admin::TlsAdmin,
    version::ADMIN_API_VERSION,
};
use query::Many;

/// What the operator may choose about the operators' API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminOptions {
    /// Requests in flight; `None`: any number.
    pub max_connections: Option<u32>,
    /// Largest body of a request, bytes.
    pub body_bytes: usize,
    /// Time in which a request's body must arrive, counted from the end of its head.
    pub body_timeout: Duration,
    /// `server.address` in the log.
    pub address: String,
    /// Name, version and id that `GET /api/status` shows.
    pub identity: Identity,
}

impl Default for AdminOptions {
    fn default() -> Self {
        Self {
            max_connections: Some(256),
            body_bytes: 5 << 20,
            body_timeout: Duration::from_secs(60),
            address: "localhost:8222".to_owned(),
            identity: Identity::default(),
        }
    }
}

/// The operators' API on one listener. Cheap to clone; all workers share it.
#[derive(Clone)]
pub struct AdminApi {
    state: Arc<AdminState>,
    gate: Gate,
}

#[derive(Clone)]
pub(crate) struct AdminState {
    fleet: Arc<Fleet>,
    tls: Arc<dyn TlsAdmin>,
    options: Arc<AdminOptions>,
    bodies: Arc<BodyBudget>,
}

impl AdminApi {
    /// The API of one listener.
    #[must_use]
    pub fn new(
        fleet: Arc<Fleet>,
        tls: Arc<dyn TlsAdmin>,
        options: AdminOptions,
        metrics: HttpMetrics,
    ) -> Self {
        let limits = Limits::default().with_max_connections(options.max_connections);
        let gate = Gate::new(Audience::Operator, limits, metrics, options.address.clone());
        Self {
            state: Arc::new(AdminState {
                fleet,
                tls,
                options: Arc::new(options),
                bodies: gate.admission().bodies.clone(),
            }),
            gate,
        }
    }

    /// The middleware that must be around the routes: the outermost one.
    #[must_use]
    pub fn gate(&self) -> Gate {
        self.gate.clone()
    }

    /// Registers the routes, with and without the prefix of the default space.
    pub fn configure(&self, config: &mut ServiceConfig) {
        for prefix in ["", "/s/default"] {
            for paths in routes() {
                config.service(paths.under(prefix, &self.state));
            }
        }
        config.default_service(web::to(not_found));
    }

    /// The paths of all routes, as they are written: parameters are in braces.
    #[must_use]
    pub fn paths() -> Vec<&'static str> {
        routes().into_iter().map(|route| route.path).collect()
    }

    /// Gate and routes as one application, ready for a listener.
    pub fn app(
        &self,
    ) -> App<
        impl ServiceFactory<
            ServiceRequest,
            Config = (),
            Response = ServiceResponse<BoxBody>,
            Error = Error,
            InitError = (),
        > + use<>,
    > {
        App::new()
            .wrap(self.gate())
            .configure(|config| self.configure(config))
    }
}

/// The one table of routes.
///
/// A fixed word in the place of an id is registered before the routes with ids and for its own methods only, so that
/// something whose id is this word is still reached by the other methods.
fn routes() -> Vec<Paths> {
    let at = |path| Paths {
        path,
        routes: Vec::new(),
        is_beside_ids: false,
    };
    vec![
        at("/api/status").get(own_status, about_own_status),
        at("/api/openapi.json").get(description, about_description),
        at("/api/tls").get(tls::state, tls::about_state),
        at("/api/tls/reload").post(tls::reload, tls::about_reload),
        at("/api/fleet/agent_policies")
            .get(agent_policies::list, agent_policies::about_list)
            .post(agent_policies::create, agent_policies::about_create),
        at("/api/fleet/agent_policies/delete")
            .post(agent_policies::delete, agent_policies::about_delete)
            .beside_ids(),
        at("/api/fleet/agent_policies/check")
            .post(agent_policies::check, agent_policies::about_check)
            .beside_ids(),
        at("/api/fleet/agent_policies/_bulk_get")
            .post(policy_copies::bulk_get, policy_copies::about_bulk_get)
            .beside_ids(),
        at("/api/fleet/agent_policies/{id}")
            .get(agent_policies::get, agent_policies::about_get)
            .put(agent_policies::update, agent_policies::about_update),
        at("/api/fleet/agent_policies/{id}/full").get(agent_policies::full, agent_policies::about_full),
        at("/api/fleet/agent_policies/{id}/copy").post(policy_copies::copy, policy_copies::about_copy),
        at("/api/fleet/agent_policies/{id}/download")
            .get(policy_copies::download, policy_copies::about_download),
        at("/api/fleet/agent_policies/{id}/revisions").get(policy_history::list, policy_history::about_list),
        at("/api/fleet/agent_policies/{id}/revisions/{revision}")
            .get(policy_history::get, policy_history::about_get),
        at("/api/fleet/agent_policies/{id}/diff").get(policy_history::diff, policy_history::about_diff),
        at("/api/fleet/agent_policies/{id}/rollback")
            .post(policy_history::roll_back, policy_history::about_roll_back),
        at("/api/fleet/enrollment_api_keys")
            .get(enrollment_api_keys::list, enrollment_api_keys::about_list)
            .post(enrollment_api_keys::create, enrollment_api_keys::about_create),
        at("/api/fleet/enrollment_api_keys/{id}")
            .get(enrollment_api_keys::get, enrollment_api_keys::about_get)
            .delete(enrollment_api_keys::revoke, enrollment_api_keys::about_revoke),
        at("/api/fleet/operator_keys")
            .get(operator_keys::list, operator_keys::about_list)
            .post(operator_keys::create, operator_keys::about_create),
        at("/api/fleet/operator_keys/{id}")
            .get(operator_keys::get, operator_keys::about_get)
            .delete(operator_keys::revoke, operator_keys::about_revoke),
        at("/api/fleet/secrets")
            .get(secrets::list, secrets::about_list)
            .post(secrets::create, secrets::about_create),
        at("/api/fleet/secrets/{id}")
            .get(secrets::get, secrets::about_get)
            .delete(secrets::delete, secrets::about_delete),
        at("/api/fleet/audit").get(audit::list, audit::about_list),
        at("/api/fleet/agent_status").get(agent_status::counts, agent_status::about),
        at("/api/fleet/artifacts/{id}").put(artifacts::put, artifacts::about_put),
        at("/api/fleet/artifacts/{id}/{sha2}").delete(artifacts::delete, artifacts::about_delete),
        at("/api/fleet/agents").get(agents::list, agents::about_list),
        // Before the next: no action has the id `uploads`.
        at("/api/fleet/agents/{id}/uploads")
            .get(agent_files::list, agent_files::about_list)
            .beside_ids(),
        at("/api/fleet/agents/actions/{id}")
            .get(agent_actions::progress, agent_actions::about_progress)
            .beside_ids(),
        at("/api/fleet/agents/bulk_reassign")
            .post(agents::bulk_reassign, agents::about_bulk_reassign)
            .beside_ids(),
        at("/api/fleet/agents/bulk_request_diagnostics")
            .post(
                agent_files::bulk_request_diagnostics,
                agent_files::about_bulk_request_diagnostics,
            )
            .beside_ids(),
        at("/api/fleet/agents/bulk_upgrade")
            .post(agent_orders::upgrade, agent_orders::about_bulk_upgrade)
            .beside_ids(),
        at("/api/fleet/agents/bulk_unenroll")
            .post(agent_orders::bulk_unenroll, agent_orders::about_bulk_unenroll)
            .beside_ids(),
        at("/api/fleet/agents/bulk_migrate")
            .post(agent_orders::migrate, agent_orders::about_bulk_migrate)
            .beside_ids(),
        at("/api/fleet/agents/bulk_privilege_level_change")
            .post(
                agent_orders::change_privilege,
                agent_orders::about_bulk_change_privilege,
            )
            .beside_ids(),
        at("/api/fleet/agents/files/{id}")
            .delete(agent_files::delete, agent_files::about_delete)
            .beside_ids(),
        at("/api/fleet/agents/files/{id}/{name}").get(agent_files::download, agent_files::about_download),
        at("/api/fleet/agents/{id}/request_diagnostics").post(
            agent_files::request_diagnostics,
            agent_files::about_request_diagnostics,
        ),
        at("/api/fleet/files")
            .get(files::list, files::about_list)
            .post(files::create, files::about_create),
        at("/api/fleet/files/{id}").delete(files::delete, files::about_delete),
        at("/api/fleet/agents/{id}").get(agents::get, agents::about_get),
        at("/api/fleet/agents/{id}/unenroll").post(agents::unenroll, agents::about_unenroll),
        at("/api/fleet/agents/{id}/upgrade").post(agent_orders::upgrade, agent_orders::about_upgrade),
        at("/api/fleet/agents/{id}/migrate").post(agent_orders::migrate, agent_orders::about_migrate),
        at("/api/fleet/agents/{id}/privilege_level_change").post(
            agent_orders::change_privilege,
            agent_orders::about_change_privilege,
        ),
        at("/api/fleet/agents/{id}/reassign").post(agents::reassign, agents::about_reassign),
        at("/api/fleet/agents/{id}/actions").post(agent_actions::create, agent_actions::about_create),
    ]
}

/// The operators' routes as they are described.
pub(crate) fn described() -> Vec<Described> {
    routes().into_iter().flat_map(Paths::described).collect()
}

/// What a path takes as one that stands beside those with ids.
fn beside_ids(path: &str) -> Option<&'static str> {
    static BESIDE: LazyLock<Vec<(ResourceDef, String)>> = LazyLock::new(|| {
        let beside = routes().into_iter().filter(|paths| paths.is_beside_ids);
        let known = beside.map(|paths| {
            let places = [paths.path.to_owned(), format!("/s/default{}", paths.path)];
            (ResourceDef::new(places), paths.allowed())
        });
        known.collect()
    });
    let known = BESIDE.iter().find(|(place, _)| place.is_match(path));
    known.map(|(_, allowed)| allowed.as_str())
}

/// One path with its methods.
struct Paths {
    path: &'static str,
    routes: Vec<Registered>,
    is_beside_ids: bool,
}

struct Registered {
    method: Method,
    about: fn() -> Operation,
    register: Register,
}

type Register = Box<dyn Fn(&Arc<AdminState>) -> Route>;

/// Adds the handler of a method to a path, with its description.
macro_rules! methods {
    ($( $name:ident $method:ident ),*) => {$(
        fn $name<F, Fut>(mut self, handle: F, about: fn() -> Operation) -> Self
        where
            F: Fn(Arc<AdminState>, Call) -> Fut + Copy + 'static,
            Fut: Future<Output = Result<HttpResponse, ApiError>> + 'static,
        {
            let register = move |state: &Arc<AdminState>| serve(state, Method::$method, handle, about);
            self.routes.push(Registered {
                method: Method::$method,
                about,
                register: Box::new(register),
            });
            self
        }
    )*};
}

impl Paths {
    methods! { get GET, post POST, put PUT, delete DELETE }

    /// The path's last word could be an id of another route.
    fn beside_ids(mut self) -> Self {
        self.is_beside_ids = true;
        self
    }

    fn allowed(&self) -> String {
        let mut allowed = Vec::new();
        for Registered { method, .. } in &self.routes {
            allowed.push(method.to_string());
            if method == Method::GET {
                allowed.push(Method::HEAD.to_string());
            }
        }
        allowed.join(", ")
    }

    fn under(self, prefix: &str, state: &Arc<AdminState>) -> Resource {
        let mut resource = web::resource(format!("{prefix}{}", self.path));
        let allowed = self.allowed();
        for Registered { method, register, .. } in self.routes {
            if self.is_beside_ids {
                resource = resource.guard(call::takes(&method));
            }
            resource = resource.route(register(state));
        }
        resource.default_service(web::to(move |request: HttpRequest| {
            let mut allowed = allowed.clone();
            if let Some(more) = beside_ids(request.path()) {
                allowed = format!("{allowed}, {more}");
            }
            async move { ApiError::Method { allowed }.to_response(Audience::Operator, &id_of(&request)) }
        }))
    }

    fn described(self) -> Vec<Described> {
        let path = self.path;
        let described = |Registered { method, about, .. }| {
            let mut operation = about()
                .parameter(Parameter::header(
                    "X-Request-Id",
                    "The request's id in the log; echoed",
                ))
                .parameter(
                    Parameter::header("elastic-api-version", "The version of this API").with_schema(
                        |_| schemars::json_schema!({ "type": "string", "enum": [ADMIN_API_VERSION] }),
                    ),
                );
            if method != Method::GET {
                operation =
                    operation.parameter(Parameter::header("kbn-xsrf", "Any value").like("true").required());
            }
            if path.contains('{') {
                operation = operation.fails(&[Family::Missing]);
            }
            Described {
                method,
                path,
                operation,
            }
        };
        self.routes.into_iter().map(described).collect()
    }
}

/// A route: version of the API, operator's key with the role that the route declares, `kbn-xsrf` on writes, then the
/// handler.
fn serve<F, Fut>(state: &Arc<AdminState>, method: Method, handle: F, about: fn() -> Operation) -> Route
where
    F: Fn(Arc<AdminState>, Call) -> Fut + Copy + 'static,
    Fut: Future<Output = Result<HttpResponse, ApiError>> + 'static,
{
    let state = Arc::clone(state);
    let writes = method != Method::GET;
    let operation = about();
    let role = operation.key.role();
    let is_audited = writes && !operation.only_reads;
    let action: Arc<str> = operation.action().into();
    call::route(method, move |call| {
        let state = Arc::clone(&state);
        let (id, key, action) = (call.request_id(), call.key_id(), Arc::clone(&action));
        async move {
            let (result, standing) = match admit(&state, &call, role, writes).await {
                Ok(operator) if is_audited => (
                    audited(&state, call, operator, &action, handle).await,
                    Standing::Known,
                ),
                Ok(_) => (handle(state, call).await, Standing::Known),
                Err(error) if error.is_failed_attempt() => (Err(error), Standing::Failed),
                Err(error) => (Err(error), Standing::Stranger),
            };
            if cfg!(debug_assertions) {
                about().expect(&result);
            }
            let mut response = result.unwrap_or_else(|error| error.to_response(Audience::Operator, &id));
            let version = HeaderValue::from_static(ADMIN_API_VERSION);
            response.headers_mut().insert(API_VERSION_HEADER.clone(), version);
            Note::of(&mut response, |note| {
                note.key = key;
                note.standing = standing;
            });
            response
        }
    })
}

/// Handles a request that changes something, with its entry in the audit log.
async fn audited<F, Fut>(
    state: &AdminState,
    call: Call,
    operator: Operator,
    action: &str,
    handle: F,
) -> Result<HttpResponse, ApiError>
where
    F: Fn(Arc<AdminState>, Call) -> Fut,
    Fut: Future<Output = Result<HttpResponse, ApiError>>,
{
    let entry = NewAudit {
        at: Timestamp::now(),
        actor: AuditActor {
            key: operator.key,
            name: operator.name,
            role: operator.role,
        },
        action: action.to_owned(),
        target: None,
        before: None,
        after: None,
        address: call.peer.map(|peer| peer.to_string()),
        request: shown(&call.request_id(), SHOWN_ID).into_owned(),
    };
    let fleet = state.fleet.audited(Arc::new(AuditDraft::new(entry)));
    let own = AdminState {
        fleet: Arc::clone(&fleet),
        ..state.clone()
    };
    let response = handle(Arc::new(own), call).await?;
    fleet::audit_log::complete(&fleet).await?;
    Ok(response)
}

/// The operator who asks, if the role suffices.
async fn admit(
    state: &AdminState,
    call: &Call,
    role: OperatorRole,
    writes: bool,
) -> Result<Operator, ApiError> {
    call.one(&REQUEST_ID, "X-Request-Id")?;
    call.negotiate(ADMIN_API_VERSION)?;
    let key = call
        .key
        .as_ref()
        .map_err(|error| ApiError::Authorization(error.clone()))?;
    let operator = fleet::auth::authenticate_operator(&state.fleet, key, Timestamp::now()).await?;
    operator.must_be(role)?;
    if writes && !call.headers.contains_key(&XSRF) {
        return Err(ApiError::Invalid(
            "a request that changes something needs the header kbn-xsrf: add `kbn-xsrf: true`".into(),
        ));
    }
    Ok(operator)
}

static XSRF: HeaderName = HeaderName::from_static("kbn-xsrf");

impl AdminState {
    async fn body(&self, call: &mut Call, what: &'static str) -> Result<Bytes, ApiError> {
        let limits = RouteLimits {
            body_bytes: Some(self.options.body_bytes),
            ..RouteLimits::NONE
        };
        let held = self.bodies.hold(None::<()>);
        call.body(what, limits, self.options.body_timeout, held).await
    }

    /// A JSON body, which is an object; an empty one counts as `{}`.
    async fn json<T>(&self, call: &mut Call, what: &'static str) -> Result<T, ApiError>
    where
        T: DeserializeOwned + Send + 'static,
    {
        let body = self.body(call, what).await?;
        let bytes = body.len();
        let read = move || {
            let text = if body.iter().all(u8::is_ascii_whitespace) {
                b"{}"
            } else {
                body.as_ref()
            };
            json::check_is_object(text)?;
            let FromObject(value) =
                serde_json::from_slice(text).map_err(|error| JsonError::Syntax(error.to_string()))?;
            Ok(value)
        };
        off_the_loop_if_large(bytes, read)
            .await?
            .map_err(|cause| ApiError::Json { what, cause })
    }
}

async fn own_status(state: Arc<AdminState>, mut call: Call) -> Result<HttpResponse, ApiError> {
    query::Query::none(&call.query)?;
    status::answer(&state.fleet, &state.options.identity, &mut call).await
}

/// The description of all faces. It is made for whoever asks, which is seldom, and not kept.
async fn description(_: Arc<AdminState>, call: Call) -> Result<HttpResponse, ApiError> {
    query::Query::none(&call.query)?;
    let document = web::block(|| crate::openapi().to_string()).await;
    let document = document.map_err(|_| ApiError::Fleet(FleetError::ShuttingDown))?;
    Ok(HttpResponse::Ok().content_type("application/json").body(document))
}

fn about_own_status() -> Operation {
    Operation {
        key: KeyKind::VIEWER,
        ..status::about()
    }
    .fails(&[Family::Key, Family::OperatorKey, Family::Service])
}

fn about_description() -> Operation {
    Operation::new("openapi", "This document", KeyKind::VIEWER).answers(Answer::shaped(
        200,
        "OpenAPI 3.1",
        |_| schemars::json_schema!({ "type": "object" }),
    ))
}

async fn not_found(request: HttpRequest) -> HttpResponse {
    let path = request.path();
    if let Some(allowed) = beside_ids(path) {
        let allowed = allowed.to_owned();
        return ApiError::Method { allowed }.to_response(Audience::Operator, &id_of(&request));
    }
    let error = if path.starts_with("/s/") && !path.starts_with("/s/default/") {
        ApiError::NotFound {
            what: "the space of path",
            id: path.to_owned(),
        }
    } else {
        ApiError::NotFound {
            what: "path",
            id: path.to_owned(),
        }
    };
    error.to_response(Audience::Operator, &id_of(&request))
}

fn id_of(request: &HttpRequest) -> String {
    let id = request
        .headers()
        .get(&REQUEST_ID)
        .map(|id| String::from_utf8_lossy(id.as_bytes()).into_owned());
    id.unwrap_or_default()
}

fn ok<T: Serialize>(body: &T) -> Result<HttpResponse, ApiError> {
    let body = serde_json::to_vec(body)
        .map_err(|_| ApiError::Broken("an answer cannot be written as JSON".into()))?;
    Ok(HttpResponse::Ok()
        .content_type("application/json; charset=utf-8")
        .body(body))
}

/// One object in Kibana's envelope.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "One{T}")]
struct One<T> {
    item: T,
}

/// The answer to a write that returns no item.
#[derive(Serialize, JsonSchema)]
struct Done {
    action: &'static str,
}

//! The operators' API: Kibana's Fleet paths and JSON (data.md 9.1), on a listener of its own.
//!
//! Every route needs an operator's key; writes need the header `kbn-xsrf`. Spaces are not told apart in this
//! version: the prefix `/s/default` is accepted, another space is answered 404.

mod agent_actions;
mod agent_files;
mod agent_json;
mod agent_policies;
mod agent_query;
mod agent_status;
mod agents;
mod artifacts;
mod enrollment_api_keys;
mod files;
mod kuery;
mod moment;
mod query;
mod secrets;
mod tls;

use std::{fmt, future::Future, sync::Arc, time::Duration};

use actix_service::ServiceFactory;
use actix_web::{
    App, Error, HttpRequest, HttpResponse, Resource, Route,
    body::BoxBody,
    dev::{ServiceRequest, ServiceResponse},
    http::{
        Method,
        header::{HeaderName, HeaderValue},
    },
    web::{self, Bytes, ServiceConfig},
};
use fleet::{Fleet, FromObject};
use serde::{Serialize, de::DeserializeOwned};

pub use tls::TlsAdmin;

use crate::{
    agent::{Identity, status},
    body_budget::BodyBudget,
    call::{self, API_VERSION as API_VERSION_HEADER, Call, REQUEST_ID},
    error::{ApiError, Audience},
    gate::Gate,
    json::{self, JsonError, off_the_loop_if_large},
    limits::{Limits, RouteLimits},
    metrics::HttpMetrics,
    note::{Note, Standing},
    version::ADMIN_API_VERSION,
};

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

impl fmt::Debug for AdminApi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminApi")
            .field("options", &self.state.options)
            .finish_non_exhaustive()
    }
}

pub(crate) struct AdminState {
    fleet: Arc<Fleet>,
    tls: Arc<dyn TlsAdmin>,
    options: AdminOptions,
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
                options,
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
            for paths in self.routes() {
                config.service(paths.under(prefix));
            }
        }
        config.default_service(web::to(not_found));
    }

    /// The paths of all routes, as they are written: parameters are in braces.
    #[must_use]
    pub fn paths(&self) -> Vec<&'static str> {
        self.routes().into_iter().map(|route| route.path).collect()
    }

    /// A fixed word in the place of an id is registered before the routes with ids and for its own methods only, so that
    /// something whose id is this word is still reached by the other methods.
    fn routes(&self) -> Vec<Paths<'_>> {
        let at = |path| Paths {
            state: &self.state,
            path,
            routes: Vec::new(),
            is_beside_ids: false,
        };
        vec![
            at("/api/status").get(own_status),
            at("/api/tls").get(tls::state),
            at("/api/tls/reload").post(tls::reload),
            at("/api/fleet/agent_policies")
                .get(agent_policies::list)
                .post(agent_policies::create),
            at("/api/fleet/agent_policies/delete")
                .post(agent_policies::delete)
                .beside_ids(),
            at("/api/fleet/agent_policies/{id}")
                .get(agent_policies::get)
                .put(agent_policies::update),
            at("/api/fleet/agent_policies/{id}/full").get(agent_policies::full),
            at("/api/fleet/enrollment_api_keys")
                .get(enrollment_api_keys::list)
                .post(enrollment_api_keys::create),
            at("/api/fleet/enrollment_api_keys/{id}")
                .get(enrollment_api_keys::get)
                .delete(enrollment_api_keys::revoke),
            at("/api/fleet/secrets").get(secrets::list).post(secrets::create),
            at("/api/fleet/secrets/{id}")
                .get(secrets::get)
                .delete(secrets::delete),
            at("/api/fleet/agent_status").get(agent_status::counts),
            at("/api/fleet/artifacts/{id}").put(artifacts::put),
            at("/api/fleet/artifacts/{id}/{sha2}").delete(artifacts::delete),
            at("/api/fleet/agents").get(agents::list),
            // Before the next: no action has the id `uploads`.
            at("/api/fleet/agents/{id}/uploads")
                .get(agent_files::list)
                .beside_ids(),
            at("/api/fleet/agents/actions/{id}")
                .get(agent_actions::progress)
                .beside_ids(),
            at("/api/fleet/agents/bulk_reassign")
                .post(agents::bulk_reassign)
                .beside_ids(),
            at("/api/fleet/agents/files/{id}")
                .delete(agent_files::delete)
                .beside_ids(),
            at("/api/fleet/agents/files/{id}/{name}").get(agent_files::download),
            at("/api/fleet/agents/{id}/request_diagnostics").post(agent_files::request_diagnostics),
            at("/api/fleet/files").get(files::list).post(files::create),
            at("/api/fleet/files/{id}").delete(files::delete),
            at("/api/fleet/agents/{id}").get(agents::get),
            at("/api/fleet/agents/{id}/unenroll").post(agents::unenroll),
            at("/api/fleet/agents/{id}/reassign").post(agents::reassign),
            at("/api/fleet/agents/{id}/actions").post(agent_actions::create),
        ]
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

/// One path with its methods.
struct Paths<'a> {
    state: &'a Arc<AdminState>,
    path: &'static str,
    routes: Vec<(Method, Route)>,
    is_beside_ids: bool,
}

impl Paths<'_> {
    fn method<F, Fut>(mut self, method: Method, handle: F) -> Self
    where
        F: Fn(Arc<AdminState>, Call) -> Fut + Copy + 'static,
        Fut: Future<Output = Result<HttpResponse, ApiError>> + 'static,
    {
        let route = serve(self.state, method.clone(), handle);
        self.routes.push((method, route));
        self
    }

    fn get<F, Fut>(self, handle: F) -> Self
    where
        F: Fn(Arc<AdminState>, Call) -> Fut + Copy + 'static,
        Fut: Future<Output = Result<HttpResponse, ApiError>> + 'static,
    {
        self.method(Method::GET, handle)
    }

    fn post<F, Fut>(self, handle: F) -> Self
    where
        F: Fn(Arc<AdminState>, Call) -> Fut + Copy + 'static,
        Fut: Future<Output = Result<HttpResponse, ApiError>> + 'static,
    {
        self.method(Method::POST, handle)
    }

    fn put<F, Fut>(self, handle: F) -> Self
    where
        F: Fn(Arc<AdminState>, Call) -> Fut + Copy + 'static,
        Fut: Future<Output = Result<HttpResponse, ApiError>> + 'static,
    {
        self.method(Method::PUT, handle)
    }

    fn delete<F, Fut>(self, handle: F) -> Self
    where
        F: Fn(Arc<AdminState>, Call) -> Fut + Copy + 'static,
        Fut: Future<Output = Result<HttpResponse, ApiError>> + 'static,
    {
        self.method(Method::DELETE, handle)
    }

    /// The path's last word could be an id of another route.
    fn beside_ids(mut self) -> Self {
        self.is_beside_ids = true;
        self
    }

    fn under(self, prefix: &str) -> Resource {
        let mut resource = web::resource(format!("{prefix}{}", self.path));
        let mut allowed = Vec::new();
        for (method, route) in self.routes {
            if self.is_beside_ids {
                resource = resource.guard(call::takes(&method));
            }
            resource = resource.route(route);
            allowed.push(method.to_string());
            if method == Method::GET {
                allowed.push(Method::HEAD.to_string());
            }
        }
        let allowed = allowed.join(", ");
        resource.default_service(web::to(move |request: HttpRequest| {
            let allowed = allowed.clone();
            async move { ApiError::Method { allowed }.to_response(Audience::Operator, &id_of(&request)) }
        }))
    }
}

/// A route: version of the API, operator's key, `kbn-xsrf` on writes, then the handler.
fn serve<F, Fut>(state: &Arc<AdminState>, method: Method, handle: F) -> Route
where
    F: Fn(Arc<AdminState>, Call) -> Fut + Copy + 'static,
    Fut: Future<Output = Result<HttpResponse, ApiError>> + 'static,
{
    let state = Arc::clone(state);
    let writes = method != Method::GET;
    call::route(method, move |call| {
        let state = Arc::clone(&state);
        let (id, key) = (call.request_id(), call.key_id());
        async move {
            let (result, standing) = match admit(&state, &call, writes).await {
                Ok(()) => (handle(state, call).await, Standing::Known),
                Err(error) if error.is_failed_attempt() => (Err(error), Standing::Failed),
                Err(error) => (Err(error), Standing::Stranger),
            };
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

async fn admit(state: &AdminState, call: &Call, writes: bool) -> Result<(), ApiError> {
    call.one(&REQUEST_ID, "X-Request-Id")?;
    call.negotiate(ADMIN_API_VERSION)?;
    let key = call
        .key
        .as_ref()
        .map_err(|error| ApiError::Authorization(error.clone()))?;
    fleet::auth::authenticate_operator(&state.fleet, key).await?;
    if writes && !call.headers.contains_key(&XSRF) {
        return Err(ApiError::Invalid(
            "a request that changes something needs the header kbn-xsrf: add `kbn-xsrf: true`".into(),
        ));
    }
    Ok(())
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

async fn not_found(request: HttpRequest) -> HttpResponse {
    let path = request.path();
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
#[derive(Serialize)]
struct One<T> {
    item: T,
}

/// A list in Kibana's envelope.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Many<T> {
    items: Vec<T>,
    total: u64,
    page: u64,
    per_page: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_search_after: Option<String>,
}

/// The answer to a write that returns no item.
#[derive(Serialize)]
struct Done {
    action: &'static str,
}

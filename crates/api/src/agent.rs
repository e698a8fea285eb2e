//! The agents' API: the same routes on the external and the internal listener, each with limits of its own.

mod acks;
mod artifacts;
mod audit;
mod byte_range;
mod checkin;
mod deflated;
mod enroll;
mod file;
mod opamp;
mod routes;
mod signing_key;
pub(crate) mod status;
mod uploads;
mod wire;

use std::{
    future::{Future, ready},
    sync::Arc,
    time::Duration,
};

use actix_service::ServiceFactory;
use actix_web::{
    App, Error, HttpResponse, Route,
    body::{BoxBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::{
        Method,
        header::{ACCEPT_ENCODING, CONTENT_ENCODING, HeaderValue, USER_AGENT},
    },
    web::{self, ServiceConfig},
};
use fleet::{COMPATIBLE_VERSION, Fleet, KeyId, Version};
use futures_util::{FutureExt as _, future::Either};

use deflated::DeflatedPolicies;
use routes::AgentRoute;

use crate::{
    admission::Admission,
    call::{self, API_VERSION as API_VERSION_HEADER, Call, REQUEST_ID},
    compression::ResponseCompression,
    error::{ApiError, Audience},
    gate::Gate,
    limits::Limits,
    metrics::HttpMetrics,
    note::{Note, Standing},
    operation::{Described, Operation},
    outgoing::Outgoing,
    signing_key::SigningKey,
    version::{self, API_VERSION},
};

/// What the server says about its build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Commit.
    pub build_hash: String,
    /// When it was built, RFC 3339.
    pub build_time: String,
}

impl Default for Identity {
    /// What a build says that knows nothing about itself (agents.md 3.1).
    fn default() -> Self {
        Self {
            build_hash: "unknown".to_owned(),
            build_time: "0001-01-01T00:00:00Z".to_owned(),
        }
    }
}

/// What the operator may choose about the agents' API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentOptions {
    /// Limits, body sizes included.
    pub limits: Limits,
    /// When answers are compressed.
    pub compression: ResponseCompression,
    /// Time for a request's body, from its head.
    pub body_timeout: Duration,
    /// How long a connection may be silent.
    pub idle_timeout: Duration,
    /// `server.address` in the log.
    pub address: String,
    /// Told by `GET /api/status`.
    pub identity: Identity,
    /// Whether agents that speak OpAMP are served.
    pub serves_opamp: bool,
}

impl Default for AgentOptions {
    /// The defaults of agents.md 1.3, 1.9 and 9.4.
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            compression: ResponseCompression::default(),
            body_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(35),
            address: "localhost:8220".to_owned(),
            identity: Identity::default(),
            serves_opamp: true,
        }
    }
}

/// The agents' API on one listener. Cheap to clone; all workers of the listener share it.
#[derive(Clone)]
pub struct AgentApi {
    state: Arc<AgentState>,
    gate: Gate,
}

pub(crate) struct AgentState {
    pub(crate) fleet: Arc<Fleet>,
    pub(crate) options: AgentOptions,
    signing_key: Arc<dyn SigningKey>,
    admission: Arc<Admission>,
    deflated: DeflatedPolicies,
    outgoing: Outgoing,
}

impl AgentApi {
    /// The API of one listener, its limits unspent.
    #[must_use]
    pub fn new(
        fleet: Arc<Fleet>,
        signing_key: Arc<dyn SigningKey>,
        options: AgentOptions,
        metrics: HttpMetrics,
    ) -> Self {
        let gate = Gate::new(
            Audience::Agent,
            options.limits.clone(),
            metrics,
            options.address.clone(),
        );
        Self {
            state: Arc::new(AgentState {
                fleet,
                signing_key,
                options,
                admission: gate.admission(),
                deflated: DeflatedPolicies::default(),
                outgoing: Outgoing::default(),
            }),
            gate,
        }
    }

    /// The middleware that must be around the routes: the outermost one.
    #[must_use]
    pub fn gate(&self) -> Gate {
        self.gate.clone()
    }

    /// Registers the routes.
    pub fn configure(&self, config: &mut ServiceConfig) {
        for resource in routes::resources(&self.state) {
            config.service(resource);
        }
        config.default_service(web::to(call::not_found));
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

impl AgentState {
    /// The version of the agent that calls (agents.md 2.3).
    fn agent_version(&self, call: &Call) -> Result<Version, ApiError> {
        let value = call.required(&USER_AGENT, "User-Agent")?;
        version::accept_user_agent(&value, COMPATIBLE_VERSION).map_err(ApiError::UserAgent)
    }
}

/// Which headers a route declares.
#[derive(Clone, Copy)]
struct Binding {
    needs_user_agent: bool,
    has_encodings: bool,
    /// It needs no key.
    is_open: bool,
}

impl Binding {
    const NONE: Self = Self {
        needs_user_agent: false,
        has_encodings: false,
        is_open: false,
    };
    const OPEN: Self = Self {
        is_open: true,
        ..Self::NONE
    };
    const AGENT: Self = Self {
        needs_user_agent: true,
        ..Self::NONE
    };
    const CHECKIN: Self = Self {
        has_encodings: true,
        ..Self::AGENT
    };

    fn check(self, call: &Call) -> Result<(), ApiError> {
        call.one(&REQUEST_ID, "X-Request-Id")?;
        call.one(&API_VERSION_HEADER, "elastic-api-version")?;
        if self.needs_user_agent {
            call.required(&USER_AGENT, "User-Agent")?;
        }
        if self.has_encodings {
            call.one(&ACCEPT_ENCODING, "Accept-Encoding")?;
            call.one(&CONTENT_ENCODING, "Content-Encoding")?;
        }
        Ok(())
    }
}

/// The agents' routes as they are described.
pub(crate) fn described() -> Vec<Described> {
    routes::table().into_iter().map(AgentRoute::described).collect()
}

/// A route: binding, then the version of the API, then the handler (agents.md 1.4).
fn serve<F, Fut>(
    state: &Arc<AgentState>,
    method: Method,
    binding: Binding,
    handle: F,
    about: fn() -> Operation,
) -> Route
where
    F: Fn(Arc<AgentState>, Call) -> Fut + Copy + 'static,
    Fut: Future<Output = Result<HttpResponse, ApiError>> + 'static,
{
    let state = Arc::clone(state);
    // Combinators, not an async block: a block would keep room for the request, and for the handler's state twice, as
    // long as an agent waits.
    call::route(method, move |call| {
        let asked = Asked {
            id: call.request_id(),
            key: call.key_id(),
            is_open: binding.is_open,
        };
        if let Err(error) = binding.check(&call) {
            return Either::Left(ready(asked.unversioned(&error)));
        }
        match call.negotiate(API_VERSION) {
            Err(error) => Either::Left(ready(asked.answered(Err(error), Standing::Stranger))),
            Ok(()) => Either::Right(handle(Arc::clone(&state), call).map(move |result| {
                if cfg!(debug_assertions) {
                    about().expect(&result);
                }
                let standing = match &result {
                    Err(error) if error.is_failed_attempt() => Standing::Failed,
                    Ok(_) if asked.is_open => Standing::Stranger,
                    Ok(_) | Err(_) => Standing::Known,
                };
                asked.answered(result, standing)
            })),
        }
    })
}

/// What the answer needs of its request.
struct Asked {
    id: String,
    key: Option<KeyId>,
    is_open: bool,
}

impl Asked {
    fn answered(self, result: Result<HttpResponse, ApiError>, standing: Standing) -> HttpResponse {
        let mut response = result.unwrap_or_else(|error| error.to_response(Audience::Agent, &self.id));
        let version = HeaderValue::from_static(API_VERSION);
        response.headers_mut().insert(API_VERSION_HEADER.clone(), version);
        self.noted(response, standing)
    }

    /// A request that is malformed before its version is looked at.
    fn unversioned(self, error: &ApiError) -> HttpResponse {
        let response = error.to_response(Audience::Agent, &self.id);
        self.noted(response, Standing::Stranger)
    }

    fn noted(self, mut response: HttpResponse, standing: Standing) -> HttpResponse {
        Note::of(&mut response, |note| {
            note.key = self.key;
            // What the handler knows better stays.
            if note.standing == Standing::Stranger {
                note.standing = standing;
            }
        });
        response
    }
}

/// A successful JSON answer (agents.md 1.5).
fn json(body: impl MessageBody + 'static) -> HttpResponse {
    HttpResponse::Ok().content_type("application/json").body(body)
}

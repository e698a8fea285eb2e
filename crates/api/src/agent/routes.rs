//! The one table of the agents' routes: what is served is registered from it, and described from it.
//!
//! In: the state of a listener. Out: its resources, and what `openapi` writes. Decides nothing about a request.

use std::{future::Future, sync::Arc};

use actix_web::{HttpResponse, Route, http::Method, web};

use super::{
    AgentState, Binding, acks, artifacts, audit, checkin, enroll, file, opamp, serve, signing_key, status,
    uploads,
};
use crate::{
    call::{self, Call},
    error::ApiError,
    operation::{Described, Operation, Parameter},
    version::API_VERSION,
};

/// One method of one path.
pub(super) struct AgentRoute {
    method: Method,
    path: &'static str,
    about: fn() -> Operation,
    binding: Option<Binding>,
    register: Register,
}

type Register = Box<dyn Fn(&Arc<AgentState>) -> Route>;

/// All of them.
pub(super) fn table() -> Vec<AgentRoute> {
    const GET: Method = Method::GET;
    const POST: Method = Method::POST;
    const PUT: Method = Method::PUT;
    vec![
        at(GET, "/api/status", Binding::OPEN, status::serve, status::about),
        at(
            POST,
            "/api/fleet/agents/enroll",
            Binding::AGENT,
            enroll::serve,
            enroll::about,
        ),
        at(
            POST,
            "/api/fleet/agents/{id}/checkin",
            Binding::CHECKIN,
            checkin::serve,
            checkin::about,
        ),
        at(
            POST,
            "/api/fleet/agents/{id}/acks",
            Binding::NONE,
            acks::serve,
            acks::about,
        ),
        at(
            POST,
            "/api/fleet/agents/{id}/audit/unenroll",
            Binding::NONE,
            audit::serve,
            audit::about,
        ),
        at(
            GET,
            "/api/agents/upgrades/{id}/pgp-public-key",
            Binding::OPEN,
            signing_key::serve,
            signing_key::about,
        ),
        at(
            POST,
            "/api/fleet/uploads",
            Binding::NONE,
            uploads::begin,
            uploads::about_begin,
        ),
        at(
            POST,
            "/api/fleet/uploads/{id}",
            Binding::NONE,
            uploads::complete,
            uploads::about_complete,
        ),
        at(
            PUT,
            "/api/fleet/uploads/{id}/{chunk}",
            Binding::NONE,
            uploads::chunk,
            uploads::about_chunk,
        ),
        at(
            GET,
            "/api/fleet/artifacts/{id}/{sha2}",
            Binding::NONE,
            artifacts::serve,
            artifacts::about,
        ),
        at(
            GET,
            "/api/fleet/file/{id}",
            Binding::NONE,
            file::serve,
            file::about,
        ),
        AgentRoute {
            method: POST,
            path: opamp::PATH,
            about: opamp::about,
            binding: None,
            register: Box::new(opamp::messages),
        },
        AgentRoute {
            method: GET,
            path: opamp::PATH,
            about: opamp::about_connection,
            binding: None,
            register: Box::new(opamp::connections),
        },
    ]
}

/// The resources of a listener: the routes of one path, which stand together in the table, are one.
pub(super) fn resources(state: &Arc<AgentState>) -> Vec<actix_web::Resource> {
    let table = table();
    let of_paths = table.chunk_by(|one, next| one.path == next.path);
    let served = of_paths.filter(|routes| routes[0].path != opamp::PATH || state.options.serves_opamp);
    let resource = |routes: &[AgentRoute]| {
        let allowed = match routes {
            [route] => route.allowed(),
            _ => "GET, POST",
        };
        let all = web::resource(routes[0].path);
        let all = routes
            .iter()
            .fold(all, |all, route| all.route((route.register)(state)));
        all.default_service(call::not_allowed(allowed))
    };
    served.map(resource).collect()
}

fn at<F, Fut>(
    method: Method,
    path: &'static str,
    binding: Binding,
    handle: F,
    about: fn() -> Operation,
) -> AgentRoute
where
    F: Fn(Arc<AgentState>, Call) -> Fut + Copy + 'static,
    Fut: Future<Output = Result<HttpResponse, ApiError>> + 'static,
{
    let of = method.clone();
    AgentRoute {
        method,
        path,
        about,
        binding: Some(binding),
        register: Box::new(move |state| serve(state, of.clone(), binding, handle, about)),
    }
}

impl AgentRoute {
    const fn allowed(&self) -> &'static str {
        match self.method {
            Method::GET => "GET, HEAD",
            Method::PUT => "PUT",
            _ => "POST",
        }
    }

    pub(super) fn described(self) -> Described {
        let mut operation = (self.about)();
        for header in self.binding.map(Binding::headers).unwrap_or_default() {
            operation = operation.parameter(header);
        }
        if self.path.contains('{') {
            operation = operation.fails(&[crate::error::Family::Missing]);
        }
        Described {
            method: self.method,
            path: self.path,
            operation,
        }
    }
}

impl Binding {
    /// The headers that are looked at, as they are described.
    fn headers(self) -> Vec<Parameter> {
        let mut headers = vec![
            Parameter::header("X-Request-Id", "The request's id in the log; echoed"),
            Parameter::header("elastic-api-version", "The version of this API")
                .with_schema(|_| schemars::json_schema!({ "type": "string", "enum": [API_VERSION] })),
        ];
        if self.needs_user_agent {
            headers.push(
                Parameter::header("User-Agent", "`elastic agent VERSION`, from 7.13 on")
                    .with_schema(|_| {
                        schemars::json_schema!({
                            "type": "string", "pattern": r"^[Ee]lastic [Aa]gent (8\.[0-9]{1,2}|9\.[0-6])\.[0-9]{1,3}$"
                        })
                    })
                    .like("elastic agent 9.6.0")
                    .required(),
            );
        }
        headers
    }
}

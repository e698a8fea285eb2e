//! One request as a handler gets it: its parts taken out of actix's request, which keeps neither headers nor body
//! while the handler runs (an agent waits for minutes; its header map alone would be 7 KB).

use std::{
    borrow::Cow,
    future::Future,
    net::IpAddr,
    time::{Duration, Instant},
};

use actix_web::{
    HttpMessage as _, HttpRequest, HttpResponse, Route,
    dev::{Payload, ServiceRequest, ServiceResponse, fn_service},
    guard::{self, Guard},
    http::{
        Method,
        header::{HeaderMap, HeaderName},
    },
    web::{self, Bytes},
};
use fleet::{ApiKey, BlobStream, FleetError, KeyId};
use futures_util::FutureExt as _;
use percent_encoding::percent_decode_str;

use crate::{
    auth::{self, AuthorizationError},
    body::{self, BodyLimits},
    body_budget::HeldBytes,
    error::{ApiError, Audience},
    limits::RouteLimits,
    version,
    work::Turn,
};

/// The request id's header.
pub(crate) static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The header that names the version of the API.
pub(crate) static API_VERSION: HeaderName = HeaderName::from_static("elastic-api-version");

/// The parts of a request.
pub(crate) struct Call {
    pub headers: HeaderMap,
    pub payload: Payload,
    /// The path's `{id}`, decoded; empty if it has none.
    pub id: String,
    /// What stands behind it (`{chunk}`, `{name}`, `{sha2}`, `{revision}`), decoded; empty if there is none.
    pub second: String,
    pub query: String,
    pub started: Instant,
    /// The connection is encrypted.
    pub is_tls: bool,
    /// Where it comes from.
    pub peer: Option<IpAddr>,
    /// The presented key.
    pub key: Result<ApiKey, AuthorizationError>,
    held: Option<HeldBytes>,
    /// Given on when the call is dropped.
    turn: Option<Turn>,
}

impl Call {
    fn take(request: &mut ServiceRequest) -> Self {
        // The router decoded all but the characters that would change the path's shape.
        let decoded = |encoded: Option<&str>| {
            percent_decode_str(encoded.unwrap_or_default())
                .decode_utf8_lossy()
                .into_owned()
        };
        let path = request.match_info();
        let id = decoded(path.get("id"));
        let second = decoded(
            path.get("chunk")
                .or(path.get("name"))
                .or(path.get("sha2"))
                .or(path.get("revision")),
        );
        let query = request.query_string().to_owned();
        let is_tls = request.app_config().secure();
        let peer = request.peer_addr().map(|peer| peer.ip());
        let payload = request.take_payload();
        let headers = std::mem::take(request.headers_mut());
        let key = auth::api_key(&headers);
        let turn = request.extensions_mut().remove();
        Self {
            headers,
            payload,
            id,
            second,
            query,
            started: Instant::now(),
            is_tls,
            peer,
            key,
            held: None,
            turn,
        }
    }

    /// Public half of the presented key.
    pub(crate) fn key_id(&self) -> Option<KeyId> {
        self.key.as_ref().ok().map(|key| key.id.clone())
    }

    /// The presented key, if there is a usable one.
    pub(crate) fn take_key(&mut self) -> Result<ApiKey, ApiError> {
        std::mem::replace(&mut self.key, Err(AuthorizationError::Missing)).map_err(ApiError::Authorization)
    }

    /// The request id: the gate has made sure that there is one.
    pub(crate) fn request_id(&self) -> String {
        let value = self
            .headers
            .get(&REQUEST_ID)
            .map(|value| String::from_utf8_lossy(value.as_bytes()));
        value.map(Cow::into_owned).unwrap_or_default()
    }

    /// A header that may come once at most.
    pub(crate) fn one(&self, name: &HeaderName, shown: &'static str) -> Result<Option<String>, ApiError> {
        let mut lines = self.headers.get_all(name);
        let first = lines
            .next()
            .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        match lines.count() {
            0 => Ok(first),
            more => Err(ApiError::HeaderRepeated {
                name: shown,
                count: more + 1,
            }),
        }
    }

    /// A header that must come once and have text.
    pub(crate) fn required(&self, name: &HeaderName, shown: &'static str) -> Result<String, ApiError> {
        match self.one(name, shown)? {
            None => Err(ApiError::HeaderMissing { name: shown }),
            Some(value) if value.is_empty() => Err(ApiError::HeaderEmpty { name: shown }),
            Some(value) => Ok(value),
        }
    }

    /// Binding and version negotiation (agents.md 1.4) that all routes share.
    pub(crate) fn negotiate(&self, supported: &'static str) -> Result<(), ApiError> {
        let asked = self.one(&API_VERSION, "elastic-api-version")?;
        version::negotiate(asked.as_deref(), supported).map_err(|reason| ApiError::ApiVersion {
            asked: asked.unwrap_or_default(),
            supported,
            reason,
        })
    }

    /// Hands the body on to `take` while it arrives.
    pub(crate) async fn pass_body_on<T, F: Future<Output = Result<T, FleetError>>>(
        &mut self,
        what: &'static str,
        limits: RouteLimits,
        within: Duration,
        held: HeldBytes,
        take: impl FnOnce(BlobStream) -> F,
    ) -> Result<T, ApiError> {
        let limits = BodyLimits {
            wire: limits.body_bytes,
            inflated: None,
            within,
        };
        let payload = std::mem::replace(&mut self.payload, Payload::None);
        // The client sets the pace; how many there may be is what the body's bytes and the route's own limit say.
        self.gives_its_turn_back();
        let held = self.held.insert(held);
        let taken = body::pass_on(&self.headers, payload, limits, held, take).await;
        Ok(taken.map_err(|cause| ApiError::Body { what, cause })??)
    }

    /// What follows waits for somebody else and costs the server nothing.
    pub(crate) fn gives_its_turn_back(&mut self) {
        drop(self.turn.take());
    }

    /// Reads the body, inflated if it is compressed. What it holds counts until the call is dropped.
    pub(crate) async fn body(
        &mut self,
        what: &'static str,
        limits: RouteLimits,
        within: Duration,
        held: HeldBytes,
    ) -> Result<Bytes, ApiError> {
        let limits = BodyLimits {
            wire: limits.body_bytes,
            inflated: limits.decompressed_bytes.or(limits.body_bytes),
            within,
        };
        let payload = std::mem::replace(&mut self.payload, Payload::None);
        let held = self.held.insert(held);
        let reading = body::read(&self.headers, payload, limits, held);
        let body = match self.turn.take() {
            None => reading.await,
            Some(turn) => {
                let (turn, body) = turn.without(reading).await;
                self.turn = Some(turn);
                body
            }
        };
        body.map_err(|cause| ApiError::Body { what, cause })
    }
}

/// A request with this method; `HEAD` is a `GET` whose answer is sent without its body.
pub(crate) fn takes(method: &Method) -> impl Guard + use<> {
    let method = method.clone();
    guard::fn_guard(move |context| {
        let asked = &context.head().method;
        *asked == method || (*asked == Method::HEAD && method == Method::GET)
    })
}

/// A route of one method whose handler gets a [`Call`].
pub(crate) fn route<F, Fut>(method: Method, handle: F) -> Route
where
    F: Fn(Call) -> Fut + Clone + 'static,
    Fut: Future<Output = HttpResponse> + 'static,
{
    Route::new()
        .guard(takes(&method))
        .service(fn_service(move |mut request: ServiceRequest| {
            let answer = handle(Call::take(&mut request));
            let (bare, _) = request.into_parts();
            // Not an async block: it would have room for the handler's state twice, as its capture and as what it awaits.
            answer.map(|answer| Ok::<_, actix_web::Error>(ServiceResponse::new(bare, answer)))
        }))
}

/// A method that the path does not take: 405 with `Allow`, no body.
pub(crate) fn not_allowed(allowed: &'static str) -> Route {
    web::to(move || async move {
        ApiError::Method {
            allowed: allowed.to_owned(),
        }
        .to_response(Audience::Agent, "")
    })
}

/// A path without a route: 404.
pub(crate) async fn not_found(request: HttpRequest) -> HttpResponse {
    ApiError::NotFound {
        what: "path",
        id: request.path().to_owned(),
    }
    .to_response(Audience::Agent, "")
}

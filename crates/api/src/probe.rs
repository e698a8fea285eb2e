//! The metrics listener: Prometheus text, liveness, readiness. No key, no TLS, nothing secret.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use actix_service::ServiceFactory;
use actix_web::{
    App, Error, HttpRequest, HttpResponse, Route,
    body::BoxBody,
    dev::{ServiceRequest, ServiceResponse},
    http::Method,
    web::{self, ServiceConfig},
};
use prometheus_client::registry::Registry;
use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    call,
    collectors::{Collected, Connections, HttpServer},
    error::{self, FAILED},
    exposition::Exposition,
    metrics::HttpMetrics,
    operation::{Answer, Described, KeyKind, Operation, Parameter, TEXT},
    own_process::{Cpu, Handles, Memory, Milliseconds, Runtime, cpu_and_runtime},
};

/// Whether the server takes work. Shared with the binary, which knows.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    inner: Arc<Conditions>,
}

#[derive(Debug, Default)]
struct Conditions {
    is_store_open: AtomicBool,
    do_listeners_accept: AtomicBool,
    is_draining: AtomicBool,
}

impl Readiness {
    /// The store was opened, or closed.
    pub fn set_store_open(&self, is_open: bool) {
        self.inner.is_store_open.store(is_open, Ordering::Release);
    }

    /// Both API listeners accept, or no longer do.
    pub fn set_listeners_accept(&self, accept: bool) {
        self.inner.do_listeners_accept.store(accept, Ordering::Release);
    }

    /// Shutdown has begun: not ready any more, for good.
    pub fn drain(&self) {
        self.inner.is_draining.store(true, Ordering::Release);
    }

    /// Whether all conditions hold.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.conditions().iter().all(|(_, holds)| *holds)
    }

    fn conditions(&self) -> [(&'static str, bool); 3] {
        let of = |flag: &AtomicBool| flag.load(Ordering::Acquire);
        [
            ("store", of(&self.inner.is_store_open)),
            ("listeners", of(&self.inner.do_listeners_accept)),
            ("not draining", !of(&self.inner.is_draining)),
        ]
    }
}

/// Parts whose trouble people must see, and which do not take the server out of service: readiness ignores them.
/// The binary implements it, which knows the parts.
pub trait PartHealth: Send + Sync {
    /// The parts now, in the order in which they are shown. Called for each probe: it must be cheap.
    fn parts(&self) -> Vec<Part>;
}

/// The health of one part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its name, as it is shown.
    pub name: String,
    /// Why it is degraded, in one line; `None`: it is healthy.
    pub degraded: Option<String>,
}

/// The metrics listener's routes. Cheap to clone; all workers share it.
#[derive(Clone)]
pub struct Probe {
    state: Arc<ProbeState>,
}

struct ProbeState {
    registry: Arc<Registry>,
    collected: Collected,
    collectors: Registry,
    readiness: Readiness,
    parts: Arc<dyn PartHealth>,
    version: String,
    started: Instant,
}

impl Probe {
    /// `version` is the program's own.
    #[must_use]
    pub fn new(
        registry: Arc<Registry>,
        metrics: HttpMetrics,
        readiness: Readiness,
        parts: Arc<dyn PartHealth>,
        connections: Connections,
        version: String,
    ) -> Self {
        let collected = Collected::new(metrics, connections);
        Self {
            state: Arc::new(ProbeState {
                registry,
                collectors: collected.registry(&version),
                collected,
                readiness,
                parts,
                version,
                started: Instant::now(),
            }),
        }
    }

    /// Registers the routes.
    pub fn configure(&self, config: &mut ServiceConfig) {
        config
            .app_data(web::Data::from(Arc::clone(&self.state)))
            .default_service(web::to(call::not_found));
        for (path, route, _) in TABLE {
            let not_allowed = call::not_allowed("GET, HEAD");
            config.service(web::resource(path).route(route()).default_service(not_allowed));
        }
    }

    /// The whole application, ready for a listener.
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
        App::new().configure(|config| self.configure(config))
    }
}

type ProbeRoute = (&'static str, fn() -> Route, fn() -> Operation);

/// The one table of routes: path, registration, description.
const TABLE: [ProbeRoute; 7] = [
    (
        "/metrics",
        || get().to(metrics),
        || {
            probe(
                "metrics",
                "The metrics of Prometheus, in the form that is asked for",
            )
            .answers(Answer::of(200, TEXT, "The metrics").or_media("application/openmetrics-text"))
            .answers(Answer::empty(500, "They cannot be written"))
        },
    ),
    (
        "/livez",
        || get().to(livez),
        || probe("livez", "Whether the process works").answers(Answer::of(200, TEXT, "It does")),
    ),
    (
        "/readyz",
        || get().to(readyz),
        || {
            probe("readyz", "Whether the server takes work")
                .parameter(Parameter::query::<String>(
                    "verbose",
                    "Also what holds, and parts that are degraded",
                ))
                .answers(Answer::of(200, TEXT, "It does"))
                .answers(Answer::of(400, TEXT, "The query cannot be read"))
                .answers(Answer::of(503, TEXT, "It does not, and why"))
        },
    ),
    (
        "/stats",
        || get().to(stats),
        || {
            probe("stats", "Numbers for collectors that read JSON")
                .parameter(Parameter::query::<String>("pretty", "With line breaks"))
                .answers(Answer::json::<Stats<'_>>(200, "The numbers"))
                .answers(Answer::of(400, TEXT, "The query cannot be read"))
                .answers(Answer::empty(500, "They cannot be written"))
        },
    ),
    // Without meaning here (agents.md 9.1), but collectors expect these members.
    (
        "/state",
        || get().to(nothing),
        || probe("state", "Nothing; collectors ask for it").answers(Answer::json::<Nothing>(200, "Nothing")),
    ),
    (
        "/dataset",
        || get().to(nothing),
        || {
            probe("dataset", "Nothing; collectors ask for it")
                .answers(Answer::json::<Nothing>(200, "Nothing"))
        },
    ),
    (
        "/",
        || get().to(root),
        || probe("root", "Name and version").answers(Answer::json::<Root<'_>>(200, "Both")),
    ),
];

/// The routes as they are described.
pub(crate) fn described() -> Vec<Described> {
    let described = |(path, _, about): ProbeRoute| Described {
        method: Method::GET,
        path,
        operation: about(),
    };
    TABLE.into_iter().map(described).collect()
}

/// No limits, no key, no version: nothing fails but what a route says.
fn probe(id: &'static str, summary: &'static str) -> Operation {
    let mut operation = Operation::new(id, summary, KeyKind::None);
    operation.failures.clear();
    operation
}

fn get() -> Route {
    Route::new().guard(call::takes(&Method::GET))
}

async fn metrics(request: HttpRequest, state: web::Data<ProbeState>) -> HttpResponse {
    let form = Exposition::accepted(request.headers());
    match form.write(&[&*state.registry, &state.collectors]) {
        Ok(text) => HttpResponse::Ok().content_type(form.content_type()).body(text),
        Err(error) => {
            log::error!("error.message" = error.to_string(); "The metrics cannot be written");
            HttpResponse::new(FAILED)
        }
    }
}

#[derive(Serialize, JsonSchema)]
struct Nothing {}

async fn nothing() -> HttpResponse {
    HttpResponse::Ok().json(Nothing {})
}

async fn livez() -> HttpResponse {
    HttpResponse::Ok()
        .content_type("text/plain; charset=utf-8")
        .body("ok\n")
}

#[derive(serde::Deserialize)]
struct Verbose {
    verbose: Option<String>,
}

async fn readyz(state: web::Data<ProbeState>, query: web::Query<Verbose>) -> HttpResponse {
    let conditions = state.readiness.conditions();
    let is_ready = conditions.iter().all(|(_, holds)| *holds);
    let mut text = String::new();
    for (name, holds) in conditions {
        // Failures are always shown, the rest only with `?verbose`.
        if query.verbose.is_some() || !holds {
            text.push_str(if holds { "[+] " } else { "[-] " });
            text.push_str(name);
            text.push_str(if holds { ": ok\n" } else { ": no\n" });
        }
    }
    if query.verbose.is_some() {
        for Part { name, degraded } in state.parts.parts() {
            text.push_str(&match degraded {
                None => format!("[+] {name}: ok\n"),
                Some(why) => format!("[!] {name}: degraded: {why}\n"),
            });
        }
    }
    text.push_str(if is_ready { "ok\n" } else { "not ready\n" });
    HttpResponse::build(error::readiness(is_ready))
        .content_type("text/plain; charset=utf-8")
        .body(text)
}

#[derive(Serialize, JsonSchema)]
struct Root<'a> {
    name: &'static str,
    version: &'a str,
}

async fn root(state: web::Data<ProbeState>) -> HttpResponse {
    HttpResponse::Ok().json(Root {
        name: NAME,
        version: &state.version,
    })
}

#[derive(Serialize, JsonSchema)]
struct Stats<'a> {
    http_server: Server<'a>,
    health: Health,
}

/// The listeners' numbers, and those of the process, which the original has there too.
#[derive(Serialize, JsonSchema)]
struct Server<'a> {
    #[serde(flatten)]
    listeners: HttpServer,
    memstats: Memory,
    cpu: Cpu,
    runtime: Runtime,
    handles: Handles,
    info: Info<'a>,
}

#[derive(Serialize, JsonSchema)]
struct Info<'a> {
    name: &'static str,
    version: &'a str,
    uptime: Milliseconds,
}

/// `status` is `degraded` if a part is.
#[derive(Serialize, JsonSchema)]
struct Health {
    status: &'static str,
    parts: std::collections::BTreeMap<String, PartStats>,
}

#[derive(Serialize, JsonSchema)]
struct PartStats {
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

impl Health {
    fn of(parts: Vec<Part>) -> Self {
        let word = |is_well| if is_well { "healthy" } else { "degraded" };
        Self {
            status: word(parts.iter().all(|part| part.degraded.is_none())),
            parts: parts
                .into_iter()
                .map(|Part { name, degraded }| {
                    let status = word(degraded.is_none());
                    (
                        name,
                        PartStats {
                            status,
                            reason: degraded,
                        },
                    )
                })
                .collect(),
        }
    }
}

#[derive(serde::Deserialize)]
struct Pretty {
    pretty: Option<String>,
}

async fn stats(state: web::Data<ProbeState>, query: web::Query<Pretty>) -> HttpResponse {
    let (cpu, runtime) = cpu_and_runtime();
    let stats = Stats {
        http_server: Server {
            listeners: state.collected.http_server(),
            memstats: Memory::now(),
            cpu,
            runtime,
            handles: Handles::now(),
            info: Info {
                name: NAME,
                version: &state.version,
                uptime: Milliseconds {
                    ms: u64::try_from(state.started.elapsed().as_millis()).unwrap_or(u64::MAX),
                },
            },
        },
        health: Health::of(state.parts.parts()),
    };
    let text = match query.pretty {
        Some(_) => serde_json::to_vec_pretty(&stats),
        None => serde_json::to_vec(&stats),
    };
    match text {
        Ok(text) => HttpResponse::Ok()
            .content_type("application/json; charset=utf-8")
            .body(text),
        Err(error) => {
            log::error!("error.message" = error.to_string(); "The statistics cannot be written");
            HttpResponse::new(FAILED)
        }
    }
}

const NAME: &str = "fleet-server";

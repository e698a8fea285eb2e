//! The metrics listener: Prometheus text, liveness, readiness. No key, no TLS, nothing secret.

use std::{
    fmt,
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
use serde::Serialize;

use crate::{
    call,
    collectors::{Collected, Connections, HttpServer},
    error::{self, FAILED},
    exposition::Exposition,
    metrics::HttpMetrics,
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

impl fmt::Debug for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Probe")
            .field("readiness", &self.state.readiness)
            .finish_non_exhaustive()
    }
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
            .service(resource("/metrics").route(get().to(metrics)))
            .service(resource("/livez").route(get().to(livez)))
            .service(resource("/readyz").route(get().to(readyz)))
            .service(resource("/stats").route(get().to(stats)))
            // Without meaning here (agents.md 9.1), but collectors expect these members.
            .service(resource("/state").route(get().to(nothing)))
            .service(resource("/dataset").route(get().to(nothing)))
            .service(resource("/").route(get().to(root)))
            .default_service(web::to(call::not_found));
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

fn get() -> Route {
    Route::new().guard(call::takes(&Method::GET))
}

fn resource(path: &str) -> actix_web::Resource {
    web::resource(path).default_service(call::not_allowed("GET, HEAD"))
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

async fn nothing() -> HttpResponse {
    HttpResponse::Ok().json(serde_json::json!({}))
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

#[derive(Serialize)]
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

#[derive(Serialize)]
struct Stats<'a> {
    http_server: HttpServer,
    memstats: Memory,
    info: Info<'a>,
    health: Health,
}

#[derive(Serialize)]
struct Memory {
    /// Resident bytes; 0 where the system does not tell.
    rss: u64,
}

#[derive(Serialize)]
struct Info<'a> {
    name: &'static str,
    version: &'a str,
    uptime: Uptime,
}

#[derive(Serialize)]
struct Uptime {
    ms: u64,
}

/// `status` is `degraded` if a part is.
#[derive(Serialize)]
struct Health {
    status: &'static str,
    parts: std::collections::BTreeMap<String, PartStats>,
}

#[derive(Serialize)]
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
    let stats = Stats {
        http_server: state.collected.http_server(),
        memstats: Memory {
            rss: resident_bytes(),
        },
        info: Info {
            name: NAME,
            version: &state.version,
            uptime: Uptime {
                ms: u64::try_from(state.started.elapsed().as_millis()).unwrap_or(u64::MAX),
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

/// From the kernel's own table: a read of memory, on the probes' own thread.
fn resident_bytes() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").ok().and_then(|text| {
        let mut fields = text.split_ascii_whitespace();
        fields.nth(1)?.parse::<u64>().ok()
    });
    pages
        .unwrap_or(0)
        .saturating_mul(rustix::param::page_size() as u64)
}

const NAME: &str = "fleet-server";

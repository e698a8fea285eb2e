//! Builds store, certificates, domain and listeners in order, and takes them down in reverse.
//!
//! In: a [`Plan`]. Out: a [`Prepared`] server, whose sockets listen, and from it (repeatedly, if need be) a [`Running`]
//! one, whose listeners accept. It decides only what needs a bound port or the
//! machine: the URLs of the listeners, and the host that agents are told if the plan names none.

use std::{
    cell::OnceCell,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow};
use api::{AdminApi, AdminOptions, AgentApi, AgentOptions, HttpMetrics, Probe, Readiness};
use fleet::{Fleet, Store, Timestamp};
use listener::{Bound, Endpoint, ListenerMetrics, PassedSockets, ServerBuilder, ServerHandle};
use prometheus_client::{metrics::info::Info, registry::Registry};
use store::StoreMetrics;
use store_sqlite::{OpenOptions, SqliteStore};
use tls_reload::{ReloadMetrics, ReloadResult, Trigger};

use crate::{
    build,
    connection_shares::ConnectionShares,
    data_directory,
    first_start::{self, FirstStart, Secrets},
    logging,
    plan::Plan,
    signing_key::SigningKey,
    tls::{ListenerTls, TlsSets},
};

/// A server whose listeners accept.
pub(crate) struct Running {
    server: ServerHandle,
    /// Metrics and probes, which are served during the drain too, so that it can be observed.
    probe: Option<ServerHandle>,
    fleet: Arc<Fleet>,
    store: Arc<dyn Store>,
    tls: TlsSets,
    readiness: Readiness,
    drain: Duration,
    /// What a client needs to know of it.
    pub addresses: Addresses,
    /// Keys that the first start created.
    pub secrets: Secrets,
}

/// URLs of the listeners, with real ports.
#[derive(Clone, Debug)]
pub(crate) struct Addresses {
    /// Agents.
    pub url: String,
    /// Agents, from this host.
    pub internal_url: String,
    /// Admin API, unless it is off.
    pub admin_url: Option<String>,
    /// Metrics and probes, unless they are off.
    pub http_url: Option<String>,
}

/// What a server needs before it opens its store: certificates that are served, and sockets that listen.
pub(crate) struct Prepared {
    plan: Plan,
    tls: TlsSets,
    reload_metrics: ReloadMetrics,
    agents_tls: Option<ListenerTls>,
    admin_tls: Option<ListenerTls>,
    /// Second handles of all listening sockets, so that they outlive a [`Running`].
    sockets: PassedSockets,
    /// Set by the first start; a later one does not read the files again.
    secrets: OnceCell<Secrets>,
}

/// The listeners of a plan, bound.
struct Listeners {
    external: Bound,
    internal: Option<Bound>,
    admin: Option<Bound>,
    http: Option<Bound>,
}

/// Loads the certificates and opens the sockets, or takes those that were passed. From here connections queue in the
/// kernel; nothing is written to the store.
///
/// # Errors
/// One clear sentence about what is in the way, with a hint where there is a remedy.
pub(crate) async fn prepare(plan: Plan, mut passed: PassedSockets) -> Result<Prepared> {
    data_directory::ensure(&plan.data)?;
    let reload_metrics = ReloadMetrics::unregistered();
    let mut tls = TlsSets::default();
    let agents_tls = match plan.agents.tls.clone() {
        Some(settings) => Some(tls.add(AGENTS, settings, reload_metrics.clone()).await?),
        // A notice about plain HTTP was logged when the configuration was read.
        None => None,
    };
    let admin_tls = match plan.admin.as_ref().and_then(|admin| admin.tls.clone()) {
        Some(settings) => Some(
            tls.add("admin", settings, reload_metrics.for_set("admin"))
                .await?,
        ),
        None => agents_tls.clone(),
    };
    let mut prepared = Prepared {
        plan,
        tls,
        reload_metrics,
        agents_tls,
        admin_tls,
        sockets: PassedSockets::default(),
        secrets: OnceCell::new(),
    };
    let listeners = prepared.bind(&mut passed)?;
    passed.all_taken(listeners.all().map(Bound::endpoint))?;
    for bound in listeners.all() {
        bound.share(&mut prepared.sockets)?;
    }
    Ok(prepared)
}

/// The sockets of `endpoint`. What another listener of this server has taken is not blamed on another program: two
/// host names of one address are no fault that the configuration shows.
fn bind(endpoint: Endpoint, passed: &mut PassedSockets, earlier: &[Option<&Bound>]) -> Result<Bound> {
    listener::bind(&endpoint, passed).map_err(|error| {
        let mut earlier = earlier.iter().flatten();
        let taker = match error {
            listener::BindError::PortInUse { .. } => earlier.find(|bound| bound.takes_from(&endpoint)),
            _ => None,
        };
        match taker {
            Some(bound) => anyhow!(
                "{}: {} cannot be listened on, since {} has taken {}\nhint: give each listener a port of its own",
                port_key(&endpoint),
                listener::display_address(&endpoint.host, endpoint.port),
                port_key(bound.endpoint()),
                bound.display_address()
            ),
            None => error.into(),
        }
    })
}

/// The key that decides the listener's port.
fn port_key(endpoint: &Endpoint) -> &'static str {
    match endpoint.name.as_str() {
        "internal" => "inputs.0.server.internal_port",
        "admin" => "admin.port",
        "http" => "http.port",
        _ => "inputs.0.server.port",
    }
}

impl Prepared {
    /// The listening sockets by the names of their listeners.
    pub(crate) fn sockets(&self) -> &PassedSockets {
        &self.sockets
    }

    pub(crate) fn data(&self) -> &Path {
        &self.plan.data
    }

    /// Closes these handles: from now on the sockets close with the running server.
    pub(crate) fn release_sockets(&mut self) {
        self.sockets = PassedSockets::default();
    }

    /// Checks that this program could open the store, even while another process has it open.
    pub(crate) async fn check_store(&self) -> Result<()> {
        let data = self.plan.data.clone();
        actix_rt::task::spawn_blocking(move || SqliteStore::check(&data))
            .await?
            .map_err(|error| anyhow!("{}\nhint: {}", fleet::chain(&error), error.hint()))
    }

    pub(crate) async fn shutdown(&self) {
        self.tls.shutdown().await;
    }

    fn first_start(&self, store_is_new: bool) -> FirstStart {
        let plan = &self.plan;
        FirstStart {
            admin_key: plan.bootstrap.admin_key.clone(),
            bootstraps: plan.bootstrap.is_enabled,
            preset_token: plan.bootstrap.preset_token.clone(),
            made_token: first_start::made_token(&plan.data),
            store_is_new,
        }
    }

    fn bind(&self, passed: &mut PassedSockets) -> Result<Listeners> {
        let (plan, tls) = (&self.plan, self.agents_tls.as_ref());
        let agents = |name, host, port, connections| {
            let mut endpoint = agents_endpoint(plan, name, host, port, tls);
            endpoint.limits.descriptors = Some(connections);
            endpoint
        };
        let shares = ConnectionShares::of_this_process();
        let external = bind(
            agents(AGENTS, &plan.agents.host, plan.agents.port, shares.agents),
            passed,
            &[],
        )?;
        let internal = plan.agents.internal_port;
        let internal = internal
            .map(|port| {
                bind(
                    agents(INTERNAL, INTERNAL_HOST, port, shares.internal),
                    passed,
                    &[Some(&external)],
                )
            })
            .transpose()?;
        let admin = plan.admin.as_ref().map(|admin| {
            let mut endpoint = Endpoint::new("admin", admin.host.as_str(), admin.port);
            endpoint.limits.descriptors = Some(shares.admin);
            let endpoint = with_tls(endpoint, self.admin_tls.as_ref());
            bind(endpoint, passed, &[Some(&external), internal.as_ref()])
        });
        let admin = admin.transpose()?;
        let http = plan.http.as_ref().map(|(host, port)| {
            let mut endpoint = Endpoint::new("http", host.as_str(), *port);
            endpoint.limits.descriptors = Some(shares.http);
            bind(
                endpoint,
                passed,
                &[Some(&external), internal.as_ref(), admin.as_ref()],
            )
        });
        let http = http.transpose()?;
        Ok(Listeners {
            external,
            internal,
            admin,
            http,
        })
    }

    /// Opens the store and starts everything. When this returns, every listener accepts and is named in the log.
    ///
    /// # Errors
    /// One clear sentence about what is in the way, with a hint where there is a remedy.
    pub(crate) async fn start(&self) -> Result<Running> {
        let plan = &self.plan;
        let mut registry = Registry::with_prefix("fleet_server");
        let compatible = fleet::COMPATIBLE_VERSION.to_string();
        let version = vec![("version", build::VERSION.to_owned()), ("compatible", compatible)];
        registry.register(
            "build",
            "The program and the release that agents see",
            Info::new(version),
        );
        logging::register_accept_errors(&mut registry);
        let tls_registry = registry.sub_registry_with_prefix("tls");
        logging::register_peer_warnings(tls_registry);
        self.reload_metrics.register_in(tls_registry);
        let readiness = Readiness::default();
        let store_metrics = StoreMetrics::register(registry.sub_registry_with_prefix("store"));
        let (store, store_is_new) = open_store(plan.data.clone(), store_metrics).await?;
        readiness.set_store_open(true);
        let Listeners {
            external,
            internal,
            admin,
            http,
        } = self.bind(&mut self.sockets.try_clone()?)?;
        let tls = self.tls.clone();
        let scheme = |tls: &Option<ListenerTls>| if tls.is_some() { "https" } else { "http" };
        let (agents_scheme, admin_scheme) = (scheme(&self.agents_tls), scheme(&self.admin_tls));
        let url_of = |scheme, bound: &Bound| url(scheme, &reachable(&bound.endpoint().host), bound.port());
        let addresses = Addresses {
            url: url_of(agents_scheme, &external),
            internal_url: url(
                agents_scheme,
                INTERNAL_HOST,
                internal.as_ref().unwrap_or(&external).port(),
            ),
            admin_url: admin.as_ref().map(|bound| url_of(admin_scheme, bound)),
            http_url: http.as_ref().map(|bound| url_of("http", bound)),
        };

        let mut settings = plan.fleet.clone();
        settings.store_key = Some(plan.store_key.key(&*store).await?);
        if settings.fleet_hosts.is_empty() {
            settings
                .fleet_hosts
                .push(url(agents_scheme, &host_name(), external.port()));
        }
        let fleet = Fleet::start(Arc::clone(&store), settings, &mut registry).await?;
        let secrets = match self.secrets.get() {
            Some(secrets) => secrets.clone(),
            None => {
                let secrets = self
                    .first_start(store_is_new)
                    .ensure(&fleet, Timestamp::now())
                    .await?;
                self.secrets.get_or_init(|| secrets).clone()
            }
        };

        let http_metrics = HttpMetrics::register(&mut registry);
        let listener_metrics = ListenerMetrics::register(&mut registry);
        let signing_key = Arc::new(SigningKey::new(&plan.signing_key));
        let mut builder = ServerBuilder::new(listener_metrics.clone());
        for bound in [Some(external), internal].into_iter().flatten() {
            let options = AgentOptions {
                address: bound.display_address(),
                ..plan.agents.options.clone()
            };
            let api = AgentApi::new(
                Arc::clone(&fleet),
                Arc::clone(&signing_key) as Arc<dyn api::SigningKey>,
                options,
                http_metrics.clone(),
            );
            builder = builder.listen(bound, move || api.app())?;
        }
        if let Some(bound) = admin {
            let options = AdminOptions {
                address: bound.display_address(),
                identity: plan.agents.options.identity.clone(),
                ..AdminOptions::default()
            };
            let api = AdminApi::new(
                Arc::clone(&fleet),
                Arc::new(tls.clone()),
                options,
                http_metrics.clone(),
            );
            builder = builder.listen(bound, move || api.app())?;
        }
        let probe = http.map(|bound| {
            let registry = Arc::new(registry);
            let counted = listener_metrics.clone();
            let connections = move || {
                let counts = [AGENTS, INTERNAL].map(|name| counted.connections(name));
                counts.iter().fold((0, 0), |(opened, closed), (more, ended)| {
                    (opened + more, closed + ended)
                })
            };
            let probe = Probe::new(
                registry,
                http_metrics,
                readiness.clone(),
                Arc::new(tls.clone()),
                Arc::new(connections),
                build::VERSION.to_owned(),
            );
            ServerBuilder::new(listener_metrics)
                .workers(NonZeroUsize::MIN)
                .listen(bound, move || probe.app())
        });
        let server = accept(builder).await?;
        let probe = match probe {
            Some(builder) => Some(accept(builder?).await?),
            None => None,
        };
        readiness.set_listeners_accept(true);
        Ok(Running {
            server,
            probe,
            fleet,
            store,
            tls,
            readiness,
            drain: plan.drain,
            addresses,
            secrets,
        })
    }
}

impl Listeners {
    fn all(&self) -> impl Iterator<Item = &Bound> {
        [
            Some(&self.external),
            self.internal.as_ref(),
            self.admin.as_ref(),
            self.http.as_ref(),
        ]
        .into_iter()
        .flatten()
    }
}

/// Starts the listeners; each is named in the log once it accepts.
async fn accept(builder: ServerBuilder) -> Result<ServerHandle> {
    let server = builder.start().await?;
    for listening in server.listening() {
        log::info!("server.address":% = listening.address, "listener" = listening.name.as_str(); "Listening on {}", listening.address);
    }
    Ok(server)
}

impl Running {
    /// Reads the certificates now and logs the outcome of each set, even an unchanged one: an operator asked for it.
    pub(crate) async fn reload_certificates(&self) {
        for (set, outcome) in self.tls.reload(Trigger::Signal).await {
            let level = match outcome.result {
                // The reloader logs a failure only once; each request gets its own line.
                ReloadResult::Failure | ReloadResult::Disabled => log::Level::Warn,
                ReloadResult::Success | ReloadResult::Unchanged => log::Level::Info,
            };
            log::log!(
                level,
                "event.action" = "tls-reload", "event.outcome" = <&str>::from(outcome.result), "tls.set" = set;
                "certificates read again on request: {}", outcome.message
            );
        }
    }

    /// The certificates of all listeners.
    #[must_use]
    pub(crate) fn tls(&self) -> &TlsSets {
        &self.tls
    }

    /// Resolves when the listeners have ended without being stopped, which only a fault causes.
    pub(crate) async fn ended(&self) {
        match &self.probe {
            Some(probe) => tokio::select! {
                () = self.server.ended() => {}
                () = probe.ended() => {}
            },
            None => self.server.ended().await,
        }
    }

    /// Stops in good order: long polls are answered, requests finish within the grace or until `hurry` resolves,
    /// everything is written.
    pub(crate) async fn stop(&self, hurry: impl Future<Output = ()>) -> Result<()> {
        self.readiness.drain();
        self.fleet.release_waiters();
        let drained = tokio::select! {
            drained = self.server.drain(self.drain) => drained,
            () = hurry => self.server.drain(Duration::ZERO).await,
        };
        if drained.cut > 0 {
            log::warn!("connections" = drained.cut; "the drain timed out; the remaining connections were cut");
        }
        self.fleet.stop().await;
        let closed = self.store.close().await;
        if let Some(probe) = &self.probe {
            probe.drain(LAST_PROBE).await;
        }
        closed.context("the store was not closed in good order")
    }
}

async fn open_store(data: PathBuf, metrics: StoreMetrics) -> Result<(Arc<dyn Store>, bool)> {
    let opened =
        actix_rt::task::spawn_blocking(move || SqliteStore::open(OpenOptions::new(data), metrics)).await?;
    match opened {
        Ok(store) => {
            let is_new = store.is_new();
            Ok((Arc::new(store), is_new))
        }
        Err(error) => Err(anyhow!("{}\nhint: {}", fleet::chain(&error), error.hint())),
    }
}

fn agents_endpoint(plan: &Plan, name: &str, host: &str, port: u16, tls: Option<&ListenerTls>) -> Endpoint {
    let mut endpoint = Endpoint::new(name, host, port);
    endpoint.limits = plan.agents.limits;
    endpoint.timeouts = plan.agents.timeouts;
    with_tls(endpoint, tls)
}

fn with_tls(endpoint: Endpoint, tls: Option<&ListenerTls>) -> Endpoint {
    match tls {
        Some(tls) => endpoint
            .with_tls(tls.resolver.clone())
            .with_handshake_metrics(tls.handshakes.clone()),
        None => endpoint,
    }
}

/// A host that a client on this machine can connect to.
pub(crate) fn reachable(host: &str) -> String {
    match host {
        "" | "0.0.0.0" | "::" | "[::]" => "localhost".to_owned(),
        host => host.to_owned(),
    }
}

fn url(scheme: &str, host: &str, port: u16) -> String {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if host.contains(':') {
        format!("{scheme}://[{host}]:{port}")
    } else {
        format!("{scheme}://{host}:{port}")
    }
}

/// This machine's host name, by which agents on other machines may reach it.
#[must_use]
pub(crate) fn host_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    if name.is_empty() {
        "localhost".to_owned()
    } else {
        name
    }
}

/// Grace for a probe or a scrape that is under way when everything else has ended.
const LAST_PROBE: Duration = Duration::from_secs(1);

/// Host of the internal listener, which only programs on this machine can reach.
const INTERNAL_HOST: &str = "localhost";
/// Names of the agents' listeners in logs and metrics.
const AGENTS: &str = "agents";
const INTERNAL: &str = "internal";

//! What the reloading costs a handshake: `cargo bench -p tls-reload`.
//!
//! `resolve`: the look-up of a pair by name in one generation. `resolver`: what a handshake asks for, the load of
//! the pointer included: the configuration, and the pair for a ClientHello. `handshake`: full TLS 1.3 handshakes
//! in memory, on one thread, against a fixed configuration and against the resolver. Then the ratio of both, by
//! CPU time and by the clock on the wall, without reloads and while the files are written and reloaded every 10 ms.

#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a bench that cannot prepare has no figure to print"
)]

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use criterion::{Criterion, criterion_group, criterion_main};
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::server::{Accepted, Acceptor, ResolvesServerCert as _};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};
use tls_reload::{Generation, PairSource, PemSource, ReloadSettings, Reloader, Settings, Trigger};

/// A CA and what it issues: every pair costs the client the same.
struct Authority(rcgen::CertifiedIssuer<'static, rcgen::KeyPair>);

struct Made {
    certificate: String,
    key: String,
}

impl Authority {
    fn new() -> Self {
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().expect("a key");
        Self(rcgen::CertifiedIssuer::self_signed(params, key).expect("a CA"))
    }

    fn issue(&self) -> Made {
        let key = rcgen::KeyPair::generate().expect("a key");
        let params = rcgen::CertificateParams::new(["localhost".to_owned()]).expect("a name");
        let certificate = params.signed_by(&key, &self.0).expect("a pair").pem();
        Made {
            certificate,
            key: key.serialize_pem(),
        }
    }
}

fn write(directory: &Path, pair: &Made) {
    std::fs::write(directory.join("tls.crt"), &pair.certificate).expect("written");
    std::fs::write(directory.join("tls.key"), &pair.key).expect("written");
}

fn source(directory: &Path) -> PairSource {
    let path = |name: &str| PemSource::Path(directory.join(name));
    PairSource::new(path("tls.crt"), Some(path("tls.key")))
}

/// A set of one pair, and one of 10,000 names.
fn sets(directory: &Path) -> (Settings, Settings) {
    write(directory, &Authority::new().issue());
    let one = Settings {
        pairs: vec![source(directory)],
        ..Settings::default()
    };
    let mut many = one.clone();
    for pair in 0..100 {
        let names = (0..100)
            .map(|name| format!("n{name}.p{pair}.example.com"))
            .collect();
        many.pairs.push(PairSource {
            names,
            ..source(directory)
        });
    }
    (one, many)
}

fn resolve(c: &mut Criterion) {
    let directory = tempfile::tempdir().expect("a directory");
    let (one, many) = sets(directory.path());
    let mut group = c.benchmark_group("resolve");
    let cases = [
        ("one pair", one, "localhost"),
        ("10000 names", many.clone(), "n57.p31.example.com"),
        ("10000 names, in capitals", many.clone(), "N57.P31.EXAMPLE.COM"),
        ("10000 names, unknown", many, "unknown.example.com"),
    ];
    for (case, settings, name) in cases {
        let generation = Generation::load(&settings, SystemTime::now()).expect("loads");
        group.bench_function(case, |b| {
            b.iter(|| generation.certificate_for(black_box(Some(name))).clone())
        });
    }
    group.finish();
}

fn resolver(c: &mut Criterion) {
    let directory = tempfile::tempdir().expect("a directory");
    let (one, many) = sets(directory.path());
    let mut group = c.benchmark_group("resolver");
    let cases = [
        ("one pair", one, "localhost"),
        ("10000 names", many.clone(), "n57.p31.example.com"),
        ("10000 names, unknown", many, "unknown.example.com"),
    ];
    for (case, mut settings, name) in cases {
        settings.reload.enabled = false;
        let handle = Reloader::new(settings).spawn_system().expect("starts");
        let resolver = handle.resolver();
        let accepted = hello(name);
        group.bench_function(format!("server_config, {case}"), |b| {
            b.iter(|| resolver.server_config())
        });
        group.bench_function(format!("resolve, {case}"), |b| {
            b.iter(|| resolver.resolve(black_box(accepted.client_hello())))
        });
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("a runtime");
        runtime.block_on(handle.shutdown());
    }
    group.finish();
}

/// A ClientHello as it arrives.
fn hello(name: &str) -> Accepted {
    let config = client(&Authority::new());
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let mut client = ClientConnection::new(config, name).expect("a client");
    let mut wire = Vec::new();
    client.write_tls(&mut wire).expect("written");
    let mut acceptor = Acceptor::default();
    acceptor.read_tls(&mut wire.as_slice()).expect("read");
    acceptor.accept().ok().flatten().expect("a hello")
}

fn handshake(c: &mut Criterion) {
    let directory = tempfile::tempdir().expect("a directory");
    let authority = Authority::new();
    let pairs = [authority.issue(), authority.issue()];
    write(directory.path(), &pairs[0]);
    let settings = Settings {
        pairs: vec![source(directory.path())],
        reload: ReloadSettings {
            debounce: Duration::from_secs(600),
            ..ReloadSettings::default()
        },
        ..Settings::default()
    };
    let handle = Reloader::new(settings).spawn_system().expect("starts");
    let resolver = handle.resolver();
    let fixed = resolver.server_config();
    let client = client(&authority);
    let mut group = c.benchmark_group("handshake, CPU time of its thread");
    group.sample_size(40);
    let by_fixed = || shake(&client, fixed.clone());
    let by_resolver = || shake(&client, resolver.server_config());
    group.bench_function("fixed", |b| b.iter_custom(|count| cpu_time(count, &by_fixed)));
    group.bench_function("resolver", |b| {
        b.iter_custom(|count| cpu_time(count, &by_resolver))
    });
    group.finish();
    report("without reloads", &by_fixed, &by_resolver);
    let stop = Arc::new(AtomicBool::new(false));
    let writer = std::thread::spawn({
        let (stop, at) = (stop.clone(), directory.path().to_owned());
        move || reload_without_end(&stop, &at, &pairs, &handle)
    });
    report("a reload every 10 ms", &by_fixed, &by_resolver);
    stop.store(true, Ordering::Relaxed);
    let reloads = writer.join().expect("joined");
    assert!(reloads > 100, "{reloads} reloads");
}

fn wall_time(count: u64, shake: &dyn Fn()) -> Duration {
    let began = Instant::now();
    (0..count).for_each(|_| shake());
    began.elapsed()
}

/// The CPU time this thread spends on `count` handshakes: what others do on the machine counts little.
fn cpu_time(count: u64, shake: &dyn Fn()) -> Duration {
    let now = || {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        Duration::new(
            u64::try_from(time.tv_sec).unwrap_or(0),
            u32::try_from(time.tv_nsec).unwrap_or(0),
        )
    };
    let began = now();
    (0..count).for_each(|_| shake());
    now() - began
}

/// Handshakes per second through the resolver, relative to the fixed configuration: pairs of blocks side by
/// side, in turns, so that a drift of the machine meets both.
fn report(case: &str, fixed: &dyn Fn(), resolver: &dyn Fn()) {
    ratio(case, "CPU time", cpu_time, fixed, resolver);
    ratio(case, "wall clock", wall_time, fixed, resolver);
}

fn ratio(
    case: &str,
    clock: &str,
    time: fn(u64, &dyn Fn()) -> Duration,
    fixed: &dyn Fn(),
    resolver: &dyn Fn(),
) {
    let mut ratios: Vec<f64> = (0..BLOCKS)
        .map(|block| {
            let (one, two) = if block % 2 == 0 {
                let one = time(BLOCK, fixed);
                (one, time(BLOCK, resolver))
            } else {
                let two = time(BLOCK, resolver);
                (time(BLOCK, fixed), two)
            };
            one.as_secs_f64() / two.as_secs_f64()
        })
        .collect();
    ratios.sort_by(f64::total_cmp);
    let at = |share: usize| ratios[ratios.len() * share / 100];
    println!(
        "handshakes/s by {clock}, resolver : fixed, {case}: median {:.4} (quartiles {:.4} to {:.4}, {BLOCKS} pairs of {BLOCK})",
        at(50),
        at(25),
        at(75),
    );
}

const BLOCKS: usize = 300;
const BLOCK: u64 = 30;

fn reload_without_end(
    stop: &AtomicBool,
    at: &Path,
    pairs: &[Made; 2],
    handle: &tls_reload::ReloadHandle,
) -> u64 {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let mut reloads = 0;
        let mut tick = tokio::time::interval(Duration::from_millis(10));
        while !stop.load(Ordering::Relaxed) {
            tick.tick().await;
            reloads += 1;
            write(at, &pairs[usize::from(reloads % 2 == 0)]);
            handle.reload_now(Trigger::Api).await;
        }
        handle.shutdown().await;
        reloads
    })
}

fn client(authority: &Authority) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.0.der().clone()).expect("a root");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    Arc::new(config)
}

/// One full handshake, both ends on this thread.
fn shake(client: &Arc<ClientConfig>, server: Arc<ServerConfig>) {
    let name = ServerName::try_from("localhost").expect("a name");
    let mut client = ClientConnection::new(client.clone(), name).expect("a client");
    let mut server = ServerConnection::new(server).expect("a server");
    let mut wire = Vec::with_capacity(8192);
    while client.is_handshaking() || server.is_handshaking() {
        wire.clear();
        while client.wants_write() {
            client.write_tls(&mut wire).expect("written");
        }
        let mut rest = wire.as_slice();
        while !rest.is_empty() {
            server.read_tls(&mut rest).expect("read");
            server.process_new_packets().expect("accepted");
        }
        wire.clear();
        while server.wants_write() {
            server.write_tls(&mut wire).expect("written");
        }
        let mut rest = wire.as_slice();
        while !rest.is_empty() {
            client.read_tls(&mut rest).expect("read");
            client.process_new_packets().expect("accepted");
        }
    }
}

criterion_group!(benches, resolve, resolver, handshake);
criterion_main!(benches);

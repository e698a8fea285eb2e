//! reload.md 6.1: what a handshake asks the reloader for takes no allocation. In a binary of its own, whose allocator
//! counts.

#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::Cursor;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::server::{Acceptor, ResolvesServerCert};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use tls_reload::{PairSource, PemSource, Reloader, Settings, Trigger};

fn write(directory: &std::path::Path) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a pair");
    fs::write(directory.join("tls.crt"), made.cert.pem()).expect("write");
    fs::write(directory.join("tls.key"), made.signing_key.serialize_pem()).expect("write");
}

/// What arrives before the server has chosen anything.
fn hello(name: &str) -> rustls::server::Accepted {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let mut client = ClientConnection::new(Arc::new(config), name).expect("a client");
    let mut wire = Vec::new();
    client.write_tls(&mut wire).expect("written");
    let mut acceptor = Acceptor::default();
    acceptor.read_tls(&mut Cursor::new(wire)).expect("read");
    acceptor.accept().ok().flatten().expect("a hello")
}

#[tokio::test]
async fn r23_a_handshake_is_resolved_without_an_allocation() {
    let place = tempfile::tempdir().expect("a directory");
    write(place.path());
    let source = |name: &str| PemSource::Path(place.path().join(name));
    let mut settings = Settings::single(source("tls.crt"), Some(source("tls.key")));
    for number in 0..20 {
        settings.pairs.push(PairSource {
            names: vec![format!("n{number}.test"), format!("*.w{number}.test")],
            ..settings.pairs[0].clone()
        });
    }
    let handle = Reloader::new(settings).spawn_system().expect("served");
    let resolver = handle.resolver();
    let names = [
        "localhost",
        "n7.test",
        "N7.TEST",
        "x.w7.test",
        "unknown.test",
        "127.0.0.1",
    ];
    let accepted = names.map(hello);
    for round in 0..2 {
        // The pointer keeps a slot for each thread from its first use on.
        drop(resolver.server_config());
        for (name, accepted) in names.iter().zip(&accepted) {
            let hello = accepted.client_hello();
            let counted = allocation_counter::measure(|| {
                let config = resolver.server_config();
                let pair = resolver.resolve(hello).expect("a pair");
                assert!(Arc::strong_count(&config) > 1 && Arc::strong_count(&pair) > 1);
            });
            assert_eq!(counted.count_total, 0, "round {round}, {name}: {counted:?}");
        }
        // Also for a generation that came later.
        write(place.path());
        handle.reload_now(Trigger::Api).await;
    }
    let counted = allocation_counter::measure(|| drop(vec![1u8]));
    assert_eq!(counted.count_total, 1, "the counter counts");
    handle.shutdown().await;
}

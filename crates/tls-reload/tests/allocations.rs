//! R23: what a handshake asks of the resolver takes no memory from the heap. Alone in its process, which counts.

use tls_reload::{PairSource, PemSource, Reloader, Settings};

#[test]
fn r23_a_resolve_does_not_allocate() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("tls.pem");
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    std::fs::write(&file, made.cert.pem() + &made.signing_key.serialize_pem()).expect("write");
    let mut settings = Settings::single(PemSource::Path(file.clone()), None);
    settings.pairs.push(PairSource {
        certificate: PemSource::Path(file),
        key: None,
        passphrase: None,
        names: vec!["a.example.com".to_owned(), "*.b.example.com".to_owned()],
    });
    settings.reload.enabled = false;
    let handle = Reloader::new(settings).spawn_system().expect("starts");
    let resolver = handle.resolver();
    // The first use of a pointer on a thread may set it up.
    drop(resolver.server_config());
    let names = [
        None,
        Some("localhost"),
        Some("a.example.com"),
        Some("x.b.example.com"),
        Some("unknown"),
    ];
    let used = allocation_counter::measure(|| {
        for _ in 0..1000 {
            for name in names {
                drop(resolver.certificate_for(name));
            }
            drop(resolver.server_config());
        }
    });
    assert_eq!(used.count_total, 0, "{used:?}");
    // The measure itself sees what is taken.
    assert_ne!(allocation_counter::measure(|| drop(vec![1])).count_total, 0);
}

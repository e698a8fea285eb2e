//! PGP cases: the key that agents check upgrades with, from a file or from upstream.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpListener,
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread,
};

use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    pki_types::{PrivateKeyDer, pem::PemObject as _},
};
use test_support::{CertificateAuthority, Request, Response, ServerCommand, server_command};

use crate::agents::Scene;

const KEY: &str = "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nmQENBFI3\n-----END PGP PUBLIC KEY BLOCK-----\n";

/// An HTTPS server that gives every request the same answer and counts them.
struct Upstream {
    url: String,
    authority: PathBuf,
    asked: Arc<AtomicUsize>,
    _directory: tempfile::TempDir,
}

impl Upstream {
    fn answering(status: &str, body: &[u8]) -> Self {
        let answer = [
            format!(
                "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                body.len()
            )
            .as_bytes(),
            body,
        ]
        .concat();
        let ca = CertificateAuthority::new("upstream");
        let leaf = ca.issue(&["localhost"]);
        let key = PrivateKeyDer::from_pem_slice(leaf.key_pem.as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![leaf.certificate.clone()], key)
            .unwrap();
        let directory = tempfile::tempdir().unwrap();
        let authority = directory.path().join("upstream.pem");
        fs::write(&authority, ca.pem()).unwrap();
        let socket = TcpListener::bind("localhost:0").unwrap();
        let url = format!(
            "https://localhost:{}/GPG-KEY",
            socket.local_addr().unwrap().port()
        );
        let asked = Arc::new(AtomicUsize::new(0));
        let (config, count) = (Arc::new(config), Arc::clone(&asked));
        // Ends with the test's process.
        thread::spawn(move || {
            for stream in socket.incoming() {
                let session = ServerConnection::new(Arc::clone(&config)).unwrap();
                let mut stream = StreamOwned::new(session, stream.unwrap());
                let mut head = Vec::new();
                let mut bytes = [0; 1024];
                while !head.ends_with(b"\r\n\r\n") {
                    match stream.read(&mut bytes) {
                        Ok(0) | Err(_) => break,
                        Ok(read) => head.extend_from_slice(&bytes[..read]),
                    }
                }
                if head.starts_with(b"GET /GPG-KEY ") {
                    count.fetch_add(1, SeqCst);
                    // A client that has read enough may be gone.
                    let _ = stream.write_all(&answer).and_then(|()| stream.flush());
                    stream.conn.send_close_notify();
                    let _ = stream.flush();
                }
            }
        });
        Self {
            url,
            authority,
            asked,
            _directory: directory,
        }
    }

    fn server(&self) -> ServerCommand {
        server_command!()
            .quickstart()
            .env("SSL_CERT_FILE", self.authority.to_str().unwrap())
            .set("inputs.0.server.pgp.upstream_url", &self.url)
    }
}

fn file(scene: &Scene) -> PathBuf {
    scene.server.data().join("elastic-agent-upgrade-keys/default.pgp")
}

async fn ask(scene: &Scene) -> Response {
    let path = "/api/agents/upgrades/9.6.0/pgp-public-key";
    scene
        .facts
        .client("url")
        .request(&Request::get(path))
        .await
        .unwrap()
}

fn lay_down(scene: &Scene, mode: u32) {
    fs::create_dir_all(file(scene).parent().unwrap()).unwrap();
    fs::write(file(scene), "an operator's key").unwrap();
    fs::set_permissions(file(scene), fs::Permissions::from_mode(mode)).unwrap();
}

#[actix_rt::test]
async fn pgp_02_03_ac_84_the_operators_file_comes_first_if_only_its_owner_may_write_to_it() {
    let upstream = Upstream::answering("200 OK", KEY.as_bytes());
    let scene = Scene::of(upstream.server().allow_log("HTTP request error").start());
    for mode in [0o600, 0o644] {
        lay_down(&scene, mode);
        let answer = ask(&scene).await;
        assert_eq!(
            (answer.status, answer.text().as_str()),
            (200, "an operator's key")
        );
        assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"));
    }
    for mode in [0o660, 0o602] {
        lay_down(&scene, mode);
        let answer = ask(&scene).await;
        assert_eq!(answer.status, 500, "{}", answer.text());
        assert!(
            !answer.text().contains("default.pgp"),
            "a path of the server's: {}",
            answer.text()
        );
    }
    let told = scene.server.wait_for_log("HTTP request error").text;
    assert!(told.contains("chmod 600"), "{told}");
    assert_eq!(upstream.asked.load(SeqCst), 0);
}

#[actix_rt::test]
async fn pgp_04_what_upstream_sends_is_kept_and_asked_for_once() {
    let upstream = Upstream::answering("200 OK", KEY.as_bytes());
    let scene = Scene::of(upstream.server().start());
    let answers = futures_util::future::join_all((0..4).map(|_| ask(&scene))).await;
    for answer in answers {
        assert_eq!((answer.status, answer.text().as_str()), (200, KEY));
    }
    assert_eq!(upstream.asked.load(SeqCst), 1);
    assert_eq!(fs::read_to_string(file(&scene)).unwrap(), KEY);
    let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(file(&scene)), 0o600);
    assert_eq!(mode(file(&scene).parent().unwrap().to_owned()), 0o700);
}

#[actix_rt::test]
async fn pgp_05_what_is_no_key_is_not_handed_on() {
    let large = [KEY.as_bytes(), &vec![b'x'; 2 << 20]].concat();
    for (status, body) in [
        ("400 Bad Request", KEY.as_bytes()),
        ("404 Not Found", b"".as_slice()),
        ("200 OK", b"<html>Please sign in</html>".as_slice()),
        ("200 OK", &large),
    ] {
        let upstream = Upstream::answering(status, body);
        let scene = Scene::of(upstream.server().start());
        for _ in 0..2 {
            let answer = ask(&scene).await;
            assert_eq!(answer.status, 500, "{}", answer.text());
            assert!(
                answer.text().contains("upstream http server"),
                "{}",
                answer.text()
            );
        }
        assert_eq!(upstream.asked.load(SeqCst), 1, "a failure counts for a while");
        assert!(!file(&scene).exists());
        // The remedy is in the log, and needs no restart.
        let told = scene.server.wait_for_log("HTTP request error").text;
        assert!(told.contains("put the key in"), "{told}");
        lay_down(&scene, 0o600);
        assert_eq!(ask(&scene).await.status, 200);
    }
}

#[actix_rt::test]
async fn ac_84_without_a_way_to_the_internet_the_answer_comes_at_once_and_says_so() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for url in [format!("https://{closed}/KEY"), format!("http://{closed}/KEY")] {
        let command = server_command!()
            .quickstart()
            .set("inputs.0.server.pgp.upstream_url", &url);
        let scene = Scene::of(command.start());
        let answer = ask(&scene).await;
        assert_eq!(answer.status, 503, "{}", answer.text());
        assert!(
            answer.text().contains("has no signing key and cannot reach"),
            "{}",
            answer.text()
        );
        assert!(answer.header("retry-after").is_some());
        let told = scene.server.wait_for_log("HTTP request error").text;
        assert!(told.contains("put the key in") && told.contains(&url), "{told}");
    }
}

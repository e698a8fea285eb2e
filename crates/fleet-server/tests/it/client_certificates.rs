//! Client certificates at the real listeners: who is let in, and how that changes while the server runs
//! (reload.md 5.6 to 6.3, T60, T61).

use std::{fs, path::PathBuf};

use rustls::{
    SupportedProtocolVersion,
    version::{TLS12, TLS13},
};
use test_support::{
    CertificateAuthority, Connection, HttpClient, Leaf, LeafOrder, PairFiles, QuickstartFacts, Request,
    ServerCommand, ServerProcess, rename_over, server_command,
};

/// A server that judges its clients by `clients.crt` (and `clients.crl`, if there is one).
struct Gate {
    server: ServerProcess,
    facts: QuickstartFacts,
    ca: CertificateAuthority,
    files: PathBuf,
}

const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

/// The listeners that share the agents' set.
const DOORS: [&str; 3] = ["url", "internal_url", "admin_url"];

impl Gate {
    /// `section` gets the client CAs; the agents' listeners and an admin listener without a set of its own are judged
    /// by it.
    fn start(
        section: &str,
        authorities: &[&CertificateAuthority],
        list: Option<&str>,
        more: impl FnOnce(ServerCommand) -> ServerCommand,
    ) -> Self {
        let ca = CertificateAuthority::new("servers");
        let command = server_command!();
        let files = command.path().join("certs");
        fs::create_dir(&files).unwrap();
        let pair = PairFiles::create(&files, &ca.issue(&["localhost", "127.0.0.1"]));
        let text = |path: &PathBuf| path.to_str().unwrap().to_owned();
        let mut command = command.quickstart();
        for part in ["inputs.0.server.ssl", section] {
            command = command
                .set(&format!("{part}.certificate"), &text(&pair.certificate))
                .set(&format!("{part}.key"), &text(&pair.key))
                .set(&format!("{part}.certificate_reload.debounce"), "50ms");
        }
        rename_over(&files.join("clients.crt"), &pem(authorities));
        command = command.set(
            &format!("{section}.certificate_authorities.0"),
            &text(&files.join("clients.crt")),
        );
        if let Some(list) = list {
            rename_over(&files.join("clients.crl"), list);
            command = command.set(
                &format!("{section}.certificate_revocation_lists.0"),
                &text(&files.join("clients.crl")),
            );
        }
        let server = more(command).start();
        let facts = server.quickstart_facts();
        Self {
            server,
            facts,
            ca,
            files,
        }
    }

    /// A client that keeps its sessions.
    fn client(
        &self,
        door: &str,
        version: &'static SupportedProtocolVersion,
        identity: Option<&Leaf>,
    ) -> HttpClient {
        HttpClient::for_url(self.facts.get(door), self.ca.pem())
            .with_tls(version, self.ca.roots(), identity)
            .with_resumption()
    }

    /// Replaces a file, and waits until what it says is served.
    fn replace(&self, name: &str, text: &str) {
        let reloads = || {
            let is_one = |line: &&test_support::LogLine| {
                line.json["event.action"] == "tls-reload" && line.json["event.outcome"] == "success"
            };
            self.server.log().iter().filter(is_one).count()
        };
        let before = reloads();
        rename_over(&self.files.join(name), text);
        // The line of the start is one of them.
        let mut lines = 1;
        while reloads() == before {
            lines += 1;
            self.server.wait_for_lines("serving ", lines);
        }
    }
}

fn pem(authorities: &[&CertificateAuthority]) -> String {
    authorities.iter().map(|ca| ca.pem()).collect()
}

fn identity(ca: &CertificateAuthority, name: &str) -> Leaf {
    ca.issue_as(&LeafOrder::new(&["client"]).for_client(name))
}

/// A request on a new connection: in TLS 1.3 a refusal shows at the first read only.
async fn ask(client: &HttpClient) -> std::io::Result<Connection> {
    let mut connection = client.connect().await?;
    connection.request(&Request::get("/api/status")).await?;
    Ok(connection)
}

/// Asks and tells whether the session was resumed.
async fn is_resumed(client: &HttpClient) -> bool {
    let connection = ask(client).await.expect("let in");
    connection.tls().expect("TLS").is_resumed
}

#[actix_rt::test]
async fn t62_required_is_what_client_authorities_mean() {
    let [friends, strangers] = ["friends", "strangers"].map(CertificateAuthority::new);
    let gate = Gate::start("inputs.0.server.ssl", &[&friends], None, |command| command);
    let [friend, stranger] = [identity(&friends, "friend"), identity(&strangers, "stranger")];
    for door in DOORS {
        for version in VERSIONS {
            ask(&gate.client(door, version, Some(&friend)))
                .await
                .unwrap_or_else(|error| panic!("{door}: {error}"));
            assert!(ask(&gate.client(door, version, None)).await.is_err(), "{door}");
            assert!(
                ask(&gate.client(door, version, Some(&stranger))).await.is_err(),
                "{door}"
            );
        }
    }
}

#[actix_rt::test]
async fn t62_gen_31_optional_lets_the_nameless_in_and_no_stranger() {
    let [friends, strangers] = ["friends", "strangers"].map(CertificateAuthority::new);
    let gate = Gate::start("inputs.0.server.ssl", &[&friends], None, |command| {
        command.set("inputs.0.server.ssl.client_authentication", "optional")
    });
    let [friend, stranger] = [identity(&friends, "friend"), identity(&strangers, "stranger")];
    for door in DOORS {
        for version in VERSIONS {
            for welcome in [None, Some(&friend)] {
                ask(&gate.client(door, version, welcome))
                    .await
                    .unwrap_or_else(|error| panic!("{door}: {error}"));
            }
            assert!(
                ask(&gate.client(door, version, Some(&stranger))).await.is_err(),
                "{door}"
            );
        }
    }
}

/// The admin API asks for certificates, the agents' listeners do not.
#[actix_rt::test]
async fn t62_the_admin_listener_may_have_rules_of_its_own() {
    let friends = CertificateAuthority::new("friends");
    let gate = Gate::start("admin.ssl", &[&friends], None, |command| command);
    let friend = identity(&friends, "friend");
    for version in VERSIONS {
        ask(&gate.client("url", version, None)).await.unwrap();
        assert!(ask(&gate.client("admin_url", version, None)).await.is_err());
        ask(&gate.client("admin_url", version, Some(&friend)))
            .await
            .unwrap();
    }
    let others = CertificateAuthority::new("others");
    gate.replace("clients.crt", others.pem());
    for version in VERSIONS {
        assert!(
            ask(&gate.client("admin_url", version, Some(&friend)))
                .await
                .is_err()
        );
        ask(&gate.client("admin_url", version, Some(&identity(&others, "other"))))
            .await
            .unwrap();
        ask(&gate.client("url", version, None)).await.unwrap();
    }
}

#[actix_rt::test]
async fn t60_a_removed_client_ca_ends_sessions_and_leaves_connections() {
    for mode in ["required", "optional"] {
        let [leaving, staying, coming] = ["leaving", "staying", "coming"].map(CertificateAuthority::new);
        let gate = Gate::start("inputs.0.server.ssl", &[&leaving, &staying], None, |command| {
            command.set("inputs.0.server.ssl.client_authentication", mode)
        });
        let [leaver, stayer, newcomer] = [&leaving, &staying, &coming].map(|ca| identity(ca, "client"));
        let mut clients = Vec::new();
        for door in DOORS {
            for version in VERSIONS {
                let [old, kept, new] =
                    [&leaver, &stayer, &newcomer].map(|leaf| gate.client(door, version, Some(leaf)));
                let running = ask(&old).await.unwrap();
                assert!(is_resumed(&old).await, "{mode} {door}");
                assert!(!is_resumed(&kept).await);
                assert!(ask(&new).await.is_err(), "{mode} {door}");
                clients.push((door, old, kept, new, running));
            }
        }
        gate.replace("clients.crt", &pem(&[&staying, &coming]));
        for (door, old, kept, new, mut running) in clients {
            assert!(
                ask(&old).await.is_err(),
                "{mode} {door}: a session outlives its CA"
            );
            assert!(
                !is_resumed(&kept).await,
                "{mode} {door}: a session of the old rules"
            );
            assert!(is_resumed(&kept).await, "{mode} {door}: sessions of the new ones");
            ask(&new)
                .await
                .unwrap_or_else(|error| panic!("{mode} {door}: {error}"));
            running
                .request(&Request::get("/api/status"))
                .await
                .expect("running connections stay (reload.md 6.2)");
        }
    }
}

#[actix_rt::test]
async fn t61_a_revoked_client_is_refused_at_its_next_handshake() {
    let friends = CertificateAuthority::new("friends");
    let [bad, good] = ["bad", "good"].map(|name| identity(&friends, name));
    let gate = Gate::start(
        "inputs.0.server.ssl",
        &[&friends],
        Some(&friends.revoke(&[])),
        |command| command,
    );
    let mut clients = Vec::new();
    for door in DOORS {
        for version in VERSIONS {
            let [bad, good] = [&bad, &good].map(|leaf| gate.client(door, version, Some(leaf)));
            let running = ask(&bad).await.unwrap();
            assert!(is_resumed(&bad).await, "{door}");
            ask(&good).await.unwrap();
            clients.push((door, bad, good, running));
        }
    }
    gate.replace("clients.crl", &friends.revoke(&[&bad]));
    for (door, bad, good, running) in &mut clients {
        assert!(ask(bad).await.is_err(), "{door}: revoked, and let in");
        assert!(!is_resumed(good).await, "{door}: a session of the old list");
        running
            .request(&Request::get("/api/status"))
            .await
            .expect("running connections stay (reload.md 6.2)");
    }
    // Taken off the list again.
    gate.replace("clients.crl", &friends.revoke(&[]));
    for (_, bad, _, _) in &clients {
        ask(bad).await.unwrap();
    }
}

/// reload.md 5.6: a list that is rubbish refuses the whole set: whoever was revoked stays so.
#[actix_rt::test]
async fn t55_a_broken_list_changes_nothing() {
    let friends = CertificateAuthority::new("friends");
    let [bad, good] = ["bad", "good"].map(|name| identity(&friends, name));
    let gate = Gate::start(
        "inputs.0.server.ssl",
        &[&friends],
        Some(&friends.revoke(&[&bad])),
        |command| command.allow_log("clients.crl"),
    );
    rename_over(&gate.files.join("clients.crl"), "rubbish");
    gate.server.wait_for_log("clients.crl: holds no PEM section");
    for version in VERSIONS {
        assert!(ask(&gate.client("url", version, Some(&bad))).await.is_err());
        ask(&gate.client("url", version, Some(&good))).await.unwrap();
    }
}

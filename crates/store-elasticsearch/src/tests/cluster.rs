//! The Elasticsearch that `make elastic-check` started, and connections to it.

use std::time::Duration;

use reqwest::{Method, Url, header::HeaderMap};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use serde_json::{Value, json};
use store::Secret;
use tokio::sync::{Mutex, MutexGuard, OnceCell};

use crate::{
    Connection, Credentials, Settings,
    api_keys::write,
    connection::{Body, Call},
    index::Index,
};

/// One case at a time.
pub(super) async fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::const_new(());
    ALONE.lock().await
}

/// Where it is.
#[derive(Clone)]
pub(super) struct Cluster {
    pub(super) url: Url,
    password: String,
    authority: CertificateDer<'static>,
}

impl Cluster {
    /// The one that the environment names.
    pub(super) fn named() -> Self {
        let named = |name: &str| {
            std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: needs make elastic-check"))
        };
        Self {
            url: named("FLEET_ELASTICSEARCH_URL").parse().unwrap(),
            password: named("FLEET_ELASTICSEARCH_PASSWORD"),
            authority: CertificateDer::from_pem_file(named("FLEET_ELASTICSEARCH_CA")).unwrap(),
        }
    }

    pub(super) fn settings(&self, credentials: Credentials) -> Settings {
        Settings {
            hosts: vec![self.url.clone()],
            credentials,
            tls: trusting(vec![self.authority.clone()]),
            proxy: None,
            headers: HeaderMap::new(),
            compresses: true,
            timeout: Duration::from_secs(90),
            user_agent: "test".to_owned(),
        }
    }

    /// As the user who may do everything.
    pub(super) fn connect_as_operator(&self) -> Connection {
        let password = Secret::from(self.password.clone());
        let name = "elastic".to_owned();
        Connection::new(self.settings(Credentials::User { name, password })).unwrap()
    }

    /// A service token of the account of Fleet Server.
    pub(super) async fn service_token(&self) -> Secret {
        static TOKEN: OnceCell<String> = OnceCell::const_new();
        let token = TOKEN.get_or_init(async || {
            let name = format!("test-{}", fastrand::u64(..));
            let path = format!("/_security/service/elastic/fleet-server/credential/token/{name}");
            let made = self
                .connect_as_operator()
                .json::<Value>(Call::new(Method::POST, path, Body::None))
                .await;
            made.unwrap()["token"]["value"].as_str().unwrap().to_owned()
        });
        Secret::from(token.await.clone())
    }

    /// As Fleet Server.
    pub(super) async fn connect_as_server(&self) -> Connection {
        let token = self.service_token().await;
        Connection::new(self.settings(Credentials::ServiceToken(token))).unwrap()
    }

    /// Removes every document.
    pub(super) async fn empty(&self) {
        let connection = self.connect_as_operator();
        for index in [
            Index::Agents,
            Index::Actions,
            Index::Results,
            Index::Policies,
            Index::Tokens,
        ] {
            let name = index.name();
            loop {
                connection
                    .call(Call::new(Method::POST, format!("/{name}/_refresh"), Body::None))
                    .await
                    .unwrap();
                let body = write(&json!({"query": {"match_all": {}}})).unwrap();
                let call = Call::new(Method::POST, format!("/{name}/_delete_by_query"), body);
                if connection.json::<Value>(call).await.unwrap()["deleted"] == json!(0) {
                    break;
                }
            }
        }
    }
}

pub(super) fn trusting(authorities: Vec<CertificateDer<'static>>) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots.add(authority).unwrap();
    }
    let provider = rustls::crypto::aws_lc_rs::default_provider().into();
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

//! An actix-web server whose certificate reloads: `cargo run --example actix_web -- tls.crt tls.key`.

use std::sync::Arc;

use actix_web::{App, HttpServer, web};
use rustls::ServerConfig;
use tls_reload::{PemSource, Reloader, Settings};

#[actix_web::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let [certificate, key] = ["tls.crt", "tls.key"].map(String::from);
    let mut paths = std::env::args().skip(1);
    let certificate = PemSource::from_config(&paths.next().unwrap_or(certificate));
    let key = PemSource::from_config(&paths.next().unwrap_or(key));

    let reloader = Reloader::new(Settings::single(certificate, Some(key))).start()?;

    // actix-web keeps one ServerConfig for life: certificates reload inside it. To reload client CAs and CRLs
    // too, accept connections yourself, as the other example does.
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(reloader.resolver()));
    HttpServer::new(|| App::new().route("/", web::get().to(async || "hello\n")))
        .bind_rustls_0_23("127.0.0.1:8443", config)?
        .run()
        .await?;
    reloader.shutdown().await;
    Ok(())
}

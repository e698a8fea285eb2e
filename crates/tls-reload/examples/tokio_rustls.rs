//! A server on plain tokio whose whole TLS set reloads: `cargo run --example tokio_rustls -- tls.crt tls.key`.

use std::time::Duration;

use rustls::server::Acceptor;
use tls_reload::{PemSource, Reloader, Settings};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio_rustls::LazyConfigAcceptor;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let [certificate, key] = ["tls.crt", "tls.key"].map(String::from);
    let mut paths = std::env::args().skip(1);
    let certificate = PemSource::from_config(&paths.next().unwrap_or(certificate));
    let key = PemSource::from_config(&paths.next().unwrap_or(key));

    let reloader = Reloader::new(Settings::single(certificate, Some(key))).spawn_system()?;
    let listener = TcpListener::bind("127.0.0.1:8443").await?;
    loop {
        let (tcp, _) = listener.accept().await?;
        let resolver = reloader.resolver();
        tokio::spawn(tokio::time::timeout(Duration::from_secs(10), async move {
            // The generation is taken when the ClientHello is there, and used to the end of the handshake.
            let hello = LazyConfigAcceptor::new(Acceptor::default(), tcp).await?;
            let mut tls = hello.into_stream(resolver.server_config()).await?;
            tls.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello\n")
                .await?;
            tls.shutdown().await
        }));
    }
}

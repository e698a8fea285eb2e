//! An HTTP/1.1 client over TCP or TLS that sends what it is told, also what no decent client would.
//!
//! [`Request`] makes well-formed requests; [`Connection::send_raw`] sends anything. A connection says which
//! certificate it saw, can be half closed and can come from any local address.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use rustls::{
    ClientConfig, HandshakeKind, RootCertStore, SupportedProtocolVersion,
    client::Resumption,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf},
    net::{TcpSocket, TcpStream, lookup_host},
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    LIMIT,
    certificate_authority::Leaf,
    http_message::{Request, Response, parse_head},
    tls::TlsFacts,
};

/// Opens connections to one server.
#[derive(Clone)]
pub struct HttpClient {
    host: String,
    port: u16,
    tls: Option<Arc<ClientConfig>>,
    source: Option<IpAddr>,
    limit: Duration,
}

impl HttpClient {
    /// A client without TLS.
    pub fn plain(host: &str, port: u16) -> Self {
        Self {
            host: bare(host).to_owned(),
            port,
            tls: None,
            source: None,
            limit: LIMIT,
        }
    }

    /// A client that trusts `roots` alone, checks the name, sends no ALPN and resumes nothing: as an agent does.
    pub fn trusting(host: &str, port: u16, roots: RootCertStore) -> Self {
        let config = builder().with_root_certificates(roots).with_no_client_auth();
        Self::plain(host, port).with_config(config)
    }

    /// A client for `url` (`https://host:port`) that trusts the CA in `ca_pem`.
    pub fn for_url(url: &str, ca_pem: &str) -> Self {
        let (scheme, rest) = url.split_once("://").expect("a URL with a scheme");
        let authority = rest.split('/').next().unwrap_or_default();
        let (host, port) = authority.rsplit_once(':').expect("a URL with a port");
        let port = port.parse().expect("a port number");
        match scheme {
            "http" => Self::plain(host, port),
            _ => Self::trusting(host, port, roots(ca_pem)),
        }
    }

    fn with_config(mut self, mut config: ClientConfig) -> Self {
        config.resumption = Resumption::disabled();
        self.tls = Some(Arc::new(config));
        self
    }

    fn change(mut self, change: impl FnOnce(&mut ClientConfig)) -> Self {
        let mut config = self.tls.as_deref().expect("a client with TLS").clone();
        change(&mut config);
        self.tls = Some(Arc::new(config));
        self
    }

    /// Shows `leaf` when the server asks for a certificate.
    pub fn with_identity(self, roots: RootCertStore, leaf: &Leaf) -> Self {
        let key = PrivateKeyDer::from_pem_slice(leaf.key_pem.as_bytes()).expect("a key");
        let config = builder()
            .with_root_certificates(roots)
            .with_client_auth_cert(vec![leaf.certificate.clone()], key)
            .expect("a usable client certificate");
        self.with_config(config)
    }

    /// Speaks this TLS version alone, trusts `roots` alone, and shows `identity` (if any) when it is asked for one.
    pub fn with_tls(
        self,
        version: &'static SupportedProtocolVersion,
        roots: RootCertStore,
        identity: Option<&Leaf>,
    ) -> Self {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .expect("a version that rustls has")
            .with_root_certificates(roots);
        let config = match identity {
            None => builder.with_no_client_auth(),
            Some(leaf) => {
                let key = PrivateKeyDer::from_pem_slice(leaf.key_pem.as_bytes()).expect("a key");
                builder
                    .with_client_auth_cert(vec![leaf.certificate.clone()], key)
                    .expect("a usable client certificate")
            }
        };
        self.with_config(config)
    }

    /// Offers these protocols by ALPN.
    pub fn with_alpn(self, protocols: &[&str]) -> Self {
        let protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        self.change(|config| config.alpn_protocols = protocols)
    }

    /// Keeps sessions, so that later connections of this client (and its clones) resume.
    pub fn with_resumption(self) -> Self {
        self.change(|config| config.resumption = Resumption::in_memory_sessions(32))
    }

    /// Connects from `address` (any 127.0.0.x on Linux).
    pub fn from_address(mut self, address: IpAddr) -> Self {
        self.source = Some(address);
        self
    }

    /// Gives up after `limit` instead of [`LIMIT`].
    pub fn with_limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Opens a connection. In TLS 1.3 a refused client certificate shows at the first read, not here.
    pub async fn connect(&self) -> io::Result<Connection> {
        timeout(self.limit, self.connect_now())
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
    }

    /// Opens the TCP connection alone: for silent clients and bytes that are not TLS.
    pub async fn connect_tcp(&self) -> io::Result<TcpStream> {
        let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for address in lookup_host((self.host.as_str(), self.port)).await? {
            match self.connect_to(address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn connect_to(&self, address: SocketAddr) -> io::Result<TcpStream> {
        let socket = if address.is_ipv4() {
            TcpSocket::new_v4()?
        } else {
            TcpSocket::new_v6()?
        };
        if let Some(source) = self.source {
            socket.bind(SocketAddr::new(source, 0))?;
        }
        let stream = socket.connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    async fn connect_now(&self) -> io::Result<Connection> {
        let tcp = self.connect_tcp().await?;
        let (io, tls) = match &self.tls {
            None => (Io::Plain(tcp), None),
            Some(config) => {
                let name = ServerName::try_from(self.host.clone()).map_err(io::Error::other)?;
                let stream = TlsConnector::from(Arc::clone(config)).connect(name, tcp).await?;
                let (_, session) = stream.get_ref();
                let facts = TlsFacts {
                    version: session.protocol_version().expect("a version after the handshake"),
                    chain: session.peer_certificates().map(<[_]>::to_vec).unwrap_or_default(),
                    is_resumed: session.handshake_kind() == Some(HandshakeKind::Resumed),
                    alpn: session.alpn_protocol().map(<[u8]>::to_vec),
                };
                (Io::Tls(Box::new(stream)), Some(facts))
            }
        };
        Ok(Connection {
            io,
            tls,
            unread: Vec::new(),
            limit: self.limit,
        })
    }

    /// One request on a connection of its own.
    pub async fn request(&self, request: &Request) -> io::Result<Response> {
        self.connect().await?.request(request).await
    }
}

/// One open connection.
pub struct Connection {
    io: Io,
    tls: Option<TlsFacts>,
    unread: Vec<u8>,
    limit: Duration,
}

impl Connection {
    /// What the TLS handshake came to; `None` on a plain connection.
    pub fn tls(&self) -> Option<&TlsFacts> {
        self.tls.as_ref()
    }

    /// Fingerprint of the server's certificate.
    pub fn fingerprint(&self) -> String {
        self.tls.as_ref().map(TlsFacts::fingerprint).unwrap_or_default()
    }

    /// Sends a request and reads its response.
    pub async fn request(&mut self, request: &Request) -> io::Result<Response> {
        self.send(request).await?;
        self.receive().await
    }

    /// Sends a request without waiting for the response.
    pub async fn send(&mut self, request: &Request) -> io::Result<()> {
        self.send_raw(&request.to_bytes()).await
    }

    /// Sends bytes as they are.
    pub async fn send_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        let sending = async {
            self.io.write_all(bytes).await?;
            self.io.flush().await
        };
        timeout(self.limit, sending)
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
    }

    /// Reads one response. [`io::ErrorKind::UnexpectedEof`]: the server closed the connection instead.
    pub async fn receive(&mut self) -> io::Result<Response> {
        self.receive_within(self.limit).await
    }

    /// As [`receive`](Self::receive), with a limit of its own (long polls).
    pub async fn receive_within(&mut self, limit: Duration) -> io::Result<Response> {
        timeout(limit, self.receive_now())
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
    }

    async fn receive_now(&mut self) -> io::Result<Response> {
        loop {
            let end = loop {
                match self.unread.windows(4).position(|window| window == b"\r\n\r\n") {
                    Some(end) => break end + 4,
                    None => self.fill().await?,
                }
            };
            let head: Vec<u8> = self.unread.drain(..end).collect();
            let mut response = parse_head(&head)?;
            if response.status == 100 {
                continue;
            }
            response.body = match (response.status, response.header("content-length")) {
                (101 | 204 | 304, _) => Vec::new(),
                (_, Some(length)) => self.take(length.parse().map_err(io::Error::other)?).await?,
                (_, None) if response.header("transfer-encoding").is_some() => self.take_chunks().await?,
                (_, None) => self.take_rest().await?,
            };
            return Ok(response);
        }
    }

    /// The stream below, for another protocol's library. Nothing may have arrived yet.
    pub fn into_stream(self) -> impl AsyncRead + AsyncWrite + Unpin {
        assert!(self.unread.is_empty(), "bytes would be lost");
        self.io
    }

    /// Reads so many bytes as they come, after an upgrade.
    pub async fn receive_raw(&mut self, length: usize) -> io::Result<Vec<u8>> {
        let limit = self.limit;
        timeout(limit, self.take(length))
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
    }

    async fn fill(&mut self) -> io::Result<()> {
        let mut part = [0; 4096];
        let read = self.io.read(&mut part).await?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.unread.extend_from_slice(&part[..read]);
        Ok(())
    }

    async fn take(&mut self, length: usize) -> io::Result<Vec<u8>> {
        while self.unread.len() < length {
            self.fill().await?;
        }
        Ok(self.unread.drain(..length).collect())
    }

    async fn take_line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.unread.windows(2).position(|window| window == b"\r\n") {
                let line = self.take(end + 2).await?;
                return Ok(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
            self.fill().await?;
        }
    }

    async fn take_chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = self.take_line().await?;
            let length = usize::from_str_radix(line.split(';').next().unwrap_or_default(), 16)
                .map_err(io::Error::other)?;
            body.extend(self.take(length).await?);
            self.take_line().await?;
            if length == 0 {
                return Ok(body);
            }
        }
    }

    async fn take_rest(&mut self) -> io::Result<Vec<u8>> {
        loop {
            match self.fill().await {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Ok(std::mem::take(&mut self.unread));
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits until the server closes (a reset counts); what it still sent. `Err`: it did not close in time.
    pub async fn until_closed(&mut self) -> io::Result<Vec<u8>> {
        let mut rest = std::mem::take(&mut self.unread);
        match timeout(self.limit, self.io.read_to_end(&mut rest)).await {
            Ok(_) => Ok(rest),
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    /// Closes the sending side of the TCP connection, below TLS.
    pub async fn half_close(&mut self) -> io::Result<()> {
        match &mut self.io {
            Io::Plain(tcp) => tcp.shutdown().await,
            Io::Tls(stream) => stream.get_mut().0.shutdown().await,
        }
    }
}

enum Io {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for Io {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Self::Tls(tls) => Pin::new(tls).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Io {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_write(cx, bytes),
            Self::Tls(tls) => Pin::new(tls).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_flush(cx),
            Self::Tls(tls) => Pin::new(tls).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Self::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
        }
    }
}

fn builder() -> rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier> {
    ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("TLS 1.2 and 1.3")
}

fn roots(pem: &str) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        roots
            .add(certificate.expect("a certificate"))
            .expect("a CA that can be trusted");
    }
    roots
}

fn bare(host: &str) -> &str {
    host.strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(host)
}

//! One connection to a server: TCP, TLS if the URL says so, one request. What the server showed in the handshake and
//! what it answered come from the same connection.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Context as _, Result, anyhow};
use futures_util::future::join;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    Method, Request, Response, Uri,
    body::{Bytes, Incoming},
    client::conn::http1::handshake,
    header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue},
    rt::{Read, Write},
};
use hyper_util::rt::TokioIo;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, InvalidMessage, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime},
};
use serde_json::Value;
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::served_leaf::ServedLeaf;

/// The client certificate and its key.
pub(super) struct Identity {
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: PrivateKeyDer<'static>,
}

/// Which server certificates are accepted.
pub(super) enum Trust {
    /// Certificates that chain to one of these CAs.
    Signed(Vec<CertificateDer<'static>>),
    /// Any certificate.
    Anyone,
}

/// A server: its address, which certificate it must show, and what the client shows to it.
pub(super) struct Peer {
    pub(super) url: String,
    /// Addresses to connect to instead of those that the URL's host resolves to.
    pub(super) addresses: Option<Vec<SocketAddr>>,
    pub(super) trust: Trust,
    pub(super) identity: Option<Identity>,
}

/// A server's answer: status, body and the certificate of its connection.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
    /// The certificate that it showed; `None`: plain HTTP.
    pub(crate) leaf: Option<ServedLeaf>,
}

#[derive(Debug)]
pub(crate) enum Download {
    /// All of it is written.
    Done { bytes: u64 },
    /// The server answered something else than the file.
    Refused { status: u16, body: String },
}

impl Peer {
    /// `GET path`; any status is an answer.
    pub(super) async fn get(&self, path: &str, api_key: Option<&str>) -> Result<Answer> {
        self.call(Method::GET, path, api_key, None).await
    }

    /// A request with a JSON body, if there is one; any status is an answer.
    pub(super) async fn call(
        &self,
        method: Method,
        path: &str,
        api_key: Option<&str>,
        body: Option<&Value>,
    ) -> Result<Answer> {
        let mut read = Vec::new();
        let exchange = self.exchange(method, path, api_key, body, async |answer| {
            collect(answer, MAX_BODY, &mut read).await
        });
        let (status, leaf) = match timeout(TIMEOUT, exchange).await {
            Ok(answer) => answer,
            Err(_) => Err(late()),
        }
        .with_context(|| format!("cannot reach {}", self.url))?;
        let body = String::from_utf8_lossy(&read).into_owned();
        Ok(Answer { status, body, leaf })
    }

    /// Writes the body of a 200 to `into`. It may take long as a whole, but no piece of it may.
    pub(super) async fn download(
        &self,
        path: &str,
        api_key: Option<&str>,
        into: &mut dyn std::io::Write,
    ) -> Result<Download> {
        let (mut bytes, mut refusal) = (0, Vec::new());
        let exchange = self.exchange(Method::GET, path, api_key, None, async |mut answer| {
            if answer.status() != 200 {
                return collect(answer, MAX_BODY, &mut refusal).await;
            }
            while let Some(frame) = timeout(TIMEOUT, answer.body_mut().frame())
                .await
                .map_err(|_| late())?
            {
                let frame = frame.map_err(|error| anyhow!("the answer was cut: {error}"))?;
                if let Some(piece) = frame.data_ref() {
                    into.write_all(piece).context("cannot write the file")?;
                    bytes += piece.len() as u64;
                }
            }
            Ok(())
        });
        let (status, _) = exchange
            .await
            .with_context(|| format!("cannot get {path} from {}", self.url))?;
        Ok(match status {
            200 => Download::Done { bytes },
            status => Download::Refused {
                status,
                body: String::from_utf8_lossy(&refusal).into_owned(),
            },
        })
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        api_key: Option<&str>,
        body: Option<&Value>,
        read: impl AsyncFnOnce(Response<Incoming>) -> Result<()>,
    ) -> Result<(u16, Option<ServedLeaf>)> {
        let url: Uri = format!("{}{path}", self.url)
            .parse()
            .context("the URL cannot be read")?;
        let authority = url.authority().context("the URL names no host")?;
        let is_tls = match url.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(anyhow!("the URL begins neither with https:// nor with http://")),
        };
        let target = url.path_and_query().map_or("/", |target| target.as_str());
        let mut request = Request::builder()
            .method(method)
            .uri(target)
            .header(HOST, authority.as_str())
            .header("kbn-xsrf", "true");
        if let Some(key) = api_key {
            let mut value =
                HeaderValue::try_from(format!("ApiKey {key}")).context("the API key has odd characters")?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let body = body.map(Value::to_string).unwrap_or_default();
        let request = request.body(Full::from(body))?;

        // An IPv6 address has brackets only in a URL.
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        let port = authority.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        if !is_tls {
            let socket = self.connect(host, port).await?;
            return match send(TokioIo::new(socket), request, read).await {
                Ok(status) => Ok((status, None)),
                Err(error) => match timeout(PROBE, self.shake_hands(host, port, &Trust::Anyone)).await {
                    // The certificate is not verified and no request is sent: only the handshake is tried.
                    Ok(Ok((_, leaf))) => Err(error.context(format!(
                        "the port speaks TLS ({leaf}), and was spoken to in plain text: give --url https://{authority} and --ca"
                    ))),
                    _ => Err(error),
                },
            };
        }
        let (stream, leaf) = self.shake_hands(host, port, &self.trust).await?;
        let status = send(TokioIo::new(stream), request, read).await?;
        Ok((status, Some(leaf)))
    }

    async fn connect(&self, host: &str, port: u16) -> Result<TcpStream> {
        Ok(match &self.addresses {
            Some(addresses) => TcpStream::connect(addresses.as_slice()).await?,
            None => TcpStream::connect((host, port)).await?,
        })
    }

    /// The connection, and the certificate that the server showed.
    async fn shake_hands(
        &self,
        host: &str,
        port: u16,
        trust: &Trust,
    ) -> Result<(TlsStream<TcpStream>, ServedLeaf)> {
        let name =
            ServerName::try_from(host.to_owned()).with_context(|| format!("{host} is not a host name"))?;
        let connector = TlsConnector::from(Arc::new(self.tls(trust)?));
        let socket = self.connect(host, port).await?;
        let stream = connector.connect(name, socket).await.map_err(explained)?;
        let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let leaf = ServedLeaf::of(shown.context("the server showed no certificate")?)?;
        Ok((stream, leaf))
    }

    fn tls(&self, trust: &Trust) -> Result<ClientConfig> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?;
        let builder = match trust {
            Trust::Signed(authorities) => {
                let mut roots = RootCertStore::empty();
                roots.add_parsable_certificates(authorities.iter().cloned());
                builder.with_root_certificates(roots)
            }
            Trust::Anyone => builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Unjudged(provider))),
        };
        Ok(match &self.identity {
            Some(identity) => {
                builder.with_client_auth_cert(identity.chain.clone(), identity.key.clone_key())?
            }
            None => builder.with_no_client_auth(),
        })
    }
}

async fn send<IO>(
    io: IO,
    request: Request<Full<Bytes>>,
    read: impl AsyncFnOnce(Response<Incoming>) -> Result<()>,
) -> Result<u16>
where
    IO: Read + Write + Unpin + 'static,
{
    let (mut sender, connection) = handshake(io).await?;
    let exchange = async move {
        let response = sender.send_request(request).await?;
        let status = response.status().as_u16();
        read(response).await?;
        Ok(status)
    };
    // The connection ends with its sender; what goes wrong with it fails the exchange.
    let (answer, _ended) = join(exchange, connection).await;
    answer
}

async fn collect(answer: Response<Incoming>, most: usize, into: &mut Vec<u8>) -> Result<()> {
    let body = Limited::new(answer.into_body(), most).collect().await;
    let body = body.map_err(|error| anyhow!("the answer was cut: {error}"))?;
    into.extend_from_slice(&body.to_bytes());
    Ok(())
}

fn late() -> anyhow::Error {
    anyhow!("no answer within {} s", TIMEOUT.as_secs())
}

fn explained(error: std::io::Error) -> anyhow::Error {
    let remedy = match error.get_ref().and_then(|cause| cause.downcast_ref()) {
        Some(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)) => Some(UNKNOWN_ISSUER),
        Some(rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType)) => {
            Some("the port does not speak TLS: give --url with http://")
        }
        _ => None,
    };
    match remedy {
        Some(remedy) => anyhow::Error::from(error).context(remedy),
        None => error.into(),
    }
}

const UNKNOWN_ISSUER: &str =
    "no trusted CA signed the server's certificate: give --ca with the certificate of the CA that signed it";

/// A server that drains still answers; one that does not answer within this time is faulty.
const TIMEOUT: Duration = Duration::from_secs(15);

/// How long a port that does not speak plain HTTP may take to show that it has TLS.
const PROBE: Duration = Duration::from_secs(3);

/// A page of agents with all that they told of their components.
const MAX_BODY: usize = 256 << 20;

/// Accepts any certificate, but still verifies that the server holds its key.
#[derive(Debug)]
struct Unjudged(Arc<CryptoProvider>);

impl ServerCertVerifier for Unjudged {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

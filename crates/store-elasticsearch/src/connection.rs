//! One call to Elasticsearch: host, credentials, limits, and repeats of what may pass.
//!
//! In: a method, a path and a body. Out: the body of the answer, or a typed [`Failure`]. It knows no index and no
//! document. Nothing that it logs or answers has a secret.

use std::{
    io::Write as _,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use flate2::{Compression, write::GzEncoder};
use reqwest::{
    Client, Method, Proxy, Response,
    header::{ACCEPT, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue},
};
use serde::de::DeserializeOwned;
use store::Cause;

use crate::{
    CredentialsError, Failure, Fit, Settings, Version, backoff, credentials::Authorization, hosts::Hosts,
};

/// The connection to one cluster. Made without a call: it is there while the cluster is not.
#[derive(Debug)]
pub struct Connection {
    client: Client,
    hosts: Hosts,
    authorization: Authorization,
    compresses: bool,
    timeout: Duration,
    /// Whether an answer has said that it is Elasticsearch's.
    is_known: AtomicBool,
}

/// Settings of which no connection can be made.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the texts and the fields' names say it")]
pub enum ConnectionError {
    #[error("no host of Elasticsearch is given")]
    NoHost,
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    #[error("the client for Elasticsearch cannot be made")]
    Client(#[source] reqwest::Error),
}

/// One call.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) method: Method,
    /// Behind the host and its prefix, with the query; ids in it are percent-encoded.
    pub(crate) path: String,
    pub(crate) body: Body,
    /// Whether it does no harm if it is carried out twice. One that is not is repeated only if it was not carried out.
    pub(crate) is_repeatable: bool,
    /// Instead of ours.
    pub(crate) authorization: Option<HeaderValue>,
    /// How much longer than usual the answer may take.
    pub(crate) patience: Duration,
}

/// The body of a call.
#[derive(Clone, Debug)]
pub(crate) enum Body {
    None,
    Json(Bytes),
    /// Lines of JSON, for calls of many.
    Lines(Bytes),
}

impl Call {
    /// A call that only reads, or that can be made twice.
    pub(crate) fn new(method: Method, path: impl Into<String>, body: Body) -> Self {
        Self {
            method,
            path: path.into(),
            body,
            is_repeatable: true,
            authorization: None,
            patience: Duration::ZERO,
        }
    }

    /// A call that is to be carried out once.
    pub(crate) fn once(method: Method, path: impl Into<String>, body: Body) -> Self {
        Self {
            is_repeatable: false,
            ..Self::new(method, path, body)
        }
    }
}

/// How one try failed.
struct Try {
    failure: Failure,
    /// Whether the call was not carried out for certain.
    is_undone: bool,
}

impl Connection {
    /// Blocks while it reads a token's file.
    ///
    /// # Errors
    /// The settings do not make a connection.
    pub fn new(settings: Settings) -> Result<Self, ConnectionError> {
        if settings.hosts.is_empty() {
            return Err(ConnectionError::NoHost);
        }
        let mut headers = settings.headers;
        headers.insert("x-elastic-product-origin", HeaderValue::from_static("fleet"));
        headers.insert(ACCEPT, HeaderValue::from_static(JSON));
        let builder = Client::builder()
            .default_headers(headers)
            .user_agent(settings.user_agent)
            .tls_backend_preconfigured(settings.tls)
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT)
            .tcp_keepalive(KEEP_ALIVE)
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .gzip(true);
        let builder = match settings.proxy {
            Some(url) => builder.proxy(Proxy::all(url).map_err(ConnectionError::Client)?),
            None => builder.no_proxy(),
        };
        Ok(Self {
            client: builder.build().map_err(ConnectionError::Client)?,
            hosts: Hosts::new(settings.hosts),
            authorization: Authorization::new(settings.credentials)?,
            compresses: settings.compresses,
            timeout: settings.timeout,
            is_known: AtomicBool::new(false),
        })
    }

    /// The version of the cluster, and what it is to a server that is compatible with `ours`.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn version(&self, ours: Version) -> Result<(Version, Fit), Failure> {
        #[derive(serde::Deserialize)]
        struct Root {
            version: Number,
        }
        #[derive(serde::Deserialize)]
        struct Number {
            number: String,
        }
        let root: Root = self.json(Call::new(Method::GET, "/", Body::None)).await?;
        let version: Version = root.version.number.parse().map_err(Failure::unreadable)?;
        Ok((version, version.fit(ours)))
    }

    /// Makes the call and reads its answer.
    pub(crate) async fn json<T: DeserializeOwned>(&self, call: Call) -> Result<T, Failure> {
        let body = self.call(call).await?;
        serde_json::from_slice(&body).map_err(Failure::unreadable)
    }

    /// Makes the call, again and on other hosts as long as that may help.
    pub(crate) async fn call(&self, mut call: Call) -> Result<Bytes, Failure> {
        let is_compressed = self.compress(&mut call.body)?;
        let mut repeats = 0;
        let mut has_read_token = false;
        loop {
            let ours = self.authorization.header();
            let failed = match self.attempt(&call, is_compressed, &ours).await {
                Ok(body) => return Ok(body),
                Err(failed) => failed,
            };
            let is_refused = matches!(failed.failure, Failure::Unauthorized { .. });
            if is_refused && call.authorization.is_none() && !has_read_token {
                has_read_token = true;
                if self.authorization.is_replaced(&ours).await {
                    continue;
                }
            }
            let may_repeat = failed.failure.is_passing() && (call.is_repeatable || failed.is_undone);
            if !may_repeat || repeats == backoff::REPEATS {
                return Err(failed.failure);
            }
            tokio::time::sleep(backoff::wait(repeats, fastrand::f64())).await;
            repeats += 1;
        }
    }

    async fn attempt(&self, call: &Call, is_compressed: bool, ours: &HeaderValue) -> Result<Bytes, Try> {
        let place = self.hosts.next(Instant::now());
        let done = self.ask(place, call, is_compressed, ours).await;
        let is_host_bad = done.as_ref().is_err_and(|failed| {
            let failure = &failed.failure;
            matches!(failure, Failure::TooSlow { .. }) || failure.is_passing() && !is_busy(failure)
        });
        if is_host_bad {
            self.hosts.failed(place, Instant::now());
        } else {
            self.hosts.answered(place);
        }
        done
    }

    async fn ask(
        &self,
        place: usize,
        call: &Call,
        is_compressed: bool,
        ours: &HeaderValue,
    ) -> Result<Bytes, Try> {
        let base = self.hosts.url(place);
        let host = format!(
            "{}:{}",
            base.host_str().unwrap_or("?"),
            base.port_or_known_default().unwrap_or(0)
        );
        let url = format!("{}{}", base.as_str().trim_end_matches('/'), call.path);
        let mut request = self.client.request(call.method.clone(), url);
        request = request.header(AUTHORIZATION, call.authorization.as_ref().unwrap_or(ours));
        let content = match &call.body {
            Body::None => None,
            Body::Json(bytes) => Some((JSON, bytes)),
            Body::Lines(bytes) => Some(("application/x-ndjson", bytes)),
        };
        if let Some((kind, bytes)) = content {
            request = request.header(CONTENT_TYPE, kind).body(bytes.clone());
        }
        if is_compressed {
            request = request.header(CONTENT_ENCODING, "gzip");
        }
        let limit = self.timeout + call.patience;
        let answer = match tokio::time::timeout(limit, request.send()).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => {
                let is_undone = error.is_connect();
                // The URL is ours; the error would only repeat it.
                let source = Cause::new(error.without_url());
                let failure = Failure::Unreachable { host, source };
                return Err(Try { failure, is_undone });
            }
            Err(_) => {
                let failure = Failure::TooSlow { host, limit };
                return Err(Try {
                    failure,
                    is_undone: false,
                });
            }
        };
        let is_elastic = is_product(answer.headers());
        if answer.status().is_success() && !is_elastic && !self.is_known.load(Ordering::Relaxed) {
            let status = answer.status().as_u16();
            let failure = Failure::NotElasticsearch { host, status };
            return Err(Try {
                failure,
                is_undone: false,
            });
        }
        self.is_known.fetch_or(is_elastic, Ordering::Relaxed);
        read(answer, host, limit).await
    }

    /// Compresses the body, if that is wanted and worth it; answers whether it did.
    fn compress(&self, body: &mut Body) -> Result<bool, Failure> {
        let (Body::Json(bytes) | Body::Lines(bytes)) = body else {
            return Ok(false);
        };
        if !self.compresses || bytes.len() < WORTH_COMPRESSING {
            return Ok(false);
        }
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        let done = encoder.write_all(bytes).and_then(|()| encoder.finish());
        *bytes = done
            .map_err(|error| Failure::Unwritable {
                source: Cause::new(error),
            })?
            .into();
        Ok(true)
    }
}

/// The body of an answer, as far as it may be kept in memory.
async fn read(mut answer: Response, host: String, limit: Duration) -> Result<Bytes, Try> {
    let status = answer.status();
    let is_elastic = is_product(answer.headers());
    let body = async {
        let mut body = BytesMut::new();
        while let Some(piece) = answer.chunk().await.map_err(|error| Failure::Unreachable {
            host: host.clone(),
            source: Cause::new(error.without_url()),
        })? {
            if body.len() + piece.len() > MOST_ANSWER_BYTES {
                return Err(Failure::TooLong {
                    most_bytes: MOST_ANSWER_BYTES,
                });
            }
            body.extend_from_slice(&piece);
        }
        Ok(body.freeze())
    };
    let done = tokio::time::timeout(limit, body).await;
    let too_slow = |_| Failure::TooSlow {
        host: host.clone(),
        limit,
    };
    let body = done.map_err(too_slow).flatten();
    let body = body.map_err(|failure| Try {
        failure,
        is_undone: false,
    })?;
    if status.is_success() {
        return Ok(body);
    }
    let status = status.as_u16();
    let failure = Failure::refused(status, &body);
    // It says before it begins that it has no room, or no shard to do it on.
    let is_undone = is_busy(&failure) || status == 503 && is_elastic;
    Err(Try { failure, is_undone })
}

fn is_product(headers: &HeaderMap) -> bool {
    headers
        .get("x-elastic-product")
        .is_some_and(|product| product == "Elasticsearch")
}

/// The host is well, but has too much to do.
const fn is_busy(failure: &Failure) -> bool {
    matches!(failure, Failure::Refused { status: 429, .. })
}

const JSON: &str = "application/json";
const CONNECT: Duration = Duration::from_secs(10);
const KEEP_ALIVE: Duration = Duration::from_secs(30);
const IDLE: Duration = Duration::from_secs(60);
const IDLE_CONNECTIONS: usize = 32;
const WORTH_COMPRESSING: usize = 1024;
/// A page of a thousand policies of the usual size, or one policy of 50 MB.
const MOST_ANSWER_BYTES: usize = 256 * 1024 * 1024;

//! One HTTP/1.1 connection of an agent: TCP from a chosen address, TLS without ALPN and tickets, requests one by one.
//!
//! In: whole requests as bytes. Out: whole responses, or why none came. A connection that waits holds no buffer.

use std::{
    cell::RefCell,
    future::poll_fn,
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use nix::sys::socket::{setsockopt, sockopt::IpBindAddressNoPort};
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWriteExt as _, ReadBuf},
    net::{TcpSocket, TcpStream},
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

/// How to reach the server.
#[derive(Clone)]
pub(crate) struct Way {
    pub(crate) address: SocketAddr,
    /// What stands in `Host`.
    pub(crate) authority: String,
    pub(crate) tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    /// Local addresses that connections come from, in turn; empty: the system chooses.
    pub(crate) sources: Vec<IpAddr>,
}

/// Why a call gave no answer, or not the one it should.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// No TCP connection.
    #[error("connect: {0}")]
    Connect(#[source] io::Error),
    /// No TLS session.
    #[error("TLS handshake: {0}")]
    Handshake(#[source] io::Error),
    /// The connection broke before the answer was whole.
    #[error("broken: {0}")]
    Broken(#[source] io::Error),
    /// The agents' ten minutes were over.
    #[error("no answer in {} s", LIMIT.as_secs())]
    TimedOut,
    /// The answer is not 200.
    #[error("status {status}: {body}")]
    Refused { status: u16, body: String },
    /// The answer is not what an agent can read.
    #[error("unreadable answer: {0}")]
    Unreadable(String),
}

impl CallError {
    /// The kind of failure, under which it is counted.
    pub(crate) fn kind(&self) -> String {
        match self {
            Self::Connect(error) => format!("connect: {}", error.kind()),
            Self::Handshake(error) => format!("TLS handshake: {}", error.kind()),
            Self::Broken(error) => format!("broken: {}", error.kind()),
            Self::TimedOut => "no answer".into(),
            Self::Refused { status, .. } => format!("status {status}"),
            Self::Unreadable(_) => "unreadable answer".into(),
        }
    }
}

/// A response whose body is still as it came.
#[derive(Clone, Debug, Default)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) is_gzip: bool,
    pub(crate) body: Vec<u8>,
}

/// An open connection.
pub(crate) struct Connection {
    stream: Stream,
    unread: Vec<u8>,
    /// Whether the server said that this is its last answer.
    ends: bool,
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Way {
    /// Opens a connection; `number` chooses its source address.
    pub(crate) async fn connect(&self, number: usize) -> Result<Connection, CallError> {
        timeout(LIMIT, self.connect_now(number))
            .await
            .map_err(|_| CallError::TimedOut)?
    }

    async fn connect_now(&self, number: usize) -> Result<Connection, CallError> {
        let tcp = self.connect_tcp(number).await.map_err(CallError::Connect)?;
        let stream = match &self.tls {
            None => Stream::Plain(tcp),
            Some((config, name)) => {
                let connecting = TlsConnector::from(Arc::clone(config)).connect(name.clone(), tcp);
                Stream::Tls(Box::new(connecting.await.map_err(CallError::Handshake)?))
            }
        };
        Ok(Connection {
            stream,
            unread: Vec::new(),
            ends: false,
        })
    }

    async fn connect_tcp(&self, number: usize) -> io::Result<TcpStream> {
        let socket = match self.address {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        if let Some(source) = self.sources.get(number % self.sources.len().max(1)) {
            // Else the port is chosen before the destination is known, by a search among all sockets in TIME_WAIT.
            setsockopt(&socket, IpBindAddressNoPort, &true)?;
            socket.bind(SocketAddr::new(*source, 0))?;
        }
        let stream = socket.connect(self.address).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

impl Connection {
    /// Gives it back if another request can be sent.
    pub(crate) fn if_open(mut self) -> Option<Self> {
        self.is_open().then_some(self)
    }

    /// Whether another request can be sent: an agent's HTTP library looks before it writes.
    pub(crate) fn is_open(&mut self) -> bool {
        if self.ends || !self.unread.is_empty() {
            return false;
        }
        let mut context = Context::from_waker(std::task::Waker::noop());
        // What could be read between two answers is the end, or nothing that belongs there.
        self.poll_fill(&mut context).is_pending()
    }

    /// Sends a request.
    pub(crate) async fn send(&mut self, request: &[u8]) -> Result<(), CallError> {
        let sending = async {
            match &mut self.stream {
                Stream::Plain(tcp) => tcp.write_all(request).await,
                Stream::Tls(tls) => {
                    tls.write_all(request).await?;
                    tls.flush().await
                }
            }
        };
        match timeout(LIMIT, sending).await {
            Ok(sent) => sent.map_err(CallError::Broken),
            Err(_) => Err(CallError::TimedOut),
        }
    }

    /// Reads the response to what was sent.
    pub(crate) async fn receive(&mut self) -> Result<Response, CallError> {
        timeout(LIMIT, self.receive_now())
            .await
            .map_err(|_| CallError::TimedOut)?
    }

    /// Sends a request and reads its response.
    pub(crate) async fn call(&mut self, request: &[u8]) -> Result<Response, CallError> {
        self.send(request).await?;
        self.receive().await
    }

    /// The certificate that the server showed.
    pub(crate) fn certificate(&self) -> Option<&[u8]> {
        match &self.stream {
            Stream::Plain(_) => None,
            Stream::Tls(tls) => tls.get_ref().1.peer_certificates()?.first().map(AsRef::as_ref),
        }
    }

    async fn receive_now(&mut self) -> Result<Response, CallError> {
        let (head, length) = loop {
            if let Some(head) = Head::parse(&self.unread)? {
                self.unread.drain(..head.bytes);
                match (head.status, head.length) {
                    (100, _) => continue,
                    (204 | 304, _) => break (head, 0),
                    (_, Some(length)) => break (head, length),
                    (_, None) => return self.receive_chunks(head).await,
                }
            }
            self.fill().await?;
        };
        while self.unread.len() < length {
            self.fill().await?;
        }
        let mut body = std::mem::take(&mut self.unread);
        if body.len() > length {
            self.unread = body.split_off(length);
        }
        self.ends = head.closes;
        Ok(head.with(body))
    }

    async fn receive_chunks(&mut self, head: Head) -> Result<Response, CallError> {
        if !head.is_chunked {
            return Err(CallError::Unreadable("neither a length nor chunks".into()));
        }
        let mut body = Vec::new();
        loop {
            let (start, size) = loop {
                match httparse::parse_chunk_size(&self.unread) {
                    Ok(httparse::Status::Complete((start, size))) => break (start, size),
                    Ok(httparse::Status::Partial) => self.fill().await?,
                    Err(_) => return Err(CallError::Unreadable("a chunk without a size".into())),
                }
            };
            let size = usize::try_from(size).map_err(|_| CallError::Unreadable("an endless chunk".into()))?;
            // Data and its line end; after the last one the line end alone (trailers are not sent to agents).
            while self.unread.len() < start + size + 2 {
                self.fill().await?;
            }
            body.extend_from_slice(&self.unread[start..start + size]);
            self.unread.drain(..start + size + 2);
            if size == 0 {
                self.ends = head.closes;
                return Ok(head.with(body));
            }
        }
    }

    async fn fill(&mut self) -> Result<(), CallError> {
        poll_fn(|context| self.poll_fill(context))
            .await
            .map_err(CallError::Broken)
    }

    fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut read = ReadBuf::new(scratch);
            let polled = match &mut self.stream {
                Stream::Plain(tcp) => Pin::new(tcp).poll_read(context, &mut read),
                Stream::Tls(tls) => Pin::new(tls.as_mut()).poll_read(context, &mut read),
            };
            match polled {
                Poll::Pending => Poll::Pending,
                Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                Poll::Ready(Ok(())) if read.filled().is_empty() => {
                    Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()))
                }
                Poll::Ready(Ok(())) => {
                    self.unread.extend_from_slice(read.filled());
                    Poll::Ready(Ok(()))
                }
            }
        })
    }
}

/// What matters of a response's head.
struct Head {
    bytes: usize,
    status: u16,
    length: Option<usize>,
    is_chunked: bool,
    is_gzip: bool,
    closes: bool,
}

impl Head {
    fn parse(bytes: &[u8]) -> Result<Option<Self>, CallError> {
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut parsed = httparse::Response::new(&mut headers);
        let unreadable = |error: &dyn std::fmt::Display| CallError::Unreadable(error.to_string());
        let httparse::Status::Complete(end) = parsed.parse(bytes).map_err(|error| unreadable(&error))? else {
            return Ok(None);
        };
        let value = |name: &str| {
            let header = parsed
                .headers
                .iter()
                .find(|header| header.name.eq_ignore_ascii_case(name))?;
            std::str::from_utf8(header.value).ok()
        };
        let is =
            |name: &str, wanted: &str| value(name).is_some_and(|value| value.eq_ignore_ascii_case(wanted));
        let length = value("content-length").map(str::parse).transpose();
        Ok(Some(Self {
            bytes: end,
            status: parsed.code.unwrap_or_default(),
            length: length.map_err(|error| unreadable(&error))?,
            is_chunked: is("transfer-encoding", "chunked"),
            is_gzip: is("content-encoding", "gzip"),
            closes: is("connection", "close"),
        }))
    }

    fn with(self, body: Vec<u8>) -> Response {
        Response {
            status: self.status,
            is_gzip: self.is_gzip,
            body,
        }
    }
}

/// The total time of a call (agents.md 8.6).
const LIMIT: Duration = Duration::from_secs(600);

thread_local! {
    /// What is read goes through one buffer of the thread: an agent that waits needs none.
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; 64 << 10]);
}

#[cfg(test)]
mod tests {
    use tokio::{io::AsyncReadExt as _, net::TcpListener};

    use super::*;

    async fn answered(bytes: &'static [u8]) -> (Result<Response, CallError>, Connection) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let way = Way {
            address: listener.local_addr().unwrap(),
            authority: "localhost".into(),
            tls: None,
            sources: vec!["127.0.0.9".parse().unwrap()],
        };
        let server = tokio::spawn(async move {
            let (mut stream, peer) = listener.accept().await.unwrap();
            assert_eq!(peer.ip().to_string(), "127.0.0.9");
            let mut asked = [0; 3];
            stream.read_exact(&mut asked).await.unwrap();
            for byte in bytes {
                stream.write_all(&[*byte]).await.unwrap();
            }
        });
        let mut connection = way.connect(7).await.unwrap();
        let response = connection.call(b"ask").await;
        server.await.unwrap();
        (response, connection)
    }

    #[tokio::test]
    async fn responses_in_pieces_are_whole() {
        let (response, mut connection) = answered(
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\ncontent-encoding: GZIP\r\n\r\nbody",
        )
        .await;
        let response = response.unwrap();
        assert_eq!(
            (response.status, response.is_gzip, response.body.as_slice()),
            (200, true, b"body".as_slice())
        );
        let wanted = tokio::time::timeout(Duration::from_secs(60), async {
            while connection.is_open() {
                tokio::task::yield_now().await;
            }
        });
        wanted.await.expect("a closed connection shows before it is used");

        let (response, mut connection) = answered(
            b"HTTP/1.1 429 No\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1;x=y\r\nc\r\n0\r\n\r\n",
        )
        .await;
        assert_eq!(response.unwrap().body, b"abc");
        assert!(!connection.is_open());
    }

    #[tokio::test]
    async fn what_is_no_response_is_said() {
        let (response, _) = answered(b"HTTP/1.1 200 OK\r\n\r\n").await;
        assert_eq!(response.unwrap_err().kind(), "unreadable answer");
        let (response, _) = answered(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf").await;
        assert_eq!(response.unwrap_err().kind(), "broken: unexpected end of file");
        let (response, _) = answered(b"SSH-2.0-x\r\n\r\n").await;
        assert_eq!(response.unwrap_err().kind(), "unreadable answer");
    }
}

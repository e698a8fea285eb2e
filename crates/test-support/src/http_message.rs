//! Requests as bytes, responses as facts: the part of HTTP/1.1 that tests look at.

use std::io::{self, Read as _, Write as _};

use serde_json::Value;

/// A request; headers are sent in order, as written, repeated ones too. `Host` and `Content-Length` are added
/// unless given.
#[derive(Clone, Debug)]
pub struct Request {
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: Option<Vec<u8>>,
    chunk: Option<usize>,
}

impl Request {
    /// A request for `target`, sent as it is (agents append a bare `?`).
    pub fn new(method: &str, target: &str) -> Self {
        Self {
            method: method.into(),
            target: target.into(),
            headers: Vec::new(),
            body: None,
            chunk: None,
        }
    }

    pub fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    /// A POST with a JSON body.
    pub fn post_json(target: &str, body: &Value) -> Self {
        Self::new("POST", target)
            .header("Content-Type", "application/json")
            .body(body.to_string().into_bytes())
    }

    /// The same for another target.
    pub fn with_target(mut self, target: &str) -> Self {
        target.clone_into(&mut self.target);
        self
    }

    /// One more header line.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Removes every header line of that name.
    pub fn without_header(mut self, name: &str) -> Self {
        self.headers
            .retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        self
    }

    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self
    }

    /// Compresses the body that was set, and says so.
    pub fn gzip(mut self) -> Self {
        self.body = Some(gzip(&self.body.unwrap_or_default()));
        self.header("Content-Encoding", "gzip")
    }

    /// Sends the body in chunks of `size` bytes, without a length.
    pub fn chunked(mut self, size: usize) -> Self {
        self.chunk = Some(size.max(1));
        self.header("Transfer-Encoding", "chunked")
    }

    /// The bytes that go over the wire.
    pub fn to_bytes(&self) -> Vec<u8> {
        let has = |name: &str| {
            self.headers
                .iter()
                .any(|(known, _)| known.eq_ignore_ascii_case(name))
        };
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.target);
        if !has("host") {
            head.push_str("Host: localhost\r\n");
        }
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if let (Some(body), None, false) = (&self.body, self.chunk, has("content-length")) {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        match (&self.body, self.chunk) {
            (Some(body), Some(size)) => {
                for chunk in body.chunks(size) {
                    bytes.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
                    bytes.extend_from_slice(chunk);
                    bytes.extend_from_slice(b"\r\n");
                }
                bytes.extend_from_slice(b"0\r\n\r\n");
            }
            (Some(body), None) => bytes.extend_from_slice(body),
            (None, _) => {}
        }
        bytes
    }
}

/// A response, its body as it came (see [`Response::text`]).
#[derive(Clone, Debug)]
pub struct Response {
    pub status: u16,
    /// Header lines in order; names in lower case.
    pub headers: Vec<(String, String)>,
    /// Body without transfer coding, but with content coding.
    pub body: Vec<u8>,
}

impl Response {
    /// The first header of that name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The body, inflated if it says that it is gzip.
    pub fn text(&self) -> String {
        let body = match self.header("content-encoding") {
            Some("gzip") => gunzip(&self.body).expect("a gzip body"),
            _ => self.body.clone(),
        };
        String::from_utf8(body).expect("a body in UTF-8")
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        let text = self.text();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error} in {text:?}", self.status))
    }

    /// The member `error` of an error body.
    pub fn error_name(&self) -> String {
        self.json()["error"].as_str().unwrap_or_default().to_owned()
    }
}

pub(crate) fn parse_head(head: &[u8]) -> io::Result<Response> {
    let invalid = || io::Error::new(io::ErrorKind::InvalidData, "not an HTTP response");
    let text = std::str::from_utf8(head).map_err(io::Error::other)?;
    let mut lines = text.split("\r\n");
    let mut first = lines.next().unwrap_or_default().split(' ');
    if !first.next().is_some_and(|version| version.starts_with("HTTP/1.")) {
        return Err(invalid());
    }
    let status = first
        .next()
        .and_then(|status| status.parse().ok())
        .ok_or_else(invalid)?;
    let headers = lines
        .filter(|line| !line.is_empty())
        .map(|line| {
            let (name, value) = line.split_once(':').ok_or_else(invalid)?;
            Ok((name.to_ascii_lowercase(), value.trim().to_owned()))
        })
        .collect::<io::Result<_>>()?;
    Ok(Response {
        status,
        headers,
        body: Vec::new(),
    })
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("compression in memory");
    encoder.finish().expect("compression in memory")
}

fn gunzip(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut plain = Vec::new();
    flate2::read::MultiGzDecoder::new(bytes).read_to_end(&mut plain)?;
    Ok(plain)
}

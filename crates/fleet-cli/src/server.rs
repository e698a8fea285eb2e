//! The server as commands see it: requests in, JSON out. How it is reached is the program's part.

use std::io::Write;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use crate::fault::Fault;

/// A method of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Method {
    Get,
    Post,
    Put,
    Delete,
}

/// What a server answered, whatever it is.
#[derive(Clone, Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// The body as text.
    pub body: String,
}

/// No answer came; the sentence says why and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unreachable(pub String);

/// A connected server: its address, and the key that is shown to it.
pub trait Server {
    /// Its URL, for messages.
    fn url(&self) -> &str;

    /// Sends one request below the server's root.
    ///
    /// # Errors
    /// No answer came.
    fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Answer, Unreachable>;

    /// Writes what `GET path` answers with 200 to `into`; the number of bytes, or the answer that was another.
    ///
    /// # Errors
    /// No answer came, or not all of it, or `into` could not be written.
    fn download(&self, path: &str, into: &mut dyn Write) -> Result<Result<u64, Answer>, Unreachable>;
}

/// The admin API: answers as values, refusals as faults.
pub(crate) struct Api<'a> {
    server: &'a dyn Server,
}

/// Items asked for at once: an agent's can be large.
const PAGE: usize = 100;

impl<'a> Api<'a> {
    pub(crate) fn new(server: &'a dyn Server) -> Self {
        Self { server }
    }

    pub(crate) fn get(&self, path: &str) -> Result<Value, Fault> {
        self.call(Method::Get, path, None)
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Result<Value, Fault> {
        self.call(Method::Post, path, Some(body))
    }

    pub(crate) fn put(&self, path: &str, body: &Value) -> Result<Value, Fault> {
        self.call(Method::Put, path, Some(body))
    }

    pub(crate) fn delete(&self, path: &str) -> Result<Value, Fault> {
        self.call(Method::Delete, path, None)
    }

    fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, Fault> {
        let answer = self.server.call(method, path, body)?;
        if answer.status != 200 {
            return Err(self.refused(&answer));
        }
        serde_json::from_str(&answer.body).map_err(|_| Fault::Refused {
            status: answer.status,
            message: format!(
                "{} is not a Fleet Server's admin API: it answered no JSON",
                self.server.url()
            ),
        })
    }

    /// Writes a file of the server's to `into`; its length.
    pub(crate) fn download(&self, path: &str, into: &mut dyn Write) -> Result<u64, Fault> {
        self.server
            .download(path, into)?
            .map_err(|answer| self.refused(&answer))
    }

    /// What the server said instead of a success.
    fn refused(&self, answer: &Answer) -> Fault {
        let said = serde_json::from_str::<Value>(&answer.body).ok();
        let said = said.as_ref().and_then(|body| body["message"].as_str());
        Fault::of_answer(self.server.url(), answer.status, said.unwrap_or(&answer.body))
    }

    /// The one object of an answer.
    pub(crate) fn item(&self, path: &str) -> Result<Value, Fault> {
        Ok(self.get(path)?["item"].take())
    }

    /// The first `limit` items of a list, page by page from position to position.
    pub(crate) fn all(&self, path: &str, query: &Query, limit: usize) -> Result<Vec<Value>, Fault> {
        let (mut items, mut after) = (Vec::new(), None::<String>);
        while items.len() < limit {
            let mut query = query.clone();
            query.set("perPage", &PAGE.min(limit - items.len()).to_string());
            if let Some(after) = &after {
                query.set("searchAfter", after);
            }
            let mut page = self.get(&format!("{path}?{}", query.0))?;
            let Value::Array(found) = page["items"].take() else {
                break;
            };
            items.extend(found);
            match page["nextSearchAfter"].as_str() {
                Some(next) => after = Some(next.to_owned()),
                None => break,
            }
        }
        Ok(items)
    }
}

/// Query parameters, encoded.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query(pub(crate) String);

impl Query {
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        if !self.0.is_empty() {
            self.0.push('&');
        }
        self.0.push_str(name);
        self.0.push('=');
        self.0.push_str(&segment(value));
    }
}

/// Text as a segment of a path or a value of a query.
pub(crate) fn segment(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

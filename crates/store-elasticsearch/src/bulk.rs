//! Many small calls in one: what callers ask for within a short time goes out as one request a kind (data.md 10.4).
//!
//! In: one write, read or search each. Out: its own answer. Everything that waits is sent a while after the first of it
//! came, or at once when there is enough of it; so many requests are under way at most. No order is promised between
//! items of one request. What a caller that went away asked for is still carried out, its answer is dropped.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use reqwest::Method;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::{
    Connection, Failure,
    connection::{Body, Call},
};

/// When what waits is sent.
#[derive(Clone, Copy, Debug)]
pub struct Flush {
    /// So long after the first of it came.
    pub after: Duration,
    /// With so many items.
    pub items: usize,
    /// With so many bytes.
    pub bytes: usize,
    /// Requests that may be under way.
    pub requests: usize,
}

impl Default for Flush {
    fn default() -> Self {
        Self {
            after: Duration::from_millis(250),
            items: 2048,
            bytes: 1024 * 1024,
            requests: 8,
        }
    }
}

/// What goes out together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Write,
    /// Searches find the writes when they are answered.
    VisibleWrite,
    /// A document by its id, as it is now.
    Read,
    Search,
    /// A search that waits for a checkpoint.
    SearchAt,
}

const KINDS: [Kind; 5] = [
    Kind::Write,
    Kind::VisibleWrite,
    Kind::Read,
    Kind::Search,
    Kind::SearchAt,
];

/// One thing to be done.
#[derive(Debug)]
struct Item {
    kind: Kind,
    /// Its lines, each with its end; of a read the JSON that names the document.
    text: Bytes,
    answer: oneshot::Sender<Result<Box<RawValue>, Failure>>,
}

/// The way to the engine. Clones share it; it ends, with everything sent, when the last one is dropped.
#[derive(Clone, Debug)]
pub(crate) struct Bulk {
    items: mpsc::Sender<Item>,
}

impl Bulk {
    /// Starts the engine on this runtime.
    pub(crate) fn start(connection: Arc<Connection>, flush: Flush) -> Self {
        let (items, waiting) = mpsc::channel(flush.items.max(1));
        tokio::spawn(run(connection, flush, waiting));
        Self { items }
    }

    /// The answer to one item.
    pub(crate) async fn ask(&self, kind: Kind, text: Bytes) -> Result<Box<RawValue>, Failure> {
        let (answer, answered) = oneshot::channel();
        let item = Item { kind, text, answer };
        self.items.send(item).await.map_err(|_| Failure::Closed)?;
        answered.await.map_err(|_| Failure::Closed)?
    }
}

async fn run(connection: Arc<Connection>, flush: Flush, mut items: mpsc::Receiver<Item>) {
    let slots = Arc::new(Semaphore::new(flush.requests.max(1)));
    let mut waiting: Vec<Item> = Vec::new();
    let mut bytes = 0;
    let mut due: Option<Instant> = None;
    loop {
        let item = match due {
            None => items.recv().await,
            Some(moment) => match tokio::time::timeout_at(moment.into(), items.recv()).await {
                Ok(item) => item,
                Err(_) => {
                    send(&connection, &slots, &mut waiting);
                    bytes = 0;
                    due = None;
                    continue;
                }
            },
        };
        let Some(item) = item else { break };
        bytes += item.text.len();
        waiting.push(item);
        due.get_or_insert_with(|| Instant::now() + flush.after);
        if waiting.len() >= flush.items || bytes >= flush.bytes {
            send(&connection, &slots, &mut waiting);
            bytes = 0;
            due = None;
        }
    }
    send(&connection, &slots, &mut waiting);
}

/// One request for each kind that waits.
fn send(connection: &Arc<Connection>, slots: &Arc<Semaphore>, waiting: &mut Vec<Item>) {
    let mut waiting = std::mem::take(waiting);
    for kind in KINDS {
        let items: Vec<_> = waiting.extract_if(.., |item| item.kind == kind).collect();
        if items.is_empty() {
            continue;
        }
        let (connection, slots) = (Arc::clone(connection), Arc::clone(slots));
        tokio::spawn(async move {
            let texts: Vec<_> = items.iter().map(|item| item.text.clone()).collect();
            let answers = request(&connection, &slots, kind, &texts).await;
            answer(items, answers);
        });
    }
}

async fn request(
    connection: &Connection,
    slots: &Semaphore,
    kind: Kind,
    texts: &[Bytes],
) -> Result<Vec<Box<RawValue>>, Failure> {
    let slot = tokio::time::timeout(SLOT, slots.acquire()).await;
    let Ok(Ok(_slot)) = slot else {
        return Err(Failure::NoSlot);
    };
    let answer = connection.call(call(kind, texts)).await?;
    let answers: Answers = serde_json::from_slice(&answer).map_err(Failure::unreadable)?;
    Ok(answers.items)
}

fn answer(items: Vec<Item>, answers: Result<Vec<Box<RawValue>>, Failure>) {
    let answers = answers.and_then(|answers| match answers.len() == items.len() {
        true => Ok(answers),
        false => Err(Failure::unreadable(format!(
            "{} answers to {} items",
            answers.len(),
            items.len()
        ))),
    });
    match answers {
        Ok(answers) => {
            for (item, answer) in items.into_iter().zip(answers) {
                // A caller that went away is none of ours.
                let _gone = item.answer.send(Ok(answer));
            }
        }
        Err(failure) => {
            for item in items {
                let _gone = item.answer.send(Err(failure.clone()));
            }
        }
    }
}

fn call(kind: Kind, texts: &[Bytes]) -> Call {
    let lines = || Body::Lines(texts.concat().into());
    match kind {
        // An item that was carried out twice conflicts with itself: `create`, and whatever names a sequence number.
        Kind::Write => Call::once(Method::POST, "/_bulk", lines()),
        Kind::VisibleWrite => Call::once(Method::POST, "/_bulk?refresh=true", lines()),
        Kind::Read => {
            let mut body = BytesMut::from(&b"{\"docs\":["[..]);
            for (place, text) in texts.iter().enumerate() {
                if place > 0 {
                    body.extend_from_slice(b",");
                }
                body.extend_from_slice(text);
            }
            body.extend_from_slice(b"]}");
            Call::new(Method::POST, "/_mget", Body::Json(body.freeze()))
        }
        Kind::Search => Call::new(Method::POST, "/_msearch", lines()),
        Kind::SearchAt => Call::new(Method::POST, "/_fleet/_fleet_msearch", lines()),
    }
}

/// The items of an answer, whatever the call names them.
#[derive(Deserialize)]
struct Answers {
    #[serde(alias = "docs", alias = "responses")]
    items: Vec<Box<RawValue>>,
}

/// How long a request waits for its turn.
const SLOT: Duration = Duration::from_secs(60);

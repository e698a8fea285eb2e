//! What was read a moment ago: keys, agents and their empty queues, so that an agent's next requests ask no reader.
//!
//! An agent that is given a policy comes three times within a second or two; each time its key is verified, its record
//! read and its queue looked at, and the way to a reader's thread and back costs more than the reading. This store has
//! the only writer, so that it knows what changes: triggers of the writing connection name each row that changes, and
//! the writer takes it out after the commit and before anybody is told of it. What a reader began to read before that is
//! not put in.
//!
//! Bounded: by bytes, and by time, so that a fleet that waits costs nothing. It never answers what SQLite would not.

use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use rusqlite::{Connection, functions::FunctionFlags};
use store::{ActionDocId, Agent, AgentId, ApiKey, KeyId, Pending, Position, Verification};

use super::keys::StoredKey;

/// Shared by the callers, and by the writer.
#[derive(Clone, Default)]
pub(super) struct Recent(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    keys: HashMap<KeyId, Entry<StoredKey>>,
    agents: HashMap<AgentId, Entry<Box<Agent>>>,
    queues: HashMap<AgentId, Entry<EmptyQueue>>,
    /// Oldest first; those that were taken out or replaced meanwhile have another number.
    order: VecDeque<(Instant, u64, Name)>,
    bytes: usize,
    entries: u64,
    /// Grows with each commit that changed something.
    generation: u64,
}

struct Entry<T> {
    value: T,
    bytes: usize,
    number: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Name {
    Key(KeyId),
    Agent(AgentId),
    Queue(AgentId),
}

/// Nothing stands in the agent's queue after this position, not even what is not due yet.
struct EmptyQueue {
    token: Option<ActionDocId>,
    stored: Option<Position>,
    position: Option<Position>,
}

/// The state before a reading began.
#[derive(Clone, Copy)]
pub(super) struct Generation(u64);

impl Recent {
    pub(super) fn generation(&self) -> Generation {
        Generation(self.kept().generation)
    }

    /// What is known of the key; the secret is compared here.
    pub(super) fn verify(&self, presented: &ApiKey) -> Option<Verification> {
        let stored = self
            .kept()
            .keys
            .get(&presented.id)
            .map(|entry| entry.value.clone());
        stored.map(|stored| stored.verify(presented))
    }

    pub(super) fn keep_key(&self, id: &KeyId, key: StoredKey, since: Generation) {
        let bytes = OVERHEAD + key.bytes() + id.as_str().len();
        self.keep(since, Name::Key(id.clone()), bytes, |kept, number| {
            put(
                &mut kept.keys,
                id.clone(),
                Entry {
                    value: key,
                    bytes,
                    number,
                },
            )
        });
    }

    pub(super) fn agent(&self, id: &AgentId) -> Option<Agent> {
        self.kept().agents.get(id).map(|entry| Agent::clone(&entry.value))
    }

    pub(super) fn keep_agent(&self, agent: &Agent, since: Generation) {
        let (id, bytes) = (agent.id.clone(), OVERHEAD + bytes_of(agent));
        self.keep(since, Name::Agent(id.clone()), bytes, |kept, number| {
            put(
                &mut kept.agents,
                id,
                Entry {
                    value: Box::new(agent.clone()),
                    bytes,
                    number,
                },
            )
        });
    }

    /// The answer, if the same was asked and the agent's queue was empty.
    pub(super) fn pending(
        &self,
        agent: &AgentId,
        token: Option<&ActionDocId>,
        stored: Option<&Position>,
    ) -> Option<Pending> {
        let kept = self.kept();
        let queue = &kept.queues.get(agent)?.value;
        (queue.token.as_ref() == token && queue.stored.as_ref() == stored).then(|| Pending {
            actions: Vec::new(),
            position: queue.position.clone(),
        })
    }

    pub(super) fn keep_empty_queue(
        &self,
        agent: AgentId,
        token: Option<ActionDocId>,
        stored: Option<Position>,
        position: Option<Position>,
        since: Generation,
    ) {
        let bytes = OVERHEAD
            + agent.as_str().len()
            + token.as_ref().map_or(0, |token| token.as_str().len())
            + [&stored, &position]
                .into_iter()
                .flatten()
                .map(|place| place.as_str().len())
                .sum::<usize>();
        let queue = EmptyQueue {
            token,
            stored,
            position,
        };
        self.keep(since, Name::Queue(agent.clone()), bytes, |kept, number| {
            put(
                &mut kept.queues,
                agent,
                Entry {
                    value: queue,
                    bytes,
                    number,
                },
            )
        });
    }

    /// Puts an entry in, unless something changed since its reading began: then it may be what was before. `insert`
    /// answers with the bytes of what it replaced.
    fn keep(
        &self,
        since: Generation,
        name: Name,
        bytes: usize,
        insert: impl FnOnce(&mut Kept, u64) -> Option<usize>,
    ) {
        let mut kept = self.kept();
        if kept.generation != since.0 || bytes > MOST_BYTES / 8 {
            return;
        }
        let now = Instant::now();
        kept.forget_old(now);
        kept.entries += 1;
        let number = kept.entries;
        let replaced = insert(&mut kept, number).unwrap_or(0);
        kept.bytes = kept.bytes + bytes - replaced;
        kept.order.push_back((now, number, name));
        while kept.bytes > MOST_BYTES || kept.order.len() > MOST_ENTRIES {
            kept.forget_oldest();
        }
    }

    /// Takes out what a commit changed. Nobody is told of the commit before.
    pub(super) fn changed(&self, changes: &mut Vec<Change>) {
        if changes.is_empty() {
            return;
        }
        let mut kept = self.kept();
        kept.generation += 1;
        for change in changes.drain(..) {
            match change {
                Change::Key(id) => kept.forget(&Name::Key(id), None),
                Change::Agent(id) => kept.forget(&Name::Agent(id), None),
                Change::Queue(id) => kept.forget(&Name::Queue(id), None),
            }
        }
    }

    /// Takes out what is too old; whether anything is left.
    pub(super) fn sweep(&self) -> bool {
        let mut kept = self.kept();
        kept.forget_old(Instant::now());
        !kept.order.is_empty()
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn forget_old(&mut self, now: Instant) {
        while let Some((since, ..)) = self.order.front()
            && now.saturating_duration_since(*since) >= KEPT_FOR
        {
            self.forget_oldest();
        }
        if self.order.is_empty() {
            // What a whole fleet needed is given back after it.
            *self = Self {
                entries: self.entries,
                generation: self.generation,
                ..Self::default()
            };
        }
    }

    fn forget_oldest(&mut self) {
        if let Some((_, number, name)) = self.order.pop_front() {
            self.forget(&name, Some(number));
        }
    }

    /// `number`: only this one, not one that replaced it.
    fn forget(&mut self, name: &Name, number: Option<u64>) {
        let bytes = match name {
            Name::Key(id) => take(&mut self.keys, id, number),
            Name::Agent(id) => take(&mut self.agents, id, number),
            Name::Queue(id) => take(&mut self.queues, id, number),
        };
        self.bytes -= bytes;
    }
}

fn take<K: Hash + Eq, T>(map: &mut HashMap<K, Entry<T>>, id: &K, number: Option<u64>) -> usize {
    if number.is_some_and(|number| map.get(id).is_none_or(|entry| entry.number != number)) {
        return 0;
    }
    map.remove(id).map_or(0, |entry| entry.bytes)
}

fn put<K: Hash + Eq, T>(map: &mut HashMap<K, Entry<T>>, id: K, entry: Entry<T>) -> Option<usize> {
    map.insert(id, entry).map(|replaced| replaced.bytes)
}

fn bytes_of(agent: &Agent) -> usize {
    let documents = [
        &agent.local_metadata,
        &agent.components,
        &agent.upgrade_details,
        &agent.upgrade_attempts,
        &agent.rollbacks,
    ];
    let documents = documents
        .into_iter()
        .flatten()
        .map(|document| document.as_str().len());
    let lists = agent
        .tags
        .iter()
        .chain(&agent.namespaces)
        .map(|text| text.len() + 24);
    let message = agent.last_checkin_message.as_ref().map_or(0, String::len);
    size_of::<Agent>() + ADDRESSES + message + documents.sum::<usize>() + lists.sum::<usize>()
}

/// A row that changed.
pub(super) enum Change {
    Key(KeyId),
    Agent(AgentId),
    Queue(AgentId),
}

/// What the writing connection changed since the last look.
#[derive(Clone, Default)]
pub(super) struct Changed(Arc<Mutex<Vec<Change>>>);

impl Changed {
    /// Lets each change of a row that [`Recent`] may hold be named, whatever statement makes it. The triggers are the
    /// connection's own; the file has none of them.
    pub(super) fn watch(connection: &Connection) -> rusqlite::Result<Self> {
        let changed = Self::default();
        for (name, change) in [
            (
                "changed_key",
                (|id| Change::Key(KeyId::from(id))) as fn(String) -> Change,
            ),
            ("changed_agent", |id| Change::Agent(AgentId::from(id))),
            ("changed_queue", |id| Change::Queue(AgentId::from(id))),
        ] {
            let list = Arc::clone(&changed.0);
            connection.create_scalar_function(name, 1, FunctionFlags::SQLITE_UTF8, move |context| {
                let change = change(context.get(0)?);
                list.lock().unwrap_or_else(PoisonError::into_inner).push(change);
                Ok(0)
            })?;
        }
        for (table, events, call) in [
            ("api_key", ["UPDATE", "DELETE"].as_slice(), "changed_key(old.id)"),
            ("agent", &["UPDATE", "DELETE"], "changed_agent(old.id)"),
            ("presence", &["UPDATE", "DELETE"], "changed_agent(old.agent)"),
            ("agent_queue", &["INSERT"], "changed_queue(new.agent)"),
        ] {
            for event in events {
                connection.execute_batch(&format!(
                    "CREATE TEMP TRIGGER {table}_{event}_is_named AFTER {event} ON main.{table}
                     BEGIN SELECT {call}; END"
                ))?;
            }
        }
        Ok(changed)
    }

    pub(super) fn take(&self) -> MutexGuard<'_, Vec<Change>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long it is kept: an agent that comes again for the same reason comes within seconds.
pub(super) const KEPT_FOR: Duration = Duration::from_secs(5);
const MOST_BYTES: usize = 2 * 1024 * 1024;
/// Of which some are only a place in the order.
const MOST_ENTRIES: usize = 64 * 1024;
/// Of an entry: its place in a map and in the order.
const OVERHEAD: usize = 192;
/// Of an agent's texts of usual length.
const ADDRESSES: usize = 320;

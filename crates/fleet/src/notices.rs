//! What concerns every connection that stays open, whoever speaks on it: a token was revoked, the server stops.
//!
//! In: the domain's own calls. Out: a [`Notices`] for each connection, which remembers what it was told. Decides
//! nothing: whether a revocation concerns a connection is found by asking for its token.

use tokio::sync::watch;

/// The sending half, which belongs to the domain.
#[derive(Debug)]
pub(crate) struct Announcer(watch::Sender<State>);

#[derive(Clone, Copy, Debug, Default)]
struct State {
    /// Counts the times at which tokens were revoked.
    revocations: u64,
    is_stopping: bool,
}

impl Announcer {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(State::default()))
    }

    pub(crate) fn tokens_revoked(&self) {
        self.0.send_modify(|state| state.revocations += 1);
    }

    pub(crate) fn stopping(&self) {
        self.0.send_modify(|state| state.is_stopping = true);
    }

    pub(crate) fn follow(&self) -> Notices {
        let states = self.0.subscribe();
        let revocations = states.borrow().revocations;
        Notices { states, revocations }
    }
}

/// What happened since the last look.
#[derive(Debug)]
pub struct Notices {
    states: watch::Receiver<State>,
    /// Those that are known here.
    revocations: u64,
}

/// Something that may concern a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Some token was revoked: ask for yours.
    TokensRevoked,
    /// The server stops. Said again and again.
    Stopping,
}

impl Notices {
    /// The next one. May be dropped at any moment: what was not told is told by the next call.
    pub async fn next(&mut self) -> Notice {
        let known = self.revocations;
        let news = |state: &State| state.is_stopping || state.revocations != known;
        let Ok(state) = self.states.wait_for(news).await.map(|state| *state) else {
            // The domain is gone, which happens after its stop alone.
            return Notice::Stopping;
        };
        self.revocations = state.revocations;
        match state.is_stopping {
            true => Notice::Stopping,
            false => Notice::TokensRevoked,
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn each_revocation_is_told_once_and_the_stop_always() {
        let announcer = Announcer::new();
        announcer.tokens_revoked();
        let mut notices = announcer.follow();
        assert_eq!(notices.next().now_or_never(), None, "it was before");
        announcer.tokens_revoked();
        announcer.tokens_revoked();
        assert_eq!(notices.next().now_or_never(), Some(Notice::TokensRevoked));
        assert_eq!(notices.next().now_or_never(), None);
        announcer.stopping();
        assert_eq!(notices.next().now_or_never(), Some(Notice::Stopping));
        assert_eq!(announcer.follow().next().now_or_never(), Some(Notice::Stopping));
    }
}

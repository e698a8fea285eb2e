//! What a handler tells the gate about its answer: carried in the answer's extensions, so that nothing of the
//! request has to be kept while an agent waits.

use actix_web::HttpResponse;
use fleet::KeyId;
use log::Level;

use crate::metrics::Reason;

/// Facts for the access log and the metrics.
#[derive(Clone, Debug, Default)]
pub(crate) struct Note {
    /// Public half of the presented key, whether it was good or not.
    pub key: Option<KeyId>,
    pub error: Option<ErrorNote>,
    /// Which limit refused the request.
    pub rejection: Option<Reason>,
    pub standing: Standing,
}

/// What is known about the client's key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Standing {
    /// No key was asked for or looked at.
    #[default]
    Stranger,
    /// It had no good key, where one is needed.
    Failed,
    /// It has a good key.
    Known,
}

impl Note {
    /// Modifies the note in the answer's extensions.
    pub(crate) fn of(response: &mut HttpResponse, change: impl FnOnce(&mut Self)) {
        let mut extensions = response.extensions_mut();
        if let Some(note) = extensions.get_mut::<Self>() {
            change(note);
        } else {
            let mut note = Self::default();
            change(&mut note);
            extensions.insert(note);
        }
    }
}

/// One line of the error log.
#[derive(Clone, Debug)]
pub(crate) struct ErrorNote {
    /// The error's name towards agents.
    pub name: &'static str,
    pub level: Level,
    /// The cause in one line.
    pub detail: Option<String>,
}

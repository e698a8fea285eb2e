//! The error behind another one, in a form that can be cloned and compared as our errors are.

use std::{error::Error, fmt, sync::Arc};

/// An error of another library, or a sentence of our own. Clones share it; two are equal if they read the same.
#[derive(Clone, Debug)]
pub struct Cause(Arc<dyn Error + Send + Sync>);

impl Cause {
    /// From an error, or from a text.
    pub fn new(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self(Arc::from(cause.into()))
    }
}

impl PartialEq for Cause {
    fn eq(&self, other: &Self) -> bool {
        self.to_string() == other.to_string()
    }
}

impl Eq for Cause {}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for Cause {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}

/// The error and all its causes in one line, each once: `error: cause: cause of the cause`.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::StoreError;

    #[test]
    fn a_chain_names_each_cause_once() {
        let cause = StoreError::Corrupt {
            detail: "a page".to_owned(),
            source: Some(Cause::new(std::io::Error::other("bad sector"))),
        };
        assert_eq!(chain(&cause), "the store is damaged: a page: bad sector");
        assert_eq!(
            Cause::new(cause.clone()),
            Cause::new("the store is damaged: a page")
        );
        assert!(Cause::new(cause).source().is_some());
    }
}

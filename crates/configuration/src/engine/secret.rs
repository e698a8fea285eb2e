//! Secret text, which never appears in logs, errors or `config show`.

use std::fmt;

use zeroize::Zeroizing;

use super::{
    redaction::REDACTED,
    setting::{Refusal, Setting, Shown},
};

/// A secret text. It is wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Wraps a text that must not be shown.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The text in clear, for its one consumer.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl Setting for Secret {
    const IS_SECRET: bool = true;
    const KEEPS_SPACE: bool = true;
    fn allowed() -> String {
        "a text".to_owned()
    }
    fn from_text(text: &str) -> Result<Self, Refusal> {
        Ok(Self::new(text.to_owned()))
    }
    fn shown(&self) -> Option<Shown> {
        Some(Shown::Text(REDACTED.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t80_a_secret_never_shows() {
        let secret = Secret::new("hunter2".to_owned());
        assert!(!format!("{secret:?}").contains("hunter2"));
        assert_eq!(secret.shown(), Some(Shown::Text(REDACTED.to_owned())));
        assert_eq!(secret.expose(), "hunter2");
    }
}

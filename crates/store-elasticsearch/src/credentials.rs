//! The `Authorization` of our own calls.
//!
//! In: credentials of the configuration. Out: the header, marked as sensitive. A token's file is read when the connection
//! is made and again when Elasticsearch refuses what it held, so a token that was replaced counts without a restart.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use reqwest::header::HeaderValue;
use store::Secret;

use crate::Credentials;

/// The header, and how it is found again.
#[derive(Debug)]
pub(crate) struct Authorization {
    header: Mutex<HeaderValue>,
    file: Option<PathBuf>,
}

/// Credentials that cannot be sent.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the texts and the fields' names say it")]
pub enum CredentialsError {
    #[error("cannot read the service token in {}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("the credentials have characters that no header can carry")]
    NotAHeader,
    #[error("{} holds no service token", path.display())]
    Empty { path: PathBuf },
}

impl Authorization {
    /// Reads the token's file, if there is one: blocks.
    pub(crate) fn new(credentials: Credentials) -> Result<Self, CredentialsError> {
        let (header, file) = match credentials {
            Credentials::ServiceToken(token) => (sensitive("Bearer ", token.reveal())?, None),
            Credentials::ServiceTokenFile(path) => (read(&path)?, Some(path)),
            Credentials::ApiKey(key) => (sensitive("ApiKey ", key.reveal())?, None),
            Credentials::User { name, password } => {
                let pair = Secret::from(STANDARD.encode(format!("{name}:{}", password.reveal())));
                (sensitive("Basic ", pair.reveal())?, None)
            }
        };
        let header = Mutex::new(header);
        Ok(Self { header, file })
    }

    pub(crate) fn header(&self) -> HeaderValue {
        self.header.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// After a refusal: whether the file holds another token than the refused one.
    pub(crate) async fn is_replaced(&self, refused: &HeaderValue) -> bool {
        let Some(path) = self.file.clone() else {
            return false;
        };
        let shown = path.display().to_string();
        let found = match tokio::task::spawn_blocking(move || read(&path)).await {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => {
                log::warn!("file.path" = shown, "error.message":% = store::chain(&error); "the refused service token cannot be read again");
                return false;
            }
            Err(error) => {
                log::error!("file.path" = shown, "error.message":% = error; "reading the service token ended");
                return false;
            }
        };
        let is_other = found != *refused;
        *self.header.lock().unwrap_or_else(PoisonError::into_inner) = found;
        is_other
    }
}

fn read(path: &Path) -> Result<HeaderValue, CredentialsError> {
    let text = std::fs::read_to_string(path).map_err(|source| CredentialsError::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    let text = Secret::from(text);
    match text.reveal().trim() {
        "" => Err(CredentialsError::Empty {
            path: path.to_owned(),
        }),
        token => sensitive("Bearer ", token),
    }
}

pub(crate) fn sensitive(scheme: &str, text: &str) -> Result<HeaderValue, CredentialsError> {
    let whole = Secret::from(format!("{scheme}{text}"));
    let mut header = HeaderValue::from_str(whole.reveal()).map_err(|_| CredentialsError::NotAHeader)?;
    header.set_sensitive(true);
    Ok(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(credentials: Credentials) -> Result<HeaderValue, CredentialsError> {
        Authorization::new(credentials).map(|made| made.header())
    }

    #[test]
    fn each_kind_has_its_scheme_and_none_is_shown() {
        let secret = |text: &str| Secret::from(text.to_owned());
        let user = Credentials::User {
            name: "elastic".to_owned(),
            password: secret("p:w"),
        };
        for (credentials, expected) in [
            (Credentials::ServiceToken(secret("AAEA")), "Bearer AAEA"),
            (Credentials::ApiKey(secret("aWQ6cw==")), "ApiKey aWQ6cw=="),
            (user, "Basic ZWxhc3RpYzpwOnc="),
        ] {
            let shown = format!("{credentials:?}");
            let header = header(credentials).unwrap();
            assert_eq!(header, expected);
            assert!(!format!("{header:?}{shown}").contains("AAEA"));
        }
        assert!(matches!(
            header(Credentials::ServiceToken(secret("a\nb"))),
            Err(CredentialsError::NotAHeader)
        ));
    }

    #[tokio::test]
    async fn a_token_file_is_read_again_after_a_refusal() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        let missing = Authorization::new(Credentials::ServiceTokenFile(path.clone())).unwrap_err();
        assert!(matches!(missing, CredentialsError::Unreadable { .. }));
        std::fs::write(&path, " \n").unwrap();
        let empty = Authorization::new(Credentials::ServiceTokenFile(path.clone())).unwrap_err();
        assert!(matches!(empty, CredentialsError::Empty { .. }));
        std::fs::write(&path, "first\n").unwrap();
        let authorization = Authorization::new(Credentials::ServiceTokenFile(path.clone())).unwrap();
        let first = authorization.header();
        assert_eq!(first, "Bearer first");
        assert!(!authorization.is_replaced(&first).await);
        std::fs::write(&path, "second").unwrap();
        assert!(authorization.is_replaced(&first).await);
        assert_eq!(authorization.header(), "Bearer second");
        std::fs::remove_file(&path).unwrap();
        assert!(!authorization.is_replaced(&first).await);
        assert_eq!(authorization.header(), "Bearer second");
    }
}

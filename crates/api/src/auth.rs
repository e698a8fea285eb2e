//! Reads the `Authorization` header (agents.md 2.1). Who the key belongs to, the domain knows.

use actix_web::http::header::{AUTHORIZATION, HeaderMap};
use fleet::{ApiKey, TokenError};

/// Why no key could be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AuthorizationError {
    Missing,
    /// There are several lines, or the line does not begin with `ApiKey `.
    Malformed,
    /// The token is not base64 of UTF-8 text.
    NotBase64,
    /// The token is not one `id:key` pair.
    NotOnePair,
}

/// The key that a request presents.
pub(crate) fn api_key(headers: &HeaderMap) -> Result<ApiKey, AuthorizationError> {
    let mut lines = headers.get_all(AUTHORIZATION);
    let line = lines.next().ok_or(AuthorizationError::Missing)?;
    if lines.next().is_some() {
        return Err(AuthorizationError::Malformed);
    }
    let rest = line
        .as_bytes()
        .strip_prefix(b"ApiKey ")
        .ok_or(AuthorizationError::Malformed)?;
    let token = std::str::from_utf8(rest).map_err(|_| AuthorizationError::NotBase64)?;
    ApiKey::from_token(token.trim()).map_err(|error| match error {
        TokenError::NotText => AuthorizationError::NotBase64,
        TokenError::NotOnePair => AuthorizationError::NotOnePair,
    })
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    use proptest::prelude::*;

    use super::*;

    fn read(lines: &[&[u8]]) -> Result<String, AuthorizationError> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(AUTHORIZATION, HeaderValue::from_bytes(line).unwrap());
        }
        api_key(&headers).map(|key| key.id.to_string())
    }

    #[test]
    fn gen_10_to_14_each_mistake_has_its_name() {
        assert_eq!(read(&[]), Err(AuthorizationError::Missing));
        assert_eq!(read(&[b"Bearer x"]), Err(AuthorizationError::Malformed));
        assert_eq!(read(&[b"apikey dGVzdDp4"]), Err(AuthorizationError::Malformed));
        assert_eq!(read(&[b"ApiKey"]), Err(AuthorizationError::Malformed));
        assert_eq!(
            read(&[b"ApiKey invalidbase64"]),
            Err(AuthorizationError::NotBase64)
        );
        assert_eq!(read(&[b"ApiKey dGVzdA=="]), Err(AuthorizationError::NotOnePair));
        assert_eq!(read(&[b"ApiKey /zr/"]), Err(AuthorizationError::NotBase64));
        assert_eq!(read(&[b"ApiKey \xff\xfe"]), Err(AuthorizationError::NotBase64));
        let three = format!("ApiKey {}", STANDARD.encode("a:b:c"));
        assert_eq!(read(&[three.as_bytes()]), Err(AuthorizationError::NotOnePair));
    }

    #[test]
    fn exactly_one_line_counts_and_space_around_the_token_is_trimmed() {
        let line = format!("ApiKey  {} ", STANDARD.encode("kid:secret"));
        assert_eq!(read(&[line.as_bytes()]), Ok("kid".to_owned()));
        assert_eq!(
            read(&[line.as_bytes(), line.as_bytes()]),
            Err(AuthorizationError::Malformed)
        );
    }

    proptest! {
        #[test]
        fn no_header_panics(bytes in proptest::collection::vec(0x20u8..=0xff, 0..60)) {
            if let Ok(value) = HeaderValue::from_bytes(&[b"ApiKey ".as_slice(), &bytes].concat()) {
                let mut headers = HeaderMap::new();
                headers.append(AUTHORIZATION, value);
                let _ = api_key(&headers);
            }
        }
    }
}

//! Hashes of replace tokens: `$pbkdf2-sha512$ITERATIONS$SALT$KEY` (data.md 4.3).
//!
//! A person may choose the token, so it is derived slowly.

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use sha2::Sha512;
use subtle::ConstantTimeEq as _;

use crate::{
    FleetError, Secret, derivations::Derivations, randomness::random, settings::ReplaceTokenHashing,
};

/// Hashes a token for the store.
pub(crate) async fn hash(
    derivations: &Derivations,
    token: Secret,
    with: ReplaceTokenHashing,
) -> Result<String, FleetError> {
    let mut salt = vec![0; with.salt_length];
    random(&mut salt)?;
    derivations
        .run(move || {
            let key = derive(&token, &salt, with.iterations, with.key_length);
            format!(
                "$pbkdf2-sha512${}${}${}",
                with.iterations,
                STANDARD_NO_PAD.encode(&salt),
                STANDARD_NO_PAD.encode(key)
            )
        })
        .await
}

/// Whether the token is the hashed one. A corrupt hash fits no token.
pub(crate) async fn fits(derivations: &Derivations, token: Secret, hash: String) -> Result<bool, FleetError> {
    let Some((iterations, salt, key)) = parse(&hash) else {
        return Ok(false);
    };
    derivations
        .run(move || derive(&token, &salt, iterations, key.len()).ct_eq(&key).into())
        .await
}

fn derive(token: &Secret, salt: &[u8], iterations: u32, length: usize) -> Vec<u8> {
    let mut key = vec![0; length];
    pbkdf2::pbkdf2_hmac::<Sha512>(token.reveal().as_bytes(), salt, iterations, &mut key);
    key
}

/// Iterations, salt and key, with bounds so that a damaged record cannot keep a core busy for minutes.
fn parse(hash: &str) -> Option<(u32, Vec<u8>, Vec<u8>)> {
    let mut parts = hash.split('$');
    let (Some(""), Some("pbkdf2-sha512")) = (parts.next(), parts.next()) else {
        return None;
    };
    let iterations = parts
        .next()?
        .parse()
        .ok()
        .filter(|n| (1..=10_000_000).contains(n))?;
    let salt = STANDARD_NO_PAD.decode(parts.next()?).ok()?;
    let key = STANDARD_NO_PAD
        .decode(parts.next()?)
        .ok()
        .filter(|key| (8..=1024).contains(&key.len()))?;
    parts.next().is_none().then_some((iterations, salt, key))
}

#[cfg(test)]
mod tests {
    use prometheus_client::registry::Registry;

    use super::*;

    const QUICK: ReplaceTokenHashing = ReplaceTokenHashing {
        iterations: 1000,
        key_length: 32,
        salt_length: 64,
    };

    #[actix_rt::test]
    async fn a9_a_hash_has_its_form_and_fits_only_its_token() {
        let derivations = Derivations::register(&mut Registry::default());
        let hash = hash(&derivations, Secret::from("t".to_owned()), QUICK)
            .await
            .unwrap();
        assert!(hash.starts_with("$pbkdf2-sha512$1000$"), "{hash}");
        assert!(
            fits(&derivations, Secret::from("t".to_owned()), hash.clone())
                .await
                .unwrap()
        );
        assert!(
            !fits(&derivations, Secret::from("u".to_owned()), hash)
                .await
                .unwrap()
        );
    }

    #[actix_rt::test]
    async fn corrupt_hashes_fit_nothing() {
        let derivations = Derivations::register(&mut Registry::default());
        for corrupt in [
            "",
            "$",
            "$pbkdf2-sha512$x$AA$AA",
            "$pbkdf2-sha512$1$AA$AA$",
            "$pbkdf2-sha512$1$AA$",
        ] {
            assert!(
                !fits(&derivations, Secret::from("t".to_owned()), corrupt.to_owned())
                    .await
                    .unwrap(),
                "{corrupt}"
            );
        }
    }
}

//! Which pair answers which name (reload.md 6.5): exact, then a wildcard of one label, then the default.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::warning::Warning;

/// The pairs of one generation by name. A look-up takes no lock and allocates nothing.
pub(crate) struct SniTable {
    default: Arc<CertifiedKey>,
    /// Every name leads to the default: nothing to look up.
    is_single: bool,
    exact: HashMap<Box<str>, Arc<CertifiedKey>>,
    /// By what follows `*.`.
    wildcard: HashMap<Box<str>, Arc<CertifiedKey>>,
}

impl SniTable {
    /// A table with a default pair and no names.
    pub(crate) fn new(default: Arc<CertifiedKey>) -> Self {
        Self {
            default,
            is_single: true,
            exact: HashMap::new(),
            wildcard: HashMap::new(),
        }
    }

    /// Adds a pair under `names`. Returns the names it got: those that no earlier pair has.
    pub(crate) fn add(
        &mut self,
        names: &[String],
        pair: &Arc<CertifiedKey>,
        warnings: &mut Vec<Warning>,
    ) -> Vec<String> {
        let mut taken = Vec::new();
        self.is_single &= Arc::ptr_eq(pair, &self.default);
        for name in names {
            let name = name.trim_end_matches('.').to_ascii_lowercase();
            let (table, key) = match name.strip_prefix("*.") {
                Some(parent) => (&mut self.wildcard, parent),
                None => (&mut self.exact, name.as_str()),
            };
            match table.get(key) {
                None => {
                    table.insert(Box::from(key), pair.clone());
                    taken.push(name);
                }
                Some(first) if Arc::ptr_eq(first, pair) => {}
                Some(_) => warnings.push(Warning::DuplicateName { name }),
            }
        }
        taken
    }

    /// The pair for a name; `None` and unknown names get the default.
    pub(crate) fn select(&self, name: Option<&str>) -> &Arc<CertifiedKey> {
        let Some(name) = name else { return &self.default };
        if self.is_single {
            return &self.default;
        }
        let mut buffer = [0u8; MAX_NAME];
        let found = lower(name, &mut buffer).and_then(|name| {
            self.exact.get(name).or_else(|| {
                let (_, parent) = name.split_once('.')?;
                self.wildcard.get(parent)
            })
        });
        found.unwrap_or(&self.default)
    }
}

impl ResolvesServerCert for SniTable {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.select(hello.server_name()).clone())
    }
}

impl fmt::Debug for SniTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SniTable")
            .field("exact", &self.exact.len())
            .field("wildcard", &self.wildcard.len())
            .finish_non_exhaustive()
    }
}

/// The name in lower case; written into `buffer` only if it is not already. `None`: no name in DNS is so long.
fn lower<'a>(name: &'a str, buffer: &'a mut [u8; MAX_NAME]) -> Option<&'a str> {
    if !name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Some(name);
    }
    let room = buffer.get_mut(..name.len())?;
    room.copy_from_slice(name.as_bytes());
    room.make_ascii_lowercase();
    std::str::from_utf8(room).ok()
}

const MAX_NAME: usize = 255;

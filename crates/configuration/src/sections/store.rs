//! `path.*` and `store.*`: where the server keeps its data.

use std::path::PathBuf;

use crate::engine::{
    section::section,
    setting::{Refusal, Shown, setting},
};

section! {
    /// Where the server keeps its files.
    pub struct Paths {
        keys {
            /// Directory of the store, the admin key, and what quickstart makes; also --data-dir.
            data: PathBuf = PathBuf::from("./data");
        }
    }
}

section! {
    /// Where agents, policies and actions are kept.
    pub struct Store {
        keys {
            /// embedded: a database in the data directory.
            kind as "type": StoreType = StoreType::Embedded;
            /// File of the key that secrets are encrypted with: base64 of 32 bytes. Unset: store.key in the data directory,
            /// made at the first start. Without it a backup of the store has no secrets.
            encryption_key_path: Option<PathBuf> = None;
        }
    }
}

/// The kind of store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreType {
    /// A database in the data directory.
    Embedded,
}

setting!(
    StoreType,
    "embedded",
    |text| match text {
        "embedded" => Ok(Self::Embedded),
        "postgresql" | "postgres" | "elasticsearch" => Err(Refusal::Because(format!(
            "the store {text} is not built in this version: use embedded, which keeps everything in path.data"
        ))),
        _ => Err(Refusal::Unfit),
    },
    |_| Shown::Text("embedded".to_owned())
);

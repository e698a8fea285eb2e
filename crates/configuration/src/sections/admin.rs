//! `admin.*`: the listener for operators.

use std::path::PathBuf;

use super::ssl::Ssl;
use crate::{addresses::host_alone, engine::section::section};

section! {
    /// The listener for operators.
    pub struct Admin {
        keys {
            /// Whether it listens.
            enabled: bool = true;
            /// Address.
            host: String = "localhost".to_owned(), check |host| host_alone(host);
            /// Port; 0: any free one.
            port: u16 = 8222, unit "port";
            /// File that holds the admin key. Unset: admin.key in the data directory, made at the first start.
            api_key_path: Option<PathBuf> = None;
        }
        sections {
            /// TLS towards operators. Without this section: the same as towards agents.
            ssl: Option<Ssl>;
        }
    }
}

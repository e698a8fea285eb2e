//! `admin.*`: the listener for operators.

use std::path::PathBuf;

use super::ssl::Ssl;
use crate::{
    addresses::host_alone,
    engine::{quantity::Days, section::section},
};

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
            /// How long an entry of the audit log is kept.
            audit_retention: Days = Days::of(365);
            /// Revisions of a policy that are kept: the newest.
            policy_revisions_kept: u32 = 1000, check |kept| match *kept {
                0 => Err("at least 1: the newest is the policy".to_owned()),
                _ => Ok(()),
            };
        }
        sections {
            /// TLS towards operators. Without this section: the same as towards agents.
            ssl: Option<Ssl>;
        }
    }
}

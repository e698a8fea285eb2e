//! Keys of this server alone: `path`, `store`, `admin`, `bootstrap`; and `http`, the listener for machines.

use std::path::PathBuf;

use super::{
    declare::{EFFECTIVE, INERT, section},
    http_host::HttpHost,
    setting::{Refusal, Setting, Shown},
    ssl::Ssl,
};

section! {
    /// Where the server keeps its files.
    pub struct Paths {
        keys {
            /// Directory of the store, the admin key, and what quickstart makes; also --data-dir.
            data: PathBuf = PathBuf::from("./data") => EFFECTIVE;
        }
        sections {}
    }
}

section! {
    /// Where agents, policies and actions are kept.
    pub struct Store {
        keys {
            /// embedded: a database in the data directory.
            kind as "type": StoreType = StoreType::Embedded => EFFECTIVE;
        }
        sections {}
    }
}

section! {
    /// The listener for operators.
    pub struct Admin {
        keys {
            /// Whether it listens.
            enabled: bool = true => EFFECTIVE;
            /// Address.
            host: String = "localhost".to_owned() => EFFECTIVE;
            /// Port; 0: any free one.
            port: u16 = 8222 => EFFECTIVE, unit "port";
            /// File that holds the admin key. Unset: admin.key in the data directory, made at the first start.
            api_key_path: Option<PathBuf> = None => EFFECTIVE;
        }
        sections {
            /// TLS towards operators. Without this section: the same as towards agents.
            ssl: Option<Ssl>;
        }
    }
}

section! {
    /// What a store without policies begins with.
    pub struct Bootstrap {
        keys {
            /// Whether it gets the default policy and one enrollment token.
            enabled: bool = true => EFFECTIVE;
            /// File that holds the enrollment token. Unset: a random one.
            enrollment_token_path: Option<PathBuf> = None => EFFECTIVE;
            /// URLs of this server that the policy tells agents. Unset: https://HOSTNAME:PORT.
            fleet_hosts: Vec<String> = Vec::new() => EFFECTIVE;
        }
        sections {}
    }
}

section! {
    /// The listener for machines: /metrics, /livez, /readyz.
    pub struct Http {
        keys {
            /// Whether it listens.
            enabled: bool = false => EFFECTIVE;
            /// Address: a host, or http://HOST[:PORT], whose port wins. Unix sockets are not served.
            host: HttpHost = HttpHost::new("localhost") => EFFECTIVE;
            /// Port; 0: any free one.
            port: u16 = 5066 => EFFECTIVE, unit "port";
        }
        sections {
            /// Named pipes (Windows).
            named_pipe: NamedPipe;
        }
    }
}

section! {
    /// Named pipes (Windows).
    pub struct NamedPipe {
        keys {
            /// Owner.
            user: Option<String> = None => INERT;
            /// Access rights.
            security_descriptor: Option<String> = None => INERT;
        }
        sections {}
    }
}

/// The kind of store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreType {
    /// A database in the data directory.
    Embedded,
}

impl Setting for StoreType {
    fn allowed() -> String {
        "embedded".to_owned()
    }
    fn from_text(text: &str) -> Result<Self, Refusal> {
        match text {
            "embedded" => Ok(Self::Embedded),
            "postgresql" | "postgres" | "elasticsearch" => Err(Refusal::Because(format!(
                "the store {text} is not built in this version: use embedded, which keeps everything in path.data"
            ))),
            _ => Err(super::setting::must_be::<Self>()),
        }
    }
    fn shown(&self) -> Option<Shown> {
        Some(Shown::Text("embedded".to_owned()))
    }
}

impl Bootstrap {
    /// What agents are told: the configured URLs, else this machine's name and the real port.
    pub fn fleet_hosts(&self, scheme: &str, host_name: &str, port: u16) -> Vec<String> {
        if self.fleet_hosts.is_empty() {
            return vec![format!("{scheme}://{host_name}:{port}")];
        }
        self.fleet_hosts.clone()
    }
}

//! The messages of OpAMP, with the field numbers of its published protocol, as far as this server reads and writes them.
//!
//! A body from outside becomes an [`AgentToServer`], whose large parts stay slices of that body: reading it takes memory
//! for none of them. Each part is then read by itself, after its size was judged, since a message of two bytes may be
//! sixty in memory. Fields that are not declared here are skipped. Knows no HTTP and no rule of the domain.

mod config;
mod message;
mod part;

pub use config::ConfigText;
pub use message::{
    AgentConfigFile, AgentConfigMap, AgentDescription, AgentDisconnect, AgentIdentification,
    AgentRemoteConfig, AgentToServer, AnyValue, ArrayValue, ComponentHealth, ConfigEntry, CustomCapabilities,
    EffectiveConfig, ErrorKind, KeyValue, KeyValueList, RemoteConfigState, RemoteConfigStatus, RetryInfo,
    ServerErrorResponse, ServerToAgent, Value, agent_flag, capability, server_capability, server_flag,
};
pub use part::{PartError, read};
pub use prost::{DecodeError, Message};

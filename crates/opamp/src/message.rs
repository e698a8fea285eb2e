//! The messages themselves. Names and numbers are the protocol's; what is not read or written here is left out.

#![expect(missing_docs, reason = "messages and fields as the protocol names them")]

use bytes::Bytes;
use prost::{Enumeration, Message, Oneof};

/// What an agent says. Its parts are messages of their own, still encoded: see [`crate::read`].
#[derive(Clone, PartialEq, Eq, Message)]
pub struct AgentToServer {
    #[prost(bytes = "bytes", tag = "1")]
    pub instance_uid: Bytes,
    #[prost(uint64, tag = "2")]
    pub sequence_num: u64,
    /// An [`AgentDescription`].
    #[prost(bytes = "bytes", optional, tag = "3")]
    pub agent_description: Option<Bytes>,
    /// Bits of [`capability`].
    #[prost(uint64, tag = "4")]
    pub capabilities: u64,
    /// A [`ComponentHealth`].
    #[prost(bytes = "bytes", optional, tag = "5")]
    pub health: Option<Bytes>,
    /// An [`EffectiveConfig`].
    #[prost(bytes = "bytes", optional, tag = "6")]
    pub effective_config: Option<Bytes>,
    /// A [`RemoteConfigStatus`].
    #[prost(bytes = "bytes", optional, tag = "7")]
    pub remote_config_status: Option<Bytes>,
    #[prost(message, optional, tag = "9")]
    pub agent_disconnect: Option<AgentDisconnect>,
    /// Bits of [`agent_flag`].
    #[prost(uint64, tag = "10")]
    pub flags: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct AgentDisconnect {}

#[derive(Clone, PartialEq, Message)]
pub struct AgentDescription {
    #[prost(message, repeated, tag = "1")]
    pub identifying_attributes: Vec<KeyValue>,
    #[prost(message, repeated, tag = "2")]
    pub non_identifying_attributes: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Message)]
pub struct KeyValue {
    #[prost(string, tag = "1")]
    pub key: String,
    #[prost(message, optional, tag = "2")]
    pub value: Option<AnyValue>,
}

#[derive(Clone, PartialEq, Message)]
pub struct AnyValue {
    #[prost(oneof = "Value", tags = "1, 2, 3, 4, 5, 6, 7")]
    pub value: Option<Value>,
}

#[derive(Clone, PartialEq, Oneof)]
pub enum Value {
    #[prost(string, tag = "1")]
    Text(String),
    #[prost(bool, tag = "2")]
    Bool(bool),
    #[prost(int64, tag = "3")]
    Int(i64),
    #[prost(double, tag = "4")]
    Double(f64),
    #[prost(message, tag = "5")]
    Array(ArrayValue),
    #[prost(message, tag = "6")]
    Map(KeyValueList),
    #[prost(bytes = "vec", tag = "7")]
    Bytes(Vec<u8>),
}

#[derive(Clone, PartialEq, Message)]
pub struct ArrayValue {
    #[prost(message, repeated, tag = "1")]
    pub values: Vec<AnyValue>,
}

#[derive(Clone, PartialEq, Message)]
pub struct KeyValueList {
    #[prost(message, repeated, tag = "1")]
    pub values: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct ComponentHealth {
    #[prost(bool, tag = "1")]
    pub healthy: bool,
    #[prost(fixed64, tag = "2")]
    pub start_time_unix_nano: u64,
    #[prost(string, tag = "3")]
    pub last_error: String,
    #[prost(string, tag = "4")]
    pub status: String,
    #[prost(fixed64, tag = "5")]
    pub status_time_unix_nano: u64,
    #[prost(btree_map = "string, message", tag = "6")]
    pub component_health_map: std::collections::BTreeMap<String, ComponentHealth>,
}

/// What an agent reports to run. To read one from outside: [`crate::ConfigText`].
#[derive(Clone, PartialEq, Eq, Message)]
pub struct EffectiveConfig {
    #[prost(message, optional, tag = "1")]
    pub config_map: Option<AgentConfigMap>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct AgentConfigMap {
    /// The entries of a map, which is a list of such messages on the wire.
    #[prost(message, repeated, tag = "1")]
    pub config_map: Vec<ConfigEntry>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct ConfigEntry {
    #[prost(string, tag = "1")]
    pub key: String,
    #[prost(message, optional, tag = "2")]
    pub value: Option<AgentConfigFile>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct AgentConfigFile {
    #[prost(bytes = "bytes", tag = "1")]
    pub body: Bytes,
    #[prost(string, tag = "2")]
    pub content_type: String,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct RemoteConfigStatus {
    #[prost(bytes = "bytes", tag = "1")]
    pub last_remote_config_hash: Bytes,
    #[prost(enumeration = "RemoteConfigState", tag = "2")]
    pub status: i32,
    #[prost(string, tag = "3")]
    pub error_message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Enumeration)]
#[repr(i32)]
pub enum RemoteConfigState {
    Unset = 0,
    Applied = 1,
    Applying = 2,
    Failed = 3,
}

/// What the server answers.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ServerToAgent {
    #[prost(bytes = "bytes", tag = "1")]
    pub instance_uid: Bytes,
    #[prost(message, optional, tag = "2")]
    pub error_response: Option<ServerErrorResponse>,
    #[prost(message, optional, tag = "3")]
    pub remote_config: Option<AgentRemoteConfig>,
    /// Bits of [`server_flag`].
    #[prost(uint64, tag = "6")]
    pub flags: u64,
    /// Bits of [`server_capability`].
    #[prost(uint64, tag = "7")]
    pub capabilities: u64,
    #[prost(message, optional, tag = "8")]
    pub agent_identification: Option<AgentIdentification>,
    #[prost(message, optional, tag = "10")]
    pub custom_capabilities: Option<CustomCapabilities>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct ServerErrorResponse {
    #[prost(enumeration = "ErrorKind", tag = "1")]
    pub r#type: i32,
    #[prost(string, tag = "2")]
    pub error_message: String,
    #[prost(message, optional, tag = "3")]
    pub retry_info: Option<RetryInfo>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Enumeration)]
#[repr(i32)]
pub enum ErrorKind {
    Unknown = 0,
    BadRequest = 1,
    Unavailable = 2,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct RetryInfo {
    #[prost(uint64, tag = "1")]
    pub retry_after_nanoseconds: u64,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct AgentRemoteConfig {
    #[prost(message, optional, tag = "1")]
    pub config: Option<AgentConfigMap>,
    #[prost(bytes = "bytes", tag = "2")]
    pub config_hash: Bytes,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct AgentIdentification {
    #[prost(bytes = "bytes", tag = "1")]
    pub new_instance_uid: Bytes,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct CustomCapabilities {
    #[prost(string, repeated, tag = "1")]
    pub capabilities: Vec<String>,
}

/// What an agent can do.
pub mod capability {
    pub const ACCEPTS_REMOTE_CONFIG: u64 = 1 << 1;

    /// In the order of their bits.
    pub const NAMES: [&str; 16] = [
        "ReportsStatus",
        "AcceptsRemoteConfig",
        "ReportsEffectiveConfig",
        "AcceptsPackages",
        "ReportsPackageStatuses",
        "ReportsOwnTraces",
        "ReportsOwnMetrics",
        "ReportsOwnLogs",
        "AcceptsOpAMPConnectionSettings",
        "AcceptsOtherConnectionSettings",
        "AcceptsRestartCommand",
        "ReportsHealth",
        "ReportsRemoteConfig",
        "ReportsHeartbeat",
        "ReportsAvailableComponents",
        "ReportsConnectionSettingsStatus",
    ];

    /// Names of the bits that are set; unknown ones are passed over.
    #[must_use]
    pub fn names(bits: u64) -> Vec<String> {
        let named = NAMES.iter().enumerate();
        named
            .filter(|(place, _)| bits >> place & 1 == 1)
            .map(|(_, name)| (*name).to_owned())
            .collect()
    }
}

/// Flags of an agent's message.
pub mod agent_flag {
    pub const REQUEST_INSTANCE_UID: u64 = 1;
}

/// What the server can do.
pub mod server_capability {
    pub const ACCEPTS_STATUS: u64 = 1;
    pub const OFFERS_REMOTE_CONFIG: u64 = 1 << 1;
    pub const ACCEPTS_EFFECTIVE_CONFIG: u64 = 1 << 2;
}

/// Flags of the server's message.
pub mod server_flag {
    pub const REPORT_FULL_STATE: u64 = 1;
}

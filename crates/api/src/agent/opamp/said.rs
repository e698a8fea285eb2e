//! What an agent says, out of the bytes of its message: sizes of the parts first, then the parts.
//!
//! In: a body within its limit. Out: the domain's message, or why it is refused. Never trusts a length or a depth.

use std::collections::BTreeMap;

use actix_web::web::Bytes;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use fleet::{
    RawJson,
    opamp::{Description, Health, Message, RemoteConfigState, RemoteConfigStatus, hex},
};
use opamp::{
    AgentDescription, AgentToServer, ComponentHealth, ConfigText, DecodeError, KeyValue, Message as _,
    PartError, agent_flag, capability,
};
use serde_json::{Map, Value};
use uuid::Uuid;

/// A message that is protobuf.
#[derive(Debug)]
pub(super) struct Said {
    /// Its instance uid, as it is echoed.
    pub(super) uid: Bytes,
    /// The message, or why it is refused.
    pub(super) message: Result<Message, String>,
}

impl Said {
    /// # Errors
    /// The bytes are no message, or a part is not the message that belongs there.
    pub(super) fn read(body: Bytes) -> Result<Self, DecodeError> {
        let message = AgentToServer::decode(body)?;
        let uid = match message.instance_uid.len() {
            UID_BYTES => message.instance_uid.clone(),
            _ => Bytes::new(),
        };
        let message = match read(message) {
            Ok(message) => Ok(message),
            Err(Refused::Malformed(error)) => return Err(error),
            Err(Refused::Because(reason)) => Err(reason),
        };
        Ok(Self { uid, message })
    }
}

enum Refused {
    Malformed(DecodeError),
    Because(String),
}

fn read(message: AgentToServer) -> Result<Message, Refused> {
    let uid = Uuid::from_slice(&message.instance_uid)
        .map_err(|_| Refused::Because("failed to parse instance_uid".to_owned()))?;
    let description: Option<AgentDescription> =
        part("agent_description", message.agent_description, DESCRIPTION)?;
    let health: Option<ComponentHealth> = part("health", message.health, HEALTH)?;
    let config: Option<ConfigText> = part("effective_config", message.effective_config, usize::MAX)?;
    let status: Option<opamp::RemoteConfigStatus> =
        part("remote_config_status", message.remote_config_status, STATUS)?;
    Ok(Message {
        uid,
        sequence_num: message.sequence_num,
        capabilities: capability::names(message.capabilities),
        accepts_remote_config: message.capabilities & capability::ACCEPTS_REMOTE_CONFIG != 0,
        wants_new_uid: message.flags & agent_flag::REQUEST_INSTANCE_UID != 0,
        leaves: message.agent_disconnect.is_some(),
        description: description.map(|description| Description {
            identifying: attributes(description.identifying_attributes),
            non_identifying: attributes(description.non_identifying_attributes),
        }),
        health: health.map(|health| Health {
            is_healthy: health.healthy,
            status: health.status.clone(),
            last_error: health.last_error.clone(),
            details: component(health),
        }),
        effective_config: config
            .and_then(ConfigText::into_body)
            .map(|text| yaml(&text))
            .transpose()?,
        remote_config_status: status.map(remote_config_status),
    })
}

fn part<M: opamp::Message + Default>(
    name: &'static str,
    part: Option<Bytes>,
    most: usize,
) -> Result<Option<M>, Refused> {
    part.map(|part| opamp::read(part, most))
        .transpose()
        .map_err(|error| match error {
            PartError::Malformed(error) => Refused::Malformed(error),
            PartError::TooLarge { .. } => Refused::Because(format!("{name}: {error}")),
        })
}

/// A configuration is a mapping; none at all is an empty one.
fn yaml(text: &[u8]) -> Result<RawJson, Refused> {
    let refused = |reason: String| Refused::Because(format!("effective_config: {reason}"));
    let node = notation::yaml::read(text).map_err(|error| refused(error.to_string()))?;
    let json = match &node.value {
        notation::yaml::Value::Null => "{}".to_owned(),
        notation::yaml::Value::Map(_) => node.to_json().map_err(|error| refused(error.to_string()))?,
        _ => return Err(refused("it is not a mapping".to_owned())),
    };
    RawJson::parse(json).map_err(|error| refused(error.to_string()))
}

fn attributes(attributes: Vec<KeyValue>) -> Map<String, Value> {
    attributes
        .into_iter()
        .map(|attribute| {
            let value = attribute.value.and_then(|value| value.value);
            (attribute.key, value.map_or(Value::Null, plain))
        })
        .collect()
}

fn plain(value: opamp::Value) -> Value {
    match value {
        opamp::Value::Text(text) => text.into(),
        opamp::Value::Bool(is_set) => is_set.into(),
        opamp::Value::Int(number) => number.into(),
        // JSON has no infinity and no NaN: null.
        opamp::Value::Double(number) => number.into(),
        opamp::Value::Array(items) => items
            .values
            .into_iter()
            .map(|item| item.value.map_or(Value::Null, plain))
            .collect(),
        opamp::Value::Map(members) => attributes(members.values).into(),
        opamp::Value::Bytes(bytes) => STANDARD.encode(bytes).into(),
    }
}

/// What is zero or empty is left out.
fn component(health: ComponentHealth) -> Value {
    let mut members = Map::new();
    if health.healthy {
        members.insert("healthy".to_owned(), true.into());
    }
    for (name, nanos) in [
        ("start_time_unix_nano", health.start_time_unix_nano),
        ("status_time_unix_nano", health.status_time_unix_nano),
    ] {
        if nanos != 0 {
            members.insert(name.to_owned(), nanos.into());
        }
    }
    for (name, text) in [("last_error", health.last_error), ("status", health.status)] {
        if !text.is_empty() {
            members.insert(name.to_owned(), text.into());
        }
    }
    if !health.component_health_map.is_empty() {
        members.insert(
            "component_health_map".to_owned(),
            components(health.component_health_map),
        );
    }
    members.into()
}

fn components(components: BTreeMap<String, ComponentHealth>) -> Value {
    components
        .into_iter()
        .map(|(name, health)| (name, component(health)))
        .collect::<Map<_, _>>()
        .into()
}

fn remote_config_status(status: opamp::RemoteConfigStatus) -> RemoteConfigStatus {
    RemoteConfigStatus {
        status: match status.status() {
            opamp::RemoteConfigState::Unset => RemoteConfigState::Unset,
            opamp::RemoteConfigState::Applied => RemoteConfigState::Applied,
            opamp::RemoteConfigState::Applying => RemoteConfigState::Applying,
            opamp::RemoteConfigState::Failed => RemoteConfigState::Failed,
        },
        hash: hex(&status.last_remote_config_hash),
        error_message: status.error_message,
    }
}

const UID_BYTES: usize = 16;
/// Most bytes of each part: what stands in memory is up to 60 times as much.
const DESCRIPTION: usize = 64 * 1024;
const HEALTH: usize = 256 * 1024;
const STATUS: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use opamp::{AgentConfigFile, AgentConfigMap, AnyValue, ConfigEntry, EffectiveConfig};
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn said(message: &AgentToServer) -> Result<Message, String> {
        Said::read(message.encode_to_vec().into()).unwrap().message
    }

    fn message() -> AgentToServer {
        AgentToServer {
            instance_uid: Bytes::from_static(&[7; 16]),
            ..AgentToServer::default()
        }
    }

    fn configured(text: &str) -> AgentToServer {
        let entry = |key: &str, text: &str| ConfigEntry {
            key: key.to_owned(),
            value: Some(AgentConfigFile {
                body: text.to_owned().into(),
                content_type: String::new(),
            }),
        };
        let config = EffectiveConfig {
            config_map: Some(AgentConfigMap {
                config_map: vec![entry("other", "[not read"), entry("", text), entry("more", "x")],
            }),
        };
        AgentToServer {
            effective_config: Some(config.encode_to_vec().into()),
            ..message()
        }
    }

    #[test]
    fn opa_02_a_message_without_a_usable_uid_is_refused() {
        for uid in [Bytes::new(), vec![1; 15].into(), vec![1; 17].into()] {
            let message = AgentToServer {
                instance_uid: uid,
                ..AgentToServer::default()
            };
            let read = Said::read(message.encode_to_vec().into()).unwrap();
            assert_eq!(read.message.unwrap_err(), "failed to parse instance_uid");
            assert!(read.uid.is_empty());
        }
    }

    #[test]
    fn opa_08_only_the_nameless_entry_of_a_configuration_is_read() {
        let config = said(&configured("receivers: {otlp: null}\nn: 9007199254740993\n"));
        let config = config.unwrap().effective_config.unwrap();
        assert_eq!(
            config.as_str(),
            r#"{"receivers":{"otlp":null},"n":9007199254740993}"#
        );
        assert_eq!(
            said(&configured("")).unwrap().effective_config.unwrap().as_str(),
            "{}"
        );
        for (text, reason) in [
            ("a: [", "effective_config: line"),
            ("- a", "not a mapping"),
            ("a: .inf", "cannot be written"),
        ] {
            let error = said(&configured(text)).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
    }

    #[test]
    fn attributes_become_plain_json() {
        let value = |value| KeyValue {
            key: "k".to_owned(),
            value: Some(AnyValue { value: Some(value) }),
        };
        for (sent, expected) in [
            (opamp::Value::Text("t".to_owned()), json!("t")),
            (opamp::Value::Int(i64::MIN), json!(i64::MIN)),
            (opamp::Value::Double(f64::NAN), json!(null)),
            (opamp::Value::Double(1.5), json!(1.5)),
            (opamp::Value::Bytes(vec![0, 255]), json!("AP8=")),
            (
                opamp::Value::Map(opamp::KeyValueList {
                    values: vec![value(opamp::Value::Bool(true))],
                }),
                json!({"k": true}),
            ),
            (
                opamp::Value::Array(opamp::ArrayValue {
                    values: vec![AnyValue { value: None }],
                }),
                json!([null]),
            ),
        ] {
            assert_eq!(attributes(vec![value(sent)])["k"], expected);
        }
    }

    #[test]
    fn a_part_over_its_bound_is_not_read() {
        for (part, name) in [
            (
                AgentToServer {
                    agent_description: Some(vec![0xff; DESCRIPTION + 1].into()),
                    ..message()
                },
                "agent_description",
            ),
            (
                AgentToServer {
                    health: Some(vec![0xff; HEALTH + 1].into()),
                    ..message()
                },
                "health",
            ),
        ] {
            let error = said(&part).unwrap_err();
            assert!(error.starts_with(name) && error.contains("more than"), "{error}");
        }
    }

    #[test]
    fn opa_11_deep_nesting_is_malformed_and_not_a_stack_overflow() {
        // Arrays in arrays, each by two bytes of tag and a length.
        let mut value = Vec::new();
        for _ in 0..5_000 {
            let mut array = Vec::new();
            opamp_test_field(1, &value, &mut array);
            value.clear();
            opamp_test_field(5, &array, &mut value);
        }
        let mut attribute = Vec::new();
        opamp_test_field(2, &value, &mut attribute);
        let mut description = Vec::new();
        opamp_test_field(1, &attribute, &mut description);
        assert!(description.len() < DESCRIPTION);
        let deep = AgentToServer {
            agent_description: Some(description.into()),
            ..message()
        };
        assert!(Said::read(deep.encode_to_vec().into()).is_err());
    }

    /// A field of bytes.
    fn opamp_test_field(number: u8, bytes: &[u8], out: &mut Vec<u8>) {
        out.push(number << 3 | 2);
        let mut length = bytes.len();
        while length >= 0x80 {
            out.push(u8::try_from(length & 0x7f).unwrap() | 0x80);
            length >>= 7;
        }
        out.push(u8::try_from(length).unwrap());
        out.extend_from_slice(bytes);
    }

    fn whole() -> Vec<u8> {
        let description = AgentDescription {
            identifying_attributes: attributes_of(&["service.name", "service.version"]),
            non_identifying_attributes: attributes_of(&["host.name", "tags"]),
        };
        let health = ComponentHealth {
            healthy: true,
            component_health_map: BTreeMap::from([("pipeline".to_owned(), ComponentHealth::default())]),
            ..ComponentHealth::default()
        };
        AgentToServer {
            agent_description: Some(description.encode_to_vec().into()),
            health: Some(health.encode_to_vec().into()),
            remote_config_status: Some(
                opamp::RemoteConfigStatus {
                    last_remote_config_hash: Bytes::from_static(&[1, 2]),
                    status: 1,
                    error_message: "e".to_owned(),
                }
                .encode_to_vec()
                .into(),
            ),
            ..configured("a: {b: [1, 2]}")
        }
        .encode_to_vec()
    }

    fn attributes_of(names: &[&str]) -> Vec<KeyValue> {
        let attribute = |name: &&str| KeyValue {
            key: (*name).to_owned(),
            value: Some(AnyValue {
                value: Some(opamp::Value::Text("x".to_owned())),
            }),
        };
        names.iter().map(attribute).collect()
    }

    proptest! {
        #[test]
        fn opa_11_no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Said::read(bytes.into());
        }

        /// Cut, overwritten, or with a length that promises more than there is.
        #[test]
        fn opa_11_no_damaged_message_panics(
            cut in any::<prop::sample::Index>(),
            damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        ) {
            let mut bytes = whole();
            for (place, byte) in damage {
                let place = place.index(bytes.len());
                bytes[place] = byte;
            }
            bytes.truncate(cut.index(bytes.len() + 1));
            let _ = Said::read(bytes.into());
        }

        /// A length of gigabytes is refused before anything is taken for it.
        #[test]
        fn opa_11_a_huge_length_is_malformed(field in prop::sample::select(vec![1u8, 3, 5, 6, 7]), tail in 0usize..50) {
            let mut bytes = vec![field << 3 | 2, 0xff, 0xff, 0xff, 0xff, 0x07];
            bytes.resize(bytes.len() + tail, 0);
            prop_assert!(Said::read(bytes.into()).is_err());
        }
    }
}

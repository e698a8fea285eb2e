//! Reads the one entry of a configuration map that counts, the one without a name. The others are dropped one by one, so
//! that a map of a million names takes no memory.

use bytes::{Buf, BufMut, Bytes};
use prost::{
    DecodeError, Message,
    encoding::{DecodeContext, WireType, message, skip_field},
};

use crate::message::{AgentConfigFile, ConfigEntry};

/// An [`crate::EffectiveConfig`] of which only the entry `""` is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigText {
    map: Option<NamelessEntry>,
}

impl ConfigText {
    /// The text of the entry, if there is one.
    #[must_use]
    pub fn into_body(self) -> Option<Bytes> {
        self.map?.file.map(|file| file.body)
    }
}

impl Message for ConfigText {
    fn encode_raw(&self, buffer: &mut impl BufMut) {
        if let Some(map) = &self.map {
            message::encode(1, map, buffer);
        }
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buffer: &mut impl Buf,
        context: DecodeContext,
    ) -> Result<(), DecodeError> {
        match tag {
            1 => message::merge(wire_type, self.map.get_or_insert_default(), buffer, context),
            _ => skip_field(wire_type, tag, buffer, context),
        }
    }

    fn encoded_len(&self) -> usize {
        self.map.as_ref().map_or(0, |map| message::encoded_len(1, map))
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}

/// An [`crate::AgentConfigMap`] of which only the entry `""` is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct NamelessEntry {
    file: Option<AgentConfigFile>,
}

impl Message for NamelessEntry {
    fn encode_raw(&self, buffer: &mut impl BufMut) {
        if let Some(file) = &self.file {
            let entry = ConfigEntry {
                key: String::new(),
                value: Some(file.clone()),
            };
            message::encode(1, &entry, buffer);
        }
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buffer: &mut impl Buf,
        context: DecodeContext,
    ) -> Result<(), DecodeError> {
        if tag != 1 {
            return skip_field(wire_type, tag, buffer, context);
        }
        let mut entry = ConfigEntry::default();
        message::merge(wire_type, &mut entry, buffer, context)?;
        if entry.key.is_empty() {
            self.file = Some(entry.value.unwrap_or_default());
        }
        Ok(())
    }

    fn encoded_len(&self) -> usize {
        self.file.as_ref().map_or(0, |file| {
            let entry = ConfigEntry {
                key: String::new(),
                value: Some(file.clone()),
            };
            message::encoded_len(1, &entry)
        })
    }

    fn clear(&mut self) {
        self.file = None;
    }
}

//! The state of a TLS connection apart from its socket: bytes in, plain text and records out.

use bytes::{Buf as _, BytesMut};
use rustls::{
    Error, ProtocolVersion,
    server::{ServerConnectionData, UnbufferedServerConnection},
    unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus, WriteTraffic},
};
use tokio::io::ReadBuf;

use crate::connection_info::TlsFacts;

pub(super) struct Session {
    tls: UnbufferedServerConnection,
    /// Plain text that its reader had no room for.
    plain: BytesMut,
    /// Records to be sent before any other.
    pub(super) outgoing: BytesMut,
    is_ended: bool,
    /// rustls has given up.
    is_broken: bool,
}

/// Why no more of the client's bytes are looked at.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Halt {
    /// The next message is not whole.
    More,
    /// The reader has no room.
    Full,
}

/// Why nothing can be encrypted.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unsent {
    #[error(transparent)]
    Tls(#[from] Error),
    #[error(transparent)]
    Encrypt(#[from] EncryptError),
    #[error("the TLS connection is not open")]
    NotOpen,
}

impl Session {
    pub(super) fn new(tls: UnbufferedServerConnection) -> Self {
        Self {
            tls,
            plain: BytesMut::new(),
            outgoing: BytesMut::new(),
            is_ended: false,
            is_broken: false,
        }
    }

    pub(super) fn is_handshaking(&self) -> bool {
        self.tls.is_handshaking()
    }

    /// The client sends nothing more.
    pub(super) const fn is_ended(&self) -> bool {
        self.is_ended
    }

    pub(super) const fn end(&mut self) {
        self.is_ended = true;
    }

    pub(super) fn facts(&self) -> TlsFacts {
        TlsFacts {
            // A finished handshake has a version; the fallback only names the older one.
            version: self.tls.protocol_version().unwrap_or(ProtocolVersion::TLSv1_2),
            has_client_certificate: self.tls.peer_certificates().is_some(),
            is_http2: self.tls.alpn_protocol() == Some(b"h2"),
        }
    }

    /// Gives plain text that was kept; returns whether there was any.
    pub(super) fn give(&mut self, into: &mut ReadBuf<'_>) -> bool {
        if self.plain.is_empty() {
            return false;
        }
        let bytes = self.plain.len().min(into.remaining());
        into.put_slice(self.plain.get(..bytes).unwrap_or_default());
        self.plain.advance(bytes);
        if self.plain.is_empty() {
            self.plain = BytesMut::new();
        }
        true
    }

    /// Handles the client's bytes; returns how many are done with. Plain text goes into `into`, and the rest of a record
    /// that does not fit is kept.
    pub(super) fn advance(
        &mut self,
        incoming: &mut [u8],
        into: &mut ReadBuf<'_>,
    ) -> (usize, Result<Halt, Error>) {
        let mut used = 0;
        loop {
            let rest = incoming.get_mut(used..).unwrap_or_default();
            let UnbufferedStatus { mut discard, state } = self.tls.process_tls_records(rest);
            let mut has_given = false;
            let handled = match state {
                Ok(ConnectionState::WriteTraffic(_) | ConnectionState::BlockedHandshake) => {
                    Ok(Some(Halt::More))
                }
                Ok(ConnectionState::Closed) => {
                    self.is_ended = true;
                    Ok(Some(Halt::More))
                }
                Ok(state) => handle(state, &mut self.outgoing, &mut self.is_ended, |plain| {
                    let (now, later) = plain.split_at(plain.len().min(into.remaining()));
                    into.put_slice(now);
                    self.plain.extend_from_slice(later);
                    has_given = true;
                })
                .map(|more| {
                    discard += more;
                    (has_given && into.remaining() == 0).then_some(Halt::Full)
                }),
                Err(error) => Err(error),
            };
            used += discard;
            match handled {
                Ok(None) => {}
                Ok(Some(halt)) => return (used, Ok(halt)),
                Err(error) => {
                    self.last_words(incoming.get_mut(used..).unwrap_or_default());
                    return (used, Err(error));
                }
            }
        }
    }

    /// After a fault: the alert that says which. Nothing may come after it.
    fn last_words(&mut self, rest: &mut [u8]) {
        self.is_broken = true;
        // Only as long as there is one: rustls would go on with the bytes that it has given up on.
        while self.tls.wants_write()
            && let Ok(state @ ConnectionState::EncodeTlsData(_)) = self.tls.process_tls_records(rest).state
            && handle(state, &mut self.outgoing, &mut self.is_ended, |_| ()).is_ok()
        {}
    }

    /// Makes records of `plain` in `records`; returns their length. `raw` is what the client has sent meanwhile.
    pub(super) fn encrypt(
        &mut self,
        raw: &mut Vec<u8>,
        plain: &[u8],
        records: &mut [u8],
    ) -> Result<usize, Unsent> {
        self.write(raw, |traffic| traffic.encrypt(plain, records))
    }

    /// Makes the record of the end.
    pub(super) fn close(&mut self, raw: &mut Vec<u8>, records: &mut [u8]) -> Result<usize, Unsent> {
        self.write(raw, |traffic| traffic.queue_close_notify(records))
    }

    /// rustls lets write once it has handled what came in.
    fn write(
        &mut self,
        raw: &mut Vec<u8>,
        mut write: impl FnMut(&mut WriteTraffic<'_, ServerConnectionData>) -> Result<usize, EncryptError>,
    ) -> Result<usize, Unsent> {
        loop {
            if self.is_broken {
                return Err(Unsent::NotOpen);
            }
            let UnbufferedStatus { mut discard, state } = self.tls.process_tls_records(raw);
            let state = state.inspect_err(|_| self.is_broken = true)?;
            let written = match state {
                ConnectionState::WriteTraffic(mut traffic) => Some(write(&mut traffic)?),
                ConnectionState::BlockedHandshake | ConnectionState::Closed => return Err(Unsent::NotOpen),
                state => {
                    discard += handle(state, &mut self.outgoing, &mut self.is_ended, |plain| {
                        self.plain.extend_from_slice(plain);
                    })?;
                    None
                }
            };
            drop(raw.drain(..discard));
            if let Some(written) = written {
                return Ok(written);
            }
        }
    }
}

/// Does what a state asks for; returns how many more bytes are done with.
fn handle(
    state: ConnectionState<'_, '_, ServerConnectionData>,
    outgoing: &mut BytesMut,
    is_ended: &mut bool,
    mut give: impl FnMut(&[u8]),
) -> Result<usize, Error> {
    let mut discard = 0;
    match state {
        ConnectionState::ReadTraffic(mut traffic) => {
            while let Some(record) = traffic.next_record() {
                let record = record?;
                discard += record.discard;
                give(record.payload);
            }
        }
        ConnectionState::EncodeTlsData(mut data) => {
            let before = outgoing.len();
            if let Err(EncodeError::InsufficientSize(needs)) = data.encode(&mut []) {
                outgoing.resize(before + needs.required_size, 0);
            }
            data.encode(outgoing.get_mut(before..).unwrap_or_default())
                .map_err(|error| Error::General(error.to_string()))?;
        }
        // They stand in `outgoing`, which goes before all that comes later.
        ConnectionState::TransmitTlsData(data) => data.done(),
        ConnectionState::PeerClosed => *is_ended = true,
        // No configuration of ours takes early data, so there is none to be read.
        ConnectionState::ReadEarlyData(_) => {
            return Err(Error::General("early data that nobody asked for".to_owned()));
        }
        // Those that wait for something are the caller's.
        other => return Err(Error::General(format!("rustls is {other:?}"))),
    }
    Ok(discard)
}

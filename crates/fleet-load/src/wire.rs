//! What an Elastic Agent sends, byte by byte (agents.md 8.2, 8.3, 8.5, 8.7 and 10.1): the one place that knows.
//!
//! In: who the agent is and what it knows. Out: whole requests, or the headers and bodies of them. Opens no
//! connection and keeps no state; `test-support` takes headers and metadata from here too.

use std::io::Write as _;

use flate2::{Compress, Compression, Crc, FlushCompress};
use serde::Serialize;
use serde_json::value::RawValue;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// The release the agents claim to be.
pub const VERSION: &str = "9.6.0";

/// The headers of every call of an agent, in the order of agents.md 8.2; `Host` and `Content-Length` are not here.
pub fn headers(key: &str, version: &str, request_id: &str) -> [(&'static str, String); 8] {
    [
        ("Content-Type", "application/json".into()),
        ("Accept", "application/json".into()),
        ("kbn-xsrf", "1".into()),
        ("X-Request-Id", request_id.into()),
        ("User-Agent", format!("Elastic Agent v{version}")),
        ("Elastic-Api-Version", "2023-06-01".into()),
        ("Authorization", format!("ApiKey {key}")),
        ("Accept-Encoding", "gzip".into()),
    ]
}

/// `local_metadata` with the members, order and size of a real agent's. An agent that enrols has no id yet.
pub fn local_metadata(id: &str, host: &str) -> String {
    format!(
        concat!(
            r#"{{"elastic":{{"agent":{{"id":{id},"version":"9.6.0","snapshot":false,"#,
            r#""build.original":"9.6.0 (build: 0123abc4567890 at 2026-08-21 19:06:21 +0000 UTC)","#,
            r#""upgradeable":false,"log_level":"info","complete":false,"unprivileged":false,"fips":false}}}},"#,
            r#""host":{{"architecture":"x86_64","hostname":{host},"name":{host},"#,
            r#""id":"b62e0f4c9d8a4f0e8c1d2e3f4a5b6c7d","ip":["127.0.0.1/8","::1/128","172.17.0.2/16"],"#,
            r#""mac":["02:42:ac:11:00:02"],"memory":16777216000}},"#,
            r#""os":{{"family":"debian","kernel":"6.1.0-amd64","platform":"debian","version":"12 (bookworm)","#,
            r#""name":"Debian GNU/Linux","full":"Debian GNU/Linux bookworm(12 (bookworm))"}}}}"#
        ),
        id = text(id),
        host = text(host),
    )
}

/// The body of an enrolment.
pub fn enroll_body(host: &str) -> Vec<u8> {
    format!(
        r#"{{"type":"PERMANENT","id":"","replace_token":"","metadata":{{"local":{},"user_provided":{{}},"tags":null}}}}"#,
        local_metadata("", host)
    )
    .into_bytes()
}

/// What a check-in says beside the agent's metadata.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Known<'a> {
    /// The last token, empty if none came yet.
    pub(crate) ack_token: &'a str,
    /// The accepted policy and its revision.
    pub(crate) policy: Option<(&'a str, i64)>,
}

/// The body of a check-in, not yet compressed.
pub(crate) fn checkin_body(id: &str, host: &str, known: Known<'_>) -> Vec<u8> {
    let mut body = String::with_capacity(1024);
    body.push_str(r#"{"status":"online","#);
    if !known.ack_token.is_empty() {
        body.push_str(&format!(r#""ack_token":{},"#, text(known.ack_token)));
    }
    body.push_str(r#""message":"Running","local_metadata":"#);
    body.push_str(&local_metadata(id, host));
    body.push_str(r#","components":[]"#);
    if let Some((policy, revision)) = known.policy {
        body.push_str(&format!(r#","agent_policy_id":{}"#, text(policy)));
        // Revision 0 is none.
        if revision != 0 {
            body.push_str(&format!(r#","policy_revision_idx":{revision}"#));
        }
    }
    body.push_str(r#","upgrade":{}}"#);
    body.into_bytes()
}

/// One acknowledged action.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Acknowledged<'a> {
    pub(crate) id: &'a str,
    pub(crate) kind: &'a str,
    /// Of INPUT_ACTION: its `input_type` and `data`, which go back.
    pub(crate) input: Option<(&'a str, Option<&'a RawValue>)>,
    /// Of REQUEST_DIAGNOSTICS: the upload it led to.
    pub(crate) upload: Option<&'a str>,
}

/// The body of an acknowledgement.
pub(crate) fn acks_body(agent: &str, actions: &[Acknowledged<'_>], now: OffsetDateTime) -> Vec<u8> {
    let now = now.format(&Rfc3339).unwrap_or_default();
    let events: Vec<Event<'_>> = actions
        .iter()
        .map(|action| Event::of(agent, action, &now))
        .collect();
    json(&Events { events })
}

#[derive(Serialize)]
struct Events<'a> {
    events: Vec<Event<'a>>,
}

#[derive(Serialize)]
struct Event<'a> {
    r#type: &'static str,
    subtype: &'static str,
    action_id: &'a str,
    agent_id: &'a str,
    timestamp: &'a str,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<UploadId<'a>>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    input: Option<Input<'a>>,
}

#[derive(Serialize)]
struct UploadId<'a> {
    upload_id: &'a str,
}

#[derive(Serialize)]
struct Input<'a> {
    action_input_type: &'a str,
    action_data: Option<&'a RawValue>,
    action_response: Option<()>,
    started_at: &'a str,
    completed_at: &'a str,
}

impl<'a> Event<'a> {
    fn of(agent: &'a str, action: &Acknowledged<'a>, now: &'a str) -> Self {
        Self {
            r#type: "ACTION_RESULT",
            subtype: "ACKNOWLEDGED",
            action_id: action.id,
            agent_id: agent,
            timestamp: now,
            message: format!("Action {:?} of type {:?} acknowledged.", action.id, action.kind),
            data: action.upload.map(|upload_id| UploadId { upload_id }),
            input: action.input.map(|(kind, data)| Input {
                action_input_type: kind,
                action_data: data,
                action_response: None,
                started_at: now,
                completed_at: now,
            }),
        }
    }
}

/// The body that announces a diagnostics file.
pub(crate) fn upload_body(agent: &str, action: &str, size: u64) -> Vec<u8> {
    format!(
        concat!(
            r#"{{"action_id":{action},"agent_id":{agent},"src":"agent","file":{{"size":{size},"#,
            r#""name":"elastic-agent-diagnostics-2026-08-21T19-06-21Z-00.zip","ext":"zip","#,
            r#""mime_type":"application/zip","hash":{{"sha256":"","md5":""}}}},"contents":null}}"#
        ),
        action = text(action),
        agent = text(agent),
        size = size
    )
    .into_bytes()
}

/// A whole request whose body is built and whose id can be replaced: agents give each call a new one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Request {
    bytes: Vec<u8>,
    id_at: usize,
}

impl Request {
    /// `extra` are header lines after the common ones.
    pub(crate) fn new(
        method: &str,
        target: &str,
        authority: &str,
        key: &str,
        extra: &[(&str, &str)],
        body: &[u8],
    ) -> Self {
        let mut bytes = Vec::with_capacity(512 + body.len());
        bytes.extend_from_slice(format!("{method} {target} HTTP/1.1\r\nHost: {authority}\r\n").as_bytes());
        let mut id_at = 0;
        let mut line = |name: &str, value: &str| {
            bytes.extend_from_slice(name.as_bytes());
            bytes.extend_from_slice(b": ");
            if name == "X-Request-Id" {
                id_at = bytes.len();
            }
            bytes.extend_from_slice(value.as_bytes());
            bytes.extend_from_slice(b"\r\n");
        };
        for (name, value) in headers(key, VERSION, &ulid()) {
            line(name, &value);
        }
        for (name, value) in extra {
            line(name, value);
        }
        line("Content-Length", &body.len().to_string());
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(body);
        Self { bytes, id_at }
    }

    /// The bytes that go over the wire.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The same request as another call.
    pub(crate) fn renew(&mut self) {
        let id = ulid();
        self.bytes[self.id_at..self.id_at + id.len()].copy_from_slice(id.as_bytes());
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

/// Compresses bodies one after the other with the same tables: a new compressor for each costs more than the body.
pub(crate) struct Gzip {
    compress: Compress,
}

impl Gzip {
    pub(crate) fn new() -> Self {
        Self {
            compress: Compress::new(Compression::fast(), false),
        }
    }

    pub(crate) fn pack(&mut self, plain: &[u8]) -> Vec<u8> {
        let mut packed = Vec::with_capacity(plain.len() + 64);
        packed.extend_from_slice(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255]);
        self.compress.reset();
        // Room for everything was reserved; a status other than the end would only mean more room.
        while !matches!(
            self.compress.compress_vec(
                &plain[usize::try_from(self.compress.total_in()).unwrap_or(plain.len())..],
                &mut packed,
                FlushCompress::Finish
            ),
            Ok(flate2::Status::StreamEnd) | Err(_)
        ) {
            packed.reserve(plain.len());
        }
        let mut crc = Crc::new();
        crc.update(plain);
        packed.extend_from_slice(&crc.sum().to_le_bytes());
        packed.extend_from_slice(&crc.amount().to_le_bytes());
        packed
    }
}

/// A new identifier of a call: 48 bits of time, 80 of chance, in Crockford's base 32.
pub fn ulid() -> String {
    const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    let now = OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000;
    let time = u128::try_from(now).unwrap_or_default() & 0xffff_ffff_ffff;
    let value = (time << 80) | (fastrand::u128(..) >> 48);
    (0..26)
        .rev()
        .map(|place| char::from(DIGITS[((value >> (place * 5)) & 31) as usize]))
        .collect()
}

fn text(value: &str) -> String {
    serde_json::Value::from(value).to_string()
}

fn json(value: &impl Serialize) -> Vec<u8> {
    let mut bytes = Vec::new();
    // Strings and lists into memory: nothing of it can fail.
    if serde_json::to_writer(&mut bytes, value).is_err() {
        bytes.clear();
    }
    let _ = bytes.flush();
    bytes
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use time::macros::datetime;

    use super::*;

    /// `{…}` stands for the parts that differ from call to call.
    const ENROLMENT: &str = concat!(
        "POST /api/fleet/agents/enroll? HTTP/1.1\r\n",
        "Host: fleet.example:8220\r\n",
        "Content-Type: application/json\r\n",
        "Accept: application/json\r\n",
        "kbn-xsrf: 1\r\n",
        "X-Request-Id: {ulid}\r\n",
        "User-Agent: Elastic Agent v9.6.0\r\n",
        "Elastic-Api-Version: 2023-06-01\r\n",
        "Authorization: ApiKey dG9rZW4=\r\n",
        "Accept-Encoding: gzip\r\n",
        "Content-Length: 713\r\n",
        "\r\n",
        r#"{"type":"PERMANENT","id":"","replace_token":"","metadata":{"#,
        r#""local":{"elastic":{"agent":{"id":"","version":"9.6.0","snapshot":false,"#,
        r#""build.original":"9.6.0 (build: 0123abc4567890 at 2026-08-21 19:06:21 +0000 UTC)","#,
        r#""upgradeable":false,"log_level":"info","complete":false,"unprivileged":false,"fips":false}},"#,
        r#""host":{"architecture":"x86_64","hostname":"node-1","name":"node-1","#,
        r#""id":"b62e0f4c9d8a4f0e8c1d2e3f4a5b6c7d","ip":["127.0.0.1/8","::1/128","172.17.0.2/16"],"#,
        r#""mac":["02:42:ac:11:00:02"],"memory":16777216000},"#,
        r#""os":{"family":"debian","kernel":"6.1.0-amd64","platform":"debian","version":"12 (bookworm)","#,
        r#""name":"Debian GNU/Linux","full":"Debian GNU/Linux bookworm(12 (bookworm))"}},"#,
        r#""user_provided":{},"tags":null}}"#
    );

    fn shown(request: &Request) -> String {
        let id_end = request.id_at + 26;
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let id = text(&request.bytes[request.id_at..id_end]);
        assert!(
            id.bytes()
                .all(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase())
                && id.starts_with('0'),
            "{id} is no ULID"
        );
        text(&request.bytes).replace(&id, "{ulid}")
    }

    #[test]
    fn an_enrolment_has_the_very_bytes_of_an_agent() {
        let target = "/api/fleet/agents/enroll?";
        let body = enroll_body("node-1");
        let mut request = Request::new("POST", target, "fleet.example:8220", "dG9rZW4=", &[], &body);
        assert_eq!(shown(&request), ENROLMENT);
        let before = request.bytes().to_vec();
        request.renew();
        assert_ne!(request.bytes(), before, "each call has its own id");
        assert_eq!(shown(&request), ENROLMENT);
    }

    #[test]
    fn a_check_in_is_gzip_and_says_what_the_agent_knows() {
        let packed = Gzip::new().pack(&checkin_body("a1", "node-1", Known::default()));
        let extra = [("Content-Encoding", "gzip")];
        let request = Request::new(
            "POST",
            "/api/fleet/agents/a1/checkin?",
            "h:1",
            "k",
            &extra,
            &packed,
        );
        let bytes = request.bytes();
        let head = bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
        let text = String::from_utf8(bytes[..head].to_vec()).unwrap();
        let lines = format!(
            "Accept-Encoding: gzip\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n",
            packed.len()
        );
        assert!(
            text.starts_with("POST /api/fleet/agents/a1/checkin? HTTP/1.1\r\n") && text.ends_with(&lines),
            "{text}"
        );
        let mut plain = String::new();
        flate2::read::GzDecoder::new(&bytes[head..])
            .read_to_string(&mut plain)
            .unwrap();
        let metadata = local_metadata("a1", "node-1");
        assert_eq!(
            plain,
            format!(
                r#"{{"status":"online","message":"Running","local_metadata":{metadata},"components":[],"upgrade":{{}}}}"#
            )
        );

        let known = Known {
            ack_token: "t\"",
            policy: Some(("p", 7)),
        };
        let later = String::from_utf8(checkin_body("a1", "node-1", known)).unwrap();
        assert!(
            later.starts_with(r#"{"status":"online","ack_token":"t\"","message":"Running","#),
            "{later}"
        );
        assert!(
            later.ends_with(r#""components":[],"agent_policy_id":"p","policy_revision_idx":7,"upgrade":{}}"#),
            "{later}"
        );
    }

    #[test]
    fn a_compressor_packs_one_body_after_the_other() {
        let mut gzip = Gzip::new();
        for plain in [&b""[..], b"short", &[7; 100_000], &b"0123456789".repeat(999)] {
            let mut unpacked = Vec::new();
            let packed = gzip.pack(plain);
            flate2::read::GzDecoder::new(packed.as_slice())
                .read_to_end(&mut unpacked)
                .unwrap();
            assert!(unpacked == plain, "{} bytes", plain.len());
        }
    }

    #[test]
    fn acknowledgements_are_events() {
        let data = RawValue::from_string(r#"{"q":1.0}"#.into()).unwrap();
        let plain = Acknowledged {
            id: "policy:p:3",
            kind: "POLICY_CHANGE",
            input: None,
            upload: None,
        };
        let input = Acknowledged {
            id: "i",
            kind: "INPUT_ACTION",
            input: Some(("osquery", Some(&data))),
            upload: None,
        };
        let upload = Acknowledged {
            upload: Some("u"),
            ..plain
        };
        let body = acks_body(
            "a1",
            &[plain, input, upload],
            datetime!(2026-11-28 12:00:00.5 UTC),
        );
        let at = "2026-11-28T12:00:00.5Z";
        let event = |id: &str, kind: &str, more: &str| {
            format!(
                r#"{{"type":"ACTION_RESULT","subtype":"ACKNOWLEDGED","action_id":"{id}","agent_id":"a1","timestamp":"{at}","message":"Action \"{id}\" of type \"{kind}\" acknowledged."{more}}}"#
            )
        };
        let more = format!(
            r#","action_input_type":"osquery","action_data":{{"q":1.0}},"action_response":null,"started_at":"{at}","completed_at":"{at}""#
        );
        let wanted = [
            event("policy:p:3", "POLICY_CHANGE", ""),
            event("i", "INPUT_ACTION", &more),
            event("policy:p:3", "POLICY_CHANGE", r#","data":{"upload_id":"u"}"#),
        ];
        assert_eq!(
            String::from_utf8(body).unwrap(),
            format!(r#"{{"events":[{}]}}"#, wanted.join(","))
        );
    }
}

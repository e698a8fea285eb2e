//! What an agent reads in an answer (agents.md 8.4, 8.7), with its strictness: a wrong JSON type is no answer.
//!
//! In: responses. Out: the few members that matter. Thousands of agents get the same policy at one moment, so the
//! last body is remembered, and an equal one is not read again.

use std::{cell::RefCell, io::Read as _, rc::Rc};

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use crate::connection::{CallError, Response};

/// An answered check-in.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct CheckinAnswer {
    #[serde(default)]
    pub(crate) ack_token: Option<String>,
    #[serde(default)]
    pub(crate) actions: Option<Vec<Action>>,
}

/// A delivered action.
#[derive(Debug, Deserialize)]
pub(crate) struct Action {
    #[serde(default)]
    pub(crate) id: Option<String>,
    #[serde(default)]
    pub(crate) r#type: Option<String>,
    #[serde(default)]
    pub(crate) input_type: Option<String>,
    #[serde(default)]
    pub(crate) data: Option<Box<RawValue>>,
}

impl Action {
    pub(crate) fn id(&self) -> &str {
        self.id.as_deref().unwrap_or_default()
    }

    pub(crate) fn kind(&self) -> &str {
        self.r#type.as_deref().unwrap_or_default()
    }

    /// Id and revision of the policy that a POLICY_CHANGE brings.
    pub(crate) fn policy(&self) -> Result<Option<(String, i64)>, CallError> {
        #[derive(Deserialize)]
        struct Data {
            #[serde(default)]
            policy: Option<Policy>,
        }
        #[derive(Deserialize)]
        struct Policy {
            id: String,
            revision: i64,
        }
        if self.kind() != "POLICY_CHANGE" {
            return Ok(None);
        }
        let Some(data) = &self.data else { return Ok(None) };
        let data: Data = read(data.get().as_bytes())?;
        Ok(data.policy.map(|policy| (policy.id, policy.revision)))
    }
}

/// What an enrolment gave.
#[derive(Clone, Debug, Deserialize, serde::Serialize)]
pub(crate) struct Credentials {
    pub(crate) id: String,
    pub(crate) access_api_key: String,
}

#[derive(Deserialize)]
struct EnrollAnswer {
    item: Credentials,
}

#[derive(Deserialize)]
struct AcksAnswer {
    action: String,
    #[serde(default)]
    errors: Option<bool>,
}

/// A begun upload.
#[derive(Debug, Deserialize)]
pub(crate) struct UploadAnswer {
    pub(crate) upload_id: String,
    pub(crate) chunk_size: u64,
}

/// Reads the answer to a check-in.
pub(crate) fn checkin(response: Response) -> Result<Rc<CheckinAnswer>, CallError> {
    let response = expect_ok(response)?;
    LAST.with_borrow_mut(|last| {
        if let Some((bytes, answer)) = last
            && *bytes == response.body
        {
            return Ok(Rc::clone(answer));
        }
        let answer: Rc<CheckinAnswer> = Rc::new(read(&plain(&response)?)?);
        *last = Some((response.body, Rc::clone(&answer)));
        Ok(answer)
    })
}

/// Reads the answer to an enrolment.
pub(crate) fn enrolment(response: Response) -> Result<Credentials, CallError> {
    let response = expect_ok(response)?;
    let answer: EnrollAnswer = read(&plain(&response)?)?;
    if answer.item.id.is_empty() || answer.item.access_api_key.is_empty() {
        return Err(CallError::Unreadable("an enrolment without id or key".into()));
    }
    Ok(answer.item)
}

/// Reads the answer to acknowledgements: whether every one was taken.
pub(crate) fn acks(response: &Response) -> Result<bool, CallError> {
    if response.status == 401 {
        return Err(refused(response));
    }
    match read::<AcksAnswer>(&plain(response)?) {
        Ok(answer) if answer.action == "acks" => Ok(!answer.errors.unwrap_or_default()),
        // An agent looks at the body alone, but a refusal is better named by its status.
        _ => Err(refused(response)),
    }
}

/// Reads the answer to the beginning of an upload.
pub(crate) fn upload(response: Response) -> Result<UploadAnswer, CallError> {
    let response = expect_ok(response)?;
    let answer: UploadAnswer = read(&plain(&response)?)?;
    if answer.chunk_size == 0 {
        return Err(CallError::Unreadable("chunks of no bytes".into()));
    }
    Ok(answer)
}

/// Gives a response with status 200, and everything else as an error.
pub(crate) fn expect_ok(response: Response) -> Result<Response, CallError> {
    match response.status {
        200 => Ok(response),
        _ => Err(refused(&response)),
    }
}

fn refused(response: &Response) -> CallError {
    let body = plain(response).unwrap_or_default();
    CallError::Refused {
        status: response.status,
        body: String::from_utf8_lossy(&body).chars().take(300).collect(),
    }
}

fn plain(response: &Response) -> Result<Vec<u8>, CallError> {
    if !response.is_gzip {
        return Ok(response.body.clone());
    }
    let mut plain = Vec::with_capacity(response.body.len() * 4);
    flate2::read::MultiGzDecoder::new(response.body.as_slice())
        .read_to_end(&mut plain)
        .map_err(|error| CallError::Unreadable(error.to_string()))?;
    Ok(plain)
}

fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CallError> {
    serde_json::from_slice(bytes).map_err(|error| CallError::Unreadable(error.to_string()))
}

thread_local! {
    static LAST: RefCell<Option<(Vec<u8>, Rc<CheckinAnswer>)>> = const { RefCell::new(None) };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(status: u16, body: &str) -> Response {
        Response {
            status,
            is_gzip: false,
            body: body.into(),
        }
    }

    #[test]
    fn a_check_in_is_read_as_an_agent_reads_it() {
        let body = r#"{"action":"checkin","ack_token":"t","actions":[
            {"id":"policy:p:3","type":"POLICY_CHANGE","data":{"policy":{"id":"p","revision":3,"inputs":[]}}},
            {"id":"a","type":"INPUT_ACTION","input_type":"osquery","data":"text"}]}"#;
        let answer = checkin(response(200, body)).unwrap();
        let again = checkin(response(200, body)).unwrap();
        assert!(Rc::ptr_eq(&answer, &again), "an equal body is not read twice");
        let actions = answer.actions.as_ref().unwrap();
        assert_eq!(actions[0].policy().unwrap(), Some(("p".into(), 3)));
        assert_eq!(actions[1].policy().unwrap(), None);
        for other in [r#"{"actions":null}"#, r#"{"ack_token":null}"#] {
            assert!(checkin(response(200, other)).unwrap().actions.is_none());
        }
        let wrong = checkin(response(200, r#"{"actions":[{"id":5}]}"#)).unwrap_err();
        assert_eq!(wrong.kind(), "unreadable answer");
        assert_eq!(checkin(response(429, "{}")).unwrap_err().kind(), "status 429");
    }

    #[test]
    fn acknowledgements_are_judged_by_their_body() {
        assert!(acks(&response(500, r#"{"action":"acks","items":[]}"#)).unwrap());
        assert!(!acks(&response(200, r#"{"action":"acks","errors":true}"#)).unwrap());
        assert_eq!(acks(&response(200, "{}")).unwrap_err().kind(), "status 200");
        assert_eq!(
            acks(&response(401, r#"{"action":"acks"}"#)).unwrap_err().kind(),
            "status 401"
        );
    }

    #[test]
    fn bodies_in_gzip_are_inflated() {
        let packed = crate::wire::Gzip::new().pack(br#"{"item":{"id":"a","access_api_key":"k"}}"#);
        let response = Response {
            status: 200,
            is_gzip: true,
            body: packed,
        };
        assert_eq!(enrolment(response).unwrap().id, "a");
    }
}

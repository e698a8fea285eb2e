//! What every answer and message must be, whatever came in.

use serde_json::Value;

use crate::house::Answer;

/// Messages go into a log of lines.
pub(crate) fn one_line(message: &str) {
    assert!(!message.contains('\n'), "{message:?}");
}

/// Nor do they move the cursor of a terminal.
pub(crate) fn no_control(message: &str) {
    assert!(!message.chars().any(char::is_control), "{message:?}");
}

/// The same for answers that are no JSON unless they refuse.
pub(crate) fn check_bytes(answer: &Answer, allowed: &[u16]) {
    match answer.status {
        ..400 => assert!(allowed.contains(&answer.status), "{}", answer.status),
        _ => check(answer, allowed),
    }
}

/// An answer is one of the statuses that the client is told of, its body the JSON that belongs to it.
pub(crate) fn check(answer: &Answer, allowed: &[u16]) {
    let text = String::from_utf8_lossy(&answer.body);
    assert!(allowed.contains(&answer.status), "{}: {text}", answer.status);
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_else(|error| panic!("{error}: {text}"));
    if answer.status >= 400 && body.get("items").is_none() {
        assert_eq!(body["statusCode"], answer.status, "{text}");
        assert!(body["error"].is_string(), "{text}");
    }
}

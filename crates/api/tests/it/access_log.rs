//! What the log tells about requests (agents.md 9.2), and what it never tells.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{Mutex, OnceLock, PoisonError},
};

use actix_web::{http::Method, test::TestRequest};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use log::{
    Level, LevelFilter, Log, Metadata, Record,
    kv::{self, Key, Value, VisitSource},
};
use serde_json::json;

use crate::house::{Enrolled, House, checkin_request, enroll_request, stranger};

#[derive(Clone, Debug)]
struct Line {
    level: Level,
    message: String,
    members: BTreeMap<String, String>,
}

/// Lines of all tests of this process; each test looks for its own request ids.
struct Lines(Mutex<Vec<Line>>);

static LINES: OnceLock<Lines> = OnceLock::new();

fn lines() -> &'static Lines {
    let lines = LINES.get_or_init(|| Lines(Mutex::default()));
    if log::set_logger(lines).is_ok() {
        log::set_max_level(LevelFilter::Debug);
    }
    lines
}

impl Lines {
    fn all(&self) -> Vec<Line> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn of(&self, request: &str) -> Vec<Line> {
        let is_of = |line: &Line| {
            line.members
                .get("http.request.id")
                .is_some_and(|id| id == request)
        };
        self.all().into_iter().filter(is_of).collect()
    }
}

impl Log for Lines {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        struct Members(BTreeMap<String, String>);
        impl<'kvs> VisitSource<'kvs> for Members {
            fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), kv::Error> {
                self.0.insert(key.to_string(), value.to_string());
                Ok(())
            }
        }
        let mut members = Members(BTreeMap::new());
        record.key_values().visit(&mut members).unwrap();
        let line = Line {
            level: record.level(),
            message: record.args().to_string(),
            members: members.0,
        };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }

    fn flush(&self) {}
}

/// The secret half of a token.
fn secret(token: &str) -> String {
    let pair = String::from_utf8(STANDARD.decode(token).unwrap()).unwrap();
    pair.split_once(':').unwrap().1.to_owned()
}

#[actix_rt::test]
async fn access_and_error_lines_have_their_members_and_no_secret() {
    let lines = lines();
    let house = House::new().await;
    let face = house.agents().await;
    let body = json!({"type": "PERMANENT", "replace_token": "replace-me-secretly"});
    let enroll = enroll_request(&house.token, &body)
        .insert_header(("x-request-id", "log-enroll"))
        .insert_header(("content-length", body.to_string().len()));
    let item = face.send(enroll).await.ok()["item"].take();
    let agent = Enrolled {
        id: item["id"].as_str().unwrap().to_owned(),
        key: item["access_api_key"].as_str().unwrap().to_owned(),
    };
    let unknown = Enrolled {
        id: agent.id.clone(),
        key: stranger(),
    };
    let refused = checkin_request(&unknown, &json!({"status": "online"}))
        .insert_header(("x-request-id", "log-refused"));
    assert_eq!(face.send(refused).await.status, 401);

    let started = lines.of("log-enroll");
    let access = started
        .iter()
        .find(|line| line.message == "HTTP Request")
        .unwrap();
    assert_eq!(access.level, Level::Debug, "a success is logged at debug");
    for (name, value) in [
        ("http.request.method", "POST"),
        ("url.full", "/api/fleet/agents/enroll?"),
        ("http.response.status_code", "200"),
        (
            "http.request.body.bytes",
            body.to_string().len().to_string().as_str(),
        ),
        ("server.address", "localhost:8220"),
        ("fleet.apikey.id", secret_free_id(&house.token).as_str()),
    ] {
        assert_eq!(
            access.members.get(name).map(String::as_str),
            Some(value),
            "{name}"
        );
    }
    for name in [
        "client.address",
        "tls.established",
        "http.version",
        "event.duration",
        "http.response.body.bytes",
    ] {
        assert!(access.members.contains_key(name), "{name}");
    }
    assert!(started.iter().any(|line| line.message == "HTTP start"));

    let refused = lines.of("log-refused");
    let access = refused
        .iter()
        .find(|line| line.message == "HTTP Request")
        .unwrap();
    assert_eq!(
        (access.level, access.members["http.response.status_code"].as_str()),
        (Level::Info, "401")
    );
    let error = refused
        .iter()
        .find(|line| line.message == "HTTP request error")
        .unwrap();
    assert_eq!(
        (error.level, error.members["error.type"].as_str()),
        (Level::Info, "ErrUnauthorized")
    );

    let mut text = String::new();
    for line in lines.all() {
        let _ = writeln!(text, "{} {:?}", line.message, line.members);
    }
    let secrets = [&house.token, &agent.key, &unknown.key, &house.admin_key];
    for token in secrets {
        assert!(
            !text.contains(token.as_str()) && !text.contains(&secret(token)),
            "a key is in the log"
        );
    }
    assert!(!text.contains("replace-me-secretly"));
}

/// The public half of a token.
fn secret_free_id(token: &str) -> String {
    let pair = String::from_utf8(STANDARD.decode(token).unwrap()).unwrap();
    pair.split_once(':').unwrap().0.to_owned()
}

#[actix_rt::test]
async fn strangers_fill_no_more_of_the_log_than_their_budget() {
    let lines = lines();
    let house = House::new().await;
    let face = house.agents().await;
    let mark = "a19-stranger";
    for n in 0..700 {
        let path = format!("/nope/{}", "x".repeat(8000));
        let id = format!("{mark}-{n}-{}", "y".repeat(4000));
        let method = Method::from_bytes("Z".repeat(300).as_bytes()).unwrap();
        let request = TestRequest::with_uri(&path)
            .method(method)
            .insert_header(("x-request-id", id));
        assert_eq!(face.send(request).await.status, 404);
    }
    let told: Vec<_> = lines
        .all()
        .into_iter()
        .filter(|line| {
            line.members
                .get("http.request.id")
                .is_some_and(|id| id.starts_with(mark))
        })
        .collect();
    let longest = told.iter().map(|line| format!("{line:?}").len()).max().unwrap();
    assert!(longest < 2048, "{longest}");
    let told = told.iter().filter(|line| line.level <= Level::Info).count();
    assert!((500..=510).contains(&told), "{told}");
    let scrape = house.scrape();
    let counted = scrape
        .lines()
        .find_map(|line| line.strip_prefix("fleet_server_requests_not_logged_total "))
        .unwrap();
    assert_eq!(counted.parse::<usize>().unwrap(), 700 - told);
    let notices = lines
        .all()
        .into_iter()
        .filter(|line| line.message.contains("are counted (requests_not_logged)"));
    assert!(notices.count() >= 1);
}

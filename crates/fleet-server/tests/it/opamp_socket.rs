//! OpAMP over WebSocket, over TLS (agents.md 13.6): tungstenite's client for what a client does, and frames by hand
//! for what none should.

use futures_util::{SinkExt as _, StreamExt as _};
use opamp::{
    AgentToServer, ComponentHealth, Message as _, RemoteConfigState, RemoteConfigStatus, ServerToAgent,
    capability,
};
use serde_json::{Value, json};
use test_support::{Connection, HttpClient, LIMIT, Request};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{self, Message, client::IntoClientRequest as _, protocol::frame::coding::CloseCode},
};
use uuid::Uuid;

use crate::{
    agents::Scene,
    opamp::{say, shown_when},
    outside::until_metric,
};

trait Stream: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Stream for T {}

/// A client's end.
struct Client(WebSocketStream<Box<dyn Stream>>);

impl Client {
    async fn try_open(http: &HttpClient, token: &str) -> Result<Self, tungstenite::Error> {
        let mut request = "wss://localhost/v1/opamp".into_client_request()?;
        let key = format!("ApiKey {token}").parse().unwrap();
        request.headers_mut().insert("authorization", key);
        let stream: Box<dyn Stream> = Box::new(http.connect().await.unwrap().into_stream());
        let (socket, response) = client_async(request, stream).await?;
        assert_eq!(response.status(), 101);
        Ok(Self(socket))
    }

    async fn open(http: &HttpClient, token: &str) -> Self {
        Self::try_open(http, token).await.unwrap()
    }

    async fn say(&mut self, message: &AgentToServer) {
        self.0
            .send(Message::Binary(behind_zero(message).into()))
            .await
            .unwrap();
    }

    async fn next(&mut self) -> Message {
        timeout(LIMIT, self.0.next()).await.unwrap().unwrap().unwrap()
    }

    async fn hear(&mut self) -> ServerToAgent {
        let message = self.next().await;
        let Message::Binary(bytes) = message else {
            panic!("{message:?}")
        };
        assert_eq!(bytes.first(), Some(&0));
        ServerToAgent::decode(&bytes[1..]).unwrap()
    }

    async fn ask(&mut self, message: &AgentToServer) -> ServerToAgent {
        self.say(message).await;
        self.hear().await
    }

    /// How the server closes; the connection ends with it.
    async fn closed(mut self) -> CloseCode {
        let message = self.next().await;
        let Message::Close(Some(frame)) = message else {
            panic!("{message:?}")
        };
        let end = timeout(LIMIT, self.0.next()).await.unwrap();
        assert!(matches!(end, None | Some(Err(_))), "{end:?}");
        frame.code
    }
}

fn from(uid: Uuid) -> AgentToServer {
    AgentToServer {
        instance_uid: uid.as_bytes().to_vec().into(),
        capabilities: 1 | capability::ACCEPTS_REMOTE_CONFIG,
        ..AgentToServer::default()
    }
}

fn behind_zero(message: &AgentToServer) -> Vec<u8> {
    [&[0], message.encode_to_vec().as_slice()].concat()
}

fn sections(told: &ServerToAgent) -> Value {
    let config = told.remote_config.as_ref().unwrap().config.as_ref().unwrap();
    serde_json::from_slice(&config.config_map[0].value.as_ref().unwrap().body).unwrap()
}

async fn set_exporters(scene: &Scene, exporters: Value) {
    let body = json!({"name": "collectors", "namespace": "default", "overrides": {"exporters": exporters}});
    scene.admin.update_policy(scene.facts.policy_id(), &body).await;
}

fn scene(settings: &[(&str, &str)]) -> Scene {
    let command = test_support::server_command!().quickstart();
    let set = |command: test_support::ServerCommand, (key, value): &(&str, &str)| {
        command.set(&format!("inputs.0.server.{key}"), value)
    };
    Scene::of(settings.iter().fold(command, set).start())
}

#[actix_rt::test]
async fn opa_12_19_over_a_websocket_a_new_configuration_comes_unasked_and_its_status_is_shown() {
    let scene = Scene::start();
    let token = scene.facts.enrollment_token();
    let client = scene.facts.client("url");
    let mut socket = Client::open(&client, token).await;
    let uid = Uuid::new_v4();
    let first = socket.ask(&from(uid)).await;
    assert_eq!(first.instance_uid.as_ref(), uid.as_bytes());
    assert_eq!(
        (first.flags, first.capabilities, first.remote_config),
        (1, 7, None)
    );

    for verbosity in ["basic", "detailed"] {
        set_exporters(&scene, json!({"debug": {"verbosity": verbosity}})).await;
        let told = socket.hear().await;
        assert_eq!(told.instance_uid.as_ref(), uid.as_bytes());
        assert_eq!(sections(&told)["exporters"]["debug"]["verbosity"], verbosity);
        let hash = told.remote_config.unwrap().config_hash;
        let status = RemoteConfigStatus {
            last_remote_config_hash: hash.clone(),
            status: RemoteConfigState::Applied.into(),
            error_message: String::new(),
        };
        let health = ComponentHealth {
            healthy: true,
            status: "StatusOK".to_owned(),
            ..ComponentHealth::default()
        };
        let answer = socket
            .ask(&AgentToServer {
                remote_config_status: Some(status.encode_to_vec().into()),
                health: Some(health.encode_to_vec().into()),
                ..from(uid)
            })
            .await;
        assert_eq!((answer.remote_config, answer.error_response), (None, None));
        let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        let agent = shown_when(&scene, uid, |agent| {
            agent["remote_config_status"]["hash"] == hash.as_str()
        })
        .await;
        assert_eq!(agent["remote_config_status"]["status"], "APPLIED");
        assert_eq!(
            (&agent["health"]["healthy"], &agent["health"]["status"]),
            (&json!(true), &json!("StatusOK"))
        );
        assert_eq!(agent["status"], "online");
    }

    // OPA-19: the sections go, and with them what the agent has.
    scene
        .admin
        .update_policy(
            scene.facts.policy_id(),
            &json!({"name": "collectors", "namespace": "default", "overrides": {}}),
        )
        .await;
    let told = socket.hear().await.remote_config.unwrap();
    assert_eq!(told.config.unwrap().config_map, []);
    let status = RemoteConfigStatus {
        last_remote_config_hash: told.config_hash,
        status: RemoteConfigState::Applied.into(),
        error_message: String::new(),
    };
    let answer = socket
        .ask(&AgentToServer {
            remote_config_status: Some(status.encode_to_vec().into()),
            ..from(uid)
        })
        .await;
    assert_eq!(answer.remote_config, None);
    let newest = scene.admin.policy(scene.facts.policy_id()).await["revision"].clone();
    shown_when(&scene, uid, |agent| agent["policy_revision"] == newest).await;

    // The same agent over plain HTTP takes nothing away; a newer connection takes over.
    assert_eq!(say(&client, token, &from(uid)).await.error_response, None);
    let mut newer = Client::open(&scene.facts.client("internal_url"), token).await;
    assert_eq!(newer.ask(&from(uid)).await.error_response, None);
    assert_eq!(socket.closed().await, CloseCode::Away);
    // Unenrolled, it is told so, and so is every message of it.
    scene.admin.force_unenroll(&uid.to_string()).await;
    for _ in 0..2 {
        let told = newer.hear().await.error_response.unwrap();
        assert_eq!(told.error_message, "the agent is unenrolled");
        newer.say(&from(uid)).await;
    }
}

#[actix_rt::test]
async fn opa_12_two_agents_speak_on_one_connection_and_each_is_answered() {
    let scene = Scene::start();
    let mut socket = Client::open(&scene.facts.client("url"), scene.facts.enrollment_token()).await;
    for uid in [Uuid::new_v4(), Uuid::new_v4()] {
        let answer = socket.ask(&from(uid)).await;
        assert_eq!(
            (answer.instance_uid.as_ref(), answer.capabilities),
            (uid.as_bytes().as_slice(), 7)
        );
        let leaves = AgentToServer {
            agent_disconnect: Some(Default::default()),
            ..from(uid)
        };
        assert_eq!(socket.ask(&leaves).await.flags, 0);
        shown_when(&scene, uid, |agent| {
            agent["last_checkin_status"] == "disconnected"
        })
        .await;
    }
    socket.0.close(None).await.unwrap();
    let message = socket.next().await;
    assert!(matches!(message, Message::Close(_)), "{message:?}");
}

/// A connection whose frames are made by hand.
struct Frames(Connection);

impl Frames {
    async fn open(client: &HttpClient, token: &str) -> Self {
        let mut connection = client.connect().await.unwrap();
        let response = connection.request(&upgrade(token)).await.unwrap();
        assert_eq!(response.status, 101, "{}", response.text());
        // The example of RFC 6455 1.3.
        assert_eq!(
            response.header("sec-websocket-accept"),
            Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
        );
        Self(connection)
    }

    /// The next frame's first byte and payload.
    async fn receive(&mut self) -> (u8, Vec<u8>) {
        let head = self.0.receive_raw(2).await.unwrap();
        let length = match head[1] {
            126 => {
                let length = self.0.receive_raw(2).await.unwrap();
                usize::from(u16::from_be_bytes([length[0], length[1]]))
            }
            length => usize::from(length),
        };
        (head[0], self.0.receive_raw(length).await.unwrap())
    }

    /// The code of the close frame that comes next; nothing comes after it.
    async fn closed(mut self) -> u16 {
        let (first, payload) = self.receive().await;
        assert_eq!(first, CLOSE, "{payload:?}");
        // A client that was still sending is reset.
        assert_eq!(self.0.until_closed().await.unwrap_or_default(), b"");
        u16::from_be_bytes([payload[0], payload[1]])
    }
}

const PING: u8 = 0x89;
const CLOSE: u8 = 0x88;

/// A frame with a mask of zeros, which leaves it readable.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match u8::try_from(payload.len()) {
        Ok(length) if length < 126 => frame.push(0x80 | length),
        _ => {
            frame.push(0x80 | 126);
            frame.extend(u16::try_from(payload.len()).unwrap().to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}

fn upgrade(token: &str) -> Request {
    Request::get("/v1/opamp")
        .header("Authorization", &format!("ApiKey {token}"))
        .header("Connection", "Upgrade")
        .header("Upgrade", "websocket")
        .header("Sec-WebSocket-Version", "13")
        .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
}

#[actix_rt::test]
async fn opa_13_a_websocket_is_opened_for_good_tokens_and_closed_for_what_breaks_the_protocol() {
    let scene = Scene::start();
    let token = scene.facts.enrollment_token();
    let client = scene.facts.client("url");
    let stranger = fleet::ApiKey::generate().unwrap().to_token();
    assert_eq!(client.request(&upgrade(&stranger)).await.unwrap().status, 401);
    for (request, status) in [
        (upgrade(token).without_header("Upgrade"), 426),
        (upgrade(token).without_header("Sec-WebSocket-Version"), 426),
        (upgrade(token).without_header("Sec-WebSocket-Key"), 400),
    ] {
        assert_eq!(client.request(&request).await.unwrap().status, status);
    }
    let message = behind_zero(&from(Uuid::new_v4()));
    let mut promised = vec![0x82, 0xff];
    promised.extend((1_u64 << 40).to_be_bytes());
    for (bytes, code) in [
        // Text; a message without its zero; no message; no protobuf; no mask; a reserved bit; the end of nothing.
        (frame(0x81, b"text"), 1003),
        (frame(0x82, &[1]), 1002),
        (frame(0x82, b""), 1002),
        (frame(0x82, &[0, 0x0a, 0xff]), 1007),
        (vec![0x82, 1, 0], 1002),
        (frame(0xc2, b""), 1002),
        (frame(0x80, b""), 1002),
        // A terabyte is promised; 4 MiB come in parts.
        (promised, 1009),
        (
            [frame(0x02, &[0; 65_000]), frame(0x00, &[0; 65_000]).repeat(64)].concat(),
            1009,
        ),
        // A good message before a bad one is answered first, and the client's own end is answered.
        (frame(0x88, &[0x03, 0xe8]), 1000),
    ] {
        let mut socket = Frames::open(&client, token).await;
        // It may be closed before all of it was sent.
        let _cut = socket.0.send_raw(&bytes).await;
        assert_eq!(socket.closed().await, code, "{:?}", &bytes[..bytes.len().min(16)]);
    }
    // Two messages in one write, the second in pieces with a ping between them; then one that is wrong.
    let mut socket = Frames::open(&client, token).await;
    let bytes = [
        frame(0x82, &message),
        frame(0x02, &message[..7]),
        frame(PING, b"there?"),
        frame(0x80, &message[7..]),
        frame(0x81, b""),
    ];
    socket.0.send_raw(&bytes.concat()).await.unwrap();
    assert_eq!(socket.receive().await.0, 0x82);
    assert_eq!(socket.receive().await, (0x8a, b"there?".to_vec()));
    assert_eq!(socket.receive().await.0, 0x82);
    assert_eq!(socket.closed().await, 1003);
}

#[actix_rt::test]
async fn opa_13_over_http2_there_is_no_upgrade_and_the_answer_says_so() {
    let scene = Scene::start();
    let client = scene.facts.client("url").with_alpn(&["h2"]);
    let stream = client.connect().await.unwrap().into_stream();
    let (h2, connection) = h2::client::handshake(stream).await.unwrap();
    let connection = actix_rt::spawn(connection);
    let request = http::Request::get("https://localhost/v1/opamp")
        .header(
            "authorization",
            format!("ApiKey {}", scene.facts.enrollment_token()),
        )
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
        .body(())
        .unwrap();
    let (response, _) = h2.ready().await.unwrap().send_request(request, true).unwrap();
    let response = timeout(LIMIT, response).await.unwrap().unwrap();
    assert_eq!(response.status(), 426);
    assert_eq!(response.headers()["sec-websocket-version"], "13");
    let mut body = response.into_body();
    let body = timeout(LIMIT, body.data()).await.unwrap().unwrap().unwrap();
    let error: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(error["error"], "UpgradeRequired");
    assert!(error["message"].as_str().unwrap().contains("HTTP/1.1"), "{error}");
    connection.abort();
}

#[actix_rt::test]
async fn opa_14_whoever_is_silent_or_does_not_finish_is_closed_and_whoever_answers_pings_stays() {
    let scene = scene(&[("timeouts.read", "1s"), ("timeouts.idle", "1s")]);
    let token = scene.facts.enrollment_token();
    let client = scene.facts.client("url");
    let message = behind_zero(&from(Uuid::new_v4()));
    // No first message, or only control frames; a half one; a half one after a whole one.
    for bytes in [
        vec![],
        frame(PING, b""),
        frame(0x82, &message)[..9].to_vec(),
        frame(0x02, &message[..7]),
    ] {
        let mut socket = Frames::open(&client, token).await;
        socket.0.send_raw(&bytes).await.unwrap();
        while let Ok((first, payload)) = timeout(LIMIT, socket.receive()).await {
            match first {
                CLOSE => {
                    assert_eq!(payload[..2], 1008_u16.to_be_bytes());
                    break;
                }
                // Its own ping's answer, or the question whether it is there.
                first => assert!(matches!(first, 0x8a | PING), "{first:x}"),
            }
        }
        assert_eq!(socket.0.until_closed().await.unwrap(), b"");
    }
    let mut socket = Frames::open(&client, token).await;
    let bytes = [frame(0x82, &message), frame(0x82, &message)[..9].to_vec()].concat();
    socket.0.send_raw(&bytes).await.unwrap();
    assert_eq!(socket.receive().await.0, 0x82);
    loop {
        let (first, payload) = socket.receive().await;
        if first == CLOSE {
            assert_eq!(payload[..2], 1008_u16.to_be_bytes());
            break;
        }
        assert_eq!(first, PING);
    }

    // One that is asked whether it is there and says nothing is gone; tungstenite answers, and stays.
    let mut silent = Frames::open(&client, token).await;
    silent.0.send_raw(&frame(0x82, &message)).await.unwrap();
    assert_eq!(silent.receive().await.0, 0x82);
    assert_eq!(silent.receive().await, (PING, vec![]));
    assert_eq!(silent.0.until_closed().await.unwrap(), b"");
    let mut present = Client::open(&client, token).await;
    let uid = Uuid::new_v4();
    present.ask(&from(uid)).await;
    for _ in 0..3 {
        assert!(matches!(present.next().await, Message::Ping(_)));
    }
    set_exporters(&scene, json!({"debug": {}})).await;
    let told = loop {
        match present.next().await {
            Message::Ping(_) => {}
            Message::Binary(bytes) => break ServerToAgent::decode(&bytes[1..]).unwrap(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(sections(&told), json!({"exporters": {"debug": {}}}));
}

#[actix_rt::test]
async fn opa_15_a_token_that_is_revoked_ends_its_connections_at_once_and_no_others() {
    let scene = Scene::start();
    let client = scene.facts.client("url");
    let created = scene.admin.create_token(scene.facts.policy_id()).await;
    let other = scene.admin.create_token(scene.facts.policy_id()).await;
    let mut sockets = Vec::new();
    for token in [&created["api_key"], &other["api_key"]] {
        let mut socket = Client::open(&client, token.as_str().unwrap()).await;
        assert_eq!(socket.ask(&from(Uuid::new_v4())).await.error_response, None);
        sockets.push(socket);
    }
    let fresh = Client::open(&client, created["api_key"].as_str().unwrap()).await;
    scene.admin.revoke_token(created["id"].as_str().unwrap()).await;
    let mut stays = sockets.pop().unwrap();
    assert_eq!(sockets.pop().unwrap().closed().await, CloseCode::Policy);
    assert_eq!(fresh.closed().await, CloseCode::Policy, "also without a message");
    assert_eq!(stays.ask(&from(Uuid::new_v4())).await.error_response, None);
    let refused = Client::try_open(&client, created["api_key"].as_str().unwrap()).await;
    assert!(
        matches!(&refused, Err(tungstenite::Error::Http(response)) if response.status() == 401),
        "{:?}",
        refused.err()
    );
}

#[actix_rt::test]
async fn opa_16_connections_have_the_routes_places_and_messages_its_rate() {
    let scene = scene(&[
        ("limits.opamp_limit.max", "1"),
        ("limits.opamp_limit.interval", "1h"),
        ("limits.opamp_limit.burst", "5"),
    ]);
    let token = scene.facts.enrollment_token();
    let client = scene.facts.client("url");
    let mut socket = Client::open(&client, token).await;
    let refused = client.request(&upgrade(token)).await.unwrap();
    assert_eq!(refused.status, 429);
    let uid = Uuid::new_v4();
    let mut refused = 0;
    for _ in 0..5 {
        let answer = socket.ask(&from(uid)).await;
        if let Some(error) = answer.error_response {
            // Unavailable, with the time after which it is worth it.
            assert_eq!(error.r#type, 2, "{error:?}");
            refused += 1;
        }
    }
    // Two went to the upgrades.
    assert_eq!(refused, 2);
    drop(socket);
    // The place is free; the rate is not.
    test_support::eventually("the place is free", async || {
        let refused = client.request(&upgrade(token)).await.unwrap();
        refused.status == 429 && refused.header("retry-after").is_some_and(|wait| wait != "1")
    })
    .await;
}

#[actix_rt::test]
async fn opa_17_a_client_that_does_not_read_is_cut_off() {
    let scene = scene(&[("timeouts.write", "1s")]);
    let token = scene.facts.enrollment_token();
    let mut socket = Frames::open(&scene.facts.client("url"), token).await;
    let message = behind_zero(&from(Uuid::new_v4()));
    socket.0.send_raw(&frame(0x82, &message)).await.unwrap();
    assert_eq!(socket.receive().await.0, 0x82);
    let http = HttpClient::for_url(scene.facts.get("http_url"), "");
    until_metric(&http, "fleet_server_checkins_waiting", 1.0).await;
    // More than the buffers between the two take.
    let large = "x".repeat(900_000);
    for round in 0..24 {
        set_exporters(&scene, json!({"debug": {"round": round, "text": large}})).await;
    }
    until_metric(&http, "fleet_server_checkins_waiting", 0.0).await;
    drop(socket);
}

#[actix_rt::test]
async fn opa_18_the_stop_closes_connections_in_good_order() {
    let scene = Scene::start();
    let client = scene.facts.client("url");
    let mut socket = Client::open(&client, scene.facts.enrollment_token()).await;
    socket.ask(&from(Uuid::new_v4())).await;
    let fresh = Client::open(&client, scene.facts.enrollment_token()).await;
    scene.server.signal(test_support::Signal::TERM);
    assert_eq!(socket.closed().await, CloseCode::Away);
    assert_eq!(fresh.closed().await, CloseCode::Away, "also without a message");
    scene.server.expect_exit(0);
}

//! OpAMP: any bytes as a message, by itself and through the route, and as each of its parts.

use actix_web::test::TestRequest;
use actix_web::web::Bytes;
use opamp::{
    AgentDescription, AgentToServer, ComponentHealth, ConfigText, Message, RemoteConfigStatus, ServerToAgent,
};

use crate::house::house;

pub(crate) fn message(input: &[u8]) {
    parts(input);
    if let Ok(message) = AgentToServer::decode(input) {
        // What was read is what is written, whatever was skipped.
        let again = AgentToServer::decode(message.encode_to_vec().as_slice());
        assert_eq!(again.as_ref(), Ok(&message));
        let inner = [
            message.agent_description,
            message.health,
            message.effective_config,
            message.remote_config_status,
        ];
        inner.iter().flatten().for_each(|part| parts(part));
    }
    let answer = house(|house| {
        let request = TestRequest::post()
            .uri("/v1/opamp")
            .insert_header(("content-type", "application/x-protobuf"))
            .set_payload(house.fill(input));
        house.of_agent("{token}", request)
    });
    match answer.status {
        200 => {
            ServerToAgent::decode(answer.body.as_slice()).expect("a message");
        }
        status => {
            assert!([400, 413, 429].contains(&status), "{answer:?}");
        }
    }
}

fn parts(input: &[u8]) {
    let bytes = Bytes::copy_from_slice(input);
    for most in [64, 1 << 20] {
        let _read = (
            opamp::read::<AgentDescription>(bytes.clone(), most),
            opamp::read::<ComponentHealth>(bytes.clone(), most),
            opamp::read::<ConfigText>(bytes.clone(), most),
            opamp::read::<RemoteConfigStatus>(bytes.clone(), most),
        );
    }
}

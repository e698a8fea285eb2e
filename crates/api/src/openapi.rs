//! The description of all faces as an OpenAPI 3.1 document, written from the tables of routes and what stands there.
//!
//! In: each face's described routes. Out: one JSON value, built when somebody asks. Knows no route by name.

use actix_web::http::StatusCode;
use schemars::{
    SchemaGenerator,
    generate::{Contract, SchemaSettings},
};
use serde_json::{Map, Value, json};

use crate::{
    admin, agent,
    error::{Audience, ErrorBody, Family},
    member::object_schema,
    operation::{Answer, Body, BodyShape, Described, JSON, KeyKind, Operation, Parameter, Place, TEXT},
    probe,
};

/// One listener's routes.
struct Face {
    tag: &'static str,
    about: &'static str,
    audience: Audience,
    url: &'static str,
    routes: Vec<Described>,
}

/// The document.
#[must_use]
pub fn openapi() -> Value {
    let faces = [
        Face {
            tag: "agents",
            about: "What Elastic Agents ask for, also on the internal listener (8221)",
            audience: Audience::Agent,
            url: "https://{host}:8220",
            routes: agent::described(),
        },
        Face {
            tag: "operators",
            about: "What operators and their programs ask for",
            audience: Audience::Operator,
            url: "https://{host}:8222",
            routes: admin::described(),
        },
        Face {
            tag: "probes",
            about: "Metrics and probes, without a key, on a listener that is off unless `http.enabled` is set",
            audience: Audience::Agent,
            url: "http://{host}:5066",
            routes: probe::described(),
        },
    ];
    let mut writer = Writer::new();
    let mut paths = Map::new();
    let mut tags = Vec::new();
    for face in faces {
        tags.push(json!({ "name": face.tag, "description": face.about }));
        let server = json!({ "url": face.url, "variables": { "host": { "default": "localhost" } } });
        for route in &face.routes {
            let path = paths.entry(route.path).or_insert_with(|| json!({}));
            let Some(methods) = path.as_object_mut() else {
                continue;
            };
            let method = route.method.as_str().to_ascii_lowercase();
            match methods.get_mut(&method) {
                // Two listeners serve it alike.
                Some(written) => {
                    push(written, "tags", face.tag.into());
                    push(written, "servers", server.clone());
                    let other = writer.operation(route, face.audience);
                    if let Some(role) = other.get(ROLE) {
                        written[ROLE] = role.clone();
                    }
                    for (status, answer) in other["responses"].as_object().into_iter().flatten() {
                        if written["responses"].get(status).is_none() {
                            written["responses"][status] = answer.clone();
                        }
                    }
                }
                None => {
                    let mut operation = writer.operation(route, face.audience);
                    operation.insert("tags".to_owned(), json!([face.tag]));
                    operation.insert("servers".to_owned(), json!([server]));
                    methods.insert(method, operation.into());
                }
            }
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Fleet Server",
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
            "description": "What this server answers, by listener (tag). HEAD is GET without the body.",
        },
        "tags": tags,
        "paths": paths,
        "components": {
            "securitySchemes": {
                "ApiKey": {
                    "type": "apiKey", "in": "header", "name": "Authorization",
                    "description": "`ApiKey TOKEN`, TOKEN in base64 as it was handed out",
                },
            },
            "headers": {
                "RequestId": { "description": "The request's own id, or one that was made", "schema": { "type": "string" } },
                "RetryAfter": { "description": "Seconds", "schema": { "type": "string", "pattern": "^[0-9]+$" } },
            },
            "schemas": writer.components(),
        },
    })
}

/// Member of an operation: the least role of the operator's key that it wants.
const ROLE: &str = "x-role";

fn push(object: &mut Value, list: &str, item: Value) {
    if let Some(items) = object.get_mut(list).and_then(Value::as_array_mut) {
        items.push(item);
    }
}

/// Writes operations, and remembers the schemas that they refer to.
struct Writer {
    out: SchemaGenerator,
    input: SchemaGenerator,
}

impl Writer {
    fn new() -> Self {
        let settings = |contract| {
            let mut settings = SchemaSettings::draft2020_12();
            settings.contract = contract;
            settings.meta_schema = None;
            settings.definitions_path = "/components/schemas".into();
            settings
        };
        let mut input = settings(Contract::Deserialize);
        input.inline_subschemas = true;
        Self {
            out: settings(Contract::Serialize).into_generator(),
            input: input.into_generator(),
        }
    }

    fn operation(&mut self, route: &Described, audience: Audience) -> Map<String, Value> {
        let Operation {
            id,
            summary,
            key,
            parameters,
            body,
            answers,
            ..
        } = &route.operation;
        let mut operation = Map::new();
        operation.insert("operationId".to_owned(), (*id).into());
        operation.insert("summary".to_owned(), (*summary).into());
        let security = match key {
            KeyKind::None => json!([]),
            KeyKind::Optional => json!([{}, { "ApiKey": [] }]),
            KeyKind::EnrollmentToken | KeyKind::Agent | KeyKind::Operator(_) => json!([{ "ApiKey": [] }]),
        };
        operation.insert("security".to_owned(), security);
        if let KeyKind::Operator(role) = key {
            operation.insert(ROLE.to_owned(), role.as_str().into());
        }
        let parameters: Vec<Value> = parameters
            .iter()
            .map(|parameter| self.parameter(parameter))
            .collect();
        if !parameters.is_empty() {
            operation.insert("parameters".to_owned(), parameters.into());
        }
        if let Some(body) = body {
            operation.insert("requestBody".to_owned(), self.body(body));
        }
        let mut responses = Map::new();
        for answer in answers {
            responses.insert(answer.status.to_string(), self.answer(answer));
        }
        for (status, families) in route.operation.failure_statuses(audience) {
            let failure = self.failure(route, audience, status, &families);
            match responses.get_mut(&status.to_string()) {
                // A success and a failure of one status have one description.
                Some(answer) => join(answer, &failure),
                None => drop(responses.insert(status.to_string(), failure)),
            }
        }
        operation.insert("responses".to_owned(), responses.into());
        operation
    }

    fn parameter(&mut self, parameter: &Parameter) -> Value {
        let place = match parameter.place {
            Place::Path => "path",
            Place::Query => "query",
            Place::Header => "header",
        };
        let mut written = json!({
            "in": place,
            "name": parameter.name,
            "required": parameter.is_required,
            "description": parameter.about,
            "schema": (parameter.schema)(&mut self.input),
        });
        if let (Some(example), Some(written)) = (parameter.example, written.as_object_mut()) {
            written.insert("example".to_owned(), example.into());
        }
        written
    }

    fn body(&mut self, body: &Body) -> Value {
        let schema = match body.shape {
            BodyShape::Members(members) => object_schema(members).to_value(),
            BodyShape::Type(schema) => schema(&mut self.input).to_value(),
            BodyShape::Bytes => json!({ "type": "string", "format": "binary" }),
        };
        let media = |media: &&str| ((*media).to_owned(), json!({ "schema": schema }));
        let content: Map<String, Value> = body.media.iter().map(media).collect();
        json!({ "required": body.is_required, "content": content })
    }

    fn answer(&mut self, answer: &Answer) -> Value {
        let mut headers = Map::new();
        headers.insert(
            "X-Request-Id".to_owned(),
            json!({ "$ref": "#/components/headers/RequestId" }),
        );
        for (name, about) in &answer.headers {
            let header = json!({ "description": about, "required": true, "schema": { "type": "string" } });
            headers.insert((*name).to_owned(), header);
        }
        let mut written = json!({ "description": answer.about, "headers": headers });
        let Some(members) = written.as_object_mut() else {
            return written;
        };
        if !answer.media.is_empty() {
            let mut schemas: Vec<Value> = answer
                .schemas
                .iter()
                .map(|schema| {
                    let mut schema = schema(&mut self.out).to_value();
                    close(&mut schema);
                    schema
                })
                .collect();
            let schema = match schemas.len() {
                0 if answer.media.contains(&TEXT) => json!({ "type": "string" }),
                0 => json!(true),
                1 => schemas.remove(0),
                _ => json!({ "anyOf": schemas }),
            };
            let content: Map<String, Value> = answer
                .media
                .iter()
                .map(|media| ((*media).to_owned(), json!({ "schema": schema })))
                .collect();
            members.insert("content".to_owned(), content.into());
        }
        if !answer.links.is_empty() {
            let links: Map<String, Value> = answer
                .links
                .iter()
                .map(|link| {
                    let parameters: Map<String, Value> = link
                        .parameters
                        .iter()
                        .map(|(name, value)| ((*name).to_owned(), Value::from(*value)))
                        .collect();
                    let link_body = json!({ "operationId": link.operation, "parameters": parameters });
                    (link.name.to_owned(), link_body)
                })
                .collect();
            members.insert("links".to_owned(), links.into());
        }
        written
    }

    fn failure(&mut self, route: &Described, audience: Audience, status: u16, families: &[Family]) -> Value {
        let error = self.out.subschema_for::<ErrorBody<'_>>();
        let mut content = Map::new();
        content.insert(JSON.to_owned(), json!({ "schema": error }));
        let is_for_agents = audience == Audience::Agent;
        // A full listener is told in text, and so is a path that does not exist: an id may make one of any path.
        if is_for_agents && (status == StatusCode::TOO_MANY_REQUESTS || status == StatusCode::NOT_FOUND) {
            content.insert(TEXT.to_owned(), json!({ "schema": { "type": "string" } }));
        }
        if let Some(media) = route.operation.bare_failures {
            content.insert(media.to_owned(), json!({}));
        }
        let mut headers = Map::new();
        headers.insert(
            "X-Request-Id".to_owned(),
            json!({ "$ref": "#/components/headers/RequestId" }),
        );
        if status == StatusCode::TOO_MANY_REQUESTS || status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(
                "Retry-After".to_owned(),
                json!({ "$ref": "#/components/headers/RetryAfter" }),
            );
        }
        let about: Vec<&str> = families.iter().map(|family| family.about()).collect();
        json!({ "description": about.join("; "), "headers": headers, "content": content })
    }

    fn components(mut self) -> Map<String, Value> {
        let mut schemas = self.out.take_definitions(true);
        for schema in schemas.values_mut() {
            close(schema);
        }
        schemas
    }
}

/// An answer of ours has the members that are described and no others.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            if members.contains_key("properties") && !members.contains_key("additionalProperties") {
                members.insert("additionalProperties".to_owned(), false.into());
            }
            members.values_mut().for_each(close);
        }
        Value::Array(items) => items.iter_mut().for_each(close),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Adds the contents of a failure to an answer of the same status.
fn join(answer: &mut Value, failure: &Value) {
    let about = format!(
        "{}; or: {}",
        answer["description"].as_str().unwrap_or_default(),
        failure["description"].as_str().unwrap_or_default()
    );
    answer["description"] = about.into();
    for (media, content) in failure["content"].as_object().into_iter().flatten() {
        let known = answer["content"]
            .get(media)
            .and_then(|known| known.get("schema"))
            .cloned();
        answer["content"][media] = match (known, content.get("schema")) {
            (Some(known), Some(other)) => json!({ "schema": { "anyOf": [known, other] } }),
            _ => content.clone(),
        };
    }
}

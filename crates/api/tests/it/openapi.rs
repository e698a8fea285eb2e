//! The description of the API: whole, consistent in itself, and served.

use std::collections::BTreeSet;

use actix_web::{http::Method, test::TestRequest};
use serde_json::Value;

use crate::house::House;

/// Method, path and operation of a face.
fn operations<'a>(document: &'a Value, face: &str) -> Vec<(Method, &'a str, &'a Value)> {
    let paths = document["paths"].as_object().unwrap();
    let all = paths.iter().flat_map(|(path, methods)| {
        let methods = methods.as_object().unwrap().iter();
        methods.map(move |(method, operation)| {
            (method.to_uppercase().parse().unwrap(), path.as_str(), operation)
        })
    });
    all.filter(|(_, _, operation)| operation["tags"].as_array().unwrap().contains(&face.into()))
        .collect()
}

#[actix_rt::test]
async fn every_operation_is_served_and_every_parameter_of_a_path_is_described() {
    let house = House::new().await;
    let document = api::openapi();
    for (name, face) in [
        ("agents", house.agents().await),
        ("operators", house.operators().await),
    ] {
        let operations = operations(&document, name);
        assert!(operations.len() > 1, "{name} has operations");
        for (method, path, operation) in operations {
            let uri = path.replace(['{', '}'], "");
            let answer = face
                .send(TestRequest::with_uri(&uri).method(method.clone()))
                .await;
            let status = answer.status.as_u16();
            assert!(status != 405, "{method} {path}");
            assert!(
                operation["responses"].get(status.to_string()).is_some(),
                "{method} {path} answers {status}"
            );
            assert_ne!(answer.text(), "404 page not found\n", "{method} {path}");
            let described: BTreeSet<_> = operation["parameters"]
                .as_array()
                .into_iter()
                .flatten()
                .filter(|parameter| parameter["in"] == "path")
                .map(|parameter| format!("{{{}}}", parameter["name"].as_str().unwrap()))
                .collect();
            let written: BTreeSet<_> = path
                .split('/')
                .filter(|part| part.starts_with('{'))
                .map(str::to_owned)
                .collect();
            assert_eq!(described, written, "{method} {path}");
        }
    }
}

#[test]
fn names_are_single_and_links_lead_to_operations_and_their_parameters() {
    let document = api::openapi();
    let all: Vec<_> = ["agents", "operators", "probes"]
        .iter()
        .flat_map(|face| operations(&document, face))
        .collect();
    let of = |id: &Value| {
        all.iter()
            .find(|(_, _, operation)| operation["operationId"] == *id)
    };
    let mut links = 0;
    for (method, path, operation) in &all {
        let id = &operation["operationId"];
        let (its_method, its_path, _) = of(id).unwrap();
        assert_eq!((its_method, its_path), (method, path), "{id} is one operation");
        for answer in operation["responses"].as_object().unwrap().values() {
            for link in answer["links"]
                .as_object()
                .into_iter()
                .flat_map(|links| links.values())
            {
                links += 1;
                let (_, _, target) = of(&link["operationId"]).unwrap_or_else(|| panic!("{id}: {link}"));
                for name in link["parameters"].as_object().unwrap().keys() {
                    let known = target["parameters"].as_array().unwrap().iter().any(|parameter| {
                        *name
                            == format!(
                                "{}.{}",
                                parameter["in"].as_str().unwrap(),
                                parameter["name"].as_str().unwrap()
                            )
                    });
                    assert!(known, "{id}: {link}: {name}");
                }
            }
        }
    }
    assert!(links >= 6);
}

#[test]
fn every_reference_has_its_schema() {
    fn check(value: &Value, document: &Value) {
        match value {
            Value::Object(members) => {
                if let Some(Value::String(reference)) = members.get("$ref") {
                    let pointer = reference.strip_prefix('#').unwrap();
                    assert!(document.pointer(pointer).is_some(), "{reference}");
                }
                members.values().for_each(|value| check(value, document));
            }
            Value::Array(items) => items.iter().for_each(|value| check(value, document)),
            _ => {}
        }
    }
    let document = api::openapi();
    check(&document, &document);
}

#[actix_rt::test]
async fn operators_read_what_the_program_prints() {
    let house = House::new().await;
    let request = TestRequest::with_uri("/api/openapi.json")
        .insert_header(("authorization", format!("ApiKey {}", house.admin_key)));
    let answer = house.operators().await.send(request).await;
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.ok(), api::openapi());
}

//! `-E key=value`, and how the value of a flag or an environment variable is read.

use super::{
    node::{Kind, Node, split},
    place::{Place, PlaceId, Places},
    problem::Problem,
    schema::Schema,
    setting::Shape,
    yaml,
};

/// One `-E` as a layer; `None` for `key=`, which says nothing (http-api 3.1).
pub fn layer(text: &str, schema: &Schema, places: &mut Places) -> Result<Option<Node>, Problem> {
    let (key, value) = text.split_once('=').unwrap_or((text, "true"));
    let key = key.trim();
    let parts = split(key);
    let place = Place::Flag(format!("-E {key}"));
    if parts
        .iter()
        .any(|part| part.is_empty() || part.contains(['[', ']', '.', ' ', '=']))
    {
        return Err(Problem::BadKey {
            place,
            key: key.to_owned(),
        });
    }
    if value.trim().is_empty() {
        return Ok(None);
    }
    let path = parts.join(".");
    let id = places.add(place);
    let shape = schema.find(&path).map(|key| key.shape);
    let node = value_node(value, shape, shape != Some(Shape::Single), id, places)?;
    Ok(Some(Node::under(&path, node)))
}

/// Numbers and words stay text; `[a, b]` and `a,b` are lists where a list is wanted, `{a: b}` is a map where
/// `maps` allows it, quotes are taken away.
pub fn value_node(
    text: &str,
    shape: Option<Shape>,
    maps: bool,
    place: PlaceId,
    places: &mut Places,
) -> Result<Node, Problem> {
    let trimmed = text.trim();
    let wants_list = shape != Some(Shape::Single);
    let is_quoted = ['"', '\'']
        .iter()
        .any(|quote| trimmed.len() >= 2 && trimmed.starts_with(*quote) && trimmed.ends_with(*quote));
    if is_quoted || (wants_list && trimmed.starts_with('[')) || (maps && trimmed.starts_with('{')) {
        return flow(trimmed, place, places);
    }
    let is_pem = trimmed.contains("-----BEGIN");
    if shape == Some(Shape::List) && trimmed.contains(',') && !is_pem {
        let items = trimmed
            .split(',')
            .map(|item| Node::new(place, Kind::Text(item.trim().to_owned())));
        return Ok(Node::new(place, Kind::List(items.collect())));
    }
    Ok(Node::new(place, Kind::Text(text.to_owned())))
}

fn flow(text: &str, place: PlaceId, places: &mut Places) -> Result<Node, Problem> {
    let named = places.get(place);
    let mut problems = Vec::new();
    let node = yaml::parse(text, &|_| named.clone(), places, &mut problems);
    match (node, problems.pop()) {
        (Some(node), None) => Ok(node),
        (_, Some(problem)) => Err(problem),
        (None, None) => Err(Problem::Syntax {
            place: named,
            reason: "empty".to_owned(),
        }),
    }
}

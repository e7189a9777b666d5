//! Errors that several operations give alike stand once in `components/responses`, so that the document can be read,
//! and a change of it reviewed.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::refuses::PROBLEM;

/// Moves them there, each under the codes that it can have.
pub fn share(document: &mut Value) {
    let mut seen: BTreeMap<String, Vec<(Value, usize)>> = BTreeMap::new();
    for_each_response(document, |status, response| {
        if let Some(name) = name(status, response) {
            let alike = seen.entry(name).or_default();
            match alike.iter_mut().find(|(known, _)| known == response) {
                Some((_, count)) => *count += 1,
                None => alike.push((response.clone(), 1)),
            }
        }
    });
    let mut shared = Map::new();
    for (name, mut alike) in seen {
        alike.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        if let Some((response, 2..)) = alike.into_iter().next() {
            shared.insert(name, response);
        }
    }
    for_each_response(document, |status, response| {
        let name = name(status, response).filter(|name| shared.get(name) == Some(response));
        if let Some(name) = name {
            *response = json!({"$ref": format!("#/components/responses/{name}")});
        }
    });
    if let Some(components) = document.get_mut("components").and_then(Value::as_object_mut) {
        components.insert("responses".to_owned(), Value::Object(shared));
    }
}

fn for_each_response(document: &mut Value, mut each: impl FnMut(&str, &mut Value)) {
    let paths = document.get_mut("paths").and_then(Value::as_object_mut);
    let operations = paths
        .into_iter()
        .flat_map(Map::values_mut)
        .filter_map(Value::as_object_mut)
        .flat_map(Map::values_mut);
    for operation in operations {
        if let Some(responses) = operation.get_mut("responses").and_then(Value::as_object_mut) {
            for (status, response) in responses {
                each(status, response);
            }
        }
    }
}

/// Its status and codes, and whether it tells of limits: `503-overloaded-unavailable`, `500-internal_error-unlimited`.
fn name(status: &str, response: &Value) -> Option<String> {
    let media = response.get("content")?.get(PROBLEM)?;
    let codes: Vec<&str> = media
        .get("examples")?
        .as_object()?
        .keys()
        .map(String::as_str)
        .collect();
    let limited = response
        .get("headers")
        .is_some_and(|headers| headers.get("RateLimit").is_some());
    let kind = if limited { "" } else { "-unlimited" };
    Some(format!("{status}-{}{kind}", codes.join("-")))
}

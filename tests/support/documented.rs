//! Every answer that a test gets is one that the OpenAPI document promises: its status, its code, its media type, the
//! headers that are always there. So each test of the API is also one of the document.

use std::sync::OnceLock;

use reqwest::Method;
use serde_json::Value;

use super::Answer;

/// Fails where `method` at `url` may not answer like this. What is no documented operation is not looked at.
#[track_caller]
pub fn check(method: &Method, url: &str, answer: &Answer) {
    static DOCUMENT: OnceLock<Value> = OnceLock::new();
    let document = DOCUMENT.get_or_init(stile::http::openapi);
    let path = url.split_once("://").unwrap().1;
    let path = path.find('/').map_or("/", |at| &path[at..]);
    let path = path.split('?').next().unwrap();
    let Some((template, operation)) = operation(document, method, path) else {
        return;
    };
    let here = format!("{method} {template}: {} {}", answer.status, answer.text);
    let response = &operation["responses"][answer.status.to_string()];
    assert!(!response.is_null(), "no such status in the document: {here}");
    let response = resolve(document, response);
    for (name, header) in response["headers"].as_object().unwrap() {
        if resolve(document, header)["required"] == true {
            assert!(answer.header(name).is_some(), "no {name}: {here}");
        }
    }
    let Some(content) = response["content"].as_object() else {
        assert_eq!(answer.text, "", "{here}");
        return;
    };
    let kind = answer.header("content-type").unwrap_or_default();
    let kind = kind.split(';').next().unwrap();
    let media = content
        .get(kind)
        .unwrap_or_else(|| panic!("`{kind}` is not in the document: {here}"));
    if kind == "application/problem+json" {
        let code = answer.body["code"].as_str().unwrap();
        assert!(
            media["examples"].get(code).is_some(),
            "no such code in the document: {here}"
        );
    }
}

fn operation<'a>(document: &'a Value, method: &Method, path: &str) -> Option<(&'a String, &'a Value)> {
    let paths = document["paths"].as_object().unwrap();
    let fits = |template: &str| {
        let (wanted, given) = (template.split('/'), path.split('/'));
        wanted.clone().count() == given.clone().count()
            && wanted
                .zip(given)
                .all(|(wanted, given)| wanted == given || wanted.starts_with('{') && !given.is_empty())
    };
    // `/sessions/current` is more than `/sessions/{id}`.
    let exact = paths.get_key_value(path);
    let (template, item) = exact.or_else(|| paths.iter().find(|(template, _)| fits(template)))?;
    let operation = item.get(method.as_str().to_lowercase())?;
    Some((template, operation))
}

fn resolve<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    match value["$ref"].as_str() {
        Some(place) => document.pointer(place.trim_start_matches('#')).unwrap(),
        None => value,
    }
}

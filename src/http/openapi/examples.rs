//! An example for every body, put together from the examples of its fields, so that none can lag behind its schema.

use serde_json::{Map, Value, json};

/// Gives each body of `document` that has no example one.
pub fn fill(document: &mut Value) {
    let schemas = document
        .pointer("/components/schemas")
        .cloned()
        .unwrap_or_default();
    fill_below(document, &schemas);
}

/// A body is recognised by its place: it is the value of a media type.
fn fill_below(value: &mut Value, schemas: &Value) {
    match value {
        Value::Object(members) => {
            if let Some(Value::Object(media_types)) = members.get_mut("content") {
                for media in media_types.values_mut().filter_map(Value::as_object_mut) {
                    if media.contains_key("example") || media.contains_key("examples") {
                        continue;
                    }
                    if let Some(example) = media.get("schema").and_then(|schema| compose(schema, schemas)) {
                        media.insert("example".to_owned(), example);
                    }
                }
            }
            members
                .values_mut()
                .for_each(|member| fill_below(member, schemas));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| fill_below(item, schemas)),
        _ => {}
    }
}

/// An example of what `schema` describes; `None` for `null`.
fn compose(schema: &Value, schemas: &Value) -> Option<Value> {
    if let Some(example) = schema.get("example") {
        return Some(example.clone());
    }
    if let Some(name) = schema.get("$ref").and_then(Value::as_str) {
        let name = name.trim_start_matches("#/components/schemas/");
        return compose(schemas.get(name)?, schemas);
    }
    if let Some(choices) = schema.get("oneOf").and_then(Value::as_array) {
        return choices.iter().find_map(|choice| compose(choice, schemas));
    }
    if let Some(parts) = schema.get("allOf").and_then(Value::as_array) {
        let parts = parts.iter().filter_map(|part| compose(part, schemas));
        let whole: Map<String, Value> = parts
            .filter_map(|part| part.as_object().cloned())
            .flatten()
            .collect();
        return Some(Value::Object(whole));
    }
    if let Some(first) = schema.pointer("/enum/0") {
        return Some(first.clone());
    }
    let kind = schema.get("type")?;
    let kind = kind.as_str().or_else(|| kind.get(0).and_then(Value::as_str))?;
    Some(match (kind, schema.get("format").and_then(Value::as_str)) {
        ("object", _) => {
            let fields = schema.get("properties").and_then(Value::as_object);
            let fields = fields.into_iter().flatten();
            let composed = fields.filter_map(|(name, field)| Some((name.clone(), compose(field, schemas)?)));
            Value::Object(composed.collect())
        }
        ("array", _) => json!([compose(schema.get("items")?, schemas)?]),
        ("string", Some("uuid")) => json!("01a20198-d7ff-76d0-ae30-1b8ed89ad059"),
        ("string", Some("date-time")) => json!("2026-11-22T04:52:03.711Z"),
        ("string", _) => json!("text"),
        ("integer" | "number", _) => json!(1),
        ("boolean", _) => json!(true),
        _ => return None,
    })
}

//! What an operation can refuse with. [`ApiError`] itself says status, code, text and headers, so that the document
//! cannot tell of an error that the program does not make.

use std::collections::BTreeMap;
use std::marker::PhantomData;

use serde_json::Value;
use utoipa::IntoResponses;
use utoipa::openapi::example::{Example, ExampleBuilder};
use utoipa::openapi::response::Response;
use utoipa::openapi::schema::{AllOf, Object, Schema, Type};
use utoipa::openapi::{ContentBuilder, Ref, RefOr};

use super::headers;
use crate::field::FieldError;
use crate::http::error::ApiError;

/// The media type of every error (RFC 9457).
pub const PROBLEM: &str = "application/problem+json";

/// Something that can refuse a request: a use case's error, an extractor.
///
/// It stands beside the `From` that makes the [`ApiError`]s, so that both are changed together.
pub trait Refuses {
    /// Each error that it can come to, once.
    fn refusals() -> Vec<ApiError>;
}

/// Says in `#[utoipa::path(responses(…))]` how an operation can fail: by what its handler takes from the request, and
/// by its use case: `Refused<(Authenticated, Body<UpdateBody>, UpdateProfileError)>`.
/// What holds for every operation (limits, 500) is added without a word.
pub struct Refused<T>(PhantomData<T>);

impl<T: Refuses> IntoResponses for Refused<T> {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let mut responses = BTreeMap::new();
        document(&mut responses, &T::refusals());
        responses
    }
}

impl<A: Refuses, B: Refuses> Refuses for (A, B) {
    fn refusals() -> Vec<ApiError> {
        [A::refusals(), B::refusals()].concat()
    }
}

impl<A: Refuses, B: Refuses, C: Refuses> Refuses for (A, B, C) {
    fn refusals() -> Vec<ApiError> {
        <(A, (B, C))>::refusals()
    }
}

impl<A: Refuses, B: Refuses, C: Refuses, D: Refuses> Refuses for (A, B, C, D) {
    fn refusals() -> Vec<ApiError> {
        <((A, B), (C, D))>::refusals()
    }
}

/// The database can be away, or refuse a query: what every use case adds to its own errors.
pub fn and_storage(own: impl Into<Vec<ApiError>>) -> Vec<ApiError> {
    let mut all = own.into();
    all.extend([ApiError::unavailable(), ApiError::internal()]);
    all
}

/// 422 for `pointer`, as the document shows it.
pub fn refused_field(pointer: &str, code: &'static str, message: &str) -> ApiError {
    ApiError::validation_failed(vec![FieldError::new(pointer, code, message)])
}

/// Adds `errors` to what is documented already. An error whose code stands there with this status is not added
/// again: the more particular example came first.
pub fn document(responses: &mut BTreeMap<String, RefOr<Response>>, errors: &[ApiError]) {
    for error in errors {
        let status = error.status().as_str().to_owned();
        let response = responses
            .entry(status)
            .or_insert_with(|| RefOr::T(Response::new("")));
        if let RefOr::T(response) = response {
            add(response, error);
        }
    }
}

fn add(response: &mut Response, error: &ApiError) {
    headers::add(response, error.header_names());
    let code = error.problem().code;
    let content = response
        .content
        .entry(PROBLEM.to_owned())
        .or_insert_with(|| RefOr::T(ContentBuilder::new().build()));
    let RefOr::T(content) = content else { return };
    if content.examples.contains_key(code) {
        return;
    }
    let example = ExampleBuilder::new()
        .summary(code)
        .value(Some(error.example()))
        .build();
    content.examples.insert(code.to_owned(), RefOr::T(example));
    let codes: Vec<String> = content.examples.keys().cloned().collect();
    let texts = content
        .examples
        .iter()
        .map(|(code, example)| format!("`{code}`: {}", detail(example)));
    response.description = texts.collect::<Vec<_>>().join("\n\n");
    let one_of_these = Object::builder().property(
        "code",
        Object::builder()
            .schema_type(Type::String)
            .enum_values(Some(codes)),
    );
    content.schema = Some(RefOr::T(Schema::AllOf(
        AllOf::builder()
            .item(Ref::from_schema_name("Problem"))
            .item(one_of_these)
            .build(),
    )));
}

fn detail(example: &RefOr<Example>) -> &str {
    match example {
        RefOr::T(Example {
            value: Some(value), ..
        }) => value.get("detail").and_then(Value::as_str),
        _ => None,
    }
    .unwrap_or_default()
}

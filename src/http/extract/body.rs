//! JSON bodies, in and out.
//!
//! Malformed JSON is 400, well-formed JSON that breaks a rule is 422 with a pointer to the field
//! (RFC 6901), a body that is no JSON by its own word is 415. No answer repeats a value that was
//! sent: it may be a password.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use validator::{Validate, ValidationError};

use crate::field::{FieldError, is_no_text};
use crate::http::error::ApiError;
use crate::http::openapi::{Refuses, refused_field};
use crate::http::stages::limits::MOST_HEADERS;

/// The largest body that is read, in bytes.
pub const MOST_BYTES: usize = 16 * 1024;

/// The longest a body may take to arrive.
pub const MOST_TIME: Duration = Duration::from_secs(30);

/// A required JSON object.
pub struct Body<T>(pub T);

/// A JSON object that may be left out whole.
pub struct OptionalBody<T>(pub T);

impl<T> Refuses for Body<T> {
    fn refusals() -> Vec<ApiError> {
        vec![
            ApiError::invalid_request("The request body is not well-formed JSON."),
            ApiError::request_timeout(),
            ApiError::payload_too_large(),
            not_of(JSON),
            refused_field("/email", "required", "This field is required."),
        ]
    }
}

impl<T> Refuses for OptionalBody<T> {
    fn refusals() -> Vec<ApiError> {
        Body::<T>::refusals()
    }
}

impl<S: Send + Sync, T: DeserializeOwned + Validate> FromRequest<S> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        let (bytes, is_json) = read(&parts.headers, body, JSON).await?;
        if bytes.is_empty() {
            return Err(ApiError::invalid_request("The request needs a JSON body."));
        }
        parse(&bytes, is_json).map(Self)
    }
}

impl<S: Send + Sync, T: DeserializeOwned + Validate + Default> FromRequest<S> for OptionalBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        let (bytes, is_json) = read(&parts.headers, body, JSON).await?;
        if bytes.is_empty() {
            Ok(Self(T::default()))
        } else {
            parse(&bytes, is_json).map(Self)
        }
    }
}

/// The media type of the API's bodies.
const JSON: &str = "application/json";

/// Reads the whole body within its bounds; tells also whether it calls itself `kind`. Of another kind is 415.
pub(super) async fn read(
    headers: &HeaderMap,
    body: axum::body::Body,
    kind: &'static str,
) -> Result<(Bytes, bool), ApiError> {
    let is_kind = is_of(kind, headers);
    let declared = headers
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    // A body of the wrong kind or size is refused before any of it is read.
    if declared.is_some_and(|length| length > MOST_BYTES as u64) {
        return Err(ApiError::payload_too_large());
    }
    if headers.contains_key(CONTENT_ENCODING) {
        return Err(ApiError::unsupported_media_type(
            "A compressed body is not accepted.",
        ));
    }
    if headers.contains_key(CONTENT_TYPE) && !is_kind {
        return Err(not_of(kind));
    }
    let limited = Limited::new(body, MOST_BYTES);
    match tokio::time::timeout(MOST_TIME, limited.collect()).await {
        Err(_) => Err(ApiError::request_timeout()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(ApiError::payload_too_large()),
        Ok(Err(_)) => Err(ApiError::invalid_request("The request body broke off.")),
        Ok(Ok(collected)) => Ok((collected.to_bytes(), is_kind)),
    }
}

fn is_of(kind: &str, headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(CONTENT_TYPE).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return false;
    };
    let sent = value.to_str().ok().and_then(|text| text.split(';').next());
    sent.is_some_and(|sent| sent.trim().eq_ignore_ascii_case(kind))
}

fn not_of(kind: &str) -> ApiError {
    ApiError::unsupported_media_type(format!("The body must be sent as Content-Type: {kind}."))
}

fn parse<T: DeserializeOwned + Validate>(bytes: &[u8], is_json: bool) -> Result<T, ApiError> {
    if !is_json {
        return Err(not_of(JSON));
    }
    let value: Value = serde_json::from_slice(bytes)
        .map_err(|_| ApiError::invalid_request("The request body is not well-formed JSON."))?;
    if !value.is_object() {
        let refused = field("", "wrong_type", "The body must be a JSON object.");
        return Err(ApiError::validation_failed(vec![refused]));
    }
    let parsed: T =
        serde_path_to_error::deserialize(value).map_err(|error| wrong_shapes::<T>(bytes, &error))?;
    match parsed.validate() {
        Ok(()) => Ok(parsed),
        Err(errors) => Err(ApiError::validation_failed(broken_rules(&errors))),
    }
}

fn field(pointer: &str, code: &'static str, message: &str) -> FieldError {
    FieldError {
        pointer: pointer.to_owned(),
        code,
        message: message.to_owned(),
    }
}

/// Every field that is missing or of the wrong type. serde stops at the first, so that one is filled in or taken out, and
/// serde asked again.
fn wrong_shapes<T: DeserializeOwned>(bytes: &[u8], first: &ShapeError) -> ApiError {
    let mut found = vec![wrong_shape(first)];
    let mut object: Map<String, Value> = serde_json::from_slice(bytes).unwrap_or_default();
    while let Some(last) = found.last() {
        let name = last.pointer.trim_start_matches('/').to_owned();
        if last.code == "required" {
            object.insert(name, Value::from(""));
        } else {
            object.remove(&name);
        }
        let asked_again = serde_path_to_error::deserialize::<_, T>(Value::Object(object.clone()));
        let Some(next) = asked_again.err().map(|error| wrong_shape(&error)) else {
            break;
        };
        let is_known = |known: &FieldError| known.pointer == next.pointer && known.code == next.code;
        if found.iter().any(is_known) {
            break;
        }
        found.push(next);
    }
    // What was taken out may be missing then: it is told once, as what it was.
    let mut told: Vec<FieldError> = Vec::new();
    for fault in found {
        if told.iter().all(|known| known.pointer != fault.pointer) {
            told.push(fault);
        }
    }
    ApiError::validation_failed(told)
}

type ShapeError = serde_path_to_error::Error<serde_json::Error>;

/// serde's own message repeats the value, so only where and which kind of error is taken from it.
fn wrong_shape(error: &ShapeError) -> FieldError {
    let mut pointer = String::new();
    for segment in error.path() {
        if let serde_path_to_error::Segment::Map { key } = segment {
            pointer.push('/');
            pointer.push_str(key);
        }
    }
    let text = error.inner().to_string();
    let missing = text
        .strip_prefix("missing field `")
        .and_then(|rest| rest.split_once('`'));
    match missing {
        Some((name, _)) => field(
            &format!("{pointer}/{name}"),
            "required",
            "This field is required.",
        ),
        None => field(&pointer, "wrong_type", "This field has the wrong type."),
    }
}

/// For text that people type. Tokens need no such check: whatever is no token of ours is a bad token.
pub fn text(value: &str) -> Result<(), ValidationError> {
    if value.chars().any(is_no_text) {
        return Err(ValidationError::new("text"));
    }
    Ok(())
}

/// `validator` keeps the refused value in its parameters; they stay behind here.
fn broken_rules(errors: &validator::ValidationErrors) -> Vec<FieldError> {
    let broken = |(name, errors): (_, &Vec<validator::ValidationError>)| {
        let (code, message) = match errors.first().map(|error| error.code.as_ref()) {
            Some("length") => ("too_long", "This field is too long."),
            Some("text") => (
                "invalid_characters",
                "This field has characters that cannot be part of a text.",
            ),
            _ => ("invalid", "This field is not valid."),
        };
        field(&format!("/{name}"), code, message)
    };
    let mut fields: Vec<FieldError> = errors.field_errors().into_iter().map(broken).collect();
    fields.sort_by(|a, b| a.pointer.cmp(&b.pointer));
    fields
}

/// Room for most answers, in bytes.
const USUAL_ANSWER: usize = 512;

/// A JSON answer with its status.
pub struct Answer<T>(pub StatusCode, pub T);

impl<T: Serialize> IntoResponse for Answer<T> {
    fn into_response(self) -> Response {
        let mut body = Vec::with_capacity(USUAL_ANSWER);
        match serde_json::to_writer(&mut body, &self.1) {
            Ok(()) => {
                let mut response = Response::new(body.into());
                *response.status_mut() = self.0;
                // All that stages will add has room at once.
                *response.headers_mut() = HeaderMap::with_capacity(MOST_HEADERS);
                let kind = HeaderValue::from_static("application/json; charset=utf-8");
                response.headers_mut().insert(CONTENT_TYPE, kind);
                response
            }
            Err(error) => {
                tracing::error!(%error, "an answer could not be written as JSON");
                ApiError::internal().into_response()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default, serde::Deserialize, Validate)]
    struct Form {
        #[expect(dead_code, reason = "only its type matters here")]
        email: String,
        #[validate(length(max = 4))]
        #[serde(default)]
        token: String,
    }

    fn refuse(body: &str) -> (u16, Vec<(String, &'static str)>) {
        let error = parse::<Form>(body.as_bytes(), true).unwrap_err();
        let errors = error
            .problem()
            .errors
            .iter()
            .map(|e| (e.pointer.clone(), e.code))
            .collect();
        (error.status().as_u16(), errors)
    }

    #[test]
    fn malformed_json_is_400() {
        for body in [
            "{",
            "",
            "{\"email\":\"\\ud800\"}",
            "{'email':1}",
            "{\"email\":\"a\"} x",
        ] {
            assert_eq!(refuse(body), (400, vec![]), "{body}");
        }
    }

    #[test]
    fn a_missing_or_wrong_typed_field_is_422_with_its_pointer() {
        assert_eq!(refuse("{}"), (422, vec![("/email".into(), "required")]));
        assert_eq!(
            refuse("{\"email\":7}"),
            (422, vec![("/email".into(), "wrong_type")])
        );
        assert_eq!(
            refuse("{\"email\":null}"),
            (422, vec![("/email".into(), "wrong_type")])
        );
        assert_eq!(refuse("[]"), (422, vec![(String::new(), "wrong_type")]));
    }

    #[test]
    fn all_missing_and_wrong_typed_fields_are_told_at_once_and_each_once() {
        #[derive(Debug, serde::Deserialize, Validate)]
        #[expect(dead_code, reason = "only their types matter here")]
        struct Many {
            email: String,
            count: u32,
            #[serde(default)]
            flag: Option<bool>,
            password: String,
            tags: Vec<String>,
        }
        let refuse = |body: &str| {
            let error = parse::<Many>(body.as_bytes(), true).unwrap_err();
            let told = error.problem().errors.iter();
            told.map(|fault| format!("{} {}", fault.pointer, fault.code))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            refuse(r#"{"count":1,"tags":[]}"#),
            ["/email required", "/password required"]
        );
        assert_eq!(
            refuse(r#"{"email":7,"count":1,"flag":"yes","tags":[]}"#),
            ["/email wrong_type", "/flag wrong_type", "/password required"]
        );
        // A number that is missing cannot be filled in with a text: what stands behind it stays untold.
        assert_eq!(refuse("{}"), ["/email required", "/count required"]);
        assert_eq!(
            refuse(r#"{"email":"a","count":1,"password":"b","tags":[1]}"#),
            ["/tags wrong_type"]
        );
    }

    #[test]
    fn a_refusal_never_repeats_the_value() {
        let error = parse::<Form>(b"{\"email\":\"a\",\"token\":\"hunter2-hunter2\"}", true).unwrap_err();
        assert_eq!(error.problem().errors.len(), 1);
        assert!(!format!("{error:?}").contains("hunter2"));
        let error = parse::<Form>(b"{\"email\":[\"hunter2\"]}", true).unwrap_err();
        assert!(!format!("{error:?}").contains("hunter2"));
    }
}

//! Which page of a list a request asks for: `?cursor=` of the page before, `?limit=`, and for what it looks, `?query=`.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use url::form_urlencoded;

use crate::accounts::{NoCursor, PageRequest};
use crate::field::FieldError;
use crate::http::error::ApiError;
use crate::http::openapi::{Refuses, refused_field};

/// Items on a page where the request does not say.
const USUAL: u32 = 50;
/// Most items on a page.
const MOST: u32 = 100;
const OUT_OF_RANGE: &str = "The limit is a whole number from 1 to 100.";

/// The page, and what is looked for. Other parameters are ignored; of one that is repeated the last counts.
#[derive(Debug)]
pub struct Paging {
    /// `query`
    pub query: Option<String>,
    /// `cursor`, `limit`
    pub page: PageRequest,
}

impl Refuses for Paging {
    fn refusals() -> Vec<ApiError> {
        vec![refused_field("/limit", "out_of_range", OUT_OF_RANGE)]
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Paging {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        read(parts.uri.query().unwrap_or_default()).map_err(ApiError::validation_failed)
    }
}

fn read(query: &str) -> Result<Paging, Vec<FieldError>> {
    let mut paging = Paging {
        query: None,
        page: PageRequest::first(USUAL),
    };
    let mut errors = Vec::new();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match name.as_ref() {
            "query" => paging.query = Some(value.into_owned()),
            // An empty one is what a form sends for the first page.
            "cursor" if value.is_empty() => paging.page.after = None,
            "cursor" => match value.parse() {
                Ok(cursor) => paging.page.after = Some(cursor),
                Err(NoCursor) => {
                    errors.push(FieldError::new("/cursor", "invalid_cursor", NoCursor.to_string()));
                }
            },
            "limit" => match value.parse() {
                Ok(most @ 1..=MOST) => paging.page.most = most,
                _ => errors.push(FieldError::new("/limit", "out_of_range", OUT_OF_RANGE)),
            },
            _ => {}
        }
    }
    if errors.is_empty() {
        Ok(paging)
    } else {
        Err(errors)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_bounded_and_faults_are_pointed_at() {
        let paging = read("query=a%25+b&limit=100&x=y").unwrap();
        assert_eq!((paging.query.as_deref(), paging.page.most), (Some("a% b"), 100));
        assert_eq!(read("").unwrap().page.most, 50);
        for (query, pointer) in [
            ("limit=0", "/limit"),
            ("limit=101", "/limit"),
            ("limit=-1", "/limit"),
            ("limit=", "/limit"),
            ("cursor=x", "/cursor"),
            ("cursor=%00", "/cursor"),
        ] {
            assert_eq!(read(query).unwrap_err()[0].pointer, pointer, "{query}");
        }
    }
}

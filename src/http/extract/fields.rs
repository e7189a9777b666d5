//! The fields of a form, as browsers send it.

use axum::body::Body;
use axum::http::HeaderMap;
use url::form_urlencoded;

use super::body;
use crate::field::FieldError;
use crate::http::error::ApiError;

/// Names and values in the order of the form.
#[derive(Clone, Default)]
pub struct Fields(Vec<(String, String)>);

impl Fields {
    /// A single field.
    #[must_use]
    pub fn one(name: &str, value: &str) -> Self {
        Self(vec![(name.to_owned(), value.to_owned())])
    }

    /// Reads the body of a form, within the bounds of every body.
    pub async fn read(headers: &HeaderMap, body: Body) -> Result<Self, ApiError> {
        const FORM: &str = "application/x-www-form-urlencoded";
        let (bytes, _) = body::read(headers, body, FORM).await?;
        Ok(Self::parse(&bytes))
    }

    /// Those of a URL's query.
    #[must_use]
    pub fn of_query(uri: &axum::http::Uri) -> Self {
        Self::parse(uri.query().unwrap_or_default().as_bytes())
    }

    fn parse(bytes: &[u8]) -> Self {
        Self(form_urlencoded::parse(bytes).into_owned().collect())
    }

    /// The first value of `name`; empty if there is none, which a form cannot tell apart either.
    #[must_use]
    pub fn get(&self, name: &str) -> &str {
        self.all(name).next().unwrap_or_default()
    }

    /// The value of `name`, or `None` where nothing but blanks stands in it.
    #[must_use]
    pub fn filled(&self, name: &str) -> Option<&str> {
        Some(self.get(name)).filter(|value| !value.trim().is_empty())
    }

    /// Nothing of it but `name`.
    #[must_use]
    pub fn only(&self, name: &str) -> Self {
        Self::one(name, self.get(name))
    }

    /// Every value of `name`.
    pub fn all<'a, 'n>(&'a self, name: &'n str) -> impl Iterator<Item = &'a str> + use<'a, 'n> {
        let of_name = self.0.iter().filter(move |(own, _)| own == name);
        of_name.map(|(_, value)| value.as_str())
    }

    /// The value of `name` as a text that any database can hold, by the same rule as in the API.
    pub fn text(&self, name: &str) -> Result<String, ApiError> {
        let value = self.get(name);
        if body::text(value).is_err() {
            let message = "This field has characters that cannot be part of a text.";
            let refused = FieldError::new(&format!("/{name}"), "invalid_characters", message);
            return Err(ApiError::validation_failed(vec![refused]));
        }
        Ok(value.to_owned())
    }
}

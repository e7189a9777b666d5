//! What the owner of a token sets: name, scopes, expiry, quotas. Parsed into values that cannot be wrong.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::Settings;
use super::scope::{Scope, read_list, write_list};
use crate::clock::Timestamp;
use crate::field::{FieldError, is_no_writing};
use crate::storage::{ApiTokenRow, ApiTokenTerms};

/// Longest name, in characters.
const LONGEST_NAME: usize = 100;
/// Most scopes of one token: they all travel in one header.
const MOST_SCOPES: usize = 50;
/// The fields of the quotas, the shortest window first.
const QUOTA_FIELDS: [&str; 3] = [
    "/rate_limit_per_minute",
    "/rate_limit_per_hour",
    "/rate_limit_per_day",
];

/// One field of a change.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Edit<T> {
    /// Absent: stays as it is; in a new token the default.
    #[default]
    Keep,
    /// `null`: the default.
    Default,
    /// A value.
    Set(T),
}

/// What a request asks a token to be, not looked at yet.
#[derive(Clone, Debug, Default)]
pub struct TermsChange {
    /// Must be there in a new token.
    pub name: Edit<String>,
    /// Default: none.
    pub scopes: Edit<Vec<String>>,
    /// RFC 3339. Default: never.
    pub expires_at: Edit<String>,
    /// Requests in a minute, an hour, a day. Default: `API_TOKEN_RATE_LIMIT`.
    pub quota: [Edit<u64>; 3],
}

/// What a token is set to be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Terms {
    pub name: String,
    pub scopes: Vec<Scope>,
    pub expires_at: Option<Timestamp>,
    /// `None` follows the configuration.
    pub quota: [Option<u32>; 3],
}

impl Terms {
    pub(super) fn of(row: &ApiTokenRow) -> Self {
        let count = |stored: Option<i64>| stored.map(|count| u32::try_from(count).unwrap_or(u32::MAX));
        Self {
            name: row.name.clone(),
            scopes: read_list(&row.scopes),
            expires_at: row.expires_at,
            quota: [count(row.per_minute), count(row.per_hour), count(row.per_day)],
        }
    }

    /// The quota as it holds: the configured one is both default and most, also where it was lowered since.
    pub(super) fn effective_quota(&self, settings: &Settings) -> [u32; 3] {
        let [minute, hour, day] = self.quota;
        let [most_minute, most_hour, most_day] = settings.quota;
        [(minute, most_minute), (hour, most_hour), (day, most_day)]
            .map(|(set, most)| set.unwrap_or(most).min(most))
    }

    /// The scopes as they are stored, to hand to [`Self::stored`].
    pub(super) fn scope_text(&self) -> String {
        write_list(&self.scopes)
    }

    pub(super) fn stored<'a>(&'a self, scopes: &'a str) -> ApiTokenTerms<'a> {
        ApiTokenTerms {
            name: &self.name,
            scopes,
            quota: self.quota.map(|set| set.map(i64::from)),
            expires_at: self.expires_at,
        }
    }
}

impl TermsChange {
    /// A new token's terms.
    pub(super) fn create(
        &self,
        settings: &Settings,
        is_admin: bool,
        now: Timestamp,
    ) -> Result<Terms, Vec<FieldError>> {
        let blank = Terms {
            name: String::new(),
            scopes: Vec::new(),
            expires_at: None,
            quota: [None; 3],
        };
        self.apply(blank, settings, is_admin, now)
    }

    /// `terms` with this change; all faults at once.
    pub(super) fn apply(
        &self,
        mut terms: Terms,
        settings: &Settings,
        is_admin: bool,
        now: Timestamp,
    ) -> Result<Terms, Vec<FieldError>> {
        let mut faults = Vec::new();
        match &self.name {
            Edit::Keep if !terms.name.is_empty() => {}
            Edit::Keep | Edit::Default => {
                faults.push(FieldError::new("/name", "required", "This field is required."));
            }
            Edit::Set(text) => match parse_name(text) {
                Ok(name) => terms.name = name,
                Err(fault) => faults.push(fault),
            },
        }
        match &self.scopes {
            Edit::Keep => {}
            Edit::Default => terms.scopes.clear(),
            Edit::Set(texts) => match parse_scopes(texts, settings, is_admin) {
                Ok(scopes) => terms.scopes = scopes,
                Err(fault) => faults.push(fault),
            },
        }
        match &self.expires_at {
            Edit::Keep => {}
            Edit::Default => terms.expires_at = None,
            Edit::Set(text) => match parse_expiry(text, now) {
                Ok(expires_at) => terms.expires_at = Some(expires_at),
                Err(fault) => faults.push(fault),
            },
        }
        let fields = self.quota.iter().zip(&mut terms.quota);
        for ((edit, set), (most, pointer)) in fields.zip(settings.quota.iter().zip(QUOTA_FIELDS)) {
            match edit {
                Edit::Keep => {}
                Edit::Default => *set = None,
                Edit::Set(count) if *count <= u64::from(*most) => {
                    *set = u32::try_from(*count).ok();
                }
                Edit::Set(_) => faults.push(FieldError::new(
                    pointer,
                    "too_large",
                    format!("At most {most} can be asked for here."),
                )),
            }
        }
        let [minute, hour, day] = terms.effective_quota(settings);
        if faults.is_empty() && !(minute <= hour && hour <= day) {
            let [_, per_hour, per_day] = QUOTA_FIELDS;
            let (pointer, message) = if minute > hour {
                (per_hour, "The hour's limit is smaller than the minute's.")
            } else {
                (per_day, "The day's limit is smaller than the hour's.")
            };
            faults.push(FieldError::new(pointer, "too_small", message));
        }
        if faults.is_empty() { Ok(terms) } else { Err(faults) }
    }
}

fn parse_name(text: &str) -> Result<String, FieldError> {
    let fault = |code, message: &str| Err(FieldError::new("/name", code, message));
    if text.chars().any(is_no_writing) {
        return fault(
            "invalid_characters",
            "The name has characters that cannot be part of a name.",
        );
    }
    let text = text.trim();
    if text.is_empty() {
        return fault("required", "This field is required.");
    }
    if text.chars().nth(LONGEST_NAME).is_some() {
        return fault("too_long", "The name is longer than 100 characters.");
    }
    Ok(text.to_owned())
}

fn parse_scopes(texts: &[String], settings: &Settings, is_admin: bool) -> Result<Vec<Scope>, FieldError> {
    if texts.len() > MOST_SCOPES {
        let message = "A token has at most 50 scopes.";
        return Err(FieldError::new("/scopes", "too_many", message));
    }
    let mut scopes: Vec<Scope> = Vec::with_capacity(texts.len());
    for (place, text) in texts.iter().enumerate() {
        let fault = |code, message: &str| Err(FieldError::new(&format!("/scopes/{place}"), code, message));
        let Some(scope) = Scope::parse(text) else {
            return fault(
                "invalid",
                "A scope starts with a small letter, of up to 64 small letters, digits and _ : . * -",
            );
        };
        if scope.is_for_admins() && !is_admin {
            return fault("not_allowed", "This scope is for administrators.");
        }
        if !settings.scopes.allow(&scope) {
            return fault("not_allowed", "This scope cannot be put on a token here.");
        }
        if !scopes.contains(&scope) {
            scopes.push(scope);
        }
    }
    Ok(scopes)
}

fn parse_expiry(text: &str, now: Timestamp) -> Result<Timestamp, FieldError> {
    let fault = |code, message: &str| Err(FieldError::new("/expires_at", code, message));
    let Ok(moment) = OffsetDateTime::parse(text, &Rfc3339) else {
        return fault(
            "invalid",
            "This must be a time such as 2030-01-31T12:00:00Z (RFC 3339).",
        );
    };
    let millis = i64::try_from(moment.unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MAX);
    let expires_at = Timestamp::from_millis(millis);
    if expires_at <= now {
        return fault("in_the_past", "This time is over already.");
    }
    Ok(expires_at)
}

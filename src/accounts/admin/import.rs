//! Bringing accounts from elsewhere, with the hashes of their passwords.
//!
//! A row is `{"email","password_hash","full_name"?,"is_verified"?,"created_at"?}`. Rows are written in batches, each
//! whole or not at all, so that an import that was killed is simply run again: what is there is skipped.

use std::fmt;
use std::time::Duration;

use serde_json::Value;

use super::{Accounts, Administrator};
use crate::accounts::{Email, FullName};
use crate::audit::{EventKind, Outcome};
use crate::clock::Timestamp;
use crate::credentials::stored_hash;
use crate::storage::{self, ImportedUser, StorageError};

/// Tries to write a batch while the database is busy with others, and the pause between them.
const TRIES: u32 = 10;
const PAUSE: Duration = Duration::from_millis(500);

/// A row whose fields are all good. No `Debug`: it holds a password hash.
pub struct ImportRow {
    email: Email,
    password_hash: String,
    full_name: Option<FullName>,
    is_verified: bool,
    created_at: Option<Timestamp>,
}

/// Why a row is refused. Never repeats what stands in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{message}", field.map(|field| format!("{field}: ")).unwrap_or_default())]
pub struct RowError {
    /// Which field; `None`: the row as a whole.
    pub field: Option<&'static str>,
    /// What is wrong.
    pub message: String,
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// New accounts.
    pub added: u64,
    /// Addresses that had an account already; it stays as it is.
    pub skipped: u64,
}

impl ImportRow {
    /// Reads a line of JSON. Members with other names are ignored.
    pub fn parse(line: &[u8], now: Timestamp) -> Result<Self, RowError> {
        let whole = |message: &str| RowError {
            field: None,
            message: message.to_owned(),
        };
        let row = match serde_json::from_slice(line) {
            Ok(Value::Object(row)) => row,
            Ok(_) => return Err(whole("no JSON object")),
            // serde's own text can repeat what stands there.
            Err(error) => return Err(whole(&format!("no JSON, from column {} on", error.column()))),
        };
        let text = |field: &'static str| match row.get(field) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.as_str())),
            Some(_) => Err(refused(field, &"no text")),
        };
        let required = |field| text(field)?.ok_or_else(|| refused(field, &"missing"));
        let email = Email::parse(required("email")?).map_err(|error| refused("email", &error))?;
        let password_hash = stored_hash::import(required("password_hash")?)
            .map_err(|error| refused("password_hash", &error))?;
        let full_name = match text("full_name")? {
            Some(name) => FullName::parse(name).map_err(|error| refused("full_name", &error))?,
            None => None,
        };
        let is_verified = match row.get("is_verified") {
            None | Some(Value::Null) => false,
            Some(Value::Bool(flag)) => *flag,
            Some(_) => return Err(refused("is_verified", &"neither true nor false")),
        };
        let created_at = match text("created_at")? {
            Some(moment) => {
                let moment: Timestamp = moment.parse().map_err(|error| refused("created_at", &error))?;
                if moment > now {
                    return Err(refused("created_at", &"in the future"));
                }
                Some(moment)
            }
            None => None,
        };
        Ok(Self {
            email,
            password_hash,
            full_name,
            is_verified,
            created_at,
        })
    }
}

fn refused(field: &'static str, why: &dyn fmt::Display) -> RowError {
    RowError {
        field: Some(field),
        message: why.to_string(),
    }
}

impl Accounts {
    /// Writes a batch of rows, all or, on an error, none.
    pub async fn import_users(
        &self,
        by: &Administrator,
        rows: &[ImportRow],
    ) -> Result<Imported, StorageError> {
        let now = self.0.clock.now();
        let user = |row: &ImportRow| ImportedUser {
            id: storage::new_id(now),
            email: row.email.as_str().to_owned(),
            full_name: row.full_name.as_ref().map(|name| name.as_str().to_owned()),
            password_hash: row.password_hash.clone(),
            is_verified: row.is_verified,
            created_at: row.created_at.unwrap_or(now),
        };
        let mut users: Vec<ImportedUser> = rows.iter().map(user).collect();
        // Two imports at once lock rows in the same order. Of one address twice in a batch the first stays the first.
        users.sort_by(|a, b| a.email.cmp(&b.email));
        let mut tries = 1;
        loop {
            match self.write_batch(by, &users).await {
                Err(error) if error.is_unavailable() && tries < TRIES => {
                    tries += 1;
                    tokio::time::sleep(PAUSE).await;
                }
                result => return result,
            }
        }
    }

    async fn write_batch(
        &self,
        by: &Administrator,
        users: &[ImportedUser],
    ) -> Result<Imported, StorageError> {
        let mut transaction = self.0.database.begin().await?;
        let mut imported = Imported::default();
        let mut events = Vec::with_capacity(users.len());
        for user in users {
            match storage::import_user(&mut transaction, user).await? {
                Some(id) => {
                    imported.added += 1;
                    let event = by.event(EventKind::AdminUserImported, Outcome::Success);
                    events.push(self.0.audit.row(&event.to_user(id)));
                }
                None => imported.skipped += 1,
            }
        }
        storage::add_audit_rows(&mut transaction, &events).await?;
        transaction.commit().await?;
        Ok(imported)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "$2b$05$abcdefghijklmnopqrstuuZVEMa1pjhlynBQ1qXmSvGBJpN9h1w8G";

    fn parse(line: &str) -> Result<ImportRow, String> {
        let now = Timestamp::from_millis(1_800_000_000_000);
        ImportRow::parse(line.as_bytes(), now).map_err(|error| error.to_string())
    }

    #[test]
    fn a_row_needs_an_address_and_a_hash() {
        let row = parse(&format!(
            r#"{{"email":" Ada@Example.com","password_hash":"{HASH}","id":7}}"#
        ))
        .unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(row.email.as_str(), "ada@example.com");
        assert!(!row.is_verified && row.full_name.is_none() && row.created_at.is_none());
    }

    #[test]
    fn a_refused_row_names_its_field_and_repeats_nothing() {
        for (line, expected) in [
            ("x", "no JSON, from column 1 on"),
            (r#"["secret"]"#, "no JSON object"),
            (r#"{"password_hash":"H"}"#, "email: missing"),
            (r#"{"email":"ada@example.com"}"#, "password_hash: missing"),
            (r#"{"email":7,"password_hash":"H"}"#, "email: no text"),
            (
                r#"{"email":"ada@example.com","password_hash":["secret"]}"#,
                "password_hash: no text",
            ),
            (
                r#"{"email":"ada@example.com","password_hash":"secret"}"#,
                "password_hash: not a password hash of a known kind (argon2, bcrypt, scrypt, pbkdf2)",
            ),
            (
                r#"{"email":"ada@example.com","password_hash":"H","full_name":"a\u0000"}"#,
                "full_name: The name has characters that cannot be part of a name.",
            ),
            (
                r#"{"email":"ada@example.com","password_hash":"H","is_verified":"yes"}"#,
                "is_verified: neither true nor false",
            ),
            (
                r#"{"email":"ada@example.com","password_hash":"H","created_at":"2026"}"#,
                "created_at: no moment in RFC 3339, such as 2026-11-22T02:49:16Z",
            ),
            (
                r#"{"email":"ada@example.com","password_hash":"H","created_at":1}"#,
                "created_at: no text",
            ),
            (
                r#"{"email":"ada@example.com","password_hash":"H","created_at":"2999-01-01T00:00:00Z"}"#,
                "created_at: in the future",
            ),
        ] {
            let Err(error) = parse(&line.replace("\"H\"", &format!("\"{HASH}\""))) else {
                panic!("{line} was read");
            };
            assert_eq!(error, expected, "{line}");
        }
    }
}

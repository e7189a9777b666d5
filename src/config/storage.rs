//! The database.

use std::path::PathBuf;

use secrecy::SecretString;

use super::reader::Reader;
use super::{Environment, dsn};
use crate::storage::{DatabaseUrl, Settings};

const DEFAULT_PATH: &str = "data/stile.db";

/// A parsed address, and its form for people.
struct Address {
    url: DatabaseUrl,
    shown: String,
}

pub(super) fn read(
    reader: &mut Reader<'_>,
    environment: Environment,
    tls_ca_file: Option<PathBuf>,
) -> Settings {
    let source = reader.source;
    let default = Address {
        url: DatabaseUrl::Sqlite(source.path(DEFAULT_PATH)),
        shown: format!("sqlite://{DEFAULT_PATH}"),
    };
    let address = reader.value(
        "DATABASE_URL",
        default,
        |address| address.shown.clone(),
        |text| match text.strip_prefix("sqlite://") {
            Some(path) => sqlite_path(path).map(|()| Address {
                url: DatabaseUrl::Sqlite(source.path(path)),
                shown: text.to_owned(),
            }),
            None => postgres(text),
        },
    );
    let allow_sqlite = reader.flag("ALLOW_SQLITE", false);
    let on_sqlite = matches!(address.url, DatabaseUrl::Sqlite(_)) && !reader.refused("DATABASE_URL");
    if environment.is_production() && !allow_sqlite && on_sqlite {
        reader.refuse(
            "DATABASE_URL",
            "production runs on PostgreSQL; ALLOW_SQLITE=true lets it run on SQLite, with one process and no replica",
        );
    }
    Settings {
        url: address.url,
        max_connections: reader.whole("DATABASE_MAX_CONNECTIONS", 10, 1..=10_000),
        tls_ca_file,
    }
}

fn sqlite_path(path: &str) -> Result<(), String> {
    if path.is_empty() || path.ends_with('/') {
        return Err("names no file: write sqlite://PATH".to_owned());
    }
    if path.contains(":memory:") {
        return Err("a database in memory is lost at the end: write sqlite://PATH".to_owned());
    }
    if path.contains(['?', '#']) || path.chars().any(char::is_control) {
        return Err("is a plain path after sqlite://, without options".to_owned());
    }
    Ok(())
}

fn postgres(text: &str) -> Result<Address, String> {
    if text.starts_with("postgresql") {
        return Err("must start with postgres://, in exactly these letters".to_owned());
    }
    if !text.starts_with("postgres://") {
        return Err("must start with sqlite:// or postgres://".to_owned());
    }
    let url = dsn::parse(text, &["postgres"])?;
    Ok(Address {
        shown: dsn::shown(&url),
        url: DatabaseUrl::Postgres(SecretString::from(text)),
    })
}

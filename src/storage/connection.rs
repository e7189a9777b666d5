//! A connection of either engine, the transaction on it, and the macros that run one text on either.

use std::mem;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use sqlx::{PgConnection, SqliteConnection};
use tracing::Instrument as _;

use super::error::{StorageError, is_cut};
use super::pool::Lent;
use crate::telemetry::traces::span;

/// Longest wait for the answer to one statement. The server has the same limit as `statement_timeout`;
/// this one also holds when the server is frozen or the network has swallowed it.
pub(super) const QUERY_TIMEOUT: Duration = Duration::from_secs(3);

/// A connection to run statements on; inside a [`Transaction`] or each on its own.
#[derive(Debug)]
pub struct Connection {
    pub(super) link: Link,
    /// It was lent as it lay: its server may have cut it, which the first statement shows. That one is idempotent (it reads, begins a
    /// transaction, or is written so that said twice it is said once), so it may be said again to another.
    may_be_cut: bool,
    /// A statement was begun and has not ended, so that its answer may still come; or the connection is cut.
    pub(super) in_flight: bool,
    /// Inside a transaction.
    pub(super) open: bool,
}

#[derive(Debug)]
pub(super) enum Link {
    Sqlite(Lent<SqliteConnection>),
    Postgres(Lent<PgConnection>),
}

/// Statements that take effect together at [`Transaction::commit`], or not at all. The first must write.
#[derive(Debug)]
pub struct Transaction(Connection);

/// Runs `$query` on either engine's link, bounded in time. Boxed, because a query is some kilobytes: every future around
/// it would be as large for its whole life, and is copied a few times on its way to the task.
macro_rules! on {
    ($on:expr, $sql:expr, |$link:ident| $query:expr) => {{
        let connection: &mut $crate::storage::Connection = $on;
        loop {
            connection.in_flight = true;
            let answer = match &mut connection.link {
                $crate::storage::connection::Link::Sqlite(lent) => {
                    let $link = lent.link();
                    $crate::storage::connection::in_time(Box::pin($query), $sql, "sqlite").await
                }
                $crate::storage::connection::Link::Postgres(lent) => {
                    let $link = lent.link();
                    $crate::storage::connection::in_time(Box::pin($query), $sql, "postgresql").await
                }
            };
            if let Some(answer) = connection.hear(answer).await {
                break answer;
            }
        }
    }};
}

/// `execute!(connection, sql, binds…)`: how many rows were touched.
macro_rules! execute {
    ($on:expr, $sql:expr $(, $bind:expr)* $(,)?) => {
        $crate::storage::connection::on!($on, $sql, |link| async {
            sqlx::query($sql)$(.bind($bind))*.execute(link).await.map(|done| done.rows_affected())
        })
    };
}

/// `fetch_optional!(Row, connection, sql, binds…)`: the first row, if any.
macro_rules! fetch_optional {
    ($row:ty, $on:expr, $sql:expr $(, $bind:expr)* $(,)?) => {
        $crate::storage::connection::on!($on, $sql, |link| {
            sqlx::query_as::<_, $row>($sql)$(.bind($bind))*.fetch_optional(link)
        })
    };
}

/// `fetch_all!(Row, connection, sql, binds…)`: all rows.
macro_rules! fetch_all {
    ($row:ty, $on:expr, $sql:expr $(, $bind:expr)* $(,)?) => {
        $crate::storage::connection::on!($on, $sql, |link| {
            sqlx::query_as::<_, $row>($sql)$(.bind($bind))*.fetch_all(link)
        })
    };
}

pub(super) use {execute, fetch_all, fetch_optional, on};

/// `None` when there was no answer within [`QUERY_TIMEOUT`]. The text holds placeholders and no value, so traces may show it.
pub(super) async fn in_time<T>(
    query: impl Future<Output = Result<T, sqlx::Error>>,
    sql: &'static str,
    engine: &'static str,
) -> Option<Result<T, sqlx::Error>> {
    let span = span!(
        "database.query",
        otel.kind = "client",
        db.system.name = engine,
        db.query.text = sql
    );
    tokio::time::timeout(QUERY_TIMEOUT, query)
        .instrument(span)
        .await
        .ok()
}

impl Connection {
    /// `may_be_cut`: it has not answered since it was used last. Its first statement must read, begin a transaction, or be such that
    /// saying it twice is saying it once: it may have been carried out although no answer came.
    pub(super) fn new(link: Link, may_be_cut: bool) -> Self {
        Self {
            link,
            may_be_cut,
            in_flight: false,
            open: false,
        }
    }

    /// What a statement came to; `None` if it was not heard, and is to be said again to the connection that is here now.
    pub(super) async fn hear<T>(
        &mut self,
        answer: Option<Result<T, sqlx::Error>>,
    ) -> Option<Result<T, StorageError>> {
        let Some(answer) = answer else {
            return Some(Err(StorageError::timed_out()));
        };
        self.in_flight = answer.as_ref().is_err_and(is_cut);
        let may_be_cut = mem::take(&mut self.may_be_cut);
        if !(self.in_flight && may_be_cut) {
            return Some(answer.map_err(StorageError::from));
        }
        let replaced = match &mut self.link {
            Link::Sqlite(lent) => Box::pin(lent.replace()).await,
            Link::Postgres(lent) => Box::pin(lent.replace()).await,
        };
        replaced.err().map(|error| Err(error.into()))
    }
}

/// A connection that was given up in the middle is closed, not given back: its server may be frozen, and
/// the pool would wait for it.
impl Drop for Connection {
    fn drop(&mut self) {
        if self.in_flight || self.open {
            match &mut self.link {
                Link::Sqlite(lent) => lent.condemn(),
                Link::Postgres(lent) => lent.condemn(),
            }
        }
    }
}

impl Transaction {
    pub(super) async fn begin(mut connection: Connection) -> Result<Self, StorageError> {
        connection.open = true;
        let begin = match connection.link {
            Link::Sqlite(_) => "BEGIN IMMEDIATE",
            Link::Postgres(_) => "BEGIN",
        };
        run(&mut connection, begin).await?;
        Ok(Self(connection))
    }

    /// Makes it so. An error leaves open whether it did.
    pub async fn commit(mut self) -> Result<(), StorageError> {
        run(&mut self.0, "COMMIT").await?;
        self.0.open = false;
        Ok(())
    }

    /// Undoes it, and keeps the connection.
    pub async fn rollback(mut self) -> Result<(), StorageError> {
        run(&mut self.0, "ROLLBACK").await?;
        self.0.open = false;
        Ok(())
    }
}

impl Deref for Transaction {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.0
    }
}

impl DerefMut for Transaction {
    fn deref_mut(&mut self) -> &mut Connection {
        &mut self.0
    }
}

/// A statement that begins or ends a transaction: not prepared.
async fn run(connection: &mut Connection, sql: &'static str) -> Result<(), StorageError> {
    on!(connection, sql, |link| async {
        sqlx::raw_sql(sql).execute(link).await.map(drop)
    })
}

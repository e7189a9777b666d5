//! Reading and changing rows behind a running app's back: for what no endpoint offers.

use sqlx::postgres::PgConnection;
use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, Connection as _};

use crate::app::TestApp;

impl TestApp {
    /// Runs a statement; how many rows it touched.
    pub async fn sql(&self, statement: &str) -> u64 {
        let (url, statement) = (self.database_url(), AssertSqlSafe(statement.to_owned()));
        if url.starts_with("sqlite") {
            let mut on = SqliteConnection::connect(&url).await.unwrap();
            sqlx::query(statement)
                .execute(&mut on)
                .await
                .unwrap()
                .rows_affected()
        } else {
            let mut on = PgConnection::connect(&url).await.unwrap();
            sqlx::query(statement)
                .execute(&mut on)
                .await
                .unwrap()
                .rows_affected()
        }
    }

    /// The one column, of text, that a query gives.
    pub async fn sql_texts(&self, query: &str) -> Vec<String> {
        let (url, query) = (self.database_url(), AssertSqlSafe(query.to_owned()));
        if url.starts_with("sqlite") {
            let mut on = SqliteConnection::connect(&url).await.unwrap();
            sqlx::query_scalar(query).fetch_all(&mut on).await.unwrap()
        } else {
            let mut on = PgConnection::connect(&url).await.unwrap();
            sqlx::query_scalar(query).fetch_all(&mut on).await.unwrap()
        }
    }

    /// As an administrator does it.
    pub async fn deactivate(&self, email: &str) {
        let touched = self
            .sql(&format!(
                "UPDATE users SET is_active = FALSE WHERE email = '{email}'"
            ))
            .await;
        assert_eq!(touched, 1);
    }

    /// The PHC string that is stored for an account.
    pub async fn stored_hash(&self, email: &str) -> String {
        let query = format!("SELECT password_hash FROM users WHERE email = '{email}'");
        self.sql_texts(&query).await.remove(0)
    }

    /// Waits for an event of the audit log with this reason (`""` for none): its rows are written behind the answer.
    pub async fn audited(&self, event: &str, reason: &str) {
        let query =
            format!("SELECT id FROM audit_log WHERE event = '{event}' AND COALESCE(reason, '') = '{reason}'");
        for _ in 0..100 {
            if !self.sql_texts(&query).await.is_empty() {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        panic!("no {event} ({reason}) was recorded in 5 s");
    }

    /// Waits until the mail queue is empty.
    pub async fn until_no_mail_waits(&self) {
        for _ in 0..400 {
            if self.sql_texts("SELECT id FROM mail_jobs").await.is_empty() {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(25)).await;
        }
        panic!("mails still wait after 10 s");
    }

    /// Every text of every table, for searching.
    pub async fn dump(&self) -> String {
        let tables = [
            ("users", "id, email, full_name, password_hash"),
            (
                "sessions",
                "id, family_hash, token_hash, previous_hash, successor_sealed, user_agent",
            ),
            (
                "one_time_tokens",
                "token_hash, email, job_id, password_hash, full_name, session_id",
            ),
            ("mail_jobs", "id, recipient, password_hash, full_name"),
            ("known_clients", "client"),
            ("audit_log", "id, event, reason, account, client_ip, request_id"),
        ];
        let mut dump = String::new();
        for (table, columns) in tables {
            let texts: Vec<String> = columns
                .split(", ")
                .map(|column| format!("COALESCE({column}, '')"))
                .collect();
            let query = format!("SELECT {} FROM {table}", texts.join(" || ' ' || "));
            dump.push_str(&self.sql_texts(&query).await.join("\n"));
        }
        dump
    }
}

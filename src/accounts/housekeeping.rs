//! Sweeping what has expired.

use tokio_util::sync::CancellationToken;

use super::Accounts;

impl Accounts {
    /// Erases expired tokens, sessions, grace successors, known clients and old audit rows until `shutdown`.
    pub async fn run_housekeeping(&self, shutdown: CancellationToken) {
        todo!()
    }
}

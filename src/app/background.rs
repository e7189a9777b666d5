//! The tasks that run beside the server: mail, housekeeping, the audit log, the uses of API tokens.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::App;
use crate::http;

/// The tasks beside the server.
pub(super) struct Background {
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Background {
    /// The longest that they may take to end: longer than the delivery gives the mails in hand.
    pub(super) const PATIENCE: Duration = Duration::from_secs(5);

    pub(super) fn start(app: &App) -> Self {
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let accounts = app.accounts.clone();
        tasks.spawn({
            let (accounts, mailer, stop) = (accounts.clone(), app.mailer.clone(), stop.clone());
            async move { accounts.run_delivery(mailer, stop).await }
        });
        tasks.spawn({
            let stop = stop.clone();
            async move { accounts.run_housekeeping(stop).await }
        });
        tasks.spawn({
            let (audit, limiter, stop) = (app.audit.clone(), app.limiter.clone(), stop.clone());
            async move { audit.watch(&limiter, stop).await }
        });
        tasks.spawn({
            let (api_tokens, stop) = (app.api_tokens.clone(), stop.clone());
            async move { api_tokens.run_uses(stop).await }
        });
        if let Some(stage) = app.local_stage.clone() {
            tasks.spawn(stop.clone().run_until_cancelled_owned(async move {
                loop {
                    tokio::time::sleep(http::SWEEP_EVERY).await;
                    stage.sweep();
                }
            }));
        }
        Self { tasks, stop }
    }

    pub(super) async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        if tokio::time::timeout(Self::PATIENCE, self.tasks.wait())
            .await
            .is_err()
        {
            tracing::warn!("a background task did not end in time; what it had in hand stays queued");
        }
    }
}

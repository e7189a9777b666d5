//! How long one request may still wait for Redis, over all its calls.
//!
//! A request asks the limiter up to three times (its client, the account, a refund). The contract allows it one command
//! timeout in all, so the time left travels with the request's task.

use std::cell::Cell;
use std::time::Duration;

tokio::task_local! {
    static LEFT: Cell<Duration>;
}

/// Runs `request` so that all its waits for Redis together take at most `whole`.
pub async fn within<F: Future>(whole: Duration, request: F) -> F::Output {
    LEFT.scope(Cell::new(whole), request).await
}

/// What is left to the request that is running; `whole` where none was announced.
pub fn left(whole: Duration) -> Duration {
    LEFT.try_with(Cell::get).map_or(whole, |left| left.min(whole))
}

/// Notes that the request has waited for `span`.
pub fn spend(span: Duration) {
    // Outside a request there is nothing to note it on.
    let _ = LEFT.try_with(|left| left.set(left.get().saturating_sub(span)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn waits_of_one_request_add_up_and_those_of_another_do_not() {
        let whole = Duration::from_millis(50);
        within(whole, async {
            spend(Duration::from_millis(30));
            assert_eq!(left(whole), Duration::from_millis(20));
            spend(Duration::from_millis(30));
            assert_eq!(left(whole), Duration::ZERO);
        })
        .await;
        assert_eq!(within(whole, async { left(whole) }).await, whole);
        assert_eq!(left(whole), whole);
    }
}

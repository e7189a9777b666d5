//! Whom a connection is lent to, and which ones are closed, by real connections of SQLite.

use sqlx::SqliteConnection;

use super::*;

fn pool(terms: Terms) -> Pool<SqliteConnection> {
    Pool::new("sqlite::memory:".parse().unwrap(), terms)
}

const TERMS: Terms = Terms {
    most: 2,
    patience: Duration::from_secs(30),
    rest: Duration::MAX,
    life: Duration::MAX,
    are_at_home: false,
};

#[test]
fn an_event_loop_gets_its_own_back_and_anothers_only_where_no_further_one_may_be_opened() {
    let event_loop = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
    };
    let (here, there) = (event_loop(), event_loop());
    let pool = pool(Terms {
        are_at_home: true,
        ..TERMS
    });
    let borrow = || async { pool.lend().await.unwrap() };
    drop(here.block_on(borrow()));
    let foreign = there.block_on(borrow());
    assert_eq!(pool.count(), (2, 1));
    // There are as many as there may be: the one that rests is lent to whoever comes.
    let native = there.block_on(borrow());
    assert_eq!(pool.count(), (2, 0));
    there.block_on(async { drop((native, foreign)) });
    for event_loop in [&here, &there, &here] {
        let lent = event_loop.block_on(borrow());
        assert_eq!(lent.open.as_ref().unwrap().home, Some(event_loop.handle().id()));
        event_loop.block_on(async { drop(lent) });
    }
    assert_eq!(pool.count(), (2, 2));
}

#[tokio::test]
async fn what_was_used_last_is_lent_first_and_what_failed_never_again() {
    let pool = pool(TERMS);
    let mut known = pool.lend().await.unwrap();
    let other = pool.lend().await.unwrap();
    sqlx::raw_sql("CREATE TEMP TABLE known (id)")
        .execute(known.link())
        .await
        .unwrap();
    drop(other);
    drop(known);
    let mut known = pool.lend().await.unwrap();
    let asked = sqlx::raw_sql("SELECT * FROM known").execute(known.link()).await;
    assert!(asked.is_ok());
    known.condemn();
    drop(known);
    assert_eq!(pool.count(), (1, 1));
    let mut left = pool.proven().await.unwrap();
    let asked = sqlx::raw_sql("SELECT * FROM known").execute(left.link()).await;
    assert!(asked.is_err());
}

#[tokio::test]
async fn what_rests_for_too_long_or_is_too_old_is_closed() {
    let idle = pool(Terms {
        rest: Duration::ZERO,
        ..TERMS
    });
    let (first, second) = (idle.lend().await.unwrap(), idle.lend().await.unwrap());
    drop(first);
    assert_eq!(idle.count(), (2, 1));
    sleep(Duration::from_millis(5)).await;
    drop(second);
    assert_eq!(idle.count(), (1, 1));

    let old = pool(Terms {
        life: Duration::ZERO,
        ..TERMS
    });
    let lent = old.lend().await.unwrap();
    sleep(Duration::from_millis(5)).await;
    drop(lent);
    assert_eq!(old.count(), (0, 0));
}

#[tokio::test]
async fn whoever_waits_for_too_long_is_told_so_and_takes_nothing_with_him() {
    let pool = pool(Terms {
        most: 1,
        patience: Duration::from_millis(50),
        ..TERMS
    });
    let lent = pool.lend().await.unwrap();
    assert!(matches!(pool.lend().await, Err(sqlx::Error::PoolTimedOut)));
    drop(lent);
    assert!(pool.lend().await.is_ok());
    assert_eq!(pool.count(), (1, 1));
    pool.close().await;
    assert_eq!(pool.count(), (0, 0));
    assert!(matches!(pool.proven().await, Err(sqlx::Error::PoolClosed)));
}

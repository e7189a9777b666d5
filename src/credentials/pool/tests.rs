//! The bounds of the pool, by real threads held at a gate.

use std::sync::atomic::AtomicUsize;
use std::sync::mpsc;

use super::*;

fn pool(workers: usize, queue: usize) -> Arc<Pool<usize>> {
    Arc::new(
        Pool::start(PoolSettings {
            workers,
            queue,
            ..PoolSettings::default()
        })
        .unwrap(),
    )
}

/// Holds every job that waits at it until the other half is dropped.
#[derive(Clone)]
struct Gate(Arc<Mutex<mpsc::Receiver<()>>>);

impl Gate {
    fn shut() -> (mpsc::Sender<()>, Self) {
        let (opener, gate) = mpsc::channel();
        (opener, Self(Arc::new(Mutex::new(gate))))
    }

    fn wait(&self) {
        let _ = self.0.lock().unwrap_or_else(PoisonError::into_inner).recv();
    }
}

async fn until(pool: &Pool<usize>, wanted: impl Fn(PoolState) -> bool) {
    while !wanted(pool.state()) {
        tokio::task::yield_now().await;
    }
}

/// LOG-10
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_a_hundred_at_once_exactly_workers_and_queue_are_admitted() {
    for _ in 0..20 {
        let pool = pool(3, 7);
        let (opener, gate) = Gate::shut();
        let (outcome, mut outcomes) = tokio::sync::mpsc::unbounded_channel();
        for _ in 0..100 {
            let (pool, gate, outcome) = (Arc::clone(&pool), gate.clone(), outcome.clone());
            tokio::spawn(async move { outcome.send(pool.run(move |_| gate.wait()).await) });
        }
        for _ in 0..90 {
            assert_eq!(outcomes.recv().await.unwrap(), Err(Overloaded));
        }
        until(&pool, |state| {
            state
                == PoolState {
                    workers: 3,
                    busy: 3,
                    waiting: 7,
                    room: 7,
                    refused: 90,
                }
        })
        .await;
        drop(opener);
        for _ in 0..10 {
            assert_eq!(outcomes.recv().await.unwrap(), Ok(()));
        }
    }
}

#[tokio::test]
async fn a_job_whose_caller_went_away_is_never_done() {
    let pool = pool(1, 10);
    let (opener, gate) = Gate::shut();
    let done = Arc::new(AtomicUsize::new(0));
    let count = |done: &Arc<AtomicUsize>| {
        let done = Arc::clone(done);
        move |_: &mut usize| done.fetch_add(1, Ordering::SeqCst)
    };
    let blocking = tokio::spawn({
        let pool = Arc::clone(&pool);
        async move { pool.run(move |_| gate.wait()).await }
    });
    until(&pool, |state| state.busy == 1).await;
    let abandoned = tokio::spawn({
        let (pool, job) = (Arc::clone(&pool), count(&done));
        async move { pool.run(job).await }
    });
    until(&pool, |state| state.waiting == 1).await;
    abandoned.abort();
    assert!(abandoned.await.unwrap_err().is_cancelled());
    drop(opener);
    assert_eq!(blocking.await.unwrap(), Ok(()));
    assert_eq!(pool.run(count(&done)).await, Ok(0));
    assert_eq!(done.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_job_that_waits_too_long_is_given_up_and_never_done() {
    let pool = pool(1, 10);
    let (opener, gate) = Gate::shut();
    let blocking = tokio::spawn({
        let pool = Arc::clone(&pool);
        async move { pool.run(move |_| gate.wait()).await }
    });
    until(&pool, |state| state.busy == 1).await;
    let done = Arc::new(AtomicUsize::new(0));
    let job = Arc::clone(&done);
    assert_eq!(
        pool.run(move |_| job.fetch_add(1, Ordering::SeqCst)).await,
        Err(Overloaded)
    );
    drop(opener);
    assert_eq!(
        blocking.await.unwrap(),
        Ok(()),
        "a job that has begun is waited for"
    );
    assert_eq!(pool.run(|_| ()).await, Ok(()));
    assert_eq!(done.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_panic_loses_neither_the_worker_nor_its_place() {
    let pool = pool(1, 0);
    for _ in 0..5 {
        assert_eq!(pool.run::<()>(|_| panic!("for the test")).await, Err(Overloaded));
    }
    assert_eq!(pool.run(|_| 7).await, Ok(7));
}

#[tokio::test]
async fn who_has_his_answer_finds_room_for_his_next_job() {
    let pool = pool(1, 0);
    for number in 0..10_000 {
        assert_eq!(pool.run(move |_| number).await, Ok(number));
    }
}

#[tokio::test]
async fn a_worker_keeps_its_scratch_memory_from_job_to_job() {
    let pool = pool(1, 10);
    for expected in 1..=5 {
        let count = |scratch: &mut usize| {
            *scratch += 1;
            *scratch
        };
        assert_eq!(pool.run(count).await, Ok(expected));
    }
}

#[tokio::test]
#[cfg(target_os = "linux")]
async fn hashing_gives_way_to_everything_else() {
    // Field 19 of proc(5), the 17th behind the name.
    let nice = |file: &str| -> i32 {
        let stat = std::fs::read_to_string(file).unwrap();
        let fields = stat.rsplit_once(") ").unwrap().1;
        fields.split(' ').nth(16).unwrap().parse().unwrap()
    };
    let own = nice("/proc/thread-self/stat");
    let of_worker = pool(1, 1)
        .run(move |_| nice("/proc/thread-self/stat"))
        .await
        .unwrap();
    assert_eq!(of_worker, (own + NICENESS).min(19));
    assert_eq!(nice("/proc/thread-self/stat"), own, "nobody else does");
}

#[test]
fn the_threads_end_when_the_pool_is_dropped() {
    let pool = pool(4, 4);
    let shared = Arc::downgrade(&pool.0);
    drop(pool);
    while shared.upgrade().is_some() {
        std::thread::yield_now();
    }
}

//! SIGTERM, SIGINT and SIGHUP.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Cancels `shutdown` at SIGTERM, SIGINT or SIGHUP, and ends the process at the second of the first two.
///
/// A terminal that is closed sends SIGHUP, and often twice (the shell to its jobs, the kernel to what is left), so that
/// one never says that somebody is out of patience.
pub(super) fn watch_signals(shutdown: CancellationToken) -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    if !hangups_are_ignored() {
        let mut hangup = signal(SignalKind::hangup())?;
        let shutdown = shutdown.clone();
        tokio::spawn(async move {
            hangup.recv().await;
            // tokio never takes its handler away, so the next one does not end the process either.
            shutdown.cancel();
        });
    }
    tokio::spawn(async move {
        either(&mut terminate, &mut interrupt).await;
        shutdown.cancel();
        either(&mut terminate, &mut interrupt).await;
        tracing::warn!("second signal: ending at once");
        std::process::exit(1);
    });
    Ok(())
}

async fn either(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

/// Whether whoever started this process wants it to outlive its terminal, as `nohup` does: a handler would undo that.
/// Where the system does not tell (it is Linux that does), SIGHUP is left as it is.
fn hangups_are_ignored() -> bool {
    std::fs::read_to_string("/proc/self/status").map_or(true, |status| ignores_hangups(&status))
}

/// Reads the mask of ignored signals (`proc_pid_status(5)`), of which SIGHUP is the lowest bit.
fn ignores_hangups(status: &str) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_none_or(|mask| mask & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_hangups_are_the_lowest_bit_of_the_mask() {
        let status = |mask: &str| {
            format!("Name:\tstile\nSigBlk:\t0000000000000001\nSigIgn:\t{mask}\nSigCgt:\t0000000000000001\n")
        };
        assert!(ignores_hangups(&status("0000000000000001")));
        assert!(ignores_hangups(&status("0000000000001001")));
        assert!(!ignores_hangups(&status("0000000000001000")));
        assert!(!ignores_hangups(&status("0000000000000000")));
        assert!(ignores_hangups("Name:\tstile\n"));
    }
}

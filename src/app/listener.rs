//! Addresses to listen on, and how many connections the process can hold.

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpSocket};

use super::RunError;

/// Connections that the kernel holds for us until they are accepted.
const BACKLOG: u32 = 4096;

/// File descriptors kept for the database, Redis, mail and files.
const RESERVED_DESCRIPTORS: u64 = 96;

/// Most connections served at once, however many descriptors there are.
const MOST_CONNECTIONS: u64 = 65_536;

/// Listens on `address`, which `variable` names.
pub(super) fn listen(variable: &'static str, address: SocketAddr) -> Result<TcpListener, RunError> {
    let open = || {
        let socket = if address.is_ipv4() {
            TcpSocket::new_v4()?
        } else {
            TcpSocket::new_v6()?
        };
        // A restart must not wait for the old connections' TIME_WAIT.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    open().map_err(|error| RunError::Listen {
        variable,
        address,
        error,
    })
}

/// Raises the limit on file descriptors as far as allowed; the usual 1,024 would let a thousand slow
/// clients shut everybody else out.
pub(super) fn most_connections() -> usize {
    let descriptors = rlimit::increase_nofile_limit(u64::MAX).unwrap_or(1024);
    let most = descriptors
        .saturating_sub(RESERVED_DESCRIPTORS)
        .clamp(16, MOST_CONNECTIONS);
    usize::try_from(most).unwrap_or(usize::MAX)
}

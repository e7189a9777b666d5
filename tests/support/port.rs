//! Ports for servers that must be told theirs, or that come back on the same one.
//!
//! A port of the kernel's choice (`:0`) is ours only while we listen on it. Let go, it is the next best for the near end of
//! any outgoing connection, of which the tests make thousands: a server that then wants it does not start. These lie below
//! those that the kernel gives away, and each is lent to one test process until it ends.

use std::fs::{File, OpenOptions};
use std::hash::{BuildHasher, RandomState};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Mutex;

/// Linux gives away from 32768 on (`net.ipv4.ip_local_port_range`).
const LENT: std::ops::Range<u16> = 12_000..32_000;

/// A port on which nobody listens, and that no other test asks for.
pub fn free_port() -> u16 {
    static LEASES: Mutex<Vec<File>> = Mutex::new(Vec::new());
    let folder = std::env::temp_dir().join("stile-ports");
    // A folder of another user's is no obstacle: his files are then as good as locked.
    let _ = std::fs::create_dir_all(&folder);
    let first = usize::try_from(RandomState::new().hash_one(()) % LENT.len() as u64).unwrap();
    for port in LENT.cycle().skip(first).take(LENT.len()) {
        let lease = OpenOptions::new()
            .create(true)
            .append(true)
            .open(folder.join(port.to_string()));
        let Ok(lease) = lease else { continue };
        if lease.try_lock().is_ok() && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            LEASES.lock().unwrap().push(lease);
            return port;
        }
    }
    panic!(
        "no port of {LENT:?} can be had; may {} be written?",
        folder.display()
    );
}

//! Caddy with `ops/caddy/Caddyfile`, line by line as it ships but for addresses.

use std::net::SocketAddr;
use std::process::Command;

use crate::asking::free_address;
use crate::proxy::{Proxy, shipped};

/// `forward_auth`: in front of `product`, asking the stile at `stile`.
pub async fn gateway(stile: SocketAddr, product: SocketAddr) -> Proxy {
    let address = free_address();
    let configuration = shipped(
        "caddy/Caddyfile",
        &[
            (
                "forward_auth 127.0.0.1:8000 {",
                format!("forward_auth {stile} {{"),
            ),
            ("reverse_proxy 127.0.0.1:9000", format!("reverse_proxy {product}")),
            (":8080 {", format!("http://{address} {{")),
        ],
    );
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("Caddyfile");
    std::fs::write(&file, format!("{{\n\tadmin off\n}}\n{configuration}")).unwrap();
    let mut command = Command::new("caddy");
    command
        .args(["run", "--adapter", "caddyfile", "--config"])
        .arg(&file);
    // What it keeps, it keeps here.
    for variable in ["HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"] {
        command.env(variable, folder.path());
    }
    Proxy::launch(command, folder, address, "caddy").await
}

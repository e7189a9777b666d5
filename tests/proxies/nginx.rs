//! nginx with `ops/nginx`, line by line as it ships but for addresses and paths.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::asking::free_address;
use crate::proxy::{Proxy, shipped};

/// `auth_request`: in front of `product`, asking the stile at `stile`.
pub async fn gateway(stile: SocketAddr, product: SocketAddr) -> Proxy {
    let address = free_address();
    let location = Path::new(env!("CARGO_MANIFEST_DIR")).join("ops/nginx/stile-location.conf");
    let servers = shipped(
        "nginx/gateway.conf",
        &[
            ("server 127.0.0.1:8000;", format!("server {stile};")),
            ("server 127.0.0.1:9000;", format!("server {product};")),
            ("listen 8080;", format!("listen {address};")),
            ("/etc/nginx/stile-location.conf", location.display().to_string()),
        ],
    );
    launch(tempfile::tempdir().unwrap(), address, &servers).await
}

/// With these servers, of which one listens at `address`.
pub async fn launch(folder: TempDir, address: SocketAddr, servers: &str) -> Proxy {
    let path = |name: &str| folder.path().join(name).display().to_string();
    let temp: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {};\n", path(kind)))
        .concat();
    let configuration = format!(
        "daemon off;\nmaster_process off;\npid {};\nerror_log stderr warn;\nevents {{}}\nhttp {{\naccess_log off;\n{temp}{servers}}}\n",
        path("pid"),
    );
    let file = path("nginx.conf");
    std::fs::write(&file, configuration).unwrap();
    let mut command = Command::new("nginx");
    command.args(["-p", &path(""), "-c", &file, "-e", "stderr"]);
    Proxy::launch(command, folder, address, "nginx-light").await
}

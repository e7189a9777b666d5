//! A reverse proxy as a process: started on a free port, killed when the test ends.

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use reqwest::{Method, RequestBuilder};
use serde_json::Value;
use tempfile::TempDir;

/// A running proxy. It is killed when this is dropped.
pub struct Proxy {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
    folder: TempDir,
}

impl Proxy {
    /// Runs `command`, which keeps all that it writes in `folder`, and waits until it listens. `package`: Debian's.
    pub async fn launch(mut command: Command, folder: TempDir, address: SocketAddr, package: &str) -> Self {
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| {
                panic!("cannot start {command:?} ({error}): apt-get install -y {package}")
            });
        let proxy = Self {
            child,
            address,
            folder,
        };
        for _ in 0..4000 {
            if TcpStream::connect(address).is_ok() {
                return proxy;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let log = std::fs::read_to_string(proxy.folder.path().join("log"));
        panic!("{command:?} does not listen: {log:?}");
    }

    /// A request through it.
    pub fn ask(&self, method: Method, path: &str) -> RequestBuilder {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        client.request(method, format!("http://{}{path}", self.address))
    }

    /// A request through it with an API token.
    pub fn get(&self, token: &Value) -> RequestBuilder {
        self.ask(Method::GET, "/").bearer_auth(token.as_str().unwrap())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A file of `ops/` in which what is shipped (addresses, paths) is replaced by what is here; each must stand there.
pub fn shipped(file: &str, replacements: &[(&str, String)]) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("ops").join(file);
    let mut text = std::fs::read_to_string(path).unwrap();
    for (shipped, here) in replacements {
        assert!(text.contains(shipped), "{shipped} stands in {file}");
        text = text.replace(shipped, here);
    }
    text
}

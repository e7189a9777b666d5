//! A Prometheus of the test's own, on a free port and in a folder of its own.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::port::free_port;

/// Ended when it is dropped, and by the kernel when the test's thread ends.
pub struct Prometheus {
    child: Child,
    url: String,
    _folder: TempDir,
}

impl Prometheus {
    /// Scrapes `target` five times a second, as job `stile`, and evaluates `rules` as often.
    pub async fn start(target: SocketAddr, rules: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("prometheus.yml");
        let text = format!(
            "global: {{scrape_interval: 200ms, scrape_timeout: 200ms, evaluation_interval: 200ms}}\n\
             rule_files: [{:?}]\n\
             scrape_configs:\n  - job_name: stile\n    static_configs: [{{targets: [\"{target}\"]}}]\n",
            rules.canonicalize().unwrap()
        );
        std::fs::write(&config, text).unwrap();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "prometheus"])
            .arg(format!("--config.file={}", config.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                folder.path().join("data").display()
            ))
            .arg(format!("--web.listen-address={address}"))
            .arg("--log.level=error")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn();
        let mut prometheus = Self {
            child: child.unwrap_or_else(|error| panic!("cannot start prometheus ({error}): {INSTALL}")),
            url: format!("http://{address}"),
            _folder: folder,
        };
        for _ in 0..3000 {
            if let Some(status) = prometheus.child.try_wait().unwrap() {
                panic!("prometheus ended at once ({status}): {INSTALL}");
            }
            if reqwest::get(format!("{}/-/ready", prometheus.url))
                .await
                .is_ok_and(|answer| answer.status() == 200)
            {
                return prometheus;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("prometheus did not become ready");
    }

    /// What a query finds now: a series each.
    pub async fn query(&self, query: &str) -> Vec<Value> {
        let found = self.ask("query", &[("query", query)]).await;
        assert_eq!(found["resultType"], "vector", "{query}");
        found["result"].as_array().unwrap().clone()
    }

    /// The rules it has loaded.
    pub async fn rules(&self) -> Vec<Value> {
        let groups = self.ask("rules", &[]).await["groups"].clone();
        let groups = groups.as_array().unwrap().iter();
        groups
            .flat_map(|group| group["rules"].as_array().unwrap().clone())
            .collect()
    }

    async fn ask(&self, what: &str, parameters: &[(&str, &str)]) -> Value {
        let mut url = reqwest::Url::parse(&format!("{}/api/v1/{what}", self.url)).unwrap();
        url.query_pairs_mut().extend_pairs(parameters);
        let answer: Value = reqwest::get(url).await.unwrap().json().await.unwrap();
        assert_eq!(answer["status"], "success", "{parameters:?}: {answer}");
        answer["data"].clone()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How to get it.
pub const INSTALL: &str = "apt-get install -y --no-install-recommends prometheus";

/// Runs `promtool`, which must find nothing to complain of.
pub fn promtool(arguments: &[&str], folder: &Path, input: Option<&str>) {
    use std::io::Write as _;

    let child = Command::new("promtool")
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = child.unwrap_or_else(|error| panic!("cannot run promtool ({error}): {INSTALL}"));
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.unwrap_or_default().as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(
        output.status.success(),
        "promtool {arguments:?}: {}",
        String::from_utf8_lossy(&said)
    );
}

//! The examples for product teams, run as their readers run them: the real stile, the real browser, several workers.

#[path = "../support/chromium.rs"]
mod chromium;
#[path = "../support/port.rs"]
mod port;
#[path = "../support/process.rs"]
mod process;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use port::free_port;
use process::{Process, Stile};

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name)
}

/// What `scripts/test` installs.
fn installed(path: &str, how: &str) -> PathBuf {
    let target = Path::new(env!("CARGO_BIN_EXE_stile")).ancestors().nth(2).unwrap();
    let installed = target.join(path);
    let target = target.display();
    assert!(
        installed.exists(),
        "the tests need {path} in {target}; scripts/test installs it, and so does, there,\n{how}"
    );
    installed
}

#[derive(Clone, Copy, PartialEq)]
enum Limits {
    /// As `.env.example` has it.
    Off,
    On,
}

/// Issue 2: a copy of `.env.example`, and what the README of the examples adds.
fn stile(folder: &Path, limits: Limits, product: &str) -> Process {
    let env_file = Path::new(env!("CARGO_MANIFEST_DIR")).join(".env.example");
    fs::copy(env_file, folder.join(".env")).unwrap();
    let stile = Stile::in_directory(folder)
        .set("ENABLE_TEST_ENDPOINTS", "true")
        .set("FRONTEND_URL", product)
        .set("CORS_ORIGINS", product);
    match limits {
        Limits::Off => stile.start(),
        Limits::On => stile
            .set("ENABLE_RATE_LIMITING", "true")
            .set("RATE_LIMIT_LOGIN", "5/minute")
            .start(),
    }
}

/// Runs a suite to its end; fails with all that it said, and stile.
fn passes(command: &mut Command, stile: &Process) -> String {
    let url = format!("http://localhost:{}", stile.address().port());
    let ended = command.env("STILE_URL", url).output().unwrap();
    let said = String::from_utf8_lossy(&ended.stdout) + String::from_utf8_lossy(&ended.stderr);
    assert!(
        ended.status.success(),
        "{command:?}\n{said}\nstile said:\n{}",
        stile.out.text()
    );
    said.into_owned()
}

fn playwright(limits: Limits) -> String {
    let how = "mkdir -p playwright && cp ../examples/playwright/package*.json playwright && npm ci --prefix playwright";
    let modules = installed("playwright/node_modules", how);
    let folder = tempfile::tempdir().unwrap();
    let product = format!("http://localhost:{}", free_port());
    let stile = stile(folder.path(), limits, &product);
    let suite = folder.path().join("suite");
    copy(&example("playwright"), &suite);
    std::os::unix::fs::symlink(&modules, suite.join("node_modules")).unwrap();
    let mut command = Command::new("node");
    command
        .args(["node_modules/@playwright/test/cli.js", "test"])
        .current_dir(&suite)
        .env("PRODUCT_URL", &product)
        .env("CHROMIUM_PATH", chromium::path())
        .env("NO_PROXY", "localhost");
    passes(&mut command, &stile)
}

fn pytest(limits: Limits) -> String {
    let how = "python3 -m venv pytest && pytest/bin/pip install -r ../examples/pytest/requirements.txt";
    let pytest = installed("pytest/bin/pytest", how);
    let folder = tempfile::tempdir().unwrap();
    let stile = stile(folder.path(), limits, "http://localhost:3000");
    let suite = folder.path().join("suite");
    copy(&example("pytest"), &suite);
    let mut command = Command::new(pytest);
    command
        .args(["-n", "3", "-rs"])
        .current_dir(&suite)
        .env("NO_PROXY", "localhost");
    passes(&mut command, &stile)
}

/// What a reader checks out: no folders that running it leaves.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name();
        let name = name.to_str().unwrap();
        if [
            "node_modules",
            "test-results",
            ".venv",
            "__pycache__",
            ".pytest_cache",
        ]
        .contains(&name)
        {
            continue;
        }
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to.join(name));
        } else {
            fs::copy(entry.path(), to.join(name)).unwrap();
        }
    }
}

#[test]
fn playwright_passes_with_limits_off() {
    let said = playwright(Limits::Off);
    assert!(said.contains("3 passed") && said.contains("3 skipped"), "{said}");
}

#[test]
fn playwright_passes_in_parallel_workers_with_limits_on() {
    let said = playwright(Limits::On);
    assert!(
        said.contains("6 passed") && said.contains("using 3 workers"),
        "{said}"
    );
}

#[test]
fn pytest_passes_with_limits_off() {
    let said = pytest(Limits::Off);
    assert!(said.contains("3 passed, 6 skipped"), "{said}");
}

#[test]
fn pytest_passes_in_parallel_workers_with_limits_on() {
    let said = pytest(Limits::On);
    assert!(said.contains("9 passed"), "{said}");
}

/// The workflow as GitHub reads it.
fn workflow() -> Value {
    // PyYAML is among what schemathesis brings.
    let python = installed("schemathesis/bin/python", "see tests/openapi");
    let read = "import json, sys, yaml; json.dump(yaml.load(open(sys.argv[1]), yaml.BaseLoader), sys.stdout)";
    let ended = Command::new(python)
        .args(["-c", read])
        .arg(example("github-actions/e2e.yml"))
        .output()
        .unwrap();
    assert!(
        ended.status.success(),
        "{}",
        String::from_utf8_lossy(&ended.stderr)
    );
    serde_json::from_slice(&ended.stdout).unwrap()
}

fn steps(workflow: &Value) -> &Vec<Value> {
    workflow["jobs"]["e2e"]["steps"].as_array().unwrap()
}

/// Variables that are none of stile's, and who reads them.
const OF_OTHERS: [&str; 2] = ["STILE_URL", "PRODUCT_URL"];

#[test]
fn the_workflow_names_only_variables_commands_and_files_that_there_are() {
    let workflow = workflow();
    let known: Vec<&str> = stile::config::variables()
        .iter()
        .map(|variable| variable.name)
        .collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut environments = vec![&workflow["jobs"]["e2e"]["env"]];
    for step in steps(&workflow) {
        environments.push(&step["env"]);
        if let Some(folder) = step["working-directory"].as_str() {
            let folder = folder.strip_prefix("stile/").unwrap();
            assert!(root.join(folder).is_dir(), "{folder}");
        }
        if let Some(script) = step["run"].as_str() {
            let checked = Command::new("bash").args(["-n", "-c", script]).status().unwrap();
            assert!(checked.success(), "{script}");
        }
        assert!(step["run"].is_string() || step["uses"].is_string(), "{step}");
    }
    let names = environments
        .iter()
        .filter_map(|names| names.as_object())
        .flat_map(|names| names.keys());
    let mut count = 0;
    for name in names {
        assert!(
            known.contains(&name.as_str()) || OF_OTHERS.contains(&name.as_str()),
            "{name}"
        );
        count += 1;
    }
    assert!(count >= 9, "{count}");
}

/// The step that starts stile, as the runner's shell runs it.
#[test]
fn the_workflow_starts_stile() {
    let workflow = workflow();
    let step = steps(&workflow)
        .iter()
        .find(|step| step["name"] == "Start stile")
        .unwrap();
    for limiting in ["false", "true"] {
        let folder = tempfile::tempdir().unwrap();
        let release = folder.path().join("stile/target/release");
        fs::create_dir_all(&release).unwrap();
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_stile"), release.join("stile")).unwrap();
        let port = free_port().to_string();
        let mut shell = Command::new("bash");
        shell.args(["-e", "-o", "pipefail", "-c", step["run"].as_str().unwrap()]);
        shell
            .current_dir(folder.path())
            .env("GITHUB_WORKSPACE", folder.path());
        shell
            .env("RUNNER_TEMP", folder.path())
            .env("NO_PROXY", "localhost");
        for (name, value) in step["env"].as_object().unwrap() {
            let value = value.as_str().unwrap();
            shell.env(name, value.replace("${{ matrix.limiting }}", limiting));
        }
        let url = format!("http://localhost:{port}");
        let ended = shell.env("PORT", &port).env("STILE_URL", &url).output().unwrap();
        let said = String::from_utf8_lossy(&ended.stdout) + String::from_utf8_lossy(&ended.stderr);
        let id = fs::read_to_string(folder.path().join("stile/stile.pid")).unwrap();
        let mut curl = Command::new("curl");
        curl.args(["-s", "--noproxy", "*", &format!("{url}/api/v1/rate-limits")]);
        let limits: Value = serde_json::from_slice(&curl.output().unwrap().stdout).unwrap_or_default();
        let stopped = Command::new("kill").arg(id.trim()).status().unwrap();
        assert!(ended.status.success() && stopped.success(), "{said}");
        assert!(said.contains("test endpoints are on"), "{said}");
        assert_eq!(limits["enabled"].to_string(), limiting);
    }
}

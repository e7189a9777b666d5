//! The systemd unit, the Dockerfile and the compose file. No image is built here: that takes a Docker engine.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use stile::config::{Config, ShutdownSettings, Source, variables};

use crate::process::Stile;
use crate::{repository, text_of};

const UNIT: &str = "ops/systemd/stile.service";
const DOCKERFILE: &str = "ops/Dockerfile";
const COMPOSE: &str = "ops/compose.yaml";

/// What stands for each `${NAME:?}` of the compose file.
const INSTALLATION: &[(&str, &str)] = &[
    ("DATABASE_PASSWORD", "9c41d0be7752"),
    ("REDIS_PASSWORD", "f20a6e8d1b93"),
    ("SECRET_KEY", "v7QmZ0tXc2LrN8yPbK4sWfJ6hD1gUa9eOiR3TxVw"),
    ("SMTP_URL", "smtps://mailer:5b8e@smtp.example.org"),
    ("MAIL_FROM", "Example <no-reply@example.org>"),
    ("PUBLIC_URL", "https://auth.example.org"),
    ("FRONTEND_URL", "https://app.example.org"),
];

fn analyze(arguments: &[&str], unit: &Path) -> (bool, String) {
    let output = Command::new("systemd-analyze")
        .args(arguments)
        .arg(unit)
        .output()
        .unwrap_or_else(|error| panic!("cannot run systemd-analyze ({error}): apt-get install -y systemd"));
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(text).unwrap())
}

/// Directives in the right sections with values that systemd reads, and a sandbox that leaves little.
#[test]
fn systemd_takes_the_unit_and_finds_it_well_fenced() {
    let folder = tempfile::tempdir().unwrap();
    let unit = folder.path().join("stile.service");
    let shipped = text_of(UNIT);
    assert!(shipped.contains("ExecStart=/usr/local/bin/stile --env-file /etc/stile/env serve\n"));
    fs::write(
        &unit,
        shipped.replace("/usr/local/bin/stile", env!("CARGO_BIN_EXE_stile")),
    )
    .unwrap();
    assert_eq!(
        analyze(&["verify", "--man=no"], &unit),
        (true, String::new()),
        "systemd finds fault with {UNIT}"
    );
    // In tenths of systemd's scale from 0 (sealed) to 10 (open).
    let (kept, report) = analyze(
        &["security", "--offline=yes", "--threshold=20", "--no-pager"],
        &unit,
    );
    assert!(kept, "{report}");
}

#[test]
fn who_ends_the_service_waits_longer_than_it_needs() {
    let seconds = |text: &str, before: &str| -> f64 {
        let line = text
            .lines()
            .find_map(|line| line.trim().strip_prefix(before))
            .unwrap();
        line.trim_end_matches('s').parse().unwrap()
    };
    let shutdown = ShutdownSettings {
        delay: Duration::from_secs(3), // of production
        ..Config::from_source(
            &Source::new([("ENVIRONMENT", "test")], "", None)
                .unwrap()
                .look_only(),
        )
        .unwrap()
        .shutdown
    };
    let longest = stile::app::longest_end(shutdown).as_secs_f64().ceil();
    for (file, before) in [
        (UNIT, "TimeoutStopSec="),
        (COMPOSE, "stop_grace_period: "),
        ("docs/OPERATIONS.md", "terminationGracePeriodSeconds: "),
    ] {
        let patience = seconds(&text_of(file), before);
        assert!(
            patience > longest,
            "{file}: {patience} s, and it may take {longest}"
        );
    }
}

/// What the Dockerfile copies from the repository.
fn copied() -> Vec<String> {
    let dockerfile = text_of(DOCKERFILE);
    let mut sources = Vec::new();
    for line in dockerfile.lines().filter_map(|line| line.strip_prefix("COPY ")) {
        let words: Vec<&str> = line.split_whitespace().collect();
        if !words[0].starts_with("--from") {
            sources.extend(words[..words.len() - 1].iter().map(|word| (*word).to_owned()));
        }
    }
    sources
}

#[test]
fn everything_that_the_dockerfile_copies_is_there_and_reaches_the_builder() {
    let ignore = text_of(".dockerignore");
    let kept: Vec<&str> = ignore.lines().filter_map(|line| line.strip_prefix('!')).collect();
    assert!(ignore.lines().any(|line| line == "*"), "all else is ignored");
    assert_eq!(copied(), kept);
    for source in copied() {
        assert!(repository(&source).exists(), "{source}");
    }
}

/// A build in the container sees only what was copied: files that the compiler reads, targets that Cargo.toml names.
#[test]
fn the_build_needs_nothing_that_the_dockerfile_does_not_copy() {
    let copied = copied();
    let is_copied = |path: &Path| copied.iter().any(|source| path.starts_with(repository(source)));
    let mut included = 0;
    for (file, text) in sources(&repository("src")) {
        for macro_name in ["include_str!(\"", "include_bytes!(\""] {
            for rest in text.split(macro_name).skip(1) {
                let path = file.parent().unwrap().join(rest.split('"').next().unwrap());
                let path = path
                    .canonicalize()
                    .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
                assert!(is_copied(&path), "{} reads {}", file.display(), path.display());
                included += 1;
            }
        }
        assert!(
            !text.contains("concat!(env!(\"CARGO_MANIFEST_DIR\")"),
            "{} reads a path that this test cannot follow",
            file.display()
        );
    }
    assert!(included > 0);
    let manifest = text_of("Cargo.toml");
    for (kind, folder) in [("[[bench]]", "benches"), ("[[bin]]", "src")] {
        assert!(
            !manifest.contains(kind) || copied.iter().any(|source| source == folder),
            "{kind}"
        );
    }
    for build_reads in [
        "build.rs",
        "Cargo.toml",
        "Cargo.lock",
        "migrations",
        "templates",
        "askama.toml",
    ] {
        let path = repository(build_reads);
        assert!(!path.exists() || is_copied(&path), "{build_reads}");
    }
}

/// The Rust that the image compiles with is the one that Cargo.toml asks for.
#[test]
fn the_image_has_the_compiler_that_the_crate_asks_for() {
    let manifest = text_of("Cargo.toml");
    let wanted = manifest
        .lines()
        .find_map(|line| line.strip_prefix("rust-version = "))
        .unwrap();
    let image = format!("FROM rust:{}-", wanted.trim_matches('"'));
    assert!(text_of(DOCKERFILE).contains(&image), "{image}");
}

pub fn sources(folder: &Path) -> Vec<(std::path::PathBuf, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            found.push((path, text));
        }
    }
    found
}

/// The lines of one service of the compose file.
fn service(name: &str) -> Vec<String> {
    let compose = text_of(COMPOSE);
    let begin = format!("  {name}:");
    compose
        .lines()
        .skip_while(|line| *line != begin)
        .skip(1)
        .take_while(|line| line.is_empty() || line.starts_with("    "))
        .map(str::to_owned)
        .collect()
}

/// What stands in a service's `environment`.
fn environment_of(name: &str) -> BTreeMap<String, String> {
    let lines = service(name);
    let block = lines
        .iter()
        .skip_while(|line| *line != "    environment:")
        .skip(1);
    block
        .take_while(|line| line.starts_with("      "))
        .filter(|line| !line.trim_start().starts_with('#'))
        .map(|line| {
            let (name, value) = line.trim().split_once(": ").unwrap();
            (name.to_owned(), value.trim_matches('"').to_owned())
        })
        .collect()
}

/// The compose file gives the program a configuration of which `stile check --strict` has nothing to say.
#[test]
fn what_compose_sets_is_a_production_without_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let key = Stile::in_directory(folder.path()).run(&["keys", "generate"]).out;
    let pem = folder.path().join("signing_key.pem");
    fs::write(&pem, key + "\n").unwrap();
    fs::set_permissions(&pem, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();

    // The image's own, over which compose's stands.
    let dockerfile = text_of(DOCKERFILE);
    let image = dockerfile
        .lines()
        .find_map(|line| line.strip_prefix("ENV "))
        .unwrap();
    let mut environment: BTreeMap<String, String> = image
        .split(' ')
        .map(|pair| pair.split_once('=').unwrap())
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    environment.extend(environment_of("stile"));
    let known = variables();
    let mut stile = Stile::in_directory(folder.path());
    for (name, value) in &environment {
        assert!(known.iter().any(|variable| variable.name == name), "{name}");
        let mut value = value.replace("/run/secrets/signing_key", pem.to_str().unwrap());
        for (asked, given) in INSTALLATION {
            value = value.replace(&format!("${{{asked}:?}}"), given);
        }
        assert!(!value.contains('$'), "{name}={value}: what is it in this test?");
        stile = stile.set(name, value);
    }
    let ended = stile.run(&["check", "--strict"]);
    assert_eq!(ended.code, Some(0), "{}{}", ended.out, ended.err);
    assert!(
        ended.out.contains("limiting is on, counted in Redis"),
        "{}",
        ended.out
    );
}

/// The Redis of compose keeps what it counts, and nothing secret stands in the file.
#[test]
fn compose_asks_for_what_is_secret_and_its_redis_evicts_nothing() {
    let compose = text_of(COMPOSE);
    let redis = service("redis").join("\n");
    assert!(
        redis.contains("- --maxmemory-policy\n      - noeviction"),
        "{redis}"
    );
    for (name, _) in INSTALLATION {
        assert!(compose.contains(&format!("${{{name}:?}}")), "{name}");
    }
    for line in compose
        .lines()
        .filter(|line| line.contains("PASSWORD:") || line.contains("KEY:"))
    {
        assert!(line.contains(":?}"), "{line}");
    }
    // The gateway of the network is who the published port's callers seem to be.
    let gateway = compose
        .lines()
        .find_map(|line| line.trim().strip_prefix("gateway: "))
        .unwrap();
    assert_eq!(environment_of("stile")["TRUSTED_PROXIES"], gateway);
    for dependency in ["postgres", "redis"] {
        assert!(
            service(dependency).iter().any(|line| line == "    healthcheck:"),
            "{dependency}"
        );
        assert!(
            service(dependency).iter().any(|line| line == "    volumes:"),
            "{dependency}"
        );
    }
}

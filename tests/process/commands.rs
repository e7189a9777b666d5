//! `stile keys generate`, `stile migrate`, `--help`, `--version`.

use std::fs;

use crate::SECRET;
use crate::process::Stile;

#[test]
fn a_generated_key_signs() {
    let directory = tempfile::tempdir().unwrap();
    let stile = || Stile::in_directory(directory.path());
    let first = stile().run(&["keys", "generate"]);
    assert_eq!(first.code, Some(0));
    assert!(
        first.out.starts_with("-----BEGIN PRIVATE KEY-----\n"),
        "{first:?}"
    );
    assert_ne!(first.out, stile().run(&["keys", "generate"]).out);

    fs::write(directory.path().join("key.pem"), &first.out).unwrap();
    let check = |variable: &str, value: &str| {
        stile()
            .set("ENVIRONMENT", "staging")
            .set(variable, value)
            .run(&["check"])
    };
    assert_eq!(check("JWT_SIGNING_KEY_FILE", "key.pem").code, Some(0));
    assert_eq!(check("JWT_SIGNING_KEY", &first.out).code, Some(0));
    assert_eq!(
        check("JWT_SIGNING_KEY", &first.out.replace('\n', "\\n")).code,
        Some(0)
    );
}

/// On a bare machine, whatever the configuration: a pipeline that makes clients of it has neither.
#[test]
fn the_openapi_document_needs_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let ended = Stile::in_directory(directory.path())
        .set("ENVIRONMENT", "production")
        .set("DATABASE_URL", "nonsense")
        .run(&["openapi"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let document: serde_json::Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(document, stile::http::openapi());
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn migrating_makes_the_database_and_needs_no_other_setting() {
    let directory = tempfile::tempdir().unwrap();
    let migrate = || {
        Stile::in_directory(directory.path())
            .set("ENVIRONMENT", "production")
            .set("ALLOW_SQLITE", "true")
            .set("DATABASE_URL", "sqlite://deep/down/stile.db")
            .run(&["migrate"])
    };
    let ended = migrate();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(directory.path().join("deep/down/stile.db").exists());
    assert_eq!(migrate().code, Some(0), "once more does nothing");

    let ended = Stile::in_directory(directory.path())
        .set("ENVIRONMENT", "production")
        .run(&["migrate"]);
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(ended.err.starts_with("stile: DATABASE_URL: "), "{ended:?}");
}

#[test]
fn an_env_file_is_taken_before_or_behind_the_command() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(
        directory.path().join("mine"),
        format!("ENVIRONMENT=staging\nJWT_SECRET={SECRET}\n"),
    )
    .unwrap();
    for arguments in [["--env-file", "mine", "check"], ["check", "--env-file", "mine"]] {
        let ended = Stile::in_directory(directory.path()).run(&arguments);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert!(
            ended.out.starts_with("Environment staging, mine\n"),
            "{}",
            ended.out
        );
    }
}

#[test]
fn help_names_the_variables() {
    let directory = tempfile::tempdir().unwrap();
    for (arguments, variable) in [
        (&["--help"][..], "RATE_LIMIT_LOGIN"),
        (&["serve", "--help"], "RATE_LIMIT_LOGIN"),
        (&["check", "--help"], "RATE_LIMIT_LOGIN"),
        (&["migrate", "--help"], "DATABASE_URL"),
    ] {
        let ended = Stile::in_directory(directory.path()).run(arguments);
        assert_eq!(ended.code, Some(0));
        assert!(ended.out.contains(variable), "{arguments:?}");
    }
    let version = Stile::in_directory(directory.path()).run(&["--version"]);
    assert_eq!(version.out, format!("stile {}", env!("CARGO_PKG_VERSION")));
}

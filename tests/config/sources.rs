//! Which file is read, and who wins.

use std::fs;

use crate::{SECRET, blamed, of, origin, shown, within};

/// A directory with these files.
fn directory(files: &[(&str, &str)]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(directory.path().join(name), text).unwrap();
    }
    directory
}

fn audience(files: &[(&str, &str)], process: &[(&str, &str)], env_file: Option<&str>) -> String {
    within(directory(files).path(), process, env_file)
        .unwrap()
        .credentials
        .audience
}

#[test]
fn only_one_file_is_read() {
    let files = &[
        (".env", "JWT_AUDIENCE=plain\nMAIL_OUTBOX_DIR=elsewhere"),
        (".env.development", "JWT_AUDIENCE=development"),
        (".env.test", "JWT_AUDIENCE=test"),
        ("other", "JWT_AUDIENCE=other"),
    ];
    assert_eq!(audience(files, &[], None), "plain");
    assert_eq!(audience(files, &[("ENVIRONMENT", "development")], None), "plain");
    assert_eq!(audience(files, &[("ENVIRONMENT", "test")], None), "test");
    assert_eq!(audience(files, &[], Some("other")), "other");
    assert_eq!(
        audience(files, &[("ENVIRONMENT", "test")], Some("other")),
        "other"
    );

    let config = within(directory(files).path(), &[("ENVIRONMENT", "test")], None).unwrap();
    assert_eq!(
        shown(&config, "MAIL_OUTBOX_DIR"),
        "data/outbox",
        "nothing leaks from the other file"
    );
    assert_eq!(origin(&config, "JWT_AUDIENCE"), ".env.test");
}

#[test]
fn without_the_file_of_its_environment_none_is_read() {
    assert_eq!(
        audience(
            &[(".env", "JWT_AUDIENCE=plain")],
            &[("ENVIRONMENT", "test")],
            None
        ),
        "stile"
    );
    assert_eq!(audience(&[], &[], None), "stile");
}

#[test]
fn a_named_file_must_be_there() {
    let errors = within(directory(&[]).path(), &[], Some("missing.env"))
        .err()
        .unwrap()
        .to_string();
    assert!(errors.starts_with("missing.env: "), "{errors}");
    let errors = within(directory(&[]).path(), &[], Some("."))
        .err()
        .unwrap()
        .to_string();
    assert!(errors.starts_with(".: "), "{errors}");
}

#[test]
fn the_process_wins_variable_by_variable() {
    let files = &[(
        ".env",
        "JWT_AUDIENCE=file\nPORT=9000\nRATE_LIMIT_LOGIN=rubbish\nREDIS_URL=redis://h",
    )];
    let process = [
        ("JWT_AUDIENCE", "process"),
        ("RATE_LIMIT_LOGIN", "9/minute"),
        ("REDIS_URL", ""),
    ];
    let config = within(directory(files).path(), &process, None).unwrap();
    assert_eq!(config.credentials.audience, "process");
    assert_eq!(config.listen.port(), 9000);
    assert_eq!(shown(&config, "RATE_LIMIT_LOGIN"), "9/minute");
    assert!(config.rate_limit.redis.is_none(), "set to nothing wins too");
}

/// Contract section 2: files of two environments are never mixed.
#[test]
fn a_file_of_another_environment_is_refused() {
    for (files, process, env_file) in [
        (
            &[(".env", "ENVIRONMENT=production")],
            &[("ENVIRONMENT", "development")][..],
            None,
        ),
        (
            &[(".env.test", "ENVIRONMENT=staging")],
            &[("ENVIRONMENT", "test")],
            None,
        ),
        (
            &[("x", "ENVIRONMENT=test")],
            &[("ENVIRONMENT", "staging"), ("JWT_SECRET", SECRET)],
            Some("x"),
        ),
    ] {
        let result = within(directory(files).path(), process, env_file);
        assert_eq!(blamed(result), ["ENVIRONMENT"]);
    }
}

#[test]
fn a_file_may_say_its_environment() {
    let config = within(directory(&[("x", "ENVIRONMENT=test")]).path(), &[], Some("x")).unwrap();
    assert_eq!(config.environment.name(), "test");
    let same = within(
        directory(&[(".env.test", "ENVIRONMENT=test")]).path(),
        &[("ENVIRONMENT", "test")],
        None,
    );
    assert!(same.is_ok());
    let open = within(
        directory(&[(".env", "ENVIRONMENT=test\nHOST=0.0.0.0")]).path(),
        &[],
        None,
    );
    assert!(open.is_ok(), "it is set somewhere");
}

/// The name of an environment is no path.
#[test]
fn no_file_is_read_for_an_environment_that_does_not_exist() {
    let directory = directory(&[(".env.prod", "JWT_AUDIENCE=x\nJWT_AUDIENCE=y")]);
    assert_eq!(
        blamed(within(directory.path(), &[("ENVIRONMENT", "prod")], None)),
        ["ENVIRONMENT"]
    );
    assert_eq!(blamed(of(&[("ENVIRONMENT", "/../etc/passwd")])), ["ENVIRONMENT"]);
}

/// CFG-01.
#[test]
fn a_file_with_a_variable_twice_a_broken_line_or_a_misspelt_name_is_refused() {
    for (text, name) in [
        ("PORT=1\nPORT=2", "PORT"),
        ("PORT=1\nPORT=1", "PORT"),
        (
            "RATE_LIMIT_LOGIN=5/minute\n# x\nRATE_LIMIT_LOGIN=6/minute",
            "RATE_LIMIT_LOGIN",
        ),
        ("RATE_LIMIT_LOGN=5/minute", "RATE_LIMIT_LOGN"),
        ("PORTS=1", "PORTS"),
        ("MAIL_FROM=stile <a@b>", "MAIL_FROM"),
    ] {
        let result = within(directory(&[(".env", text)]).path(), &[], None);
        assert_eq!(blamed(result), [name], "{text}");
    }
    let errors = within(directory(&[(".env", "JWT_SECRET")]).path(), &[], None)
        .err()
        .unwrap()
        .to_string();
    assert!(errors.starts_with(".env line 1: "), "{errors}");
}

#[test]
fn a_password_with_a_dollar_survives_the_file() {
    let files = &[(".env", "JWT_AUDIENCE=a$HOME$$b${x}\nJWT_ISSUER=\"c\\$d\"")];
    let config = within(directory(files).path(), &[], None).unwrap();
    assert_eq!(config.credentials.audience, "a$HOME$$b${x}");
    assert_eq!(config.credentials.issuer, "c$d");
}

#[test]
fn variables_of_other_programs_may_share_the_file() {
    let files = &[(".env", "POSTGRES_PASSWORD=x\nCOMPOSE_PROJECT_NAME=y\n")];
    assert!(within(directory(files).path(), &[], None).is_ok());
}

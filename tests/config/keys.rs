//! Signing keys: given, and made.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Barrier;

use secrecy::ExposeSecret as _;
use stile::config::{Config, Source};
use stile::credentials::{AccessTokens, Purpose, SigningKeys};

use crate::{SECRET, blamed, of, within};

fn published(config: &Config) -> String {
    let keys = config.credentials.signing_keys.clone();
    AccessTokens::new(
        keys,
        String::new(),
        String::new(),
        std::time::Duration::from_mins(1),
    )
    .jwks()
    .to_string()
}

fn serve(directory: &Path) -> Config {
    Config::from_source(&Source::new([("PORT", "0")], directory, None).unwrap()).unwrap()
}

#[test]
fn a_key_is_made_once_for_its_owner_alone() {
    let directory = tempfile::tempdir().unwrap();
    let first = published(&serve(directory.path()));
    assert_eq!(first, published(&serve(directory.path())));
    let file = directory.path().join("data/signing_key.pem");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(
        fs::read_dir(directory.path().join("data")).unwrap().count(),
        1,
        "no draft is left"
    );
}

#[test]
fn processes_that_start_together_make_one_key() {
    for _ in 0..20 {
        let directory = tempfile::tempdir().unwrap();
        let start = Barrier::new(8);
        let keys: BTreeSet<String> = std::thread::scope(|scope| {
            let racers: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        start.wait();
                        published(&serve(directory.path()))
                    })
                })
                .collect();
            racers.into_iter().map(|racer| racer.join().unwrap()).collect()
        });
        assert_eq!(keys.len(), 1);
        assert_eq!(fs::read_dir(directory.path().join("data")).unwrap().count(), 1);
    }
}

#[test]
fn looking_leaves_no_trace() {
    let directory = tempfile::tempdir().unwrap();
    within(directory.path(), &[], None).unwrap();
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn a_spoilt_key_is_not_replaced_in_silence() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("data")).unwrap();
    fs::write(directory.path().join("data/signing_key.pem"), "rubbish").unwrap();
    let source = Source::new([("PORT", "0")], directory.path(), None).unwrap();
    assert_eq!(blamed(Config::from_source(&source)), ["JWT_SIGNING_KEY_FILE"]);
    assert_eq!(
        fs::read_to_string(directory.path().join("data/signing_key.pem")).unwrap(),
        "rubbish"
    );
}

#[test]
fn a_pem_may_come_in_a_file_or_a_variable_with_either_kind_of_line_end() {
    let pem = SigningKeys::generate_pem();
    let pem = pem.expose_secret();
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("key.pem"), pem).unwrap();
    fs::write(
        directory.path().join(".env.staging"),
        format!("JWT_SIGNING_KEY='{}'", pem.replace('\n', "\\n")),
    )
    .unwrap();

    let staging = ("ENVIRONMENT", "staging");
    let by_file = within(directory.path(), &[("JWT_SIGNING_KEY_FILE", "key.pem")], None).unwrap();
    let by_variable = of(&[staging, ("JWT_SIGNING_KEY", pem)]).unwrap();
    let by_escapes = of(&[staging, ("JWT_SIGNING_KEY", &pem.replace('\n', "\\n"))]).unwrap();
    let by_env_file = within(directory.path(), &[staging], None).unwrap();
    for other in [&by_variable, &by_escapes, &by_env_file] {
        assert_eq!(published(&by_file), published(other));
    }
}

#[test]
fn previous_keys_are_published_beside_the_present_one() {
    let directory = tempfile::tempdir().unwrap();
    for name in ["old.pem", "older.pem"] {
        fs::write(
            directory.path().join(name),
            SigningKeys::generate_pem().expose_secret(),
        )
        .unwrap();
    }
    let config = within(
        directory.path(),
        &[("JWT_PREVIOUS_KEY_FILES", "old.pem, older.pem")],
        None,
    )
    .unwrap();
    let set: serde_json::Value = serde_json::from_str(&published(&config)).unwrap();
    assert_eq!(set["keys"].as_array().unwrap().len(), 3);

    fs::write(directory.path().join("old.pem"), "rubbish").unwrap();
    let spoilt = within(directory.path(), &[("JWT_PREVIOUS_KEY_FILES", "old.pem")], None);
    assert_eq!(blamed(spoilt), ["JWT_PREVIOUS_KEY_FILES"]);
}

#[test]
fn exactly_one_signing_key_is_taken() {
    let pem = SigningKeys::generate_pem();
    let both = of(&[("JWT_SIGNING_KEY", pem.expose_secret()), ("JWT_SECRET", SECRET)]);
    assert_eq!(blamed(both), ["JWT_SECRET"]);
}

/// Contract section 2: the same in all processes, and following the signing key.
#[test]
fn the_secret_key_is_derived_from_the_signing_key_unless_it_is_given() {
    let mac = |variables: &[(&str, &str)]| {
        of(variables)
            .unwrap()
            .credentials
            .secret_keys
            .mac(Purpose::AccountKey, "a")
    };
    let derived = mac(&[("JWT_SECRET", SECRET)]);
    assert_eq!(derived, mac(&[("JWT_SECRET", SECRET)]));
    let reversed: String = SECRET.chars().rev().collect();
    assert_ne!(derived, mac(&[("JWT_SECRET", &reversed)]));
    let given = mac(&[("JWT_SECRET", SECRET), ("SECRET_KEY", &reversed)]);
    assert_ne!(given, derived);
    assert_eq!(given, mac(&[("SECRET_KEY", &reversed)]), "whatever signs");
}

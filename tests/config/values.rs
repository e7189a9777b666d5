//! What a variable comes to when it is good.

use std::time::Duration;

use stile::config::{Level, variables};
use stile::http::Life;
use stile::mail::TransportSettings;
use stile::rate_limit::Rule;
use stile::storage::DatabaseUrl;
use stile::telemetry::Format;

use crate::{PRODUCTION, SECRET, of, origin, shown, with};

#[test]
fn nothing_set_is_a_working_development_setup() {
    let config = of(&[]).unwrap();
    assert_eq!(config.listen.to_string(), "127.0.0.1:8000");
    assert!(matches!(&config.storage.url, DatabaseUrl::Sqlite(path) if path.ends_with("data/stile.db")));
    assert!(
        matches!(&config.mail.transport, TransportSettings::Folder(path) if path.ends_with("data/outbox"))
    );
    assert!(config.rate_limit.enabled && config.rate_limit.redis.is_none());
    assert!(config.accounts.log_links);
    assert_eq!(config.http.cors_origins, ["http://localhost:3000"]);
    assert_eq!(config.http.public_url, "http://localhost:8000");
    assert_eq!(config.credentials.issuer, "http://localhost:8000");
    assert_eq!(config.credentials.audience, "stile");
    assert_eq!(config.telemetry.format, Format::Text);
    assert_eq!(config.shutdown.delay, Duration::ZERO);
    assert_eq!(config.shutdown.grace, Duration::from_secs(25));
    assert_eq!(config.warnings().count(), 0);
}

/// The defaults that differ between environments, as the contract's table has them.
#[test]
fn some_defaults_follow_the_environment() {
    let test = of(&[("ENVIRONMENT", "test")]).unwrap();
    let staging = of(&[("ENVIRONMENT", "staging"), ("JWT_SECRET", SECRET)]).unwrap();
    let production = of(PRODUCTION).unwrap();

    let global = |config: &stile::config::Config| config.rate_limit.rules.get(Rule::Global).to_string();
    assert_eq!(global(&test), "300/minute");
    assert_eq!(global(&staging), "60/minute");
    assert_eq!(global(&production), "60/minute");
    for config in [&test, &staging, &production] {
        assert_eq!(config.telemetry.format, Format::Json);
        assert!(config.http.cors_origins.is_empty());
        assert!(!config.accounts.log_links);
    }
    assert!(test.http.docs && staging.http.docs && !production.http.docs);
    assert_eq!(test.shutdown.delay, Duration::ZERO);
    assert_eq!(staging.shutdown.delay, Duration::from_secs(3));
    assert_eq!(production.shutdown.delay, Duration::from_secs(3));

    let trusts = |config: &stile::config::Config, address: &str| {
        config
            .http
            .trusted_proxies
            .iter()
            .any(|network| network.contains(&address.parse::<std::net::IpAddr>().unwrap()))
    };
    for (address, lenient, strict) in [
        ("127.0.0.1", true, true),
        ("::1", true, true),
        ("10.1.2.3", true, false),
        ("172.31.255.255", true, false),
        ("172.32.0.0", false, false),
        ("192.168.0.1", true, false),
        ("fd00::1", true, false),
        ("8.8.8.8", false, false),
        ("2001:db8::1", false, false),
    ] {
        assert_eq!(trusts(&test, address), lenient, "{address}");
        assert_eq!(trusts(&production, address), strict, "{address}");
        assert_eq!(trusts(&staging, address), strict, "{address}");
    }
    assert!(matches!(production.http.life, Life::Production));
    assert!(matches!(staging.http.life, Life::Rehearsal(None)));
    assert!(matches!(
        production.mail.transport,
        TransportSettings::Smtp {
            require_tls: true,
            ..
        }
    ));
}

/// RL-02, contract section 2.
#[test]
fn no_trusted_proxies_means_nobody_is_believed() {
    assert!(
        of(&[("TRUSTED_PROXIES", "")])
            .unwrap()
            .http
            .trusted_proxies
            .is_empty()
    );
    let one = of(&[("TRUSTED_PROXIES", " 203.0.113.7 , 10.1.2.3/8")]).unwrap();
    assert_eq!(shown(&one, "TRUSTED_PROXIES"), "203.0.113.7/32,10.0.0.0/8");
}

/// RL-01, limits.md 13.
#[test]
fn each_rule_takes_its_own_variable_and_no_other() {
    for rule in Rule::ALL {
        let config = of(&[(rule.variable(), "7 per 2 Hours,9/day;mode=shadow")]).unwrap();
        for other in Rule::ALL {
            let limit = config.rate_limit.rules.get(other).to_string();
            if other == rule {
                assert_eq!(limit, "7/2 hours;9/day;mode=shadow");
            } else {
                assert_eq!(
                    limit,
                    other.default_limit(true).to_string(),
                    "{}",
                    other.variable()
                );
            }
        }
    }
}

/// Contract section 4: the local stage is never the tighter of the two at its default.
#[test]
fn the_local_stage_follows_the_largest_limit_of_a_client() {
    let burst = |variables: &[(&str, &str)]| of(variables).unwrap().http.burst;
    assert_eq!(burst(&[]), Some(600), "twice 300/minute");
    assert_eq!(burst(&with(PRODUCTION, &[])), Some(120));
    assert_eq!(
        burst(&[("RATE_LIMIT_GLOBAL", "off")]),
        Some(100),
        "what is off has no count"
    );
    assert_eq!(burst(&[("RATE_LIMIT_LOGIN", "1000/hour;5/second")]), Some(2000));
    assert_eq!(
        burst(&[("RATE_LIMIT_LOGIN_ACCOUNT", "5000/hour")]),
        Some(600),
        "no count of a client"
    );
    assert_eq!(
        burst(&[("RATE_LIMIT_GLOBAL", "1000000000/day")]),
        Some(2_000_000_000)
    );
    assert_eq!(burst(&[("RATE_LIMIT_BURST", "3")]), Some(3));
    assert_eq!(burst(&[("ENABLE_RATE_LIMITING", "false")]), None);
}

#[test]
fn an_unset_public_url_speaks_of_the_port_that_was_bound() {
    let config = of(&[("PORT", "0")]).unwrap().with_bound_port(4321);
    assert_eq!(config.http.public_url, "http://localhost:4321");
    assert_eq!(config.http.frontend_url, "http://localhost:4321");
    assert_eq!(config.accounts.frontend_url, "http://localhost:4321");
    assert_eq!(config.credentials.issuer, "http://localhost:4321");

    let set = of(&[("PORT", "0"), ("PUBLIC_URL", "https://a.example/base/")])
        .unwrap()
        .with_bound_port(4321);
    assert_eq!(set.http.public_url, "https://a.example/base");
    assert_eq!(set.accounts.frontend_url, "https://a.example/base");
    assert_eq!(set.credentials.issuer, "https://a.example/base");

    let frontend = of(&[("FRONTEND_URL", "http://f.example"), ("JWT_ISSUER", "me")])
        .unwrap()
        .with_bound_port(1);
    assert_eq!(frontend.accounts.frontend_url, "http://f.example");
    assert_eq!(frontend.credentials.issuer, "me");
    assert_eq!(frontend.http.public_url, "http://localhost:1");
}

#[test]
fn optional_variables_may_be_passed_empty() {
    let empty = [
        "REDIS_URL",
        "SMTP_URL",
        "TLS_CA_FILE",
        "SECRET_KEY_PREVIOUS",
        "RUST_LOG",
    ];
    let config = of(&empty.map(|name| (name, ""))).unwrap();
    assert!(config.rate_limit.redis.is_none());
    assert!(matches!(config.mail.transport, TransportSettings::Folder(_)));
    for name in ["RATE_LIMIT_ALLOWLIST", "CORS_ORIGINS", "JWT_PREVIOUS_KEY_FILES"] {
        assert_eq!(shown(&of(&[(name, "")]).unwrap(), name), "empty");
    }
}

#[test]
fn a_cluster_is_several_nodes() {
    let config = of(&[("REDIS_URL", "redis://a:7000, redis://b:7001,rediss://c")]).unwrap();
    assert_eq!(config.rate_limit.redis.unwrap().nodes.len(), 3);
}

/// Contract section 1: `check` says where each value came from.
#[test]
fn every_variable_of_this_version_is_accounted_for_once() {
    let config = of(&[("PORT", "81")]).unwrap();
    for variable in variables() {
        let found = config
            .effective
            .iter()
            .filter(|effective| effective.name == variable.name)
            .count();
        assert_eq!(found, 1, "{}", variable.name);
    }
    assert_eq!(origin(&config, "PORT"), "process environment");
    assert_eq!(origin(&config, "HOST"), "default");
    assert_eq!(origin(&config, "RATE_LIMIT_BURST"), "derived");
}

#[test]
fn no_variable_stands_in_the_table_twice() {
    let mut names: Vec<_> = variables().iter().map(|variable| variable.name).collect();
    let all = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), all);
}

/// LGR-01: nothing secret is shown, neither by `check` nor anywhere else that asks for the effective values.
#[test]
fn what_is_shown_holds_no_secret() {
    let config = of(&with(
        PRODUCTION,
        &[("SECRET_KEY", SECRET), ("SECRET_KEY_PREVIOUS", SECRET)],
    ))
    .unwrap();
    let all = format!("{:?}", config.effective);
    assert!(!all.contains("s3cr3t") && !all.contains(SECRET), "{all}");
    assert_eq!(
        shown(&config, "DATABASE_URL"),
        "postgres://[redacted]@db.internal/stile"
    );
    assert_eq!(
        shown(&config, "REDIS_URL"),
        "rediss://[redacted]@cache.internal:6380/0"
    );
    assert_eq!(shown(&config, "JWT_SECRET"), "[redacted]");
    let debugged = format!("{:?} {:?} {:?}", config.storage, config.rate_limit, config.mail);
    assert!(!debugged.contains("s3cr3t"), "{debugged}");
}

/// CFG-02: what may stand with a loud word.
#[test]
fn a_doubtful_production_is_warned_of() {
    let warned = |changes: &[(&str, &str)], word: &str| {
        let config = of(&with(PRODUCTION, changes)).unwrap();
        let warnings: Vec<_> = config.warnings().map(|warning| warning.text.clone()).collect();
        assert!(
            warnings.iter().any(|warning| warning.contains(word)),
            "{changes:?}: {warnings:?}"
        );
    };
    warned(&[("ENABLE_RATE_LIMITING", "false")], "limiting is off");
    warned(
        &[("DATABASE_URL", "sqlite://x.db"), ("ALLOW_SQLITE", "true")],
        "SQLite",
    );
    warned(&[("API_TOKEN_SCOPES", "any")], "API_TOKEN_SCOPES");
    warned(&[("RUST_LOG", "stile=debug")], "RUST_LOG");
    warned(&[("REDIS_URL", "")], "REDIS_URL");
    warned(&[("TRUSTED_PROXIES", "0.0.0.0/0")], "TRUSTED_PROXIES");
    warned(&[("RATE_LIMIT_ALLOWLIST", "::/0")], "RATE_LIMIT_ALLOWLIST");
    warned(&[("RATE_LIMIT_LOGIN", "off")], "RATE_LIMIT_LOGIN");
    warned(
        &[("RATE_LIMIT_LOGIN", "5/minute;mode=shadow")],
        "RATE_LIMIT_LOGIN",
    );
    warned(&[("CORS_ORIGINS", "http://app.example.org")], "CORS_ORIGINS");
    assert_eq!(of(PRODUCTION).unwrap().warnings().count(), 0);
}

/// Contract section 1: "fine for E2E, not for production".
#[test]
fn limiting_off_in_development_is_said_and_is_fine() {
    let config = of(&[("ENABLE_RATE_LIMITING", "false")]).unwrap();
    let verdict = config
        .verdicts
        .iter()
        .find(|verdict| verdict.text.contains("limiting is off"))
        .unwrap();
    assert_eq!(verdict.text, "limiting is off: fine for E2E, not for production");
    assert_eq!(verdict.level, Level::Fine);
}

//! What stops the program, and how it says so.

use stile::config::Environment;
use stile::rate_limit::Rule;

use crate::{PRODUCTION, SECRET, blamed, of, with};

/// CFG-01, limits.md 14 and 15: every rule refuses what is no limit, and none is left without one.
#[test]
fn what_is_no_limit_stops_the_program_whatever_the_rule() {
    let bad = [
        "5/0 minute",
        "0/minute",
        "-1/minute",
        "5.5/minute",
        "5/min",
        "5/week",
        "5/minute;",
        "",
        " ",
        "99999999999/second",
        "5/minute evil",
        "５/minute",
        "5/minutе",
        "abc",
        "-1",
        "99999999999999999999",
        "5",
        "/minute",
        "5/",
        "5//minute",
        "+5/minute",
        "0x5/minute",
        "1e3/minute",
        "5/minute;;5/hour",
        ";5/minute",
        "5/-1 minute",
        "5/1.5 minute",
        "1000000001/day",
        "5/minute;strategy=sloppy",
        "5/minute;mode=",
        "off;mode",
        "10001/day;strategy=exact",
        "true",
        "unlimited",
        "none",
        "null",
        "5/minute\n6/minute",
        "5 /minute /hour",
    ];
    for rule in Rule::ALL {
        for limit in bad {
            for environment in ["development", "test"] {
                let result = of(&[("ENVIRONMENT", environment), (rule.variable(), limit)]);
                assert_eq!(blamed(result), [rule.variable()], "{}={limit:?}", rule.variable());
            }
        }
    }
}

/// Variables, and values that they must refuse.
const BAD: &[(&str, &[&str])] = &[
    (
        "ENVIRONMENT",
        &["", "prod", "Production", "../production", "development "],
    ),
    ("HOST", &["", "example.com", "256.0.0.1", "127.0.0.1:80", "*"]),
    (
        "PORT",
        &["", "65536", "-1", "80.0", "8000 ", "http", "+80", "0x50"],
    ),
    (
        "DATABASE_URL",
        &[
            "",
            "mysql://h/d",
            "sqlite",
            "sqlite:",
            "sqlite://",
            "sqlite::memory:",
            "sqlite://:memory:",
            "sqlite://x.db?mode=ro",
            "postgresql://h/d",
            "postgres+asyncpg://h/d",
            "postgres://h:port/d",
            "stile.db",
            "SQLITE://x.db",
            "sqlite://data/",
        ],
    ),
    (
        "DATABASE_MAX_CONNECTIONS",
        &["", "0", "-1", "ten", "99999999999999999999"],
    ),
    ("ALLOW_SQLITE", &["", "yes", "1", "maybe"]),
    (
        "REDIS_URL",
        &[
            "localhost:6379",
            "http://h",
            "redis://",
            "redis://h/x",
            "redis://a,redis://b/1",
            "redis://a,,redis://b",
            "rediss://h/#insecure",
        ],
    ),
    ("REDIS_KEY_PREFIX", &["", "a b", "{slot}", "ключ", "a\nb"]),
    ("REDIS_CONNECT_TIMEOUT_MS", &["", "0", "-5", "2s"]),
    ("REDIS_COMMAND_TIMEOUT_MS", &["", "0", "50ms", "1e3"]),
    ("REDIS_HEALTH_CHECK_SECONDS", &["", "0", "never"]),
    ("ENABLE_RATE_LIMITING", &["", "off", "0", "no", "falsch"]),
    ("RATE_LIMIT_FLEET_SIZE", &["", "0", "-1", "+3", "100001", "many"]),
    ("RATE_LIMIT_BURST", &["", "0", "1.5", "-1", "off", "4294967296"]),
    (
        "RATE_LIMIT_MEMORY_KEYS",
        &["", "0", "-1", "200k", "18446744073709551616"],
    ),
    ("RATE_LIMIT_IPV6_PREFIX", &["", "31", "129", "/64"]),
    (
        "RATE_LIMIT_ALLOWLIST",
        &[
            "10.0.0.0/33",
            "10.0.0",
            "everyone",
            "10.0.0.0/8,,",
            "10.0.0.0/8;11.0.0.0/8",
        ],
    ),
    (
        "TRUSTED_PROXIES",
        &["*", "all", "10.0.0.0/-1", "::/129", "10.0.0.0/8 11.0.0.0/8"],
    ),
    ("TLS_CA_FILE", &["nowhere.pem"]),
    ("JWT_SIGNING_KEY_FILE", &["", "nowhere.pem", "/"]),
    (
        "JWT_SIGNING_KEY",
        &[
            "",
            "rubbish",
            "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----",
        ],
    ),
    (
        "JWT_SECRET",
        &[
            "",
            "changeme",
            "0123456789abcdef",
            "0123456789abcdef0123456789abcde",
        ],
    ),
    ("JWT_PREVIOUS_KEY_FILES", &["nowhere.pem"]),
    (
        "SECRET_KEY",
        &["", "short", "changeme-changeme-changeme-changeme-changeme"],
    ),
    ("SECRET_KEY_PREVIOUS", &["short"]),
    ("JWT_ISSUER", &["", "  "]),
    ("JWT_AUDIENCE", &[""]),
    ("ACCESS_TOKEN_EXPIRE_MINUTES", &["", "0", "61", "15m", "-15"]),
    ("REFRESH_TOKEN_EXPIRE_DAYS", &["", "0", "-1", "30d"]),
    ("SESSION_MAX_DAYS", &["", "0", "18446744073709551615"]),
    ("REFRESH_REUSE_GRACE_SECONDS", &["", "-1", "10s"]),
    ("PASSWORD_MIN_LENGTH", &["", "7", "65", "eight"]),
    ("PASSWORD_MIN_SCORE", &["", "5", "-1", "3.5"]),
    ("REQUIRE_EMAIL_VERIFICATION", &["", "yes"]),
    ("RESET_TOKEN_EXPIRE_MINUTES", &["", "0", "1441"]),
    ("VERIFY_TOKEN_EXPIRE_HOURS", &["", "0", "169"]),
    (
        "SMTP_URL",
        &[
            "smtp.example.com:587",
            "http://h",
            "smtp://",
            "smtps://h?tls=none",
            "smtp://u:p#w@h",
        ],
    ),
    ("MAIL_FROM", &["", "nobody", "a@b\nBcc: c@d", "<a@b", "Stile"]),
    ("MAIL_OUTBOX_DIR", &[""]),
    (
        "PUBLIC_URL",
        &[
            "",
            "auth.example.com",
            "ftp://h",
            "https://",
            "https://u:p@h",
            "https://h/?q",
            "https://h/#f",
            "javascript:x",
        ],
    ),
    ("FRONTEND_URL", &["", "app", "https://h/?a=b", "data:text/html,x"]),
    (
        "CORS_ORIGINS",
        &[
            "*",
            "null",
            "https://h/",
            "https://h/path",
            "https://h:443",
            "HTTPS://h",
            "https://*.h",
            "h",
            "https://u@h",
            "https://a,*",
            "file:///x",
            "https://a,",
        ],
    ),
    ("AUTH_COOKIES", &["", "sure"]),
    ("LOG_FORMAT", &["", "pretty", "JSON"]),
    ("RUST_LOG", &["stile=loud", "[[["]),
    ("AUDIT_RETENTION_DAYS", &["", "0", "-1", "forever"]),
    ("SHUTDOWN_DELAY_SECONDS", &["", "-1", "3s"]),
    ("SHUTDOWN_GRACE_SECONDS", &["", "-1", "99999"]),
    (
        "API_TOKEN_RATE_LIMIT",
        &[
            "",
            "60",
            "off",
            "5/second",
            "60/minute;10/hour",
            "5/minute;mode=shadow",
        ],
    ),
    ("API_TOKEN_SCOPES", &["", "Read", "a b", "*", "read:*,"]),
    ("RATE_LIMIT_GATEWAY_FAILURES", &["", "30"]),
    ("API_TOKENS_PER_USER", &["", "many"]),
    ("ENABLE_DOCS", &["", "on"]),
    (
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        &[
            "localhost:4318",
            "grpc://localhost:4317",
            "http://",
            "http://user:s3cr3t@collector",
        ],
    ),
    (
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        &["/v1/traces", "ftp://collector/v1/traces"],
    ),
    (
        "OTEL_EXPORTER_OTLP_HEADERS",
        &["s3cr3t", "a=b,=c", "a b=c", "a=%0a"],
    ),
    (
        "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
        &["s3cr3t", "a=%ff", "ключ=1"],
    ),
    // Refused beside an endpoint: `what_the_collector_would_not_get_is_refused`.
    ("OTEL_EXPORTER_OTLP_PROTOCOL", &[]),
    ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", &[]),
    ("OTEL_EXPORTER_OTLP_COMPRESSION", &[]),
    ("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", &[]),
    ("OTEL_EXPORTER_OTLP_TIMEOUT", &[]),
    ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", &[]),
    ("OTEL_EXPORTER_OTLP_CERTIFICATE", &[]),
    ("OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", &[]),
    ("OTEL_TRACES_EXPORTER", &[]),
    ("OTEL_SDK_DISABLED", &["yes", "1"]),
    ("OTEL_SERVICE_NAME", &[]),
    ("OTEL_RESOURCE_ATTRIBUTES", &["team", "=x", "team=%ff"]),
    (
        "OTEL_TRACES_SAMPLER",
        &["sometimes", "jaeger_remote", "ALWAYS_ON"],
    ),
    ("OTEL_TRACES_SAMPLER_ARG", &["2", "-0.1", "half", "NaN"]),
    (
        "METRICS_ADDR",
        &[
            "9090",
            "localhost",
            "localhost:9090",
            "127.0.0.1:8000",
            "0.0.0.0:9090",
        ],
    ),
    ("ENABLE_PAGES", &["", "on"]),
    (
        "BRAND_NAME",
        &["", "a\nb", "a name that is longer than any product ever had"],
    ),
    (
        "BRAND_LOGO_URL",
        &[
            "logo.png",
            "ftp://cdn.example.org/logo.png",
            "https://user:s3cr3t@cdn.example.org/logo.png",
        ],
    ),
    ("BRAND_COLOR", &["", "green", "#12345", "2f6150", "#gggggg"]),
    ("ENABLE_TEST_ENDPOINTS", &["", "on"]),
    ("TEST_ENDPOINTS_KEY", &["short"]),
];

/// CFG-01: bounds, wrong types, emptiness. One list for all variables.
#[test]
fn a_bad_value_stops_the_program_and_its_variable_is_named() {
    for (name, values) in BAD {
        for value in *values {
            assert_eq!(blamed(of(&[(name, value)])), [*name], "{name}={value:?}");
        }
    }
}

#[test]
fn the_list_of_bad_values_forgets_no_variable() {
    for variable in stile::config::variables() {
        let of_rule = Rule::ALL.iter().any(|rule| rule.variable() == variable.name);
        assert!(
            of_rule || BAD.iter().any(|(name, _)| *name == variable.name),
            "{}",
            variable.name
        );
    }
}

/// CFG-01: many faults, one start.
#[test]
fn all_faults_are_told_at_once() {
    let result = of(&[
        ("PORT", "x"),
        ("RATE_LIMIT_LOGIN", "x"),
        ("RATE_LIMIT_LOGN", "5/minute"),
        ("JWT_SECRET", "x"),
    ]);
    assert_eq!(
        blamed(result),
        ["PORT", "RATE_LIMIT_LOGIN", "JWT_SECRET", "RATE_LIMIT_LOGN"]
    );
}

/// CFG-01.
#[test]
fn a_misspelt_variable_is_refused_with_a_suggestion() {
    for (name, suggestion) in [
        ("RATE_LIMIT_LOGN", "RATE_LIMIT_LOGIN"),
        ("rate_limit_login", "RATE_LIMIT_LOGIN"),
        ("RATE_LIMIT_REGISTER", "RATE_LIMIT_REGISTRATION"),
        ("TRUSTED_PROXY", "TRUSTED_PROXIES"),
        ("ENABLE_RATE_LIMIT", "ENABLE_RATE_LIMITING"),
    ] {
        let errors = of(&[(name, "5/minute")]).err().unwrap().to_string();
        assert!(errors.starts_with(&format!("{name}: ")), "{errors}");
        assert!(
            errors.ends_with(&format!("did you mean {suggestion}?")),
            "{errors}"
        );
    }
    assert_eq!(
        blamed(of(&[("RATE_LIMIT_ZEBRA", "5/minute")])),
        ["RATE_LIMIT_ZEBRA"]
    );
}

#[test]
fn the_variables_of_other_programs_stop_nobody() {
    let others = [
        "HOSTNAME",
        "LOGNAME",
        "PATH",
        "HOSTS",
        "port",
        "PGPORT",
        "KUBERNETES_SERVICE_PORT",
        "STILE_THING",
        "SMTP_HOST",
    ];
    assert!(of(&others.map(|name| (name, "x"))).is_ok());
}

/// CFG-02, JWT-08: what production cannot do without.
#[test]
fn production_refuses_what_the_contract_lists() {
    assert!(of(PRODUCTION).is_ok());
    for (changes, name) in [
        (&[("JWT_SECRET", "-")][..], "JWT_SIGNING_KEY_FILE"),
        (&[("DATABASE_URL", "-")], "DATABASE_URL"),
        (&[("DATABASE_URL", "sqlite://x.db")], "DATABASE_URL"),
        (
            &[("DATABASE_URL", "sqlite://x.db"), ("ALLOW_SQLITE", "false")],
            "DATABASE_URL",
        ),
        (&[("PUBLIC_URL", "http://auth.example.org")], "PUBLIC_URL"),
        (&[("PUBLIC_URL", "-")], "PUBLIC_URL"),
        (&[("FRONTEND_URL", "http://app.example.org")], "FRONTEND_URL"),
        (&[("SMTP_URL", "-")], "SMTP_URL"),
        (&[("SMTP_URL", "")], "SMTP_URL"),
        (&[("ENABLE_TEST_ENDPOINTS", "true")], "ENABLE_TEST_ENDPOINTS"),
        (&[("CORS_ORIGINS", "*")], "CORS_ORIGINS"),
    ] {
        assert_eq!(blamed(of(&with(PRODUCTION, changes))), [name], "{changes:?}");
    }
    let allowed = with(
        PRODUCTION,
        &[("DATABASE_URL", "sqlite://x.db"), ("ALLOW_SQLITE", "true")],
    );
    assert!(of(&allowed).is_ok());
}

/// JWT-08, LGR-01: the message names the variable and tells nothing of its value.
#[test]
fn no_fault_repeats_a_secret() {
    const MARKER: &str = "hunter2hunter2";
    for name in [
        "JWT_SECRET",
        "JWT_SIGNING_KEY",
        "SECRET_KEY",
        "SECRET_KEY_PREVIOUS",
        "DATABASE_URL",
        "REDIS_URL",
        "SMTP_URL",
    ] {
        for value in [
            MARKER.to_owned(),
            format!("postgres://u:{MARKER}@h:x/d"),
            format!("postgres://u:1/{MARKER}@h/d"),
            format!("redis://:{MARKER}@h/x"),
            format!("redis://:{MARKER},{MARKER}@h"),
            format!("smtp://{MARKER}#{MARKER}@h"),
            format!("smtp://u:{MARKER}@h?{MARKER}"),
            format!("-----BEGIN PRIVATE KEY-----{MARKER}"),
            format!("https://{MARKER}"),
        ] {
            let changes = [
                (name, value.as_str()),
                (
                    "JWT_SECRET",
                    if name == "JWT_SECRET" {
                        value.as_str()
                    } else {
                        SECRET
                    },
                ),
            ];
            for environment in Environment::ALL {
                let variables = with(&changes, &[("ENVIRONMENT", environment.name())]);
                if let Err(errors) = of(&variables) {
                    let told = format!("{errors} {errors:?}");
                    assert!(!told.contains("hunter2"), "{name}={value}: {told}");
                }
            }
        }
    }
    let name = "PUBLIC_URL";
    let told = of(&[(name, &format!("https://u:{MARKER}@h"))])
        .err()
        .unwrap()
        .to_string();
    assert!(!told.contains("hunter2"), "{told}");
}

#[test]
fn a_value_cannot_forge_a_second_line() {
    let errors = of(&[("PORT", "1\nstile: all is well\u{1b}[2J")])
        .err()
        .unwrap()
        .to_string();
    assert_eq!(errors.lines().count(), 1, "{errors:?}");
    assert!(!errors.contains('\u{1b}'));
}

/// Contract section 2.
#[test]
fn an_address_that_others_reach_needs_an_environment() {
    for host in ["0.0.0.0", "::", "[::]", "192.168.1.2", "::ffff:10.0.0.1"] {
        assert_eq!(blamed(of(&[("HOST", host)])), ["HOST"], "{host}");
        assert!(
            of(&[("HOST", host), ("ENVIRONMENT", "development")]).is_ok(),
            "{host}"
        );
    }
    for host in [
        "127.0.0.1",
        "127.8.9.1",
        "::1",
        "[::1]",
        "::ffff:127.0.0.1",
        "localhost",
    ] {
        assert!(of(&[("HOST", host)]).is_ok(), "{host}");
    }
}

#[test]
fn staging_needs_a_key_and_guards_its_test_endpoints() {
    let staging = [("ENVIRONMENT", "staging"), ("JWT_SECRET", SECRET)];
    assert_eq!(
        blamed(of(&with(&staging, &[("JWT_SECRET", "-")]))),
        ["JWT_SIGNING_KEY_FILE"]
    );
    let open = with(&staging, &[("ENABLE_TEST_ENDPOINTS", "true")]);
    assert_eq!(blamed(of(&open)), ["TEST_ENDPOINTS_KEY"]);
    assert!(of(&with(&open, &[("TEST_ENDPOINTS_KEY", "sixteen-bytes-ok")])).is_ok());
}

/// Issue 5.4: a protocol that is not spoken is told, not ignored, but where nothing would leave.
#[test]
fn what_the_collector_would_not_get_is_refused() {
    const OF_ALL: &str = "OTEL_EXPORTER_OTLP_PROTOCOL";
    const OF_TRACES: &str = "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL";
    let named = [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318")];
    for name in [
        OF_ALL,
        OF_TRACES,
        "OTEL_EXPORTER_OTLP_COMPRESSION",
        "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION",
    ] {
        for value in ["grpc", "http/json", "gzip", "zstd"] {
            assert!(of(&[(name, value)]).is_ok(), "{name}={value} without an endpoint");
            let told = of(&with(&named, &[(name, value)])).err().unwrap().to_string();
            assert!(told.starts_with(&format!("{name}: `{value}` ")), "{told}");
            let disabled = with(&named, &[(name, value), ("OTEL_SDK_DISABLED", "TRUE")]);
            assert!(of(&disabled).is_ok(), "{name}={value} while disabled");
        }
        assert!(of(&with(&named, &[(name, "")])).is_ok(), "{name} is empty");
    }
    let of_others = with(&named, &[(OF_ALL, "grpc"), (OF_TRACES, "http/protobuf")]);
    assert!(of(&of_others).unwrap().traces.is_some());
    let of_ours = with(&named, &[(OF_ALL, "http/protobuf"), (OF_TRACES, "grpc")]);
    assert_eq!(blamed(of(&of_ours)), [OF_TRACES]);
}

#[test]
fn a_batch_has_the_time_and_the_authorities_that_the_standard_names() {
    const OF_ALL: &str = "OTEL_EXPORTER_OTLP_TIMEOUT";
    const OF_TRACES: &str = "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT";
    let named = [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318")];
    let seconds = |more: &[(&'static str, &'static str)]| {
        let config = of(&with(&named, more)).unwrap();
        config.traces.unwrap().timeout.as_secs()
    };
    assert_eq!(seconds(&[]), 10);
    assert_eq!(seconds(&[(OF_ALL, "")]), 10);
    assert_eq!(seconds(&[(OF_ALL, "2000")]), 2);
    assert_eq!(seconds(&[(OF_ALL, "2000"), (OF_TRACES, "3000")]), 3);
    for (names, values) in [
        ([OF_ALL, OF_TRACES], &["10s", "0", "-1", "1.5", "86400000"][..]),
        (
            [
                "OTEL_EXPORTER_OTLP_CERTIFICATE",
                "OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE",
            ],
            &["/nowhere.pem", "/etc/passwd"],
        ),
    ] {
        for (name, value) in names
            .iter()
            .flat_map(|name| values.iter().map(move |value| (*name, *value)))
        {
            assert!(of(&[(name, value)]).is_ok(), "{name}={value} without an endpoint");
            assert_eq!(blamed(of(&with(&named, &[(name, value)]))), [name], "{value}");
        }
    }
}

#[test]
fn traces_are_disabled_as_the_standard_says() {
    let named = [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318")];
    for (name, value, is_traced) in [
        ("OTEL_SDK_DISABLED", "true", false),
        ("OTEL_SDK_DISABLED", "false", true),
        ("OTEL_SDK_DISABLED", "", true),
        ("OTEL_TRACES_EXPORTER", "none", false),
        ("OTEL_TRACES_EXPORTER", "otlp", true),
        ("OTEL_TRACES_EXPORTER", "", true),
    ] {
        let config = of(&with(&named, &[(name, value)])).unwrap();
        assert_eq!(config.traces.is_some(), is_traced, "{name}={value}");
    }
    for (name, service) in [("-", "auth"), ("login", "login")] {
        let attributes = ("OTEL_RESOURCE_ATTRIBUTES", "team=x,service.name=auth");
        let config = of(&with(&named, &[attributes, ("OTEL_SERVICE_NAME", name)])).unwrap();
        assert_eq!(config.traces.unwrap().service_name, service);
    }
    let console = [("OTEL_TRACES_EXPORTER", "console")];
    assert!(
        of(&console).is_ok(),
        "without an endpoint it is another program's"
    );
    assert_eq!(blamed(of(&with(&named, &console))), ["OTEL_TRACES_EXPORTER"]);
}

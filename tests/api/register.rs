//! Registering: what makes an account, what is refused, and that an address has one account at most.

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::app::{Answer, Engine, PASSWORD, TestApp};

async fn register(app: &TestApp, email: &str, password: &str) -> Answer {
    app.post("/auth/register", json!({"email": email, "password": password}))
        .await
}

async fn login(app: &TestApp, email: &str, password: &str) -> Answer {
    app.post("/auth/login", json!({"email": email, "password": password}))
        .await
}

/// Pointer and code of each refused field.
pub fn refusals(answer: &Answer) -> Vec<(&str, &str)> {
    let errors = answer.body["errors"].as_array().unwrap();
    let text = |error: &'_ Value, key: &str| error[key].as_str().unwrap().to_owned();
    assert!(errors.iter().all(|error| !text(error, "message").is_empty()));
    errors
        .iter()
        .map(|error| {
            (
                error["pointer"].as_str().unwrap(),
                error["code"].as_str().unwrap(),
            )
        })
        .collect()
}

on_both_engines! {
    /// REG-01
    async fn a_registration_answers_with_the_account_and_no_secret(engine: Engine) {
        let app = TestApp::on(engine).start().await;
        let body = json!({"email": "ada@example.com", "password": PASSWORD, "full_name": "  Ada Lovelace "});
        let answer = app.post("/auth/register", body).await.expect(201);
        assert_eq!(answer.header("content-type"), Some("application/json; charset=utf-8"));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        let id = answer.body["id"].as_str().unwrap();
        assert_eq!(id.len(), 36);
        assert_eq!(id.as_bytes()[14], b'7', "UUIDv7");
        let expected = json!({
            "id": id, "email": "ada@example.com", "full_name": "Ada Lovelace", "role": "user", "is_active": true,
            "is_verified": false, "created_at": app.clock.now(), "last_login_at": null,
        });
        assert_eq!(answer.body, expected);
        let tokens = app.logged_in("ada@example.com", PASSWORD).await;
        let me = app.get("/auth/me").bearer(&tokens["access_token"]).await.expect(200).body;
        assert_eq!((&me["id"], &me["full_name"]), (&expected["id"], &expected["full_name"]));
        assert_eq!(me["last_login_at"], json!(app.clock.now()));
    }
}

on_both_engines! {
    /// REG-02
    async fn a_password_needs_length_and_no_composition(engine: Engine) {
        let app = TestApp::on(engine).set("PASSWORD_MIN_SCORE", "0").set("PASSWORD_MIN_LENGTH", "10").start().await;
        let short = register(&app, "short@example.com", "abcdefghi").await;
        let short = short.expect_problem(422, "validation_failed");
        assert_eq!(refusals(&short), [("/password", "too_short")]);
        assert!(short.text.contains("at least 10 characters"), "{}", short.text);
        // Nine code points in many bytes are nine.
        assert_eq!(refusals(&register(&app, "short@example.com", &"🐫".repeat(9)).await), [("/password", "too_short")]);
        for (n, password) in ["abcdefghij", "          ", "🐫🎷🧊🪁🛶🧶🪗🦔🪵🧭"].into_iter().enumerate() {
            let email = format!("user{n}@example.com");
            register(&app, &email, password).await.expect(201);
            login(&app, &email, password).await.expect(200);
        }
        login(&app, "user1@example.com", "").await.expect_problem(401, "invalid_credentials");
    }
}

on_both_engines! {
    /// REG-03
    async fn the_whole_password_counts(engine: Engine) {
        let app = TestApp::on(engine).start().await;
        let whole = "Vier Zebras und ein Kamel laufen im Regen zum Bahnhof, um 7 Uhr.";
        assert_eq!(whole.len(), 64);
        register(&app, "ada@example.com", whole).await.expect(201);
        let swapped: String = whole
            .chars()
            .map(|c| if c.is_lowercase() { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() })
            .collect();
        for wrong in [&whole[..63], &format!("{whole}x"), &swapped, &format!(" {whole}"), ""] {
            login(&app, "ada@example.com", wrong).await.expect_problem(401, "invalid_credentials");
        }
        login(&app, "ada@example.com", whole).await.expect(200);
        // 128 code points is the longest, all of them count, and one more is refused by register and login.
        let longest = format!("{}ß", "Zebra und Kamel ".repeat(8).trim_end()).replacen("Zebra", "Dürre", 1);
        assert_eq!(longest.chars().count(), 128);
        register(&app, "long@example.com", &longest).await.expect(201);
        login(&app, "long@example.com", &longest).await.expect(200);
        login(&app, "long@example.com", &longest.replace('ß', "s")).await.expect(401);
        let longer = format!("{longest}x");
        assert_eq!(refusals(&register(&app, "more@example.com", &longer).await), [("/password", "too_long")]);
        assert_eq!(refusals(&login(&app, "long@example.com", &longer).await), [("/password", "too_long")]);
    }
}

on_both_engines! {
    async fn an_accent_typed_in_two_ways_is_one_password(engine: Engine) {
        let app = TestApp::on(engine).start().await;
        register(&app, "ada@example.com", "caf\u{e9} zebra umbrella").await.expect(201);
        login(&app, "ada@example.com", "cafe\u{301} zebra umbrella").await.expect(200);
        login(&app, "ada@example.com", "cafe zebra umbrella").await.expect(401);
    }
}

/// Of the passwords that every list of leaked ones begins with, those of eight characters and more.
const COMMON: &[&str] = &[
    "password",
    "12345678",
    "123456789",
    "1234567890",
    "football",
    "baseball",
    "superman",
    "1qaz2wsx",
    "trustno1",
    "jennifer",
    "sunshine",
    "starwars",
    "whatever",
    "computer",
    "michelle",
    "corvette",
    "mercedes",
    "maverick",
    "samantha",
    "steelers",
    "princess",
    "midnight",
    "swordfish",
    "password1",
    "qwertyuiop",
    "iloveyou",
    "welcome1",
    "password123",
    "11111111",
    "87654321",
    "12341234",
    "asdfghjkl",
    "letmein1",
    "abcd1234",
    "abc12345",
    "passw0rd",
    "P@ssw0rd",
    "qwerty123",
    "q1w2e3r4",
    "1q2w3e4r",
    "1q2w3e4r5t",
    "zaq12wsx",
    "1234qwer",
    "qwer1234",
    "asdf1234",
    "liverpool",
    "admin123",
    "internet",
    "explorer",
    "hello123",
    "changeme",
    "secret123",
    "test1234",
    "blink182",
    "slipknot",
    "victoria",
    "elizabeth",
    "alexander",
    "benjamin",
    "qazwsxedc",
];

on_both_engines! {
    /// REG-04
    async fn a_common_password_is_refused_with_a_reason_wherever_one_is_set(engine: Engine) {
        let app = TestApp::on(engine).start().await;
        let email = "katharina.winterbottom@example.com";
        let tokens = app.signed_up(email).await;
        app.post("/auth/password-reset/request", json!({"email": email})).await.expect(200);
        let link = app.mails(email, 2).await.pop().unwrap();
        let own = ["stilestile", "katharina.winterbottom", "Winterbottom1"];
        for password in COMMON.iter().copied().chain(own) {
            let registered = app
                .post("/auth/register", json!({"email": "katharina.winterbottom@example.org", "password": password}))
                .await;
            let reset = json!({"token": link.token(), "new_password": password});
            let reset = app.post("/auth/password-reset/confirm", reset).await;
            let changed = json!({"current_password": PASSWORD, "new_password": password});
            let changed = app.post("/auth/change-password", changed).bearer(&tokens["access_token"]).await;
            for (answer, pointer) in
                [(registered, "/password"), (reset, "/new_password"), (changed, "/new_password")]
            {
                assert_eq!(answer.status, 422, "{password}");
                let answer = answer.expect_problem(422, "validation_failed");
                assert_eq!(refusals(&answer), [(pointer, "too_weak")], "{password}");
                assert!(answer.text.contains("too easy to guess: "), "{}", answer.text);
                assert!(!answer.text.contains(password) || "password".contains(password), "{}", answer.text);
            }
        }
        // All the refusals have used nothing up, and changed nothing.
        app.logged_in(email, PASSWORD).await;
        let reset = json!({"token": link.token(), "new_password": "umbrella-zebra-quartz-41"});
        app.post("/auth/password-reset/confirm", reset).await.expect(200);
    }
}

on_both_engines! {
    /// REG-05
    async fn spellings_of_one_address_are_one_account(engine: Engine) {
        let app = TestApp::on(engine).start().await;
        register(&app, "mike@ex.org", PASSWORD).await.expect(201);
        let exact = register(&app, "mike@ex.org", PASSWORD).await.expect_problem(409, "email_taken");
        assert!(!exact.text.contains("mike"), "{}", exact.text);
        for spelling in ["Mike@EX.org", " mike@ex.org ", "mike@ex.org.", "MIKE@ex\u{3002}org", "mike@ＥＸ.org"] {
            let answer = register(&app, spelling, "another-zebra-quartz-7").await;
            assert_eq!(answer.fingerprint(), exact.fingerprint(), "{spelling}");
            login(&app, spelling, PASSWORD).await.expect(200);
        }
        assert_eq!(app.sql_texts("SELECT email FROM users").await, ["mike@ex.org"]);
        register(&app, "mık\u{e9}@ex.org", PASSWORD).await.expect(422);
        // The domain in either of its two forms is one domain.
        register(&app, "a@bücher.example", PASSWORD).await.expect(201);
        register(&app, "a@XN--BCHER-KVA.example", PASSWORD).await.expect_problem(409, "email_taken");
    }
}

on_both_engines! {
    /// REG-08
    async fn fields_that_are_not_for_the_caller_are_ignored(engine: Engine) {
        let app = TestApp::on(engine).start().await;
        let stolen = "01890000-0000-7000-8000-000000000001";
        let body = json!({
            "email": "ada@example.com", "password": PASSWORD, "id": stolen, "role": "admin", "is_admin": true,
            "is_verified": true, "email_verified": true, "is_active": false, "quota_day": 1_000_000,
            "created_at": "2001-01-01T00:00:00Z", "password_hash": "x", "user": {"role": "admin"},
        });
        app.post("/auth/register", body).await.expect(201);
        let tokens = app.logged_in("ada@example.com", PASSWORD).await;
        let patch = json!({"full_name": "Ada", "role": "admin", "is_verified": true, "email": "x@example.com"});
        app.request(Method::PATCH, "/auth/me").json(&patch).bearer(&tokens["access_token"]).await.expect(200);
        let me = app.get("/auth/me").bearer(&tokens["access_token"]).await.expect(200).body;
        assert_ne!(me["id"], stolen);
        assert_eq!(me["email"], "ada@example.com");
        assert_eq!(me["full_name"], "Ada");
        assert_eq!((&me["role"], &me["is_verified"], &me["is_active"]), (&json!("user"), &json!(false), &json!(true)));
        assert_eq!(me["created_at"], json!(app.clock.now()));
    }
}

on_both_engines! {
    /// REG-09
    async fn of_fifty_registrations_of_one_address_at_once_one_makes_an_account(engine: Engine) {
        let app = TestApp::on(engine).start().await;
        let spellings = ["mike@ex.org", "Mike@ex.org", "MIKE@EX.ORG", " mike@ex.org", "mike@ex.org."];
        let passwords: Vec<String> = (0..50).map(|n| format!("zebra-umbrella-quartz-{n}")).collect();
        let attempts = passwords.iter().enumerate().map(|(n, password)| register(&app, spellings[n % 5], password));
        let answers = join_all(attempts).await;
        let created: Vec<usize> = (0..50).filter(|&n| answers[n].status == 201).collect();
        assert_eq!(created.len(), 1);
        for answer in answers.iter().filter(|answer| answer.status != 201) {
            assert_eq!((answer.status, answer.body["code"].as_str()), (409, Some("email_taken")), "{}", answer.text);
        }
        assert_eq!(app.sql_texts("SELECT email FROM users").await, ["mike@ex.org"]);
        login(&app, "mike@ex.org", &passwords[created[0]]).await.expect(200);
        login(&app, "mike@ex.org", &passwords[(created[0] + 1) % 50]).await.expect(401);
        assert_eq!(app.mails("mike@ex.org", 1).await.len(), 1);
    }
}

on_both_engines! {
    /// REG-11: the answers are written out, so they are the same on both engines.
    async fn hostile_text_is_refused_alike_on_both_engines(engine: Engine) {
        let app = TestApp::on(engine).start().await;
        let good = json!({"email": "ada@example.com", "password": PASSWORD, "full_name": "Ada"});
        let with = |field: &str, value: &str| {
            let mut body = good.clone();
            body[field] = json!(value);
            app.post("/auth/register", body).send()
        };
        let dots = format!("a@{}com", "a.".repeat(64));
        let long = format!("{}@example.com", "a".repeat(320));
        let emails = [
            ("a\0@example.com", "invalid_email"),
            ("a@exa\0mple.com", "invalid_email"),
            ("a\u{ffff}@example.com", "invalid_email"),
            ("a@\u{ffff}.com", "invalid_email"),
            ("a@b.com\r\nBcc: c@d.com", "invalid_email"),
            ("\"a b\"@example.com", "invalid_email"),
            (dots.as_str(), "invalid_email"),
            (long.as_str(), "too_long"),
            ("", "invalid_email"),
        ];
        for (email, code) in emails {
            let refused = with("email", email).await.expect_problem(422, "validation_failed");
            assert_eq!(refusals(&refused), [("/email", code)], "{email:?}");
            // The same address is as bad everywhere else.
            let body = json!({"email": email, "password": PASSWORD});
            for path in ["/auth/login", "/auth/password-reset/request", "/auth/resend-verification"] {
                let refused = app.post(path, body.clone()).await.expect_problem(422, "validation_failed");
                assert_eq!(refusals(&refused), [("/email", code)], "{path} {email:?}");
            }
        }
        for name in ["a\0b", "a\u{ffff}b", "a\nb", "a\u{202e}b"] {
            let refused = with("full_name", name).await.expect_problem(422, "validation_failed");
            assert_eq!(refusals(&refused), [("/full_name", "invalid_characters")], "{name:?}");
        }
        assert_eq!(refusals(&with("full_name", &"x".repeat(201)).await), [("/full_name", "too_long")]);
        for password in ["zebra-umbrella\0quartz", "zebra-umbrella\u{ffff}quartz"] {
            assert_eq!(refusals(&with("password", password).await), [("/password", "invalid_characters")]);
            let refused = login(&app, "ada@example.com", password).await.expect_problem(422, "validation_failed");
            assert_eq!(refusals(&refused), [("/password", "invalid_characters")]);
        }
        for field in ["email", "password", "full_name"] {
            let mut body = good.clone();
            body[field] = json!("SURROGATE");
            let body = body.to_string().replace("SURROGATE", "a\\ud800b");
            let request = app.request(Method::POST, "/auth/register").header("content-type", "application/json");
            request.raw(body).await.expect_problem(400, "invalid_request");
        }
        for token in ["\0", "\u{ffff}", "a\0b", ""] {
            app.post("/auth/verify-email", json!({"token": token})).await.expect_problem(400, "invalid_verification_token");
            let reset = json!({"token": token, "new_password": "umbrella-zebra-quartz-41"});
            app.post("/auth/password-reset/confirm", reset).await.expect_problem(400, "invalid_reset_token");
            let verified = app.post("/auth/password-reset/verify", json!({"token": token})).await.expect(200);
            assert_eq!(verified.body, json!({"valid": false, "email": null, "expires_in_seconds": null}));
            app.post("/auth/refresh", json!({"refresh_token": token})).await.expect_problem(401, "invalid_refresh_token");
            app.post("/auth/logout", json!({"refresh_token": token})).await.expect(200);
        }
        assert_eq!(app.sql_texts("SELECT email FROM users").await, Vec::<String>::new());
        with("email", "ada@example.com").await.expect(201);
    }
}

on_both_engines! {
    async fn all_that_is_wrong_is_told_at_once(engine: Engine) {
        let app = TestApp::on(engine).start().await;
        let body = json!({"email": "nobody", "password": "short", "full_name": "a\nb"});
        let answer = app.post("/auth/register", body).await.expect_problem(422, "validation_failed");
        let expected =
            [("/email", "invalid_email"), ("/full_name", "invalid_characters"), ("/password", "too_short")];
        let mut refused = refusals(&answer);
        refused.sort_unstable();
        assert_eq!(refused, expected);
        for missing in ["email", "password"] {
            let mut body = json!({"email": "ada@example.com", "password": PASSWORD});
            body.as_object_mut().unwrap().remove(missing);
            let answer = app.post("/auth/register", body).await.expect_problem(422, "validation_failed");
            assert_eq!(refusals(&answer), [(format!("/{missing}").as_str(), "required")]);
        }
    }
}

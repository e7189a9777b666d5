//! Access tokens over HTTP, as a forger who even holds the key would try them: what is not exactly a token that
//! stile issued is 401, and each kind of token opens its own door only.

use std::path::Path;
use std::time::Duration;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ED25519, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey};
use reqwest::Method;
use serde_json::{Value, json};

use crate::app::{Engine, PASSWORD, TestApp};

const SECRET: &str = "u8Qe2vXoT4kLr7ZnBd1yWpHs6MfGaJc9-for-tests";

/// The key that an app signs with, in the hands of somebody else.
struct Forger {
    key: EncodingKey,
    algorithm: Algorithm,
}

impl Forger {
    /// With the key that the app made for itself.
    fn with_key_of(app: &TestApp) -> Self {
        Self::ed25519(&app.directory.path().join("data/signing_key.pem"))
    }

    fn ed25519(file: &Path) -> Self {
        Self {
            key: EncodingKey::from_ed_pem(&std::fs::read(file).unwrap()).unwrap(),
            algorithm: Algorithm::EdDSA,
        }
    }

    /// Signs header and claims as they are written here.
    fn sign(&self, header: &str, claims: &str) -> String {
        let message = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(header),
            URL_SAFE_NO_PAD.encode(claims)
        );
        let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &self.key, self.algorithm).unwrap();
        format!("{message}.{signature}")
    }
}

fn part(token: &str, number: usize) -> Value {
    let part = token.split('.').nth(number).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

/// `object` with one member replaced, or taken away by `Null`'s absence.
fn with(object: &Value, name: &str, value: Option<Value>) -> String {
    let mut changed = object.clone();
    match value {
        Some(value) => changed[name] = value,
        None => drop(changed.as_object_mut().unwrap().remove(name)),
    }
    changed.to_string()
}

async fn signed_up(app: &TestApp) -> (String, Value) {
    let tokens = app.signed_up("ada@example.com").await;
    (tokens["access_token"].as_str().unwrap().to_owned(), tokens)
}

async fn refused(app: &TestApp, token: &str, what: &str) {
    let answer = app
        .get("/auth/me")
        .header("authorization", &format!("Bearer {token}"))
        .await;
    assert_eq!(answer.status, 401, "{what}: {}", answer.text);
    assert_eq!(answer.body["code"], "token_invalid", "{what}");
    let challenge = answer.header("www-authenticate").unwrap();
    assert!(challenge.starts_with("Bearer"), "{what}: {challenge}");
}

async fn admitted(app: &TestApp, token: &str) {
    app.get("/auth/me")
        .header("authorization", &format!("Bearer {token}"))
        .await
        .expect(200);
}

/// JWT-01.
#[tokio::test]
async fn no_other_algorithm_opens_an_endpoint() {
    let app = TestApp::on(Engine::Sqlite).start().await;
    let (token, _) = signed_up(&app).await;
    let (header, claims) = (part(&token, 0), part(&token, 1));
    assert_eq!(header["alg"], "EdDSA");
    let forger = Forger::with_key_of(&app);
    admitted(&app, &forger.sign(&header.to_string(), &claims.to_string())).await;

    let others = [
        "none", "None", "noNE", "NONE", "", "HS256", "HS384", "RS256", "ES256", "PS256", "eddsa", "EdDSA ",
    ];
    for alg in others {
        let header = with(&header, "alg", Some(json!(alg)));
        let signed = forger.sign(&header, &claims.to_string());
        refused(&app, &signed, alg).await;
        let unsigned = signed.rsplit_once('.').unwrap().0;
        refused(&app, &format!("{unsigned}."), alg).await;
        refused(&app, unsigned, alg).await;
    }
    for missing in [
        with(&header, "alg", None),
        with(&header, "alg", Some(Value::Null)),
    ] {
        refused(&app, &forger.sign(&missing, &claims.to_string()), "no alg").await;
    }
    // The published key as an HMAC secret, in each form in which a forger has it.
    let published = &app.get("//.well-known/jwks.json").await.expect(200).body["keys"][0];
    let x = published["x"].as_str().unwrap();
    let secrets = [
        x.as_bytes().to_vec(),
        URL_SAFE_NO_PAD.decode(x).unwrap(),
        published.to_string().into_bytes(),
        spki_pem(x),
    ];
    for secret in secrets {
        for (alg, algorithm) in [("HS256", Algorithm::HS256), ("EdDSA", Algorithm::HS256)] {
            let forger = Forger {
                key: EncodingKey::from_secret(&secret),
                algorithm,
            };
            let header = with(&header, "alg", Some(json!(alg)));
            refused(
                &app,
                &forger.sign(&header, &claims.to_string()),
                "public key as secret",
            )
            .await;
        }
    }
}

/// The public key as other services keep it (RFC 8410).
fn spki_pem(x: &str) -> Vec<u8> {
    let mut der = vec![
        0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
    ];
    der.extend(URL_SAFE_NO_PAD.decode(x).unwrap());
    let base64 = STANDARD.encode(der);
    format!("-----BEGIN PUBLIC KEY-----\n{base64}\n-----END PUBLIC KEY-----\n").into_bytes()
}

/// JWT-02.
#[tokio::test]
async fn a_token_altered_anywhere_or_dressed_otherwise_opens_nothing() {
    let app = TestApp::on(Engine::Sqlite).start().await;
    let (token, _) = signed_up(&app).await;
    let (header, payload, signature) = {
        let mut parts = token.split('.');
        (
            parts.next().unwrap(),
            parts.next().unwrap(),
            parts.next().unwrap(),
        )
    };
    // One bit of each decoded byte, so that the text stays base64.
    for (number, text) in [header, payload, signature].into_iter().enumerate() {
        let bytes = URL_SAFE_NO_PAD.decode(text).unwrap();
        for at in (0..bytes.len()).step_by(3) {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << (at % 8);
            let mut parts = [header.to_owned(), payload.to_owned(), signature.to_owned()];
            parts[number] = URL_SAFE_NO_PAD.encode(flipped);
            refused(&app, &parts.join("."), "a flipped bit").await;
        }
    }
    // The last character of a signature has four bits to spare: another spelling of the same bytes.
    let last = signature.chars().last().unwrap();
    let spare = char::from(last as u8 + 1);
    let respelt = format!("{header}.{payload}.{}{spare}", &signature[..signature.len() - 1]);
    refused(&app, &respelt, "another spelling of the signature").await;
    let json_form = json!({"payload": payload, "protected": header, "signature": signature}).to_string();
    let dressed = [
        format!("{header}.{payload}."),
        format!("{header}.{payload}"),
        format!("{token}x"),
        format!("{token}."),
        format!("{token}.{signature}"),
        format!("{token}="),
        format!("{token}=="),
        format!("{header}=.{payload}.{signature}"),
        format!("{header}..{signature}"),
        format!(".{payload}.{signature}"),
        format!("{token}%00"),
        format!("{token}/"),
        STANDARD.encode(&token),
        URL_SAFE_NO_PAD.encode(&json_form),
        json_form.replace(' ', ""),
        "..".to_owned(),
        ".".repeat(4000),
        "A".repeat(8000),
    ];
    for other in dressed {
        refused(&app, &other, &other).await;
    }
    let forger = Forger::with_key_of(&app);
    let header = part(&token, 0);
    let claims = part(&token, 1).to_string();
    let twice = header.to_string().replacen('{', r#"{"alg":"none","#, 1);
    refused(&app, &forger.sign(&twice, &claims), "alg twice").await;
    let sub_twice = claims.replacen('{', r#"{"sub":"018f0000-0000-7000-8000-000000000000","#, 1);
    refused(&app, &forger.sign(&header.to_string(), &sub_twice), "sub twice").await;
    admitted(&app, &token).await;
}

/// JWT-02, JWT-05: what a library would follow elsewhere.
#[tokio::test]
async fn a_header_that_points_elsewhere_is_refused() {
    let app = TestApp::on(Engine::Sqlite).start().await;
    let (token, _) = signed_up(&app).await;
    let (header, claims) = (part(&token, 0), part(&token, 1).to_string());
    let forger = Forger::with_key_of(&app);
    let jwk = app.get("//.well-known/jwks.json").await.expect(200).body["keys"][0].clone();
    let cases = [
        ("jku", Some(json!("https://evil.example/jwks.json"))),
        ("x5u", Some(json!("https://evil.example/x5u"))),
        ("jwk", Some(jwk)),
        ("crit", Some(json!(["exp"]))),
        ("b64", Some(json!(false))),
        ("zip", Some(json!("DEF"))),
        ("typ", Some(json!("JWT"))),
        ("typ", Some(json!("at+JWT+x"))),
        ("typ", Some(json!(7))),
        ("typ", None),
        ("kid", Some(json!("other"))),
        ("kid", Some(json!("../../data/signing_key.pem"))),
        ("kid", Some(json!("' OR 1=1 --"))),
        ("kid", Some(json!(["a"]))),
        ("kid", None),
    ];
    for (name, value) in cases {
        let changed = with(&header, name, value);
        refused(&app, &forger.sign(&changed, &claims), &changed).await;
    }
}

/// JWT-03, JWT-05: signed with the right key, and still not what stile issues.
#[tokio::test]
async fn claims_of_a_wrong_kind_or_value_open_nothing_even_rightly_signed() {
    let app = TestApp::on(Engine::Sqlite).start().await;
    let (token, _) = signed_up(&app).await;
    let (header, claims) = (part(&token, 0).to_string(), part(&token, 1));
    let forger = Forger::with_key_of(&app);
    let exp = claims["exp"].as_i64().unwrap();
    let iat = claims["iat"].as_i64().unwrap();
    let cases = [
        ("exp", Some(json!(exp.to_string()))),
        ("exp", Some(json!(f64::from(u32::try_from(exp).unwrap()) + 0.5))),
        ("exp", Some(json!(-1))),
        ("exp", Some(json!(0))),
        ("exp", Some(json!(1e30))),
        ("exp", Some(json!(u64::MAX))),
        ("exp", Some(Value::Null)),
        ("exp", Some(json!([exp]))),
        ("exp", Some(json!(true))),
        ("exp", None),
        ("nbf", Some(json!("0"))),
        ("nbf", Some(Value::Null)),
        ("nbf", Some(json!(iat + 60))),
        ("nbf", Some(json!(0.5))),
        ("iat", Some(json!(iat + 60))),
        ("iat", Some(json!(iat.to_string()))),
        ("iat", None),
        ("sub", Some(json!(7))),
        ("sub", Some(json!(""))),
        ("sub", Some(json!("ada@example.com"))),
        ("sub", Some(json!("018f0000-0000-7000-8000-000000000000"))),
        ("sub", None),
        ("sid", Some(json!("018f0000-0000-7000-8000-000000000000"))),
        ("sid", Some(json!(""))),
        ("sid", None),
        ("jti", Some(json!(""))),
        ("jti", None),
        ("iss", Some(json!("https://evil.example"))),
        (
            "iss",
            Some(json!(format!("{}/", claims["iss"].as_str().unwrap()))),
        ),
        ("iss", Some(json!(["stile"]))),
        ("iss", None),
        ("aud", Some(json!("other"))),
        ("aud", Some(json!("Stile"))),
        ("aud", Some(json!(["stile"]))),
        ("aud", Some(json!(["other", "stile"]))),
        ("aud", Some(json!(""))),
        ("aud", None),
        ("role", Some(json!(["admin"]))),
        ("role", None),
        ("email_verified", Some(json!("true"))),
        ("email_verified", None),
    ];
    for (name, value) in cases {
        let changed = with(&claims, name, value);
        let answer = app
            .get("/auth/me")
            .header(
                "authorization",
                &format!("Bearer {}", forger.sign(&header, &changed)),
            )
            .await;
        assert_eq!(answer.status, 401, "{changed}: {}", answer.text);
    }
    for claims in ["", "null", "[]", "\"x\"", "{}", "{\"exp\":"] {
        refused(&app, &forger.sign(&header, claims), claims).await;
    }
    // A claim of the future that a newer issuer may add is no harm, nor is a role that only the token claims.
    admitted(
        &app,
        &forger.sign(&header, &with(&claims, "scope", Some(json!("x")))),
    )
    .await;
    let admin = forger.sign(&header, &with(&claims, "role", Some(json!("admin"))));
    let me = app.get("/auth/me").bearer(&json!(admin)).await.expect(200).body;
    assert_eq!(me["role"], "user", "the database says who is what");
}

/// JWT-03, contract 3.3: the leeway is at most five seconds, and an expired token says so.
#[tokio::test]
async fn a_token_ends_with_its_life() {
    let app = TestApp::on(Engine::Sqlite)
        .set("ACCESS_TOKEN_EXPIRE_MINUTES", "1")
        .start()
        .await;
    let (token, tokens) = signed_up(&app).await;
    assert_eq!(tokens["expires_in"], 60);
    app.advance(Duration::from_secs(59));
    admitted(&app, &token).await;
    app.advance(Duration::from_secs(7));
    app.get("/auth/me")
        .bearer(&json!(token))
        .await
        .expect_problem(401, "token_expired");
    // Altered and expired is altered: a forger learns nothing.
    refused(
        &app,
        &format!("{}x", &token[..token.len() - 1]),
        "altered and expired",
    )
    .await;
}

on_both_engines! {
    /// JWT-07: the token's time is not over, its user's is.
    async fn a_token_of_a_deleted_or_deactivated_user_opens_nothing_at_once(engine: Engine) {
        let app = TestApp::on(engine).start().await;
        let (token, _) = signed_up(&app).await;
        let other = app.signed_up("bob@example.com").await;
        admitted(&app, &token).await;
        app.delete("/auth/me")
            .json(&json!({"password": PASSWORD}))
            .bearer(&json!(token))
            .await
            .expect(204);
        refused(&app, &token, "of a deleted user").await;
        app.deactivate("bob@example.com").await;
        refused(&app, other["access_token"].as_str().unwrap(), "of an inactive user").await;
        app.post("/auth/refresh", json!({"refresh_token": other["refresh_token"]}))
            .await
            .expect_problem(401, "invalid_refresh_token");
    }
}

/// Contract 3.3: others verify with what is published, and with nothing of ours.
#[tokio::test]
async fn the_published_keys_verify_what_is_issued() {
    let ed25519 = TestApp::on(Engine::Sqlite).start().await;
    let pem = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)
        .unwrap()
        .serialize_pem();
    let p256 = TestApp::on(Engine::Sqlite)
        .set("JWT_SIGNING_KEY", pem)
        .start()
        .await;
    for (app, alg) in [(&ed25519, "EdDSA"), (&p256, "ES256")] {
        let (token, _) = signed_up(app).await;
        let header = part(&token, 0);
        assert_eq!(
            (header["alg"].as_str(), header["typ"].as_str()),
            (Some(alg), Some("at+jwt"))
        );
        let set = app.get("//.well-known/jwks.json").await.expect(200);
        assert_eq!(set.header("cache-control"), Some("public, max-age=300"));
        let keys = set.body["keys"].as_array().unwrap().clone();
        assert_eq!(keys.len(), 1);
        let key = &keys[0];
        assert_eq!(
            (&key["kid"], &key["alg"], &key["use"]),
            (&header["kid"], &json!(alg), &json!("sig"))
        );
        assert!(key.get("d").is_none() && key.get("k").is_none(), "{key}");
        let (message, signature) = token.rsplit_once('.').unwrap();
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        let coordinate = |name: &str| URL_SAFE_NO_PAD.decode(key[name].as_str().unwrap()).unwrap();
        let verified = if alg == "EdDSA" {
            assert_eq!((&key["kty"], &key["crv"]), (&json!("OKP"), &json!("Ed25519")));
            UnparsedPublicKey::new(&ED25519, coordinate("x")).verify(message.as_bytes(), &signature)
        } else {
            assert_eq!((&key["kty"], &key["crv"]), (&json!("EC"), &json!("P-256")));
            let point = [vec![4], coordinate("x"), coordinate("y")].concat();
            UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message.as_bytes(), &signature)
        };
        verified.unwrap();
        admitted(app, &token).await;
    }
    // One app's token is nothing to another.
    let token = ed25519.logged_in("ada@example.com", PASSWORD).await;
    refused(&p256, token["access_token"].as_str().unwrap(), "of another key").await;
}

/// Contract 3.3, JWT-01: with a shared secret nothing is published, and other HMACs are refused.
#[tokio::test]
async fn with_a_secret_the_key_set_is_empty() {
    let app = TestApp::on(Engine::Sqlite)
        .set("JWT_SECRET", SECRET)
        .start()
        .await;
    let (token, _) = signed_up(&app).await;
    let (header, claims) = (part(&token, 0), part(&token, 1).to_string());
    assert_eq!(header["alg"], "HS256");
    let set = app.get("//.well-known/jwks.json").await.expect(200);
    assert_eq!(set.body, json!({"keys": []}));
    assert!(!set.text.contains(SECRET));
    admitted(&app, &token).await;
    for (alg, algorithm) in [
        ("HS384", Algorithm::HS384),
        ("HS512", Algorithm::HS512),
        ("HS256", Algorithm::HS384),
    ] {
        let forger = Forger {
            key: EncodingKey::from_secret(SECRET.as_bytes()),
            algorithm,
        };
        let header = with(&header, "alg", Some(json!(alg)));
        refused(&app, &forger.sign(&header, &claims), alg).await;
    }
    let guesser = Forger {
        key: EncodingKey::from_secret(b"changeme"),
        algorithm: Algorithm::HS256,
    };
    refused(
        &app,
        &guesser.sign(&header.to_string(), &claims),
        "another secret",
    )
    .await;
}

/// Contract section 2, `JWT_PREVIOUS_KEY_FILES`: nobody is logged out by a rotation, and its end ends the old key.
#[tokio::test]
async fn keys_rotate_without_logging_anybody_out() {
    let keys = tempfile::tempdir().unwrap();
    let file = |name: &str| keys.path().join(name).display().to_string();
    for name in ["old.pem", "new.pem"] {
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        std::fs::write(file(name), pair.serialize_pem()).unwrap();
    }
    // One secret key throughout: it does not rotate with the signing key, or the account limits would start anew.
    let mut app = TestApp::on(Engine::Sqlite)
        .set("SECRET_KEY", SECRET)
        .set("JWT_ISSUER", "https://auth.example.com")
        .set("JWT_SIGNING_KEY_FILE", file("old.pem"))
        .start()
        .await;
    let (old, _) = signed_up(&app).await;
    app.set("JWT_SIGNING_KEY_FILE", file("new.pem"));
    app.set("JWT_PREVIOUS_KEY_FILES", file("old.pem"));
    app.restart().await;
    admitted(&app, &old).await;
    let new = app.logged_in("ada@example.com", PASSWORD).await;
    let new = new["access_token"].as_str().unwrap();
    assert_ne!(part(new, 0)["kid"], part(&old, 0)["kid"]);
    let set = app.get("//.well-known/jwks.json").await.expect(200).body;
    let kids: Vec<&Value> = set["keys"]
        .as_array()
        .unwrap()
        .iter()
        .map(|key| &key["kid"])
        .collect();
    assert_eq!(kids, [&part(new, 0)["kid"], &part(&old, 0)["kid"]]);
    app.set("JWT_PREVIOUS_KEY_FILES", "");
    app.restart().await;
    refused(&app, &old, "of a key that is gone").await;
    admitted(&app, new).await;
}

on_both_engines! {
    /// REF-08: each kind of token in the other's place.
    async fn each_kind_of_token_opens_its_own_door_only(engine: Engine) {
        let app = TestApp::on(engine).start().await;
        let tokens = app.signed_up("ada@example.com").await;
        let verification = app.mails("ada@example.com", 1).await[0].token();
        app.post("/auth/password-reset/request", json!({"email": "ada@example.com"})).await.expect(200);
        let reset = app.mails("ada@example.com", 2).await[1].token();
        let access = tokens["access_token"].as_str().unwrap().to_owned();
        let refresh = tokens["refresh_token"].as_str().unwrap().to_owned();
        // The shape of an API token (contract 3.5).
        let api = format!("stile_{}{}", "a".repeat(43), "0".repeat(6));
        for bearer in [&refresh, &reset, &verification, &api] {
            refused(&app, bearer, "as bearer").await;
            for (method, path) in [(Method::PATCH, "/auth/me"), (Method::DELETE, "/auth/sessions")] {
                app.request(method, path)
                    .json(&json!({}))
                    .header("authorization", &format!("Bearer {bearer}"))
                    .await
                    .expect_problem(401, "token_invalid");
            }
        }
        for token in [&access, &reset, &verification, &api] {
            app.post("/auth/refresh", json!({"refresh_token": token}))
                .await
                .expect_problem(401, "invalid_refresh_token");
        }
        for token in [&access, &refresh, &verification, &api] {
            let answer = app.post("/auth/password-reset/verify", json!({"token": token})).await.expect(200);
            assert_eq!(answer.body, json!({"valid": false, "email": null, "expires_in_seconds": null}));
            app.post("/auth/password-reset/confirm", json!({"token": token, "new_password": "another-pass-phrase-7"}))
                .await
                .expect_problem(400, "invalid_reset_token");
        }
        for token in [&access, &refresh, &reset, &api] {
            app.post("/auth/verify-email", json!({"token": token}))
                .await
                .expect_problem(400, "invalid_verification_token");
        }
        // Nothing was used up or ended by all that.
        admitted(&app, &access).await;
        app.post("/auth/verify-email", json!({"token": verification})).await.expect(200);
        app.post("/auth/refresh", json!({"refresh_token": refresh})).await.expect(200);
        app.post("/auth/password-reset/confirm", json!({"token": reset, "new_password": "another-pass-phrase-7"}))
            .await
            .expect(200);
    }
}

//! Forged, altered and expired access tokens.

use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};

use super::*;
use crate::credentials::signing_keys::tests::P256_PKCS8;

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_500);
const SECRET: &str = "Zm9yIHRlc3RzIG9ubHksIG5vdCBzZWNyZXQ-1";

fn tokens(keys: SigningKeys) -> AccessTokens {
    AccessTokens::new(
        keys,
        "https://stile.example".into(),
        "stile".into(),
        Duration::from_mins(15),
    )
}

fn ed25519() -> AccessTokens {
    tokens(SigningKeys::from_pem(&SigningKeys::generate_pem(), &[]).unwrap())
}

fn p256() -> AccessTokens {
    tokens(SigningKeys::from_pem(&P256_PKCS8.into(), &[]).unwrap())
}

fn hs256() -> AccessTokens {
    tokens(SigningKeys::from_secret(&SECRET.into()).unwrap())
}

fn claims() -> AccessClaims {
    AccessClaims {
        user_id: Uuid::now_v7(),
        session_id: Uuid::now_v7(),
        role: "user".into(),
        email_verified: true,
    }
}

fn encode(json: &str) -> String {
    URL_SAFE_NO_PAD.encode(json)
}

fn decoded(token: &str, part: usize) -> Value {
    let part = token.split('.').nth(part).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

/// Signs whatever header and claims with the real key, as a careless issuer would.
fn forge(tokens: &AccessTokens, header: &str, claims: &str) -> String {
    let (key, current) = tokens.keys.signing();
    let message = format!("{}.{}", encode(header), encode(claims));
    let signature = crypto::sign(message.as_bytes(), key, current.algorithm).unwrap();
    format!("{message}.{signature}")
}

fn invalid(tokens: &AccessTokens, token: &str, what: &str) {
    assert_eq!(
        tokens.verify(token, NOW),
        Err(AccessTokenError::Invalid),
        "{what}"
    );
}

#[test]
fn an_issued_token_says_what_the_contract_names() {
    let tokens = ed25519();
    let claims = claims();
    let token = tokens.issue(&claims, NOW);
    assert_eq!(tokens.verify(&token, NOW), Ok(claims.clone()));
    let header = decoded(&token, 0);
    let kid = tokens.jwks()["keys"][0]["kid"].clone();
    assert_eq!(header, json!({ "alg": "EdDSA", "kid": kid, "typ": "at+jwt" }));
    let mut body = decoded(&token, 1);
    assert!(
        body.as_object_mut()
            .unwrap()
            .remove("jti")
            .unwrap()
            .as_str()
            .unwrap()
            .len()
            >= 16
    );
    assert_eq!(
        body,
        json!({
            "iss": "https://stile.example", "aud": "stile", "sub": claims.user_id, "sid": claims.session_id,
            "iat": 1_800_000_000, "exp": 1_800_000_900, "role": "user", "email_verified": true,
        })
    );
}

#[test]
fn every_kind_of_key_issues_and_verifies() {
    for tokens in [ed25519(), p256(), hs256()] {
        let claims = claims();
        assert_eq!(tokens.verify(&tokens.issue(&claims, NOW), NOW), Ok(claims));
    }
}

#[test]
fn a_token_of_the_previous_key_still_verifies_after_a_rotation() {
    let (old, new) = (SigningKeys::generate_pem(), SigningKeys::generate_pem());
    let token = tokens(SigningKeys::from_pem(&old, &[]).unwrap()).issue(&claims(), NOW);
    let rotated = tokens(SigningKeys::from_pem(&new, std::slice::from_ref(&old)).unwrap());
    assert!(rotated.verify(&token, NOW).is_ok());
    invalid(
        &tokens(SigningKeys::from_pem(&new, &[]).unwrap()),
        &token,
        "a key that is gone",
    );
}

#[test]
fn a_token_ends_with_its_lifetime_and_five_seconds_of_leeway() {
    let tokens = ed25519();
    let token = tokens.issue(&claims(), NOW);
    let after = |seconds| NOW.plus(Duration::from_secs(seconds));
    assert!(tokens.verify(&token, after(904)).is_ok());
    assert!(matches!(
        tokens.verify(&token, after(905)),
        Err(AccessTokenError::Expired(_))
    ));
    assert!(tokens.verify(&token, NOW.minus(Duration::from_secs(5))).is_ok());
    assert_eq!(
        tokens.verify(&token, NOW.minus(Duration::from_secs(6))),
        Err(AccessTokenError::Invalid)
    );
}

/// JWT-01
#[test]
fn no_other_algorithm_than_the_keys_own_is_accepted() {
    for tokens in [ed25519(), p256(), hs256()] {
        let token = tokens.issue(&claims(), NOW);
        let body = token.split('.').nth(1).unwrap();
        let (header, signature) = (decoded(&token, 0), token.rsplit('.').next().unwrap());
        for alg in [
            "none", "None", "noNE", "", "HS384", "HS512", "RS256", "ES384", "eddsa", "hs256", "EdDSA ",
        ] {
            let mut header = header.clone();
            header["alg"] = json!(alg);
            invalid(
                &tokens,
                &forge(&tokens, &header.to_string(), &decoded(&token, 1).to_string()),
                alg,
            );
            invalid(
                &tokens,
                &format!("{}.{body}.{signature}", encode(&header.to_string())),
                alg,
            );
            invalid(&tokens, &format!("{}.{body}.", encode(&header.to_string())), alg);
        }
        let mut headless = header.clone();
        headless.as_object_mut().unwrap().remove("alg");
        invalid(
            &tokens,
            &forge(&tokens, &headless.to_string(), &decoded(&token, 1).to_string()),
            "no alg",
        );
    }
}

/// JWT-01: the public key as an HMAC secret, in the forms in which it is published.
#[test]
fn the_public_key_is_no_secret_to_sign_with() {
    let tokens = ed25519();
    let token = tokens.issue(&claims(), NOW);
    let mut header = decoded(&token, 0);
    header["alg"] = json!("HS256");
    let message = format!(
        "{}.{}",
        encode(&header.to_string()),
        token.split('.').nth(1).unwrap()
    );
    let jwk = tokens.jwks()["keys"][0].clone();
    let x = jwk["x"].as_str().unwrap();
    for secret in [
        x.as_bytes().to_vec(),
        URL_SAFE_NO_PAD.decode(x).unwrap(),
        jwk.to_string().into_bytes(),
    ] {
        let key = EncodingKey::from_secret(&secret);
        let signature = crypto::sign(message.as_bytes(), &key, Algorithm::HS256).unwrap();
        invalid(&tokens, &format!("{message}.{signature}"), "algorithm confusion");
    }
}

/// JWT-02
#[test]
fn a_token_altered_in_any_bit_is_refused() {
    for tokens in [ed25519(), p256(), hs256()] {
        let token = tokens.issue(&claims(), NOW);
        for index in 0..token.len() {
            for bit in 0..7 {
                let mut altered = token.clone().into_bytes();
                altered[index] ^= 1 << bit;
                let Ok(altered) = String::from_utf8(altered) else {
                    continue;
                };
                invalid(&tokens, &altered, &altered);
            }
        }
    }
}

/// JWT-02
#[test]
fn a_token_in_another_shape_is_refused() {
    let tokens = ed25519();
    let token = tokens.issue(&claims(), NOW);
    let [header, body, signature] = token.split('.').collect::<Vec<_>>()[..] else {
        panic!("three parts")
    };
    let json = json!({ "payload": body, "protected": header, "signature": signature }).to_string();
    let shapes = [
        String::new(),
        ".".into(),
        "..".into(),
        format!("{header}.{body}"),
        format!("{header}.{body}."),
        format!("{token}."),
        format!("{token}x"),
        format!("{token}="),
        format!("{header}=.{body}.{signature}"),
        format!("{header}.{body}=.{signature}"),
        format!("{token}.{signature}"),
        format!(" {token}"),
        format!("{token}\n"),
        format!("{header}.{body}.{}", in_ordinary_base64(signature)),
        json,
        "x".repeat(100_000),
    ];
    for shape in shapes {
        invalid(&tokens, &shape, &shape);
    }
}

fn in_ordinary_base64(signature: &str) -> String {
    let bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// JWT-02, JWT-05: header members
#[test]
fn a_header_with_anything_wrong_missing_or_unknown_is_refused() {
    let tokens = ed25519();
    let token = tokens.issue(&claims(), NOW);
    let (header, body) = (decoded(&token, 0), decoded(&token, 1).to_string());
    let kid = header["kid"].as_str().unwrap();
    let good = format!(r#"{{"alg":"EdDSA","kid":"{kid}","typ":"at+jwt"}}"#);
    assert!(
        tokens.verify(&forge(&tokens, &good, &body), NOW).is_ok(),
        "the forge itself must work"
    );
    for bad in [
        format!(r#"{{"alg":"EdDSA","alg":"EdDSA","kid":"{kid}","typ":"at+jwt"}}"#),
        format!(r#"{{"alg":"none","kid":"{kid}","typ":"at+jwt","alg":"EdDSA"}}"#),
        format!(r#"{{"alg":"EdDSA","kid":"{kid}"}}"#),
        format!(r#"{{"alg":"EdDSA","kid":"{kid}","typ":"JWT"}}"#),
        format!(r#"{{"alg":"EdDSA","kid":"{kid}","typ":"AT+JWT"}}"#),
        format!(r#"{{"alg":"EdDSA","kid":"{kid}","typ":null}}"#),
        format!(r#"{{"alg":"EdDSA","kid":"{kid}","typ":"at+jwt","crit":["exp"]}}"#),
        format!(r#"{{"alg":"EdDSA","kid":"{kid}","typ":"at+jwt","jku":"https://evil.example"}}"#),
        format!(r#"{{"alg":["EdDSA"],"kid":"{kid}","typ":"at+jwt"}}"#),
        format!("{good}x"),
        r#"{"alg":"EdDSA","typ":"at+jwt"}"#.into(),
        r#"{"alg":"EdDSA","kid":"other","typ":"at+jwt"}"#.into(),
        r#"{"alg":"EdDSA","kid":"../../etc/passwd","typ":"at+jwt"}"#.into(),
        "[]".into(),
        "null".into(),
    ] {
        invalid(&tokens, &forge(&tokens, &bad, &body), &bad);
    }
}

/// JWT-03, JWT-05
#[test]
fn claims_of_a_wrong_kind_or_value_are_refused_even_when_rightly_signed() {
    let tokens = ed25519();
    let token = tokens.issue(&claims(), NOW);
    let (header, body) = (decoded(&token, 0).to_string(), decoded(&token, 1));
    let with = |name: &str, value: Value| {
        let mut body = body.clone();
        body[name] = value;
        body.to_string()
    };
    for name in [
        "iss",
        "aud",
        "sub",
        "sid",
        "jti",
        "iat",
        "exp",
        "role",
        "email_verified",
    ] {
        let mut without = body.clone();
        without.as_object_mut().unwrap().remove(name);
        invalid(&tokens, &forge(&tokens, &header, &without.to_string()), name);
        invalid(&tokens, &forge(&tokens, &header, &with(name, Value::Null)), name);
        invalid(
            &tokens,
            &forge(&tokens, &header, &with(name, json!([body[name]]))),
            name,
        );
        let twice = format!(r#"{{"{name}":{},{}"#, body[name], &body.to_string()[1..]);
        invalid(&tokens, &forge(&tokens, &header, &twice), name);
    }
    let future = 1_800_000_000 + 60;
    let bad = [
        ("exp", json!("1800000900")),
        ("exp", json!(1_800_000_900.5)),
        ("exp", json!(1_800_000_900.0)),
        ("exp", json!(-1)),
        ("exp", json!(0)),
        ("exp", json!(1e30)),
        ("exp", json!(u64::MAX)),
        ("exp", json!(true)),
        ("iat", json!(future)),
        ("iat", json!("1800000000")),
        ("nbf", json!("1800000000")),
        ("nbf", json!(1.5)),
        ("nbf", Value::Null),
        ("nbf", json!(future)),
        ("sub", json!(7)),
        ("sub", json!("")),
        ("sub", json!("admin")),
        ("sid", json!("")),
        ("jti", json!("")),
        ("iss", json!("https://evil.example")),
        ("iss", json!("https://stile.example/")),
        ("iss", json!("")),
        ("aud", json!("other")),
        ("aud", json!(["stile"])),
        ("aud", json!("")),
        ("email_verified", json!("true")),
        ("role", json!(1)),
    ];
    for (name, value) in bad {
        let what = format!("{name} = {value}");
        invalid(&tokens, &forge(&tokens, &header, &with(name, value)), &what);
    }
    let nbf_past = with("nbf", json!(1_799_999_999));
    assert!(tokens.verify(&forge(&tokens, &header, &nbf_past), NOW).is_ok());
    let exponent = body.to_string().replace("1800000900", "1.8000009e9");
    invalid(
        &tokens,
        &forge(&tokens, &header, &exponent),
        "exp with an exponent",
    );
}

//! The OpenAPI document and the page that shows it. That it tells the truth is for `support/documented.rs`, which looks
//! at every answer of these tests, and for `tests/openapi`, where schemathesis looks for lies.

use std::collections::{BTreeMap, BTreeSet};

use reqwest::Method;
use serde_json::Value;

use crate::app::{Engine, TestApp};

fn operations(document: &Value) -> Vec<(String, &Value)> {
    let paths = document["paths"].as_object().unwrap();
    let named = |(path, item): (&String, _)| {
        let methods: &serde_json::Map<String, Value> = Value::as_object(item).unwrap();
        let named = methods.iter().map(|(method, operation)| {
            let name = format!("{} {path}", method.to_uppercase());
            (name, operation)
        });
        named.collect::<Vec<_>>()
    };
    paths.iter().flat_map(named).collect()
}

/// A change of the API is seen in review.
#[test]
fn the_committed_document_is_the_programs() {
    let place = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/openapi.json");
    let committed = std::fs::read_to_string(place).unwrap_or_default();
    let program = format!(
        "{}\n",
        serde_json::to_string_pretty(&stile::http::openapi()).unwrap()
    );
    assert!(
        committed == program,
        "docs/openapi.json is not what the program says. Renew it and look at the change:\n\
         cargo run -q -- openapi > docs/openapi.json"
    );
}

#[test]
fn every_operation_says_what_it_does_and_shows_an_example_of_every_body() {
    let document = stile::http::openapi();
    let tags: Vec<&str> = document["tags"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tag| tag["name"].as_str().unwrap())
        .collect();
    let mut ids = BTreeSet::new();
    for (name, operation) in operations(&document) {
        assert!(!operation["summary"].as_str().unwrap().is_empty(), "{name}");
        assert!(
            ids.insert(operation["operationId"].as_str().unwrap()),
            "{name}: its id is another's too"
        );
        let tag = operation["tags"][0].as_str().unwrap();
        assert!(tags.contains(&tag), "{name}: `{tag}` is none of {tags:?}");
        for (status, response) in operation["responses"].as_object().unwrap() {
            let place = response["$ref"]
                .as_str()
                .unwrap_or_default()
                .trim_start_matches('#');
            let response = document
                .pointer(place)
                .filter(|_| !place.is_empty())
                .unwrap_or(response);
            assert!(
                response["headers"].get("X-Request-Id").is_some(),
                "{name} {status}"
            );
            let bodies = response["content"].as_object().into_iter().flatten();
            let request = operation["requestBody"]["content"]
                .as_object()
                .into_iter()
                .flatten();
            for (kind, media) in bodies.chain(request) {
                let shown = media.get("example").or_else(|| media.get("examples"));
                assert!(shown.is_some(), "{name} {status} {kind}");
            }
        }
    }
}

/// Contract, 3.6: each code with its status. `method_not_allowed` is of no operation.
#[test]
fn every_error_code_of_the_contract_has_an_example() {
    let contract = [
        (
            400,
            "invalid_request invalid_reset_token invalid_verification_token",
        ),
        (
            401,
            "invalid_credentials not_authenticated token_expired token_invalid",
        ),
        (401, "invalid_refresh_token refresh_token_reused"),
        (
            403,
            "account_inactive email_not_verified insufficient_scope forbidden",
        ),
        (404, "not_found"),
        (409, "email_taken token_revoked token_limit_reached"),
        (413, "payload_too_large"),
        (415, "unsupported_media_type"),
        (422, "validation_failed"),
        (429, "rate_limited"),
        (500, "internal_error"),
        (503, "overloaded unavailable"),
    ];
    let mut found = BTreeMap::new();
    collect(&stile::http::openapi(), &mut found);
    for (status, codes) in contract {
        for code in codes.split(' ') {
            let example = &found[code];
            // A body that does not arrive in time is 408 with the same code.
            assert!(
                example["status"] == status || code == "invalid_request",
                "{example}"
            );
            assert!(
                example["detail"].is_string() && example["title"].is_string(),
                "{example}"
            );
            assert_eq!(example.get("errors").is_some(), status == 422, "{example}");
            assert_eq!(example.get("retry_after").is_some(), status == 429, "{example}");
        }
    }
    let contracted: usize = contract.iter().map(|(_, codes)| codes.split(' ').count()).sum();
    assert_eq!(found.len(), contracted, "{:?}", found.keys());
}

/// RFC 9457, section 3.1.1: what people find at the address that `type` is.
#[tokio::test]
async fn the_type_of_every_error_leads_to_a_page_that_says_what_to_do() {
    let app = TestApp::on(Engine::Sqlite)
        .set("ENABLE_RATE_LIMITING", "true")
        .start()
        .await;
    let mut errors = BTreeMap::new();
    collect(&stile::http::openapi(), &mut errors);
    let wrong_method = app.request(Method::DELETE, "/auth/login").await;
    errors.insert("method_not_allowed".to_owned(), wrong_method.body);
    for (code, error) in &errors {
        let address = url::Url::parse(error["type"].as_str().unwrap()).unwrap();
        let page = app.get(&format!("/{}", address.path())).await.expect(200);
        assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
        assert_eq!(page.header("x-ratelimit-limit"), None, "it costs nothing");
        assert!(page.text.contains(&format!("<h1>{code}</h1>")), "{}", page.text);
        assert!(!page.text.contains('`'), "{}", page.text);
        let title = error["title"].as_str().unwrap();
        assert!(
            page.text.contains(title) || code == "invalid_request",
            "{}",
            page.text
        );
    }
    let documented = &stile::http::openapi()["paths"]["/problems/{code}"]["get"]["parameters"][0];
    let documented = documented["schema"]["enum"].as_array().unwrap();
    let documented: BTreeSet<_> = documented.iter().map(|code| code.as_str().unwrap()).collect();
    assert!(documented.into_iter().eq(errors.keys()));
    for nothing in [
        "",
        "/",
        "/no_such_code",
        "/Rate_Limited",
        "/rate_limited/",
        "/%ff",
        "/a%2Fb",
    ] {
        app.get(&format!("//problems{nothing}"))
            .await
            .expect_problem(404, "not_found");
    }
    app.post("//problems/rate_limited", Value::Null)
        .await
        .expect_problem(405, "method_not_allowed");
}

fn collect(value: &Value, found: &mut BTreeMap<String, Value>) {
    if let Some(code) = value["code"].as_str()
        && value["type"]
            .as_str()
            .is_some_and(|kind| kind.contains("/problems/"))
    {
        found.insert(code.to_owned(), value.clone());
    }
    match value {
        Value::Object(members) => members.values().for_each(|member| collect(member, found)),
        Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
        _ => {}
    }
}

/// The page, its files and the document come out of the binary and load nothing from elsewhere.
#[tokio::test]
async fn the_page_and_all_that_it_loads_are_served() {
    let app = TestApp::on(Engine::Sqlite).start().await;
    let page = app.get("//docs").await.expect(200);
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    let policy = page.header("content-security-policy").unwrap();
    assert!(
        policy.starts_with("default-src 'none'; script-src 'self';"),
        "{policy}"
    );
    assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
    assert!(!policy.contains("unsafe"), "{policy}");
    assert!(!page.text.contains("//"), "a link to elsewhere: {}", page.text);
    assert!(!page.text.contains("<style"), "{}", page.text);

    let links = page.text.split("=\"docs/").skip(1);
    let links: Vec<&str> = links.map(|rest| rest.split('"').next().unwrap()).collect();
    assert_eq!(links.len(), 4, "{links:?}");
    for link in links {
        let file = app.get(&format!("//docs/{link}")).await.expect(200);
        assert!(file.text.len() > 100, "{link}");
        assert_eq!(file.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(file.header("cache-control"), Some("no-store"));
    }
    let moved = app.get("//docs/").await.expect(308);
    assert_eq!(moved.header("location"), Some("../docs"));
    let document = app.get("//openapi.json").await.expect(200);
    assert_eq!(document.header("content-type"), Some("application/json"));
    assert_eq!(document.body, stile::http::openapi());
    app.request(Method::POST, "//openapi.json")
        .await
        .expect_problem(405, "method_not_allowed");
}

/// HTTP-14.
#[tokio::test]
async fn switched_off_nothing_of_it_is_there() {
    let app = TestApp::on(Engine::Sqlite)
        .set("ENABLE_DOCS", "false")
        .start()
        .await;
    for path in ["docs", "docs/", "docs/swagger-ui-bundle.js", "openapi.json"] {
        app.get(&format!("//{path}"))
            .await
            .expect_problem(404, "not_found");
    }
}

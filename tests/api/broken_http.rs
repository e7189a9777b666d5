//! Bytes that are hardly HTTP, and requests hidden in others (HTTP-02, HTTP-07).

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::app::{Engine, TestApp};

/// Sends bytes and reads until the other end closes or falls silent.
fn talk(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    // The server may answer and close before all of it is written.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(read @ 1..) = stream.read(&mut buffer) {
        answer.extend_from_slice(&buffer[..read]);
        // What else may come comes at once.
        stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    }
    String::from_utf8_lossy(&answer).into_owned()
}

fn statuses(answer: &str) -> Vec<u16> {
    answer
        .match_indices("HTTP/1.")
        .filter_map(|(at, _)| answer.get(at + 9..at + 12)?.parse().ok())
        .collect()
}

/// Bytes, and the statuses that are right for them; 0 is a connection closed without a word.
#[expect(clippy::too_many_lines, reason = "a table")]
fn hardly_http() -> Vec<(Vec<u8>, &'static [u16])> {
    let post = "POST /api/v1/auth/login HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n";
    vec![
        (
            b"CONNECT evil.example:443 HTTP/1.1\r\nhost: x\r\n\r\n".to_vec(),
            &[404, 405, 400],
        ),
        (
            b"OPTIONS * HTTP/1.1\r\nhost: x\r\n\r\n".to_vec(),
            &[200, 204, 404, 405],
        ),
        (
            b"GET http://evil.example/livez HTTP/1.1\r\nhost: x\r\n\r\n".to_vec(),
            &[200],
        ),
        (
            b"GET http://evil.example HTTP/1.1\r\nhost: x\r\n\r\n".to_vec(),
            &[303],
        ),
        (b"GET /livez HTTP/1.0\r\n\r\n".to_vec(), &[200]),
        (b"GET /livez HTTP/1.1\r\n\r\n".to_vec(), &[200, 400]),
        (
            b"GET /livez?token=%00%ff;a=b&&== HTTP/1.1\r\nhost: x\r\n\r\n".to_vec(),
            &[200],
        ),
        (
            b"GET /%2e%2e/%2e%2e/etc/passwd HTTP/1.1\r\nhost: x\r\n\r\n".to_vec(),
            &[404],
        ),
        (
            b"GET /../../etc/passwd HTTP/1.1\r\nhost: x\r\n\r\n".to_vec(),
            &[404, 400],
        ),
        (
            b"DELETE /api/v1/auth/sessions/%ff%fe HTTP/1.1\r\nhost: x\r\n\r\n".to_vec(),
            &[401],
        ),
        (b"GET /\xff\xfe HTTP/1.1\r\nhost: x\r\n\r\n".to_vec(), &[404, 400]),
        (
            b"GET /livez HTTP/1.1\r\nhost: x\r\nx-a: b\r\n folded: c\r\n\r\n".to_vec(),
            &[400],
        ),
        (
            b"GET /livez HTTP/1.1\r\nhost: x\r\nx-a : b\r\n\r\n".to_vec(),
            &[400],
        ),
        (
            b"GET /livez HTTP/1.1\r\nhost: x\r\nx-a: \x00\r\n\r\n".to_vec(),
            &[400],
        ),
        (
            b"GET /livez HTTP/1.1\r\nhost: x\r\nx-request-id: a\x1b[2Jb\r\n\r\n".to_vec(),
            &[400],
        ),
        (b"GET /livez HTTP/9.9\r\nhost: x\r\n\r\n".to_vec(), &[400, 505]),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), &[0, 400, 505]),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(), &[400]),
        (
            b"\r\n\r\nGET /livez HTTP/1.1\r\nhost: x\r\n\r\n".to_vec(),
            &[200, 400],
        ),
        (format!("{post}content-length: -1\r\n\r\n").into_bytes(), &[400]),
        (
            format!("{post}content-length: +2\r\n\r\n{{}}").into_bytes(),
            &[400],
        ),
        (
            format!("{post}content-length: 0x2\r\n\r\n{{}}").into_bytes(),
            &[400],
        ),
        (
            format!("{post}content-length: 99999999999999999999\r\n\r\n").into_bytes(),
            &[400],
        ),
        (
            format!("{post}content-length: 18446744073709551615\r\n\r\n").into_bytes(),
            &[400, 413, 431],
        ),
        (
            format!("{post}content-length: 2\r\ncontent-length: 3\r\n\r\n{{}}").into_bytes(),
            &[400],
        ),
        (
            format!("{post}transfer-encoding: identity\r\n\r\n").into_bytes(),
            &[400],
        ),
        (
            format!("{post}transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n").into_bytes(),
            &[400],
        ),
        (
            format!("{post}transfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\n").into_bytes(),
            &[400, 413],
        ),
        (
            format!("{post}transfer-encoding: chunked\r\n\r\n-1\r\n").into_bytes(),
            &[400],
        ),
        (
            format!(
                "{post}transfer-encoding: chunked\r\n\r\n2;{}\r\n",
                "x".repeat(60_000)
            )
            .into_bytes(),
            &[400, 413],
        ),
        (
            format!(
                "{post}transfer-encoding: chunked\r\n\r\n2\r\n{{}}\r\n0\r\n{}",
                "a: b\r\n".repeat(9000)
            )
            .into_bytes(),
            &[400, 413, 422],
        ),
        (
            format!("{post}content-encoding: gzip\r\ncontent-length: 20\r\n\r\n\x1f\x08\x00").into_bytes(),
            &[415],
        ),
        (
            format!("{post}expect: 200-maybe\r\ncontent-length: 2\r\n\r\n{{}}").into_bytes(),
            &[422, 417, 400],
        ),
    ]
}

/// HTTP-02, HTTP-07: what is hardly HTTP is refused or understood as RFC 9112 says, and never a 5xx.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_that_are_hardly_http_are_no_5xx() {
    let app = TestApp::on(Engine::Sqlite).start().await;
    for (bytes, expected) in hardly_http() {
        let address = app.address;
        let sent = String::from_utf8_lossy(&bytes).into_owned();
        let answer = tokio::task::spawn_blocking(move || talk(address, &bytes))
            .await
            .unwrap();
        let shown = sent.get(..120).unwrap_or(&sent);
        let statuses = statuses(&answer);
        let status = statuses.first().copied().unwrap_or(0);
        assert!(
            statuses.len() <= 1 && expected.contains(&status),
            "{shown:?}: {answer}"
        );
        assert!(!answer.contains("passwd") && !answer.contains("src/"), "{answer}");
    }
    app.get("//livez").await.expect(200);
}

/// HTTP-02: whatever a proxy in front may have understood, there is one request, and nothing behind it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_can_be_smuggled_in_another() {
    let app = TestApp::on(Engine::Sqlite).start().await;
    let smuggled = "GET /livez HTTP/1.1\r\nhost: x\r\n\r\n";
    let post = "POST /api/v1/auth/login HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n";
    let attempts = [
        // Both lengths: the connection ends with the answer (RFC 9112, 6.1).
        format!("{post}content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n{smuggled}"),
        format!("{post}transfer-encoding: chunked\r\ncontent-length: 4\r\n\r\n0\r\n\r\n{smuggled}"),
        format!("{post}transfer-encoding: xchunked\r\n\r\n0\r\n\r\n{smuggled}"),
        format!("{post}transfer-encoding:\x0bchunked\r\n\r\n0\r\n\r\n{smuggled}"),
        // A body that is refused unread is not read as a request.
        format!("{post}content-length: 20000\r\n\r\n{smuggled}"),
        format!("GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n{smuggled}"),
    ];
    for attempt in attempts {
        let address = app.address;
        let bytes = attempt.clone().into_bytes();
        let answer = tokio::task::spawn_blocking(move || talk(address, &bytes))
            .await
            .unwrap();
        assert_eq!(statuses(&answer).len(), 1, "{attempt:?}: {answer}");
    }
    // A body that the handler does not want is skipped, whatever it says.
    let unread = format!(
        "GET /livez HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{smuggled}",
        smuggled.len()
    );
    let address = app.address;
    let answer = tokio::task::spawn_blocking(move || talk(address, unread.as_bytes()))
        .await
        .unwrap();
    assert_eq!(statuses(&answer), [200], "{answer}");
}

/// A connection that rests is given back by hyper (`http/connection.rs`): nothing of the next request is lost by that,
/// and a body that nobody wanted never becomes one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_changes_nothing_about_what_is_a_request() {
    let app = TestApp::on(Engine::Sqlite).start().await;
    let good = "GET /livez HTTP/1.1\r\nhost: x\r\n\r\n";
    let (first_half, second_half) = good.split_at(20);
    let unwanted = "GET /livez HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n";
    let cases = [
        ([good.to_owned(), good.to_owned()], 2),
        ([format!("{good}{first_half}"), second_half.to_owned()], 2),
        ([first_half.to_owned(), format!("{second_half}{good}{good}")], 3),
        ([format!("{good}\r\n"), good.to_owned()], 2),
        ([unwanted.to_owned(), good.to_owned()], 1),
        ([format!("{unwanted}{}", "x".repeat(50)), good.to_owned()], 1),
    ];
    for (parts, answers) in cases {
        let mut stream = tokio::net::TcpStream::connect(app.address).await.unwrap();
        for part in &parts {
            let _ = stream.write_all(part.as_bytes()).await;
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        let mut read = Vec::new();
        let _ = tokio::time::timeout(Duration::from_millis(500), stream.read_to_end(&mut read)).await;
        let read = String::from_utf8_lossy(&read);
        assert_eq!(statuses(&read), vec![200; answers], "{parts:?}: {read}");
    }
}

/// RFC 9112, 9.6: whoever is refused while he still sends is told so. A connection that is closed at once would be reset, and
/// the answer lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_still_sending_gets_the_answer() {
    let app = TestApp::on(Engine::Sqlite).start().await;
    let body = "x".repeat(500_000);
    let unread = format!(
        "POST /livez HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let too_large = format!(
        "POST /api/v1/auth/login HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let no_http = "GET /livez HTTP/1.1\r\nno header\r\n\r\n".to_owned();
    for (head, status) in [(unread, 405), (too_large, 413), (no_http, 400)] {
        let mut stream = tokio::net::TcpStream::connect(app.address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        // Until the answer is there, unread.
        stream.readable().await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        for part in body.as_bytes().chunks(50_000) {
            stream.write_all(part).await.unwrap();
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert_eq!(statuses(&answer), [status], "{answer}");
    }
}

/// RFC 9112, 9.6: an answer behind which the connection closes says so, so that nobody sends his next request on it. What has
/// arrived of a body is skipped, and the connection goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_says_whether_the_connection_goes_on_behind_an_unread_body() {
    let app = TestApp::on(Engine::Sqlite).start().await;
    let head = |length: usize, more: &str| {
        format!("POST /livez HTTP/1.1\r\nhost: x\r\n{more}content-length: {length}\r\n\r\n")
    };
    let whole = |length: usize| format!("{}{}", head(length, ""), "x".repeat(length));
    let in_pieces = "POST /livez HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n5\r\nxxxxx\r\n";
    let cases = [
        (whole(10), true),
        (format!("{in_pieces}0\r\n\r\n"), true),
        (in_pieces.to_owned(), false),
        (head(10, ""), false),
        (head(10, "expect: 100-continue\r\n"), false),
        (whole(500_000), false),
    ];
    for (sent, goes_on) in cases {
        let mut stream = tokio::net::TcpStream::connect(app.address).await.unwrap();
        stream.write_all(sent.as_bytes()).await.unwrap();
        let mut bytes = vec![0; 4096];
        let read = stream.read(&mut bytes).await.unwrap();
        let answer = String::from_utf8_lossy(&bytes[..read]).into_owned();
        let case = &sent[..sent.len().min(150)];
        assert_eq!(statuses(&answer), [405], "{case}: {answer}");
        assert_eq!(!answer.contains("connection: close"), goes_on, "{case}: {answer}");
        if goes_on {
            stream.write_all(whole(10).as_bytes()).await.unwrap();
            let read = stream.read(&mut bytes).await.unwrap();
            assert_eq!(
                statuses(&String::from_utf8_lossy(&bytes[..read])),
                [405],
                "{case}"
            );
        } else {
            assert_eq!(stream.read(&mut bytes).await.unwrap(), 0, "{case}");
        }
    }
}

//! A proxy that nobody told stile of: what the log says, and how often.

use crate::process::Stile;
use crate::traffic::get;

/// Issue 5 item 6: a warning at run time with the line to type; once, whoever sends the header and however often.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_that_is_not_trusted_is_told_of_once_with_the_line_to_type() {
    let directory = tempfile::tempdir().unwrap();
    let process = limited(directory.path())
        .set("TRUSTED_PROXIES", "10.0.0.0/8,::1")
        .start();
    assert_eq!(process.out.count("X-Forwarded-For"), 0, "nobody has sent one yet");
    for round in 0..50 {
        for path in [
            "/api/v1/health",
            "/livez",
            "/api/v1/nowhere",
            "/api/v1/api-gateway/verify",
        ] {
            let forwarded = format!("198.51.100.{round}");
            let asked = get(path).header("X-Forwarded-For", &forwarded);
            asked.send(process.address()).await;
        }
    }
    let lines: Vec<String> = process
        .out
        .all()
        .into_iter()
        .filter(|line| line.contains("X-Forwarded-For"))
        .collect();
    assert_eq!(lines.len(), 1, "{lines:?}");
    for part in ["WARN", "TRUSTED_PROXIES=10.0.0.0/8,::1/128,127.0.0.1"] {
        assert!(lines[0].contains(part), "{part}: {lines:?}");
    }
    assert!(
        !lines[0].contains("198.51.100."),
        "the header's text is its sender's: {lines:?}"
    );

    // Who types that line is not told again, and his clients are told apart.
    drop(process);
    let process = limited(directory.path())
        .set("TRUSTED_PROXIES", "10.0.0.0/8,::1/128,127.0.0.1")
        .start();
    for client in ["198.51.100.1", "198.51.100.2"] {
        let asked = get("/api/v1/health").header("X-Forwarded-For", client);
        let answer = asked.send(process.address()).await;
        assert_eq!(answer.header("X-RateLimit-Remaining"), Some("1"), "{client}");
    }
    assert_eq!(process.out.count("X-Forwarded-For"), 0);
}

fn limited(directory: &std::path::Path) -> Stile {
    Stile::in_directory(directory).set("RATE_LIMIT_GLOBAL", "2/minute")
}

//! Encryption: offered, demanded, verified.

use stile::mail::{SendError, TransportSettings};
use tempfile::TempDir;

use super::smtp::{Behaviour, Security, SmtpSink};
use super::{mailer, reset_mail, smtp_mailer};

/// The sink's authority as a `TLS_CA_FILE`.
fn authority(sink: &SmtpSink) -> (TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("authority.pem");
    std::fs::write(&file, &sink.authority).unwrap();
    (folder, file)
}

fn refusal(outcome: Result<(), SendError>) -> String {
    match outcome {
        Err(SendError::Temporary(text)) => text,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn starttls_is_used_where_it_is_offered_and_mail_and_login_travel_encrypted() {
    for require_tls in [false, true] {
        let sink = SmtpSink::start(Security::StartTls).await;
        let (_folder, file) = authority(&sink);
        let mailer = smtp_mailer(&sink.url_with_login("user:password"), require_tls, Some(file));
        mailer.ping().await.unwrap();
        mailer.send(&reset_mail()).await.unwrap();
        let received = sink.received();
        assert!(received[0].encrypted);
        assert_eq!(received[0].login, Some(("user".into(), "password".into())));
    }
}

#[tokio::test]
async fn smtps_is_encrypted_from_the_first_byte() {
    let sink = SmtpSink::start(Security::Tls).await;
    let (_folder, file) = authority(&sink);
    let mailer = smtp_mailer(&sink.url(), false, Some(file));
    mailer.ping().await.unwrap();
    mailer.send(&reset_mail()).await.unwrap();
    assert!(sink.received()[0].encrypted);
}

#[tokio::test]
async fn where_starttls_is_demanded_and_not_offered_nothing_is_sent() {
    let sink = SmtpSink::start(Security::Plain).await;
    let mailer = smtp_mailer(&sink.url_with_login("user:password"), true, None);
    assert!(refusal(mailer.send(&reset_mail()).await).contains("no STARTTLS"));
    let pinged = mailer.ping().await.unwrap_err();
    assert!(pinged.to_string().contains("no STARTTLS"), "{pinged:?}");
    assert_eq!(sink.received(), []);
}

#[tokio::test]
async fn a_server_of_an_unknown_authority_is_refused_even_where_tls_is_optional() {
    for security in [Security::StartTls, Security::Tls] {
        let sink = SmtpSink::start(security).await;
        let text = refusal(smtp_mailer(&sink.url(), false, None).send(&reset_mail()).await);
        assert!(text.contains("certificate"), "{text}");
        let stranger = SmtpSink::start(security).await;
        let (_folder, file) = authority(&stranger);
        let text = refusal(
            smtp_mailer(&sink.url(), true, Some(file))
                .send(&reset_mail())
                .await,
        );
        assert!(text.contains("certificate"), "{text}");
        assert_eq!(sink.received(), []);
    }
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused() {
    let sink = SmtpSink::start(Security::Tls).await;
    let (_folder, file) = authority(&sink);
    let elsewhere = sink.url().replace("localhost", "127.0.0.1");
    let text = refusal(
        smtp_mailer(&elsewhere, true, Some(file))
            .send(&reset_mail())
            .await,
    );
    assert!(text.contains("certificate"), "{text}");
    assert_eq!(sink.received(), []);
}

/// RST-13
#[tokio::test]
async fn garbage_in_place_of_tls_is_a_temporary_failure() {
    for security in [Security::StartTls, Security::Tls] {
        let sink = SmtpSink::start(security).await;
        sink.behave(Behaviour::TlsGarbage);
        let (_folder, file) = authority(&sink);
        let text = refusal(
            smtp_mailer(&sink.url(), true, Some(file))
                .send(&reset_mail())
                .await,
        );
        assert!(text.contains("TLS"), "{text}");
        assert_eq!(sink.received(), []);
    }
}

#[tokio::test]
async fn a_tls_server_spoken_to_in_plain_is_not_waited_for() {
    let sink = SmtpSink::start(Security::Plain).await;
    let wrong = sink.url().replace("smtp://", "smtps://");
    let text = refusal(smtp_mailer(&wrong, true, None).send(&reset_mail()).await);
    assert!(text.contains("TLS"), "{text}");
}

#[test]
fn an_authority_file_that_is_missing_or_holds_no_certificate_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("authority.pem");
    for content in [
        None,
        Some("not a certificate"),
        Some("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
    ] {
        if let Some(content) = content {
            std::fs::write(&file, content).unwrap();
        }
        let transport = TransportSettings::Smtp {
            url: "smtps://localhost".into(),
            require_tls: true,
            tls_ca_file: Some(file.clone()),
        };
        let error = mailer(transport).err().expect("the file is unusable");
        assert!(
            error
                .to_string()
                .starts_with("the file of certificate authorities "),
            "{error}"
        );
    }
}

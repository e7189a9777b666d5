//! What a mail server may do, and what is made of it.

use std::time::Duration;

use stile::mail::{SendError, TransportSettings};

use super::smtp::{At, Behaviour, Security, SmtpSink, refusing_url};
use super::{LINK, mailer, reset_mail, smtp_mailer};

/// Neither an address nor a link nor a login nor what the server said.
fn says_nothing_secret(error: &SendError) {
    let text = format!("{error} {error:?}");
    for secret in ["marker", "token=", "AAAA", "user.example"] {
        assert!(!text.contains(secret), "{text}");
    }
}

fn temporary(outcome: Result<(), SendError>, expected: &str) {
    let error = outcome.expect_err("the mail was taken");
    says_nothing_secret(&error);
    assert!(
        matches!(&error, SendError::Temporary(text) if text.contains(expected)),
        "{error:?}"
    );
}

fn permanent(outcome: Result<(), SendError>, expected: &str) {
    let error = outcome.expect_err("the mail was taken");
    says_nothing_secret(&error);
    assert!(
        matches!(&error, SendError::Permanent(text) if text.contains(expected)),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_mail_arrives_whole_with_both_parts_and_its_link_on_one_line() {
    let sink = SmtpSink::start(Security::Plain).await;
    smtp_mailer(&sink.url(), false, None)
        .send(&reset_mail())
        .await
        .unwrap();
    let received = sink.received();
    let [mail] = &received[..] else {
        panic!("one mail: {received:?}")
    };
    assert_eq!(
        (mail.from.as_str(), &mail.to[..]),
        ("no-reply@stile.example", &["marker@user.example".to_owned()][..])
    );
    assert!(
        mail.data.contains("Subject: Set a new password\r\n"),
        "{}",
        mail.data
    );
    assert!(
        mail.data.contains("From: stile <no-reply@stile.example>\r\n"),
        "{}",
        mail.data
    );
    assert!(mail.data.contains(&format!("\r\n{LINK}\r\n")), "{}", mail.data);
    assert!(
        mail.data.contains("Content-Type: text/plain; charset=utf-8"),
        "{}",
        mail.data
    );
    assert!(
        mail.data.contains("Content-Type: text/html; charset=utf-8"),
        "{}",
        mail.data
    );
    assert_eq!(mail.login, None);
}

/// RST-02
#[tokio::test]
async fn two_resets_have_the_same_body_but_for_the_token() {
    let sink = SmtpSink::start(Security::Plain).await;
    let mailer = smtp_mailer(&sink.url(), false, None);
    let other = LINK.replace("AAAA", "BBBB");
    let quarter = Duration::from_mins(15);
    for link in [LINK, &other] {
        let mail = stile::mail::templates::reset_password("marker@user.example", link, quarter);
        mailer.send(&mail).await.unwrap();
    }
    let bodies: Vec<_> = sink
        .received()
        .iter()
        .map(|mail| {
            mail.data
                .split_once("\r\n\r\n")
                .unwrap()
                .1
                .replace("AAAA", "BBBB")
        })
        .collect();
    assert_eq!(bodies[0], bodies[1]);
}

#[tokio::test]
async fn lines_that_begin_with_a_dot_arrive_as_they_were() {
    let sink = SmtpSink::start(Security::Plain).await;
    let mut mail = reset_mail();
    mail.text = "one\n.\n..two\nRCPT TO:<evil@example.org>\n".into();
    smtp_mailer(&sink.url(), false, None).send(&mail).await.unwrap();
    let received = sink.received();
    assert_eq!(received.len(), 1);
    assert_eq!(received[0].to.len(), 1);
    assert!(
        received[0].data.contains("\r\none\r\n.\r\n..two\r\n"),
        "{}",
        received[0].data
    );
}

#[tokio::test]
async fn a_login_in_the_url_is_decoded_and_used() {
    let sink = SmtpSink::start(Security::Plain).await;
    let url = sink.url_with_login("marker%40relay:p%C3%A4ss%2Fw%3Ard%25");
    smtp_mailer(&url, false, None).send(&reset_mail()).await.unwrap();
    assert_eq!(
        sink.received()[0].login,
        Some(("marker@relay".into(), "päss/w:rd%".into()))
    );
}

#[tokio::test]
async fn many_mails_at_once_all_arrive_once() {
    let sink = SmtpSink::start(Security::Plain).await;
    let mailer = smtp_mailer(&sink.url(), false, None);
    let sending: Vec<_> = (0..50)
        .map(|number| {
            let mailer = mailer.clone();
            let mut mail = reset_mail();
            mail.to = format!("user{number}@user.example");
            tokio::spawn(async move { mailer.send(&mail).await })
        })
        .collect();
    for sent in sending {
        sent.await.unwrap().unwrap();
    }
    let mut recipients: Vec<_> = sink.received().into_iter().flat_map(|mail| mail.to).collect();
    recipients.sort();
    recipients.dedup();
    assert_eq!((recipients.len(), sink.received().len()), (50, 50));
}

/// RST-13
#[tokio::test]
async fn a_slow_server_still_gets_the_mail() {
    let sink = SmtpSink::start(Security::Plain).await;
    sink.behave(Behaviour::Slow(Duration::from_millis(300)));
    smtp_mailer(&sink.url(), false, None)
        .send(&reset_mail())
        .await
        .unwrap();
    assert_eq!(sink.received().len(), 1);
}

/// RST-13
#[tokio::test]
async fn a_server_that_never_answers_is_given_up() {
    let sink = SmtpSink::start(Security::Plain).await;
    sink.behave(Behaviour::Silent);
    let mailer = smtp_mailer(&sink.url(), false, None);
    let mail = reset_mail();
    // Bounds the test if it is not given up; it says nothing about how fast.
    let both = tokio::time::timeout(Duration::from_mins(1), async {
        tokio::join!(mailer.send(&mail), mailer.ping())
    });
    let (sent, pinged) = both.await.expect("a silent server is given up");
    temporary(sent, "no answer to connecting");
    let pinged = pinged.unwrap_err();
    assert!(
        pinged.to_string().contains("no answer to connecting"),
        "{pinged:?}"
    );
}

/// RST-13
#[tokio::test]
async fn a_server_that_falls_silent_after_the_greeting_is_given_up() {
    let sink = SmtpSink::start(Security::Tls).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("authority.pem");
    std::fs::write(&file, &sink.authority).unwrap();
    let mailer = smtp_mailer(&sink.url(), true, Some(file));
    mailer.ping().await.unwrap();
    sink.behave(Behaviour::Silent);
    let outcome = tokio::time::timeout(Duration::from_mins(1), mailer.send(&reset_mail())).await;
    temporary(outcome.expect("a silent server is given up"), "no answer");
}

/// RST-13
#[tokio::test]
async fn a_server_that_is_not_there_or_hangs_up_is_tried_again_later() {
    temporary(
        smtp_mailer(&refusing_url(), false, None)
            .send(&reset_mail())
            .await,
        "connection refused",
    );
    let sink = SmtpSink::start(Security::Plain).await;
    sink.behave(Behaviour::HangsUp);
    temporary(
        smtp_mailer(&sink.url(), false, None).send(&reset_mail()).await,
        "connecting",
    );
}

/// RST-13
#[tokio::test]
async fn a_connection_dropped_within_the_message_is_tried_again_later() {
    let sink = SmtpSink::start(Security::Plain).await;
    sink.behave(Behaviour::DropsMidData);
    let mailer = smtp_mailer(&sink.url(), false, None);
    temporary(mailer.send(&reset_mail()).await, "the message");
    assert_eq!(sink.received(), []);
    sink.behave(Behaviour::Normal);
    mailer.send(&reset_mail()).await.unwrap();
    assert_eq!(sink.received().len(), 1);
}

/// RST-13
#[tokio::test]
async fn a_4xx_is_temporary_wherever_it_comes() {
    let sink = SmtpSink::start(Security::Plain).await;
    let mailer = smtp_mailer(&sink.url_with_login("user:password"), false, None);
    for at in [At::Greeting, At::Auth, At::Mail, At::Rcpt, At::Data, At::Message] {
        sink.behave(Behaviour::Answers(
            at,
            "450 4.2.0 <marker@user.example> try again later",
        ));
        temporary(mailer.send(&reset_mail()).await, "answered 450");
    }
    assert_eq!(sink.received(), []);
}

/// RST-13
#[tokio::test]
async fn a_5xx_is_permanent_for_the_recipient_and_the_message_alone() {
    let sink = SmtpSink::start(Security::Plain).await;
    let mailer = smtp_mailer(&sink.url_with_login("user:password"), false, None);
    for at in [At::Rcpt, At::Data, At::Message] {
        sink.behave(Behaviour::Answers(
            at,
            "550 5.1.1 <marker@user.example> no such user",
        ));
        permanent(mailer.send(&reset_mail()).await, "answered 550");
    }
    // What an operator can mend must not lose a mail.
    for at in [At::Greeting, At::Auth, At::Mail] {
        sink.behave(Behaviour::Answers(at, "535 5.7.8 marker"));
        temporary(mailer.send(&reset_mail()).await, "answered 535");
    }
}

#[tokio::test]
async fn an_answer_that_is_not_smtp_is_temporary() {
    let sink = SmtpSink::start(Security::Plain).await;
    let mailer = smtp_mailer(&sink.url(), false, None);
    sink.behave(Behaviour::Answers(
        At::Greeting,
        "HTTP/1.1 400 marker Bad Request",
    ));
    temporary(mailer.send(&reset_mail()).await, "not SMTP");
}

#[tokio::test]
async fn a_bad_address_is_refused_before_any_connection() {
    let sink = SmtpSink::start(Security::Plain).await;
    let mut mail = reset_mail();
    mail.to = "marker@user.example\r\nRCPT TO:<evil@example.org>".into();
    permanent(
        smtp_mailer(&sink.url(), false, None).send(&mail).await,
        "recipient's address",
    );
    assert_eq!(sink.connections(), 0);
}

/// LGR-01
#[test]
fn an_unusable_url_is_refused_without_being_repeated() {
    for url in [
        "",
        "marker",
        "marker://host",
        "http://user:marker@host",
        "smtp://",
        "smtp://user:marker@",
        "smtp://user:marker@host:99999",
        "smtp://user:marker@host/path",
        "smtps://user:marker@host?tls=off",
        "smtp://user:marker%FF@host",
        "smtp://user:mar ker@ho st",
    ] {
        let transport = TransportSettings::Smtp {
            url: url.into(),
            require_tls: false,
            tls_ca_file: None,
        };
        let error = mailer(transport)
            .err()
            .unwrap_or_else(|| panic!("{url} was accepted"));
        assert!(!format!("{error} {error:?}").contains("marker"), "{error:?}");
    }
}

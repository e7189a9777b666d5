//! Mail leaves behind the answer: a bad mail server is never felt by a request, and loses nothing.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::app::{Engine, Mail, PASSWORD, TestApp};
use crate::smtp::{At, Behaviour, Security, SmtpSink, refusing_url};

const ADA: &str = "ada@example.com";

async fn app_with(engine: Engine, smtp_url: &str) -> TestApp {
    let app = TestApp::on(engine)
        .set("SMTP_URL", smtp_url)
        .set("MAIL_FROM", "stile <no-reply@stile.example>");
    app.start().await
}

/// The mails to `to` that the server has, as soon as there are `count`, within `seconds`.
async fn received(sink: &SmtpSink, to: &str, count: usize, seconds: u64) -> Vec<Mail> {
    let started = Instant::now();
    loop {
        let mails: Vec<Mail> = sink
            .received()
            .iter()
            .filter(|mail| mail.to == [to])
            .map(|mail| Mail::parse(mail.data.as_bytes()))
            .collect();
        if mails.len() >= count {
            return mails;
        }
        assert!(
            started.elapsed() < Duration::from_secs(seconds),
            "{to} got {} mails in {seconds} s, {count} were expected",
            mails.len()
        );
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}

/// Waits until the one mail in the queue has been tried `attempts` times and waits for another try.
async fn tried(app: &TestApp, attempts: usize) {
    let query = format!(
        "SELECT id FROM mail_jobs WHERE attempts = {attempts} AND leased_until IS NULL AND due_at > {}",
        app.clock.now().as_millis()
    );
    for _ in 0..800 {
        if app.sql_texts(&query).await.len() == 1 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("the mail was not tried {attempts} times in 20 s");
}

async fn ready(app: &TestApp) {
    app.get("//readyz").await.expect(200);
    assert_eq!(app.get("//health").await.expect(200).body["status"], "healthy");
}

/// RST-13: whatever the server does, the answer comes at once, the mail is kept and tried again, the program
/// stays ready; and once the server has recovered the mail arrives and its link works.
async fn outlasts(engine: Engine, security: Security, behaviour: Behaviour) {
    let sink = SmtpSink::start(security).await;
    let directory = tempfile::tempdir().unwrap();
    let authority = directory.path().join("authority.pem");
    std::fs::write(&authority, sink.authority.as_bytes()).unwrap();
    let app = TestApp::on(engine)
        .set("SMTP_URL", sink.url())
        .set("TLS_CA_FILE", authority.display().to_string())
        .start()
        .await;
    app.post("/auth/register", json!({"email": ADA, "password": PASSWORD}))
        .await
        .expect(201);
    received(&sink, ADA, 1, 20).await;
    app.until_no_mail_waits().await;

    sink.behave(behaviour);
    app.post("/auth/password-reset/request", json!({"email": ADA}))
        .await
        .expect(200);
    tried(&app, 1).await;
    ready(&app).await;
    // Again, after a pause that grows.
    app.advance(Duration::from_secs(5));
    tried(&app, 2).await;
    // A silent server has cost ten seconds each time; that is enough of them.
    if behaviour != Behaviour::Silent {
        app.advance(Duration::from_secs(14));
        tokio::time::sleep(Duration::from_millis(1200)).await;
        tried(&app, 2).await;
        app.advance(Duration::from_secs(1));
        tried(&app, 3).await;
    }
    assert_eq!(sink.received().len(), 1);

    sink.behave(Behaviour::Normal);
    app.advance(Duration::from_mins(1));
    let mail = received(&sink, ADA, 2, 20).await.remove(1);
    app.until_no_mail_waits().await;
    assert_eq!(sink.received().len(), 2, "once");
    // Its life counts from the handing over.
    app.advance(Duration::from_mins(15) - Duration::from_secs(1));
    let reset = json!({"token": mail.token(), "new_password": "umbrella-zebra-quartz-41"});
    app.post("/auth/password-reset/confirm", reset).await.expect(200);
    received(&sink, ADA, 3, 20).await;
}

on_both_engines! {
    /// RST-13
    async fn a_mail_outlasts_a_server_that_is_busy(engine: Engine) {
        outlasts(engine, Security::Plain, Behaviour::Answers(At::Rcpt, "450 4.2.0 try again later")).await;
    }
}

on_both_engines! {
    /// RST-13
    async fn a_mail_outlasts_a_server_that_is_set_up_wrong(engine: Engine) {
        outlasts(engine, Security::Plain, Behaviour::Answers(At::Greeting, "554 no service")).await;
    }
}

on_both_engines! {
    /// RST-13
    async fn a_mail_outlasts_a_server_that_drops_it_in_the_middle(engine: Engine) {
        outlasts(engine, Security::Plain, Behaviour::DropsMidData).await;
    }
}

on_both_engines! {
    /// RST-13
    async fn a_mail_outlasts_a_server_that_hangs_up(engine: Engine) {
        outlasts(engine, Security::StartTls, Behaviour::HangsUp).await;
    }
}

on_both_engines! {
    /// RST-13
    async fn a_mail_outlasts_a_server_that_speaks_garbage_for_tls(engine: Engine) {
        outlasts(engine, Security::Tls, Behaviour::TlsGarbage).await;
    }
}

on_both_engines! {
    /// RST-13
    async fn a_mail_outlasts_a_server_that_says_nothing(engine: Engine) {
        outlasts(engine, Security::Plain, Behaviour::Silent).await;
    }
}

on_both_engines! {
    /// RST-13: nobody listens, at start and later.
    async fn a_mail_outlasts_a_server_that_is_not_there(engine: Engine) {
        let mut app = app_with(engine, &refusing_url()).await;
        app.post("/auth/register", json!({"email": ADA, "password": PASSWORD})).await.expect(201);
        tried(&app, 1).await;
        ready(&app).await;
        // The queue outlives the process, and the server comes up with the next one.
        let sink = SmtpSink::start(Security::Plain).await;
        app.set("SMTP_URL", sink.url());
        app.restart().await;
        app.advance(Duration::from_secs(5));
        let mail = received(&sink, ADA, 1, 20).await.remove(0);
        app.post("/auth/verify-email", json!({"token": mail.token()})).await.expect(200);
    }
}

on_both_engines! {
    /// RST-13: a refusal of the mail itself is final (RFC 5321, 4.2.1); the next mail is another.
    async fn a_mail_that_is_refused_for_good_is_given_up_and_the_next_one_goes_out(engine: Engine) {
        let sink = SmtpSink::start(Security::Plain).await;
        let app = app_with(engine, &sink.url()).await;
        sink.behave(Behaviour::Answers(At::Rcpt, "550 5.1.1 no such mailbox"));
        app.post("/auth/register", json!({"email": ADA, "password": PASSWORD})).await.expect(201);
        app.until_no_mail_waits().await;
        ready(&app).await;
        sink.behave(Behaviour::Normal);
        app.advance(Duration::from_hours(6));
        app.post("/auth/resend-verification", json!({"email": ADA})).await.expect(200);
        let mail = received(&sink, ADA, 1, 20).await.remove(0);
        app.post("/auth/verify-email", json!({"token": mail.token()})).await.expect(200);
    }
}

on_both_engines! {
    /// RST-13: bounded. After ten tries in some five hours a mail is given up.
    async fn a_mail_is_not_tried_for_ever(engine: Engine) {
        let sink = SmtpSink::start(Security::Plain).await;
        sink.behave(Behaviour::Answers(At::Mail, "451 not now"));
        let app = app_with(engine, &sink.url()).await;
        app.post("/auth/register", json!({"email": ADA, "password": PASSWORD})).await.expect(201);
        for attempts in 1..10 {
            tried(&app, attempts).await;
            app.advance(Duration::from_hours(2));
        }
        app.until_no_mail_waits().await;
        assert_eq!((sink.connections(), sink.received().len()), (10, 0));
        ready(&app).await;
    }
}

on_both_engines! {
    /// RST-13, contract 3.4: a slow server holds up neither an answer nor the others' mail for long.
    async fn a_slow_server_is_not_felt(engine: Engine) {
        let sink = SmtpSink::start(Security::Plain).await;
        let app = app_with(engine, &sink.url()).await;
        for n in 0..6 {
            let email = format!("user{n}@example.com");
            app.post("/auth/register", json!({"email": email, "password": PASSWORD})).await.expect(201);
            received(&sink, &email, 1, 20).await;
        }
        app.until_no_mail_waits().await;
        sink.behave(Behaviour::Slow(Duration::from_millis(500)));
        let connections = sink.connections();
        for n in 0..6 {
            let body = json!({"email": format!("user{n}@example.com")});
            app.post("/auth/password-reset/request", body).await.expect(200);
        }
        // All six are answered while the first mail is on its way: it takes four slow answers at least.
        assert_eq!(sink.received().len(), 6);
        for n in 0..6 {
            received(&sink, &format!("user{n}@example.com"), 2, 40).await;
        }
        app.until_no_mail_waits().await;
        assert_eq!((sink.received().len(), sink.connections() - connections), (12, 6));
        ready(&app).await;
    }
}

on_both_engines! {
    /// Contract, section 2: a link's life is counted from the moment that its mail is handed over.
    async fn the_life_of_a_link_begins_when_its_mail_is_handed_over(engine: Engine) {
        let sink = SmtpSink::start(Security::Plain).await;
        let app = app_with(engine, &sink.url()).await;
        app.post("/auth/register", json!({"email": ADA, "password": PASSWORD})).await.expect(201);
        received(&sink, ADA, 1, 20).await;
        app.until_no_mail_waits().await;
        // On its way for 14 minutes.
        sink.behave(Behaviour::Slow(Duration::from_secs(1)));
        app.post("/auth/password-reset/request", json!({"email": ADA})).await.expect(200);
        for _ in 0..800 {
            if app.sql_texts("SELECT token_hash FROM one_time_tokens WHERE purpose = 'reset'").await.len() == 1 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        let stored = app.clock.now();
        app.advance(Duration::from_mins(14));
        sink.behave(Behaviour::Normal);
        let mail = received(&sink, ADA, 2, 20).await.remove(1);
        app.until_no_mail_waits().await;
        assert!(app.clock.now().since(stored) == Duration::from_mins(14));
        let verified = app.post("/auth/password-reset/verify", json!({"token": mail.token()})).await.expect(200);
        assert_eq!(verified.body["expires_in_seconds"], 900);
    }
}

on_both_engines! {
    /// Contract, 3.4: the queue holds no live token, and an answered request survives the process.
    async fn the_queue_survives_a_restart_and_holds_no_token(engine: Engine) {
        let sink = SmtpSink::start(Security::Plain).await;
        sink.behave(Behaviour::Answers(At::Data, "451 not now"));
        let mut app = app_with(engine, &sink.url()).await;
        for n in 0..8 {
            let body = json!({"email": format!("user{n}@example.com"), "password": PASSWORD});
            app.post("/auth/register", body).await.expect(201);
        }
        app.restart().await;
        assert_eq!(app.sql_texts("SELECT recipient FROM mail_jobs").await.len(), 8);
        let columns = "SELECT id || ' ' || kind || ' ' || COALESCE(password_hash, '') FROM mail_jobs";
        for row in app.sql_texts(columns).await {
            assert!(row.len() < 60, "{row}");
        }
        sink.behave(Behaviour::Normal);
        app.advance(Duration::from_mins(1));
        for n in 0..8 {
            let mails = received(&sink, &format!("user{n}@example.com"), 1, 20).await;
            app.post("/auth/verify-email", json!({"token": mails[0].token()})).await.expect(200);
        }
        app.until_no_mail_waits().await;
        assert_eq!(sink.received().len(), 8, "none twice");
    }
}

on_both_engines! {
    /// Two processes share the queue: each mail leaves once.
    async fn two_servers_send_each_mail_once(engine: Engine) {
        let sink = SmtpSink::start(Security::Plain).await;
        let app = app_with(engine, &sink.url()).await;
        let elsewhere = app.second_instance().await;
        for n in 0..20 {
            let address = if n % 2 == 0 { app.address } else { elsewhere };
            let body = json!({"email": format!("user{n}@example.com"), "password": PASSWORD});
            app.post("/auth/register", body).at(address).await.expect(201);
        }
        for n in 0..20 {
            received(&sink, &format!("user{n}@example.com"), 1, 20).await;
        }
        app.until_no_mail_waits().await;
        assert_eq!(sink.received().len(), 20);
    }
}

//! A small real SMTP server for tests: it speaks plain, STARTTLS or TLS from the start (with an
//! authority of its own), collects what it is given, and misbehaves in the ways that servers do.
//!
//! Listens on a free loopback port until it is dropped. Use it with
//! `#[path = "../support/smtp.rs"] mod smtp;`, with `authority` and `port` beside it.

#![allow(dead_code, reason = "each test binary uses its own part of this server")]
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::authority::Localhost;
use crate::port::free_port;

/// How a connection is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// Never.
    Plain,
    /// STARTTLS is offered.
    StartTls,
    /// From the first byte (`smtps://`).
    Tls,
}

/// How the server behaves. Can be changed at any time by [`SmtpSink::behave`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// As it should.
    Normal,
    /// Waits this long before each answer.
    Slow(Duration),
    /// Takes the connection and says nothing at all.
    Silent,
    /// Gives this answer (`"450 4.2.0 try again later"`) at this point.
    Answers(At, &'static str),
    /// Closes the connection in the middle of the message.
    DropsMidData,
    /// Sends bytes that are no TLS where TLS should begin.
    TlsGarbage,
    /// Closes each connection at once.
    HangsUp,
}

/// A point of the conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// The greeting.
    Greeting,
    /// `AUTH`.
    Auth,
    /// `MAIL FROM`.
    Mail,
    /// `RCPT TO`.
    Rcpt,
    /// `DATA`.
    Data,
    /// The end of the message.
    Message,
}

/// One mail that was taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// The envelope's sender.
    pub from: String,
    /// The envelope's recipients.
    pub to: Vec<String>,
    /// Headers and body as sent, without the dots of RFC 5321 4.5.2.
    pub data: String,
    /// Whether it came over TLS.
    pub encrypted: bool,
    /// The login before it: user name and password.
    pub login: Option<(String, String)>,
}

/// The server. Stops when dropped.
pub struct SmtpSink {
    address: SocketAddr,
    security: Security,
    /// The PEM certificate of the authority that signed the server's own, which is for `localhost`.
    pub authority: String,
    shared: Arc<Shared>,
    listening: tokio::task::JoinHandle<()>,
}

struct Shared {
    behaviour: Mutex<Behaviour>,
    received: Mutex<Vec<Received>>,
    connections: Mutex<usize>,
}

impl SmtpSink {
    /// Starts a server that behaves.
    pub async fn start(security: Security) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a loopback port is free");
        let address = listener.local_addr().expect("a bound listener has an address");
        let localhost = Localhost::certified();
        let acceptor = localhost.acceptor();
        let shared = Arc::new(Shared {
            behaviour: Mutex::new(Behaviour::Normal),
            received: Mutex::default(),
            connections: Mutex::default(),
        });
        let listening = tokio::spawn({
            let shared = Arc::clone(&shared);
            async move {
                // Conversations end with the server.
                let mut conversations = tokio::task::JoinSet::new();
                while let Ok((stream, _)) = listener.accept().await {
                    *shared.connections.lock().unwrap() += 1;
                    let (shared, acceptor) = (Arc::clone(&shared), acceptor.clone());
                    conversations.spawn(async move {
                        // A client that goes away is no error here.
                        let _ = serve(stream, security, &acceptor, &shared).await;
                    });
                }
            }
        });
        Self {
            address,
            security,
            authority: localhost.authority,
            shared,
            listening,
        }
    }

    /// `smtp://localhost:PORT` or `smtps://localhost:PORT`.
    pub fn url(&self) -> String {
        let scheme = if self.security == Security::Tls {
            "smtps"
        } else {
            "smtp"
        };
        format!("{scheme}://localhost:{}", self.address.port())
    }

    /// [`SmtpSink::url`] with a login, which must be percent-encoded.
    pub fn url_with_login(&self, login: &str) -> String {
        self.url().replace("://", &format!("://{login}@"))
    }

    /// Changes the behaviour from the next answer on.
    pub fn behave(&self, behaviour: Behaviour) {
        *self.shared.behaviour.lock().unwrap() = behaviour;
    }

    /// What was taken so far, oldest first.
    pub fn received(&self) -> Vec<Received> {
        self.shared.received.lock().unwrap().clone()
    }

    /// How many connections came so far.
    pub fn connections(&self) -> usize {
        *self.shared.connections.lock().unwrap()
    }
}

impl Drop for SmtpSink {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

/// A URL at which every connection is refused.
pub fn refusing_url() -> String {
    format!("smtp://localhost:{}", free_port())
}

async fn serve(
    mut stream: TcpStream,
    security: Security,
    acceptor: &TlsAcceptor,
    shared: &Shared,
) -> std::io::Result<()> {
    let behaviour = *shared.behaviour.lock().unwrap();
    match (behaviour, security) {
        (Behaviour::Silent, _) => std::future::pending().await,
        (Behaviour::HangsUp, _) => Ok(()),
        (Behaviour::TlsGarbage, Security::Tls) => garbage(&mut stream).await,
        (_, Security::Tls) => {
            let mut encrypted = acceptor.accept(stream).await?;
            converse(&mut encrypted, shared, Security::Tls, true)
                .await
                .map(|_| ())
        }
        _ => {
            if converse(&mut stream, shared, security, true).await? == Next::StartTls {
                if *shared.behaviour.lock().unwrap() == Behaviour::TlsGarbage {
                    return garbage(&mut stream).await;
                }
                let mut encrypted = acceptor.accept(stream).await?;
                converse(&mut encrypted, shared, Security::Tls, false).await?;
            }
            Ok(())
        }
    }
}

async fn garbage(stream: &mut TcpStream) -> std::io::Result<()> {
    stream.write_all(&[0xde, 0xad, 0xbe, 0xef].repeat(64)).await?;
    stream.flush().await?;
    // Kept open: it is the client that must notice.
    tokio::time::sleep(Duration::from_mins(1)).await;
    Ok(())
}

#[derive(PartialEq, Eq)]
enum Next {
    Over,
    StartTls,
}

async fn converse<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    shared: &Shared,
    security: Security,
    greet: bool,
) -> std::io::Result<Next> {
    let mut stream = BufReader::new(stream);
    let mut mail = Received {
        encrypted: security == Security::Tls,
        ..Received::default()
    };
    if greet {
        say(&mut stream, shared, At::Greeting, "220 localhost ESMTP").await?;
    }
    let mut line = String::new();
    loop {
        line.clear();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(Next::Over);
        }
        let command = line.trim_end();
        let verb = command.to_ascii_uppercase();
        if verb.starts_with("EHLO") {
            let starttls = if security == Security::StartTls {
                "250-STARTTLS\r\n"
            } else {
                ""
            };
            say(
                &mut stream,
                shared,
                None,
                &format!("250-localhost\r\n{starttls}250 AUTH PLAIN LOGIN"),
            )
            .await?;
        } else if verb == "STARTTLS" && security == Security::StartTls {
            say(&mut stream, shared, None, "220 go ahead").await?;
            return Ok(Next::StartTls);
        } else if let Some(login) = command.strip_prefix("AUTH PLAIN ") {
            mail.login = plain_login(login);
            say(&mut stream, shared, At::Auth, "235 welcome").await?;
        } else if verb.starts_with("MAIL FROM:") {
            mail = Received {
                login: mail.login,
                encrypted: mail.encrypted,
                ..Received::default()
            };
            mail.from = address(command);
            say(&mut stream, shared, At::Mail, "250 sender ok").await?;
        } else if verb.starts_with("RCPT TO:") {
            // As real servers do, the refusal repeats the address.
            mail.to.push(address(command));
            say(&mut stream, shared, At::Rcpt, "250 recipient ok").await?;
        } else if verb == "DATA" {
            if !say(&mut stream, shared, At::Data, "354 go ahead").await? {
                continue;
            }
            if !read_message(&mut stream, shared, &mut mail.data).await? {
                return Ok(Next::Over);
            }
            if say(&mut stream, shared, At::Message, "250 taken").await? {
                shared.received.lock().unwrap().push(mail.clone());
            }
        } else if verb == "QUIT" {
            say(&mut stream, shared, None, "221 bye").await?;
            return Ok(Next::Over);
        } else {
            say(&mut stream, shared, None, "250 ok").await?;
        }
    }
}

/// Answers, as the behaviour wants it. `false` if it was not the good answer.
async fn say<S: AsyncWrite + Unpin>(
    stream: &mut S,
    shared: &Shared,
    at: impl Into<Option<At>>,
    good: &str,
) -> std::io::Result<bool> {
    let behaviour = *shared.behaviour.lock().unwrap();
    let answer = match behaviour {
        Behaviour::Answers(point, answer) if Some(point) == at.into() => answer,
        Behaviour::Slow(delay) => {
            tokio::time::sleep(delay).await;
            good
        }
        Behaviour::Silent => std::future::pending().await,
        _ => good,
    };
    stream.write_all(format!("{answer}\r\n").as_bytes()).await?;
    stream.flush().await?;
    Ok(answer == good)
}

/// Reads up to the lone dot. `false` if the server hung up on the way.
async fn read_message<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut BufReader<S>,
    shared: &Shared,
    data: &mut String,
) -> std::io::Result<bool> {
    let mut line = String::new();
    loop {
        line.clear();
        if *shared.behaviour.lock().unwrap() == Behaviour::DropsMidData {
            return Ok(false);
        }
        if stream.read_line(&mut line).await? == 0 {
            return Ok(false);
        }
        if line == ".\r\n" {
            return Ok(true);
        }
        data.push_str(line.strip_prefix('.').unwrap_or(&line));
    }
}

fn address(command: &str) -> String {
    let start = command.find('<').map_or(0, |at| at + 1);
    let end = command.find('>').unwrap_or(command.len());
    command[start..end].to_owned()
}

fn plain_login(encoded: &str) -> Option<(String, String)> {
    let decoded = String::from_utf8(STANDARD.decode(encoded).ok()?).ok()?;
    let mut parts = decoded.split('\0').skip(1);
    Some((parts.next()?.to_owned(), parts.next()?.to_owned()))
}

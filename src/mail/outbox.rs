//! What was sent, kept in memory for E2E suites. It holds live links, so it exists only where one is let in to read it.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;

use super::Message;
use crate::clock::Timestamp;

/// Mails kept; older ones go.
const MOST: usize = 10_000;

/// The mails that left. Cheap to clone; clones are one.
#[derive(Clone, Default)]
pub struct Outbox(Arc<Mutex<VecDeque<SentMail>>>);

/// A mail that left.
#[derive(Clone, Serialize, utoipa::ToSchema)]
pub struct SentMail {
    /// The recipient's address.
    #[schema(format = Email, example = "ada@example.com")]
    pub to: String,
    /// The subject.
    #[schema(example = "Set a new password")]
    pub subject: String,
    /// The body as plain text.
    #[schema(example = "You can set a new password for your account by opening this link: …")]
    pub text: String,
    /// The link, if it carries one.
    #[schema(
        example = "http://localhost:3000/reset-password#token=q8fJ2xkS0bq3n6mYtqA7Zc1dE9uR4vWk5oLhG_pTiXs"
    )]
    pub link: Option<String>,
    /// The token in the link.
    #[schema(example = "q8fJ2xkS0bq3n6mYtqA7Zc1dE9uR4vWk5oLhG_pTiXs")]
    pub token: Option<String>,
    /// When it was handed over.
    pub sent_at: Timestamp,
}

impl Outbox {
    /// Keeps a mail that was handed over at `sent_at`.
    pub fn keep(&self, message: &Message, sent_at: Timestamp) {
        let token = message
            .link
            .as_deref()
            .and_then(|link| link.split_once("#token="));
        let sent = SentMail {
            to: message.to.clone(),
            subject: message.subject.clone(),
            text: message.text.clone(),
            link: message.link.clone(),
            token: token.map(|(_, token)| token.to_owned()),
            sent_at,
        };
        let mut mails = self.lock();
        mails.truncate(MOST - 1);
        mails.push_front(sent);
    }

    /// The mails to an address, newest first.
    #[must_use]
    pub fn to(&self, address: &str) -> Vec<SentMail> {
        let mails = self.lock();
        mails.iter().filter(|mail| mail.to == address).cloned().collect()
    }

    /// Forgets all mails.
    pub fn empty(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<SentMail>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(to: &str, link: Option<&str>) -> Message {
        Message {
            to: to.into(),
            subject: "Hello".into(),
            text: "x".into(),
            html: "x".into(),
            link: link.map(Into::into),
        }
    }

    #[test]
    fn the_newest_mails_come_first_and_the_oldest_go() {
        let outbox = Outbox::default();
        for n in 0..=MOST {
            let link = format!("https://app.example/verify-email#token={n}");
            let at = Timestamp::from_millis(n.try_into().unwrap());
            outbox.keep(&message("a@b.example", Some(&link)), at);
        }
        outbox.keep(&message("c@d.example", None), Timestamp::from_millis(0));
        let mails = outbox.to("a@b.example");
        assert_eq!(mails.len(), MOST - 1);
        assert_eq!(mails[0].token, Some(MOST.to_string()));
        assert_eq!(mails.last().unwrap().token.as_deref(), Some("2"));
        assert_eq!(outbox.to("c@d.example")[0].token, None);
        outbox.empty();
        assert!(outbox.to("a@b.example").is_empty());
    }
}

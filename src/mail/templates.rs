//! What each mail says.
//!
//! The texts are constant but for link, lifetime and date: nothing that a stranger typed into a
//! form ever stands in a mail to somebody else.

use std::time::Duration;

use super::Message;
use super::letterhead::escaped;
use crate::clock::Timestamp;

/// Asks the owner of a new account to confirm the address.
#[must_use]
pub fn verify_email(to: &str, link: &str, expires_in: Duration) -> Message {
    with_link(
        to,
        "Confirm your e-mail address",
        "Please confirm that this is your e-mail address by opening this link:",
        link,
        &[
            &works_once(expires_in),
            "If you did not ask for an account, ignore this mail and nothing will happen.",
        ],
    )
}

/// Carries the link that sets a new password.
#[must_use]
pub fn reset_password(to: &str, link: &str, expires_in: Duration) -> Message {
    with_link(
        to,
        "Set a new password",
        "You can set a new password for your account by opening this link:",
        link,
        &[
            &works_once(expires_in),
            "If you did not ask for it, ignore this mail: your password stays as it is.",
        ],
    )
}

/// Asks the new address of an account to confirm itself.
#[must_use]
pub fn email_change_requested(to: &str, link: &str, expires_in: Duration) -> Message {
    with_link(
        to,
        "Confirm your new e-mail address",
        "Please confirm that this is to be the new e-mail address of your account by opening this link:",
        link,
        &[
            &works_once(expires_in),
            "If you did not ask for it, ignore this mail and nothing will change.",
        ],
    )
}

/// Tells the owner that the password was changed or reset.
#[must_use]
pub fn password_changed(to: &str, at: Timestamp) -> Message {
    notice(
        to,
        "Your password was changed",
        &[
            &format!("The password of your account was changed on {}.", date(at)),
            "If that was you, there is nothing to do. If it was not, set a new password at once.",
        ],
    )
}

/// Tells the present address that a change to another one was asked for.
#[must_use]
pub fn email_change_started(to: &str, at: Timestamp) -> Message {
    notice(
        to,
        "Your e-mail address is about to change",
        &[
            &format!(
                "On {} another e-mail address was given for your account.",
                date(at)
            ),
            "It will replace this one as soon as it is confirmed.",
            "If that was you, there is nothing to do. If it was not, set a new password at once.",
        ],
    )
}

/// Tells the old address that it is no longer the account's.
#[must_use]
pub fn email_changed(to: &str, at: Timestamp) -> Message {
    notice(
        to,
        "Your e-mail address was changed",
        &[
            &format!("The e-mail address of your account was changed on {}.", date(at)),
            "This one no longer belongs to it. If that was not you, ask the operator of the service for help.",
        ],
    )
}

/// Tells the owner of an address that somebody registered it again.
#[must_use]
pub fn already_registered(to: &str, frontend_url: &str) -> Message {
    notice(
        to,
        "You already have an account",
        &[
            "Somebody asked for an account with this e-mail address, which has one already.",
            "If that was you, log in here, or ask there for a new password:",
            frontend_url,
            "If it was not, ignore this mail: nothing has changed.",
        ],
    )
}

fn with_link(to: &str, subject: &str, before: &str, link: &str, after: &[&str]) -> Message {
    let mut paragraphs = vec![before, link];
    // A page without script cannot see what stands behind the `#`; its reader can.
    if let Some((_, code)) = link.split_once("#token=") {
        paragraphs.extend(["If the page asks for a code, this is it:", code]);
    }
    paragraphs.extend(after);
    Message {
        link: Some(link.to_owned()),
        ..notice(to, subject, &paragraphs)
    }
}

/// One paragraph a line; one that is a URL becomes a link in the HTML part.
fn notice(to: &str, subject: &str, paragraphs: &[&str]) -> Message {
    let text = format!("Hello,\n\n{}\n", paragraphs.join("\n\n"));
    let body: String = paragraphs
        .iter()
        .map(|paragraph| html_paragraph(paragraph))
        .collect();
    let html = format!("<p>Hello,</p>\n{body}");
    Message {
        to: to.to_owned(),
        subject: subject.to_owned(),
        text,
        html,
        link: None,
    }
}

fn html_paragraph(text: &str) -> String {
    let escaped = escaped(text);
    if text.starts_with("https://") || text.starts_with("http://") {
        format!("<p><a href=\"{escaped}\">{escaped}</a></p>\n")
    } else {
        format!("<p>{escaped}</p>\n")
    }
}

fn works_once(expires_in: Duration) -> String {
    format!("The link works once, within {}.", span(expires_in))
}

/// Whole hours where they are whole and more than one, else minutes.
fn span(span: Duration) -> String {
    let minutes = span.as_secs().div_ceil(60).max(1);
    match (minutes, minutes % 60) {
        (1, _) => "1 minute".to_owned(),
        (60, _) => "1 hour".to_owned(),
        (_, 0) => format!("{} hours", minutes / 60),
        _ => format!("{minutes} minutes"),
    }
}

/// `2026-11-22 at 03:02 UTC`.
fn date(at: Timestamp) -> String {
    let text = at.to_string();
    match text
        .split_once('T')
        .and_then(|(day, time)| Some((day, time.get(..5)?)))
    {
        Some((day, minute)) => format!("{day} at {minute} UTC"),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINK: &str = "https://app.example/reset-password#token=AAAA";
    const AT: Timestamp = Timestamp::from_millis(1_700_000_000_123);

    #[test]
    fn a_link_stands_alone_on_its_line_and_in_the_html() {
        let quarter = Duration::from_mins(15);
        for (mail, says) in [
            (reset_password("a@b.example", LINK, quarter), "within 15 minutes"),
            (
                verify_email("a@b.example", LINK, Duration::from_hours(24)),
                "within 24 hours",
            ),
            (
                email_change_requested("a@b.example", LINK, Duration::from_hours(1)),
                "within 1 hour",
            ),
        ] {
            assert_eq!(
                mail.text.lines().filter(|line| *line == LINK).count(),
                1,
                "{}",
                mail.text
            );
            assert!(mail.text.contains(says), "{}", mail.text);
            assert!(
                mail.html.contains(&format!("<a href=\"{LINK}\">{LINK}</a>")),
                "{}",
                mail.html
            );
            assert_eq!(mail.link.as_deref(), Some(LINK));
        }
    }

    #[test]
    fn a_notice_says_when_and_carries_no_link_with_a_token() {
        for mail in [
            password_changed("a@b.example", AT),
            email_change_started("a@b.example", AT),
            email_changed("a@b.example", AT),
        ] {
            assert!(mail.text.contains("2023-11-14 at 22:13 UTC"), "{}", mail.text);
            assert_eq!(mail.link, None);
        }
        let again = already_registered("a@b.example", "https://app.example");
        assert!(again.text.contains("\nhttps://app.example\n"), "{}", again.text);
        assert_eq!(again.link, None);
    }

    /// RST-02
    #[test]
    fn two_resets_differ_in_their_token_alone() {
        let other = LINK.replace("AAAA", "BBBB");
        let quarter = Duration::from_mins(15);
        let (one, two) = (
            reset_password("a@b.example", LINK, quarter),
            reset_password("a@b.example", &other, quarter),
        );
        assert_eq!(one.text.replace("AAAA", "BBBB"), two.text);
        assert_eq!(one.html.replace("AAAA", "BBBB"), two.html);
    }

    #[test]
    fn what_could_be_markup_is_escaped() {
        let mail = reset_password(
            "a@b.example",
            "https://x.example/\"><script>&'",
            Duration::from_mins(1),
        );
        assert!(!mail.html.contains("<script>"), "{}", mail.html);
        assert!(
            mail.html.contains("&quot;&gt;&lt;script&gt;&amp;&#39;"),
            "{}",
            mail.html
        );
        assert!(mail.text.contains("within 1 minute."), "{}", mail.text);
    }

    #[test]
    fn the_recipients_address_stands_in_no_text() {
        let mail = password_changed("marker@b.example", AT);
        assert!(
            !mail.text.contains("marker")
                && !mail.html.contains("marker")
                && !mail.subject.contains("marker")
        );
    }
}

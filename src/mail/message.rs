//! One mail, and its form on the wire (RFC 5322, MIME).

use std::fmt;

use lettre::Address;
use lettre::message::header::{ContentTransferEncoding, ContentType, HeaderName, HeaderValue};
use lettre::message::{Body, Mailbox, MultiPart, MultiPartKind, SinglePart};
use uuid::Uuid;

use super::SendError;
use super::letterhead::Letterhead;

/// One mail to one recipient. It may hold a live token, so `Debug` shows its subject alone.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    /// The recipient's address.
    pub to: String,
    /// The subject.
    pub subject: String,
    /// The body as plain text; a link stands alone on its line.
    pub text: String,
    /// The same as HTML paragraphs; the letterhead stands around them.
    pub html: String,
    /// The link with the token, if the mail carries one.
    pub link: Option<String>,
}

/// Fixed, so that two mails of one kind have the same body but for their token.
const BOUNDARY: &str = "=_stile_alternative";

impl Message {
    /// The mail as lettre takes it. Refuses an address or a subject that could add a header.
    pub(super) fn compose(&self, letterhead: &Letterhead) -> Result<lettre::Message, SendError> {
        let to = recipient(&self.to).ok_or_else(|| {
            SendError::Permanent("the recipient's address is not one that mail is sent to".into())
        })?;
        if self.subject.chars().any(char::is_control) {
            return Err(SendError::Permanent(
                "the subject holds a control character".into(),
            ));
        }
        // RFC 3834: keeps holiday notices from answering.
        let automatic = HeaderValue::new(
            HeaderName::new_from_ascii_str("Auto-Submitted"),
            "auto-generated".into(),
        );
        lettre::Message::builder()
            .message_id(Some(format!(
                "<{}@{}>",
                Uuid::now_v7(),
                letterhead.from.email.domain()
            )))
            .from(letterhead.from.clone())
            .to(Mailbox::new(None, to))
            .subject(self.subject.clone())
            .raw_header(automatic)
            .multipart(
                MultiPart::builder()
                    .kind(MultiPartKind::Alternative)
                    .boundary(BOUNDARY)
                    .singlepart(part(ContentType::TEXT_PLAIN, &letterhead.text(&self.text)))
                    .singlepart(part(
                        ContentType::TEXT_HTML,
                        &letterhead.html(&self.subject, &self.html),
                    )),
            )
            .map_err(|_| SendError::Permanent("the mail cannot be written".into()))
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("subject", &self.subject)
            .finish_non_exhaustive()
    }
}

fn part(kind: ContentType, text: &str) -> SinglePart {
    SinglePart::builder().header(kind).body(body(text))
}

/// ASCII goes as it is, so that a link can be read and copied from the raw mail; lettre would break
/// it after 76 characters. Lines may have 998 (RFC 5322 2.1.1).
fn body(text: &str) -> Body {
    let plain =
        |line: &str| line.len() <= 998 && line.bytes().all(|byte| matches!(byte, b'\t' | b' '..=b'~'));
    if text.lines().all(plain) {
        let lines: String = text.lines().flat_map(|line| [line, "\r\n"]).collect();
        Body::dangerous_pre_encoded(lines.into_bytes(), ContentTransferEncoding::SevenBit)
    } else {
        Body::new(text.to_owned())
    }
}

/// Reads an address: ASCII `local@domain`, nothing quoted, commented or literal, so that it means
/// the same to every server on its way.
fn recipient(text: &str) -> Option<Address> {
    const SPECIAL: &[u8] = b"\"(),:;<>[\\]";
    let plain = text.len() <= 254
        && text
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !SPECIAL.contains(&byte));
    if plain { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::brand::Brand;

    fn message(to: &str, subject: &str, text: &str) -> Message {
        Message {
            to: to.into(),
            subject: subject.into(),
            text: text.into(),
            html: "<p>x</p>".into(),
            link: None,
        }
    }

    fn wire(message: &Message) -> Result<String, SendError> {
        let letterhead = Letterhead {
            from: "stile <no-reply@stile.example>".parse().unwrap(),
            brand: Brand::default(),
        };
        message
            .compose(&letterhead)
            .map(|mail| String::from_utf8(mail.formatted()).unwrap())
    }

    #[test]
    fn an_address_or_subject_that_could_add_a_header_is_refused_without_being_repeated() {
        for address in [
            "",
            "marker",
            "marker@",
            "@marker.example",
            "marker@a.example\r\nBcc: b@c.example",
            "marker@a.example\nBcc: b@c.example",
            "marker@a.example, b@c.example",
            "marker <a@b.example>",
            "\"marker\\\"@x\"@a.example",
            "\"marker\"@a.example",
            "marker(comment)@a.example",
            "marker@[127.0.0.1]",
            "mar ker@a.example",
            "marker\0@a.example",
            "märker@a.example",
            "marker@exämple.example",
            "marker@a..example",
            &format!("{}@a.example", "marker".repeat(60)),
        ] {
            let error = wire(&message(address, "Hello", "x")).unwrap_err();
            assert!(matches!(error, SendError::Permanent(_)), "{address}");
            assert!(!error.to_string().contains("marker"), "{error}");
        }
        for subject in ["Hello\r\nBcc: b@c.example", "Hello\nthere", "Hello\0"] {
            assert!(
                wire(&message("a@b.example", subject, "x")).is_err(),
                "{subject:?}"
            );
        }
    }

    #[test]
    fn a_link_stays_whole_on_a_line_of_its_own_in_the_raw_mail() {
        let link = format!("https://app.example/reset-password#token={}", "A".repeat(43));
        let mail = wire(&message(
            "a@b.example",
            "Hello",
            &format!("Open this:\n\n{link}\n\nBye\n"),
        ))
        .unwrap();
        assert!(mail.contains(&format!("\r\n{link}\r\n")), "{mail}");
    }

    #[test]
    fn what_is_not_ascii_is_encoded_in_subject_and_body() {
        let mail = wire(&message("a@b.example", "Grüße, Zoë", "Grüße\n")).unwrap();
        assert!(mail.is_ascii(), "{mail}");
        assert!(mail.contains("=?utf-8?"), "{mail}");
        assert!(
            mail.contains("Content-Transfer-Encoding: quoted-printable") || mail.contains("base64"),
            "{mail}"
        );
    }

    /// RST-02
    #[test]
    fn two_mails_of_one_text_have_the_same_body_byte_for_byte() {
        let body = || {
            let mail = wire(&message("a@b.example", "Hello", "Hello\n")).unwrap();
            mail.split_once("\r\n\r\n").unwrap().1.to_owned()
        };
        assert_eq!(body(), body());
        let headers = wire(&message("a@b.example", "Hello", "x")).unwrap();
        assert!(
            headers.contains("Auto-Submitted: auto-generated\r\n"),
            "{headers}"
        );
    }

    #[test]
    fn debug_output_shows_neither_the_address_nor_the_text() {
        let mut message = message("marker@b.example", "Hello", "marker");
        message.link = Some("marker".into());
        assert!(!format!("{message:?}").contains("marker"));
    }
}

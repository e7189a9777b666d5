//! One mail.

/// One mail to one recipient. Its texts may hold a live token, so it never shows them in `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    /// The recipient's address.
    pub to: String,
    /// The subject.
    pub subject: String,
    /// The body as plain text; a link stands alone on its line.
    pub text: String,
    /// The body as HTML.
    pub html: String,
    /// The link that the mail carries, if it carries one.
    pub link: Option<String>,
}

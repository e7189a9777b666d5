//! E-mail addresses as accounts know them.

use std::fmt;

use idna::AsciiDenyList;
use idna::uts46::{DnsLength, Hyphens, Uts46};

use super::FieldError;

/// An address in its one canonical form: two spellings of one account compare equal.
///
/// Trimmed, ASCII, lower case, its domain in IDNA's ASCII form without a trailing dot. Mail goes to this form
/// and never to what was typed, so no two spellings share a mailbox and not an account (CVE-2019-19844).
/// Narrower than RFC 5321 on purpose: a plain dot-atom before the `@`, a domain of two labels or more behind.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Email(String);

/// Why a text is no address of an account. Never repeats it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EmailError {
    /// Longer than [`Email::LONGEST`].
    #[error("The e-mail address is longer than 254 bytes.")]
    TooLong,
    /// Not of the form that is accepted.
    #[error("This is not a valid e-mail address.")]
    Malformed,
}

impl Email {
    /// Most bytes of an address: what fits into a path of RFC 5321, 4.5.3.1.3.
    pub const LONGEST: usize = 254;

    /// Most bytes before the `@` (RFC 5321, 4.5.3.1.1).
    const LONGEST_LOCAL: usize = 64;

    /// Most labels of a domain. DNS allows 127, nobody has mail at one of more than a handful, and a resolver
    /// asks for each.
    const MOST_LABELS: usize = 32;

    /// Reads an address in any of its spellings.
    pub fn parse(text: &str) -> Result<Self, EmailError> {
        let text = text.trim();
        // A domain shrinks a little on its way to ASCII, never to a fraction.
        if text.len() > 4 * Self::LONGEST {
            return Err(EmailError::TooLong);
        }
        let (local, domain) = text.rsplit_once('@').ok_or(EmailError::Malformed)?;
        if !is_dot_atom(local) {
            return Err(EmailError::Malformed);
        }
        let domain = domain.strip_suffix('.').unwrap_or(domain);
        let domain = Uts46::new()
            .to_ascii(
                domain.as_bytes(),
                AsciiDenyList::STD3,
                Hyphens::CheckFirstLast,
                DnsLength::Verify,
            )
            .map_err(|_| {
                if text.len() > Self::LONGEST {
                    EmailError::TooLong
                } else {
                    EmailError::Malformed
                }
            })?;
        // One label is no domain of the public Internet, and a last label of digits is an IPv4 address.
        let is_host = domain
            .rsplit_once('.')
            .is_some_and(|(_, last)| !last.bytes().all(|byte| byte.is_ascii_digit()));
        if !is_host || domain.split('.').count() > Self::MOST_LABELS {
            return Err(EmailError::Malformed);
        }
        let address = format!("{}@{domain}", local.to_ascii_lowercase());
        if address.len() > Self::LONGEST || local.len() > Self::LONGEST_LOCAL {
            return Err(EmailError::TooLong);
        }
        Ok(Self(address))
    }

    /// The canonical form.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl EmailError {
    /// As an error of the field at `pointer`.
    #[must_use]
    pub fn at(self, pointer: &str) -> FieldError {
        let code = match self {
            Self::TooLong => "too_long",
            Self::Malformed => "invalid_email",
        };
        FieldError::new(pointer, code, self.to_string())
    }
}

impl fmt::Display for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `u***@example.com`: enough to recognise one's own address, not to learn another's.
pub(super) fn masked(address: &str) -> String {
    let (local, domain) = address.rsplit_once('@').unwrap_or((address, ""));
    let first: String = local.chars().take(1).collect();
    format!("{first}***@{domain}")
}

/// RFC 5322, 3.2.3, in ASCII: no quotes, spaces, comments or control characters.
fn is_dot_atom(local: &str) -> bool {
    let is_atext = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&byte);
    local
        .split('.')
        .all(|atom| !atom.is_empty() && atom.bytes().all(is_atext))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<String, EmailError> {
        Email::parse(text).map(|email| email.0)
    }

    /// REG-05, limits.md 18.
    #[test]
    fn spellings_of_one_account_are_one_address() {
        for text in [
            "mike@ex.org",
            "Mike@EX.org",
            " mike@ex.org ",
            "mike@ex.org.",
            "MIKE@ex\u{3002}org",
            "mike@ＥＸ.org",
        ] {
            assert_eq!(parsed(text).unwrap(), "mike@ex.org", "{text}");
        }
        assert_eq!(
            parsed("a@bücher.example").unwrap(),
            parsed("a@XN--BCHER-KVA.example").unwrap()
        );
    }

    #[test]
    fn what_is_written_before_the_at_counts_as_it_is() {
        assert_eq!(
            parsed("First.Last+tag@example.com").unwrap(),
            "first.last+tag@example.com"
        );
        assert_eq!(
            parsed("o'brien_#1@example.com").unwrap(),
            "o'brien_#1@example.com"
        );
    }

    /// REG-05, REG-11 and the look-alikes of CVE-2019-19844.
    #[test]
    fn hostile_addresses_are_refused() {
        assert_eq!(
            parsed(&format!("a@{}com", "a.".repeat(64))),
            Err(EmailError::Malformed)
        );
        assert_eq!(
            parsed(&format!("a@{}", ".".repeat(64))),
            Err(EmailError::Malformed)
        );
        for text in [
            "",
            "@",
            "a@",
            "@example.com",
            "a",
            "a@b@example.com",
            "a@localhost",
            "a@127.0.0.1",
            "a@[127.0.0.1]",
            "É@example.com",
            "mıke@example.com",
            "a\u{0}b@example.com",
            "a@exa\u{0}mple.com",
            "a@b.com\r\nBcc: c@d.com",
            "a\r\nBcc:c@example.com",
            "\"a b\"@example.com",
            "a b@example.com",
            "a@exam ple.com",
            ".a@example.com",
            "a.@example.com",
            "a..b@example.com",
            "a@example..com",
            "a@example.com..",
            "a@.example.com",
            "a@-x.com",
            "a@x-.com",
            "a@ex_ample.com",
            "a@example.com, b@example.com",
            "<a@example.com>",
            "a＠example.com",
            "a@\u{ffff}.com",
            "a@xn--zzzzzzzzz.com",
            "a@example.c\u{202e}om",
            "a@exa/mple.com",
        ] {
            assert_eq!(parsed(text), Err(EmailError::Malformed), "{text:?}");
        }
    }

    #[test]
    fn an_address_has_at_most_254_bytes_and_64_before_the_at() {
        let of_length = |length: usize| {
            let domain = "a23456789.".repeat(40);
            let address = format!("local@{}", &domain[..length - 6]);
            format!("{}x", &address[..length - 1])
        };
        assert_eq!(parsed(&of_length(254)).unwrap().len(), 254);
        assert_eq!(parsed(&of_length(255)), Err(EmailError::TooLong));
        assert_eq!(parsed(&of_length(320)), Err(EmailError::TooLong));
        assert_eq!(
            parsed(&format!("{}@x.com", "a".repeat(1_000_000))),
            Err(EmailError::TooLong)
        );
        assert!(parsed(&format!("{}@x.com", "a".repeat(64))).is_ok());
        assert_eq!(
            parsed(&format!("{}@x.com", "a".repeat(65))),
            Err(EmailError::TooLong)
        );
    }

    #[test]
    fn a_masked_address_keeps_its_first_letter_and_its_domain() {
        assert_eq!(masked("user@example.com"), "u***@example.com");
    }
}

//! Who is counted ([`Client`], [`Subject`]), for what ([`Charge`]), and under which key in Redis.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use uuid::Uuid;

use super::limit::{Strategy, Window};
use super::rule::Rule;

/// A counted client: an IPv4 address, or an IPv6 network of the configured length.
///
/// Prints as it stands in keys: `127.0.0.1`, `2001:db8:1:2::/64`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Client(Kind);

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Kind {
    V4([u8; 4]),
    V6([u8; 16], u8),
    Unknown,
}

impl Client {
    /// The client behind `address`. An IPv4-mapped address (`::ffff:1.2.3.4`) is the IPv4 one, so that a dual-stack
    /// listener does not count all of them as one network.
    #[must_use]
    pub fn of(address: IpAddr, ipv6_prefix: u8) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self(Kind::V4(address.octets())),
            IpAddr::V6(address) => {
                let prefix = ipv6_prefix.min(128);
                let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
                let network = Ipv6Addr::from_bits(address.to_bits() & mask);
                Self(Kind::V6(network.octets(), prefix))
            }
        }
    }

    /// The one client of all requests that come without a peer address.
    #[must_use]
    pub const fn unknown() -> Self {
        Self(Kind::Unknown)
    }
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Kind::V4(octets) => Ipv4Addr::from(octets).fmt(f),
            Kind::V6(octets, prefix) => write!(f, "{}/{prefix}", Ipv6Addr::from(octets)),
            Kind::Unknown => f.write_str("unknown"),
        }
    }
}

/// Who is charged.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Subject {
    /// A client.
    Client(Client),
    /// An account: a hex HMAC that only the caller can relate to an address.
    Account(String),
}

/// One unit of one rule, on one subject. The same charge twice in one take costs two.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Charge {
    /// The rule.
    pub rule: Rule,
    /// Who pays.
    pub subject: Subject,
}

impl Charge {
    /// A charge to a client.
    #[must_use]
    pub fn client(rule: Rule, client: Client) -> Self {
        Self {
            rule,
            subject: Subject::Client(client),
        }
    }

    /// A charge to an account.
    #[must_use]
    pub fn account(rule: Rule, mac: String) -> Self {
        Self {
            rule,
            subject: Subject::Account(mac),
        }
    }
}

/// One counter: a window of a rule, for a subject. Small, because memory holds many of them.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct CounterKey {
    subject: Counted,
    /// Seconds of the window where it is not the first of its limit, else 0: the first has the plain key.
    seconds: u32,
    rule: Rule,
    exact: bool,
}

/// [`Subject`] in two thirds of the space.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Counted {
    Client(Client),
    Account(Box<str>),
    Token(Uuid),
    Overflow,
}

impl CounterKey {
    /// The counter of `window`, which stands at `place` in the limit of `charge.rule`.
    pub(super) fn of(charge: &Charge, place: usize, window: Window, strategy: Strategy) -> Self {
        Self {
            subject: match &charge.subject {
                Subject::Client(client) => Counted::Client(*client),
                Subject::Account(mac) => Counted::Account(mac.as_str().into()),
            },
            seconds: if place == 0 { 0 } else { window.seconds() },
            rule: charge.rule,
            exact: strategy == Strategy::Exact,
        }
    }

    /// The counter of an API token for the window of `rule`.
    pub(super) fn of_token(token: Uuid, rule: Rule) -> Self {
        Self {
            subject: Counted::Token(token),
            seconds: 0,
            rule,
            exact: false,
        }
    }

    /// The key that says which proofs of this counter's token are void; it lies in the slot of its counters.
    pub(super) fn mark(&self, prefix: &str) -> Option<String> {
        match &self.subject {
            Counted::Token(token) => Some(Self::mark_of(prefix, *token)),
            _ => None,
        }
    }

    /// The same for a token.
    pub(super) fn mark_of(prefix: &str, token: Uuid) -> String {
        format!("{prefix}:api_token:{{{token}}}:version")
    }

    /// The counter of all subjects that found no room in memory, for the same rule and window.
    pub(super) fn overflow(&self) -> Self {
        Self {
            subject: Counted::Overflow,
            ..*self
        }
    }

    pub(super) fn is_overflow(&self) -> bool {
        self.subject == Counted::Overflow
    }

    /// Whether each request is remembered by itself (a sorted set in Redis).
    #[must_use]
    pub fn is_exact(&self) -> bool {
        self.exact
    }

    /// Who is counted, as it stands in the key.
    pub(super) fn subject(&self) -> impl fmt::Display {
        fmt::from_fn(|f| match &self.subject {
            Counted::Client(client) => fmt::Display::fmt(client, f),
            Counted::Account(mac) => f.write_str(mac),
            Counted::Token(token) => fmt::Display::fmt(token, f),
            Counted::Overflow => f.write_str("overflow"),
        })
    }

    /// Counters of one subject hash alike, whatever their rule.
    pub(super) fn hash_subject<H: std::hash::Hasher>(&self, state: &mut H) {
        std::hash::Hash::hash(&self.subject, state);
    }

    /// The key in Redis: `rate_limit:login:ip:127.0.0.1`, `…:3600` for a further window, `…:exact` for a sorted set.
    pub(super) fn write(&self, prefix: &str, out: &mut String) {
        use fmt::Write;
        out.push_str(prefix);
        if let Some(part) = self.rule.key_part() {
            out.push(':');
            out.push_str(part);
        }
        // Writing into a String cannot fail.
        let _ = match &self.subject {
            Counted::Client(client) => write!(out, ":ip:{client}"),
            Counted::Account(mac) => write!(out, ":account:{mac}"),
            // The braces are the slot of a Redis Cluster: all windows of a token are decided together.
            Counted::Token(token) => write!(out, ":{{{token}}}:{}", self.rule.window_name()),
            Counted::Overflow => write!(out, ":overflow"),
        };
        if self.seconds != 0 {
            let _ = write!(out, ":{}", self.seconds);
        }
        if self.exact {
            out.push_str(":exact");
        }
    }

    /// The key in Redis, as a text of its own.
    #[must_use]
    pub fn name(&self, prefix: &str) -> String {
        let mut name = String::with_capacity(prefix.len() + 48);
        self.write(prefix, &mut name);
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(text: &str) -> String {
        Client::of(text.parse().unwrap(), 64).to_string()
    }

    /// limits.md 23, 24.
    #[test]
    fn a_client_is_an_ipv4_address_or_an_ipv6_network() {
        assert_eq!(client("1.2.3.4"), "1.2.3.4");
        assert_eq!(client("::ffff:1.2.3.4"), "1.2.3.4");
        assert_eq!(client("::ffff:102:304"), "1.2.3.4");
        assert_ne!(client("::ffff:1.2.3.4"), client("::ffff:1.2.3.5"));
        assert_eq!(client("2001:db8:1:2::1"), "2001:db8:1:2::/64");
        assert_eq!(client("2001:db8:1:2:ffff:ffff:ffff:ffff"), "2001:db8:1:2::/64");
        assert_eq!(client("2001:db8:1:3::1"), "2001:db8:1:3::/64");
        assert_eq!(
            Client::of("2001:db8::1".parse().unwrap(), 128).to_string(),
            "2001:db8::1/128"
        );
        assert_eq!(
            Client::of("2001:db8::1".parse().unwrap(), 32).to_string(),
            "2001:db8::/32"
        );
        assert_eq!(Client::unknown().to_string(), "unknown");
    }

    #[test]
    fn keys_are_those_of_the_contract() {
        use Strategy::{Exact, Fixed};
        let client = Client::of("127.0.0.1".parse().unwrap(), 64);
        let network = Client::of("2001:db8:1:2::9".parse().unwrap(), 64);
        let limit: crate::rate_limit::Limit = "5/minute;100/hour".parse().unwrap();
        let name = |charge: &Charge, place: usize, strategy| {
            CounterKey::of(charge, place, limit.windows()[place], strategy).name("rate_limit")
        };
        assert_eq!(
            name(&Charge::client(Rule::Global, client), 0, Fixed),
            "rate_limit:ip:127.0.0.1"
        );
        assert_eq!(
            name(&Charge::client(Rule::Global, network), 0, Fixed),
            "rate_limit:ip:2001:db8:1:2::/64"
        );
        assert_eq!(
            name(&Charge::client(Rule::Login, client), 0, Fixed),
            "rate_limit:login:ip:127.0.0.1"
        );
        assert_eq!(
            name(&Charge::client(Rule::Login, client), 1, Fixed),
            "rate_limit:login:ip:127.0.0.1:3600"
        );
        assert_eq!(
            name(&Charge::client(Rule::Login, client), 0, Exact),
            "rate_limit:login:ip:127.0.0.1:exact"
        );
        let account = |rule| Charge::account(rule, "ab12".to_owned());
        assert_eq!(
            name(&account(Rule::LoginAccount), 0, Fixed),
            "rate_limit:login:account:ab12"
        );
        assert_eq!(
            name(&account(Rule::MailAccount), 0, Fixed),
            "rate_limit:mail:account:ab12"
        );
    }

    #[test]
    fn the_windows_of_a_token_and_its_mark_lie_in_one_slot() {
        let token = Uuid::nil();
        let name = |rule| CounterKey::of_token(token, rule).name("rate_limit");
        let slot = "rate_limit:api_token:{00000000-0000-0000-0000-000000000000}:";
        assert_eq!(name(Rule::TokenMinute), format!("{slot}minute"));
        assert_eq!(name(Rule::TokenHour), format!("{slot}hour"));
        assert_eq!(name(Rule::TokenDay), format!("{slot}day"));
        assert_eq!(CounterKey::mark_of("rate_limit", token), format!("{slot}version"));
    }

    #[test]
    fn a_key_is_small() {
        assert!(size_of::<CounterKey>() <= 32, "{}", size_of::<CounterKey>());
    }
}

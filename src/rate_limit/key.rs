//! One counter ([`CounterKey`]), and under which key it stands in Redis.

use std::fmt;
use std::hash::{Hash, Hasher};

use uuid::Uuid;

use super::charge::{Charge, Subject};
use super::client::Client;
use super::limit::{Limit, Strategy, Window};
use super::rule::{Per, Rule};

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
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Counted {
    Client(Client),
    Account(Box<str>),
    Token(Uuid),
    Overflow,
}

/// Without a mark of its kind: what two kinds could have in common, they write at different lengths.
impl Hash for Counted {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Self::Client(client) => client.hash(state),
            Self::Account(mac) => mac.hash(state),
            Self::Token(token) => state.write_u128(token.as_u128()),
            Self::Overflow => {}
        }
    }
}

impl Counted {
    pub(super) fn of(subject: &Subject) -> Self {
        match subject {
            Subject::Client(client) => Self::Client(*client),
            Subject::Account(mac) => Self::Account(mac.as_str().into()),
            Subject::Token(token) => Self::Token(*token),
        }
    }
}

impl CounterKey {
    /// The counter of `window`, which stands at `place` in the limit of `charge.rule`.
    pub(super) fn of(charge: &Charge, place: usize, window: Window, strategy: Strategy) -> Self {
        Self {
            subject: Counted::of(&charge.subject),
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

    /// Reads what `write` wrote; `None` for a key that is no counter.
    #[must_use]
    pub fn from_name(prefix: &str, name: &str) -> Option<Self> {
        let name = name.strip_prefix(prefix)?.strip_prefix(':')?;
        let (name, exact) = match name.strip_suffix(":exact") {
            Some(name) => (name, true),
            None => (name, false),
        };
        let of_rule = |rule: Rule| {
            let rest = match rule.key_part() {
                Some(part) => name.strip_prefix(part)?.strip_prefix(':')?,
                None => name,
            };
            let kind = match rule.per() {
                Per::Client => "ip:",
                Per::Account => "account:",
                Per::Token => {
                    let (subject, window) = rest.split_once(':')?;
                    let token = subject.strip_prefix('{').and_then(|id| id.strip_suffix('}'));
                    let subject = match token {
                        Some(token) => Counted::Token(token.parse().ok()?),
                        None if subject == "overflow" => Counted::Overflow,
                        None => return None,
                    };
                    return (window == rule.window_name())
                        .then(|| Self::read(rule, subject, "", exact))
                        .flatten();
                }
            };
            let Some(subject) = rest.strip_prefix(kind) else {
                let seconds = rest
                    .strip_prefix("overflow")
                    .filter(|_| rule.per() == Per::Client)?;
                return Self::read(rule, Counted::Overflow, seconds, exact);
            };
            // An IPv6 network has colons of its own, before its length.
            let network = subject.find('/').unwrap_or(0);
            let end = subject
                .get(network..)?
                .find(':')
                .map_or(subject.len(), |at| network + at);
            let (subject, seconds) = subject.split_at_checked(end)?;
            let subject = match rule.per() {
                Per::Client => Counted::Client(Client::from_name(subject)?),
                _ => Counted::Account(subject.into()),
            };
            Self::read(rule, subject, seconds, exact)
        };
        Rule::ALL.into_iter().chain(Rule::TOKEN).find_map(of_rule)
    }

    fn read(rule: Rule, subject: Counted, seconds: &str, exact: bool) -> Option<Self> {
        let seconds = match seconds.strip_prefix(':') {
            Some(seconds) => seconds.parse().ok()?,
            None if seconds.is_empty() => 0,
            None => return None,
        };
        Some(Self {
            subject,
            seconds,
            rule,
            exact,
        })
    }

    /// Whose counter it is.
    #[must_use]
    pub fn rule(&self) -> Rule {
        self.rule
    }

    /// Who is counted here; `None` where it is all that found no room.
    #[must_use]
    pub fn whose(&self) -> Option<Subject> {
        match &self.subject {
            Counted::Client(client) => Some(Subject::Client(*client)),
            Counted::Account(mac) => Some(Subject::Account(mac.to_string())),
            Counted::Token(token) => Some(Subject::Token(*token)),
            Counted::Overflow => None,
        }
    }

    /// Whether `subject` is counted here.
    #[must_use]
    pub fn counts(&self, subject: &Subject) -> bool {
        self.subject == Counted::of(subject)
    }

    /// The window of `limit` that is counted here; `None` where the limit has no such window any more.
    pub(super) fn window(&self, limit: &Limit) -> Option<Window> {
        let mut windows = limit.windows().iter().copied();
        if self.seconds == 0 {
            windows.next()
        } else {
            windows.skip(1).find(|window| window.seconds() == self.seconds)
        }
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
    #[must_use]
    pub fn subject(&self) -> impl fmt::Display {
        fmt::from_fn(|f| match &self.subject {
            Counted::Client(client) => fmt::Display::fmt(client, f),
            Counted::Account(mac) => f.write_str(mac),
            Counted::Token(token) => fmt::Display::fmt(token, f),
            Counted::Overflow => f.write_str("overflow"),
        })
    }

    /// The hash of the counter, made of that of its subject: the finalizer of splitmix64 over both. Nobody outside can choose
    /// counters that collide, because the subject's hash is keyed.
    pub(super) fn hash_with(&self, subject: u64) -> u64 {
        let rest = u64::from(self.seconds) << 16 | (self.rule as u64) << 8 | u64::from(self.exact);
        let mut hash = subject ^ rest.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        hash ^ (hash >> 31)
    }

    /// Counters of one subject lie together, whatever their rule.
    pub(super) fn counted(&self) -> &Counted {
        &self.subject
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
            Counted::Overflow if self.rule.per() == Per::Token => {
                write!(out, ":overflow:{}", self.rule.window_name())
            }
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
    fn a_key_of_a_token_is_read_as_it_was_written() {
        let token = Uuid::from_u128(7);
        let subject = Subject::Token(token);
        assert_eq!(Subject::from_tag(&subject.tag()), Some(subject.clone()));
        for rule in Rule::TOKEN {
            let key = CounterKey::of_token(token, rule);
            assert!(key.counts(&subject));
            for key in [key.overflow(), key] {
                let name = key.name("rate_limit");
                assert_eq!(CounterKey::from_name("rate_limit", &name), Some(key), "{name}");
            }
        }
        let mark = CounterKey::mark_of("rate_limit", token);
        assert_eq!(CounterKey::from_name("rate_limit", &mark), None);
    }

    #[test]
    fn a_key_is_read_as_it_was_written() {
        let limit: Limit = "5/minute;100/hour".parse().unwrap();
        let subjects = [
            Subject::Client(Client::of("127.0.0.1".parse().unwrap(), 64)),
            Subject::Client(Client::of("2001:db8:1:2::9".parse().unwrap(), 64)),
            Subject::Client(Client::unknown()),
            Subject::Client(Client::worker(b"worker-7")),
            Subject::Client(Client::worker(b"a name: of a test / with *")),
            Subject::Account("ab12".to_owned()),
        ];
        for subject in subjects {
            assert_eq!(Subject::from_tag(&subject.tag()), Some(subject.clone()));
            let per = match subject {
                Subject::Client(_) => Per::Client,
                Subject::Account(_) => Per::Account,
                Subject::Token(_) => Per::Token,
            };
            for rule in Rule::ALL.into_iter().filter(|rule| rule.per() == per) {
                for (place, strategy) in [(0, Strategy::Fixed), (1, Strategy::Fixed), (1, Strategy::Exact)] {
                    let charge = Charge {
                        rule,
                        subject: subject.clone(),
                    };
                    let window = limit.windows()[place];
                    let key = CounterKey::of(&charge, place, window, strategy);
                    let read = CounterKey::from_name("a:b", &key.name("a:b"));
                    assert_eq!(read.as_ref(), Some(&key), "{}", key.name("a:b"));
                    assert!(key.counts(&subject));
                    assert_eq!(key.window(&limit), Some(window));
                }
            }
        }
        for name in [
            "rate_limit:fleet",
            "rate_limit:probe:p0:0",
            "{rate_limit:fleet}:resets",
            "{rate_limit:ip:127.0.0.1}:merged:p0:1",
            "rate_limit:ip:127.0.0.1:60:60",
            "rate_limit:ip:127.0.0.1:",
            "rate_limit:ip:elsewhere",
            "rate_limit:login:account",
            "rate_limits:ip:127.0.0.1",
        ] {
            assert_eq!(CounterKey::from_name("rate_limit", name), None, "{name}");
        }
    }

    #[test]
    fn a_key_is_small() {
        assert!(size_of::<CounterKey>() <= 32, "{}", size_of::<CounterKey>());
    }
}

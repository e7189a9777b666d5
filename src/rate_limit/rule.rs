//! The rules: which limits there are, what each is called, and what it says by default.
//!
//! A new limit is a variant of [`Rule`], its line in [`Rule::ALL`] and its arm in [`Rule::definition`]; the environment
//! reader, the keys, the headers and the tests follow from those.

use super::limit::{Limit, Window};

/// A limit of the program. Its name is the end of its variable in lower case.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Rule {
    /// New accounts, per client.
    Registration,
    /// Logins, per client.
    Login,
    /// Uses of a refresh token, per client.
    Refresh,
    /// Requests for a reset mail, per client.
    PasswordReset,
    /// Looks at a reset token, per client.
    ResetVerify,
    /// Uses of a reset token, per client.
    ResetConfirm,
    /// Uses of a verification token, per client.
    VerifyEmail,
    /// Requests for a verification mail, per client.
    ResendVerification,
    /// Every endpoint where a signed-in user gives the current password, per client.
    ChangePassword,
    /// Everything under `/api/`, per client.
    Global,
    /// Failed logins and wrong current passwords, per account.
    LoginAccount,
    /// Mails to one recipient.
    MailAccount,
    /// Refused credentials at the gateway, per client.
    GatewayFailures,
    /// Passes of an API token in a minute. Its limit is the token's own, so this one and the next two are not in
    /// [`Rule::ALL`], which [`Rules`] hold.
    TokenMinute,
    /// Passes of an API token in an hour.
    TokenHour,
    /// Passes of an API token in a day.
    TokenDay,
}

/// Whom a rule counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Per {
    /// A client address or network.
    Client,
    /// An account, known here by an HMAC of its address.
    Account,
    /// An API token.
    Token,
}

impl Per {
    /// `client`, `account` or `token`, as answers show it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Account => "account",
            Self::Token => "token",
        }
    }
}

struct Definition {
    name: &'static str,
    variable: &'static str,
    /// The rule's part of its keys; none for the global one.
    key: Option<&'static str>,
    per: Per,
    /// Count and seconds.
    default: (u32, u32),
}

const MINUTE: u32 = 60;
const HOUR: u32 = 3_600;
const DAY: u32 = 86_400;

impl Rule {
    /// Every rule, in the order in which they are shown.
    pub const ALL: [Self; 13] = [
        Self::Registration,
        Self::Login,
        Self::Refresh,
        Self::PasswordReset,
        Self::ResetVerify,
        Self::ResetConfirm,
        Self::VerifyEmail,
        Self::ResendVerification,
        Self::ChangePassword,
        Self::Global,
        Self::LoginAccount,
        Self::MailAccount,
        Self::GatewayFailures,
    ];

    /// The windows of an API token, the shortest first.
    pub const TOKEN: [Self; 3] = [Self::TokenMinute, Self::TokenHour, Self::TokenDay];

    #[rustfmt::skip]
    const fn definition(self) -> Definition {
        const fn of(name: &'static str, variable: &'static str, key: Option<&'static str>, per: Per, default: (u32, u32)) -> Definition {
            Definition { name, variable, key, per, default }
        }
        use Per::{Account, Client, Token};
        match self {
            Self::Registration => of("registration", "RATE_LIMIT_REGISTRATION", Some("registration"), Client, (3, HOUR)),
            Self::Login => of("login", "RATE_LIMIT_LOGIN", Some("login"), Client, (5, MINUTE)),
            Self::Refresh => of("refresh", "RATE_LIMIT_REFRESH", Some("refresh"), Client, (10, MINUTE)),
            Self::PasswordReset => of("password_reset", "RATE_LIMIT_PASSWORD_RESET", Some("password_reset"), Client, (3, HOUR)),
            Self::ResetVerify => of("reset_verify", "RATE_LIMIT_RESET_VERIFY", Some("reset_verify"), Client, (10, MINUTE)),
            Self::ResetConfirm => of("reset_confirm", "RATE_LIMIT_RESET_CONFIRM", Some("reset_confirm"), Client, (5, MINUTE)),
            Self::VerifyEmail => of("verify_email", "RATE_LIMIT_VERIFY_EMAIL", Some("verify_email"), Client, (10, MINUTE)),
            Self::ResendVerification => of("resend_verification", "RATE_LIMIT_RESEND_VERIFICATION", Some("resend_verification"), Client, (3, HOUR)),
            Self::ChangePassword => of("change_password", "RATE_LIMIT_CHANGE_PASSWORD", Some("change_password"), Client, (5, MINUTE)),
            Self::Global => of("global", "RATE_LIMIT_GLOBAL", None, Client, (60, MINUTE)),
            Self::LoginAccount => of("login_account", "RATE_LIMIT_LOGIN_ACCOUNT", Some("login"), Account, (50, HOUR)),
            Self::MailAccount => of("mail_account", "RATE_LIMIT_MAIL_ACCOUNT", Some("mail"), Account, (5, HOUR)),
            Self::GatewayFailures => of("gateway_failures", "RATE_LIMIT_GATEWAY_FAILURES", Some("gateway_failures"), Client, (30, MINUTE)),
            Self::TokenMinute => of("token_minute", "API_TOKEN_RATE_LIMIT", Some("api_token"), Token, (60, MINUTE)),
            Self::TokenHour => of("token_hour", "API_TOKEN_RATE_LIMIT", Some("api_token"), Token, (1_000, HOUR)),
            Self::TokenDay => of("token_day", "API_TOKEN_RATE_LIMIT", Some("api_token"), Token, (10_000, DAY)),
        }
    }

    /// `login`, `reset_verify`, `login_account`: in answers, logs and `/rate-limits`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.definition().name
    }

    /// The environment variable that sets it.
    #[must_use]
    pub const fn variable(self) -> &'static str {
        self.definition().variable
    }

    /// Whom it counts.
    #[must_use]
    pub const fn per(self) -> Per {
        self.definition().per
    }

    /// Its part of a key in Redis; the global rule has none.
    pub(super) const fn key_part(self) -> Option<&'static str> {
        self.definition().key
    }

    /// The limit where nothing is set. `lenient_global` (development and test) gives the global rule 300/minute.
    #[must_use]
    pub fn default_limit(self, lenient_global: bool) -> Limit {
        let (count, seconds) = self.definition().default;
        Limit::fixed(
            if self == Self::Global && lenient_global {
                300
            } else {
                count
            },
            seconds,
        )
    }

    /// How the window of an API token ends in its key.
    pub(super) const fn window_name(self) -> &'static str {
        match self {
            Self::TokenMinute => "minute",
            Self::TokenHour => "hour",
            _ => "day",
        }
    }

    /// Seconds of the default period: what a client waits under `deny`, which names no period.
    pub(super) const fn default_seconds(self) -> u32 {
        self.definition().default.1
    }
}

/// The limit of every rule. Total: there is no rule without a limit.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rules([Limit; Rule::ALL.len()]);

impl Rules {
    /// Every rule at its default (see [`Rule::default_limit`]).
    #[must_use]
    pub fn defaults(lenient_global: bool) -> Self {
        Self(Rule::ALL.map(|rule| rule.default_limit(lenient_global)))
    }

    /// Gives `rule` another limit.
    pub fn set(&mut self, rule: Rule, limit: Limit) {
        if let Some(place) = self.0.get_mut(rule as usize) {
            *place = limit;
        }
    }

    /// The limit of `rule`; a rule outside [`Rule::ALL`] has none here.
    #[must_use]
    pub fn get(&self, rule: Rule) -> &Limit {
        self.0.get(rule as usize).unwrap_or(&Limit::OFF)
    }

    /// The largest count of all per-client limits, from which the local stage takes its default burst.
    #[must_use]
    pub fn largest_client_count(&self) -> u32 {
        Rule::ALL
            .iter()
            .filter(|rule| rule.per() == Per::Client)
            .flat_map(|rule| self.get(*rule).windows())
            .map(|window| Window::count(*window))
            .max()
            .unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_named_after_the_end_of_its_variable() {
        for (place, rule) in Rule::ALL.into_iter().enumerate() {
            assert_eq!(
                rule.variable(),
                format!("RATE_LIMIT_{}", rule.name().to_uppercase())
            );
            assert_eq!(rule as usize, place, "{rule:?} stands in ALL at its own place");
        }
    }

    #[test]
    fn defaults_are_those_of_the_contract() {
        let rules = Rules::defaults(false);
        for (rule, limit) in [
            (Rule::Registration, "3/hour"),
            (Rule::Login, "5/minute"),
            (Rule::Refresh, "10/minute"),
            (Rule::PasswordReset, "3/hour"),
            (Rule::ResetVerify, "10/minute"),
            (Rule::ResetConfirm, "5/minute"),
            (Rule::VerifyEmail, "10/minute"),
            (Rule::ResendVerification, "3/hour"),
            (Rule::ChangePassword, "5/minute"),
            (Rule::Global, "60/minute"),
            (Rule::LoginAccount, "50/hour"),
            (Rule::MailAccount, "5/hour"),
            (Rule::GatewayFailures, "30/minute"),
        ] {
            assert_eq!(rules.get(rule).to_string(), limit, "{rule:?}");
        }
        assert_eq!(Rules::defaults(true).get(Rule::Global).to_string(), "300/minute");
        assert_eq!(Rules::defaults(true).largest_client_count(), 300);
    }

    #[test]
    fn a_limit_that_is_set_changes_its_rule_alone() {
        let mut rules = Rules::defaults(false);
        rules.set(Rule::Login, "7/hour".parse().unwrap());
        for rule in Rule::ALL {
            let expected = if rule == Rule::Login {
                "7/hour".parse().unwrap()
            } else {
                rule.default_limit(false)
            };
            assert_eq!(*rules.get(rule), expected);
        }
    }
}

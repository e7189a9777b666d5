//! What a limit is: windows that must all hold, how requests are counted in them, and what happens over them.
//!
//! A [`Limit`] cannot hold a wrong value: it comes from [`FromStr`](std::str::FromStr) alone, by the grammar in
//! `limit/grammar.rs`. It knows no variable; who reads the environment adds the name.

mod grammar;

use std::time::Duration;

pub use grammar::LimitError;

/// How often something may happen. `Display` prints one canonical form that reads back as the same limit.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Limit {
    policy: Policy,
    strategy: Strategy,
    mode: Mode,
}

/// What a limit says.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Policy {
    Off,
    Deny,
    Windows(Vec<Window>),
}

/// One `COUNT/PERIOD` of a limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Window {
    count: u32,
    seconds: u32,
}

/// How requests are counted.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Strategy {
    /// In windows that open at the first counted request. At most 2·COUNT − 1 in any span of PERIOD.
    #[default]
    Fixed,
    /// Each request by itself: never more than COUNT in any span of PERIOD.
    Exact,
}

/// What happens to a request over the limit.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Mode {
    /// It is refused.
    #[default]
    Enforce,
    /// It passes; it is counted and logged.
    Shadow,
}

impl Limit {
    /// No limit at all.
    pub(super) const OFF: Self = Self {
        policy: Policy::Off,
        strategy: Strategy::Fixed,
        mode: Mode::Enforce,
    };

    /// `COUNT/PERIOD` with the default strategy and mode, for defaults written in code.
    #[must_use]
    pub(super) fn fixed(count: u32, seconds: u32) -> Self {
        Self {
            policy: Policy::Windows(vec![Window { count, seconds }]),
            strategy: Strategy::Fixed,
            mode: Mode::Enforce,
        }
    }

    /// No limit at all.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.policy == Policy::Off
    }

    /// Every request is refused.
    #[must_use]
    pub fn is_deny(&self) -> bool {
        self.policy == Policy::Deny
    }

    /// The windows that must all hold, as written; none under `off` and `deny`.
    #[must_use]
    pub fn windows(&self) -> &[Window] {
        match &self.policy {
            Policy::Off | Policy::Deny => &[],
            Policy::Windows(windows) => windows,
        }
    }

    /// How requests are counted.
    #[must_use]
    pub fn strategy(&self) -> Strategy {
        self.strategy
    }

    /// What happens over the limit.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The limit without its options: `60/minute;1000/hour`, `off`, `deny`.
    #[must_use]
    pub fn rate(&self) -> String {
        match &self.policy {
            Policy::Off => "off".to_owned(),
            Policy::Deny => "deny".to_owned(),
            Policy::Windows(windows) => windows
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(";"),
        }
    }
}

impl Window {
    /// Requests in one period.
    #[must_use]
    pub fn count(self) -> u32 {
        self.count
    }

    /// Length of the period.
    #[must_use]
    pub fn period(self) -> Duration {
        Duration::from_secs(u64::from(self.seconds))
    }

    /// Length of the period in seconds.
    #[must_use]
    pub fn seconds(self) -> u32 {
        self.seconds
    }
}

impl Strategy {
    /// As written in a limit: `fixed` or `exact`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Fixed => "fixed",
            Self::Exact => "exact",
        }
    }
}

impl Mode {
    /// As written in a limit: `enforce` or `shadow`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Shadow => "shadow",
        }
    }
}

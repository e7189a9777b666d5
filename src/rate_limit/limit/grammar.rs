//! The grammar of a limit: `5/minute`, `60/minute;1000/hour`, `10/2 hours;strategy=exact;mode=shadow`, `off`, `deny`.
//!
//! A new option is a variant in `limit.rs`, a line in `apply_option` and one in `Display`.

use std::fmt;
use std::str::FromStr;

use super::{Limit, Mode, Policy, Strategy, Window};

/// Largest count, multiplier and number of seconds in a period.
const MOST: u32 = 1_000_000_000;
/// Largest count under [`Strategy::Exact`], which remembers each request.
const MOST_EXACT: u32 = 10_000;
/// Unit names with their seconds, largest first.
const UNITS: [(&str, u32); 4] = [("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1)];

/// Why a text is no limit. Says what is wrong and repeats nothing of the text.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LimitError {
    /// Nothing is written.
    #[error("is empty; write a limit such as `5/minute`, or `off`")]
    Empty,
    /// `5/minute;` or `5/minute;;10/hour`.
    #[error("has an empty part beside a `;` or `,`")]
    EmptyPart,
    /// No `/` and no `per`.
    #[error("is not of the form COUNT/PERIOD, such as `5/minute`")]
    Form,
    /// Negative, fractional, or no number.
    #[error("has a number that is not written in digits alone")]
    NotWhole,
    /// A count or a multiplier of 0.
    #[error("has a 0; write `deny` to refuse all or `off` for no limit")]
    Zero,
    /// A count, a multiplier or a period beyond 1,000,000,000 (seconds).
    #[error("has a number or a period over 1,000,000,000 (seconds)")]
    TooLarge,
    /// Not second, minute, hour or day.
    #[error("has an unknown period; use second, minute, hour or day")]
    Period,
    /// Something after the period.
    #[error("has text after the period")]
    Trailing,
    /// An option that does not exist.
    #[error("has an unknown option; use strategy=fixed, strategy=exact, mode=enforce or mode=shadow")]
    Option,
    /// An option twice.
    #[error("gives an option twice")]
    OptionTwice,
    /// `strategy=exact;5/minute`, or options alone.
    #[error("has options before a limit; write limits first")]
    OptionFirst,
    /// `off` or `deny` with anything else.
    #[error("mixes `off` or `deny` with something else; they stand alone")]
    NotAlone,
    /// `strategy=exact` with a count over 10,000.
    #[error("has a count over 10,000 with strategy=exact")]
    ExactTooLarge,
}

impl FromStr for Limit {
    type Err = LimitError;

    fn from_str(text: &str) -> Result<Self, LimitError> {
        let text = text.trim_ascii().to_ascii_lowercase();
        let alone = |policy| Self {
            policy,
            strategy: Strategy::Fixed,
            mode: Mode::Enforce,
        };
        match text.as_str() {
            "" => return Err(LimitError::Empty),
            "off" => return Ok(alone(Policy::Off)),
            "deny" => return Ok(alone(Policy::Deny)),
            _ => {}
        }
        let mut windows: Vec<Window> = Vec::new();
        let (mut strategy, mut mode) = (None, None);
        for part in text.split([';', ',']).map(str::trim_ascii) {
            if part.is_empty() {
                return Err(LimitError::EmptyPart);
            } else if part == "off" || part == "deny" {
                return Err(LimitError::NotAlone);
            } else if let Some((name, value)) = part.split_once('=') {
                if windows.is_empty() {
                    return Err(LimitError::OptionFirst);
                }
                apply_option(name.trim_ascii(), value.trim_ascii(), &mut strategy, &mut mode)?;
            } else if strategy.is_some() || mode.is_some() {
                return Err(LimitError::OptionFirst);
            } else {
                add_window(&mut windows, part.parse()?);
            }
        }
        let strategy = strategy.unwrap_or_default();
        if strategy == Strategy::Exact && windows.iter().any(|window| window.count > MOST_EXACT) {
            return Err(LimitError::ExactTooLarge);
        }
        Ok(Self {
            policy: Policy::Windows(windows),
            strategy,
            mode: mode.unwrap_or_default(),
        })
    }
}

/// Two counts for one period say no more than the smaller of them, so one is kept.
fn add_window(windows: &mut Vec<Window>, window: Window) {
    match windows.iter_mut().find(|known| known.seconds == window.seconds) {
        Some(known) => known.count = known.count.min(window.count),
        None => windows.push(window),
    }
}

fn apply_option(
    name: &str,
    value: &str,
    strategy: &mut Option<Strategy>,
    mode: &mut Option<Mode>,
) -> Result<(), LimitError> {
    let twice = match (name, value) {
        ("strategy", "fixed") => strategy.replace(Strategy::Fixed).is_some(),
        ("strategy", "exact") => strategy.replace(Strategy::Exact).is_some(),
        ("mode", "enforce") => mode.replace(Mode::Enforce).is_some(),
        ("mode", "shadow") => mode.replace(Mode::Shadow).is_some(),
        _ => return Err(LimitError::Option),
    };
    if twice {
        Err(LimitError::OptionTwice)
    } else {
        Ok(())
    }
}

/// `5/minute`, `5 per minute`, `5/2 minutes`; already in lower case.
impl FromStr for Window {
    type Err = LimitError;

    fn from_str(text: &str) -> Result<Self, LimitError> {
        let (count, period) = if let Some((count, period)) = text.split_once('/') {
            (count.trim_ascii(), period)
        } else {
            let (count, rest) = text
                .split_once(|c: char| c.is_ascii_whitespace())
                .ok_or(LimitError::Form)?;
            let rest = rest
                .trim_ascii_start()
                .strip_prefix("per")
                .ok_or(LimitError::Form)?;
            if !rest.starts_with(|c: char| c.is_ascii_whitespace()) {
                return Err(LimitError::Form);
            }
            (count, rest)
        };
        let count = number(count)?;
        let words: Vec<&str> = period.split_ascii_whitespace().collect();
        let (multiplier, unit) = match words.as_slice() {
            [] => return Err(LimitError::Period),
            [unit] => (1, *unit),
            [first, unit] if first.starts_with(|c: char| !c.is_ascii_alphabetic()) => (number(first)?, *unit),
            [first, second, ..] => {
                let known = unit_seconds(first).or(unit_seconds(second)).is_some();
                return Err(if known {
                    LimitError::Trailing
                } else {
                    LimitError::Period
                });
            }
        };
        let unit = unit_seconds(unit).ok_or(LimitError::Period)?;
        let seconds = multiplier.checked_mul(unit).filter(|seconds| *seconds <= MOST);
        Ok(Self {
            count,
            seconds: seconds.ok_or(LimitError::TooLarge)?,
        })
    }
}

fn unit_seconds(word: &str) -> Option<u32> {
    let singular = word.strip_suffix('s').unwrap_or(word);
    UNITS
        .iter()
        .find(|(name, _)| *name == singular)
        .map(|(_, seconds)| *seconds)
}

fn number(text: &str) -> Result<u32, LimitError> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(LimitError::NotWhole);
    }
    match text.parse::<u32>() {
        Ok(0) => Err(LimitError::Zero),
        Ok(number) if number <= MOST => Ok(number),
        _ => Err(LimitError::TooLarge),
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, unit) = UNITS
            .iter()
            .find(|(_, unit)| self.seconds.is_multiple_of(*unit))
            .copied()
            .unwrap_or(("second", 1));
        match self.seconds / unit {
            1 => write!(f, "{}/{name}", self.count),
            many => write!(f, "{}/{many} {name}s", self.count),
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.rate())?;
        if self.strategy != Strategy::default() {
            write!(f, ";strategy={}", self.strategy.name())?;
        }
        if self.mode != Mode::default() {
            write!(f, ";mode={}", self.mode.name())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<String, LimitError> {
        text.parse::<Limit>().map(|limit| limit.to_string())
    }

    /// limits.md 13.
    #[test]
    fn every_spelling_of_a_limit_is_printed_back_in_one_form() {
        for (text, printed) in [
            ("5/minute", "5/minute"),
            ("5 per minute", "5/minute"),
            ("5  PER\t2 Minutes", "5/2 minutes"),
            ("5/2 minutes", "5/2 minutes"),
            ("5 / 2  minutes", "5/2 minutes"),
            ("5/MINUTES", "5/minute"),
            ("5/1 minute", "5/minute"),
            ("5/60 seconds", "5/minute"),
            ("5/90 seconds", "5/90 seconds"),
            ("3/hour", "3/hour"),
            ("1/day", "1/day"),
            ("1/24 hours", "1/day"),
            ("1000000000/second", "1000000000/second"),
            ("60/minute;1000/hour", "60/minute;1000/hour"),
            ("60/minute , 1000/hour", "60/minute;1000/hour"),
            ("60/minute;70/minute", "60/minute"),
            (" off ", "off"),
            ("DENY", "deny"),
            (
                "5/minute;strategy=exact;mode=shadow",
                "5/minute;strategy=exact;mode=shadow",
            ),
            ("5/minute;mode=shadow,strategy=fixed", "5/minute;mode=shadow"),
            ("5/minute; Strategy = Exact", "5/minute;strategy=exact"),
            ("10000/minute;strategy=exact", "10000/minute;strategy=exact"),
        ] {
            assert_eq!(read(text).as_deref(), Ok(printed), "{text}");
            assert_eq!(read(printed).as_deref(), Ok(printed), "{printed}");
        }
    }

    /// limits.md 14.
    #[test]
    fn what_is_no_limit_is_refused_with_its_reason() {
        use LimitError as E;
        for (text, reason) in [
            ("", E::Empty),
            ("  ", E::Empty),
            ("5/0 minute", E::Zero),
            ("0/minute", E::Zero),
            ("000/minute", E::Zero),
            ("-1/minute", E::NotWhole),
            ("+1/minute", E::NotWhole),
            ("5.5/minute", E::NotWhole),
            ("5/1.5 minutes", E::NotWhole),
            ("5/-1 minutes", E::NotWhole),
            ("1_000/minute", E::NotWhole),
            ("1e3/minute", E::NotWhole),
            ("/minute", E::NotWhole),
            ("5/min", E::Period),
            ("5/week", E::Period),
            ("5/minutess", E::Period),
            ("5/s", E::Period),
            ("5/", E::Period),
            ("5/2minutes", E::Period),
            ("5/minute/2", E::Period),
            ("5/minute;", E::EmptyPart),
            (";5/minute", E::EmptyPart),
            ("5/minute;,1/hour", E::EmptyPart),
            ("99999999999/second", E::TooLarge),
            ("99999999999999999999/second", E::TooLarge),
            ("1000000001/second", E::TooLarge),
            ("1/1000000000 days", E::TooLarge),
            ("5/minute evil", E::Trailing),
            ("5/minute 2", E::Trailing),
            ("5/2 minutes evil", E::Trailing),
            ("5", E::Form),
            ("abc", E::Form),
            ("5 minute", E::Form),
            ("5 perminute", E::Form),
            ("５/minute", E::NotWhole),
            ("5/２ minutes", E::NotWhole),
            ("٥/minute", E::NotWhole),
            ("5\u{a0}per minute", E::Form),
            ("off;5/minute", E::NotAlone),
            ("off;mode=shadow", E::NotAlone),
            ("deny,deny", E::NotAlone),
            ("mode=shadow", E::OptionFirst),
            ("mode=shadow;5/minute", E::OptionFirst),
            ("5/minute;mode=shadow;5/hour", E::OptionFirst),
            ("5/minute;mode=loud", E::Option),
            ("5/minute;mode=", E::Option),
            ("5/minute;color=red", E::Option),
            ("5/minute;mode=shadow;mode=enforce", E::OptionTwice),
            ("10001/minute;strategy=exact", E::ExactTooLarge),
        ] {
            assert_eq!(read(text), Err(reason), "{text:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_reader_panic_and_what_it_accepts_reads_back(text in "\\PC*") {
            if let Ok(limit) = text.parse::<Limit>() {
                proptest::prop_assert_eq!(limit.to_string().parse::<Limit>(), Ok(limit));
            }
        }

        #[test]
        fn each_count_and_period_reads_back(count in 1u32..=MOST, many in 1u32..=11_574, unit in 0usize..4) {
            let text = format!("{count}/{many} {}s", UNITS[unit].0);
            let limit: Limit = text.parse().unwrap();
            proptest::prop_assert_eq!(limit.windows(), &[Window { count, seconds: many * UNITS[unit].1 }]);
            proptest::prop_assert_eq!(limit.to_string().parse::<Limit>(), Ok(limit));
        }
    }
}

//! Reads variables one by one, keeps what was found for `check`, and collects every fault on the way.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::RangeInclusive;

use super::error::{ConfigError, ConfigErrors, printable};
use super::source::{Origin, Source};
use super::variable::{Empty, Secrecy, Variable, variables};

/// What one variable came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Effective {
    /// The variable.
    pub name: &'static str,
    /// Its value for people; secrets are redacted.
    pub value: String,
    /// Where the value comes from.
    pub origin: Origin,
}

/// After a fault a section goes on with the default, so that one start finds every fault; `finish` then refuses
/// the whole, so such a default is never used.
pub(super) struct Reader<'a> {
    pub(super) source: &'a Source,
    table: BTreeMap<&'static str, Variable>,
    errors: Vec<ConfigError>,
    effective: Vec<Effective>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(source: &'a Source) -> Self {
        let table = variables()
            .into_iter()
            .map(|variable| (variable.name, variable))
            .collect();
        Self {
            source,
            table,
            errors: Vec::new(),
            effective: Vec::new(),
        }
    }

    /// Records a fault of `name`. The message of a secret variable holds nothing of its value.
    pub(super) fn refuse(&mut self, name: &str, message: impl Into<String>) {
        self.errors.push(ConfigError::of(name, message));
    }

    /// Whether a fault of `name` has been found already: what it fell back to is then nobody's wish.
    pub(super) fn refused(&self, name: &str) -> bool {
        self.errors
            .iter()
            .any(|error| error.variable.as_deref() == Some(name))
    }

    /// Records what `name` came to.
    pub(super) fn record(&mut self, name: &'static str, value: impl Into<String>, origin: Origin) {
        let secret = self
            .table
            .get(name)
            .is_none_or(|variable| variable.secrecy == Secrecy::Secret);
        let value = match origin {
            Origin::Process | Origin::File(_) if secret => "[redacted]".to_owned(),
            _ => value.into(),
        };
        self.effective.push(Effective { name, value, origin });
    }

    /// The text of `name`, if it is set to something that may stand.
    pub(super) fn text(&mut self, name: &'static str) -> Option<(&'a str, Origin)> {
        let Some(variable) = self.table.get(name) else {
            self.refuse(name, "is missing in the table of variables");
            return None;
        };
        let empty = variable.empty;
        let (value, origin) = self.source.get(name)?;
        let Ok(value) = value else {
            self.refuse(name, "holds bytes that are no text");
            return None;
        };
        match (value.trim().is_empty(), empty) {
            (true, Empty::Unset) => None,
            (true, Empty::Refused) => {
                self.refuse(name, "is empty; give it a value, or leave it out for the default");
                None
            }
            (true, Empty::List) | (false, _) => Some((value, origin)),
        }
    }

    /// `name` read by `parse`, or `default`.
    pub(super) fn value<T>(
        &mut self,
        name: &'static str,
        default: T,
        show: impl Fn(&T) -> String,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> T {
        let (value, origin) = match self.text(name) {
            None => (default, Origin::Default),
            Some((text, origin)) => match parse(text) {
                Ok(value) => (value, origin),
                Err(message) => {
                    self.refuse(name, message);
                    return default;
                }
            },
        };
        self.record(name, show(&value), origin);
        value
    }

    /// `name` read by `parse`, if it is set.
    pub(super) fn optional<T>(
        &mut self,
        name: &'static str,
        show: impl Fn(&T) -> String,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let show = |value: &Option<T>| value.as_ref().map_or_else(|| "unset".to_owned(), &show);
        self.value(name, None, show, |text| parse(text).map(Some))
    }

    /// A whole number within `range`.
    pub(super) fn whole<N>(&mut self, name: &'static str, default: N, range: RangeInclusive<N>) -> N
    where
        N: TryFrom<u64> + PartialOrd + Display + Copy,
    {
        self.value(name, default, N::to_string, |text| whole(text, &range))
    }

    /// `true` or `false`.
    pub(super) fn flag(&mut self, name: &'static str, default: bool) -> bool {
        self.value(name, default, bool::to_string, |text| {
            match text.to_ascii_lowercase().as_str() {
                "true" => Ok(true),
                "false" => Ok(false),
                _ => Err(format!("`{}` is neither true nor false", printable(text))),
            }
        })
    }

    /// Values with commas between them, each read by `parse`.
    pub(super) fn list<T: Display>(
        &mut self,
        name: &'static str,
        default: Vec<T>,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Vec<T> {
        let show = |values: &Vec<T>| match values.as_slice() {
            [] => "empty".to_owned(),
            values => values
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(","),
        };
        self.value(name, default, show, |text| {
            if text.trim().is_empty() {
                return Ok(Vec::new());
            }
            text.split(',').map(|item| parse(item.trim())).collect()
        })
    }

    /// What every variable came to, or every fault.
    pub(super) fn finish(mut self) -> Result<Vec<Effective>, ConfigErrors> {
        let order: BTreeMap<&str, usize> = variables()
            .iter()
            .enumerate()
            .map(|(index, variable)| (variable.name, index))
            .collect();
        let place = |name: &str| order.get(name).copied().unwrap_or(usize::MAX);
        if self.errors.is_empty() {
            self.effective.sort_by_key(|effective| place(effective.name));
            return Ok(self.effective);
        }
        self.errors
            .sort_by_key(|error| error.variable.as_deref().map_or(usize::MAX, place));
        self.errors.dedup();
        Err(ConfigErrors(self.errors))
    }

    pub(super) fn extend(&mut self, errors: Vec<ConfigError>) {
        self.errors.extend(errors);
    }
}

/// A whole number in decimal digits, and nothing else.
pub(super) fn whole<N: TryFrom<u64> + PartialOrd + Display>(
    text: &str,
    range: &RangeInclusive<N>,
) -> Result<N, String> {
    let complaint = || {
        format!(
            "`{}` is no whole number from {} to {}",
            printable(text),
            range.start(),
            range.end()
        )
    };
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(complaint());
    }
    let number = text
        .parse::<u64>()
        .ok()
        .and_then(|number| N::try_from(number).ok());
    number
        .filter(|number| range.contains(number))
        .ok_or_else(complaint)
}

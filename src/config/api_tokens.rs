//! API tokens: their quota, how many, and for what.

use super::error::printable;
use super::reader::Reader;
use crate::api_tokens::{AllowedScopes, Scope, Settings};
use crate::rate_limit::{Limit, Mode, Strategy};

/// Seconds of the windows that a token has.
const WINDOWS: [u32; 3] = [60, 3_600, 86_400];

pub(super) fn read(reader: &mut Reader<'_>) -> Settings {
    let quota = reader.value("API_TOKEN_RATE_LIMIT", [60, 1_000, 10_000], shown, quota);
    let per_user = reader.whole("API_TOKENS_PER_USER", 50, 0..=1_000_000_u32);
    let scopes = reader.value("API_TOKEN_SCOPES", AllowedScopes::Any, shown_scopes, scopes);
    Settings {
        quota,
        per_user,
        scopes,
    }
}

fn shown([minute, hour, day]: &[u32; 3]) -> String {
    format!("{minute}/minute;{hour}/hour;{day}/day")
}

/// A window that is not written holds nothing back.
fn quota(text: &str) -> Result<[u32; 3], String> {
    let limit: Limit = text
        .parse()
        .map_err(|error| format!("`{}` {error}", printable(text)))?;
    if limit.is_off()
        || limit.is_deny()
        || limit.strategy() != Strategy::Fixed
        || limit.mode() != Mode::Enforce
    {
        return Err(format!(
            "`{}` is not made of COUNT/minute, COUNT/hour and COUNT/day alone",
            printable(text)
        ));
    }
    let mut given = [None; 3];
    for window in limit.windows() {
        let place = WINDOWS.iter().position(|seconds| *seconds == window.seconds());
        let Some(slot) = place.and_then(|place| given.get_mut(place)) else {
            return Err(format!(
                "`{}` has a window other than a minute, an hour and a day",
                printable(text)
            ));
        };
        *slot = Some(window.count());
    }
    let [minute, hour, day] = given;
    let minute = minute.or(hour).or(day).unwrap_or_default();
    let hour = hour.unwrap_or_else(|| minute.saturating_mul(60).min(day.unwrap_or(u32::MAX)));
    let day = day.unwrap_or_else(|| hour.saturating_mul(24));
    if minute <= hour && hour <= day {
        Ok([minute, hour, day])
    } else {
        Err(format!(
            "`{}` gives a longer window less than a shorter one",
            printable(text)
        ))
    }
}

fn shown_scopes(scopes: &AllowedScopes) -> String {
    match scopes {
        AllowedScopes::Any => "any".to_owned(),
        AllowedScopes::Listed(listed) => {
            let texts: Vec<&str> = listed.iter().map(Scope::as_str).collect();
            texts.join(",")
        }
    }
}

fn scopes(text: &str) -> Result<AllowedScopes, String> {
    if text.trim() == "any" {
        return Ok(AllowedScopes::Any);
    }
    let read = |item: &str| {
        let item = item.trim();
        Scope::parse(item).ok_or_else(|| {
            format!(
                "`{}` is no scope: a small letter, then up to 63 small letters, digits and _ : . * -",
                printable(item)
            )
        })
    };
    let listed: Result<Vec<Scope>, String> = text.split(',').map(read).collect();
    listed.map(AllowedScopes::Listed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_has_a_minute_an_hour_and_a_day() {
        for (text, read) in [
            ("60/minute;1000/hour;10000/day", [60, 1_000, 10_000]),
            ("10000/day, 60 per minute, 1000/HOURS", [60, 1_000, 10_000]),
            ("5/minute", [5, 300, 7_200]),
            ("5/minute;100/day", [5, 100, 100]),
            ("7/day", [7, 7, 7]),
        ] {
            assert_eq!(quota(text), Ok(read), "{text}");
            assert_eq!(quota(&shown(&read)), Ok(read));
        }
        for bad in [
            "off",
            "deny",
            "5/second",
            "5/2 minutes",
            "5/minute;strategy=exact",
            "5/minute;mode=shadow",
            "60/minute;10/hour",
            "0/minute",
            "x",
        ] {
            assert!(quota(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn scopes_are_any_or_listed() {
        assert_eq!(scopes("any"), Ok(AllowedScopes::Any));
        let listed = scopes("read:*, write:things").unwrap();
        assert_eq!(shown_scopes(&listed), "read:*,write:things");
        for bad in ["", "read:*,", "Read", "a b", "*"] {
            assert!(scopes(bad).is_err(), "{bad:?}");
        }
    }
}

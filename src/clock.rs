//! The present moment. The only room that asks the operating system what time it is.
//!
//! Everything else takes a [`Clock`] and asks it, so a test moves time instead of sleeping, and
//! `POST /api/v1/test/clock` can do the same to a running server.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A moment of wall-clock time: milliseconds since the Unix epoch. What the database stores.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, utoipa::ToSchema)]
#[schema(value_type = String, format = DateTime, example = "2026-11-22T04:52:03.711Z")]
pub struct Timestamp(i64);

impl Timestamp {
    /// The moment `millis` milliseconds after the Unix epoch.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Whole seconds since the Unix epoch, rounded down.
    #[must_use]
    pub const fn as_seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// This moment plus `span`.
    #[must_use]
    pub fn plus(self, span: Duration) -> Self {
        Self(self.0.saturating_add(whole_millis(span)))
    }

    /// This moment minus `span`.
    #[must_use]
    pub fn minus(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(whole_millis(span)))
    }

    /// The time from `earlier` to this moment; zero if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

fn whole_millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

/// Not RFC 3339, or beyond what is counted in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no moment in RFC 3339, such as 2026-11-22T02:49:16Z")]
pub struct NoMoment;

/// RFC 3339 with any offset; what is finer than a millisecond is cut off.
impl FromStr for Timestamp {
    type Err = NoMoment;

    fn from_str(text: &str) -> Result<Self, NoMoment> {
        let moment = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| NoMoment)?;
        let millis = moment.unix_timestamp_nanos().div_euclid(1_000_000);
        i64::try_from(millis).map(Self).map_err(|_| NoMoment)
    }
}

impl Timestamp {
    /// RFC 3339 in UTC, always with three digits of a second, so that texts sort as their moments do:
    /// `2026-11-22T02:49:16.000Z`. None before the year 0 and after 9999, for which there is no form.
    ///
    /// By hand: it stands in most answers and in each line of the log, and the library takes several times as long.
    #[must_use]
    pub fn of_one_length(self) -> Option<[u8; 24]> {
        let moment = OffsetDateTime::from_unix_timestamp(self.as_seconds()).ok()?;
        let (year, month, day) = moment.to_calendar_date();
        let (hour, minute, second) = moment.to_hms();
        let mut text = *b"0000-00-00T00:00:00.000Z";
        let fields = [
            (0..4, u32::try_from(year).ok()?),
            (5..7, u32::from(u8::from(month))),
            (8..10, u32::from(day)),
            (11..13, u32::from(hour)),
            (14..16, u32::from(minute)),
            (17..19, u32::from(second)),
            (20..23, u32::try_from(self.0.rem_euclid(1000)).ok()?),
        ];
        for (place, mut value) in fields {
            for digit in text.get_mut(place)?.iter_mut().rev() {
                *digit = u8::try_from(value % 10).ok()? + b'0';
                value /= 10;
            }
        }
        Some(text)
    }

    /// Calls `then` with the moment in RFC 3339.
    fn in_text<R>(self, then: impl FnOnce(&str) -> R) -> R {
        let Some(mut text) = self.of_one_length() else {
            return then("out of range");
        };
        // What is 0 at the end of it, and the point before that.
        let zeros = match self.0.rem_euclid(1000) {
            0 => 4,
            millis if millis % 100 == 0 => 2,
            millis if millis % 10 == 0 => 1,
            _ => 0,
        };
        let end = text.len() - zeros;
        if let Some(last) = text.get_mut(end - 1) {
            *last = b'Z';
        }
        then(
            text.get(..end)
                .and_then(|text| str::from_utf8(text).ok())
                .unwrap_or_default(),
        )
    }
}

/// RFC 3339 in UTC: `2026-11-22T02:49:16.711Z`, and without what is 0 at the end of it: `2026-11-22T02:49:16Z`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.in_text(|text| f.write_str(text))
    }
}

impl serde::Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.in_text(|text| serializer.serialize_str(text))
    }
}

/// Where the present moment comes from. Cheap to clone; clones move together.
#[derive(Clone, Debug)]
pub struct Clock(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    source: Source,
    /// Milliseconds by which [`Clock::advance`] has moved both readings.
    advanced: AtomicU64,
    /// Milliseconds by which [`Clock::shift_wall`] has moved the wall reading alone.
    wall_shift: AtomicI64,
}

#[derive(Debug)]
enum Source {
    System { started: Instant },
    Manual { start: Timestamp },
}

impl Clock {
    /// The clock of the machine.
    #[must_use]
    pub fn system() -> Self {
        Self::of(Source::System {
            started: Instant::now(),
        })
    }

    /// A clock that stands at `start` and moves only by [`Clock::advance`] and [`Clock::shift_wall`].
    #[must_use]
    pub fn manual(start: Timestamp) -> Self {
        Self::of(Source::Manual { start })
    }

    fn of(source: Source) -> Self {
        Self(Arc::new(Inner {
            source,
            advanced: AtomicU64::new(0),
            wall_shift: AtomicI64::new(0),
        }))
    }

    /// Wall-clock time. It can jump when an administrator or NTP sets the machine's clock.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let base = match &self.0.source {
            #[expect(clippy::disallowed_methods, reason = "this is the room that may ask")]
            Source::System { .. } => match SystemTime::now().duration_since(UNIX_EPOCH) {
                Ok(since) => Timestamp(whole_millis(since)),
                Err(before) => Timestamp(-whole_millis(before.duration())),
            },
            Source::Manual { start } => *start,
        };
        let shifted = Timestamp(base.0.saturating_add(self.0.wall_shift.load(Ordering::Relaxed)));
        shifted.plus(self.advanced())
    }

    /// Time since the clock was made. Never goes back and does not follow a changed wall clock.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        let base = match &self.0.source {
            Source::System { started } => started.elapsed(),
            Source::Manual { .. } => Duration::ZERO,
        };
        base + self.advanced()
    }

    /// Moves the clock forward, both readings.
    pub fn advance(&self, span: Duration) {
        let millis = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        self.0.advanced.fetch_add(millis, Ordering::Relaxed);
    }

    /// Moves the wall reading alone, as an administrator who sets the machine's clock does.
    pub fn shift_wall(&self, millis: i64) {
        self.0.wall_shift.fetch_add(millis, Ordering::Relaxed);
    }

    /// How far [`Clock::advance`] has moved it in all.
    #[must_use]
    pub fn advanced(&self) -> Duration {
        Duration::from_millis(self.0.advanced.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_prints_as_rfc_3339_in_utc() {
        assert_eq!(
            Timestamp::from_millis(1_700_000_000_123).to_string(),
            "2023-11-14T22:13:20.123Z"
        );
    }

    #[test]
    fn a_moment_prints_as_the_library_would_print_it() {
        for millis in [
            1_700_000_000_000,
            1_700_000_000_100,
            1_700_000_000_120,
            1_700_000_000_003,
            951_827_696_007,
            1_700_000_040_000,
            -1,
            -62_167_219_200_000,
            253_402_300_799_999,
        ] {
            let moment = OffsetDateTime::from_unix_timestamp_nanos(i128::from(millis) * 1_000_000).unwrap();
            assert_eq!(
                Timestamp::from_millis(millis).to_string(),
                moment.format(&Rfc3339).unwrap()
            );
        }
        for millis in [-62_167_219_200_001, 253_402_300_800_000, i64::MAX, i64::MIN] {
            assert_eq!(Timestamp::from_millis(millis).to_string(), "out of range");
        }
    }

    #[test]
    fn a_moment_of_one_length_shows_also_milliseconds_that_are_0() {
        let text = Timestamp::from_millis(1_700_000_000_000).of_one_length();
        assert_eq!(text.as_ref(), Some(b"2023-11-14T22:13:20.000Z"));
    }

    #[test]
    fn a_moment_reads_back_and_other_texts_do_not() {
        for text in ["2023-11-14T22:13:20.123Z", "2023-11-14t23:13:20.123999+01:00"] {
            assert_eq!(
                text.parse(),
                Ok(Timestamp::from_millis(1_700_000_000_123)),
                "{text}"
            );
        }
        for text in [
            "",
            "2023-11-14",
            "1700000000",
            "2023-11-14T22:13:20",
            "2023-13-14T22:13:20Z",
        ] {
            assert_eq!(text.parse::<Timestamp>(), Err(NoMoment), "{text}");
        }
    }

    #[test]
    fn a_wall_clock_that_jumps_back_leaves_elapsed_time_unmoved() {
        let clock = Clock::manual(Timestamp::from_millis(10_000_000));
        clock.advance(Duration::from_secs(5));
        clock.shift_wall(-3_600_000);
        assert_eq!(clock.elapsed(), Duration::from_secs(5));
        assert_eq!(
            clock.now(),
            Timestamp::from_millis(10_000_000 + 5_000 - 3_600_000)
        );
    }
}

//! Numbers that rooms count while they work, and the text in which Prometheus reads them.
//!
//! Counting is an addition or two on atomics: no lock, no allocation, no text. A number is a value and belongs to the
//! room that counts it; there is no registry. Whoever answers a scrape reads them all and writes them down with an
//! [`Exposition`] (text format 0.0.4, <https://prometheus.io/docs/instrumenting/exposition_formats/>).

use std::fmt::{Display, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A number that only grows, until the process ends.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// One more.
    pub fn increment(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// How many so far.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Upper bounds of a histogram's buckets, ascending, in microseconds. What is above the last has a bucket of its own.
pub type Bounds = [u64; 12];

/// How often something took how long.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static Bounds,
    /// How many were within a bound and beyond the one before.
    within: [AtomicU64; size_of::<Bounds>() / size_of::<u64>()],
    beyond: AtomicU64,
    /// 584 years' worth.
    total_nanos: AtomicU64,
}

impl Histogram {
    /// Nothing observed yet.
    #[must_use]
    pub fn new(bounds: &'static Bounds) -> Self {
        Self {
            bounds,
            within: Default::default(),
            beyond: AtomicU64::new(0),
            total_nanos: AtomicU64::new(0),
        }
    }

    /// It took `span`.
    pub fn observe(&self, span: Duration) {
        let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        let place = self.bounds.partition_point(|bound| bound * 1000 < nanos);
        let bucket = self.within.get(place).unwrap_or(&self.beyond);
        bucket.fetch_add(1, Ordering::Relaxed);
        self.total_nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    /// How many were observed.
    #[must_use]
    pub fn count(&self) -> u64 {
        let all = self.within.iter().chain([&self.beyond]);
        all.map(|bucket| bucket.load(Ordering::Relaxed)).sum()
    }
}

/// What a family of samples is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Only grows. Its name ends in `_total`.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Durations in buckets. Its name ends in `_seconds`.
    Histogram,
}

/// Names and values of a sample's labels.
pub type Labels<'a> = &'a [(&'static str, &'a str)];

/// What a scrape is answered.
#[derive(Debug, Default)]
pub struct Exposition {
    text: String,
    family: &'static str,
}

impl Exposition {
    /// Begins a family: all samples until the next are of it.
    pub fn family(&mut self, name: &'static str, kind: Kind, help: &str) {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        self.family = name;
        // Writing to a String cannot fail, here and below.
        let _ = write!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    /// One sample of the family.
    pub fn sample(&mut self, labels: Labels<'_>, value: impl Display) {
        self.line("", labels, None, value);
    }

    /// A family of one sample without labels.
    pub fn single(&mut self, name: &'static str, kind: Kind, help: &str, value: impl Display) {
        self.family(name, kind, help);
        self.sample(&[], value);
    }

    /// All samples of one histogram of the family.
    #[expect(
        clippy::cast_precision_loss,
        reason = "a sum of nanoseconds is exact for 104 days, and near enough beyond"
    )]
    pub fn histogram(&mut self, labels: Labels<'_>, histogram: &Histogram) {
        let seconds = |micros: u64| micros as f64 / 1e6;
        let total = histogram.total_nanos.load(Ordering::Relaxed) as f64 / 1e9;
        // The count is the sum of the buckets as they are read here, so that the sample agrees with itself.
        let mut count = 0;
        for (bucket, bound) in histogram.within.iter().zip(histogram.bounds) {
            count += bucket.load(Ordering::Relaxed);
            self.line("_bucket", labels, Some(&seconds(*bound).to_string()), count);
        }
        count += histogram.beyond.load(Ordering::Relaxed);
        self.line("_bucket", labels, Some("+Inf"), count);
        self.line("_sum", labels, None, total);
        self.line("_count", labels, None, count);
    }

    fn line(&mut self, ending: &str, labels: Labels<'_>, bound: Option<&str>, value: impl Display) {
        let text = &mut self.text;
        text.push_str(self.family);
        text.push_str(ending);
        let bound = bound.map(|bound| ("le", bound));
        let mut separator = '{';
        for (name, value) in labels.iter().copied().chain(bound) {
            let _ = write!(text, "{separator}{name}=\"");
            escape(value, text);
            text.push('"');
            separator = ',';
        }
        if separator == ',' {
            text.push('}');
        }
        let _ = writeln!(text, " {value}");
    }

    /// The whole text.
    #[must_use]
    pub fn finish(self) -> String {
        self.text
    }
}

fn escape(value: &str, text: &mut String) {
    for character in value.chars() {
        match character {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            other => text.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 1_000_000];

    #[test]
    fn a_bucket_holds_all_up_to_its_bound_and_the_bound_itself() {
        let histogram = Histogram::new(&BOUNDS);
        for nanos in [0, 1_000, 1_001, 2_000, 1_000_000_000, 1_000_000_001, u64::MAX / 2] {
            histogram.observe(Duration::from_nanos(nanos));
        }
        let mut text = Exposition::default();
        text.family("x_seconds", Kind::Histogram, "Of a test.");
        text.histogram(&[("of", "a")], &histogram);
        let text = text.finish();
        for line in [
            "x_seconds_bucket{of=\"a\",le=\"0.000001\"} 2\n",
            "x_seconds_bucket{of=\"a\",le=\"0.000002\"} 4\n",
            "x_seconds_bucket{of=\"a\",le=\"0.002\"} 4\n",
            "x_seconds_bucket{of=\"a\",le=\"1\"} 5\n",
            "x_seconds_bucket{of=\"a\",le=\"+Inf\"} 7\n",
            "x_seconds_count{of=\"a\"} 7\n",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        assert_eq!(histogram.count(), 7);
    }

    #[test]
    fn a_label_cannot_break_out_of_its_quotes() {
        let mut text = Exposition::default();
        text.family("x", Kind::Gauge, "Of a test.");
        text.sample(&[("a", "\"} 1\nforged 2\\"), ("b", "ü")], 3);
        text.single("y_total", Kind::Counter, "Another.", 4);
        assert_eq!(
            text.finish(),
            "# HELP x Of a test.\n# TYPE x gauge\nx{a=\"\\\"} 1\\nforged 2\\\\\",b=\"ü\"} 3\n\
             # HELP y_total Another.\n# TYPE y_total counter\ny_total 4\n"
        );
    }

    #[test]
    fn threads_that_count_at_once_lose_nothing() {
        let (counter, histogram) = (Counter::default(), Histogram::new(&BOUNDS));
        std::thread::scope(|threads| {
            for _ in 0..8 {
                threads.spawn(|| {
                    for micros in 0..10_000 {
                        counter.increment();
                        histogram.observe(Duration::from_micros(micros));
                    }
                });
            }
        });
        assert_eq!((counter.get(), histogram.count()), (80_000, 80_000));
        let nanos = histogram.total_nanos.load(Ordering::Relaxed);
        assert_eq!(nanos, 8 * 1000 * (0..10_000).sum::<u64>());
    }
}

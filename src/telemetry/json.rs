//! A line of the log for machines: one JSON object, written in one piece.
//!
//! The library's own format does the same by way of a `fmt::Writer`, which checks and copies each word by itself: half
//! of the work of refusing a request was its line.

use std::fmt;

use serde::Serializer as _;
use serde::ser::SerializeMap as _;
use tracing::{Event, Subscriber};
use tracing_serde::{AsSerde as _, SerdeMapVisitor};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::clock::Clock;

/// Room for most lines, in bytes.
const USUAL: usize = 512;

/// UTC time, level, the event's fields, where it was written.
pub(super) struct JsonLines(pub(super) Clock);

impl<S, N> FormatEvent<S, N> for JsonLines
where
    S: Subscriber + for<'s> LookupSpan<'s>,
    N: for<'w> FormatFields<'w> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut line = Vec::with_capacity(USUAL);
        self.write(&mut line, event).map_err(|_| fmt::Error)?;
        line.push(b'\n');
        writer.write_str(std::str::from_utf8(&line).map_err(|_| fmt::Error)?)
    }
}

impl JsonLines {
    fn write(&self, line: &mut Vec<u8>, event: &Event<'_>) -> serde_json::Result<()> {
        let metadata = event.metadata();
        let mut object = serde_json::Serializer::new(line);
        let mut object = object.serialize_map(None)?;
        let time = self.0.now().of_one_length().unwrap_or_default();
        object.serialize_entry("timestamp", str::from_utf8(&time).unwrap_or_default())?;
        object.serialize_entry("level", &metadata.level().as_serde())?;
        let mut fields = SerdeMapVisitor::new(object);
        event.record(&mut fields);
        let mut object = fields.take_serializer()?;
        object.serialize_entry("target", metadata.target())?;
        object.end()
    }
}

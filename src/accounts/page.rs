//! Long lists, a page at a time.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use uuid::Uuid;

use crate::clock::Timestamp;
use crate::storage::PageEnd;

/// Where a page ended. Opaque to clients; the next page begins behind it, whatever was added or deleted meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    at: Timestamp,
    id: Uuid,
}

/// Not what a page ended with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("This is no cursor of an earlier page.")]
pub struct NoCursor;

/// Which part of a list is asked for.
#[derive(Clone, Copy, Debug)]
pub struct PageRequest {
    /// Behind the page that ended there; `None` is the first.
    pub after: Option<Cursor>,
    /// Most items.
    pub most: u32,
}

/// A part of a list.
#[derive(Clone, Debug)]
pub struct Page<T> {
    /// In the order of the list.
    pub items: Vec<T>,
    /// Where the next page begins; `None` if this is the last.
    pub next: Option<Cursor>,
}

impl PageRequest {
    /// The first `most` items.
    #[must_use]
    pub fn first(most: u32) -> Self {
        Self { after: None, most }
    }

    /// One more than is asked for tells whether there is a next page.
    pub(super) fn rows(&self) -> i64 {
        i64::from(self.most) + 1
    }

    pub(super) fn after(&self) -> Option<PageEnd> {
        self.after.map(|cursor| (cursor.at, cursor.id))
    }
}

impl<T> Page<T> {
    /// Of the rows that [`PageRequest::rows`] asked for. `end`: by what a row is sorted.
    pub(super) fn of<R>(
        mut rows: Vec<R>,
        asked: &PageRequest,
        end: impl Fn(&R) -> PageEnd,
        item: impl FnMut(R) -> T,
    ) -> Self {
        let most = usize::try_from(asked.most).unwrap_or(usize::MAX);
        let has_more = rows.len() > most;
        rows.truncate(most);
        let next = rows.last().filter(|_| has_more).map(|row| {
            let (at, id) = end(row);
            Cursor { at, id }
        });
        Self {
            items: rows.into_iter().map(item).collect(),
            next,
        }
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = [&self.at.as_millis().to_be_bytes()[..], self.id.as_bytes()].concat();
        f.write_str(&URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl FromStr for Cursor {
    type Err = NoCursor;

    fn from_str(text: &str) -> Result<Self, NoCursor> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| NoCursor)?;
        let (at, id) = bytes.split_first_chunk::<8>().ok_or(NoCursor)?;
        Ok(Self {
            at: Timestamp::from_millis(i64::from_be_bytes(*at)),
            id: Uuid::from_slice(id).map_err(|_| NoCursor)?,
        })
    }
}

impl serde::Serialize for Cursor {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back_and_nothing_else_does() {
        let cursor = Cursor {
            at: Timestamp::from_millis(-5),
            id: Uuid::from_u128(7),
        };
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
        for text in [
            "",
            "x",
            "=",
            "AAAA",
            &cursor.to_string()[1..],
            &format!("{cursor}AA"),
        ] {
            assert_eq!(text.parse::<Cursor>(), Err(NoCursor), "{text}");
        }
    }
}

//! Text in columns, and lists that are printed page by page.

use std::fmt::Write as _;
use std::ops::ControlFlow;
use std::process::ExitCode;

use serde::Serialize;
use serde_json::json;

use super::operator::Refusal;
use crate::accounts::{AdminError, Page, PageRequest};

/// `rows` under `head`, each column as wide as its widest cell.
pub(super) fn table<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> String {
    let mut widths = head.map(str::len);
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    line(&mut text, widths, head);
    for row in rows {
        line(&mut text, widths, row.each_ref().map(String::as_str));
    }
    text
}

fn line<const N: usize>(text: &mut String, widths: [usize; N], cells: [&str; N]) {
    let mut line = String::new();
    for (cell, width) in cells.iter().zip(widths) {
        let _ = write!(line, "{cell:width$}  ");
    }
    text.push_str(line.trim_end());
    text.push('\n');
}

/// A list that is printed in parts: tables, or one JSON array with an object on each line.
pub(super) struct List {
    as_json: bool,
    /// What is printed of a list of nothing.
    nothing: &'static str,
    has_begun: bool,
}

impl List {
    pub(super) fn new(as_json: bool, nothing: &'static str) -> Self {
        Self {
            as_json,
            nothing,
            has_begun: false,
        }
    }

    /// Prints page by page what `page` answers, `size` at a time, until the end or until nobody reads on.
    pub(super) async fn print_pages<T: Serialize>(
        mut self,
        size: u32,
        rows: impl Fn(&[T]) -> String,
        page: impl AsyncFn(PageRequest) -> Result<Page<T>, AdminError>,
    ) -> Result<ExitCode, Refusal> {
        let mut request = PageRequest::first(size);
        loop {
            let page = page(request).await.map_err(|error| Refusal::from(&error))?;
            let text = self.part(&page.items, page.next.is_none(), &rows);
            if let ControlFlow::Break(code) = super::print_part(&text) {
                return Ok(code);
            }
            if page.next.is_none() {
                return Ok(ExitCode::SUCCESS);
            }
            request.after = page.next;
        }
    }

    /// The next part, and with `is_last` the end. `rows` makes a table of it.
    pub(super) fn part<T: Serialize>(
        &mut self,
        items: &[T],
        is_last: bool,
        rows: impl Fn(&[T]) -> String,
    ) -> String {
        let is_first = !std::mem::replace(&mut self.has_begun, true);
        if !self.as_json {
            return match items {
                [] if is_first => format!("{}\n", self.nothing),
                [] => String::new(),
                items => rows(items),
            };
        }
        let mut text = String::from(if is_first { "[" } else { "" });
        for (number, item) in items.iter().enumerate() {
            text.push_str(if is_first && number == 0 { "\n" } else { ",\n" });
            text.push_str(&json!(item).to_string());
        }
        if is_last {
            text.push_str(if is_first && items.is_empty() {
                "]\n"
            } else {
                "\n]\n"
            });
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [
            ["é".to_owned(), "x".to_owned()],
            ["long".to_owned(), String::new()],
        ];
        assert_eq!(table(["A", "B"], &rows), "A     B\né     x\nlong\n");
    }

    #[test]
    fn a_list_in_parts_is_one_array() {
        let rows = |_: &[u8]| String::new();
        for parts in [&[&[][..]][..], &[&[1]], &[&[1, 2], &[3], &[]]] {
            let mut whole = List::new(true, "");
            let last = parts.len() - 1;
            let text: String = parts
                .iter()
                .enumerate()
                .map(|(number, part)| whole.part(part, number == last, rows))
                .collect();
            assert_eq!(
                serde_json::from_str::<Vec<u8>>(&text).unwrap(),
                parts.concat(),
                "{text}"
            );
        }
        assert_eq!(List::new(false, "none").part::<u8>(&[], true, rows), "none\n");
    }
}

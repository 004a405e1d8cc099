//! Tables for users, which fit into the terminal that they are shown on.
//!
//! In a pipe a row is one line with all of its values. On a terminal that is too narrow for that, addresses are shortened;
//! if that is not enough, long values move to lines of their own below the row; and if that is not enough either, each
//! value has a line.

use comfy_table::{ContentArrangement, Table, presets};
use rouse_core::Address;
use unicode_width::UnicodeWidthStr;

use crate::text::{self, INDENT};

/// The text of an absent value.
pub(super) const NOTHING: &str = "-";

pub(super) fn or_nothing(text: Option<impl ToString>) -> String {
    text.map_or_else(|| NOTHING.to_owned(), |text| text.to_string())
}

/// One value of a table.
#[derive(Clone, Debug)]
pub(super) enum Cell {
    Text(String),
    /// An address, which is shortened where the terminal is narrow.
    Address(Address),
}

impl Cell {
    fn show(&self, short: bool) -> String {
        match self {
            Cell::Text(text) => text::one_line(text).into_owned(),
            Cell::Address(address) if short => address.short(),
            Cell::Address(address) => address.to_string(),
        }
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Cell::Text(text)
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Cell::Text(text.to_owned())
    }
}

impl From<Address> for Cell {
    fn from(address: Address) -> Self {
        Cell::Address(address)
    }
}

impl<T: ToString + Into<Cell>> From<Option<T>> for Cell {
    fn from(value: Option<T>) -> Self {
        value.map_or_else(|| Cell::from(NOTHING), Into::into)
    }
}

/// The columns of a table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Columns<const N: usize> {
    pub(super) titles: [&'static str; N],
    /// The titles of the columns whose values move below the row where the terminal is narrow.
    pub(super) long: &'static [&'static str],
}

impl<const N: usize> Columns<N> {
    /// The table with these rows for a terminal of this width, or for a pipe. It is empty when there are no rows.
    pub(super) fn table(&self, width: Option<usize>, rows: &[[Cell; N]]) -> String {
        if rows.is_empty() {
            return String::new();
        }
        let all: Vec<usize> = (0..N).collect();
        let is_short =
            |index: &usize| self.titles.get(*index).is_some_and(|title| !self.long.contains(title));
        let short_columns: Vec<usize> = all.iter().copied().filter(is_short).collect();
        let full = self.lines(rows, &all, false);
        let Some(width) = width.filter(|width| !fits(&full, *width)) else { return full.join("\n") };
        let shortened = self.lines(rows, &all, true);
        if fits(&shortened, width) {
            return shortened.join("\n");
        }
        let mut lines = self.lines(rows, &short_columns, true);
        if fits(&lines, width) {
            for (line, row) in lines.iter_mut().skip(1).zip(rows) {
                line.push_str(&self.below(row, width));
            }
            return lines.join("\n");
        }
        rows.iter().map(|row| self.record(row, width)).collect::<Vec<_>>().join("\n\n")
    }

    /// The lines of a table with some of the columns, two spaces apart and as wide as their content.
    fn lines(&self, rows: &[[Cell; N]], columns: &[usize], short: bool) -> Vec<String> {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(columns.iter().filter_map(|index| self.titles.get(*index)));
        let shown = |row: &[Cell; N]| -> Vec<String> {
            columns.iter().filter_map(|index| row.get(*index)).map(|cell| cell.show(short)).collect()
        };
        table.add_rows(rows.iter().map(shown));
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        table.lines().map(|line| line.trim_end().to_owned()).collect()
    }

    /// The values of the long columns of a row, each on a line of its own.
    fn below(&self, row: &[Cell; N], width: usize) -> String {
        let long = self.titles.iter().zip(row).filter(|(title, _)| self.long.contains(title));
        let values = long.map(|(title, cell)| (title.to_lowercase(), cell.show(true)));
        let lines = values.filter(|(_, value)| value != NOTHING).map(|(title, value)| {
            let line = text::paragraph(&format!("{title}: {value}"), INDENT, width);
            format!("\n{:INDENT$}{line}", "")
        });
        lines.collect()
    }

    /// A row with a line for each value.
    fn record(&self, row: &[Cell; N], width: usize) -> String {
        let lines = self
            .titles
            .iter()
            .zip(row)
            .map(|(title, cell)| text::paragraph(&format!("{title}: {}", cell.show(true)), 0, width));
        lines.collect::<Vec<_>>().join("\n")
    }
}

fn fits(lines: &[String], width: usize) -> bool {
    lines.iter().all(|line| line.width() <= width)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rouse_core::Identity;

    const COLUMNS: Columns<4> = Columns { titles: ["NAME", "ADDRESS", "N", "ERROR"], long: &["ERROR"] };

    fn row(name: &str, n: &str, error: &str) -> [Cell; 4] {
        [name.into(), Identity::from_seed(&[1; 32]).address().into(), n.into(), error.into()]
    }

    #[test]
    fn columns_are_aligned_with_their_titles() {
        let columns = Columns { titles: ["NAME", "N"], long: &[] };
        let rows = [["küche".into(), "1".into()], ["a".into(), "22".into()]];
        assert_eq!(columns.table(None, &rows), "NAME   N\nküche  1\na      22");
        assert_eq!(columns.table(Some(80), &rows), columns.table(None, &rows));
        assert_eq!(columns.table(None, &[]), "");
    }

    #[test]
    fn a_cell_cannot_make_a_row_of_its_own() {
        assert_eq!(COLUMNS.table(None, &[row("a\nbob  2\u{1b}[2A", "1", "-")]).lines().count(), 2);
    }

    #[test]
    fn a_table_fits_into_its_terminal_and_loses_no_value_but_the_middle_of_addresses() {
        let address = Identity::from_seed(&[1; 32]).address();
        let error = format!("refused: {}", "too long ".repeat(20).trim());
        let rows = [row("kitchen", "1", "-"), row(&"n".repeat(64), "22", &error)];
        for width in 20..300 {
            let table = COLUMNS.table(Some(width), &rows);
            let widest = table.lines().map(UnicodeWidthStr::width).max().unwrap();
            assert!(widest <= width, "{widest} > {width}:\n{table}");
            let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().concat();
            for value in [address.short().get(..12).unwrap(), &"n".repeat(64), &error, "22"] {
                assert!(words(&table).contains(&words(value)), "{value} is not in\n{table}");
            }
        }
        assert!(COLUMNS.table(None, &rows).contains(&address.to_string()));
        assert!(COLUMNS.table(Some(400), &rows).contains(&address.to_string()));
    }

    #[test]
    fn long_values_are_below_their_row_where_the_terminal_is_narrow() {
        let rows = [row("kitchen", "1", &"word ".repeat(12)), row("hall", "2", "-")];
        let table = COLUMNS.table(Some(50), &rows);
        let lines: Vec<&str> = table.lines().collect();
        assert!(lines[1].starts_with("kitchen") && lines[2].starts_with("    error: word"), "{table}");
        assert!(lines.last().unwrap().starts_with("hall"), "{table}");
    }
}

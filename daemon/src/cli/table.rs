//! Tables for users.

use comfy_table::{ContentArrangement, Table, presets};

/// A table with titles, with columns two spaces apart and as wide as their content. It is empty when there are no rows.
pub(super) fn table<const N: usize>(titles: [&str; N], rows: Vec<[String; N]>) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(titles);
    table.add_rows(rows);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

/// The text of an absent value.
pub(super) const NOTHING: &str = "-";

pub(super) fn or_nothing(text: Option<impl ToString>) -> String {
    text.map_or_else(|| NOTHING.to_owned(), |text| text.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_with_their_titles() {
        let rows = vec![["küche".to_owned(), "1".to_owned()], ["a".to_owned(), "22".to_owned()]];
        assert_eq!(table(["NAME", "N"], rows), "NAME   N\nküche  1\na      22");
        assert_eq!(table(["NAME"], Vec::new()), "");
    }
}

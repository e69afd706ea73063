//! What commands print: aligned tables, comma-separated values, sizes as people read them.

use std::{
    fmt::Write as _,
    io::{self, Write as _},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Table,
    Json,
    Csv,
}

/// Columns as wide as their widest cell, two spaces apart, without space at the end of a line.
/// `right` holds the columns that are numbers.
pub(super) fn table(rows: &[Vec<String>], right: &[usize]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column| {
        let cells = rows.iter().filter_map(move |row: &Vec<String>| row.get(column));
        cells.map(|cell: &String| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut out = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let padding = " ".repeat(widths[column] - cell.chars().count());
            let (before, after) = match right.contains(&column) {
                true => (padding.as_str(), ""),
                false => ("", padding.as_str()),
            };
            let _ = write!(line, "{before}{cell}{after}  ");
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// RFC 4180: quoted where a comma, a quote or a line break is inside.
pub(super) fn csv(rows: &[Vec<String>]) -> String {
    let field = |text: &String| match text.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.clone(),
    };
    let line = |row: &Vec<String>| row.iter().map(field).collect::<Vec<_>>().join(",") + "\n";
    rows.iter().map(line).collect()
}

pub(super) fn print(text: &str) -> anyhow::Result<()> {
    Ok(io::stdout().lock().write_all(text.as_bytes())?)
}

/// In binary units, with three digits.
pub(super) fn bytes(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if value < 1024.0 {
            let decimals =
                if unit == "B" || value >= 100.0 { 0 } else { 1 + usize::from(value < 10.0) };
            return format!("{value:.decimals$} {unit}");
        }
        value /= 1024.0;
    }
    format!("{value:.2} TiB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_align_and_leave_no_trailing_space() {
        let row = |a: &str, b: &str, c: &str| vec![a.to_owned(), b.to_owned(), c.to_owned()];
        let text = table(&[row("id", "n", "note"), row("longer", "1024", "")], &[1]);
        assert_eq!(text, "id         n  note\nlonger  1024\n");
    }

    #[test]
    fn values_with_separators_are_quoted() {
        let row = vec!["a,b".to_owned(), "say \"x\"".to_owned(), "plain".to_owned()];
        assert_eq!(csv(&[row]), "\"a,b\",\"say \"\"x\"\"\",plain\n");
    }

    #[test]
    fn sizes_have_three_digits() {
        assert_eq!(bytes(512), "512 B");
        assert_eq!(bytes(98_362_432), "93.8 MiB");
        assert_eq!(bytes(1 << 30), "1.00 GiB");
        assert_eq!(bytes(200 << 30), "200 GiB");
    }
}

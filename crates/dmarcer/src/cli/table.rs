//! Columns without borders, as `kubectl` prints them.

use std::fmt::Write as _;

/// Spaces between columns.
const GAP: usize = 3;

/// Rows under headers.
#[derive(Debug, Default)]
pub(crate) struct Table {
    headers: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty table.
    pub(crate) fn new(headers: &[&'static str]) -> Table {
        Table { headers: headers.to_vec(), rows: Vec::new() }
    }

    /// Adds a row. Empty cells are shown as `-`.
    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.iter().map(|cell| printable(cell)).collect());
    }

    /// Whether it has no rows.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The table as text.
    pub(crate) fn render(&self, headers: bool) -> String {
        let header: Vec<String> = self.headers.iter().map(|&header| header.to_owned()).collect();
        let header = Some(&header).filter(|_| headers);
        let rows: Vec<&Vec<String>> = header.into_iter().chain(&self.rows).collect();
        let mut widths = vec![0; self.headers.len()];
        for row in &rows {
            for (width, cell) in widths.iter_mut().zip(row.iter()) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let mut text = String::new();
        for row in rows {
            let mut line = String::new();
            for (width, cell) in widths.iter().zip(row) {
                // Writing to a string does not fail.
                let _ = write!(line, "{cell:<width$}{:GAP$}", "");
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// One thing: a line per field.
#[derive(Debug, Default)]
pub(crate) struct Fields(Vec<(&'static str, String)>);

impl Fields {
    /// Adds a field.
    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Fields {
        self.0.push((name, value.into()));
        self
    }

    /// Adds a field unless it has nothing to say.
    pub(crate) fn with_some(self, name: &'static str, value: impl Into<String>) -> Fields {
        let value = value.into();
        match value.is_empty() {
            true => self,
            false => self.with(name, value),
        }
    }

    /// The fields, for programs.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.0.iter().map(|(name, value)| (*name, value.as_str()))
    }

    /// The fields as text.
    pub(crate) fn render(&self) -> String {
        let width = self.0.iter().map(|(name, _)| name.len()).max().unwrap_or(0) + GAP;
        let line = |(name, value): &(&str, String)| {
            let value = printable(value);
            format!("{name:<width$}{value}\n")
        };
        self.0.iter().map(line).collect()
    }
}

/// A text that comes from elsewhere, DNS say, must not steer the terminal.
pub(crate) fn printable(text: &str) -> String {
    if text.is_empty() {
        return "-".to_owned();
    }
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        match character.is_control() {
            true => shown.extend(character.escape_default()),
            false => shown.push(character),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_lines_end_without_spaces() {
        let mut table = Table::new(&["NAME", "KIND"]);
        table.row(["example.org".into(), "standard".into()]);
        table.row(["ä.example".into(), String::new()]);
        let expected = "NAME          KIND\nexample.org   standard\nä.example     -\n";
        assert_eq!(table.render(true), expected);
        assert_eq!(table.render(false), expected.split_once('\n').unwrap().1);
    }

    #[test]
    fn nothing_from_elsewhere_steers_the_terminal() {
        assert_eq!(printable("a\u{1b}[31m\nb"), "a\\u{1b}[31m\\nb");
    }
}

//! Columns, laid out as Go's tabwriter does for Docker: each at least ten wide, three spaces between, the last one bare.

use std::fmt;

const MIN_WIDTH: usize = 10;
const PADDING: usize = 3;

/// Rows below a header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(header: &[&str]) -> Self {
        Self { rows: vec![header.iter().map(|&title| title.to_owned()).collect()] }
    }

    /// Adds a row. A line break in a cell would look like another row and becomes a space.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().map(|cell| cell.replace(['\n', '\r', '\t'], " ")).collect());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count() + PADDING).max().unwrap_or(0).max(MIN_WIDTH)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for row in &self.rows {
            for (column, cell) in row.iter().enumerate() {
                if column + 1 == row.len() {
                    writeln!(f, "{cell}")?;
                } else {
                    write!(f, "{cell:<width$}", width = widths[column])?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(&["ID", "NAME", "PORTS"]);
        table.row(["tnrrr8ihacn5".into(), "wéb".into(), String::new()]);
        table.row(["x".into(), "a\nb".into(), "80".into()]);
        let expected = "ID             NAME      PORTS\n\
                        tnrrr8ihacn5   wéb       \n\
                        x              a b       80\n";
        assert_eq!(table.to_string(), expected);
    }
}

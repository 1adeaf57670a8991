//! A table in Markdown, with its columns in line.

use std::fmt;

/// Rows under a head.
pub struct Table {
    head: Vec<String>,
    is_right: Vec<bool>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these columns; those whose name begins with `>` hold numbers.
    pub fn new(columns: &[&str]) -> Self {
        Self {
            head: columns.iter().map(|name| name.trim_start_matches('>').to_owned()).collect(),
            is_right: columns.iter().map(|name| name.starts_with('>')).collect(),
            rows: Vec::new(),
        }
    }

    /// One more row, with a cell for each column.
    pub fn row(&mut self, cells: Vec<String>) {
        assert_eq!(cells.len(), self.head.len(), "a cell for each column");
        self.rows.push(cells.into_iter().map(|cell| cell.replace('|', "\\|").replace('\n', " ")).collect());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.rows.is_empty() {
            return Ok(());
        }
        let letters = |cell: &String| cell.chars().count();
        let width = |column: usize| {
            let cells = self.rows.iter().map(|row| letters(&row[column]));
            cells.chain([letters(&self.head[column]), 3]).max().unwrap_or(3)
        };
        let widths: Vec<usize> = (0..self.head.len()).map(width).collect();
        let rules = widths.iter().zip(&self.is_right).map(|(&width, &is_right)| {
            if is_right { format!("{}:", "-".repeat(width - 1)) } else { "-".repeat(width) }
        });
        let rules: Vec<String> = rules.collect();
        for row in [&self.head, &rules].into_iter().chain(&self.rows) {
            for ((cell, &width), &is_right) in row.iter().zip(&widths).zip(&self.is_right) {
                if is_right { write!(f, "| {cell:>width$} ")? } else { write!(f, "| {cell:<width$} ")? }
            }
            writeln!(f, "|")?;
        }
        Ok(())
    }
}

//! The tables, in Markdown, and the medians in them.

use serde::{Deserialize, Serialize};

use crate::death::Death;

/// One cell: the values of all rounds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Cell {
    /// The measured values.
    pub values: Vec<f64>,
    /// Why there is nothing.
    pub error: Option<String>,
}

impl Cell {
    /// The median.
    pub fn median(&self) -> Option<f64> {
        let mut values = self.values.clone();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied()
    }
}

/// One row of a table.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Row {
    /// The rival.
    pub name: String,
    /// A cell for each size.
    pub cells: Vec<Cell>,
}

/// A table.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Table {
    /// The meaning of its figures.
    pub title: String,
    /// The sizes.
    pub columns: Vec<String>,
    /// The rivals.
    pub rows: Vec<Row>,
}

impl Table {
    /// The table in Markdown.
    pub fn markdown(&self) -> String {
        let mut text = format!("### {}\n\n| |", self.title);
        self.columns.iter().for_each(|column| text += &format!(" {column} |"));
        text += "\n|---|";
        self.columns.iter().for_each(|_| text += "---:|");
        text += "\n";
        for row in &self.rows {
            text += &format!("| {} |", row.name);
            row.cells.iter().for_each(|cell| text += &format!(" {} |", figure(cell.median())));
            text += "\n";
        }
        text
    }
}

/// Three digits.
fn figure(value: Option<f64>) -> String {
    match value {
        None => "-".to_owned(),
        Some(value) if value >= 100.0 => format!("{value:.0}"),
        Some(value) if value >= 10.0 => format!("{value:.1}"),
        Some(value) => format!("{value:.2}"),
    }
}

/// The table of deaths.
pub fn deaths(rows: &[(String, Result<Death, String>)]) -> String {
    let mut text = String::from(
        "### A receiver is killed (SIGKILL) while its sender sends\n\n\
         | | longest pause of the sender | left when all have ended |\n|---|---:|---:|\n",
    );
    for (name, death) in rows {
        let (pause, left) = match death {
            Err(error) => (error.clone(), "-".to_owned()),
            Ok(death) => {
                let pause = match (&death.error, death.gap_ms) {
                    (Some(error), _) => format!("an error: {error}"),
                    (None, Some(gap)) => format!("{} ms", figure(Some(gap))),
                    (None, None) => "it hangs (3 s)".to_owned(),
                };
                (pause, format!("{} files, {} KiB", death.left.0, death.left.1 / 1024))
            }
        };
        text += &format!("| {name} | {pause} | {left} |\n");
    }
    text
}

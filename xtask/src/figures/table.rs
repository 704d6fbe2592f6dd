//! Rows for people.

use super::row::{Bench, Promise};

/// The promises.
#[must_use]
pub fn promises(rows: &[Promise]) -> String {
    let head = ["met", "runs", "failures", "promise", "figure", "goal", "test"].map(String::from);
    let cells = rows.iter().map(|row| {
        [
            yes(Some(row.met)),
            row.runs.to_string(),
            row.failures.to_string(),
            row.promise.clone(),
            row.figure.clone(),
            row.goal.clone(),
            row.test.clone(),
        ]
    });
    align(head, cells)
}

/// The measurements.
#[must_use]
pub fn benches(rows: &[Bench]) -> String {
    let head = ["met", "name", "value", "unit", "limit", "ratio", "goal"].map(String::from);
    let cells = rows.iter().map(|row| {
        [
            yes(row.met),
            row.name.clone(),
            number(row.value),
            row.unit.clone(),
            number(row.limit),
            number(row.ratio),
            row.goal.clone().unwrap_or_else(|| "-".into()),
        ]
    });
    align(head, cells)
}

fn yes(met: Option<bool>) -> String {
    match met {
        Some(true) => "yes",
        Some(false) => "NO",
        None => "-",
    }
    .into()
}

/// Three significant digits below a hundred, whole numbers above.
pub(super) fn number(value: Option<f64>) -> String {
    match value {
        None => "-".into(),
        Some(value) if value.abs() >= 100.0 => format!("{value:.0}"),
        Some(value) if value.abs() >= 10.0 => format!("{value:.1}"),
        Some(value) => format!("{value:.2}"),
    }
}

fn align<const N: usize>(head: [String; N], rows: impl Iterator<Item = [String; N]>) -> String {
    let lines: Vec<[String; N]> = std::iter::once(head).chain(rows).collect();
    let mut widths = [0; N];
    for line in &lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let print = |line: &[String; N]| {
        let cells: Vec<String> =
            line.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        cells.join("  ").trim_end().to_owned()
    };
    lines.iter().map(print).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let row =
            |name: &str, value| Bench::new(name, "1/s", value).beside(4550.0).asked(">= 0.6", value > 2730.0);
        let text = benches(&[row("signatures", 3000.0), row("a", 12.0)]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "met  name        value  unit  limit  ratio  goal");
        assert_eq!(lines[1], "yes  signatures  3000   1/s   4550   0.66   >= 0.6");
        assert_eq!(lines[2], "NO   a           12.0   1/s   4550   0.00   >= 0.6");
    }
}

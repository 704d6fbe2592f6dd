//! The measurements as a page to keep: every series as a plot (SVG), every row in a table. It stands alone: no script, no
//! font, nothing to fetch.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use plotters::prelude::*;

use super::row::Bench;

const SIZE: (u32, u32) = (640, 320);
const COLOURS: [RGBColor; 4] =
    [RGBColor(31, 89, 163), RGBColor(190, 80, 20), RGBColor(30, 120, 70), RGBColor(120, 50, 140)];
const LIMIT: RGBColor = RGBColor(150, 150, 150);
const STYLE: &str = "body{font:15px/1.4 sans-serif;max-width:72em;margin:2em auto;padding:0 1em}\
    table{border-collapse:collapse}td,th{padding:.15em .8em;text-align:left;border-bottom:1px solid #ddd}\
    td.n{text-align:right;font-variant-numeric:tabular-nums}.no{color:#b00;font-weight:bold}\
    figure{display:inline-block;margin:0 1em 1em 0}";

/// One plot: its unit, what `x` counts, and its lines.
struct Plot<'a> {
    unit: &'a str,
    of: &'a str,
    lines: BTreeMap<&'a str, Vec<Spot>>,
}

#[derive(Clone, Copy)]
struct Spot {
    x: f64,
    value: f64,
    limit: Option<f64>,
}

/// The page.
#[must_use]
pub fn page(rows: &[Bench], about: &str) -> String {
    let mut text = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Chancery: measurements</title>\
         <style>{STYLE}</style><h1>Measurements</h1><p>{}</p>\n",
        escaped(about)
    );
    for (title, plot) in plots(rows) {
        if let Some(svg) = drawn(title, &plot) {
            let _ = writeln!(text, "<figure>{svg}</figure>");
        }
    }
    text.push_str("<table><tr><th>met<th>what<th>value<th>unit<th>limit<th>ratio<th>goal</tr>\n");
    for row in rows {
        let met = match row.met {
            Some(true) => "<td>yes",
            Some(false) => "<td class=\"no\">NO",
            None => "<td>",
        };
        let number =
            |value: Option<f64>| value.map(|value| super::table::number(Some(value))).unwrap_or_default();
        let _ = writeln!(
            text,
            "<tr>{met}<td>{}<td class=\"n\">{}<td>{}<td class=\"n\">{}<td class=\"n\">{}<td>{}</tr>",
            escaped(&row.name),
            number(row.value),
            escaped(&row.unit),
            number(row.limit),
            number(row.ratio),
            escaped(row.goal.as_deref().unwrap_or_default()),
        );
    }
    text.push_str("</table></html>\n");
    text
}

fn plots(rows: &[Bench]) -> BTreeMap<&str, Plot<'_>> {
    let mut plots = BTreeMap::new();
    for row in rows {
        let (Some(point), Some(value)) = (&row.point, row.value) else { continue };
        let empty = || Plot { unit: &row.unit, of: &point.of, lines: BTreeMap::new() };
        let plot = plots.entry(point.plot.as_str()).or_insert_with(empty);
        let spot = Spot { x: point.x as f64, value, limit: row.limit };
        plot.lines.entry(point.line.as_str()).or_default().push(spot);
    }
    plots
}

/// Over `x` in decades; a plot of one place says nothing.
fn drawn(title: &str, plot: &Plot<'_>) -> Option<String> {
    let spots = || plot.lines.values().flatten();
    let from = spots().map(|spot| spot.x).fold(f64::INFINITY, f64::min);
    let to = spots().map(|spot| spot.x).fold(0.0, f64::max);
    let top = spots().map(|spot| spot.value.max(spot.limit.unwrap_or(0.0))).fold(0.0, f64::max) * 1.1;
    if from >= to || top <= 0.0 {
        return None;
    }
    let mut svg = String::new();
    draw(&mut svg, title, plot, from..to, top).ok()?;
    Some(svg)
}

fn draw(
    svg: &mut String,
    title: &str,
    plot: &Plot<'_>,
    xs: std::ops::Range<f64>,
    top: f64,
) -> Result<(), Box<dyn std::error::Error>> {
    let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(title, ("sans-serif", 16))
        .margin(10)
        .x_label_area_size(36)
        .y_label_area_size(56)
        .build_cartesian_2d(xs.log_scale(), 0.0..top)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .x_desc(plot.of)
        .y_desc(plot.unit)
        .x_label_formatter(&|x| format!("{x:.0}"))
        .draw()?;
    for ((line, spots), colour) in plot.lines.iter().zip(COLOURS.iter().cycle()) {
        let limits: Vec<_> = spots.iter().filter_map(|spot| Some((spot.x, spot.limit?))).collect();
        if limits.len() == spots.len() {
            chart.draw_series(DashedLineSeries::new(limits, 4, 4, LIMIT.stroke_width(1)))?;
        }
        let values = spots.iter().map(|spot| (spot.x, spot.value));
        chart
            .draw_series(LineSeries::new(values.clone(), colour.stroke_width(2)).point_size(3))?
            .label(*line)
            .legend(|(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2)));
    }
    if plot.lines.len() > 1 {
        chart.configure_series_labels().border_style(BLACK).background_style(WHITE).draw()?;
    }
    drop(chart);
    area.present()?;
    Ok(())
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::super::row::Point;
    use super::*;

    fn row(x: u64, value: f64) -> Bench {
        let point = Point { plot: "a < b".into(), line: "p99".into(), of: "clients".into(), x };
        Bench::new(format!("latency <{x}>"), "ms", value).beside(2.0).at(point)
    }

    #[test]
    fn a_series_is_drawn_and_every_row_is_told() {
        let page = page(&[row(1, 3.0), row(1_000, 50.0)], "two & two");
        assert_eq!(page.matches("<svg").count(), 1);
        assert!(page.contains("two &amp; two") && page.contains("latency &lt;1000&gt;"), "{page}");
        assert!(page.contains("a &lt; b"), "a title is text in the plot too: {page}");
    }

    #[test]
    fn one_place_is_no_plot() {
        assert!(!page(&[row(1, 3.0), Bench::new("n", "s", 1.0)], "").contains("<svg"));
    }
}

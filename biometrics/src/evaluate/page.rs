//! A report as a page to keep: tables, and the curves as SVG. It stands alone: no script, no font, nothing to fetch.

use std::fmt::Write as _;

use plotters::prelude::*;

use super::{Comparison, Curve, Linkability, Preimage, Report};

const SIZE: (u32, u32) = (640, 420);
const COLOURS: [RGBColor; 4] =
    [RGBColor(31, 89, 163), RGBColor(190, 80, 20), RGBColor(30, 120, 70), RGBColor(120, 50, 140)];
const STYLE: &str = "body{font:15px/1.4 sans-serif;max-width:72em;margin:2em auto;padding:0 1em}\
    table{border-collapse:collapse;margin:1em 0}td,th{padding:.15em .8em;text-align:left;border-bottom:1px solid #ddd}\
    td.n{text-align:right;font-variant-numeric:tabular-nums}";

/// The page.
#[must_use]
pub fn page(report: &Report) -> String {
    let mut text = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Chancery: face verification</title>\
         <style>{STYLE}</style><h1>Face verification</h1><p>Models {}, digest {}. {} images, in {} no face was found.</p>\n",
        escaped(&report.models),
        report.digest,
        report.images,
        report.missed
    );
    let mut curves = vec![("listed pairs", &report.pairs)];
    curves.extend(report.all_pairs.as_ref().map(|all| ("every pair of images", all)));
    if let Some(protection) = &report.protection {
        curves.push(("template, own seed, listed pairs", &protection.own_seed));
        curves.push(("template, one seed, listed pairs", &protection.one_seed));
    }
    if let Some(svg) = drawn(&curves) {
        let _ = writeln!(text, "<figure>{svg}<figcaption>Detection error trade-off</figcaption></figure>");
    }
    text.push_str(
        "<table><tr><th>what<th>genuine<th>impostor<th>accuracy<th>EER %<th>FNMR % at FMR 1e-2<th>1e-3<th>1e-4\
         <th>thresholds there</tr>\n",
    );
    if let Some(all) =
        report.protection.as_ref().and_then(|protection| protection.one_seed_all_pairs.as_ref())
    {
        curves.push(("template, one seed, every pair of images", all));
    }
    for (name, comparison) in &curves {
        row(&mut text, name, comparison);
    }
    text.push_str(
        "</table>\n<p>In brackets: 95 % intervals. A star: too few impostors to see that FMR.</p>\n",
    );
    if let Some(protection) = &report.protection {
        let _ = writeln!(
            text,
            "<h2>Template</h2><p>{}. Accepted from {} agreeing hashes.</p><table>",
            escaped(&protection.scheme),
            protection.agreement
        );
        linked(&mut text, "between versions", &protection.versions);
        linked(&mut text, "between tenants", &protection.tenants);
        turned_back(&mut text, "with its seed", &protection.with_seed);
        turned_back(&mut text, "without its seed", &protection.without_seed);
        let _ = writeln!(
            text,
            "<tr><td>renewed templates accepted against the old<td>{} of {}</tr></table>",
            protection.renewed_accepted, protection.renewed
        );
    }
    text.push_str("<h2>Refused by the quality gate</h2><table>\n");
    for (code, count) in &report.gate {
        let _ = writeln!(text, "<tr><td>{code}<td class=\"n\">{count}</tr>");
    }
    text.push_str("</table></html>\n");
    text
}

fn row(text: &mut String, name: &str, comparison: &Comparison) {
    let percent = |rate: f64, interval: Option<(f64, f64)>| match interval {
        Some((low, high)) => format!("{:.2} [{:.2}, {:.2}]", 100.0 * rate, 100.0 * low, 100.0 * high),
        None => format!("{:.2}", 100.0 * rate),
    };
    let accuracy = comparison.accuracy.map(|part| format!("{:.2} %", 100.0 * part)).unwrap_or_default();
    let _ = write!(
        text,
        "<tr><td>{name}<td class=\"n\">{}<td class=\"n\">{}<td class=\"n\">{accuracy}<td class=\"n\">{}",
        comparison.genuine,
        comparison.impostor,
        percent(comparison.eer.rate, comparison.eer.interval)
    );
    for at in &comparison.at {
        let star = if at.resolved { "" } else { "*" };
        let _ = write!(text, "<td class=\"n\">{}{star}", percent(at.fnmr, at.interval));
    }
    let thresholds: Vec<_> = comparison.at.iter().map(|at| format!("{:.3}", at.threshold)).collect();
    let _ = writeln!(text, "<td>{}</tr>", thresholds.join(", "));
}

fn linked(text: &mut String, name: &str, linkability: &Linkability) {
    let Linkability { d_sys, floor, mated, non_mated } = linkability;
    let _ = writeln!(
        text,
        "<tr><td>D_sys {name}<td>{d_sys:.3}, of which {floor:.3} is the sample's size ({mated} mated, {non_mated} not)</tr>"
    );
}

fn turned_back(text: &mut String, name: &str, preimage: &Preimage) {
    let Preimage { cosine, largest, accepted, tried } = preimage;
    let _ = writeln!(
        text,
        "<tr><td>embedding estimated {name}<td>cosine {cosine:.3} (largest {largest:.3}), accepted {accepted} of {tried}</tr>"
    );
}

/// FNMR over FMR, both logarithmic.
fn drawn(curves: &[(&str, &Comparison)]) -> Option<String> {
    let floor = |curve: &Curve| curve.last().map_or(1e-3, |point| point.fmr.max(1e-6));
    let least = curves.iter().map(|(_, comparison)| floor(&comparison.curve)).fold(1e-2, f64::min);
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        root.fill(&WHITE).ok()?;
        let mut chart = ChartBuilder::on(&root)
            .margin(12)
            .x_label_area_size(36)
            .y_label_area_size(56)
            .build_cartesian_2d((least..1.0).log_scale(), (1e-4..1.0).log_scale())
            .ok()?;
        let decimal = |rate: &f64| format!("{rate:.0e}");
        chart
            .configure_mesh()
            .x_desc("false match rate")
            .y_desc("false non-match rate")
            .x_label_formatter(&decimal)
            .y_label_formatter(&decimal)
            .draw()
            .ok()?;
        for ((name, comparison), colour) in curves.iter().zip(COLOURS) {
            let points = comparison.curve.iter().map(|point| (point.fmr.max(least), point.fnmr.max(1e-4)));
            chart
                .draw_series(LineSeries::new(points, colour))
                .ok()?
                .label(*name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 14, y)], colour));
        }
        chart.configure_series_labels().background_style(WHITE).border_style(BLACK).draw().ok()?;
        root.present().ok()?;
    }
    Some(svg)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

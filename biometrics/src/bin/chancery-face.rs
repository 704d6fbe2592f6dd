//! `chancery-face evaluate`: what the models do on an operator's own images, as JSON and as a page. Data goes to stdout, talk to
//! stderr. It keeps nothing of the images.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use chancery_biometrics::evaluate::{self, Comparison, EvaluateError, Report, Wanted};
use chancery_biometrics::pipeline::Pipeline;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "chancery-face", about = "Calibrates the face check")]
struct Arguments {
    #[command(subcommand)]
    act: Act,
}

#[derive(Subcommand)]
enum Act {
    /// Measures errors on pairs of images, and sets thresholds
    Evaluate {
        /// The folder of models, with their manifest
        #[arg(long)]
        models: PathBuf,
        /// The folder that the pairs' paths are relative to
        #[arg(long)]
        images: PathBuf,
        /// Tab-separated, a heading, then: path, path, 1 for one person or 0, optionally the fold
        #[arg(long)]
        pairs: PathBuf,
        /// Only the first so many pairs of each kind
        #[arg(long)]
        limit: Option<usize>,
        /// Every pair of two images too; people are told apart by the folder an image is in
        #[arg(long)]
        all_pairs: bool,
        /// The protected template too
        #[arg(long)]
        template: bool,
        /// The report as JSON on stdout
        #[arg(long)]
        json: bool,
        /// The report as a page
        #[arg(long)]
        html: Option<PathBuf>,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse().act) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            talk(&format!("chancery-face: {}", told(&*error)));
            ExitCode::FAILURE
        }
    }
}

fn run(act: Act) -> Result<(), Box<dyn std::error::Error>> {
    let Act::Evaluate { models, images, pairs, limit, all_pairs, template, json, html } = act;
    let mut pairs = evaluate::pairs(&pairs)?;
    if let Some(limit) = limit {
        let mut left = [limit; 2];
        pairs.retain(|pair| {
            let Some(left) = left.get_mut(usize::from(pair.same)) else { return false };
            let kept = *left > 0;
            *left = left.saturating_sub(1);
            kept
        });
    }
    let pipeline = Pipeline::load(&models).map_err(EvaluateError::from)?;
    let wanted = Wanted { all_pairs, protection: template };
    let report = evaluate::run(&pipeline, &images, &pairs, wanted, &mut talk)?;
    if let Some(html) = html {
        std::fs::write(html, evaluate::page(&report))?;
    }
    let text = if json { serde_json::to_string_pretty(&report)? } else { summary(&report) };
    writeln!(std::io::stdout(), "{text}")?;
    Ok(())
}

fn summary(report: &Report) -> String {
    let mut lines = vec![format!(
        "{} images, {} without a face; the gate refuses {:?}",
        report.images, report.missed, report.gate
    )];
    lines.push(line("pairs", &report.pairs));
    lines.extend(report.all_pairs.as_ref().map(|all| line("every pair", all)));
    if let Some(protection) = &report.protection {
        lines.push(line("template, own seed", &protection.own_seed));
        lines.push(line("template, one seed", &protection.one_seed));
        lines.extend(
            protection.one_seed_all_pairs.as_ref().map(|all| line("template, one seed, every pair", all)),
        );
        lines.push(format!("versions {:?}\ntenants {:?}", protection.versions, protection.tenants));
        lines.push(format!("with seed {:?}\nwithout {:?}", protection.with_seed, protection.without_seed));
        lines.push(format!(
            "renewed templates accepted against the old: {} of {}",
            protection.renewed_accepted, protection.renewed
        ));
    }
    lines.join("\n")
}

fn line(name: &str, comparison: &Comparison) -> String {
    let percent = |rate: f64| format!("{:.2} %", 100.0 * rate);
    let between = |interval: Option<(f64, f64)>| {
        interval.map(|(low, high)| format!(" [{}, {}]", percent(low), percent(high))).unwrap_or_default()
    };
    let mut text = format!("{name}: {} genuine, {} impostor", comparison.genuine, comparison.impostor);
    if let Some(accuracy) = comparison.accuracy {
        text += &format!("; accuracy {}", percent(accuracy));
    }
    text += &format!("; EER {}{}", percent(comparison.eer.rate), between(comparison.eer.interval));
    for at in &comparison.at {
        text += &format!(
            "; FNMR {}{} at FMR {:e}{} from {:.4}",
            percent(at.fnmr),
            between(at.interval),
            at.asked,
            if at.resolved { "" } else { " (too few impostors)" },
            at.threshold
        );
    }
    text
}

fn talk(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// An error and what it stems from.
fn told(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text += &format!(": {error}");
        source = error.source();
    }
    text
}

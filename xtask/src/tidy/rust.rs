//! How a Rust file of this house looks. Code is looked at without its comments and literals where a rule is about
//! code, and whole where it is about text.

use super::{File, Finding};

/// Longest file, in lines.
const LINES: usize = 600;
/// Longer than this draws a warning.
const LINES_WARNED: usize = 400;
/// Longest opening `//!`, in lines.
const OPENING_LINES: usize = 6;

const STEMS: &[&str] = &["utils", "util", "common", "helpers", "helper", "manager", "misc"];
// Written in two halves, so that this file is not its own finding.
const MARKS: &[&str] = &[concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X"), concat!("HA", "CK")];
const UNDONE: &[&str] = &[concat!("to", "do!"), concat!("unimpl", "emented!")];
const MACHINE_PATHS: &[&str] = &[concat!("/", "home/"), concat!("/", "root/"), concat!("/", "work/")];
const SCRATCH_PATH: &str = concat!("/", "tmp/");

/// Where `unsafe` may be written, and why.
const UNSAFE: &[(&str, &str)] = &[
    ("secret/", "locked, unswappable memory is made by system calls"),
    (
        "sim/src/machine/calls.rs",
        "a simulated machine answers the C library's calls, which take raw pointers",
    ),
    ("hsm/src/worker/module.rs", "`cryptoki` takes the reserved argument of `C_Initialize` as a raw pointer"),
];

/// What one file gave.
#[derive(Clone, Debug, Default)]
pub struct Looked {
    /// Breaches.
    pub findings: Vec<Finding>,
    /// Allowed still.
    pub warnings: Vec<Finding>,
}

/// Looks at one file.
#[must_use]
pub fn check(file: &File) -> Looked {
    let mut looked = Looked::default();
    shape(file, &mut looked);
    let code = code_only(&file.text);
    for (number, (line, code)) in file.text.lines().zip(code.lines()).enumerate() {
        let place = format!("{}:{}", file.path, number + 1);
        let mut found = |rule, what: String| looked.findings.push(Finding::new(rule, &place, what));
        for mark in MARKS.iter().filter(|mark| has_word(line, mark)) {
            found("marks", format!("`{mark}` does not stay on main: do it, or open an issue"));
        }
        for mark in UNDONE.iter().filter(|mark| code.contains(**mark)) {
            found("marks", format!("`{mark}`: nothing is left undone"));
        }
        if code.contains(concat!("fn ge", "t_")) {
            found("names", "a reader is named after what it answers, without `get`".into());
        }
        if code.contains(concat!("#[ign", "ore")) {
            found("ignored", "an ignored test guards nothing: give it a size that fits".into());
        }
        let mut words = [concat!("uns", "afe"), concat!("uns", "afe_code")].into_iter();
        if words.any(|word| has_word(code, word))
            && !UNSAFE.iter().any(|(place, _)| file.path.starts_with(place))
        {
            found("unsafe", "only `secret` writes it, or a file listed with its reason (UNSAFE)".into());
        }
        for path in MACHINE_PATHS.iter().filter(|path| has_path(line, path)) {
            found("paths", format!("`{path}` belongs to one machine"));
        }
        if has_path(line, SCRATCH_PATH) && !is_test(&file.path, &file.text, number) {
            found("paths", format!("`{SCRATCH_PATH}` is not ours to choose: ask for a temporary folder"));
        }
    }
    looked
}

fn shape(file: &File, looked: &mut Looked) {
    let opening = opening_lines(&file.text);
    let mut found = |rule, what: String| looked.findings.push(Finding::new(rule, &file.path, what));
    if opening == 0 {
        found(
            "opening",
            "opens without `//!`: what it holds, what it trusts, what breaks if it is wrong".into(),
        );
    }
    if opening > OPENING_LINES {
        found("opening", format!("opens with {opening} lines of `//!`; {OPENING_LINES} at most"));
    }
    let stem = file.path.rsplit('/').find_map(|part| part.strip_suffix(".rs")).unwrap_or_default();
    let folder = file.path.rsplit('/').nth(1).unwrap_or_default();
    for name in [stem, folder].into_iter().filter(|name| STEMS.contains(name)) {
        found("names", format!("`{name}` says nothing: name it after the idea it holds"));
    }
    let lines = file.text.lines().count();
    if lines > LINES {
        found("length", format!("{lines} lines; {LINES} at most: a file holds one idea"));
    } else if lines > LINES_WARNED {
        looked.warnings.push(Finding::new(
            "length",
            &file.path,
            format!("{lines} lines; aim under {LINES_WARNED}"),
        ));
    }
}

/// Lines of the opening `//!`; blank lines and examples do not count.
fn opening_lines(text: &str) -> usize {
    let mut fenced = false;
    text.lines()
        .map_while(|line| line.strip_prefix("//!"))
        .filter(|line| {
            let fence = line.trim_start().starts_with("```");
            fenced ^= fence;
            !fenced && !fence && !line.trim().is_empty()
        })
        .count()
}

/// Test code: a file below `tests/`, or what follows the test module's mark, which comes last in a file.
fn is_test(path: &str, text: &str, line: usize) -> bool {
    path.starts_with("tests/")
        || path.contains("/tests/")
        || text.lines().take(line).any(|line| line.trim_start().starts_with("#[cfg(test)]"))
}

fn has_word(line: &str, word: &str) -> bool {
    let part_of_word = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line.get(..at).and_then(|text| text.chars().next_back());
        let after = line.get(at + word.len()..).and_then(|text| text.chars().next());
        !before.is_some_and(part_of_word) && !after.is_some_and(part_of_word)
    })
}

/// True where `path` begins an absolute path, and is not the middle of a longer one or of a URL.
fn has_path(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(at, _)| {
        !line
            .get(..at)
            .and_then(|text| text.chars().next_back())
            .is_some_and(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '}' | '/'))
    })
}

/// The text with comments and the insides of literals blanked, line for line.
fn code_only(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let blank =
        |out: &mut String, part: &str| out.extend(part.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
    while let Some(first) = rest.chars().next() {
        let after_word = out.chars().next_back().is_some_and(|c| c.is_alphanumeric() || c == '_');
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            block_comment(rest)
        } else if let Some(length) = (!after_word).then(|| raw_string(rest)).flatten() {
            length
        } else if first == '"' {
            quoted(rest, '"')
        } else if first == '\'' {
            character(rest)
        } else {
            out.push(first);
            rest = rest.get(first.len_utf8()..).unwrap_or_default();
            continue;
        };
        let (part, left) = rest.split_at_checked(length).unwrap_or((rest, ""));
        blank(&mut out, part);
        rest = left;
    }
    out
}

fn block_comment(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        if rest.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with("*/") {
            depth = depth.saturating_sub(1);
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// The length of `r"..."`, `br#"..."#` and so on, when `text` begins with one.
fn raw_string(text: &str) -> Option<usize> {
    let body = text.strip_prefix('b').unwrap_or(text).strip_prefix('r')?;
    let hashes = body.bytes().take_while(|byte| *byte == b'#').count();
    let open = body.get(hashes..)?.strip_prefix('"')?;
    let close = format!("\"{}", "#".repeat(hashes));
    let end = open.find(&close)? + close.len();
    Some(text.len() - open.len() + end)
}

fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        if escaped {
            escaped = false;
        } else if c == '\\' {
            escaped = true;
        } else if c == quote {
            return at + quote.len_utf8();
        }
    }
    text.len()
}

/// A character literal; a lifetime is one quote and nothing more.
fn character(text: &str) -> usize {
    let mut chars = text.chars().skip(1);
    match (chars.next(), chars.next()) {
        (Some('\\'), _) => quoted(text, '\''),
        (Some(c), Some('\'')) => 2 + c.len_utf8(),
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(path: &str, text: &str) -> Vec<&'static str> {
        let file = File { path: path.into(), text: text.into() };
        check(&file).findings.iter().map(|finding| finding.rule).collect()
    }

    fn line(text: &str) -> Vec<&'static str> {
        rules("core/src/a.rs", &format!("//! Opening.\n{text}\n"))
    }

    #[test]
    fn a_clean_file_gives_nothing() {
        assert_eq!(line("pub fn now() -> u64 { 0 }"), [""; 0]);
    }

    #[test]
    fn every_rule_can_fail() {
        let said = |parts: [&str; 2]| parts.concat();
        assert_eq!(rules("core/src/a.rs", "pub fn a() {}\n"), ["opening"]);
        assert_eq!(rules("core/src/a.rs", &"//! x\n".repeat(7)), ["opening"]);
        assert_eq!(
            rules("core/src/a.rs", "//! ```\n//! a();\n//! ```\n"),
            ["opening"],
            "an example says nothing"
        );
        assert_eq!(rules("core/src/utils.rs", "//! x\n"), ["names"]);
        assert_eq!(rules("core/src/helpers/mod.rs", "//! x\n"), ["names"]);
        assert_eq!(rules("core/src/a.rs", &format!("//! x\n{}", "\n".repeat(LINES))), ["length"]);
        assert_eq!(line(&said(["// TO", "DO later"])), ["marks"]);
        assert_eq!(line(&said(["fn a() { to", "do!() }"])), ["marks"]);
        assert_eq!(line(&said(["fn a() { unimpl", "emented!() }"])), ["marks"]);
        assert_eq!(line(&said(["fn ge", "t_a() {}"])), ["names"]);
        assert_eq!(line(&said(["#[ign", "ore]"])), ["ignored"]);
        assert_eq!(line(&said(["#[ign", "ore = \"slow\"]"])), ["ignored"]);
        assert_eq!(line(&said(["uns", "afe { a() }"])), ["unsafe"]);
        assert_eq!(line(&said(["#![allow(uns", "afe_code)]"])), ["unsafe"]);
        assert_eq!(line(&said(["const A: &str = \"/", "home/a\";"])), ["paths"]);
        assert_eq!(line(&said(["// see /", "work/a"])), ["paths"]);
        assert_eq!(line(&said(["const A: &str = \"/", "tmp/a\";"])), ["paths"]);
    }

    #[test]
    fn long_files_warn_before_they_fail() {
        let file =
            File { path: "core/src/a.rs".into(), text: format!("//! x\n{}", "\n".repeat(LINES_WARNED)) };
        let looked = check(&file);
        assert!(looked.findings.is_empty());
        assert_eq!(looked.warnings.len(), 1);
    }

    #[test]
    fn rules_about_code_do_not_read_comments_or_literals() {
        let word = concat!("uns", "afe");
        assert_eq!(line(&format!("// {word} code is elsewhere")), [""; 0]);
        assert_eq!(line(&format!("const A: &str = \"{word} {{\";")), [""; 0]);
        assert_eq!(line(&format!("const A: &str = r#\"a \" {word}\"#;")), [""; 0]);
        assert_eq!(line(&format!("/* a /* b */ {word} */")), [""; 0]);
        assert_eq!(
            line(&format!("let a = '\"'; {word} {{}}")),
            ["unsafe"],
            "a quote in a character opens no string"
        );
        assert_eq!(
            line(&format!("fn a<'a>(b: &'a str) {{ {word} {{}} }}")),
            ["unsafe"],
            "a lifetime opens nothing"
        );
    }

    #[test]
    fn secret_may_and_tests_may() {
        let word = concat!("uns", "afe");
        assert_eq!(rules("secret/src/a.rs", &format!("//! x\n{word} {{}}\n")), [""; 0]);
        let scratch = concat!("const A: &str = \"/", "tmp/a\";");
        assert_eq!(rules("core/tests/a.rs", &format!("//! x\n{scratch}\n")), [""; 0]);
        assert_eq!(rules("core/src/a.rs", &format!("//! x\n#[cfg(test)]\n{scratch}\n")), [""; 0]);
    }

    #[test]
    fn words_and_paths_are_whole() {
        assert!(!has_word("TODOS", concat!("TO", "DO")));
        assert!(!has_path("example.com/home/x", concat!("/", "home/")));
        assert!(!has_path("target/work/x", concat!("/", "work/")));
    }
}

//! How deep a policy's text nests, read without recursion. Cedar's parser, validator and evaluator recurse over what they
//! read; beyond these bounds a policy could exhaust the stack, which ends the process. So this looks first.

use crate::error::{FindingCode, Findings, Text};

/// LIMIT: brackets within brackets.
pub const BRACKETS: usize = 32;
/// LIMIT: operators of one policy. `a && b && c` nests as deep as it has operators.
pub const OPERATORS: usize = 256;

/// Words that nest what stands around them.
const WORDS: &[&str] = &["if", "has", "like", "in", "is", "when", "unless"];

/// Checks every policy of a file; true when it can be parsed.
pub(crate) fn check(at: Text<'_>, findings: &mut Findings) -> bool {
    let mut shape = Shape::default();
    let mut rest = at.text;
    let mut good = true;
    while let Some((token, after)) = next(rest) {
        let offset = at.text.len().saturating_sub(rest.len());
        rest = after;
        if let Some(message) = shape.take(token) {
            let hint = "split the policy, or name the addresses in a group of the address book";
            findings.add(at, Some(offset), FindingCode::Size, message, hint);
            good = false;
        }
    }
    good
}

#[derive(Default)]
struct Shape {
    brackets: usize,
    operators: usize,
}

impl Shape {
    /// Says so once for each policy, when a bound is passed.
    fn take(&mut self, token: &str) -> Option<String> {
        match token {
            "(" | "[" | "{" => {
                self.brackets = self.brackets.saturating_add(1);
                return (self.brackets == BRACKETS + 1)
                    .then(|| format!("brackets nest deeper than {BRACKETS}"));
            }
            ")" | "]" | "}" => self.brackets = self.brackets.saturating_sub(1),
            // A semicolon ends a policy and stands nowhere else; a stray one is a syntax error a moment later.
            ";" => *self = Self::default(),
            "&" | "|" | "+" | "-" | "*" | "!" | "." => return self.operator(),
            word if WORDS.contains(&word) => return self.operator(),
            _ => {}
        }
        None
    }

    fn operator(&mut self) -> Option<String> {
        self.operators = self.operators.saturating_add(1);
        (self.operators == OPERATORS + 1).then(|| format!("the policy has more than {OPERATORS} operators"))
    }
}

/// The next token: a word, a string, or one character; `&&` and `||` as one. Comments and spaces are passed over.
fn next(mut text: &str) -> Option<(&str, &str)> {
    loop {
        text = text.trim_start();
        match text.strip_prefix("//") {
            Some(comment) => text = comment.split_once(['\n', '\r']).map_or("", |(_, rest)| rest),
            None => break,
        }
    }
    let first = text.chars().next()?;
    let end = match first {
        '"' => string_end(text),
        '&' | '|' => {
            if text.get(1..2) == text.get(..1) {
                2
            } else {
                1
            }
        }
        _ if is_word(first) => text.find(|c| !is_word(c)).unwrap_or(text.len()),
        _ => first.len_utf8(),
    };
    let (token, rest) = text.split_at_checked(end)?;
    Some((if matches!(token, "&&" | "||") { text.get(..1)? } else { token }, rest))
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// Behind the closing quote; the whole text where there is none.
fn string_end(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passes(text: &str) -> bool {
        check(Text { file: "x", text }, &mut Findings::default())
    }

    #[test]
    fn bounds_are_exact() {
        assert!(passes(&"(".repeat(BRACKETS)) && !passes(&"[".repeat(BRACKETS + 1)));
        for operator in ["&&", "||", "+ ", "! ", ".x", " if ", " has "] {
            assert!(passes(&operator.repeat(OPERATORS)), "{operator}");
            assert!(!passes(&operator.repeat(OPERATORS + 1)), "{operator}");
        }
        for pair in ["()", "[]", "{}"] {
            assert!(passes(&pair.repeat(BRACKETS + 1)), "{pair} stand side by side, not within each other");
        }
        assert!(
            passes(&format!("{};{}", "(".repeat(BRACKETS), "(".repeat(BRACKETS))),
            "each policy on its own"
        );
    }

    #[test]
    fn strings_and_comments_do_not_nest() {
        let brackets = "(".repeat(BRACKETS + 1);
        assert!(passes(&format!("\"{brackets}\" // {brackets}\n \"\\\"{brackets}\" annotation_if_has_in")));
        assert!(!passes(&format!("\"\\\\\" {brackets}")), "an escaped backslash does not escape the quote");
        assert!(!passes(&format!("// \"\n{brackets}")), "a quote in a comment opens nothing");
        assert!(!passes(&format!("// x\r{brackets}")), "whatever ends a comment for Cedar must end it here");
    }
}

//! RFC 8785 canonical JSON, the one encoding that is hashed here. RFC 8785 writes every number as a double, so two
//! integers above 2^53 can meet in one text: such numbers are refused, or one digest would stand for two requests.
//! Repeated object names are refused too: parsers disagree about which one counts.

use std::fmt;

use serde::Serialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use crate::AuditError;

/// The largest integer that RFC 8785 (by RFC 7493) carries exactly: 2^53 - 1.
pub const SAFE_INTEGER: u64 = (1 << 53) - 1;

/// LIMIT: lists and objects within one another that are sorted the short way; `serde_json` reads no more.
const DEPTH: usize = 128;

/// The canonical bytes of a JSON value.
///
/// # Errors
/// [`AuditError::Number`] for a number outside ±(2^53 - 1).
pub fn canonical(value: &Value) -> Result<Vec<u8>, AuditError> {
    if !numbers_are_exact(value) {
        return Err(AuditError::Number);
    }
    encode(value)
}

/// The canonical bytes of a typed record, whose own types keep its numbers within 2^53.
pub(crate) fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, AuditError> {
    let plain = serde_json::to_vec(value).map_err(AuditError::Encode)?;
    match sorted(&plain) {
        Some(canonical) => Ok(canonical),
        None => serde_json_canonicalizer::to_vec(value).map_err(AuditError::Encode),
    }
}

/// The canonical form of what `serde_json` wrote, where only the order of members can differ: texts, literals, short whole
/// numbers, and lists and objects of them under plain names, as nearly all is that is hashed here.
fn sorted(plain: &[u8]) -> Option<Vec<u8>> {
    let mut sorter = Sorter { rest: plain, sorted: Vec::with_capacity(plain.len()) };
    sorter.value(DEPTH)?;
    sorter.rest.is_empty().then_some(sorter.sorted)
}

struct Sorter<'a> {
    rest: &'a [u8],
    sorted: Vec<u8>,
}

impl Sorter<'_> {
    fn value(&mut self, depth: usize) -> Option<()> {
        match self.take()? {
            b'"' => self.text(),
            b'[' => self.list(depth.checked_sub(1)?),
            b'{' => self.object(depth.checked_sub(1)?),
            // Fifteen digits are below 2^53. What follows in a number that is not whole fits nowhere below.
            b'0'..=b'9' | b'-' => (self.take_while(u8::is_ascii_digit) < 15).then_some(()),
            b'a'..=b'z' => {
                self.take_while(u8::is_ascii_lowercase);
                Some(())
            }
            _ => None,
        }
    }

    fn list(&mut self, depth: usize) -> Option<()> {
        if self.rest.first() == Some(&b']') {
            return self.take().map(drop);
        }
        loop {
            self.value(depth)?;
            match self.take()? {
                b',' => {}
                b']' => return Some(()),
                _ => return None,
            }
        }
    }

    fn object(&mut self, depth: usize) -> Option<()> {
        let mut members = Vec::new();
        let inside = self.sorted.len();
        while self.rest.first() != Some(&b'}') {
            let start = self.sorted.len();
            self.name()?;
            self.value(depth)?;
            members.push(start - inside..self.sorted.len() - inside);
            if self.rest.first() == Some(&b',') {
                self.take()?;
            }
        }
        let written = self.sorted.split_off(inside);
        let mut members: Vec<_> = members.into_iter().filter_map(|member| written.get(member)).collect();
        members.sort_unstable();
        self.sorted.extend(members.join(&b','));
        self.take().map(drop)
    }

    /// A plain name and its colon. Up to its quote it has no byte that sorts before one, and none that sorts otherwise in
    /// UTF-16.
    fn name(&mut self) -> Option<()> {
        let quote = self.take()?;
        self.take_while(|byte| matches!(byte, b'#'..=b'[' | b']'..=b'~'));
        (quote == b'"' && self.take()? == b'"' && self.take()? == b':').then_some(())
    }

    /// A text from after its first quote.
    fn text(&mut self) -> Option<()> {
        loop {
            self.take_while(|byte| !matches!(byte, b'"' | b'\\'));
            match self.take()? {
                b'"' => return Some(()),
                _ => self.take()?,
            };
        }
    }

    fn take(&mut self) -> Option<u8> {
        let (byte, rest) = self.rest.split_first()?;
        self.sorted.push(*byte);
        self.rest = rest;
        Some(*byte)
    }

    /// How many there were.
    fn take_while(&mut self, of: impl Fn(&u8) -> bool) -> usize {
        let end = self.rest.iter().position(|byte| !of(byte)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.sorted.extend_from_slice(taken);
        self.rest = rest;
        end
    }
}

pub(crate) fn numbers_are_exact(value: &Value) -> bool {
    match value {
        Value::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(signed), _, _) => signed.unsigned_abs() <= SAFE_INTEGER,
            (None, Some(unsigned), _) => unsigned <= SAFE_INTEGER,
            // A whole number too long for 64 bits was parsed to a double and has lost digits already.
            #[expect(clippy::cast_precision_loss, reason = "2^53 - 1 is exact as a double")]
            (None, None, Some(double)) => double.abs() <= SAFE_INTEGER as f64,
            (None, None, None) => false,
        },
        Value::Array(items) => items.iter().all(numbers_are_exact),
        Value::Object(map) => map.values().all(numbers_are_exact),
        Value::Null | Value::Bool(_) | Value::String(_) => true,
    }
}

/// Whether no object in this JSON text repeats a name. Nesting is bounded by `serde_json` (128).
///
/// # Errors
/// The syntax error, or the first repeated name.
pub(crate) fn refuse_repeated_names(bytes: &[u8]) -> Result<(), serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    Walk.deserialize(&mut deserializer)?;
    deserializer.end()
}

struct Walk;

impl<'de> DeserializeSeed<'de> for Walk {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element_seed(Self)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let mut names = std::collections::HashSet::new();
        while let Some(name) = members.next_key::<String>()? {
            if names.contains(&name) {
                return Err(A::Error::custom(format_args!("the name `{name}` is repeated")));
            }
            names.insert(name);
            members.next_value_seed(Self)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn matches_the_example_of_rfc_8785() {
        // RFC 8785, section 3.2.2 and 3.2.3.
        let value: Value = serde_json::from_str(
            r#"{"numbers":[333333333.33333329,1E30,4.50,2e-3,0.000000000000000000000000001],
                "string":"\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/","literals":[null,true,false]}"#,
        )
        .unwrap();
        let text = "{\"literals\":[null,true,false],\"numbers\":[333333333.3333333,1e+30,4.5,0.002,1e-27],\
                    \"string\":\"€$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\"}";
        assert_eq!(encode(&value).unwrap(), text.as_bytes());
    }

    #[test]
    fn only_what_needs_no_more_than_sorting_is_sorted() {
        for (plain, canonical) in [
            (
                &br#"{"b":[["x",-1]],"a":"]}\\\",","a_":12,"A":{}}"#[..],
                &br#"{"A":{},"a":"]}\\\",","a_":12,"b":[["x",-1]]}"#[..],
            ),
            (br#"[{"c":true,"b":{"e":[],"d":null}},[],""]"#, br#"[{"b":{"d":null,"e":[]},"c":true},[],""]"#),
            (br#"{"a$":1,"a":2}"#, br#"{"a":2,"a$":1}"#),
        ] {
            assert_eq!(sorted(plain).as_deref(), Some(canonical), "{}", String::from_utf8_lossy(plain));
        }
        let deep = ["[".repeat(DEPTH + 1), "]".repeat(DEPTH + 1)].concat();
        for plain in [
            &br#"{"a":1.0}"#[..],
            br#"[-0.0]"#,
            br#"{"a":1e3,"b":1}"#,
            br#"{"a":1234567890123456}"#,
            br#"{"a!":1}"#,
            br#"{"a\\":1}"#,
            br#"{"a\u0000":1}"#,
            "{\"\u{e9}\":1}".as_bytes(),
            deep.as_bytes(),
        ] {
            assert_eq!(sorted(plain), None, "{}", String::from_utf8_lossy(plain));
        }
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<i64>().prop_map(Value::from),
            (-2_000_i64..2_000).prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
            "[\\\\\"\u{7f}{}:,\\[\\]\u{0}-\u{1f}]{0,6}".prop_map(Value::from),
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 12, 4, |inner| {
            prop_oneof![prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from), objects(inner),]
        })
    }

    fn objects(members: impl Strategy<Value = Value>) -> impl Strategy<Value = Value> {
        let name = prop_oneof![4 => "[#$A-Za-c_~]{0,2}", 1 => "[!-%A-b_~\u{e9}\u{ff61}\u{10000}]{0,3}"];
        prop::collection::vec((name, members), 0..4)
            .prop_map(|members| Value::Object(members.into_iter().collect()))
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_short_way_is_the_long_way(value in objects(values())) {
            let long = serde_json_canonicalizer::to_vec(&value).unwrap();
            if let Some(short) = sorted(&serde_json::to_vec(&value).unwrap()) {
                prop_assert_eq!(short, long);
            }
        }
    }

    #[test]
    fn numbers_that_would_be_rounded_are_refused() {
        assert!(canonical(&json!({"a": [SAFE_INTEGER]})).is_ok());
        for text in ["9007199254740993", "-9007199254740993", "18446744073709551617", "1e300"] {
            let value: Value = serde_json::from_str(&format!("{{\"a\":[{text}]}}")).unwrap();
            assert!(matches!(canonical(&value), Err(AuditError::Number)), "{text}");
        }
    }

    #[test]
    fn repeated_names_are_refused_at_any_depth() {
        assert!(refuse_repeated_names(br#"{"a":{"b":1,"c":[{"b":null}]},"b":2.5}"#).is_ok());
        for text in [r#"{"a":1,"a":1}"#, r#"{"x":[{"a":1,"\u0061":1}]}"#, r#"{"a":1} {}"#, "{"] {
            assert!(refuse_repeated_names(text.as_bytes()).is_err(), "{text}");
        }
    }
}

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
    serde_json_canonicalizer::to_vec(value).map_err(AuditError::Encode)
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

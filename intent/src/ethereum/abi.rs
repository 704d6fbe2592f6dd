//! Contract methods and their calldata, read strictly: the arguments must have exactly one reading, and encoding them again
//! must give the same bytes. Offsets, padding and bounds are checked before alloy decodes, so a small call cannot unfold
//! into a large value. If it is too lax, a contract may act on other arguments than policy saw.

use alloy_dyn_abi::{DynSolType, DynSolValue, Specifier as _};
use alloy_json_abi::Function;
use alloy_primitives::U256;
use chancery_core::limit;
use serde_json::Value;

use super::{decimal, prefixed_hex};
use crate::IntentError;
use crate::model::Argument;

const WORD: usize = 32;

/// A method, compiled: what its calldata means.
#[derive(Clone, Debug)]
pub(crate) struct Method {
    signature: String,
    /// Name and type of each argument, for people.
    parameters: Vec<(String, String)>,
    inputs: DynSolType,
}

impl Method {
    /// Compiles one function of an ABI.
    pub(crate) fn compile(function: &Function) -> Result<Self, String> {
        let signature = function.signature();
        let mut parameters = Vec::with_capacity(function.inputs.len());
        let mut inputs = Vec::with_capacity(function.inputs.len());
        for input in &function.inputs {
            let ty = input.resolve().map_err(|error| format!("`{signature}`: {error}"))?;
            if ty.nesting_depth() > limit::NESTING {
                return Err(format!("`{signature}` nests types deeper than {}", limit::NESTING));
            }
            let ty = plain(ty);
            if !has_size(&ty) {
                return Err(format!("`{signature}` has a type of no size"));
            }
            parameters.push((input.name.clone(), input.selector_type().into_owned()));
            inputs.push(ty);
        }
        let inputs = DynSolType::Tuple(inputs);
        if least_bytes(&inputs) > limit::PAYLOAD_BYTES {
            return Err(format!("`{signature}` takes more than {} bytes", limit::PAYLOAD_BYTES));
        }
        Ok(Self { signature, parameters, inputs })
    }

    /// The signature, such as `transfer(address,uint256)`.
    pub(crate) fn signature(&self) -> &str {
        &self.signature
    }

    /// The arguments in `data`, which is calldata without its selector.
    pub(super) fn decode(&self, data: &[u8]) -> Result<Vec<DynSolValue>, IntentError> {
        let refused =
            |why: &str| IntentError::not_canonical(format!("the arguments of `{}` {why}", self.signature));
        let DynSolType::Tuple(types) = &self.inputs else {
            return Err(refused("are of no known form"));
        };
        if sequence(types.iter(), data) != Some(data.len()) {
            return Err(refused("are not laid out as an encoder lays them out"));
        }
        if types.is_empty() {
            return Ok(Vec::new());
        }
        let value = self.inputs.abi_decode_sequence(data).map_err(|_| refused("do not decode"))?;
        if value.abi_encode_sequence().as_deref() != Some(data) {
            return Err(refused("encode to other bytes"));
        }
        match value {
            DynSolValue::Tuple(values) if values.iter().all(in_range) => Ok(values),
            _ => Err(refused("are out of the range of their types")),
        }
    }

    /// The arguments as they stand in a description.
    pub(super) fn arguments(&self, values: &[DynSolValue]) -> Vec<Argument> {
        self.parameters
            .iter()
            .zip(values)
            .map(|((name, ty), value)| Argument { name: name.clone(), ty: ty.clone(), value: shown(value) })
            .collect()
    }
}

/// A value as JSON: numbers as decimal text, bytes and addresses as `0x` text, arrays and tuples as arrays.
pub(super) fn shown(value: &DynSolValue) -> Value {
    match value {
        DynSolValue::Bool(value) => Value::Bool(*value),
        DynSolValue::Int(value, _) => decimal(value),
        DynSolValue::Uint(value, _) => decimal(value),
        DynSolValue::FixedBytes(word, size) => {
            Value::String(prefixed_hex(word.get(..*size).unwrap_or_default()))
        }
        DynSolValue::Address(address) => Value::String(address.to_string()),
        DynSolValue::Function(function) => Value::String(prefixed_hex(function)),
        DynSolValue::Bytes(bytes) => Value::String(prefixed_hex(bytes)),
        DynSolValue::String(text) => Value::String(text.clone()),
        DynSolValue::Array(values) | DynSolValue::FixedArray(values) | DynSolValue::Tuple(values) => {
            Value::Array(values.iter().map(shown).collect())
        }
        DynSolValue::CustomStruct { prop_names, tuple, .. } => {
            Value::Object(prop_names.iter().cloned().zip(tuple.iter().map(shown)).collect())
        }
    }
}

/// Structs are tuples in calldata; their names play no part.
fn plain(ty: DynSolType) -> DynSolType {
    match ty {
        DynSolType::Array(inner) => DynSolType::Array(Box::new(plain(*inner))),
        DynSolType::FixedArray(inner, size) => DynSolType::FixedArray(Box::new(plain(*inner)), size),
        DynSolType::Tuple(types) | DynSolType::CustomStruct { tuple: types, .. } => {
            DynSolType::Tuple(types.into_iter().map(plain).collect())
        }
        word_or_bytes => word_or_bytes,
    }
}

/// False where a value can take no bytes at all, so that an array of them could have any length for free.
fn has_size(ty: &DynSolType) -> bool {
    match ty {
        DynSolType::Array(inner) => has_size(inner),
        DynSolType::FixedArray(inner, size) => *size > 0 && has_size(inner),
        DynSolType::Tuple(types) => !types.is_empty() && types.iter().all(has_size),
        _ => true,
    }
}

/// The bytes a value takes at the very least, saturating.
fn least_bytes(ty: &DynSolType) -> usize {
    match ty {
        DynSolType::FixedArray(inner, size) => least_bytes(inner).saturating_mul(*size),
        DynSolType::Tuple(types) => types.iter().map(least_bytes).fold(0, usize::saturating_add),
        _ => WORD,
    }
}

/// The bytes a value takes in the head of a sequence.
fn head_bytes(ty: &DynSolType) -> usize {
    if ty.is_dynamic() { WORD } else { least_bytes(ty) }
}

/// The length of the sequence of `types` that `data` starts with, where every tail follows the one before it.
fn sequence<'a>(types: impl Iterator<Item = &'a DynSolType> + Clone, data: &[u8]) -> Option<usize> {
    let mut end = types.clone().try_fold(0_usize, |sum, ty| sum.checked_add(head_bytes(ty)))?;
    if end > data.len() {
        return None;
    }
    let mut head = 0;
    for ty in types {
        if ty.is_dynamic() {
            if number(data, head)? != end {
                return None;
            }
            end = end.checked_add(span(ty, data.get(end..)?)?)?;
        }
        head = head.checked_add(head_bytes(ty))?;
    }
    Some(end)
}

/// The length of the dynamic value of type `ty` that `data` starts with.
fn span(ty: &DynSolType, data: &[u8]) -> Option<usize> {
    match ty {
        DynSolType::Bytes | DynSolType::String => {
            let length = number(data, 0)?;
            let end = WORD.checked_add(length.checked_next_multiple_of(WORD)?)?;
            (end <= data.len()).then_some(end)
        }
        DynSolType::Array(inner) => {
            let count = number(data, 0)?;
            let items = data.get(WORD..)?;
            // LIMIT: each item takes its head, so a count cannot promise more than the data holds.
            if count.checked_mul(head_bytes(inner))? > items.len() {
                return None;
            }
            sequence(std::iter::repeat_n(inner.as_ref(), count), items)?.checked_add(WORD)
        }
        DynSolType::FixedArray(inner, count) => sequence(std::iter::repeat_n(inner.as_ref(), *count), data),
        DynSolType::Tuple(types) => sequence(types.iter(), data),
        _ => None,
    }
}

fn number(data: &[u8], at: usize) -> Option<usize> {
    let word = data.get(at..at.checked_add(WORD)?)?;
    usize::try_from(U256::try_from_be_slice(word)?).ok()
}

/// True where every number fits its type. Decoding keeps the whole word, so bits above the type survive a re-encoding,
/// but a contract would cut them off.
fn in_range(value: &DynSolValue) -> bool {
    match value {
        DynSolValue::Uint(value, bits) => value.bit_len() <= *bits,
        DynSolValue::Int(value, bits) => usize::try_from(value.bits()).is_ok_and(|used| used <= *bits),
        DynSolValue::FixedBytes(word, size) => {
            word.get(*size..).is_some_and(|rest| rest.iter().all(|byte| *byte == 0))
        }
        DynSolValue::Array(values)
        | DynSolValue::FixedArray(values)
        | DynSolValue::Tuple(values)
        | DynSolValue::CustomStruct { tuple: values, .. } => values.iter().all(in_range),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_dyn_abi::JsonAbiExt as _;
    use alloy_primitives::{Address, B256, I256};

    fn method(text: &str) -> (Function, Method) {
        let function = Function::parse(text).unwrap();
        let method = Method::compile(&function).unwrap();
        (function, method)
    }

    fn word(n: u64) -> [u8; 32] {
        U256::from(n).to_be_bytes()
    }

    #[test]
    fn what_alloy_encodes_is_read_back() {
        let (function, method) = method("f(uint8,bytes,(string,int16[])[],address[2],bytes4,bool)");
        let values = [
            DynSolValue::Uint(U256::from(255), 8),
            DynSolValue::Bytes(vec![1; 33]),
            DynSolValue::Array(vec![
                DynSolValue::Tuple(vec![
                    DynSolValue::String("a".into()),
                    DynSolValue::Array(vec![
                        DynSolValue::Int(I256::MINUS_ONE, 16),
                        DynSolValue::Int(I256::ONE, 16)
                    ]),
                ]);
                2
            ]),
            DynSolValue::FixedArray(vec![DynSolValue::Address(Address::repeat_byte(1)); 2]),
            DynSolValue::FixedBytes(B256::right_padding_from(&[1, 2, 3, 4]), 4),
            DynSolValue::Bool(true),
        ];
        let data = function.abi_encode_input_raw(&values).unwrap();
        assert_eq!(method.decode(&data).unwrap(), values);
        assert_eq!(
            serde_json::to_value(method.arguments(&values)).unwrap()[2]["value"],
            serde_json::json!([["a", ["-1", "1"]], ["a", ["-1", "1"]]])
        );
    }

    #[test]
    fn bits_beyond_a_type_are_refused() {
        for (text, word) in [
            ("f(uint8)", word(256)),
            ("f(bool)", word(2)),
            ("f(int8)", word(128)),
            ("f(address)", [1; 32]),
            ("f(bytes4)", [1; 32]),
        ] {
            assert!(method(text).1.decode(&word).is_err(), "{text} would be cut by the contract");
        }
        assert!(method("f(int8)").1.decode(&word(127)).is_ok());
        assert!(method("f(int8)").1.decode(&I256::MINUS_ONE.to_be_bytes::<32>()).is_ok());
    }

    #[test]
    fn offsets_have_one_place_to_point() {
        let (_, method) = method("f(bytes,bytes)");
        let good = [word(64), word(96), word(0), word(0)].concat();
        assert!(method.decode(&good).is_ok());
        for (words, what) in [
            (vec![word(64), word(64), word(0), word(0)], "two tails in one place"),
            (vec![word(64), word(64), word(0)], "two tails in one place, none spare"),
            (vec![word(96), word(64), word(0), word(0)], "tails in the wrong order"),
            (vec![word(96), word(128), word(7), word(0), word(0)], "a gap"),
            (vec![word(64), word(96), word(0), word(0), word(0)], "a word at the end"),
            (vec![word(64), word(96), word(0), word(1)], "a length beyond the end"),
            (vec![word(64), word(96), word(0), [0xff; 32]], "a length beyond memory"),
            (vec![word(64), word(128), word(1), [0xff; 32], word(0)], "dirty padding"),
        ] {
            assert!(method.decode(&words.concat()).is_err(), "{what}");
        }
    }

    #[test]
    fn a_small_call_cannot_unfold_into_a_large_value() {
        // 3,000 outer offsets that all point at one inner array of 1,000: 96 KB that would be three million values.
        let (_, method) = method("f(uint256[][])");
        let mut words = vec![word(32), word(3_000)];
        words.extend(std::iter::repeat_n(word(3_000 * 32), 3_000));
        words.push(word(1_000));
        words.extend(std::iter::repeat_n(word(0), 1_000));
        assert!(method.decode(&words.concat()).is_err());
        assert!(method.decode(&[word(32), [0xff; 32]].concat()).is_err(), "a count beyond memory");
    }

    #[test]
    fn a_method_without_arguments_takes_none() {
        let (_, method) = method("f()");
        assert!(method.decode(&[]).is_ok());
        assert!(method.decode(&[0; 32]).is_err());
    }
}

//! Sets weights of an ONNX file that are too small to matter to zero, in place: processors compute with such numbers
//! many times slower. Walks the file as protobuf (`ModelProto.graph.initializer`), looks at arrays of 32-bit floats alone,
//! and changes no length. What comes out is checked against its SHA-256.

use std::ops::Range;

/// Below this in size a weight is set to zero.
const TINY: f64 = 1e-15;

const MODEL_GRAPH: u64 = 7;
const GRAPH_INITIALIZER: u64 = 5;
const TENSOR_TYPE: u64 = 2;
const TENSOR_FLOATS: u64 = 4;
const TENSOR_RAW: u64 = 9;
const FLOAT: u64 = 1;

/// Does it, and answers how many there were. What cannot be read is left as it is.
pub fn clear_tiny(model: &mut [u8]) -> usize {
    let inner = |bytes: &[u8], within: Range<usize>, number: u64| -> Vec<Range<usize>> {
        fields(bytes, within)
            .into_iter()
            .filter_map(|field| match field {
                Field { number: found, content: Content::Bytes(range) } if found == number => Some(range),
                _ => None,
            })
            .collect()
    };
    let mut weights = Vec::new();
    for graph in inner(model, 0..model.len(), MODEL_GRAPH) {
        for tensor in inner(model, graph, GRAPH_INITIALIZER) {
            let floats = Field { number: TENSOR_TYPE, content: Content::Number(FLOAT) };
            if fields(model, tensor.clone()).contains(&floats) {
                weights.extend(inner(model, tensor.clone(), TENSOR_FLOATS));
                weights.extend(inner(model, tensor, TENSOR_RAW));
            }
        }
    }
    let mut cleared = 0;
    for range in weights {
        for weight in model.get_mut(range).unwrap_or_default().chunks_exact_mut(4) {
            let value = <[u8; 4]>::try_from(&*weight).map(f32::from_le_bytes).unwrap_or_default();
            if value != 0.0 && f64::from(value.abs()) < TINY {
                weight.fill(0);
                cleared += 1;
            }
        }
    }
    cleared
}

#[derive(Debug, PartialEq)]
struct Field {
    number: u64,
    content: Content,
}

#[derive(Debug, PartialEq)]
enum Content {
    Number(u64),
    Bytes(Range<usize>),
}

/// The fields of a message, up to the first that cannot be read.
fn fields(bytes: &[u8], within: Range<usize>) -> Vec<Field> {
    let mut found = Vec::new();
    let Range { start: mut at, end } = within;
    while at < end
        && let Some(field) = field(bytes.get(..end).unwrap_or_default(), &mut at)
    {
        found.push(field);
    }
    found
}

fn field(bytes: &[u8], at: &mut usize) -> Option<Field> {
    let key = varint(bytes, at)?;
    let length = match key & 7 {
        0 => return Some(Field { number: key >> 3, content: Content::Number(varint(bytes, at)?) }),
        1 => 8,
        2 => usize::try_from(varint(bytes, at)?).ok()?,
        5 => 4,
        _ => return None,
    };
    let range = *at..at.checked_add(length)?;
    bytes.get(range.clone())?;
    *at = range.end;
    Some(Field { number: key >> 3, content: Content::Bytes(range) })
}

fn varint(bytes: &[u8], at: &mut usize) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.get(*at)?;
        *at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(number: u8, content: &[u8]) -> Vec<u8> {
        [&[number << 3 | 2, u8::try_from(content.len()).unwrap()], content].concat()
    }

    fn model(kind: u8, weights: &[f32]) -> Vec<u8> {
        let raw: Vec<u8> = weights.iter().flat_map(|weight| weight.to_le_bytes()).collect();
        let tensor = [vec![0x10, kind], bytes(9, &raw)].concat();
        bytes(7, &[bytes(1, b"a node"), bytes(5, &tensor)].concat())
    }

    /// Would catch a weight that counts being lost, or one in an array of integers, which only looks small.
    #[test]
    fn only_tiny_floats_become_zero() {
        let weights = [1.0, 1e-14, -2e-15, 9e-16, -1e-30, 1e-40, 0.0];
        let mut file = model(1, &weights);
        assert_eq!(clear_tiny(&mut file), 3);
        assert_eq!(file, model(1, &[1.0, 1e-14, -2e-15, 0.0, 0.0, 0.0, 0.0]));
        let mut integers = model(7, &weights);
        assert_eq!(clear_tiny(&mut integers), 0);
        assert_eq!(integers, model(7, &weights));
    }

    #[test]
    fn what_is_cut_short_is_left() {
        let whole = model(1, &[1e-30; 4]);
        for length in 0..whole.len() {
            let mut part = whole[..length].to_vec();
            assert_eq!(clear_tiny(&mut part), 0, "{length}");
        }
    }
}

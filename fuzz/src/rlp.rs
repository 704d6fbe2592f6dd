//! RLP read a second time, apart from the house and from alloy: strict, in thirty lines. What both accept must be the same.

/// One item.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Item<'a> {
    Bytes(&'a [u8]),
    List(Vec<Item<'a>>),
}

impl Item<'_> {
    /// The big-endian number in bytes without leading zeros.
    pub(crate) fn number(&self) -> Option<u128> {
        match self {
            Self::Bytes(bytes) if bytes.len() <= 16 && bytes.first() != Some(&0) => {
                Some(bytes.iter().fold(0, |number, byte| number << 8 | u128::from(*byte)))
            }
            _ => None,
        }
    }
}

/// One item and nothing after it, each length in its one form.
pub(crate) fn read(bytes: &[u8]) -> Option<Item<'_>> {
    let (item, rest) = next(bytes)?;
    rest.is_empty().then_some(item)
}

fn next(bytes: &[u8]) -> Option<(Item<'_>, &[u8])> {
    let (first, rest) = bytes.split_first()?;
    let (list, short) = (*first >= 0xc0, first & 0x3f);
    if *first < 0x80 {
        return bytes.split_at_checked(1).map(|(one, rest)| (Item::Bytes(one), rest));
    }
    let (length, rest) = if short < 56 {
        (usize::from(short), rest)
    } else {
        let (digits, rest) = rest.split_at_checked(usize::from(short) - 55)?;
        let length = Item::Bytes(digits).number().and_then(|number| usize::try_from(number).ok())?;
        (length >= 56).then_some((length, rest))?
    };
    let (body, rest) = rest.split_at_checked(length)?;
    if list {
        let (mut items, mut left) = (Vec::new(), body);
        while !left.is_empty() {
            let (item, after) = next(left)?;
            items.push(item);
            left = after;
        }
        return Some((Item::List(items), rest));
    }
    // A byte below 0x80 stands for itself.
    (!matches!(body, [0..=0x7f])).then_some((Item::Bytes(body), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_item_has_one_form() {
        let list = [0xc6, 0x01, 0x82, 0x02, 0x00, 0xc0, 0x80];
        let Some(Item::List(items)) = read(&list) else { panic!("a list") };
        assert_eq!(items[1].number(), Some(512));
        assert_eq!((items.len(), items[3].number()), (4, Some(0)));
        for bad in [&[0x81, 0x01][..], &[0xb8, 1, 0x80], &[0xc1], &[0x01, 0x01], &[0xc2, 0x81, 0x05], &[]] {
            assert_eq!(read(bad), None, "{bad:02x?}");
        }
    }
}

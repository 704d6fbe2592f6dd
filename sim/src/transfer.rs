//! Unsigned transfers of ether (EIP-1559): `0x02 || rlp([...])`, encoded here by hand, so that the appliance's own encoder
//! has a witness.

use chancery_core::Payload;

/// The chain of every wallet.
pub const CHAIN_ID: u64 = 31_337;
const GWEI: u64 = 1_000_000_000;

/// A transfer of so many gwei.
#[must_use]
pub fn transfer(nonce: u64, gwei: u64) -> Payload {
    let mut fields = Vec::new();
    for number in [CHAIN_ID, nonce, GWEI, 20 * GWEI, 21_000] {
        integer(number, &mut fields);
    }
    string(&[0x11; 20], &mut fields);
    integer(gwei.saturating_mul(GWEI), &mut fields);
    string(&[], &mut fields);
    fields.push(0xc0);
    let mut data = vec![0x02];
    header(0xc0, fields.len(), &mut data);
    data.extend(fields);
    Payload::EthereumTransaction { data }
}

/// A message (EIP-191).
#[must_use]
pub fn message(nonce: u64) -> Payload {
    Payload::EthereumMessage { data: format!("message {nonce}").into_bytes() }
}

fn integer(number: u64, out: &mut Vec<u8>) {
    let bytes = number.to_be_bytes();
    let skip = bytes.iter().take_while(|byte| **byte == 0).count();
    string(bytes.get(skip..).unwrap_or_default(), out);
}

fn string(bytes: &[u8], out: &mut Vec<u8>) {
    match bytes {
        [byte] if *byte < 0x80 => out.push(*byte),
        bytes => {
            header(0x80, bytes.len(), out);
            out.extend(bytes);
        }
    }
}

/// Lengths up to 255, which is more than a transfer has.
fn header(base: u8, length: usize, out: &mut Vec<u8>) {
    let length = u8::try_from(length).unwrap_or(u8::MAX);
    if length <= 55 {
        out.push(base + length);
    } else {
        out.extend([base + 56, length]);
    }
}

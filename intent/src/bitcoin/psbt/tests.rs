//! The BIPs' own vectors, and each of BIP-370's rules broken once.

use super::fields::array;
use super::pairs::{Pair, write_compact_size};
use super::*;
use chancery_core::Code;
use serde_json::json;

#[derive(serde::Deserialize)]
struct Vectors {
    vectors: Vec<Vector>,
}

#[derive(serde::Deserialize)]
struct Vector {
    bip: u16,
    case: String,
    psbt: String,
    reads: bool,
    lock_time: Option<u32>,
}

/// Valid by the BIPs, and refused here by decision: nobody can say what the field or flag means (ADR 8). The field's type,
/// 0x0f, is now one of version 2's, which version 0 may not have.
const REFUSED_BY_DECISION: &[(&str, Code)] = &[
    ("an unknown field in an input", Code::PayloadMalformed),
    ("an undefined flag", Code::PayloadMalformed),
    ("every possible flag", Code::PayloadMalformed),
];

/// Would catch a reader that takes what a BIP forbids, refuses what it allows, or computes another lock time. Prints what
/// `cargo xtask assurance --only vectors` counts.
#[test]
fn published_psbts_read_as_the_bips_say() {
    for (file, text, count) in [
        ("BIP-174, 371", include_str!("../../../tests/vectors/psbt.json"), 27),
        ("BIP-370", include_str!("../../../tests/vectors/psbt370.json"), 44),
    ] {
        let Vectors { vectors } = serde_json::from_str(text).unwrap();
        assert_eq!(vectors.len(), count, "no vector was lost");
        let (mut passed, mut skipped) = (0, 0);
        for Vector { bip, case, psbt, reads, lock_time } in vectors {
            let bytes = hex::decode(&psbt).unwrap();
            let read = Psbt::read(&bytes);
            if let Some((_, code)) = REFUSED_BY_DECISION.iter().find(|(refused, _)| *refused == case) {
                assert_eq!(read.unwrap_err().code(), *code, "BIP-{bip}, {case}");
                skipped += 1;
                continue;
            }
            if reads {
                let read = read.unwrap_or_else(|error| panic!("BIP-{bip}, {case}: {error}"));
                assert_eq!(read.write(), bytes, "BIP-{bip}, {case}");
                if let Some(lock_time) = lock_time {
                    assert_eq!(read.transaction.lock_time.to_consensus_u32(), lock_time, "BIP-{bip}, {case}");
                }
            } else {
                let code = read.unwrap_err().code();
                assert_eq!(code, Code::PayloadMalformed, "BIP-{bip}, {case}");
            }
            passed += 1;
        }
        let why = json!({"valid, and refused by decision (ADR 8)": skipped});
        let tally = json!({"file": file, "by": "psbt", "total": count, "passed": passed, "skipped": why, "failed": []});
        println!("\nassurance vectors {tally}");
    }
}

/// A PSBT of version 2 in pieces that can be broken.
#[derive(Clone)]
struct Pieces {
    globals: Vec<Pair>,
    inputs: Vec<Vec<Pair>>,
    outputs: Vec<Vec<Pair>>,
}

fn pair(keytype: u64, value: &[u8]) -> Pair {
    Pair { keytype, key: Vec::new(), value: value.to_vec() }
}

impl Pieces {
    /// Two inputs, one output.
    fn whole() -> Self {
        let input = |n: u8| vec![pair(0x0e, &[n; 32]), pair(0x0f, &[n, 0, 0, 0])];
        Self {
            globals: vec![
                pair(0xfb, &[2, 0, 0, 0]),
                pair(0x02, &[2, 0, 0, 0]),
                pair(0x04, &[2]),
                pair(0x05, &[1]),
            ],
            inputs: vec![input(1), input(2)],
            outputs: vec![vec![pair(0x03, &[9, 0, 0, 0, 0, 0, 0, 0]), pair(0x04, &[0x51])]],
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        for pairs in std::iter::once(&self.globals).chain(&self.inputs).chain(&self.outputs) {
            Map(pairs.clone()).write(&mut out);
        }
        out
    }

    fn read(&self) -> Result<Psbt, IntentError> {
        Psbt::read(&self.bytes())
    }

    fn with(&self, add: impl FnOnce(&mut Self)) -> Self {
        let mut changed = self.clone();
        add(&mut changed);
        changed
    }
}

#[test]
fn version_2_puts_the_transaction_together() {
    let whole = Pieces::whole().with(|psbt| {
        psbt.globals.push(pair(0x03, &[7, 0, 0, 0]));
        psbt.inputs[1].push(pair(0x10, &[5, 0, 0, 0]));
    });
    let psbt = whole.read().unwrap();
    let transaction = &psbt.transaction;
    assert_eq!(psbt.version, Version::V2);
    assert_eq!((transaction.version.0, transaction.lock_time.to_consensus_u32()), (2, 7));
    assert_eq!(transaction.input[0].previous_output.to_string(), format!("{}:1", "01".repeat(32)));
    assert_eq!((transaction.input[0].sequence.0, transaction.input[1].sequence.0), (u32::MAX, 5));
    assert_eq!(
        (transaction.output[0].value.to_sat(), transaction.output[0].script_pubkey.as_bytes()),
        (9, &[0x51][..])
    );
}

#[test]
fn each_rule_of_bip_370_is_held() {
    let whole = Pieces::whole();
    let without = |keytype: u64| {
        whole.with(|psbt| {
            for map in [&mut psbt.globals].into_iter().chain(&mut psbt.inputs).chain(&mut psbt.outputs) {
                map.retain(|pair| pair.keytype != keytype);
            }
        })
    };
    // The BIP's list of invalid PSBTs, case by case, made from the one above.
    let mut broken: Vec<(&str, Pieces)> = vec![
        ("version 2 without the transaction's version", without(0x02)),
        (
            "version 2 without a count of inputs",
            whole.with(|psbt| psbt.globals.retain(|pair| pair.keytype != 0x04)),
        ),
        (
            "version 2 without a count of outputs",
            whole.with(|psbt| psbt.globals.retain(|pair| pair.keytype != 0x05)),
        ),
        ("version 2 without a previous transaction", without(0x0e)),
        ("version 2 without an output's index", without(0x0f)),
        ("version 2 without an amount", without(0x03)),
        (
            "version 2 without a script",
            whole.with(|psbt| psbt.outputs[0].retain(|pair| pair.keytype != 0x04)),
        ),
        (
            "version 2 with an unsigned transaction",
            whole.with(|psbt| {
                psbt.globals.push(pair(0x00, &[2, 0, 0, 0, 0, 0, 0, 0, 0, 0]));
            }),
        ),
        (
            "a lock time of the wrong kind",
            whole.with(|psbt| psbt.inputs[0].push(pair(0x11, &499_999_999_u32.to_le_bytes()))),
        ),
        (
            "a lock height of the wrong kind",
            whole.with(|psbt| psbt.inputs[0].push(pair(0x12, &500_000_000_u32.to_le_bytes()))),
        ),
        ("a lock height of zero", whole.with(|psbt| psbt.inputs[0].push(pair(0x12, &[0; 4])))),
        (
            "lock times of both kinds",
            whole.with(|psbt| {
                psbt.inputs[0].push(pair(0x11, &500_000_000_u32.to_le_bytes()));
                psbt.inputs[1].push(pair(0x12, &10_u32.to_le_bytes()));
            }),
        ),
        ("version 1", whole.with(|psbt| psbt.globals[0].value = vec![1, 0, 0, 0])),
        ("version 3", whole.with(|psbt| psbt.globals[0].value = vec![3, 0, 0, 0])),
        ("no version", without(0xfb)),
        ("an unknown flag", whole.with(|psbt| psbt.globals.push(pair(0x06, &[8])))),
    ];
    // Version 0 with any of the fields of version 2.
    let version_0 = Pieces {
        globals: vec![pair(0x00, &zero_transaction())],
        inputs: vec![vec![]],
        outputs: vec![vec![]],
    };
    assert!(version_0.read().is_ok());
    for (keytype, value) in
        [(0x02, &[2, 0, 0, 0][..]), (0x03, &[0; 4]), (0x04, &[1]), (0x05, &[1]), (0x06, &[0])]
    {
        broken.push((
            "version 0 with a global of version 2",
            version_0.with(|psbt| psbt.globals.push(pair(keytype, value))),
        ));
    }
    for (keytype, length) in [(0x0e, 32), (0x0f, 4), (0x10, 4), (0x11, 4), (0x12, 4)] {
        broken.push((
            "version 0 with an input of version 2",
            version_0.with(|psbt| psbt.inputs[0].push(pair(keytype, &vec![1; length]))),
        ));
    }
    for (keytype, length) in [(0x03, 8), (0x04, 1)] {
        broken.push((
            "version 0 with an output of version 2",
            version_0.with(|psbt| psbt.outputs[0].push(pair(keytype, &vec![1; length]))),
        ));
    }
    for (case, psbt) in broken {
        let code = psbt.read().map(|_| ()).unwrap_err().code();
        assert_eq!(code, Code::PayloadMalformed, "{case}");
    }
}

fn zero_transaction() -> Vec<u8> {
    let mut bytes = vec![2, 0, 0, 0, 1];
    bytes.extend([3; 32]);
    bytes.extend([0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 1]);
    bytes.extend([0; 8]);
    bytes.extend([1, 0x51, 0, 0, 0, 0]);
    bytes
}

#[test]
fn the_lock_time_is_the_one_all_inputs_can_have() {
    let time = |t: u32| pair(0x11, &t.to_le_bytes());
    let height = |h: u32| pair(0x12, &h.to_le_bytes());
    // BIP-370, the cases of its section on determining the lock time.
    for (first, second, expected) in [
        (vec![], vec![], 7),
        (vec![height(10_000)], vec![], 10_000),
        (vec![height(10_000)], vec![height(9_000)], 10_000),
        (vec![height(10_000)], vec![height(9_000), time(1_657_048_460)], 10_000),
        (vec![height(10_000), time(1_657_048_459)], vec![height(9_000), time(1_657_048_460)], 10_000),
        (vec![time(1_657_048_459)], vec![height(9_000), time(1_657_048_460)], 1_657_048_460),
        (vec![height(10_000), time(1_657_048_459)], vec![time(1_657_048_460)], 1_657_048_460),
        (vec![], vec![time(1_657_048_460)], 1_657_048_460),
    ] {
        let psbt = Pieces::whole().with(|psbt| {
            psbt.globals.push(pair(0x03, &[7, 0, 0, 0]));
            psbt.inputs[0].extend(first.clone());
            psbt.inputs[1].extend(second.clone());
        });
        assert_eq!(
            psbt.read().unwrap().transaction.lock_time.to_consensus_u32(),
            expected,
            "{first:?} {second:?}"
        );
    }
}

#[test]
fn every_field_refuses_a_key_or_a_value_of_the_wrong_form() {
    let whole = Pieces::whole();
    for keytype in (0x00..=0x18_u64).filter(|keytype| !(0x09..=0x0d).contains(keytype)) {
        for (key, value) in [(vec![9], vec![]), (vec![9; 31], vec![9; 3]), (vec![], vec![9; 3])] {
            // Scripts are any bytes, and finalised ones are refused where they are ours.
            let script = key.is_empty() && matches!(keytype, 0x04 | 0x05 | 0x07 | 0x08);
            let psbt = whole.with(|psbt| {
                psbt.inputs[0].retain(|pair| pair.keytype != keytype);
                psbt.inputs[0].push(Pair { keytype, key: key.clone(), value: value.clone() });
            });
            assert_eq!(
                psbt.read().is_ok(),
                script,
                "input {keytype:#04x}, key of {}, value of {}",
                key.len(),
                value.len()
            );
        }
    }
    for keytype in 0x00..=0x07_u64 {
        for (key, value) in [(vec![9], vec![]), (vec![9; 31], vec![9; 3]), (vec![], vec![9; 3])] {
            let script = key.is_empty() && matches!(keytype, 0x00 | 0x01 | 0x04);
            let psbt = whole.with(|psbt| {
                psbt.outputs[0].retain(|pair| pair.keytype != keytype);
                psbt.outputs[0].push(Pair { keytype, key: key.clone(), value: value.clone() });
            });
            assert_eq!(
                psbt.read().is_ok(),
                script,
                "output {keytype:#04x}, key of {}, value of {}",
                key.len(),
                value.len()
            );
        }
    }
    for keytype in [0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0xfb_u64] {
        for (key, value) in [(vec![9], vec![]), (vec![], vec![9; 3])] {
            let psbt = whole.with(|psbt| {
                psbt.globals.retain(|pair| pair.keytype != keytype);
                psbt.globals.push(Pair { keytype, key: key.clone(), value: value.clone() });
            });
            assert!(
                psbt.read().is_err(),
                "global {keytype:#04x}, key of {}, value of {}",
                key.len(),
                value.len()
            );
        }
    }
}

#[test]
fn fields_that_nobody_reads_are_refused() {
    let whole = Pieces::whole();
    // Proprietary, proof-of-reserves, preimages, MuSig2, silent payments, and what is not invented yet.
    for keytype in [0xfc, 0x09, 0x0a, 0x0b, 0x0c, 0x0d, 0x19, 0x1a, 0x1d, 0xfd, 0x1_0000_u64] {
        let psbt = whole.with(|psbt| psbt.inputs[0].push(pair(keytype, &[1])));
        assert_eq!(psbt.read().unwrap_err().code(), Code::PsbtFieldUnknown, "input {keytype:#x}");
    }
    for keytype in [0xfc, 0x08, 0x35_u64] {
        let psbt = whole.with(|psbt| psbt.outputs[0].push(pair(keytype, &[1])));
        assert_eq!(psbt.read().unwrap_err().code(), Code::PsbtFieldUnknown, "output {keytype:#x}");
    }
    for keytype in [0xfc, 0x07, 0x09_u64] {
        let psbt = whole.with(|psbt| psbt.globals.push(pair(keytype, &[1])));
        assert_eq!(psbt.read().unwrap_err().code(), Code::PsbtFieldUnknown, "global {keytype:#x}");
    }
}

#[test]
fn what_a_signature_fixes_is_no_longer_modifiable() {
    for (flags, inputs_too, after) in [(0b111, true, 0b100), (0b111, false, 0b101), (0b000, true, 0)] {
        let mut psbt =
            Pieces::whole().with(|psbt| psbt.globals.push(pair(MODIFIABLE, &[flags]))).read().unwrap();
        psbt.fix(inputs_too);
        let kept = psbt.globals.0.iter().find(|pair| pair.keytype == MODIFIABLE).unwrap();
        assert_eq!(array::<1>(&kept.value).unwrap(), [after], "{flags:#05b}");
    }
}

#[test]
fn counts_are_bounded_before_they_are_believed() {
    for (keytype, count) in [(0x04_u64, 129_u64), (0x05, u64::MAX)] {
        let psbt = Pieces::whole().with(|psbt| {
            let value = &mut psbt.globals.iter_mut().find(|pair| pair.keytype == keytype).unwrap().value;
            value.clear();
            write_compact_size(count, value);
        });
        assert_eq!(psbt.read().unwrap_err().code(), Code::PayloadTooComplex);
    }
}

//! What the log costs, printed and never judged: `cargo test -p chancery-audit --release --test figures -- --nocapture`.
//! Size by `CHANCERY_LEAVES`.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "helpers of tests may panic")]

mod support;

use std::sync::Arc;
use std::time::Instant;

use chancery_audit::{Record, merkle, verify};
use support::{Asked, House, Key, bytes, tiles, verify_folder};

/// Time of this thread on a processor, which a busy machine does not stretch (Linux).
struct Cpu(f64);

impl Cpu {
    fn now() -> Self {
        let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
        Self(text.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e3)
    }

    fn us(&self, runs: u64) -> f64 {
        (Self::now().0 - self.0) / f64::from(u32::try_from(runs).unwrap())
    }
}

fn wall_us(since: Instant, runs: u64) -> f64 {
    since.elapsed().as_secs_f64() * 1e6 / f64::from(u32::try_from(runs).unwrap())
}

fn resident_kib() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().find(|line| line.starts_with("VmRSS")).unwrap_or("VmRSS unknown").to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_log_costs() {
    let leaves: u64 = std::env::var("CHANCERY_LEAVES").ok().and_then(|n| n.parse().ok()).unwrap_or(2_000);
    let (folder, key) = (tempfile::tempdir().unwrap(), Arc::new(Key::fresh()));
    let house = House::open(folder.path(), &key).unwrap();

    let record = support::note(1);
    let begin = Cpu::now();
    for _ in 0..10_000 {
        std::hint::black_box(record.leaf_hash().unwrap());
    }
    println!(
        "encode and hash a record of {} bytes: {:.2} us",
        record.body().unwrap().len(),
        begin.us(10_000)
    );

    let begin = Instant::now();
    house.fill(leaves).await;
    println!(
        "append through the store: {:.2} us a leaf ({leaves} leaves), {}",
        wall_us(begin, leaves),
        resident_kib()
    );

    let asked = Asked::transaction(1);
    let appended = house.append(Record::Decision(asked.decision.clone())).await;
    let begin = Instant::now();
    let checkpoint = house.log.checkpoint_covering(appended.index()).await.unwrap();
    println!("sign and verify a checkpoint: {:.2} us", wall_us(begin, 1));
    let begin = Cpu::now();
    for _ in 0..10_000 {
        std::hint::black_box(house.log.prove(&appended, &checkpoint).unwrap());
    }
    println!("prove the newest leaf and verify the proof: {:.2} us", begin.us(10_000));
    let begin = Cpu::now();
    for n in 0..1_000 {
        std::hint::black_box(house.log.prove_consistency(n * leaves / 1_000, leaves).unwrap());
    }
    println!("consistency proofs across the log: {:.2} us", begin.us(1_000));

    let receipt = bytes(&asked.released(&house).await);
    let trust = key.trust();
    let begin = Cpu::now();
    for _ in 0..500 {
        verify(&receipt, &trust).unwrap();
    }
    println!("verify a receipt of {} bytes offline: {:.2} us", receipt.len(), begin.us(500));

    let begin = Instant::now();
    house.close().await;
    println!("last publish: {:.1} ms, {}", wall_us(begin, 1_000), resident_kib());
    let begin = Instant::now();
    let report = verify_folder(&tiles(folder.path()), &trust).unwrap();
    let size = report.checkpoint.size();
    println!(
        "verify the whole log: {:.2} us an entry, {size} entries, {}",
        wall_us(begin, size),
        resident_kib()
    );
    let begin = Instant::now();
    let house = House::open(folder.path(), &key).unwrap();
    println!("start: {:.1} ms", wall_us(begin, 1_000));
    house.close().await;

    let mut hashes = [[0; 32]; 2];
    let begin = Cpu::now();
    for _ in 0..1_000_000 {
        hashes[0] = merkle::node_hash(&hashes[0], &hashes[1]);
    }
    println!("one node hash: {:.3} us ({:02x})", begin.us(1_000_000), hashes[0][0]);
}

/// The log's second signature: what each part costs on a processor, beside the implementation that was not taken.
#[test]
fn what_ml_dsa_costs() {
    use aws_lc_rs::signature::{KeyPair, ML_DSA_44, ML_DSA_44_SIGNING, PqdsaKeyPair, UnparsedPublicKey};
    use ml_dsa::{MlDsa44, SigningKey};
    const RUNS: u64 = 500;
    let (seed, message) = ([7; 32], [9; 120]);
    let per = |what: &str, mut work: Box<dyn FnMut()>| {
        let begin = Cpu::now();
        (0..RUNS).for_each(|_| work());
        println!("{what}: {:.0} us", begin.us(RUNS));
    };
    let pair = PqdsaKeyPair::from_seed(&ML_DSA_44_SIGNING, &seed).unwrap();
    let mut signature = vec![0; ML_DSA_44_SIGNING.signature_len()];
    pair.sign(&message, &mut signature).unwrap();
    let public = pair.public_key().as_ref().to_vec();
    let other = SigningKey::<MlDsa44>::from_seed(&seed.into());
    per(
        "aws-lc: a key from its seed",
        Box::new(move || drop(PqdsaKeyPair::from_seed(&ML_DSA_44_SIGNING, &seed))),
    );
    per("aws-lc: a signature", Box::new(move || assert!(pair.sign(&message, &mut vec![0; 2_420]).is_ok())));
    let key = UnparsedPublicKey::new(&ML_DSA_44, public);
    per("aws-lc: a verification", Box::new(move || assert!(key.verify(&message, &signature).is_ok())));
    per(
        "ml-dsa: a key from its seed",
        Box::new(move || drop(SigningKey::<MlDsa44>::from_seed(&seed.into()))),
    );
    let mut counter = 0_u64;
    per(
        "ml-dsa: a signature",
        Box::new(move || {
            counter += 1;
            let message = [message.as_slice(), &counter.to_be_bytes()].concat();
            std::hint::black_box(other.expanded_key().sign_deterministic(&message, b"").unwrap());
        }),
    );
}

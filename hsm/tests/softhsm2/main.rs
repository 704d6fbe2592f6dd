//! The HSM room on real modules, through its public door: SoftHSM2, and NSS softokn where it is installed.
//! This executable is its own worker: started as `<self> hsm-worker` it runs `worker_main`, as `chanceryd` does.
//! Without SoftHSM2 it fails and says what to install. `HSM_CYCLES=100` runs the fault cycles at full size;
//! lines that start with `figure ` are JSON for `xtask assurance`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a test runner prints")]

mod custody;
mod faults;
mod place;
mod seeds;
mod signing;
mod tamper;
mod trust;
mod wrap;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::process::ExitCode;

type Test = fn() -> Pin<Box<dyn Future<Output = ()>>>;

macro_rules! tests {
    ($($module:ident :: $name:ident),+ $(,)?) => {
        const TESTS: &[(&str, Test)] =
            &[$((concat!(stringify!($module), "::", stringify!($name)), || Box::pin($module::$name())),)+];
    };
}

tests![
    signing::every_algorithm_signs_and_ecdsa_is_low_s,
    signing::keys_are_found_again_by_the_next_worker,
    signing::ids_are_taken_once_and_destroyed_keys_are_gone,
    signing::a_kek_is_made_and_cannot_sign,
    signing::keys_come_and_go_while_others_sign,
    signing::a_token_of_many_keys_is_read_through,
    signing::overhead_is_measured,
    trust::the_probe_finds_softhsm2_honest,
    trust::nss_softokn_lies_and_is_refused_in_production,
    trust::another_public_key_is_refused_and_quarantined,
    trust::a_wrong_pin_is_tried_once,
    trust::a_pin_changed_under_us_is_tried_once,
    trust::the_pin_is_in_no_argument_environment_or_memory,
    trust::a_finished_token_is_not_made_again,
    wrap::a_secret_comes_back_to_the_next_appliance_and_from_nothing_else,
    wrap::a_key_that_was_brought_from_outside_wraps_nothing,
    wrap::a_secret_is_encrypted_anew_under_another_key,
    wrap::a_wrapped_secret_is_left_in_no_memory,
    wrap::a_counter_only_grows_and_outlives_its_worker,
    seeds::derived_keys_are_those_of_the_library_and_sign,
    seeds::a_seed_is_left_in_no_memory,
    seeds::the_cost_of_opening_a_seed_is_measured,
    custody::keys_outlive_their_token,
    custody::a_key_leaves_under_a_trusted_key_alone,
    tamper::a_flipped_signature_is_never_released,
    tamper::a_replayed_or_foreign_signature_is_never_released,
    tamper::a_key_that_proves_nothing_is_not_taken,
    faults::a_killed_worker_answers_everyone_and_comes_back,
    faults::a_hung_worker_is_replaced_at_the_deadline,
    faults::a_full_queue_refuses_at_once,
    faults::a_removed_token_signs_nothing_wrong_and_is_noticed,
    faults::a_swapped_token_signs_nothing_wrong_and_is_noticed,
    faults::another_key_under_the_same_id_is_never_used,
    faults::a_dead_parent_takes_its_worker_along,
    faults::stopping_ends_the_worker_and_answers_latecomers,
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["hsm-worker"] => {
            return std::env::var(tamper::TAMPER)
                .map_or_else(|_| chancery_hsm::worker_main(), |how| tamper::proxy(&how));
        }
        ["change-pin", label, old, new] => return place::change_pin(label, old, new),
        ["import-kek", label, pin, id] => return place::import_kek(label, pin, id),
        ["parent", folder] => return faults::be_a_parent(folder),
        _ => {}
    }
    if words.contains(&"--list") {
        TESTS.iter().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    if !std::path::Path::new(place::SOFTHSM2).exists() {
        eprintln!("these tests need SoftHSM2: `apt install softhsm2` puts it at {}", place::SOFTHSM2);
        return ExitCode::FAILURE;
    }
    let filters: Vec<_> = words.iter().filter(|word| !word.starts_with('-')).collect();
    let mut failed = Vec::new();
    for (name, test) in TESTS {
        if !filters.is_empty() && !filters.iter().any(|filter| name.contains(**filter)) {
            continue;
        }
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let outcome = catch_unwind(AssertUnwindSafe(|| runtime.block_on(test())));
        println!("test {name} ... {}", if outcome.is_ok() { "ok" } else { "FAILED" });
        if outcome.is_err() {
            failed.push(*name);
        }
    }
    if failed.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("failed: {}", failed.join(", "));
    ExitCode::FAILURE
}

//! The instructions of SPL Token that move tokens or let others move them; Token-2022 has the same. What goes to a token account
//! goes to its owner where that is proved, else to the account. If this is wrong, tokens go to somebody else than was agreed.

use alloy_primitives::U256;

use super::Pubkey;
use super::act::{Acts, Call, number};
use crate::IntentError;
use crate::model::{Effect, Kind};

/// Reads an instruction, and says which it is; nothing where it is not one of those known here.
pub(super) fn read(acts: &mut Acts<'_>, call: &Call<'_>) -> Result<Option<&'static str>, IntentError> {
    match call.data {
        [3, amount @ ..] => {
            let mint = proved_mint(acts, call)?;
            moved(acts, call, mint, number(amount)?, [1, 2])?;
            Ok(Some("transfer"))
        }
        [12, amount @ .., _decimals] => {
            let mint = acts.at(call, 1)?;
            moved(acts, call, mint, number(amount)?, [2, 3])?;
            Ok(Some("transferChecked"))
        }
        [4, amount @ ..] => {
            let mint = proved_mint(acts, call)?;
            approved(acts, call, mint, number(amount)?, [1, 2])?;
            Ok(Some("approve"))
        }
        [13, amount @ .., _decimals] => {
            let mint = acts.at(call, 1)?;
            approved(acts, call, mint, number(amount)?, [2, 3])?;
            Ok(Some("approveChecked"))
        }
        [5] => {
            let mint = proved_mint(acts, call)?;
            let owner = acts.at(call, 1)?;
            let effect = granted(acts, call, mint, U256::ZERO, &owner)?;
            acts.effects.push(effect);
            Ok(Some("revoke"))
        }
        [9] => closed(acts, call).map(Some),
        [5 | 9 | 12 | 13, ..] => Err(IntentError::malformed("a token instruction of another length")),
        _ => Ok(None),
    }
}

/// The mint of the account that tokens come from, where the instruction does not say it.
fn proved_mint(acts: &mut Acts<'_>, call: &Call<'_>) -> Result<Pubkey, IntentError> {
    let source = acts.at(call, 0)?;
    let proved = acts.known.find(&source, &call.program);
    proved.map(|proved| proved.mint).ok_or(IntentError::Mint { source_account: source })
}

/// Whose tokens move: nobody else's than the wallet's, where it has the word and the account is its own.
fn owner(
    acts: &mut Acts<'_>,
    call: &Call<'_>,
    mint: &Pubkey,
    by: &Pubkey,
) -> Result<Option<String>, IntentError> {
    if let Some(other) = acts.other(by) {
        return Ok(Some(other));
    }
    let source = acts.at(call, 0)?;
    let proved = acts.known.owner(&source, &call.program, mint);
    Ok(match proved {
        Some(owner) => acts.other(&owner),
        // One of the wallet's that is not the associated one, or another's that it may take from.
        None => Some(source.to_string()),
    })
}

fn moved(
    acts: &mut Acts<'_>,
    call: &Call<'_>,
    mint: Pubkey,
    amount: U256,
    [to, by]: [usize; 2],
) -> Result<(), IntentError> {
    let (to, by) = (acts.at(call, to)?, acts.at(call, by)?);
    let destination = acts.known.owner(&to, &call.program, &mint).unwrap_or(to);
    let effect = Effect {
        asset: Some(acts.account.cluster.token(&mint)),
        amount: Some(amount),
        destination: Some(destination.to_string()),
        owner: owner(acts, call, &mint, &by)?,
        contract: Some(call.program.to_string()),
        ..Effect::bare(Kind::TokenTransfer)
    };
    acts.effects.push(effect);
    Ok(())
}

fn approved(
    acts: &mut Acts<'_>,
    call: &Call<'_>,
    mint: Pubkey,
    amount: U256,
    [to, by]: [usize; 2],
) -> Result<(), IntentError> {
    let (to, by) = (acts.at(call, to)?, acts.at(call, by)?);
    let effect = granted(acts, call, mint, amount, &by)?;
    acts.effects.push(Effect { destination: Some(to.to_string()), ..effect });
    Ok(())
}

/// Somebody may take tokens; nobody is named yet, and of nothing it revokes.
fn granted(
    acts: &mut Acts<'_>,
    call: &Call<'_>,
    mint: Pubkey,
    amount: U256,
    by: &Pubkey,
) -> Result<Effect, IntentError> {
    Ok(Effect {
        asset: Some(acts.account.cluster.token(&mint)),
        amount: Some(amount),
        unlimited: amount.bit_len() >= 64,
        owner: owner(acts, call, &mint, by)?,
        contract: Some(call.program.to_string()),
        ..Effect::bare(Kind::TokenApproval)
    })
}

/// Whoever closes an account sends on all lamports that it holds, which the message does not say: of wrapped SOL any amount.
fn closed(acts: &mut Acts<'_>, call: &Call<'_>) -> Result<&'static str, IntentError> {
    let (to, by) = (acts.at(call, 1)?, acts.at(call, 2)?);
    if to == acts.account.address {
        acts.quiet(call, "closeAccount");
    } else {
        let effect = Effect {
            asset: Some(acts.account.cluster.coin()),
            destination: Some(to.to_string()),
            owner: acts.other(&by),
            ..Effect::bare(Kind::Transfer)
        };
        acts.effects.push(effect);
    }
    Ok("closeAccount")
}

//! `/v1/wallets`.

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use chancery_core::WalletId;
use chancery_enclave::{Design, Enclave, Made};

use super::peer::{Anyone, AsClient, AsOperator};
use super::sign::idempotency_key;
use super::wire::{Page, Pending, ProblemSchema};
use super::wire_wallets::{Address, Addresses, AskAddress, NewWallet, Range, Wallet, Wallets};
use super::{asked, blocking, name, rows};
use crate::problem::Problem;

/// Make a wallet: around a fresh key in the HSM, a fresh seed, another address of an account, or keys that are apart. Where the policy in force
/// governs changes it is asked for, under the `Idempotency-Key` that is sent, or a fresh one.
#[utoipa::path(
    post, path = "/v1/wallets", tag = "wallets", request_body = NewWallet,
    responses(
        (status = 201, description = "Made and on record", body = Wallet),
        (status = 202, description = "Asked for: the policy in force governs changes", body = Pending),
        (status = 400, description = "Such chains or such a descriptor cannot be a wallet's", body = ProblemSchema),
        (status = 403, description = "Needs the role `operator`; denied by policy", body = ProblemSchema),
        (status = 404, description = "The HSM has no such key", body = ProblemSchema),
        (status = 409, description = "The name or the key is taken", body = ProblemSchema),
    )
)]
pub(crate) async fn create(
    State(enclave): State<Enclave>,
    AsOperator(operator): AsOperator,
    headers: HeaderMap,
    Json(wanted): Json<NewWallet>,
) -> Result<Response, Problem> {
    let idempotency =
        headers.contains_key("idempotency-key").then(|| idempotency_key(&headers)).transpose()?;
    let (id, design, key) = match wanted {
        NewWallet::Ethereum { id, chain_ids, key } => (id, Design::Ethereum { chain_ids }, key),
        NewWallet::Bitcoin { id, network, descriptor, key } => {
            (id, Design::Bitcoin { network, descriptor }, key)
        }
        NewWallet::Solana { id, cluster, key } => (id, Design::Solana { cluster }, key),
    };
    Ok(match enclave.create_wallet(operator, idempotency, id, design, key.try_into()?).await? {
        Made::Wallet(wallet) => (StatusCode::CREATED, Json(Wallet::from(&*wallet))).into_response(),
        Made::Pending(pending) => asked(pending),
    })
}

/// List wallets by name.
#[utoipa::path(
    get, path = "/v1/wallets", tag = "wallets", params(Page),
    responses((status = 200, description = "One page", body = Wallets))
)]
pub(crate) async fn list(
    State(enclave): State<Enclave>,
    Anyone(peer): Anyone,
    Query(page): Query<Page>,
) -> Result<Json<Wallets>, Problem> {
    let limit = rows(page.limit)?;
    let after: Option<WalletId> = page.after.map(|text| name("after", &text)).transpose()?;
    let wallets = blocking(move || enclave.wallets(peer.tenant(), after.as_ref(), limit)).await?;
    let next = wallets.last().filter(|_| wallets.len() == limit).map(|wallet| wallet.id.to_string());
    Ok(Json(Wallets { wallets: wallets.iter().map(|wallet| Wallet::from(&**wallet)).collect(), next }))
}

/// Show one wallet.
#[utoipa::path(
    get, path = "/v1/wallets/{id}", tag = "wallets", params(("id" = String, Path, description = "The wallet")),
    responses(
        (status = 200, description = "The wallet", body = Wallet),
        (status = 404, description = "No such wallet", body = ProblemSchema),
    )
)]
pub(crate) async fn show(
    State(enclave): State<Enclave>,
    Anyone(peer): Anyone,
    Path(id): Path<String>,
) -> Result<Json<Wallet>, Problem> {
    let wallet = enclave.wallet(peer.tenant(), &name("id", &id)?)?;
    Ok(Json(Wallet::from(&*wallet)))
}

/// Show addresses of a wallet with many, whether or not they were handed out.
#[utoipa::path(
    get, path = "/v1/wallets/{id}/addresses", tag = "wallets",
    params(("id" = String, Path, description = "The wallet"), Range),
    responses(
        (status = 200, description = "The addresses", body = Addresses),
        (status = 400, description = "The wallet is one address, or has no such branch", body = ProblemSchema),
        (status = 404, description = "No such wallet", body = ProblemSchema),
    )
)]
pub(crate) async fn addresses(
    State(enclave): State<Enclave>,
    Anyone(peer): Anyone,
    Path(id): Path<String>,
    Query(Range { branch, from, count }): Query<Range>,
) -> Result<Json<Addresses>, Problem> {
    let id: WalletId = name("id", &id)?;
    let (addresses, known) =
        blocking(move || enclave.addresses(peer.tenant(), &id, branch, from, count)).await?;
    let addresses = addresses.into_iter().map(Address::from).collect();
    Ok(Json(Addresses { addresses, given: known.given, used: known.used }))
}

/// Hand out the next address of a wallet with many.
#[utoipa::path(
    post, path = "/v1/wallets/{id}/addresses", tag = "wallets", request_body = AskAddress,
    params(("id" = String, Path, description = "The wallet")),
    responses(
        (status = 201, description = "Nobody was given it before", body = Address),
        (status = 400, description = "The wallet is one address, or has no such branch", body = ProblemSchema),
        (status = 403, description = "Needs the role `client`", body = ProblemSchema),
        (status = 409, description = "Too many in a row are not known to be used", body = ProblemSchema),
    )
)]
pub(crate) async fn next_address(
    State(enclave): State<Enclave>,
    AsClient(client): AsClient,
    Path(id): Path<String>,
    Json(AskAddress { branch, used }): Json<AskAddress>,
) -> Result<(StatusCode, Json<Address>), Problem> {
    let id: WalletId = name("id", &id)?;
    let address = enclave.next_address(client.tenant(), &id, branch, used).await?;
    Ok((StatusCode::CREATED, Json(address.into())))
}

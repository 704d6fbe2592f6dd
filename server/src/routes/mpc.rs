//! `/v1/mpc`: how this appliance stands among the parties of keys that several hold.

use axum::Json;
use axum::extract::State;
use chancery_core::{UnixMillis, WalletId};
use chancery_enclave::{self as enclave, Enclave, PartyIdentity};
use serde::Serialize;
use utoipa::ToSchema;

use super::peer::AsReader;
use super::wire::ProblemSchema;
use crate::problem::Problem;

/// How the parties stand.
#[derive(Serialize, ToSchema)]
pub(crate) struct Parties {
    /// What the other parties pin of this one: its number, the key of its node, the trust file of its log.
    #[schema(value_type = Object)]
    identity: PartyIdentity,
    /// The other parties, by number.
    peers: Vec<Party>,
    /// The wallets whose keys they share, by name.
    wallets: Vec<SharedWallet>,
    /// Who is banned from which of them, for ever.
    bans: Vec<Ban>,
}

/// Another party.
#[derive(Serialize, ToSchema)]
pub(crate) struct Party {
    /// Its number.
    party: u8,
    /// Where it listens.
    url: String,
    /// Whether it answered just now.
    reachable: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// A wallet whose key several parties share.
#[derive(Serialize, ToSchema)]
pub(crate) struct SharedWallet {
    /// The wallet.
    #[schema(value_type = String)]
    wallet: WalletId,
    /// Which share this party holds.
    #[serde(flatten)]
    share: Share,
}

/// A party's share of a key.
#[derive(Serialize, ToSchema)]
pub(crate) struct Share {
    /// The party that holds it.
    party: u8,
    /// How many sign.
    threshold: u8,
    /// How many hold a share.
    parties: u8,
    /// How often the shares were made anew.
    epoch: u64,
}

impl From<enclave::KeyShare> for Share {
    fn from(enclave::KeyShare { party, threshold, parties, epoch }: enclave::KeyShare) -> Self {
        Self { party, threshold, parties, epoch }
    }
}

/// A party that cheated where that may have leaked a part of a share.
#[derive(Serialize, ToSchema)]
pub(crate) struct Ban {
    /// The wallet.
    #[schema(value_type = String)]
    wallet: WalletId,
    /// The party.
    party: u8,
    /// Since when.
    #[schema(value_type = i64)]
    banned_ms: UnixMillis,
    /// The session in which it cheated.
    session: String,
}

/// Show this party's identity, the others, the wallets they share and who is banned.
#[utoipa::path(
    get, path = "/v1/mpc", tag = "wallets",
    responses(
        (status = 200, description = "How the parties stand now", body = Parties),
        (status = 403, description = "Needs a role that may read decisions", body = ProblemSchema),
        (status = 404, description = "This appliance is no party", body = ProblemSchema),
    )
)]
pub(crate) async fn standing(
    State(enclave): State<Enclave>,
    AsReader(tenant): AsReader,
) -> Result<Json<Parties>, Problem> {
    let standing = enclave.parties_standing(&tenant).await?;
    let peer = |peer: enclave::PeerStanding| Party {
        party: peer.party,
        url: peer.url,
        reachable: peer.reachable,
        reason: peer.reason,
    };
    let ban = |ban: enclave::Banned| Ban {
        wallet: ban.wallet,
        party: ban.party,
        banned_ms: ban.banned_ms,
        session: ban.session.to_string(),
    };
    let wallet =
        |(wallet, share): (WalletId, enclave::KeyShare)| SharedWallet { wallet, share: share.into() };
    Ok(Json(Parties {
        identity: standing.identity,
        peers: standing.peers.into_iter().map(peer).collect(),
        wallets: standing.wallets.into_iter().map(wallet).collect(),
        bans: standing.bans.into_iter().map(ban).collect(),
    }))
}

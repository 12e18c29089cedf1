//! Whether the place that answers is still the archive that was claimed.
//!
//! A place is known by what it holds, not by its address: a disk is mounted over the directory, a bucket is put back. Every
//! archive numbers its epochs from 1, so an object of the claim's name says nothing; the claim's random token does.
//!
//! Asked before each write, so that nothing is written into another archive or an empty place; only a single write that was
//! under way at the very moment of the change can still land there. Only where the place is the
//! archive does a higher claim mean that somebody has taken it over.

#[cfg(test)]
mod tests;

use futures_util::future::try_join;
use reddb_file::archive::{ArchiveKey, EpochClaim, MissingDigest};

use super::ShipError;
use crate::claim::Claim;
use crate::store::{ReadError, Store, StoreError};

/// Checks that `store` holds `claim`.
///
/// # Errors
/// [`ShipError::ClaimGone`] where it holds none or another one, [`ShipError::Read`] where that cannot be told.
pub(crate) async fn check_claim(store: &Store, claim: &Claim) -> Result<(), ShipError> {
    let key = ArchiveKey::EpochClaim(claim.epoch);
    let instead = match store.get_document::<EpochClaim>(&key, MissingDigest::Refuse).await {
        Ok(opened) => {
            let found = opened.document;
            let same = (found.cluster, found.epoch, found.node, found.token)
                == (claim.cluster, claim.epoch, claim.node, claim.token);
            if same {
                return Ok(());
            }
            if found.cluster == claim.cluster {
                format!("{key} is another claim of this cluster, by {} (node {})", found.holder, found.node)
            } else {
                format!("{key} is of cluster {}, ours is {}", found.cluster, claim.cluster)
            }
        }
        Err(ReadError::Store(StoreError::NotFound { .. })) => format!("{key} is not there"),
        Err(error) => return Err(error.into()),
    };
    Err(ShipError::ClaimGone { store: store.to_string(), epoch: claim.epoch, instead })
}

/// Checks that `store` holds `claim`, and no higher one.
///
/// # Errors
/// As [`check_claim`], and [`ShipError::Fenced`] where the archive is this one and has a higher claim.
pub(crate) async fn check_owned(store: &Store, claim: &Claim) -> Result<(), ShipError> {
    let Some(next) = claim.epoch.next() else { return check_claim(store, claim).await };
    let key = ArchiveKey::EpochClaim(next);
    let higher = async { Ok(store.exists(&key).await) };
    let ((), higher) = try_join(check_claim(store, claim), higher).await?;
    if higher? { Err(ShipError::Fenced { by: next }) } else { Ok(()) }
}

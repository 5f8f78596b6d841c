//! Table `names`.

use hosting::{ClaimId, Domain, Revision};
use store::sqlx::{AnyPool, query, query_scalar};
use store::{StoreError, Write};

use super::ClaimRow;

impl ClaimRow {
    /// Makes sure that the name has a row, which it then has for ever.
    pub(crate) async fn ensure_name(write: &mut Write, domain: &Domain) -> Result<(), StoreError> {
        query("INSERT INTO names (domain) VALUES ($1) ON CONFLICT (domain) DO NOTHING")
            .bind(domain.as_str())
            .execute(&mut **write)
            .await?;
        Ok(())
    }

    /// The next revision of a name. It is used up by this transaction; the name's row stays locked
    /// until its end, so changes of one name come one after the other.
    pub(crate) async fn next_revision(
        write: &mut Write,
        domain: &Domain,
    ) -> Result<Revision, StoreError> {
        let sql = "UPDATE names SET last_revision = last_revision + 1 WHERE domain = $1
                   RETURNING last_revision";
        let last: i64 = query_scalar(sql).bind(domain.as_str()).fetch_one(&mut **write).await?;
        Revision::new(u64::try_from(last).unwrap_or(0))
            .map_err(|_| super::corrupt("names", "last_revision", last.to_string()))
    }

    /// Which claim to a name is proven.
    pub(crate) async fn owner(
        write: &mut Write,
        domain: &Domain,
    ) -> Result<Option<ClaimId>, StoreError> {
        let sql = "SELECT owner_claim FROM names WHERE domain = $1";
        let owner: Option<Option<String>> =
            query_scalar(sql).bind(domain.as_str()).fetch_optional(&mut **write).await?;
        match owner.flatten() {
            None => Ok(None),
            Some(id) => match id.parse() {
                Ok(id) => Ok(Some(id)),
                Err(_) => Err(super::corrupt("names", "owner_claim", id)),
            },
        }
    }

    /// The claim to a name that is proven, to look at.
    pub(crate) async fn owner_of(
        pool: &AnyPool,
        domain: &Domain,
    ) -> Result<Option<ClaimRow>, StoreError> {
        let sql = "SELECT owner_claim FROM names WHERE domain = $1 AND owner_claim IS NOT NULL";
        let owner: Option<String> =
            query_scalar(sql).bind(domain.as_str()).fetch_optional(pool).await?;
        match owner.map(|id| id.parse().map_err(|_| super::corrupt("names", "owner_claim", id))) {
            None => Ok(None),
            Some(id) => ClaimRow::by_id(pool, &id?).await,
        }
    }

    /// Makes a claim the proven one after `before`; false where another one is proven by now. Who comes
    /// second waits for the end of the first one's transaction, and then sees it.
    pub(crate) async fn pass_on(
        write: &mut Write,
        domain: &Domain,
        before: Option<&ClaimId>,
        to: &ClaimId,
    ) -> Result<bool, StoreError> {
        let sql = "UPDATE names SET owner_claim = $3
                   WHERE domain = $1 AND coalesce(owner_claim, '') = $2";
        let passed = query(sql)
            .bind(domain.as_str())
            .bind(before.map_or("", ClaimId::as_str))
            .bind(to.as_str())
            .execute(&mut **write)
            .await?;
        Ok(passed.rows_affected() == 1)
    }

    /// Says which claim to a name is proven now.
    pub(crate) async fn set_owner(
        write: &mut Write,
        domain: &Domain,
        owner: Option<&ClaimId>,
    ) -> Result<(), StoreError> {
        query("UPDATE names SET owner_claim = $2 WHERE domain = $1")
            .bind(domain.as_str())
            .bind(owner.map(ClaimId::as_str))
            .execute(&mut **write)
            .await?;
        Ok(())
    }
}

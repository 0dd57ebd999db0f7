use tokio_postgres::Error;
use tokio_postgres::error::SqlState;

use super::session::{Session, is_ownerless, literal, said};

/// Clones of one template, as the registry knows them.
#[derive(Clone, Debug)]
pub(super) struct Set {
    pub(super) suite: String,
    pub(super) fingerprint: String,
}

impl Session {
    /// Takes a clone that is ready.
    pub(super) async fn claim(
        &self,
        set: &Set,
        test: Option<&str>,
    ) -> Result<Option<String>, Error> {
        let claim = format!(
            "UPDATE databases SET state = 'taken', owner = {}, test = {}, used_at = clock_timestamp() \
             WHERE name = (SELECT name FROM databases WHERE fingerprint = {} AND state = 'ready' \
             ORDER BY used_at LIMIT 1 FOR UPDATE SKIP LOCKED) RETURNING name",
            self.owner,
            test.map_or_else(|| "NULL".to_owned(), literal),
            literal(&set.fingerprint),
        );
        let messages = match self.client.simple_query(&claim).await {
            Err(error) if error.code() == Some(&SqlState::UNDEFINED_TABLE) => {
                self.set_up().await?;
                self.client.simple_query(&claim).await?
            }
            claimed => claimed?,
        };
        Ok(said(&messages).and_then(|row| row.get(0)).map(str::to_owned))
    }

    /// How many clones are ready or being made. A maker that died before it made one doesn't count.
    pub(super) async fn ahead(&self, set: &Set) -> Result<usize, Error> {
        let sql = format!(
            "SELECT count(*) FROM databases WHERE fingerprint = $1 \
             AND (state = 'ready' OR (state = 'making' AND NOT {}))",
            is_ownerless()
        );
        let row = self.client.query_one(&sql, &[&set.fingerprint]).await?;
        Ok(usize::try_from(row.get::<_, i64>(0)).unwrap_or(0))
    }

    /// Writes down that this session makes a database, before it does.
    pub(super) async fn begins(&self, set: &Set, name: &str, state: &str) -> Result<(), Error> {
        const BEGIN: &str = "INSERT INTO databases VALUES ($1, $2, $3, $4, $5)";
        self.client
            .execute(BEGIN, &[&name, &set.suite, &set.fingerprint, &state, &self.owner])
            .await?;
        Ok(())
    }

    /// A database has come to be what it was made for.
    pub(super) async fn becomes(
        &self,
        name: &str,
        state: &str,
        owner: Option<i32>,
        test: Option<&str>,
    ) -> Result<(), Error> {
        const BECOME: &str = "UPDATE databases SET state = $2, owner = $3, test = $4, \
                              used_at = clock_timestamp() WHERE name = $1";
        self.client.execute(BECOME, &[&name, &state, &owner, &test]).await?;
        Ok(())
    }

    /// The name of the template, which counts as used now.
    pub(super) async fn template(&self, set: &Set) -> Result<Option<String>, Error> {
        const TOUCH: &str = "UPDATE databases SET used_at = clock_timestamp() \
                             WHERE fingerprint = $1 AND state = 'template' \
                             AND EXISTS (SELECT FROM pg_database WHERE datname = name) RETURNING name";
        let row = self.client.query_opt(TOUCH, &[&set.fingerprint]).await?;
        Ok(row.map(|row| row.get(0)))
    }

    /// Waits until no other process makes this template, and keeps others from it until [`unlock`](Self::unlock).
    pub(super) async fn lock(&self, set: &Set) -> Result<(), Error> {
        self.client
            .execute("SELECT pg_advisory_lock(hashtextextended($1, 0))", &[&set.fingerprint])
            .await?;
        Ok(())
    }

    pub(super) async fn unlock(&self, set: &Set) -> Result<(), Error> {
        const UNLOCK: &str = "SELECT pg_advisory_unlock(hashtextextended($1, 0))";
        self.client.execute(UNLOCK, &[&set.fingerprint]).await?;
        Ok(())
    }

    /// A database isn't in the registry's care any more.
    pub(super) async fn forget(&self, name: &str) -> Result<(), Error> {
        self.client.execute("DELETE FROM databases WHERE name = $1", &[&name]).await?;
        Ok(())
    }

    /// Clones that were finished after their maker had died are ready.
    pub(super) async fn adopt(&self) -> Result<(), Error> {
        let sql = format!(
            "UPDATE databases SET state = 'ready', owner = NULL WHERE state = 'making' AND {} \
             AND EXISTS (SELECT FROM pg_database WHERE datname = name)",
            is_ownerless()
        );
        self.client.execute(&sql, &[]).await?;
        Ok(())
    }

    /// Forgets databases whose owner is gone, and templates that nobody has used for long. Returns what is to be dropped, with
    /// databases of this role that are called like ours and that the registry doesn't know.
    pub(super) async fn leftovers(&self, set: &Set) -> Result<Vec<String>, Error> {
        let dead = format!(
            "DELETE FROM databases WHERE {} \
             AND NOT (state = 'making' AND EXISTS (SELECT FROM pg_database WHERE datname = name)) RETURNING name",
            is_ownerless()
        );
        // Two branches of one project may take turns, so the other one's template isn't dropped at once.
        const OUTDATED: &str = "
            DELETE FROM databases WHERE state IN ('template', 'ready') AND fingerprint NOT IN (
                SELECT fingerprint FROM databases WHERE state = 'template' AND (fingerprint = $1
                OR used_at > now() - CASE WHEN suite = $2 THEN interval '1 hour' ELSE interval '30 days' END))
            RETURNING name";
        // What is kept has a comment.
        const UNKNOWN: &str = "
            SELECT datname::text FROM pg_database
            WHERE starts_with(datname::text, $1) AND pg_get_userbyid(datdba) = current_user
            AND NOT EXISTS (SELECT FROM databases WHERE name = datname)
            AND shobj_description(pg_database.oid, 'pg_database') IS NULL";
        let mut rows = self.client.query(&dead, &[]).await?;
        rows.extend(self.client.query(OUTDATED, &[&set.fingerprint, &set.suite]).await?);
        rows.extend(self.client.query(UNKNOWN, &[&super::names::PREFIX]).await?);
        let mut names: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        names.sort();
        names.dedup();
        Ok(names)
    }
}

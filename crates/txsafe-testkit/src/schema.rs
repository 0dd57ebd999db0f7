use crate::offload::offload;
use crate::{Error, name, sql, url};

/// A fresh schema: a test's own corner of a server that many tests share.
///
/// Every session opened with [`url`](Self::url) finds its tables there and nowhere else. Only this
/// schema is ever created or dropped, so a server that others use is safe.
///
/// The schema is dropped with this value, as far as that works; [`remove`](Self::remove) says whether
/// it did.
///
/// # Examples
///
/// ```
/// use txsafe_testkit::Postgres;
///
/// let server = Postgres::shared_blocking()?;
/// let mine = server.schema_blocking("stock")?;
/// let yours = server.schema_blocking("stock")?;
/// assert_ne!(mine.name(), yours.name());
/// assert!(mine.url().ends_with(&format!("search_path%3D{}", mine.name())));
/// # Ok::<(), txsafe_testkit::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "the schema is dropped with this value"]
pub struct Schema {
    name: String,
    server_url: String,
    url: String,
    removed: bool,
}

impl Schema {
    /// The schema's name; plain enough to stand in SQL without quotes.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A connection URL whose sessions have `search_path` set to this schema.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Drops the schema and all that is in it.
    ///
    /// # Errors
    ///
    /// When another session holds locks in the schema for more than two seconds, or the server can't
    /// be reached.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime; [`remove_blocking`](Self::remove_blocking) needs none.
    pub async fn remove(self) -> Result<(), Error> {
        offload(move || self.remove_blocking()).await
    }

    /// [`remove`](Self::remove) for code without a runtime.
    ///
    /// # Errors
    ///
    /// Like [`remove`](Self::remove).
    pub fn remove_blocking(mut self) -> Result<(), Error> {
        self.drop_schema()
    }

    pub(crate) fn create(server_url: &str, hint: &str) -> Result<Self, Error> {
        let name = unique_name(hint);
        sql::execute(server_url, &format!("CREATE SCHEMA {name}"))?;
        Ok(Self {
            url: url::with_search_path(server_url, &name),
            server_url: server_url.to_owned(),
            name,
            removed: false,
        })
    }

    fn drop_schema(&mut self) -> Result<(), Error> {
        // One try only: what fails once in `remove` would fail again in the destructor.
        self.removed = true;
        // A server that waits for a standby which never comes isn't waited for.
        let statements = format!(
            "SET lock_timeout = '2s'; SET synchronous_commit = local; DROP SCHEMA IF EXISTS {} CASCADE",
            self.name
        );
        sql::execute(&self.server_url, &statements).map_err(|source| {
            Error::caused(
                format!(
                    "schema {} was not dropped; end the transactions that use it first",
                    self.name
                ),
                source,
            )
        })
    }
}

impl Drop for Schema {
    fn drop(&mut self) {
        if !self.removed {
            // A destructor can't report. A server of ours goes away with the schema anyway.
            let _ = self.drop_schema();
        }
    }
}

/// A name that nobody else has, that needs no quotes, and that fits PostgreSQL's 63 bytes.
///
/// The prefix tells people who find a leftover in their own server where it comes from.
fn unique_name(hint: &str) -> String {
    format!("txsafe_{}_{}", name::plain(hint, 40), name::random(12))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain_and_short_enough() {
        let name = unique_name("Wörter & Räume::die-in-keinen-Namen-passen, weil sie lang sind");
        assert!(name.len() <= 63, "{name}");
        assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'));
        assert!(name.starts_with("txsafe_w_rter"));
    }

    #[test]
    fn equal_hints_give_different_names() {
        assert_ne!(unique_name("a"), unique_name("a"));
    }
}

use super::maker::drop_database;
use super::registry::Set;
use super::session::Session;

/// Drops what processes left behind that died, and templates that nobody has used for long.
///
/// What can't be dropped now is tried again by the next process.
pub(super) async fn sweep(session: &Session, set: &Set) -> Result<(), tokio_postgres::Error> {
    session.adopt().await?;
    for name in session.leftovers(set).await? {
        // Another process may be dropping it just now.
        _ = drop_database(session, &name).await;
    }
    Ok(())
}

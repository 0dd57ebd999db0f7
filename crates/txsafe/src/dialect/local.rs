//! Settings of the application's own that hold for one transaction.

use super::Dialect;
use crate::invalid::InvalidSetting;

/// Settings of the application's own that hold for one transaction: a tenant for row-level security, a role, a search path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a dialect must see what is new")]
pub struct LocalSettings {
    /// Names and values, each name once.
    pub settings: Vec<(String, String)>,
    /// The schemas in which names are looked up.
    pub search_path: Option<Vec<String>>,
    /// The role that the transaction has.
    pub role: Option<String>,
}

/// The SQL that sets them.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a dialect makes it")]
pub struct LocalSql {
    /// What is appended to BEGIN's message.
    pub with_begin: String,
    /// The same as a question, for transactions in which something of ours runs before.
    pub question: String,
    /// The bind values of the question.
    pub binds: Vec<String>,
}

/// Settings that txsafe sets itself, or that have a method of their own, with what to call instead.
const OTHERS: [(&str, &str); 12] = [
    ("lock_timeout", "call `lock_timeout`"),
    ("statement_timeout", "call `statement_timeout`"),
    ("idle_in_transaction_session_timeout", "call `idle_in_transaction_session_timeout`"),
    ("transaction_timeout", "call `transaction_timeout`"),
    ("transaction_isolation", "call `isolation`"),
    ("transaction_read_only", "call `read_only`"),
    ("transaction_deferrable", "call `deferrable`"),
    ("application_name", "it is the name of the transaction behind `Builder::service`"),
    ("search_path", "call `search_path`"),
    ("role", "call `role`"),
    ("session_authorization", "call `role`"),
    ("client_encoding", "the drivers speak UTF-8: leave it out"),
];

impl LocalSettings {
    pub(crate) fn set(&mut self, name: String, value: String) {
        self.settings.retain(|(other, _)| !other.eq_ignore_ascii_case(&name));
        self.settings.push((name, value));
    }

    /// Returns the preset with these settings in place of its own.
    pub(crate) fn over(&self, preset: &Self) -> Self {
        let mut all = preset.clone();
        for (name, value) in &self.settings {
            all.set(name.clone(), value.clone());
        }
        all.search_path = self.search_path.clone().or(all.search_path);
        all.role = self.role.clone().or(all.role);
        all
    }

    /// The SQL that sets these in a database of this kind; none, if there is nothing to set.
    pub(crate) fn sql(&self, dialect: &dyn Dialect) -> Result<Option<LocalSql>, InvalidSetting> {
        self.validate()?;
        let (setting, value) = match self {
            Self { settings, .. } if !settings.is_empty() => ("set_local", settings[0].0.clone()),
            Self { search_path: Some(schemas), .. } => ("search_path", schemas.join(", ")),
            Self { role: Some(role), .. } => ("role", role.clone()),
            Self { .. } => return Ok(None),
        };
        let cure = "this database has no such settings: leave it out";
        let sql = dialect.set_local(self);
        sql.map_or_else(
            || Err(InvalidSetting::new(setting, format!("{value:?}"), cure)),
            |sql| Ok(Some(sql)),
        )
    }

    fn validate(&self) -> Result<(), InvalidSetting> {
        for (name, value) in &self.settings {
            let refuse = |cure| Err(InvalidSetting::new("set_local", format!("{name:?}"), cure));
            if !is_name(name) {
                return refuse(
                    "a setting has letters, digits and underscores, and a dot behind its namespace: `app.tenant_id`",
                );
            }
            let lower = name.to_ascii_lowercase();
            if let Some((_, cure)) = OTHERS.iter().find(|(other, _)| *other == lower) {
                return refuse(cure);
            }
            if lower.starts_with("txsafe.") {
                return refuse("this namespace is txsafe's own: take another one");
            }
            no_nul("set_local", value)?;
        }
        if let Some(role) = &self.role {
            if role.is_empty() {
                let cure = "name a role; without `role`, the session's own is kept";
                return Err(InvalidSetting::new("role", "\"\"", cure));
            }
            if role == "none" {
                let cure = "PostgreSQL reads it as the session's own role: name another one, or leave `role` out";
                return Err(InvalidSetting::new("role", "\"none\"", cure));
            }
            is_whole("role", role)?;
        }
        if let Some(schemas) = &self.search_path {
            if schemas.is_empty() || schemas.iter().any(String::is_empty) {
                let cure = "name the schemas in which tables are looked up, one or more";
                return Err(InvalidSetting::new("search_path", format!("{schemas:?}"), cure));
            }
            schemas.iter().try_for_each(|schema| is_whole("search_path", schema))?;
        }
        Ok(())
    }
}

fn no_nul(setting: &'static str, value: &str) -> Result<(), InvalidSetting> {
    if value.contains('\0') {
        let cure = "a text of the database can't hold a NUL: leave it out";
        return Err(InvalidSetting::new(setting, format!("{value:?}"), cure));
    }
    Ok(())
}

/// Rejects a name that the server would cut, and so take for another role or schema.
fn is_whole(setting: &'static str, name: &str) -> Result<(), InvalidSetting> {
    /// `NAMEDATALEN - 1`.
    const LONGEST: usize = 63;
    if name.len() > LONGEST {
        let cure = "PostgreSQL cuts names at 63 bytes, and would take another one: shorten it";
        return Err(InvalidSetting::new(setting, format!("{name:?}"), cure));
    }
    no_nul(setting, name)
}

/// Whether it is a setting's name, with its namespaces.
fn is_name(name: &str) -> bool {
    let is_part = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    name.split('.').all(is_part)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::{postgres::Postgres, sqlite::Sqlite};

    fn of(name: &str, value: &str) -> LocalSettings {
        let mut local = LocalSettings::default();
        local.set(name.into(), value.into());
        local
    }

    #[test]
    fn a_call_overrides_the_preset_by_name() {
        let mut preset = of("app.tenant_id", "1");
        preset.set("APP.region".into(), "us".into());
        preset.set("app.region".into(), "eu".into());
        preset.role = Some("tenant".into());
        let all = of("app.tenant_id", "2").over(&preset);
        let pairs = [("app.region", "eu"), ("app.tenant_id", "2")];
        let pairs = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!((all.settings.as_slice(), all.role.as_deref()), (&pairs[..], Some("tenant")));
        assert!(LocalSettings::default().sql(&Postgres).unwrap().is_none());
        assert!(all.sql(&Postgres).unwrap().is_some());
        let refused = all.sql(&Sqlite).unwrap_err().to_string();
        assert!(refused.contains("`set_local`") && refused.contains("app.region"), "{refused}");
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_its_cure() {
        let role = |role: &str| LocalSettings { role: Some(role.into()), ..Default::default() };
        let path = |path: &[&str]| {
            let path = path.iter().map(ToString::to_string).collect();
            LocalSettings { search_path: Some(path), ..Default::default() }
        };
        for (local, parts) in [
            (of("app.tenant id", "1"), ["`set_local`", "\"app.tenant id\"", "app.tenant_id"]),
            (of("app.", "1"), ["`set_local`", "\"app.\"", "a dot behind"]),
            (of("", "1"), ["`set_local`", "\"\"", "letters"]),
            (of("Lock_Timeout", "1"), ["`set_local`", "Lock_Timeout", "call `lock_timeout`"]),
            (of("role", "x"), ["`set_local`", "\"role\"", "call `role`"]),
            (of("txsafe.open", "x"), ["`set_local`", "txsafe.open", "another one"]),
            (of("app.x", "a\0b"), ["`set_local`", "\\0", "NUL"]),
            (role(""), ["`role`", "\"\"", "name a role"]),
            (role("none"), ["`role`", "\"none\"", "session's own"]),
            (role(&"r".repeat(64)), ["`role`", "rrr", "63 bytes"]),
            (path(&["public", &"s".repeat(64)]), ["`search_path`", "sss", "63 bytes"]),
            (of("Client_Encoding", "LATIN1"), ["`set_local`", "Client_Encoding", "UTF-8"]),
            (path(&[]), ["`search_path`", "[]", "one or more"]),
            (path(&["a", ""]), ["`search_path`", "\"a\"", "one or more"]),
        ] {
            let message = local.validate().unwrap_err().to_string();
            assert!(parts.iter().all(|part| message.contains(part)), "{message}");
        }
        of("app.tenant_id", "anything; 'at all").validate().unwrap();
    }
}

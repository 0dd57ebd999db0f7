use std::fmt::Write as _;

use crate::Error;

/// Lines for `postgresql.conf`, of which the last one for a name counts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    pairs: Vec<(String, String)>,
}

impl Settings {
    pub(crate) fn set(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.pairs.push((name.into(), value.into()));
    }

    /// The settings as `postgresql.conf` wants them (PostgreSQL manual, section 20.1.2).
    pub(crate) fn render(&self) -> Result<String, Error> {
        let mut lines = String::new();
        for (name, value) in &self.pairs {
            if !is_name(name) {
                return Err(Error::new(format!(
                    "{name:?} is not the name of a PostgreSQL setting; names are like \
                     `deadlock_timeout` or `auto_explain.log_analyze`"
                )));
            }
            let value = value.replace('\\', r"\\").replace('\'', "''").replace('\n', r"\n");
            // Writing to a string can't fail.
            _ = writeln!(lines, "{name} = '{value}'");
        }
        Ok(lines)
    }
}

fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_quoted() {
        let mut settings = Settings::default();
        settings.set("deadlock_timeout", "200ms");
        settings.set("application_name", "it's\na \\");
        assert_eq!(
            settings.render().unwrap(),
            "deadlock_timeout = '200ms'\napplication_name = 'it''s\\na \\\\'\n"
        );
    }

    #[test]
    fn names_that_would_break_the_file_are_refused() {
        for name in ["", "1st", "a b", "a = 'b'\nc", "größe"] {
            let mut settings = Settings::default();
            settings.set(name, "on");
            assert!(settings.render().is_err(), "{name:?}");
        }
    }
}

//! Misuse that is found before anything runs.

use std::fmt;

/// Says of a value that nobody may have set it.
pub(crate) fn or_default<T: PartialEq>(value: T, default: T) -> &'static str {
    if value == default { " (its default)" } else { "" }
}

/// A setting that can't be meant: which one, its value, and the cure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidSetting {
    setting: &'static str,
    value: String,
    cure: &'static str,
}

impl InvalidSetting {
    pub(crate) fn new(setting: &'static str, value: impl Into<String>, cure: &'static str) -> Self {
        Self { setting, value: value.into(), cure }
    }

    /// The name of the setting.
    #[must_use]
    pub fn setting(&self) -> &'static str {
        self.setting
    }
}

impl fmt::Display for InvalidSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` can't be {}: {}", self.setting, self.value, self.cure)
    }
}

impl std::error::Error for InvalidSetting {}

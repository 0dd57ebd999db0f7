//! What is allowed, and why.

use super::{code::Code, day::Day, finding::Finding};
use crate::invalid::InvalidSetting;

/// A rule that allows findings, with the reason for it.
///
/// What isn't said matches everything: a rule with nothing but a reason would allow all, and is refused.
///
/// # Examples
/// ```
/// use txsafe::guard::{Allow, Code};
///
/// let rule = Allow::new("legacy billing, goes away with TX-117")
///     .code(Code::ExternalWait)
///     .transaction("bill_customer")
///     .site("src/billing.rs")
///     .until("2027-03-31");
/// # let _ = rule;
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allow {
    reason: String,
    code: Option<Code>,
    transaction: Option<String>,
    site: Option<String>,
    what: Option<String>,
    until: Option<String>,
}

impl Allow {
    /// Allows, for this reason, what the following methods say.
    #[must_use]
    pub fn new(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            code: None,
            transaction: None,
            site: None,
            what: None,
            until: None,
        }
    }

    /// Findings of this code only.
    #[must_use]
    pub fn code(mut self, code: Code) -> Self {
        self.code = Some(code);
        self
    }

    /// In the transaction of this name only.
    #[must_use]
    pub fn transaction(mut self, name: impl Into<String>) -> Self {
        self.transaction = Some(name.into());
        self
    }

    /// At sites whose file or function contains this text only.
    #[must_use]
    pub fn site(mut self, part: impl Into<String>) -> Self {
        self.site = Some(part.into());
        self
    }

    /// Findings whose [`what`](Finding::what) contains this text only, such as the name of a marked call.
    #[must_use]
    pub fn what(mut self, part: impl Into<String>) -> Self {
        self.what = Some(part.into());
        self
    }

    /// Up to and including this day, as `2027-03-31`, in UTC. After it the findings are back, and tell of the rule.
    #[must_use]
    pub fn until(mut self, day: impl Into<String>) -> Self {
        self.until = Some(day.into());
        self
    }

    /// Whether it is about this finding, however old it is.
    pub(super) fn matches(&self, finding: &Finding) -> bool {
        let part = |wanted: &Option<String>, of: &str| {
            wanted.as_ref().is_none_or(|wanted| of.contains(wanted.as_str()))
        };
        self.code.is_none_or(|code| code == finding.code)
            && self.transaction.as_ref().is_none_or(|name| **name == *finding.transaction)
            && part(&self.what, &finding.what)
            && match (&self.site, &finding.site) {
                (None, _) => true,
                (Some(_), None) => false,
                (Some(wanted), Some(site)) => {
                    site.file.contains(wanted.as_str())
                        || site.function.as_ref().is_some_and(|name| name.contains(wanted.as_str()))
                }
            }
    }

    /// The reason and the day, if it has expired.
    pub(super) fn expired(&self, today: Day) -> Option<String> {
        let until = self.until.as_deref()?;
        (Day::parse(until)? < today).then(|| format!("{}, until {until}", self.reason))
    }

    pub(super) fn validate(&self) -> Result<(), InvalidSetting> {
        if self.reason.trim().is_empty() {
            let cure = "say why, for those who come after: a ticket, a decision";
            return Err(InvalidSetting::new("reason", "\"\"", cure));
        }
        let Self { reason: _, code, transaction, site, what, until } = self;
        if code.is_none() && transaction.is_none() && site.is_none() && what.is_none() {
            let cure =
                "it would allow everything: say what, by `transaction`, `site`, `what` or `code`";
            return Err(InvalidSetting::new("allow", format!("{:?}", self.reason), cure));
        }
        for (setting, part) in [("transaction", transaction), ("site", site), ("what", what)] {
            if part.as_ref().is_some_and(|part| part.trim().is_empty()) {
                let cure =
                    "it would allow everything, or nothing: name a part of it, or leave it out";
                return Err(InvalidSetting::new(setting, "\"\"", cure));
            }
        }
        if let Some(until) = until.as_deref().filter(|until| Day::parse(until).is_none()) {
            let cure = "write a day as `2027-03-31`";
            return Err(InvalidSetting::new("until", format!("{until:?}"), cure));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_holds_through_its_last_day() {
        let rule = Allow::new("why").transaction("t").until("2027-03-31");
        assert!(rule.validate().is_ok());
        assert_eq!(rule.expired(Day::parse("2027-03-31").unwrap()), None);
        let expired = rule.expired(Day::parse("2027-04-01").unwrap());
        assert_eq!(expired.as_deref(), Some("why, until 2027-03-31"));
    }

    #[test]
    fn a_rule_says_what_and_why() {
        let told = |rule: Allow| rule.validate().unwrap_err().to_string();
        assert!(
            told(Allow::new(" ").transaction("t")).starts_with("`reason` can't be \"\": say why")
        );
        assert!(told(Allow::new("why")).contains("it would allow everything"));
        for blank in [Allow::new("why").site(""), Allow::new("why").code(Code::SlowPoll).what(" ")]
        {
            assert!(told(blank).contains("name a part of it, or leave it out"));
        }
        assert!(told(Allow::new("why").what("x").until("soon")).contains("write a day as"));
        assert!(told(Allow::new("why").what("x").until("2027-02-29")).contains("write a day as"));
    }
}

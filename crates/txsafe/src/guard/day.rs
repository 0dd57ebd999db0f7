//! A day of the calendar, which is all that a rule's end needs.

use std::time::{SystemTime, UNIX_EPOCH};

/// A day, in UTC. Earlier ones are less.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Day {
    year: u32,
    month: u32,
    day: u32,
}

impl Day {
    /// A day of the Gregorian calendar that is written as `2027-03-31`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let number = |from: usize, to: usize| {
            let digits = text.get(from..to).filter(|part| part.bytes().all(|b| b.is_ascii_digit()));
            digits?.parse().ok()
        };
        let bytes = text.as_bytes();
        if bytes.len() != 10 || bytes[4] != b'-' || bytes[7] != b'-' {
            return None;
        }
        let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
        let is_one = (1..=12).contains(&month) && (1..=days_in(year, month)).contains(&day);
        is_one.then_some(Self { year, month, day })
    }

    /// Today, by the system's clock.
    pub(super) fn today() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self::after_epoch(since.as_secs() / (24 * 60 * 60))
    }

    /// So many days after the first of January 1970.
    fn after_epoch(mut days: u64) -> Self {
        let mut year = 1970;
        loop {
            for month in 1..=12 {
                let length = u64::from(days_in(year, month));
                match u32::try_from(days) {
                    Ok(day) if days < length => return Self { year, month, day: day + 1 },
                    _ => days -= length,
                }
            }
            year += 1;
        }
    }
}

fn days_in(year: u32, month: u32) -> u32 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn is_leap(year: u32) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_since_the_epoch_are_those_of_the_calendar() {
        // `date -u -d @$((86400 * days)) +%F`
        for (days, text) in [
            (0, "1970-01-01"),
            (58, "1970-02-28"),
            (59, "1970-03-01"),
            (11_016, "2000-02-29"),
            (11_017, "2000-03-01"),
            (20_786, "2026-11-29"),
            (47_540, "2100-02-28"),
            (47_541, "2100-03-01"),
        ] {
            assert_eq!(Some(Day::after_epoch(days)), Day::parse(text), "{text}");
        }
        assert!(Day::today() >= Day::parse("2026-11-29").unwrap());
    }

    #[test]
    fn earlier_days_are_less() {
        let days = ["1999-12-31", "2027-03-31", "2027-04-01", "2028-02-29"].map(Day::parse);
        assert!(days.is_sorted() && days.iter().all(Option::is_some));
    }

    #[test]
    fn what_is_no_day_is_none() {
        for text in [
            "",
            "soon",
            "2027-02-29",
            "2100-02-29",
            "2027-13-01",
            "2027-00-01",
            "2027-01-00",
            "2027-04-31",
            "2027-1-01",
            "20270101",
            "2027-01-01 ",
            "+027-01-01",
            "2027/01/01",
            "２027-01-01",
            "2027-01-é1",
        ] {
            assert_eq!(Day::parse(text), None, "{text}");
        }
    }
}

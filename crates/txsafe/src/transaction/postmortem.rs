//! After a deadlock: who the others were.

use super::call::Call;
use crate::{
    clock,
    dialect::{
        condition::Condition,
        deadlock::{self, Deadlock, Opponent},
        failure::Failure,
    },
    driver::{account::Account, session::Standing},
};
use std::time::Instant;

/// A deadlock, right after it happened.
pub(crate) struct PostMortem {
    processes: Vec<u32>,
    died: Instant,
}

impl PostMortem {
    /// Of a transaction that died in a deadlock, as far as the server told.
    pub(crate) fn of(standing: &Standing) -> Option<Self> {
        let (Standing::Aborted(failure) | Standing::Open(Some(failure))) = standing else {
            return None;
        };
        if failure.condition() != Condition::Deadlock {
            return None;
        }
        let processes = deadlock::others(failure.detail().unwrap_or_default());
        Some(Self { processes, died: clock::now() })
    }

    /// The bind values of the question, if there is somebody to ask for.
    pub(crate) fn binds(&self) -> Option<[String; 2]> {
        if self.processes.is_empty() {
            return None;
        }
        let processes: Vec<_> = self.processes.iter().map(u32::to_string).collect();
        let ago = clock::since(self.died).as_micros();
        Some([format!("{{{}}}", processes.join(",")), format!("{ago} microseconds")])
    }

    /// The same failure, with all that is known now.
    pub(crate) fn explain<H>(
        self,
        standing: Standing,
        answer: Option<String>,
        call: &Call,
        account: &Account<H>,
    ) -> Standing {
        let explain =
            |failure: Failure| failure.with_deadlock(self.deadlock(answer, call, account));
        match standing {
            Standing::Aborted(failure) => Standing::Aborted(explain(failure)),
            Standing::Open(Some(failure)) => Standing::Open(Some(explain(failure))),
            other => other,
        }
    }

    fn deadlock<H>(self, answer: Option<String>, call: &Call, account: &Account<H>) -> Deadlock {
        let answer = answer.unwrap_or_default();
        let opponent = |process: u32| {
            let mut lines = answer.lines().filter_map(|line| line.split_once(' '));
            let name = lines.find(|(of, _)| of.parse() == Ok(process)).map(|(_, name)| name);
            let transaction = name.map(|name| call.shared.transaction_of(name));
            let place = transaction.as_deref().and_then(|name| call.shared.graph.place_of(name));
            Opponent { process, transaction, place }
        };
        let others: Vec<_> = self.processes.iter().copied().map(opponent).collect();
        let mut names = others.iter().filter_map(|other| other.transaction.as_deref());
        let inversion_with = |other| call.shared.graph.inversion_of(&account.transaction, other);
        let inversion = names.find_map(inversion_with).map(|found| found.to_string());
        Deadlock { held: account.locks.log().held(), others, inversion }
    }
}

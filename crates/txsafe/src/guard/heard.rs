//! Calls that are heard of in the midst of a client's logging, and told when the poll has ended.
//!
//! A client logs dozens of lines for one call. And telling is an event of `tracing`, which must not be sent while another
//! one is: filters of layers keep what they decided for the event at hand in one place for each thread.

use super::{
    code::Code,
    report::{Seen, Where},
    scope::watched,
};
use std::sync::{Mutex, PoisonError};

/// For layers that hear many events of one call: as [`note_external_call`](super::note_external_call), but once in an
/// attempt for each name, and not if a call by one of the names in `unless` has been noted so. What isn't the first costs
/// no look at the stack.
///
/// # Examples
/// An HTTP client speaks through its transport, which logs, too; a transport that nobody else spoke of is told itself:
/// ```
/// use txsafe::guard::note_first_external_call;
///
/// note_first_external_call("client", &["transport"]);
/// note_first_external_call("transport", &["client"]);
/// ```
pub fn note_first_external_call(name: &'static str, unless: &[&'static str]) {
    let Some(scope) = watched() else { return };
    if !scope.heard.is_first(name, unless) {
        return;
    }
    let seen = Seen {
        code: Code::ExternalCall,
        what: format!("called {name}"),
        subject: name.to_owned(),
        site: Where::here(&scope.guard.policy),
        waited: None,
    };
    scope.kept.push(seen);
}

/// The clients that were heard of in one attempt, by the names that the program has.
#[derive(Default)]
pub(super) struct Heard(Mutex<Vec<&'static str>>);

impl Heard {
    fn is_first(&self, name: &'static str, unless: &[&'static str]) -> bool {
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_first = !names.iter().any(|heard| *heard == name || unless.contains(heard));
        if is_first {
            names.push(name);
        }
        is_first
    }
}

#[cfg(test)]
mod tests {
    use super::super::{policy::Policy, scope::tests::scope_on, within::within};
    use super::*;
    use futures_util::FutureExt;
    use std::sync::Arc;

    #[test]
    fn each_name_is_told_once_in_an_attempt_and_behind_the_poll() {
        let told = Arc::<Mutex<Vec<String>>>::default();
        let receive = Arc::clone(&told);
        let policy = Policy::production()
            .on_finding(move |found| receive.lock().unwrap().push(found.what.clone()));
        let scope = scope_on(Arc::default(), 1, policy);
        let body = async {
            for _ in 0..3 {
                note_first_external_call("client", &["transport"]);
                note_first_external_call("transport", &["client"]);
                note_first_external_call("mail", &[]);
            }
            assert!(told.lock().unwrap().is_empty());
        };
        assert!(within(scope, body).now_or_never().is_some());
        assert_eq!(*told.lock().unwrap(), ["called client", "called mail"]);
        note_first_external_call("outside", &[]);
        assert_eq!(told.lock().unwrap().len(), 2);
    }
}

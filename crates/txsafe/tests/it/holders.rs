//! What holds the connections of a pool is told apart from what txsafe takes.

use crate::script::{Attempt, Opaque, play_both_called};
use std::{panic::Location, sync::Arc, time::Duration};
use txsafe::{
    Builder, Failure, PoolState, RetryPolicy, TxOptions,
    driver::{Call, Pool, Postgres, Shared, Takers, checkout_timed_out},
};

/// A pool of two connections, both in use.
struct Full;

impl Pool for Full {
    fn state(&self) -> PoolState {
        PoolState::new(2, self.max_size(), 0, None)
    }

    fn max_size(&self) -> usize {
        2
    }
}

#[test]
fn a_connection_on_which_a_commit_is_verified_is_no_other_codes() {
    let takers = Takers::new("a pool", true);
    let takes = |connection| Some((takers.clone(), connection));
    let attempts = [
        Attempt {
            takes: takes(1),
            commit: Some(Failure::lost(None, "connection reset by peer")),
            ..Attempt::default()
        },
        // It asks what became of the COMMIT.
        Attempt { takes: takes(2), ..Attempt::default() },
        Attempt {
            open: Some(checkout_timed_out(Duration::from_secs(1), Full.state())),
            ..Attempt::default()
        },
    ];
    let answers = ["771|42|1|2", "aborted|1|2"].map(|answer| Ok(Some(answer.to_owned())));
    let options = TxOptions::new().verify_commit(true).retry(RetryPolicy::new().max_attempts(2));
    let call = || {
        let builder = Builder::new(&Postgres, |shared: Arc<Shared>| {
            shared.set_pool(Full);
            shared
        });
        let shared = builder.build().unwrap();
        Call::new(&shared, "scripted", Location::caller(), Some(&options)).unwrap()
    };
    let (result, _) = play_both_called(call, &attempts, &answers);
    let Err(Opaque::Txsafe(error)) = result else { panic!("{result:?}") };
    let holders = error.failure().and_then(Failure::holders).unwrap();
    assert_eq!((holders.outside(), holders.takers().len()), (2, 0), "{error}");
}

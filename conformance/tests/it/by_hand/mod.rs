//! Transactions that are begun and ended by hand: what a loop of attempts, which the suite runs, doesn't show.

mod asynchronous;
mod blocking;

use txsafe_conformance::shop::Shop;

/// More than a pool has connections, and than a leak of any of them would let through.
const EARLY_RETURNS: i64 = 1_000;

async fn open() -> Shop {
    Shop::open("by_hand").await.unwrap()
}

//! What the shop's customers ask for.

use diesel::QueryResult;
use diesel_async::AsyncPgConnection;
use txsafe_diesel::Tx;

use crate::{
    failure::Failure,
    handlers,
    locks::ShopOrder,
    ordered,
    shop::{ACCOUNTS, ITEMS, ORDERS, ORGANIZATIONS, USERS},
};

/// What a customer asks for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Request {
    Transfer { from: i32, to: i32, cents: i64 },
    ShipOrder { order: i32 },
    ChangeAddress { user: i32 },
    OpenIncident { organization: i32 },
    Reserve { basket: Vec<(i32, i32)> },
}

impl Request {
    /// Equal dice give equal requests, whatever became of the earlier ones.
    pub(crate) fn random(dice: &mut fastrand::Rng) -> Self {
        match dice.u8(..10) {
            0..=2 => {
                let from = dice.i32(1..=ACCOUNTS);
                // Any other one.
                let to = 1 + (from - 1 + dice.i32(1..ACCOUNTS)) % ACCOUNTS;
                Self::Transfer { from, to, cents: dice.i64(1..=10_000) }
            }
            3..=4 => Self::ShipOrder { order: dice.i32(1..=ORDERS) },
            5 => Self::ChangeAddress { user: dice.i32(1..=USERS) },
            6 => Self::OpenIncident { organization: dice.i32(1..=ORGANIZATIONS) },
            _ => {
                let items = dice.choose_multiple(1..=ITEMS, 4);
                let mut basket: Vec<_> =
                    items.into_iter().map(|item| (item, dice.i32(1..=3))).collect();
                dice.shuffle(&mut basket);
                Self::Reserve { basket }
            }
        }
    }

    /// How the transaction is called.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Transfer { .. } => "transfer",
            Self::ShipOrder { .. } => "ship_order",
            Self::ChangeAddress { .. } => "change_address",
            Self::OpenIncident { .. } => "open_incident",
            Self::Reserve { .. } => "reserve",
        }
    }

    /// Calls the handler.
    pub(crate) async fn handle(
        &self,
        conn: &mut AsyncPgConnection,
        operation: i64,
    ) -> QueryResult<()> {
        match self {
            &Self::Transfer { from, to, cents } => {
                handlers::transfer(conn, operation, from, to, cents).await
            }
            &Self::ShipOrder { order } => handlers::ship_order(conn, operation, order).await,
            &Self::ChangeAddress { user } => handlers::change_address(conn, operation, user).await,
            &Self::OpenIncident { organization } => {
                handlers::open_incident(conn, operation, organization).await
            }
            Self::Reserve { basket } => handlers::reserve(conn, operation, basket).await,
        }
    }

    /// Calls the handler that takes its locks in order.
    pub(crate) async fn handle_in_order(
        &self,
        tx: Tx<'_, ShopOrder>,
        operation: i64,
    ) -> Result<(), Failure> {
        match self {
            &Self::Transfer { from, to, cents } => {
                ordered::transfer(tx, operation, from, to, cents).await
            }
            &Self::ShipOrder { order } => ordered::ship_order(tx, operation, order).await,
            &Self::ChangeAddress { user } => ordered::change_address(tx, operation, user).await,
            &Self::OpenIncident { organization } => {
                ordered::open_incident(tx, operation, organization).await
            }
            Self::Reserve { basket } => ordered::reserve(tx, operation, basket).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_seeds_give_equal_requests() {
        let requests = |seed| {
            let mut dice = fastrand::Rng::with_seed(seed);
            std::iter::repeat_with(|| Request::random(&mut dice)).take(100).collect::<Vec<_>>()
        };
        assert_eq!(requests(7), requests(7));
        assert_ne!(requests(7), requests(8));
    }

    #[test]
    fn nobody_pays_himself_and_no_basket_holds_an_item_twice() {
        let mut dice = fastrand::Rng::with_seed(1);
        for _ in 0..10_000 {
            match Request::random(&mut dice) {
                Request::Transfer { from, to, .. } => {
                    assert_ne!(from, to);
                    assert!((1..=ACCOUNTS).contains(&to));
                }
                Request::Reserve { basket } => {
                    let mut items: Vec<_> = basket.iter().map(|(item, _)| item).collect();
                    items.sort_unstable();
                    items.dedup();
                    assert_eq!(items.len(), basket.len());
                }
                Request::ShipOrder { .. }
                | Request::ChangeAddress { .. }
                | Request::OpenIncident { .. } => {}
            }
        }
    }
}

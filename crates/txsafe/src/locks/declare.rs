//! The macros that declare ranks, rows and orders.

/// Declares a rank: a table whose rows are locked, next to its schema; or advisory locks, or a scoped sequence.
///
/// The key's type is one that sorts alike in Rust and SQL, a [`LockKey`](crate::locks::key::LockKey).
///
/// ```
/// txsafe::rank!(
///     /// Who places orders.
///     pub Organization: table "organizations" key "id" as i64
/// );
/// txsafe::rank!(pub Item: table "shop.items" key "sku" as String);
///
/// // Advisory locks, by a namespace that no other rank has, and keys within it.
/// txsafe::rank!(pub Import: advisory 42 as String);
///
/// // A sequence of numbers for each organization, without gaps. They start at 1, or where you say.
/// txsafe::rank!(pub IncidentNumber: sequence "incident_number" as i64);
/// txsafe::rank!(pub InvoiceNumber: sequence "invoice_number" start 10_000 as i64);
///
/// use txsafe::Rank;
/// assert_eq!(Organization::NAME, "Organization");
/// ```
#[macro_export]
macro_rules! rank {
    ($(#[$meta:meta])* $vis:vis $name:ident: table $table:literal key $key:literal as $type:ty) => {
        $crate::__rank!([$(#[$meta])*] [$vis] $name $type, TableRank, Table { name: $table, key: $key });
    };
    ($(#[$meta:meta])* $vis:vis $name:ident: advisory $namespace:literal as $type:ty) => {
        $crate::__rank!([$(#[$meta])*] [$vis] $name $type, AdvisoryRank, Advisory { namespace: $namespace });
    };
    ($(#[$meta:meta])* $vis:vis $name:ident: sequence $sequence:literal as $type:ty) => {
        $crate::rank!($(#[$meta])* $vis $name: sequence $sequence start 1 as $type);
    };
    ($(#[$meta:meta])* $vis:vis $name:ident: sequence $sequence:literal start $start:literal as $type:ty) => {
        $crate::__rank!(
            [$(#[$meta])*] [$vis] $name $type, SequenceRank, Sequence { name: $sequence, start: $start }
        );
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __rank {
    ([$($meta:tt)*] [$vis:vis] $name:ident $type:ty, $kind:ident, $target:ident $fields:tt) => {
        $($meta)*
        #[derive(Debug, Clone, Copy)]
        #[allow(clippy::exhaustive_enums, missing_docs)]
        $vis enum $name {}

        impl $crate::Rank for $name {
            type Key = $type;
            const NAME: &'static str = ::core::stringify!($name);
            const TARGET: $crate::locks::rank::Target =
                $crate::locks::rank::Target::$target $fields;

            fn class() -> &'static $crate::locks::graph::class::Class {
                static CLASS: $crate::locks::graph::class::Class =
                    $crate::locks::graph::class::Class::of(<$name as $crate::Rank>::NAME, <$name as $crate::Rank>::TARGET);
                &CLASS
            }
        }

        impl $crate::locks::rank::$kind for $name {}
    };
}

/// Says which ranks row types belong to.
///
/// ```
/// # txsafe::rank!(pub Organization: table "organizations" key "id" as i64);
/// # txsafe::rank!(pub Order: table "orders" key "id" as i64);
/// # struct OrgRow; struct OrderRow;
/// txsafe::ranked!(OrgRow => Organization, OrderRow => Order);
/// ```
#[macro_export]
macro_rules! ranked {
    ($($row:ty => $rank:ty),+ $(,)?) => {
        $(impl $crate::Ranked for $row {
            type Rank = $rank;
        })+
    };
}

/// Says which ranks the foreign keys of a rank's table point at: the rows that an INSERT locks behind your back.
///
/// Inserts that go through the transaction's own `insert` then ask for the evidence that they are locked.
///
/// ```
/// # txsafe::rank!(pub Organization: table "organizations" key "id" as i64);
/// # txsafe::rank!(pub User: table "users" key "id" as i64);
/// # txsafe::rank!(pub Order: table "orders" key "id" as i64);
/// txsafe::references!(Order => (Organization, User));
/// txsafe::references!(User => (Organization));
/// txsafe::references!(Organization => ());
/// ```
#[macro_export]
macro_rules! references {
    ($rank:ty => ($($parent:ty),* $(,)?)) => {
        impl $crate::locks::evidence::References for $rank {
            type Parents = ($($parent,)*);
        }
    };
}

/// Declares the order in which ranks are locked, once for an application, whichever crates they come from.
///
/// ```
/// # mod billing { txsafe::rank!(pub Account: table "accounts" key "id" as i64); }
/// # txsafe::rank!(pub Organization: table "organizations" key "id" as i64);
/// # txsafe::rank!(pub Order: table "orders" key "id" as i64);
/// txsafe::lock_order! {
///     /// The one place where the lock order of the shop is written down.
///     pub ShopOrder: Organization => Order => billing::Account
/// }
///
/// use txsafe::LockOrder;
/// assert_eq!(ShopOrder::TEXT, "Organization => Order => billing::Account");
/// assert_eq!(
///     ShopOrder::MERMAID,
///     "flowchart TD\n  Organization --> Order\n  Order --> billing_Account\n",
/// );
/// assert_eq!(
///     ShopOrder::DOT,
///     "digraph ShopOrder {\n  \"Organization\" -> \"Order\";\n  \"Order\" -> \"billing::Account\";\n}\n",
/// );
/// ```
///
/// Where some ranks are never locked together, a partial order lets them be locked in any order with what both allow,
/// and never with each other. Prefer a total order: to add a rank to it changes nothing for those that are there.
///
/// ```
/// # txsafe::rank!(pub Organization: table "organizations" key "id" as i64);
/// # txsafe::rank!(pub Order: table "orders" key "id" as i64);
/// # txsafe::rank!(pub User: table "users" key "id" as i64);
/// # txsafe::rank!(pub Item: table "items" key "id" as i64);
/// txsafe::lock_order! {
///     pub partial ShopOrder: Organization => Order => Item; Organization => User => Item
/// }
/// ```
///
/// It also declares the trait `ShopOrderBefore<Next>`, in whose messages the compiler explains a wrong order.
#[macro_export]
macro_rules! lock_order {
    ($($declaration:tt)*) => {
        $crate::__lock_order! { [$crate] $($declaration)* }
    };
}

#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

/// The guide to the outbox, whose example needs a driver.
#[cfg_attr(doctest, doc = include_str!("../crates/txsafe/docs/outbox.md"))]
pub mod outbox {}

/// The guide of the guard, whose examples need a driver.
#[cfg(doctest)]
#[doc = include_str!("../crates/txsafe/docs/guard.md")]
pub mod guard {}

/// The pages of findings, whose examples need a driver, too.
#[cfg(doctest)]
pub mod findings {
    #[doc = include_str!("../docs/findings/TXS001.md")]
    pub mod txs001 {}
    #[doc = include_str!("../docs/findings/TXS002.md")]
    pub mod txs002 {}
    #[doc = include_str!("../docs/findings/TXS003.md")]
    pub mod txs003 {}
    #[doc = include_str!("../docs/findings/TXS004.md")]
    pub mod txs004 {}
    #[doc = include_str!("../docs/findings/TXS005.md")]
    pub mod txs005 {}
    #[doc = include_str!("../docs/findings/TXS006.md")]
    pub mod txs006 {}
    #[doc = include_str!("../docs/findings/TXS007.md")]
    pub mod txs007 {}
    #[doc = include_str!("../docs/findings/TXS009.md")]
    pub mod txs009 {}
}

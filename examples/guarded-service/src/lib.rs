#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod payments;
mod provider;
mod shop;

pub use self::{
    payments::Payments,
    provider::Provider,
    shop::{CONCERT, Shop, TABLES},
};

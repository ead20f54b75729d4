//! A store that instances share: Redis or Valkey.
//!
//! What one instance counts, all count.

pub(crate) mod breaker;
pub(crate) mod builder;
pub(crate) mod call;
pub(crate) mod failure;
pub(crate) mod hash;
pub(crate) mod link;
pub(crate) mod listener;
pub(crate) mod script;
pub(crate) mod settings;
pub(crate) mod store;
pub(crate) mod worker;

pub use self::{
    builder::{RedisStoreBuilder, RedisStoreError},
    failure::StoreFailure,
    settings::OnStoreFailure,
    store::RedisStore,
};

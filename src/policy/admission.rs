//! What an admitted request carries along.

use std::mem;

use http::Extensions;

use crate::policy::{
    fields::{FieldMode, ResponseFields},
    notice::Notice,
    receipt::{Receipt, Receipts, Until},
};

/// What an admitted request carries along. One that carries nothing costs nothing.
#[derive(Debug, Default)]
#[must_use]
pub struct Admission {
    pub(crate) fields: ResponseFields,
    pub(crate) receipts: Receipts,
    pub(crate) notices: Vec<Notice>,
    pub(crate) extensions: Extensions,
    /// Whether it stands for a rejection that is not enforced.
    pub(crate) observed: bool,
}

impl Admission {
    /// Creates an admission that carries nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a header field to the response.
    pub fn with_field(
        mut self,
        name: http::HeaderName,
        value: http::HeaderValue,
        mode: FieldMode,
    ) -> Self {
        self.fields.push(name, value, mode);
        self
    }

    /// Adds header fields to the response.
    pub fn with_fields(mut self, fields: ResponseFields) -> Self {
        self.fields.extend(fields);
        self
    }

    /// Hands out a receipt that learns how the request ends.
    pub fn with_receipt(mut self, until: Until, receipt: impl Receipt) -> Self {
        self.receipts.push(until, receipt);
        self
    }

    /// Raises an event although the request passes.
    pub fn with_notice(mut self, notice: Notice) -> Self {
        self.notices.push(notice);
        self
    }

    /// Puts a value into the extensions of the request, for the policies and handlers further in.
    pub fn with_extension<T: Clone + Send + Sync + 'static>(mut self, value: T) -> Self {
        self.extensions.insert(value);
        self
    }

    /// Returns whether the admission carries nothing.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.fields.is_empty()
            && self.receipts.is_empty()
            && self.notices.is_empty()
            && self.extensions.is_empty()
    }

    /// Returns whether there is nothing to drop.
    #[inline]
    pub(crate) fn owns_nothing(&self) -> bool {
        self.is_empty()
            && !self.fields.is_spilled()
            && self.receipts.is_unallocated()
            && self.notices.capacity() == 0
    }

    /// Takes up what a later admission of the same request carries, but for the extensions, which the request itself takes.
    #[inline]
    pub(crate) fn merge(&mut self, later: &mut Self) {
        // By reference, and field by field: an admission is large, and most carry nothing.
        if !later.fields.is_empty() {
            self.fields.append(&mut later.fields);
        }
        if !later.receipts.is_empty() {
            self.receipts.extend(mem::take(&mut later.receipts));
        }
        if !later.notices.is_empty() {
            self.notices.append(&mut later.notices);
        }
    }
}

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
    /// Apart, because an admission is moved about, and most carry none of it.
    rest: Option<Box<Rest>>,
    /// Whether it stands for a rejection that is not enforced.
    pub(crate) observed: bool,
}

/// What few admissions carry.
#[derive(Debug, Default)]
struct Rest {
    receipts: Receipts,
    notices: Vec<Notice>,
    extensions: Extensions,
}

impl Admission {
    /// Creates an admission that carries nothing.
    #[inline]
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
        self.rest_mut().receipts.push(until, receipt);
        self
    }

    /// Raises an event although the request passes.
    pub fn with_notice(mut self, notice: Notice) -> Self {
        self.push_notice(notice);
        self
    }

    /// Puts a value into the extensions of the request, for the policies and handlers further in.
    pub fn with_extension<T: Clone + Send + Sync + 'static>(mut self, value: T) -> Self {
        self.rest_mut().extensions.insert(value);
        self
    }

    /// Puts values into the extensions of the request.
    pub(crate) fn extend_extensions(&mut self, extensions: Extensions) {
        if !extensions.is_empty() {
            self.rest_mut().extensions.extend(extensions);
        }
    }

    pub(crate) fn push_notice(&mut self, notice: Notice) {
        self.rest_mut().notices.push(notice);
    }

    /// Returns whether the admission carries nothing.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.fields.is_empty() && self.rest.is_none()
    }

    /// Returns whether it carries something beside header fields.
    #[inline]
    pub(crate) fn has_rest(&self) -> bool {
        self.rest.is_some()
    }

    /// Takes up what a later admission of the same request carries, but for the extensions, which the request itself takes.
    #[inline]
    pub(crate) fn merge(&mut self, later: &mut Self) -> Extensions {
        // By reference, and part by part: an admission is large, and most carry nothing.
        if !later.fields.is_empty() {
            self.fields.append(&mut later.fields);
        }
        match later.rest.take() {
            None => Extensions::new(),
            Some(rest) => self.merge_rest(rest),
        }
    }

    fn merge_rest(&mut self, mut later: Box<Rest>) -> Extensions {
        let extensions = mem::take(&mut later.extensions);
        match &mut self.rest {
            None => self.rest = Some(later),
            Some(rest) => {
                rest.receipts.extend(later.receipts);
                rest.notices.append(&mut later.notices);
            }
        }
        extensions
    }

    /// Takes out the notices, in order.
    pub(crate) fn take_notices(&mut self) -> Vec<Notice> {
        let rest = self.rest.as_mut();
        rest.map(|it| mem::take(&mut it.notices))
            .unwrap_or_default()
    }

    /// Takes out the receipts.
    #[inline]
    pub(crate) fn take_receipts(&mut self) -> Receipts {
        match self.rest.take() {
            None => Receipts::default(),
            Some(rest) => rest.receipts,
        }
    }

    fn rest_mut(&mut self) -> &mut Rest {
        self.rest.get_or_insert_default()
    }
}

//! What responses tell of a limit: which fields there are, and their numbers.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, StatusCode, header::ACCESS_CONTROL_EXPOSE_HEADERS};

use crate::{
    policy::fields::{Numbers, PreparedFields, ResponseFields, insert_if_absent},
    rate_limit::{
        fields::{self, PartitionKey},
        metered::Metered,
        set::{QuotaSet, Quotas},
        settings::{LegacyReset, Redirects, Settings},
    },
};

/// What a response tells of a limit. It is kept as numbers until the response is there: they are less to hand on than the fields.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Told {
    pub(crate) which: Which,
    /// The position of the tightest quota.
    pub(crate) tightest: u8,
    /// What remains of it.
    pub(crate) remaining: u32,
    /// The seconds until more does.
    pub(crate) seconds: u64,
    /// What `X-RateLimit-Reset` says.
    pub(crate) reset: u64,
    /// What the partition key says.
    pub(crate) partition: u64,
}

/// Which fields there are: a set of the constants below.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Which(u8);

impl Which {
    const STANDARD: Self = Self(1);
    const PARTITION: Self = Self(1 << 1);
    const LEGACY: Self = Self(1 << 2);
    const LEGACY_EPOCH: Self = Self(1 << 3);
    const EXPOSED: Self = Self(1 << 4);
    const ON_REDIRECTS: Self = Self(1 << 5);

    pub(crate) fn new(settings: &Settings) -> Self {
        let flags = [
            (Self::STANDARD, settings.standard.is_some()),
            (Self::PARTITION, settings.partition.is_some()),
            (Self::LEGACY, settings.legacy.is_some()),
            (
                Self::LEGACY_EPOCH,
                settings.legacy == Some(LegacyReset::Epoch),
            ),
            (Self::EXPOSED, settings.exposed),
            (Self::ON_REDIRECTS, settings.redirects == Redirects::Tell),
        ];
        let set = flags.iter().filter(|(_, is_set)| *is_set);
        Self(set.fold(0, |all, (flag, _)| all | flag.0))
    }

    /// Returns whether there is any field.
    pub(crate) fn is_any(self) -> bool {
        self.0 & (Self::STANDARD.0 | Self::LEGACY.0 | Self::EXPOSED.0) != 0
    }

    pub(crate) fn has_partition(self) -> bool {
        self.has(Self::PARTITION)
    }

    pub(crate) fn has_epoch(self) -> bool {
        self.has(Self::LEGACY_EPOCH)
    }

    fn has(self, flag: Self) -> bool {
        self.0 & flag.0 != 0
    }
}

impl Told {
    /// Returns the fields that tell it.
    #[inline]
    pub(crate) fn fields(self, quotas: &QuotaSet) -> ResponseFields {
        let mut found = ResponseFields::new();
        found.push_prepared(quotas.prepared(), self.numbers());
        found
    }

    fn numbers(self) -> Numbers {
        let first = u64::from(self.which.0)
            | u64::from(self.tightest) << 8
            | u64::from(self.remaining) << 32;
        [first, self.seconds, self.reset, self.partition]
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "each part is cut out of the number that it was put into"
    )]
    fn read([first, seconds, reset, partition]: Numbers) -> Self {
        Self {
            which: Which(first as u8),
            tightest: (first >> 8) as u8,
            remaining: (first >> 32) as u32,
            seconds,
            reset,
            partition,
        }
    }
}

impl QuotaSet {
    fn prepared(&self) -> Arc<dyn PreparedFields> {
        Arc::clone(self.shared()) as Arc<dyn PreparedFields>
    }
}

impl PreparedFields for Quotas {
    fn put(&self, numbers: Numbers, status: StatusCode, headers: &mut HeaderMap) {
        let told = Told::read(numbers);
        let which = told.which;
        if status.is_redirection() && !which.has(Which::ON_REDIRECTS) {
            return;
        }
        let Some(tightest) = self.metered.get(usize::from(told.tightest)) else {
            return;
        };
        // A map that is full, as only a service of many thousand fields makes it, stays as it is: the other methods panic.
        if which.has(Which::STANDARD) {
            let key = which
                .has_partition()
                .then(|| PartitionKey::new(told.partition));
            let limit = fields::limit(tightest, told.remaining, told.seconds, key.as_ref());
            let policy = match &key {
                None => self.policy_field.clone(),
                Some(key) => fields::policy_of(&self.policy_field, self.metered.len(), key),
            };
            // Limits further in and out add their own: the fields are lists.
            let _ = headers.try_append(fields::POLICY, policy);
            let _ = headers.try_append(fields::LIMIT, limit);
        }
        if which.has(Which::LEGACY) {
            put_legacy(told, tightest, headers);
        }
        if which.has(Which::EXPOSED) {
            // The Fetch standard, section 3.3.6: a list, to which a layer for other origins adds its own.
            let exposed = HeaderValue::from_static(fields::EXPOSED);
            let _ = headers.try_append(ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
        }
    }

    fn put_singles(&self, numbers: Numbers, status: StatusCode, headers: &mut HeaderMap) {
        let told = Told::read(numbers);
        if status.is_redirection() && !told.which.has(Which::ON_REDIRECTS) {
            return;
        }
        if told.which.has(Which::LEGACY)
            && let Some(tightest) = self.metered.get(usize::from(told.tightest))
        {
            put_legacy(told, tightest, headers);
        }
    }
}

/// Puts the fields that cannot be lists: the innermost limit speaks, which is the one that refuses.
fn put_legacy(told: Told, tightest: &Metered, headers: &mut HeaderMap) {
    for (name, number) in [
        (&fields::LEGACY_LIMIT, tightest.quota.limit().into()),
        (&fields::LEGACY_REMAINING, told.remaining.into()),
        (&fields::LEGACY_RESET, told.reset),
    ] {
        insert_if_absent(headers, name, HeaderValue::from(number));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_they_were_written() {
        let told = Told {
            which: Which(0b10_1010),
            tightest: 7,
            remaining: u32::MAX,
            seconds: u64::MAX,
            reset: 1 << 40,
            partition: u64::MAX - 1,
        };
        assert_eq!(Told::read(told.numbers()), told);
        let least = Told {
            which: Which(0),
            tightest: 0,
            remaining: 0,
            seconds: 0,
            reset: 0,
            partition: 0,
        };
        assert_eq!(Told::read(least.numbers()), least);
    }
}

//! Quotas in any text: nothing panics, a quota writes itself as it is read, and what it says of itself fits together.

use std::time::Duration;

use palisade::rate_limit::{Quota, QuotaSet};

pub(crate) fn check(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else {
        return;
    };
    let Ok(quota) = text.parse::<Quota>() else {
        return;
    };
    assert_ne!(quota.limit(), 0);
    assert_ne!(quota.capacity(), 0);
    assert!(!quota.period().is_zero());
    assert!(quota.period() <= Duration::from_secs(366 * 86_400));
    let written = quota.to_string();
    assert_eq!(written.parse::<Quota>().expect("its own text"), quota);
    // A quota that exists is sound: nothing that is built from one fails.
    assert_eq!(QuotaSet::from(quota).len(), 1);
}

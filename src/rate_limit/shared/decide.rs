//! What is asked of the store, and what it answers.

use std::{fmt::Write as _, sync::Arc};

use redis::{Cmd, Value};

use crate::{
    rate_limit::{
        set::{MAX_QUOTAS, QuotaSet},
        store::memory::Arrivals,
    },
    shared_store::{failure::Cause, script::Script},
};

/// Under what a client is known to the store: 128 bits of a keyed hash.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct WideKey(pub(crate) u128);

/// What the script does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Operation {
    /// Charges the units to all quotas, or to none.
    Charge,
    /// Charges what is left, up to the units.
    ChargeUpTo,
    /// Charges what has been spent already.
    Force,
    /// Gives units of a charge back.
    GiveBack,
    /// Gives units back, whoever charged them.
    Refund,
}

impl Operation {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Charge => "charge",
            Self::ChargeUpTo => "most",
            Self::Force => "force",
            Self::GiveBack => "give",
            Self::Refund => "refund",
        }
    }
}

/// The names of the keys of one limit.
#[derive(Clone, Debug)]
pub(crate) struct KeyNames {
    prefix: String,
    limit: Arc<str>,
}

/// A charge that has been made in the store, and may be corrected.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StoreCharge {
    pub(crate) at: u64,
    pub(crate) units: u32,
    /// The arrival times that it led to.
    pub(crate) until: Arrivals,
    /// How much had been given back then, as the store counts it.
    pub(crate) given: Given,
}

/// What the store has decided. Times are nanoseconds since 1970 by the clock of the store.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Decided {
    pub(crate) admitted: bool,
    pub(crate) now: u64,
    pub(crate) units: u32,
    pub(crate) before: Arrivals,
    /// How much has been given back, as the store counts it.
    pub(crate) given: Given,
}

/// How much has been given back for each quota.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Given {
    /// Of charges that others had been made after.
    of_charges: [u64; MAX_QUOTAS],
    /// Whoever had charged it.
    of_all: [u64; MAX_QUOTAS],
}

impl KeyNames {
    pub(crate) fn new(prefix: &str, limit: Arc<str>) -> Self {
        Self {
            prefix: prefix.into(),
            limit,
        }
    }

    /// Begins the call of a script for so many keys of a client.
    fn begin(&self, script: &Script, key: WideKey, keys: usize) -> Cmd {
        let Self { prefix, limit } = self;
        let mut name = String::with_capacity(prefix.len() + limit.len() + NAME);
        // The braces hold the hash alone: all quotas of a client are on one node of a cluster, and no client can choose on which.
        // What is written to a string is always written.
        let _ = write!(name, "{prefix}:{{{:032x}}}:{limit}:", key.0);
        let stem = name.len();
        let mut call = script.call(keys);
        for position in 0..keys {
            name.truncate(stem);
            let _ = write!(name, "{position}");
            call.arg(&name);
        }
        call
    }

    /// Returns the call that asks this of the store.
    pub(crate) fn call(
        &self,
        script: &Script,
        key: WideKey,
        operation: Operation,
        units: u32,
        quotas: &QuotaSet,
        charge: Option<&StoreCharge>,
    ) -> Cmd {
        let metered = quotas.metered();
        let mut call = self.begin(script, key, metered.len());
        call.arg(operation.as_str()).arg(units);
        let until = charge.map_or(Arrivals::NONE, |it| it.until);
        for (metered, until) in metered.iter().zip(until.0) {
            let meter = &metered.meter;
            call.arg(meter.interval / MICROSECOND)
                .arg(meter.full / MICROSECOND)
                .arg(meter.overdraft / MICROSECOND)
                .arg(until / MICROSECOND);
        }
        if let (Operation::GiveBack, Some(charge)) = (operation, charge) {
            call.arg(charge.at / MICROSECOND).arg(charge.units);
            let Given { of_charges, of_all } = charge.given;
            for given in [of_charges, of_all] {
                for (_, given) in metered.iter().zip(given) {
                    call.arg(given);
                }
            }
        }
        call
    }

    /// Returns the call that forgets all quotas of a client.
    pub(crate) fn forget(&self, script: &Script, key: WideKey) -> Cmd {
        self.begin(script, key, MAX_QUOTAS)
    }
}

impl Decided {
    /// Reads the answer of the script.
    pub(crate) fn read(value: &Value, quotas: &QuotaSet) -> Result<Self, Cause> {
        let Value::Array(values) = value else {
            return Err(Cause::Reply);
        };
        let mut numbers = values.iter().map(|value| match value {
            Value::Int(number) => u64::try_from(*number).map_err(|_| Cause::Reply),
            _ => Err(Cause::Reply),
        });
        let mut next = || numbers.next().unwrap_or(Err(Cause::Reply));
        let admitted = next()? == 1;
        let now = nanos(next()?)?;
        let units = u32::try_from(next()?).map_err(|_| Cause::Reply)?;
        let mut before = Arrivals::NONE;
        for (arrival, _) in before.0.iter_mut().zip(quotas.metered()) {
            *arrival = nanos(next()?)?;
        }
        let mut given = Given::default();
        let Given { of_charges, of_all } = &mut given;
        for given in [of_charges, of_all] {
            for (given, _) in given.iter_mut().zip(quotas.metered()) {
                // Left out where there is nothing to tell.
                *given = numbers.next().unwrap_or(Ok(0))?;
            }
        }
        Ok(Self {
            admitted,
            now,
            units,
            before,
            given,
        })
    }

    /// Returns the arrival times that the charge has led to.
    pub(crate) fn after(&self, quotas: &QuotaSet) -> Arrivals {
        let mut after = self.before;
        if self.admitted {
            for (arrival, metered) in after.0.iter_mut().zip(quotas.metered()) {
                let weight = metered.meter.interval.saturating_mul(self.units.into());
                *arrival = arrival.saturating_add(weight);
            }
        }
        after
    }
}

fn nanos(micros: u64) -> Result<u64, Cause> {
    micros.checked_mul(MICROSECOND).ok_or(Cause::Reply)
}

const MICROSECOND: u64 = 1000;
/// Room for what a name has beside the prefix and the limit: the hash, the position, and what stands between.
const NAME: usize = 40;
/// The script that decides.
pub(crate) const DECIDE: &str = include_str!("gcra.lua");
/// The script that forgets.
pub(crate) const FORGET: &str = include_str!("forget.lua");

//! What requests are counted under.

use std::{
    any::type_name,
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use http::{HeaderName, Method};

#[cfg(feature = "redis")]
use crate::shared_store::hash::WideHasher;
use crate::{
    client_ip::{
        context::ClientIp,
        peer::{PeerAddr, usual_places},
    },
    policy::head::RequestHead,
    rate_limit::{
        hasher::{KeyHasher, finish},
        set::{Kind, QuotaSet, RateLimitError},
        store::places::KeyHash,
    },
};

/// What requests are counted under: the client's address, a header, an identity, the route, or several of them together.
///
/// Parts are hashed one by one with their lengths, so that no value of one part can pass for another's.
///
/// The hash has 64 bits, and all that is kept of a key is its hash: a client who finds a key with the hash of another's shares that one's quotas, and can
/// spend them. Hashes are keyed at random for every limiter and nobody gets to see one, so that there is nothing better than to guess. Whatever may be
/// text of a client's choice is hashed with `SipHash`; an address alone, which nobody chooses freely, with foldhash, which is no cryptographic hash.
///
/// # Example
///
/// ```
/// use http::HeaderName;
/// use palisade::rate_limit::RateLimitKey;
///
/// /// What the API-key layer found out, say.
/// #[derive(Clone, Hash)]
/// struct Tenant(u64);
///
/// let per_tenant_and_method = RateLimitKey::extension(|tenant: &Tenant| tenant.0).and(RateLimitKey::method());
/// let per_token = RateLimitKey::header(HeaderName::from_static("x-token"));
/// assert!(RateLimitKey::client_ip().with_ipv6_prefix(64).is_ok());
/// assert!(RateLimitKey::client_ip().with_ipv6_prefix(24).is_err());
/// # let _ = (per_tenant_and_method, per_token);
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct RateLimitKey {
    parts: Vec<Part>,
    missing: MissingKey,
}

/// What happens to a request that has not all parts of its key.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum MissingKey {
    /// It is refused. The default.
    #[default]
    Refuse,
    /// It is counted together with all others that miss the same part.
    Share,
    /// It is not limited.
    Skip,
}

impl RateLimitKey {
    /// Counts by the address of the client, IPv6 by the /56 that a line is given.
    ///
    /// The client is the one that [`ClientIpLayer`](crate::client_ip::ClientIpLayer) resolved; where no such layer ran, the peer of the connection. A client
    /// that is unknown is never counted with one that is known. An IPv4 address behind the well-known NAT64 prefix counts as that address.
    pub fn client_ip() -> Self {
        Self::part(Part::ClientIp(IPV6_PREFIX))
    }

    /// Counts all requests together.
    pub fn global() -> Self {
        Self {
            parts: Vec::new(),
            missing: MissingKey::Refuse,
        }
    }

    /// Counts by the values of a header field. Only of use where something further out has verified it: a client chooses its own fields.
    pub fn header(name: HeaderName) -> Self {
        Self::part(Part::Header(name))
    }

    /// Counts by method. All methods but those of RFC 9110 and `PATCH` count as one, for a client can invent any number of them.
    pub fn method() -> Self {
        Self::part(Part::Method)
    }

    /// Counts by route: the path as it was given to the router, parameters and all.
    #[cfg(feature = "axum")]
    pub fn route() -> Self {
        Self::part(Part::Route)
    }

    /// Counts by what an extension of the request says, as an identity that was verified further out.
    pub fn extension<T, K>(key: impl Fn(&T) -> K + Send + Sync + 'static) -> Self
    where
        T: Send + Sync + 'static,
        K: Hash,
    {
        Self::part(Part::Own(Own {
            name: type_name::<T>(),
            part: Arc::new(Closure(move |head: &RequestHead<'_>| {
                head.extensions().get::<T>().map(&key)
            })),
        }))
    }

    /// Counts by what a closure returns; nothing means that the part is missing.
    ///
    /// An address counts as it is: whoever has an IPv6 network has as many keys as it has addresses. [`client_ip`](Self::client_ip) knows of prefixes.
    pub fn from_fn<K: Hash>(
        key: impl Fn(&RequestHead<'_>) -> Option<K> + Send + Sync + 'static,
    ) -> Self {
        Self::part(Part::Own(Own {
            name: type_name::<K>(),
            part: Arc::new(Closure(key)),
        }))
    }

    /// Adds the parts of another key: requests are counted together where all parts are equal.
    pub fn and(mut self, other: Self) -> Self {
        self.parts.extend(other.parts);
        self
    }

    /// Sets the length of the IPv6 prefix that counts as one client. The default is 56.
    ///
    /// # Errors
    ///
    /// Refuses a length outside of 32 to 128.
    pub fn with_ipv6_prefix(mut self, length: u8) -> Result<Self, RateLimitError> {
        if !(32..=128).contains(&length) {
            return Err(RateLimitError(Kind::Prefix(length)));
        }
        for part in &mut self.parts {
            if let Part::ClientIp(prefix) = part {
                *prefix = length;
            }
        }
        Ok(self)
    }

    /// Sets what happens where a part is missing. The default is [`MissingKey::Refuse`].
    pub fn when_missing(mut self, missing: MissingKey) -> Self {
        self.missing = missing;
        self
    }

    /// Hashes the key of a request; nothing where a part is missing that must not be.
    #[inline]
    pub(crate) fn hash(
        &self,
        head: &RequestHead<'_>,
        tier: Option<&QuotaSet>,
        hasher: &KeyHasher,
    ) -> Keyed<KeyHash> {
        match (self.parts.as_slice(), tier) {
            ([Part::ClientIp(prefix)], None) => {
                Keyed::Counted(hash_client(client(head), *prefix, hasher))
            }
            _ => match self.hashed(head, tier, hasher.for_parts()) {
                Keyed::Counted(hasher) => Keyed::Counted(finish(&hasher)),
                Keyed::Missing => Keyed::Missing,
                Keyed::Skipped => Keyed::Skipped,
            },
        }
    }

    /// Writes the key of a request to a hasher, which is given back.
    pub(crate) fn hashed<H: PartHasher>(
        &self,
        head: &RequestHead<'_>,
        tier: Option<&QuotaSet>,
        mut hasher: H,
    ) -> Keyed<H> {
        let complete = self.write(head, &mut hasher);
        // Tiers have rows of their own: in a shared one, the arrival times would be clamped to the smallest capacity.
        for quota in tier.into_iter().flat_map(QuotaSet::iter) {
            quota.hash(&mut hasher);
        }
        match (complete, self.missing()) {
            (true, _) | (false, MissingKey::Share) => Keyed::Counted(hasher),
            (false, MissingKey::Refuse) => Keyed::Missing,
            (false, MissingKey::Skip) => Keyed::Skipped,
        }
    }

    /// Hashes the key of a client's address, where that is all there is to it.
    pub(crate) fn hash_of_client(&self, client: ClientIp, hasher: &KeyHasher) -> Option<KeyHash> {
        match self.parts.as_slice() {
            [Part::ClientIp(prefix)] => Some(hash_client(client, *prefix, hasher)),
            _ => None,
        }
    }

    pub(crate) fn missing(&self) -> MissingKey {
        self.missing
    }

    /// Writes all parts; returns whether they were all there.
    pub(crate) fn write<H: PartHasher>(&self, head: &RequestHead<'_>, hasher: &mut H) -> bool {
        let mut complete = true;
        for part in &self.parts {
            complete &= part.write(head, hasher);
        }
        complete
    }

    /// Writes the key of a client's address, where that is all there is to it.
    #[cfg(feature = "redis")]
    pub(crate) fn write_client<H: Hasher>(&self, client: ClientIp, hasher: &mut H) -> bool {
        match self.parts.as_slice() {
            [Part::ClientIp(prefix)] => {
                write_client(client, *prefix, hasher);
                true
            }
            _ => false,
        }
    }

    fn part(part: Part) -> Self {
        Self {
            parts: vec![part],
            missing: MissingKey::Refuse,
        }
    }
}

/// What a request is counted under.
pub(crate) enum Keyed<K> {
    Counted(K),
    Missing,
    Skipped,
}

impl Default for RateLimitKey {
    fn default() -> Self {
        Self::client_ip()
    }
}

#[derive(Clone, Debug)]
enum Part {
    ClientIp(u8),
    Header(HeaderName),
    Method,
    Own(Own),
    #[cfg(feature = "axum")]
    Route,
}

impl Part {
    fn write<H: PartHasher>(&self, head: &RequestHead<'_>, hasher: &mut H) -> bool {
        match self {
            Self::ClientIp(prefix) => {
                write_client(client(head), *prefix, hasher);
                true
            }
            Self::Header(name) => {
                let values = head.headers().get_all(name);
                let count = values.iter().count();
                hasher.write_usize(count);
                for value in values {
                    value.as_bytes().hash(hasher);
                }
                count != 0
            }
            Self::Method => {
                method(head.method()).hash(hasher);
                true
            }
            Self::Own(own) => hasher.write_own(&*own.part, head),
            #[cfg(feature = "axum")]
            Self::Route => {
                let route = head.extensions().get::<axum::extract::MatchedPath>();
                route.map(axum::extract::MatchedPath::as_str).hash(hasher);
                route.is_some()
            }
        }
    }
}

#[derive(Clone)]
struct Own {
    name: &'static str,
    part: Arc<dyn OwnPart>,
}

/// A part of a key that a closure finds. Each hasher has its own method, so that none is called through a table of functions.
pub(crate) trait OwnPart: Send + Sync {
    fn write(&self, head: &RequestHead<'_>, hasher: &mut DefaultHasher) -> bool;

    #[cfg(feature = "redis")]
    fn write_wide(&self, head: &RequestHead<'_>, hasher: &mut WideHasher) -> bool;
}

struct Closure<F>(F);

impl<F, K> OwnPart for Closure<F>
where
    F: Fn(&RequestHead<'_>) -> Option<K> + Send + Sync,
    K: Hash,
{
    fn write(&self, head: &RequestHead<'_>, hasher: &mut DefaultHasher) -> bool {
        write_option((self.0)(head), hasher)
    }

    #[cfg(feature = "redis")]
    fn write_wide(&self, head: &RequestHead<'_>, hasher: &mut WideHasher) -> bool {
        write_option((self.0)(head), hasher)
    }
}

/// What keys are hashed with: that of a process, or the one that instances share.
pub(crate) trait PartHasher: Hasher + Sized {
    fn write_own(&mut self, part: &dyn OwnPart, head: &RequestHead<'_>) -> bool;
}

impl PartHasher for DefaultHasher {
    fn write_own(&mut self, part: &dyn OwnPart, head: &RequestHead<'_>) -> bool {
        part.write(head, self)
    }
}

#[cfg(feature = "redis")]
impl PartHasher for WideHasher {
    fn write_own(&mut self, part: &dyn OwnPart, head: &RequestHead<'_>) -> bool {
        part.write_wide(head, self)
    }
}

impl fmt::Debug for Own {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

fn method(method: &Method) -> &str {
    match *method {
        Method::CONNECT
        | Method::DELETE
        | Method::GET
        | Method::HEAD
        | Method::OPTIONS
        | Method::PATCH
        | Method::POST
        | Method::PUT
        | Method::TRACE => method.as_str(),
        _ => "",
    }
}

/// Writes a value so that what stands before tells whether it is there.
fn write_option<K: Hash, H: Hasher>(key: Option<K>, hasher: &mut H) -> bool {
    hasher.write_u8(key.is_some().into());
    match key {
        Some(key) => {
            key.hash(hasher);
            true
        }
        None => false,
    }
}

/// Returns the client of a request: the peer, where no layer has resolved it.
#[inline]
pub(crate) fn client(head: &RequestHead<'_>) -> ClientIp {
    if let Some(context) = head.client() {
        return context.client();
    }
    let peer = usual_places(head.extensions());
    match peer.and_then(PeerAddr::ip) {
        Some(addr) => ClientIp::Known(addr),
        None => ClientIp::unknown(crate::client_ip::unknown::UnknownReason::MissingPeer, None),
    }
}

#[inline]
fn hash_client(client: ClientIp, prefix: u8, hasher: &KeyHasher) -> KeyHash {
    let mut hasher = hasher.for_address();
    write_client(client, prefix, &mut hasher);
    finish(&hasher)
}

/// Writes a client so that the first word tells the kinds apart.
#[inline]
fn write_client<H: Hasher>(client: ClientIp, prefix: u8, hasher: &mut H) {
    match client {
        ClientIp::AllTrusted { addr, .. } | ClientIp::Known(addr) => {
            write_addr(addr, prefix, hasher);
        }
        ClientIp::Unknown(unknown) => {
            hasher.write_u64(UNKNOWN);
            if let Some(addr) = unknown.last_verified() {
                write_addr(addr, 128, hasher);
            }
        }
    }
}

#[inline]
fn write_addr<H: Hasher>(addr: IpAddr, prefix: u8, hasher: &mut H) {
    match network(addr, prefix) {
        IpAddr::V4(addr) => hasher.write_u64(IPV4 | u64::from(u32::from(addr))),
        IpAddr::V6(addr) => {
            hasher.write_u64(IPV6);
            hasher.write_u128(addr.into());
        }
    }
}

/// Returns what counts as one client.
#[inline]
pub(crate) fn network(addr: IpAddr, prefix: u8) -> IpAddr {
    let IpAddr::V6(addr) = addr.to_canonical() else {
        return addr.to_canonical();
    };
    if let Some(addr) = nat64(addr) {
        return IpAddr::V4(addr);
    }
    let shift = 128 - u32::from(prefix.min(128));
    let mask = u128::MAX.checked_shl(shift).unwrap_or(0);
    IpAddr::V6(Ipv6Addr::from(u128::from(addr) & mask))
}

/// Returns the IPv4 address within the well-known prefix `64:ff9b::/96`: RFC 6052, section 2.1.
fn nat64(addr: Ipv6Addr) -> Option<Ipv4Addr> {
    let [0x64, 0xff9b, 0, 0, 0, 0, high, low] = addr.segments() else {
        return None;
    };
    Some(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)))
}

const IPV6_PREFIX: u8 = 56;
const UNKNOWN: u64 = 1 << 56;
const IPV4: u64 = 4 << 56;
const IPV6: u64 = 6 << 56;

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(addr: &str, prefix: u8, expected: &str) {
        let found = network(addr.parse().unwrap(), prefix);
        assert_eq!(found, expected.parse::<IpAddr>().unwrap());
    }

    #[test]
    fn an_ipv6_client_is_a_prefix() {
        // K01.
        check("1.2.3.4", 32, "1.2.3.4");
        check("1.2.3.4", 128, "1.2.3.4");
        check("::ffff:1.2.3.4", 56, "1.2.3.4");
        // K04.
        check("2001:db8:1234:5678::1.2.3.4", 56, "2001:db8:1234:5600::");
        check("2001:db8:1234:5678::102:304", 56, "2001:db8:1234:5600::");
        // K05: decided as the address behind it.
        check("64:ff9b::1.2.3.4", 56, "1.2.3.4");
        check("64:ff9b:1::1.2.3.4", 56, "64:ff9b:1::");
        // K06.
        check("::1", 56, "::");
        check("::", 56, "::");
        // K08.
        check("123:ABC::89", 56, "123:abc::");
        // U06.
        check("2001:db8:cafe:1234:beef::fafa", 48, "2001:db8:cafe::");
        check("2001:db8::7", 128, "2001:db8::7");
    }
}

//! Paths that are exempt from the check.

use std::{borrow::Cow, error::Error, fmt, str::FromStr};

/// A path, or everything below a path, that may be requested over plain text: a health check, an ACME challenge.
///
/// It is compared with the path as it stands in the request, byte by byte. A path that could mean another one to whoever reads it next
/// (`//`, `.` and `..`, a backslash, a semicolon, anything percent-encoded) matches nothing.
///
/// # Example
///
/// ```
/// use palisade::https::PathPattern;
///
/// let challenges: PathPattern = "/.well-known/acme-challenge/*".parse()?;
/// assert!(challenges.matches("/.well-known/acme-challenge/token"));
/// assert!(!challenges.matches("/.well-known/acme-challenge/../../admin"));
/// assert!(!challenges.matches("/.well-known/acme-challenge/%2e%2e/%2e%2e/admin"));
///
/// assert!(!PathPattern::exact("/health").matches("/health/"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PathPattern {
    path: Cow<'static, str>,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    /// Whatever has at least one more segment; the path ends in a slash.
    Below,
    Exact,
}

impl PathPattern {
    /// Takes one path and no other.
    ///
    /// # Panics
    ///
    /// Panics if the path does not begin with a slash or could mean another one. It is for literals; text from elsewhere is to be
    /// [parsed](Self::from_str).
    #[must_use]
    pub const fn exact(path: &'static str) -> Self {
        assert!(is_plain(path.as_bytes()), "the path could mean another one");
        Self {
            path: Cow::Borrowed(path),
            kind: Kind::Exact,
        }
    }

    /// Takes everything below a path, which ends in a slash; not the path itself.
    ///
    /// # Panics
    ///
    /// Panics if the path does not begin and end with a slash, if it is `/`, which would take everything, or if it could mean another path.
    /// It is for literals; text from elsewhere is to be [parsed](Self::from_str).
    #[must_use]
    pub const fn below(path: &'static str) -> Self {
        assert!(
            is_plain(path.as_bytes()) && is_folder(path.as_bytes()),
            "the path could mean another one or everything"
        );
        Self {
            path: Cow::Borrowed(path),
            kind: Kind::Below,
        }
    }

    /// Returns whether the pattern takes a path, given as it stands in the request and without the query.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        match self.kind {
            Kind::Exact => self.path == path,
            Kind::Below => {
                path.len() > self.path.len()
                    && path.starts_with(&*self.path)
                    && is_plain(path.as_bytes())
            }
        }
    }

    /// Returns whether a path that could mean several is one that the pattern takes, or may be: for what is stricter with these paths, and not for what
    /// lets them off. Disguises are undone, letter case and a slash at the end mean nothing, and nobody knows what more than 2048 bytes mean.
    #[cfg(all(feature = "rate-limit", feature = "serde"))]
    pub(crate) fn may_match(&self, path: &str) -> bool {
        use crate::path;

        fn file(path: &[u8]) -> &[u8] {
            path.strip_suffix(b"/").unwrap_or(path)
        }

        if path.len() > path::MAX {
            return true;
        }
        let own = self.path.as_bytes();
        let is_taken = |path: &[u8]| match self.kind {
            Kind::Exact => file(path).eq_ignore_ascii_case(file(own)),
            Kind::Below => path
                .split_at_checked(own.len())
                .is_some_and(|(start, rest)| start.eq_ignore_ascii_case(own) && !rest.is_empty()),
        };
        // As whoever reads it next takes it: as it stands, or with its disguises undone.
        is_taken(path.as_bytes()) || (path::is_odd(path) && is_taken(&path::plain(path)))
    }
}

/// Parses a path, or a path and `/*` for everything below it.
impl FromStr for PathPattern {
    type Err = PathPatternError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (path, kind) = match text.strip_suffix('*') {
            Some(path) => (path, Kind::Below),
            None => (text, Kind::Exact),
        };
        if !is_plain(path.as_bytes()) || (kind == Kind::Below && !is_folder(path.as_bytes())) {
            return Err(PathPatternError(text.into()));
        }
        Ok(Self {
            path: Cow::Owned(path.into()),
            kind,
        })
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)?;
        match self.kind {
            Kind::Below => f.write_str("*"),
            Kind::Exact => Ok(()),
        }
    }
}

/// A text is no pattern of a path.
#[derive(Debug)]
pub struct PathPatternError(Box<str>);

impl fmt::Display for PathPatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is no plain path", self.0)
    }
}

impl Error for PathPatternError {}

/// Returns whether a path means itself to every reader: no empty, `.` or `..` segment, and no character that is written or
/// taken in two ways.
const fn is_plain(path: &[u8]) -> bool {
    let [b'/', rest @ ..] = path else {
        return false;
    };
    let mut rest = rest;
    // Of the segment that is being read: its length, and whether it is made of dots alone.
    let mut length = 0;
    let mut dots = true;
    while let [byte, tail @ ..] = rest {
        match *byte {
            b'/' => {
                if length == 0 || (dots && length <= 2) {
                    return false;
                }
                length = 0;
                dots = true;
            }
            b'.' => length += 1,
            b'-' | b'_' | b'~' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'+' | b',' | b'='
            | b':' | b'@' => {
                length += 1;
                dots = false;
            }
            byte if byte.is_ascii_alphanumeric() => {
                length += 1;
                dots = false;
            }
            _ => return false,
        }
        rest = tail;
    }
    length == 0 || !(dots && length <= 2)
}

const fn is_folder(path: &[u8]) -> bool {
    path.len() > 1 && matches!(path, [.., b'/'])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(pattern: &str, taken: &[&str], left: &[&str]) {
        let parsed: PathPattern = pattern.parse().unwrap();
        assert_eq!(parsed.to_string(), pattern);
        for path in taken {
            assert!(parsed.matches(path), "{pattern} must take {path}");
        }
        for path in left {
            assert!(!parsed.matches(path), "{pattern} must leave {path}");
        }
    }

    #[test]
    fn an_exact_path_is_one_path() {
        check(
            "/healthz",
            &["/healthz"],
            &[
                "/",
                "//healthz",
                "/healthz/",
                "/healthz/x",
                "/healthzz",
                "/Healthz",
                "/health%7a",
                "/x/../healthz",
                "/./healthz",
                "/healthz;x",
                "healthz",
                "*",
                "",
            ],
        );
        check("/", &["/"], &["//", "/x", ""]);
    }

    #[test]
    fn a_folder_is_what_is_below_it() {
        check(
            "/.well-known/acme-challenge/*",
            &[
                "/.well-known/acme-challenge/a-_B9",
                "/.well-known/acme-challenge/a/b",
                "/.well-known/acme-challenge/...",
                "/.well-known/acme-challenge/..a",
                // One character, and dots behind others, are plain.
                "/.well-known/acme-challenge/-/b",
                "/.well-known/acme-challenge/-./b",
                "/.well-known/acme-challenge/a./b",
            ],
            &[
                "/.well-known/acme-challenge",
                "/.well-known/acme-challenge/",
                "/.well-known/acme-challenge/..",
                "/.well-known/acme-challenge/.",
                "/.well-known/acme-challenge/../admin",
                "/.well-known/acme-challenge/x/../../../admin",
                "/.well-known/acme-challenge//admin",
                "/.well-known/acme-challenge/./x",
                "/.well-known/acme-challenge/%2e%2e/admin",
                "/.well-known/acme-challenge/..%2fadmin",
                "/.well-known/acme-challenge/..%5cadmin",
                "/.well-known/acme-challenge/..\\admin",
                "/.well-known/acme-challenge/..;/admin",
                "/.well-known/acme-challenge/%00",
                "/.well-known/acme-challenge/ü",
                "//.well-known/acme-challenge/x",
                "/x/.well-known/acme-challenge/x",
                "/.well-known/acme-challengex/y",
            ],
        );
    }

    #[cfg(all(feature = "rate-limit", feature = "serde"))]
    #[test]
    fn what_may_mean_a_path_is_taken_where_that_is_stricter() {
        let check = |pattern: &str, taken: &[&str], left: &[&str]| {
            let parsed: PathPattern = pattern.parse().unwrap();
            for path in taken {
                assert!(parsed.may_match(path), "{pattern} must take {path}");
            }
            for path in left {
                assert!(!parsed.may_match(path), "{pattern} must leave {path}");
            }
        };
        check(
            "/login/*",
            &[
                "/login/alice",
                "/login/%61lice",
                "/login/%2561lice",
                "/l%6Fgin/alice",
                "/login/a;x",
                "/login//alice",
                "//login/alice",
                "/./login/alice",
                "/x/../login/alice",
                "/x/..%2flogin/alice",
                "/x\\..\\login\\alice",
                "/Login/alice",
                "/login/ü",
                "/login/a b",
                "/login/a*",
                // A router that undoes nothing takes these as well.
                "/login/..",
                "/login/../x",
                "/login/%2e%2e",
                "/login/%00bob",
                "/login/%3Fbob",
                "/login/a/",
            ],
            &[
                "/",
                "/login",
                "/logins/alice",
                "/x/login/alice",
                "/%6cogout/a",
                "",
            ],
        );
        check(
            "/Login",
            &[
                "/Login", "/login", "/login/", "/log%69n", "//login", "/login;x",
            ],
            &["/login/x", "/logins", "/x", "/"],
        );
        check("/", &["/", "//", "/x/.."], &["/x"]);
        let long = format!("/{}", "x".repeat(2048));
        check("/login", &[&long], &[&long[1..]]);
    }

    #[test]
    fn what_could_mean_another_path_is_no_pattern() {
        for pattern in [
            "", "*", "/*", "health", "//", "/a//b", "/a/../b", "/a/.", "/..", "/a%2f", "/a*",
            "/a/*/b", "/a?b", "/a#b", "/a;b", "/a\\b", "/a b",
        ] {
            let error = pattern.parse::<PathPattern>().unwrap_err();
            // It names what is wrong.
            assert_eq!(error.to_string(), format!("{pattern:?} is no plain path"));
        }
    }

    proptest! {
        #[test]
        fn nothing_below_a_folder_leaves_it(path in "/a/[ab./%;2e\\\\]{0,12}") {
            let pattern = PathPattern::below("/a/");
            if pattern.matches(&path) {
                // Whatever is plain stays as it is when a reader normalizes it.
                prop_assert!(!path.contains("//") && !path.contains(['%', ';', '\\']));
                prop_assert!(path.split('/').skip(1).all(|it| it != "." && it != ".."));
            }
        }
    }
}

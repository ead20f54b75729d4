//! Paths that nobody asks for in good faith.

use std::{collections::BTreeSet, fmt, str};

use crate::{jail::ban_time::BanTime, path};

/// What scanners ask every server for, and an API does not serve.
const COMMON: &[&str] = &[
    "**/.aws/credentials",
    "**/.env",
    "**/.git/HEAD",
    "**/.git/config",
    "**/.htpasswd",
    "**/.ssh/id_rsa",
    "**/.svn/entries",
    "**/wp-login.php",
    "**/xmlrpc.php",
    "/HNAP1",
    "/_ignition/execute-solution",
    "/boaform/",
    "/cgi-bin/",
    "/phpmyadmin/",
    "/vendor/phpunit/",
    "/wp-admin/",
    "/wp-includes/",
];

/// Paths that nobody asks for in good faith: the first touch bans.
///
/// # How a path is compared
///
/// As a scanner may disguise it. Letter case means nothing, in ASCII; percent-encoding is undone, twice; `\` is `/`; empty segments and
/// `.` segments are dropped and `..` segments are resolved; parameters of a segment (`;x`), dots and spaces at its end, and what follows
/// an encoded `?` or NUL mean nothing. `/%2e%45NV`, `/x/..%2f.env`, `//.env;a`, `/.env%00.png` and `/%252eenv` all touch `/.env`. The query is never
/// looked at, and no path longer than 2048 bytes.
///
/// So take no path that differs only thus from one that you serve.
///
/// # Example
///
/// ```
/// use palisade::jail::TrapPaths;
///
/// let traps = TrapPaths::common().with_path("/old-admin/")?;
/// assert!(traps.is_touched_by("/app/.ENV"));
/// assert!(traps.is_touched_by("/old-admin/index.html"));
/// assert!(!traps.is_touched_by("/environment"));
///
/// assert!(TrapPaths::new().with_path("/").is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct TrapPaths {
    /// Whole paths.
    exact: BTreeSet<Box<str>>,
    /// Directories, with a `/` at both ends.
    under: Vec<Box<str>>,
    /// Ends of paths, with a `/` in front.
    anywhere: Vec<Box<str>>,
    ban_time: Option<BanTime>,
}

impl TrapPaths {
    /// Creates an empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Creates a set of some twenty paths that scanners ask every server for, such as `/.env` in any directory, `/wp-login.php` and
    /// `/cgi-bin/`. Nothing under `/.well-known/` is among them.
    pub fn common() -> Self {
        let mut traps = Self::new();
        for path in COMMON {
            // All of them are acceptable, as a test shows.
            let _ = traps.add(path);
        }
        traps
    }

    /// Adds a path: `/old.php` alone, `/old/` and all beneath it, or `**/old.php` in any directory.
    ///
    /// # Errors
    ///
    /// A path starts with `/` or `**/`, names more than the root, and is plain: visible ASCII without `%`, `\`, `?`, `#`, `;`, `*`,
    /// empty or dot segments, or segments that end with a dot.
    pub fn with_path(mut self, path: &str) -> Result<Self, TrapPathError> {
        self.add(path)?;
        Ok(self)
    }

    /// Sets how long a touch bans. The default is [the jail's](crate::jail::JailBuilder::ban_time).
    pub fn with_ban_time(mut self, ban_time: BanTime) -> Self {
        self.ban_time = Some(ban_time);
        self
    }

    /// Returns whether a request for that path, which has no query, touches a trap.
    #[must_use]
    pub fn is_touched_by(&self, path: &str) -> bool {
        if self.is_empty() || path::MAX < path.len() {
            return false;
        }
        if path::is_odd(path) {
            let plain = path::plain(path);
            return str::from_utf8(&plain).is_ok_and(|plain| self.contains(plain));
        }
        self.contains(path)
    }

    pub(crate) fn ban_time(&self) -> Option<BanTime> {
        self.ban_time
    }

    fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.under.is_empty() && self.anywhere.is_empty()
    }

    /// Takes a path in its plain form.
    fn contains(&self, path: &str) -> bool {
        let file = path.strip_suffix('/').unwrap_or(path);
        self.exact.contains(file)
            || self.under.iter().any(|it| {
                path.starts_with(&**it) || it.strip_suffix('/').is_some_and(|it| it == path)
            })
            || self.anywhere.iter().any(|it| file.ends_with(&**it))
    }

    fn add(&mut self, path: &str) -> Result<(), TrapPathError> {
        let anywhere = path.strip_prefix("**").unwrap_or(path);
        let is_anywhere = anywhere.len() != path.len();
        let segments = anywhere
            .strip_prefix('/')
            .ok_or(TrapPathError(Kind::Start))?;
        let (segments, is_directory) = segments
            .strip_suffix('/')
            .map_or((segments, false), |it| (it, true));
        if segments.is_empty() {
            return Err(TrapPathError(Kind::Root));
        }
        let is_plain = |segment: &str| {
            !segment.is_empty()
                && !segment.ends_with('.')
                && segment.bytes().all(|it| it.is_ascii_graphic())
                && !segment.contains(['%', '\\', '?', '#', ';', '*'])
        };
        if !segments.split('/').all(is_plain) || (is_anywhere && is_directory) {
            return Err(TrapPathError(Kind::Plain));
        }
        let lower = anywhere.to_ascii_lowercase().into_boxed_str();
        match (is_anywhere, is_directory) {
            (true, _) => self.anywhere.push(lower),
            (false, true) => self.under.push(lower),
            (false, false) => {
                self.exact.insert(lower);
            }
        }
        Ok(())
    }
}

/// A path cannot be a trap.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TrapPathError(Kind);

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    Plain,
    Root,
    Start,
}

impl fmt::Display for TrapPathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Kind::Plain => "a trap path is not plain",
            Kind::Root => "a trap path names the root, which would ban everybody",
            Kind::Start => "a trap path starts with neither / nor **/",
        })
    }
}

impl std::error::Error for TrapPathError {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn traps() -> TrapPaths {
        TrapPaths::new()
            .with_path("/wp-login.php")
            .unwrap()
            .with_path("/Old/")
            .unwrap()
            .with_path("**/.env")
            .unwrap()
            .with_path("/a/b")
            .unwrap()
    }

    #[track_caller]
    fn check(path: &str, expected: bool) {
        assert_eq!(traps().is_touched_by(path), expected, "{path}");
    }

    #[test]
    fn plain_paths_are_compared_as_they_are() {
        check("/wp-login.php", true);
        check("/wp-login.php/", true);
        check("/x/wp-login.php", false);
        check("/wp-login.phpx", false);
        check("/old", true);
        check("/old/", true);
        check("/old/x/y", true);
        check("/older", false);
        check("/x/old/", false);
        check("/.env", true);
        check("/x/y/.env", true);
        check("/x.env", false);
        check("/.envx", false);
        check("/a/b", true);
        check("/a", false);
        check("/", false);
        check("", false);
        check("*", false);
        check("/.well-known/acme-challenge/x", false);
    }

    #[test]
    fn disguises_are_seen_through() {
        for path in [
            "/%2eenv",
            "/%2E%65%6e%76",
            "/%252eenv",
            "/%25%32eenv",
            "/.ENV",
            "//.env",
            "/.//.env",
            "/x/../.env",
            "/x/..%2f.env",
            "/x/%2e%2e/.env",
            "/../../.env",
            "/..;/.env",
            "/x\\.env",
            "/x%5c.env",
            "/.env;jsessionid=1",
            "/.env.",
            "/.env%20",
            "/.env%00.png",
            "/.env%3fx",
            "/.env/.",
            "/.../.env",
            "/OLD/%2e%2e/.env/",
        ] {
            check(path, true);
        }
        check("/OLD/%2e%2e/x", false);
        check("/x/../old/y", true);
        check("/%61/b", true);
        check("/a%2fb", true);
        check("/.env%zz", false);
        check("/.env%2", false);
        check("/%", false);
    }

    #[test]
    fn what_no_server_decodes_is_not_decoded() {
        check("/%25252eenv", false);
        check("/%c0%aeenv", false);
        check(&format!("/{}.env", "./".repeat(2000)), false);
    }

    #[test]
    fn a_preset_is_plain() {
        let traps = TrapPaths::common();
        let count = traps.exact.len() + traps.under.len() + traps.anywhere.len();
        assert_eq!(count, COMMON.len());
        for path in [
            "/",
            "/robots.txt",
            "/favicon.ico",
            "/.well-known/security.txt",
            "/v1/notes",
        ] {
            assert!(!traps.is_touched_by(path), "{path}");
        }
        for path in ["/wp-login.php", "/.env", "/.git/config", "/cgi-bin/luci"] {
            assert!(traps.is_touched_by(path), "{path}");
        }
    }

    #[test]
    fn dangerous_traps_are_refused() {
        for path in [
            "",
            "/",
            "**/",
            "**",
            "x",
            "*/x",
            "//",
            "/x//y",
            "/./x",
            "/x/..",
            "/x?y",
            "/x%41",
            "/x;y",
            "/x y",
            "/x\n",
            "/é",
            "/*",
            "/x.",
            "**/x/",
            "https://example.com/x",
        ] {
            assert!(TrapPaths::new().with_path(path).is_err(), "{path}");
        }
    }

    proptest! {
        #[test]
        fn no_path_panics(path in "[/.%\\\\;a-fA-F0-9]{0,80}") {
            let _ = traps().is_touched_by(&path);
        }

        #[test]
        fn a_plain_path_is_its_own_plain_form(segments in proptest::collection::vec("[a-z][a-z0-9-]{0,5}", 1..5)) {
            let path = format!("/{}", segments.join("/"));
            prop_assert_eq!(&crate::path::plain(&path)[..], path.as_bytes());
        }
    }
}

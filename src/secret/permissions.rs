//! Who else may read or write the file of a secret.

use std::fs::Metadata;

use crate::secret::error::Fault;

/// How private the file of a secret must be. Windows is not checked.
///
/// The rule looks at the file itself, never at a link to it. Demanding mode 0600 of everybody would refuse what orchestrators really
/// deliver: Swarm and Kubernetes hand out files of root that a group, or everybody, may read.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum FilePermissions {
    /// Refuses a file that everybody may write, and tells the observer of one that is less private than [`Strict`](Self::Strict) asks
    /// for. The default.
    #[default]
    Lenient,
    /// Refuses a file of root that others than root may write, a file of this user that others may do anything with, and a file
    /// of anybody else.
    Strict,
}

impl FilePermissions {
    /// Checks an open file, and returns its mode where it is loose but accepted.
    #[cfg(unix)]
    pub(crate) fn check(self, metadata: &Metadata) -> Result<Option<u32>, Fault> {
        use std::os::unix::fs::MetadataExt as _;

        let user = rustix::process::geteuid().as_raw();
        self.judge(metadata.mode() & 0o7777, metadata.uid(), user)
    }

    #[cfg(not(unix))]
    pub(crate) fn check(self, _: &Metadata) -> Result<Option<u32>, Fault> {
        let _ = self;
        Ok(None)
    }

    #[cfg(unix)]
    fn judge(self, mode: u32, owner: u32, user: u32) -> Result<Option<u32>, Fault> {
        const ROOT: u32 = 0;
        let is_private = match owner {
            ROOT => mode & 0o022 == 0,
            // Nothing for the group and for others.
            owner if owner == user => mode.trailing_zeros() >= 6,
            _ => false,
        };
        let everybody_writes = mode & 0o002 != 0;
        match self {
            _ if is_private => Ok(None),
            Self::Lenient if !everybody_writes => Ok(Some(mode)),
            Self::Lenient | Self::Strict => Err(Fault::LoosePermissions { mode }),
        }
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;

    const ROOT: u32 = 0;
    const OWN: u32 = 1000;
    const OTHER: u32 = 1001;

    #[track_caller]
    fn check(id: &str, owner: u32, modes: &[u32], lenient: &str, strict: &str) {
        for (rule, expected) in [
            (FilePermissions::Lenient, lenient),
            (FilePermissions::Strict, strict),
        ] {
            for &mode in modes {
                let found = match rule.judge(mode, owner, OWN) {
                    Ok(None) => "fine",
                    Ok(Some(told)) if told == mode => "told",
                    Err(Fault::LoosePermissions { mode: told }) if told == mode => "refused",
                    other => panic!("{id}: {other:?}"),
                };
                assert_eq!(found, expected, "{id}, {mode:04o}, {rule:?}");
            }
        }
    }

    #[test]
    fn permission_cases() {
        check("D01", ROOT, &[0o444], "fine", "fine");
        check("D03", ROOT, &[0o440, 0o640], "fine", "fine");
        check("D04", OWN, &[0o600, 0o400], "fine", "fine");
        check("D05", OWN, &[0o644], "told", "refused");
        check("D06", OTHER, &[0o644], "told", "refused");
        check("somebody's", OTHER, &[0o600, 0o400], "told", "refused");
        check("D07", ROOT, &[0o666], "refused", "refused");
        check("D07", OWN, &[0o666, 0o602], "refused", "refused");
        check("D07", OTHER, &[0o666], "refused", "refused");
        check("D08", ROOT, &[0o664], "told", "refused");
    }
}

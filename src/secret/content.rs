//! From raw bytes to a secret, without leaving a copy behind.

use std::{
    hint::black_box,
    io::{self, Read},
    str::Utf8Error,
};

use secrecy::SecretBox;
use zeroize::Zeroize;

use crate::secret::error::Fault;

/// Raw bytes of a secret. They are wiped when dropped, and so are the vector registers they went through.
pub(crate) struct Raw(Vec<u8>);

impl Raw {
    /// Takes bytes over; their vector is wiped up to its capacity.
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// Reads at most `max` bytes; `expected` is the size the file claims, which is a hint and no more.
    pub(crate) fn read(source: &mut impl Read, expected: u64, max: usize) -> Result<Self, Fault> {
        let expected = match usize::try_from(expected) {
            Ok(expected) if expected <= max => expected,
            _ => return Err(Fault::TooLarge { max }),
        };
        let limit = max.saturating_add(1);
        // One byte more than expected: the end is found without growing, and so is a file that has grown.
        let mut raw = Self::zeros(expected.saturating_add(1).max(64).min(limit));
        let mut filled = 0;
        loop {
            if filled == raw.0.len() {
                if filled >= limit {
                    return Err(Fault::TooLarge { max });
                }
                // `Vec::reserve` would free the old block unwiped.
                let mut larger = Self::zeros(filled.saturating_mul(2).min(limit));
                for (to, from) in larger.0.iter_mut().zip(&raw.0) {
                    *to = *from;
                }
                raw = larger;
            }
            let Some(free) = raw.0.get_mut(filled..) else {
                return Err(Fault::TooLarge { max });
            };
            match source.read(free) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Fault::Io(error)),
            }
        }
        if filled > max {
            return Err(Fault::TooLarge { max });
        }
        raw.0.truncate(filled);
        Ok(raw)
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn zeros(len: usize) -> Self {
        Self(vec![0; len])
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let len = self.0.len();
        self.0.zeroize();
        scrub_registers(len);
    }
}

/// Where raw bytes come from: only files end with a newline that is not part of the secret.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Origin {
    Environment,
    File,
}

/// The two forms of a secret: `str` for text and `[u8]` for bytes. No others can be added.
pub trait SecretContent: Zeroize + sealed::Sealed + Send + Sync + 'static {}

impl SecretContent for str {}

impl SecretContent for [u8] {}

mod sealed {
    use std::str::Utf8Error;

    use zeroize::Zeroize;

    #[expect(unnameable_types, reason = "nobody outside can implement it")]
    pub trait Sealed: Zeroize {
        const IS_TEXT: bool;

        /// Copies checked content into a block of exactly its length.
        fn boxed(content: &[u8]) -> Result<Box<Self>, Utf8Error>;

        fn raw(&self) -> &[u8];
    }
}

use self::sealed::Sealed;

impl Sealed for str {
    const IS_TEXT: bool = true;

    fn boxed(content: &[u8]) -> Result<Box<Self>, Utf8Error> {
        // Never by way of a `String`: one with capacity to spare may be moved to shrink, and its old block is freed unwiped.
        str::from_utf8(content).map(Box::from)
    }

    fn raw(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl Sealed for [u8] {
    const IS_TEXT: bool = false;

    fn boxed(content: &[u8]) -> Result<Box<Self>, Utf8Error> {
        Ok(Box::from(content))
    }

    fn raw(&self) -> &[u8] {
        self
    }
}

/// Checks raw bytes and makes a secret of them.
pub(crate) fn accept<S: SecretContent + ?Sized>(
    raw: &[u8],
    origin: Origin,
) -> Result<SecretBox<S>, Fault> {
    let content = if S::IS_TEXT {
        text(raw, origin)?.as_bytes()
    } else if raw.is_empty() {
        return Err(Fault::Empty);
    } else {
        raw
    };
    let secret = S::boxed(content)
        .map(SecretBox::new)
        .map_err(Fault::NotUtf8)?;
    scrub_registers(content.len());
    Ok(secret)
}

/// Checks that raw bytes are a text secret, and cuts the newline off that editors put at the end of a file.
pub(crate) fn text(raw: &[u8], origin: Origin) -> Result<&str, Fault> {
    let text = str::from_utf8(raw).map_err(Fault::NotUtf8)?;
    let text = match origin {
        Origin::Environment => text,
        Origin::File => without_newline(text),
    };
    if text.is_empty() {
        return Err(Fault::Empty);
    }
    if text.contains('\0') {
        return Err(Fault::ContainsNul);
    }
    if text.starts_with('\u{feff}') {
        return Err(Fault::HasBom);
    }
    if is_placeholder(text) {
        return Err(Fault::Placeholder);
    }
    Ok(text)
}

/// Cuts off exactly one newline; blanks and further newlines may belong to the secret.
fn without_newline(text: &str) -> &str {
    match text.strip_suffix('\n') {
        Some(line) => line.strip_suffix('\r').unwrap_or(line),
        None => text,
    }
}

/// Recognizes what templating leaves where it had no value, as a whole text only.
fn is_placeholder(text: &str) -> bool {
    let text = text.trim();
    let within = |open, close| {
        text.strip_prefix(open)
            .and_then(|rest| rest.strip_suffix(close))
    };
    text == "<no value>"
        || within("{{", "}}").is_some()
        || within("${", "}")
            .is_some_and(|name| name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_'))
}

/// Overwrites the vector registers that copying `len` bytes of a secret has left full of it.
///
/// Nothing else would: the next lazily bound call, the first panic for one, may save all registers on the stack, where nobody wipes
/// them. Copying uses other registers for other lengths, so that a few are copied.
pub(crate) fn scrub_registers(len: usize) {
    for len in [len, 512, 256, 128, 64, 32, 16] {
        let zeros = vec![0_u8; len];
        black_box(Box::<[u8]>::from(black_box(&*zeros)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(raw: &[u8], origin: Origin, expected: Result<&str, &str>) {
        let found = text(raw, origin);
        match (found, expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected),
            (Err(fault), Err(expected)) => {
                let fault = format!("{fault:?}");
                assert!(fault.starts_with(expected), "{fault} is not {expected}");
            }
            (found, expected) => panic!("{found:?} is not {expected:?}"),
        }
    }

    /// Gives its errors first, and then its text, three bytes at a time.
    struct Halting(Vec<io::ErrorKind>, &'static [u8]);

    impl Read for Halting {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if let Some(kind) = self.0.pop() {
                return Err(kind.into());
            }
            let len = buffer.len().min(3);
            self.1.read(&mut buffer[..len])
        }
    }

    #[test]
    fn reading_goes_on_after_an_interruption_and_after_nothing_else() {
        use io::ErrorKind::{Interrupted, PermissionDenied};

        let read = |errors: &[_]| Raw::read(&mut Halting(errors.to_vec(), b"12345678"), 8, 8);
        for errors in [&[][..], &[Interrupted], &[Interrupted, Interrupted]] {
            assert_eq!(read(errors).unwrap().bytes(), b"12345678");
        }
        for errors in [&[PermissionDenied][..], &[PermissionDenied, Interrupted]] {
            let fault = read(errors).err().unwrap();
            assert!(
                matches!(&fault, Fault::Io(error) if error.kind() == PermissionDenied),
                "{fault:?}"
            );
        }
    }

    #[test]
    fn files_lose_one_newline_and_the_environment_none() {
        for (raw, file, environment) in [
            (&b"abc\n"[..], Ok("abc"), Ok("abc\n")),
            (b"abc\r\n", Ok("abc"), Ok("abc\r\n")),
            (b"abc\r", Ok("abc\r"), Ok("abc\r")),
            (b"abc\n\n", Ok("abc\n"), Ok("abc\n\n")),
            (b" abc ", Ok(" abc "), Ok(" abc ")),
            (b"\n", Err("Empty"), Ok("\n")),
            (b"\r\n", Err("Empty"), Ok("\r\n")),
            (b"", Err("Empty"), Err("Empty")),
        ] {
            check(raw, Origin::File, file);
            check(raw, Origin::Environment, environment);
        }
    }

    #[test]
    fn only_a_whole_template_is_a_placeholder() {
        for raw in [
            "<no value>",
            "${A}",
            " ${A_B:-x}\n",
            "{{ secret }}",
            "{{x}}",
        ] {
            check(raw.as_bytes(), Origin::File, Err("Placeholder"));
        }
        for raw in [
            "${",
            "${}",
            "${1}",
            "a${B}",
            "${B}c",
            "{{x}",
            "<no value>x",
            "${%}",
        ] {
            check(raw.as_bytes(), Origin::File, Ok(raw));
        }
    }

    /// Yields its content in pieces of `step` bytes, whatever size it claims.
    struct Trickle<'a> {
        content: &'a [u8],
        step: usize,
    }

    impl Read for Trickle<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = self.step.min(buffer.len()).min(self.content.len());
            let (now, later) = self.content.split_at(count);
            buffer[..count].copy_from_slice(now);
            self.content = later;
            Ok(count)
        }
    }

    #[track_caller]
    fn check_read(len: usize, claimed: u64, max: usize, fits: bool) {
        let content: Vec<u8> = (0..len).map(|i| i.to_le_bytes()[0]).collect();
        for step in [1, 7, 1000] {
            let mut source = Trickle {
                content: &content,
                step,
            };
            match Raw::read(&mut source, claimed, max) {
                Ok(raw) => assert!(fits && raw.bytes() == content),
                Err(Fault::TooLarge { max: told }) => assert!(!fits && told == max),
                Err(fault) => panic!("{fault:?}"),
            }
        }
    }

    #[test]
    fn the_claimed_size_is_only_a_hint() {
        for claimed in [0, 1, 63, 64, 65, 500, 1000] {
            check_read(1000, claimed, 1000, true);
            check_read(1001, claimed, 1000, false);
            check_read(5000, claimed, 1000, false);
            check_read(3, claimed, 1000, true);
            check_read(0, claimed, 1000, true);
        }
        check_read(3, 1001, 1000, false);
        check_read(3, u64::MAX, 1000, false);
        check_read(1, 0, 0, false);
    }
}

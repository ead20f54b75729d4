//! Paths in disguise: texts that mean the same path to whoever reads it next.

use smallvec::SmallVec;

/// The longest path that is looked at, in bytes as sent.
pub(crate) const MAX: usize = 2048;

/// Returns whether a path may be another one in disguise.
pub(crate) fn is_odd(path: &str) -> bool {
    let mut before = 0;
    path.bytes().any(|byte| {
        let is_empty_segment = byte == b'/' && before == b'/';
        before = byte;
        is_empty_segment || is_disguise(byte)
    })
}

/// Returns whether the byte may be part of a disguise; a dot may be one of a dot segment.
fn is_disguise(byte: u8) -> bool {
    matches!(byte, b'%' | b'\\' | b';' | b'.' | b' ') || byte.is_ascii_uppercase()
}

/// Undoes the disguises of a path. A `/` at its end is kept.
pub(crate) fn plain(path: &str) -> SmallVec<[u8; 256]> {
    let once = decode(path.as_bytes());
    let twice = decode(&once);
    let mut plain: SmallVec<[u8; 256]> = SmallVec::new();
    let end = twice
        .iter()
        .position(|it| matches!(it, b'?' | b'#' | 0))
        .unwrap_or(twice.len());
    let path = twice.get(..end).unwrap_or_default();
    let mut is_directory = false;
    for segment in path.split(|it| matches!(it, b'/' | b'\\')) {
        let segment = segment.split(|it| *it == b';').next().unwrap_or_default();
        // RFC 3986, section 5.2.4, but for empty segments, which are dropped like dots.
        match segment {
            b"" | b"." => is_directory = true,
            b".." => {
                let parent = plain.iter().rposition(|it| *it == b'/').unwrap_or(0);
                plain.truncate(parent);
                is_directory = true;
            }
            name => {
                let end = name.iter().rposition(|it| !matches!(it, b'.' | b' '));
                let name = name.get(..end.map_or(0, |it| it + 1)).unwrap_or_default();
                is_directory = name.is_empty();
                if !is_directory {
                    plain.push(b'/');
                    plain.extend(name.iter().map(u8::to_ascii_lowercase));
                }
            }
        }
    }
    if is_directory {
        plain.push(b'/');
    }
    plain
}

/// Undoes percent-encoding; what is no such encoding stays.
fn decode(bytes: &[u8]) -> SmallVec<[u8; 256]> {
    let mut decoded = SmallVec::new();
    let mut rest = bytes;
    while let [first, tail @ ..] = rest {
        let (byte, tail) = match tail {
            [high, low, after @ ..] if *first == b'%' => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => (high << 4 | low, after),
                _ => (*first, tail),
            },
            _ => (*first, tail),
        };
        decoded.push(byte);
        rest = tail;
    }
    decoded
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|it| u8::try_from(it).ok())
}

//! Starts a child per role, and reads all of its memory for pieces of the secret.

use std::{
    collections::HashSet,
    env,
    fs::{self, File},
    io::{BufRead as _, BufReader, Write as _},
    ops::Range,
    os::unix::fs::FileExt as _,
    path::Path,
    process::{Child, Command, Stdio, exit},
};

use crate::child;

/// Fewer bytes than these are found by chance, and are what some allocators leave of any freed block.
const PIECE: usize = 8;

const PAGE: usize = 4096;

/// How the secret comes to the child.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Channel {
    Environment,
    File,
    /// A file of size 0 that has content: reading it has to grow.
    Growing,
}

/// What must be found while the secret is held, and after it was dropped.
#[derive(Clone, Copy, Debug)]
enum Expected {
    /// A whole copy if it is looked for while held, and then nothing.
    Clean,
    /// Exactly one copy, and then nothing.
    OneCopy,
    /// Nothing at any time: the secret was refused, or only read.
    Never,
    /// Pieces after it was dropped, or the scan does not find what is there.
    Left,
    /// Whatever: whether registers reach the stack depends on the processor and on how the system libraries were linked.
    Shown,
}

struct Case {
    id: &'static str,
    role: &'static str,
    channel: Channel,
    len: usize,
    suffix: &'static [u8],
    expected: Expected,
}

/// Which allocator the children use; each has a leak of its own that the others do not show.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(dead_code, reason = "a binary has one allocator")]
pub(crate) enum Allocator {
    /// It moves blocks to shrink them, and leaves freed ones as they are.
    Jemalloc,
    /// It overwrites no more than the heads of freed blocks.
    Mimalloc,
    System,
}

pub(crate) fn main(allocator: Allocator) {
    if let Ok(role) = env::var(child::ROLE) {
        child::play(&role);
        return;
    }
    // Filters and options are those of the usual test harness; only a filter that is not ours makes a difference.
    let wanted = env::args().skip(1).find(|arg| !arg.starts_with('-'));
    if wanted.is_some_and(|filter| !"memory".contains(&*filter)) {
        return;
    }
    let mut failed = 0;
    for case in cases(allocator) {
        if let Err(why) = run(&case) {
            eprintln!("FAILED: {why}");
            failed += 1;
        }
    }
    if failed > 0 {
        exit(101);
    }
}

fn cases(allocator: Allocator) -> Vec<Case> {
    let case = |id, role, channel, len, expected| Case {
        id,
        role,
        channel,
        len,
        suffix: b"\n",
        expected,
    };
    let refused = |role, channel, suffix| Case {
        suffix,
        ..case("F07", role, channel, 48, Expected::Never)
    };
    let mut cases = vec![case("F01", "control", Channel::File, 48, Expected::Left)];
    match allocator {
        Allocator::Jemalloc => cases.push(case(
            "F04",
            "control-string",
            Channel::File,
            48,
            Expected::Left,
        )),
        Allocator::Mimalloc => {}
        Allocator::System => cases.push(case(
            "F08",
            "control-panic-after",
            Channel::File,
            48,
            Expected::Shown,
        )),
    }
    for len in [48, 4096, 300_000] {
        cases.push(case("F02-F04", "text", Channel::File, len, Expected::Clean));
        cases.push(case("F03", "bytes", Channel::File, len, Expected::Clean));
        cases.push(case(
            "F03",
            "directory",
            Channel::File,
            len,
            Expected::Clean,
        ));
        cases.push(case("F03", "portable", Channel::File, len, Expected::Clean));
        cases.push(case("F03", "parsed", Channel::File, len, Expected::Never));
        cases.push(case(
            "F08",
            "panic-after",
            Channel::File,
            len,
            Expected::Clean,
        ));
        cases.push(case(
            "F09",
            "panic-while-held",
            Channel::File,
            len,
            Expected::Clean,
        ));
        cases.push(case("F11", "rotated", Channel::File, len, Expected::Clean));
        cases.push(case("F14", "digest", Channel::File, len, Expected::Clean));
    }
    for len in [48, 4096, 100_000] {
        cases.push(case(
            "E2",
            "text",
            Channel::Environment,
            len,
            Expected::Clean,
        ));
        cases.push(case(
            "E2",
            "bytes",
            Channel::Environment,
            len,
            Expected::Clean,
        ));
        cases.push(case("P3", "bytes", Channel::Growing, len, Expected::Clean));
    }
    for len in [48, 512] {
        for role in ["api-keys", "api-keys-json", "api-keys-toml"] {
            cases.push(case("F14", role, Channel::File, len, Expected::Never));
        }
    }
    cases.extend([
        refused("refused", Channel::File, b"\xff"),
        refused("refused", Channel::File, b"\0"),
        refused("refused", Channel::Environment, b"\xff"),
        refused("too-large", Channel::File, b"\n"),
        refused("too-large", Channel::Environment, b""),
        // The secret itself, where its path should be.
        refused("refused", Channel::Growing, b""),
        case("F10", "threads", Channel::File, 48, Expected::Clean),
        case("F11", "rotated-away", Channel::File, 48, Expected::Clean),
        case("F12", "verified", Channel::File, 48, Expected::OneCopy),
        case("F13", "logged", Channel::File, 48, Expected::Clean),
    ]);
    cases
}

fn run(case: &Case) -> Result<(), String> {
    let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
    let secret = random_text(case.len);
    let mut child = start(case, &secret, directory.path()).map_err(|error| error.to_string())?;
    let found = watch(&mut child, &secret);
    let ended = child.wait().map_err(|error| error.to_string())?;
    let found = found.map_err(|error| format!("{} {}: {error}", case.id, case.role))?;
    let title = format!(
        "{} {} {:?} of {} bytes{}",
        case.id,
        case.role,
        case.channel,
        case.len,
        if case.suffix.len() == 1 && case.suffix != b"\n" {
            ", bad"
        } else {
            ""
        },
    );
    let (held, dropped) = match &*found {
        [(_, held), (_, dropped), ..] => (Some(held), dropped),
        [(_, dropped)] => (None, dropped),
        [] => return Err(format!("{title}: the child ended early, {ended}")),
    };
    println!(
        "{title}: held {}, dropped {}",
        shown(held),
        shown(Some(dropped))
    );
    if !ended.success() {
        return Err(format!("{title}: {ended}"));
    }
    let whole = |found: Option<&Vec<Piece>>| {
        found.map_or(0, |it| it.iter().filter(|it| it.len == case.len).count())
    };
    let is_clean = dropped.is_empty();
    let is_right = match case.expected {
        Expected::Clean => held.is_none_or(|_| whole(held) >= 1) && is_clean,
        Expected::OneCopy => whole(held) == 1 && held.is_some_and(|it| it.len() == 1) && is_clean,
        Expected::Never => held.is_none_or(Vec::is_empty) && is_clean,
        Expected::Left => !is_clean,
        Expected::Shown => true,
    };
    if is_right {
        Ok(())
    } else {
        Err(format!("{title}: expected {:?}", case.expected))
    }
}

fn shown(pieces: Option<&Vec<Piece>>) -> String {
    match pieces.map(Vec::as_slice) {
        None => String::from("not looked"),
        Some([]) => String::from("nothing"),
        Some(pieces) => pieces
            .iter()
            .take(6)
            .map(|it| format!("{} bytes in {}", it.len, it.region))
            .collect::<Vec<_>>()
            .join(", "),
    }
}

/// Starts the child. The secret is in no argument, and in its environment only where that is the channel.
fn start(case: &Case, secret: &[u8], directory: &Path) -> std::io::Result<Child> {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _};

    let content = match case.role {
        "api-keys-json" => [b"{\"id\": \"", secret, b"\"}"].concat(),
        "api-keys-toml" => [b"id = '", secret, b"'"].concat(),
        _ => [secret, case.suffix].concat(),
    };
    let file = directory.join("file");
    let mut command = Command::new(env::current_exe()?);
    command
        .env(child::ROLE, case.role)
        .env("DIRECTORY", directory)
        // KiB that mimalloc sets aside at once; to look through its usual gibibyte of nothing takes minutes.
        .env("MIMALLOC_ARENA_RESERVE", "32768")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    for name in [child::SECOND, child::THIRD] {
        let path = directory.join(name);
        fs::write(&path, random_text(case.len))?;
        command.env(name, path);
    }
    match case.channel {
        Channel::File => {
            fs::write(&file, content)?;
            command.env(child::FILE, &file);
        }
        Channel::Environment => {
            let content = content.strip_suffix(b"\n").unwrap_or(&content);
            command.env("X", OsStr::from_bytes(content));
        }
        Channel::Growing if case.role == "refused" => {
            command.env(child::FILE, OsStr::from_bytes(&content));
        }
        Channel::Growing => {
            command.env(child::FILE, "/proc/self/environ");
            command.env("UNRELATED", OsStr::from_bytes(secret));
        }
    }
    command.spawn()
}

/// Looks at the child's memory whenever it says so. The phase tells what it says.
fn watch(child: &mut Child, secret: &[u8]) -> std::io::Result<Vec<(String, Vec<Piece>)>> {
    let (Some(mut input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(std::io::ErrorKind::BrokenPipe.into());
    };
    let mut found = vec![];
    for phase in BufReader::new(output).lines() {
        let phase = phase?;
        found.push((phase, scan(child.id(), secret)?));
        writeln!(input)?;
    }
    Ok(found)
}

/// A run of bytes of the secret.
#[derive(Debug)]
struct Piece {
    len: usize,
    region: String,
}

/// Finds every run of [`PIECE`] or more bytes of the secret, but for those in the block where the kernel put the environment.
fn scan(process: u32, secret: &[u8]) -> std::io::Result<Vec<Piece>> {
    let needles: HashSet<&[u8]> = secret.windows(PIECE).collect();
    let mut starts = vec![false; 1 << 16];
    for needle in &needles {
        starts[usize::from(needle[0]) << 8 | usize::from(needle[1])] = true;
    }
    let environment = environment(process)?;
    let memory = File::open(format!("/proc/{process}/mem"))?;
    let mut pieces = vec![];
    for line in fs::read_to_string(format!("/proc/{process}/maps"))?.lines() {
        let mut fields = line.split_whitespace();
        let (Some(range), Some(mode)) = (fields.next(), fields.next()) else {
            continue;
        };
        let region = fields.nth(3).unwrap_or("anonymous memory");
        let Some((start, end)) = range.split_once('-') else {
            continue;
        };
        let (Ok(start), Ok(end)) = (
            usize::from_str_radix(start, 16),
            usize::from_str_radix(end, 16),
        ) else {
            continue;
        };
        if !mode.starts_with("rw") {
            continue;
        }
        // Pages that were never touched read as zeros; those that are not there at all do not read.
        let mut content = vec![];
        let mut page = [0; PAGE];
        let mut base = start;
        for at in (start..end).step_by(PAGE) {
            let read = memory.read_at(&mut page, u64::try_from(at).unwrap_or(u64::MAX));
            if matches!(read, Ok(PAGE)) && page != [0; PAGE] {
                if content.is_empty() {
                    base = at;
                }
                content.extend_from_slice(&page);
            } else {
                search(
                    &content,
                    base,
                    &needles,
                    &starts,
                    &environment,
                    region,
                    &mut pieces,
                );
                content.clear();
            }
        }
        search(
            &content,
            base,
            &needles,
            &starts,
            &environment,
            region,
            &mut pieces,
        );
    }
    Ok(pieces)
}

fn search(
    content: &[u8],
    base: usize,
    needles: &HashSet<&[u8]>,
    starts: &[bool],
    environment: &Range<usize>,
    region: &str,
    pieces: &mut Vec<Piece>,
) {
    let mut at = 0;
    while at + PIECE <= content.len() {
        let start = usize::from(content[at]) << 8 | usize::from(content[at + 1]);
        let is_hit = |at: usize| {
            content
                .get(at..at + PIECE)
                .is_some_and(|it| needles.contains(it))
        };
        if !starts[start] || !is_hit(at) || environment.contains(&(base + at)) {
            at += 1;
            continue;
        }
        let hits = (at..content.len()).take_while(|&at| is_hit(at)).count();
        pieces.push(Piece {
            len: hits + PIECE - 1,
            region: region.to_owned(),
        });
        at += hits;
    }
}

/// Returns where the kernel put the environment. proc(5), `/proc/pid/stat`: `env_start` and `env_end` are fields 50 and 51.
fn environment(process: u32) -> std::io::Result<Range<usize>> {
    let fields = fs::read_to_string(format!("/proc/{process}/stat"))?;
    // Field 2, the name of the program, is in parentheses and may hold anything.
    let (_, after_name) = fields.rsplit_once(')').unwrap_or_default();
    let mut fields = after_name.split_whitespace().skip(47).map(str::parse);
    match (fields.next(), fields.next()) {
        (Some(Ok(start)), Some(Ok(end))) if start < end => Ok(start..end),
        _ => Err(std::io::ErrorKind::InvalidData.into()),
    }
}

/// Returns random letters and digits.
fn random_text(len: usize) -> Vec<u8> {
    const LETTERS: &[u8; 64] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_";
    let mut text = vec![0; len];
    getrandom::fill(&mut text).unwrap();
    for byte in &mut text {
        *byte = LETTERS[usize::from(*byte % 64)];
    }
    text
}

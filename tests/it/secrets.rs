//! Loading secrets: where they are looked for, and what is refused.

use std::{
    collections::HashMap,
    ffi::OsString,
    fmt::Debug,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use palisade::secret::{
    ExposeSecret, FilePermissions, SecretError, SecretErrorKind as Kind, SecretLoader,
    SecretNotice, load_all,
};
use tempfile::TempDir;

const VALUE: &str = "hunter2-SECRET-value";

/// A machine with an environment, a directory of files, and two secrets directories.
struct Machine {
    root: TempDir,
    environment: HashMap<String, OsString>,
    configure: fn(SecretLoader) -> SecretLoader,
    told: Arc<Mutex<Vec<String>>>,
}

impl Machine {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        for directory in ["d1", "d2"] {
            fs::create_dir(root.path().join(directory)).unwrap();
        }
        Self {
            root,
            environment: HashMap::new(),
            configure: |loader| loader,
            told: Arc::default(),
        }
    }

    fn path(&self, file: &str) -> PathBuf {
        self.root.path().join(file)
    }

    fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.environment.insert(name.into(), value.into());
        self
    }

    fn env_path(self, name: &str, file: &str) -> Self {
        let path = self.path(file);
        self.env(name, path)
    }

    fn file(self, file: &str, content: impl AsRef<[u8]>) -> Self {
        let path = self.path(file);
        fs::write(&path, content).unwrap();
        set_mode(&path, 0o600);
        self
    }

    fn with(mut self, configure: fn(SecretLoader) -> SecretLoader) -> Self {
        self.configure = configure;
        self
    }

    fn loader(&self) -> SecretLoader {
        let environment = self.environment.clone();
        let told = Arc::clone(&self.told);
        let loader = SecretLoader::new()
            .without_directories()
            .with_directory(self.path("d1"))
            .with_directory(self.path("d2"))
            .with_environment(move |name| environment.get(name).cloned())
            .with_observer(move |notice: &SecretNotice<'_>| {
                told.lock().unwrap().push(format!("{notice:?}"));
            });
        (self.configure)(loader)
    }

    fn told(&self, what: &str) -> usize {
        let told = self.told.lock().unwrap();
        told.iter()
            .filter(|notice| notice.starts_with(what))
            .count()
    }

    /// Loads text, by the kernel's containment and by ours.
    #[track_caller]
    fn text(&self) -> Result<String, SecretError> {
        let loader = self.loader();
        let portable = self.loader().with_portable_containment();
        let [found, other] = [loader, portable].map(|loader| {
            assert_is_hidden(&loader);
            let request = loader.secret("X");
            assert_is_hidden(&request);
            let found = request.text();
            assert_is_hidden(&found);
            if let Err(error) = &found {
                assert_is_silent(error);
            }
            found.map(|secret| secret.expose_secret().to_owned())
        });
        assert_eq!(found.as_ref().map_err(kind), other.as_ref().map_err(kind));
        self.assert_told_nothing();
        found
    }

    fn bytes(&self) -> Result<Vec<u8>, SecretError> {
        let found = self.loader().secret("X").bytes();
        assert_is_hidden(&found);
        self.assert_told_nothing();
        found.map(|secret| secret.expose_secret().to_vec())
    }

    fn assert_told_nothing(&self) {
        for notice in self.told.lock().unwrap().iter() {
            assert_no_piece(notice);
        }
    }
}

fn kind(error: &SecretError) -> Kind {
    error.kind()
}

/// Whatever shows it shows no piece of the value.
#[track_caller]
fn assert_is_hidden(shown: &impl Debug) {
    assert_no_piece(&format!("{shown:?}"));
    assert_no_piece(&format!("{shown:#?}"));
}

#[track_caller]
fn assert_is_silent(error: &dyn std::error::Error) {
    let mut next = Some(error);
    while let Some(error) = next {
        for shown in [
            error.to_string(),
            format!("{error:?}"),
            format!("{error:#?}"),
        ] {
            assert_no_piece(&shown);
        }
        next = error.source();
    }
}

#[track_caller]
fn assert_no_piece(shown: &str) {
    for piece in VALUE.as_bytes().windows(4) {
        let text = str::from_utf8(piece).unwrap();
        assert!(!shown.contains(text), "{shown} shows {text}");
        let decimal = format!("{piece:?}");
        let decimal = decimal.trim_matches(['[', ']']);
        assert!(!shown.contains(decimal), "{shown} shows {decimal}");
    }
}

#[track_caller]
fn check(id: &str, machine: &Machine, expected: Result<&str, Kind>) {
    let found = machine.text();
    let found = found.as_deref().map_err(kind);
    assert_eq!(found, expected, "{id}");
}

#[track_caller]
fn check_bytes(id: &str, machine: &Machine, expected: Result<&[u8], Kind>) {
    let found = machine.bytes();
    let found = found.as_deref().map_err(kind);
    assert_eq!(found, expected, "{id}");
}

#[cfg(unix)]
fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;

    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[cfg(not(unix))]
fn set_mode(_: &Path, _: u32) {}

#[cfg(unix)]
fn os(bytes: &[u8]) -> OsString {
    use std::os::unix::ffi::OsStringExt as _;

    OsString::from_vec(bytes.to_vec())
}

const NOT_FOUND: Kind = Kind::Io(std::io::ErrorKind::NotFound);

#[test]
fn places_are_looked_at_in_order() {
    let new = Machine::new;
    check("A01", &new().env("X", VALUE), Ok(VALUE));
    check(
        "A02",
        &new().env_path("X_FILE", "f").file("f", VALUE),
        Ok(VALUE),
    );
    check("A02", &new().file("d1/X", VALUE), Ok(VALUE));
    check("A16", &new().file("d2/X", VALUE), Ok(VALUE));
    check(
        "A17",
        &new().file("d1/X", VALUE).file("d2/X", "b"),
        Ok(VALUE),
    );
    check(
        "A08",
        &new().env("X", "").env("X_FILE", ""),
        Err(Kind::Missing),
    );
    check(
        "A08",
        &new().env("X", "").env("X_FILE", "").file("d1/X", VALUE),
        Ok(VALUE),
    );
    check("A09", &new(), Err(Kind::Missing));
    let empty = new().env("X", "").env_path("X_FILE", "f").file("f", VALUE);
    check("A03, one of them empty", &empty, Ok(VALUE));
}

#[test]
fn what_is_bad_is_not_looked_for_elsewhere() {
    let bad = |machine: Machine| machine.file("d1/X", "good");
    let new = Machine::new;
    check(
        "A10",
        &bad(new()).env_path("X_FILE", "nonexistent"),
        Err(NOT_FOUND),
    );
    let not_utf8 = [VALUE.as_bytes(), b"\xff"].concat();
    let machine = bad(new()).env_path("X_FILE", "f").file("f", &not_utf8);
    check("A12", &machine, Err(Kind::NotUtf8));
    #[cfg(unix)]
    check(
        "A13",
        &bad(new()).env("X", os(&not_utf8)),
        Err(Kind::NotUtf8),
    );
    check(
        "A12, directories",
        &new().file("d1/X", "").file("d2/X", "good"),
        Err(Kind::Empty),
    );
    check(
        "A21",
        &bad(new()).env("X_FILE", "secret.txt"),
        Err(Kind::RelativePath),
    );
    check(
        "A22",
        &bad(new()).env("X_FILE", VALUE),
        Err(Kind::RelativePath),
    );
    check(
        "A22, absolute",
        &bad(new()).env("X_FILE", format!("/{VALUE}")),
        Err(NOT_FOUND),
    );
}

#[test]
fn a_secret_set_twice_is_refused_before_anything_is_read() {
    let machine = Machine::new()
        .env("X", VALUE)
        .env_path("X_FILE", "f")
        .file("f", VALUE);
    check("A03", &machine, Err(Kind::Conflict));
    let message = machine.text().unwrap_err().to_string();
    assert_eq!(message, "secret X is set twice, by X and by X_FILE");
    fs::remove_file(machine.path("f")).unwrap();
    check("A05", &machine, Err(Kind::Conflict));
    #[cfg(unix)]
    check(
        "A13 and A03",
        &machine.env("X", os(b"\xff")),
        Err(Kind::Conflict),
    );
}

#[test]
fn a_missing_secret_names_all_places() {
    let machine = Machine::new().env("X", "");
    let error = machine.text().unwrap_err();
    assert_eq!(error.name(), "X");
    let message = error.to_string();
    let [first, second] = ["d1/X", "d2/X"].map(|file| machine.path(file).display().to_string());
    for place in ["named by X_FILE", "variable X", &first, &second] {
        assert!(message.contains(place), "A08: {message} lacks {place}");
    }
}

#[test]
fn optional_means_absent_and_not_broken() {
    let absent = Machine::new();
    let loader = absent.loader();
    assert!(loader.secret("X").optional_text().unwrap().is_none(), "A09");
    assert!(
        loader.secret("X").optional_bytes().unwrap().is_none(),
        "A09"
    );
    assert!(
        loader.secret("X").optional_parse::<u8>().unwrap().is_none(),
        "A09"
    );
    let default = loader.secret("X").text_or("default".into()).unwrap();
    assert_eq!(default.expose_secret(), "default");
    assert_eq!(absent.told("LoadFailed"), 0);

    let broken = Machine::new().env_path("X_FILE", "nonexistent");
    let loader = broken.loader();
    let request = loader.secret("X");
    for error in [
        request.optional_text().unwrap_err(),
        request.optional_bytes().unwrap_err(),
        request.optional_parse::<u8>().unwrap_err(),
        request.text_or("default".into()).unwrap_err(),
    ] {
        assert_eq!(error.kind(), NOT_FOUND, "A15");
    }
    assert_eq!(broken.told("LoadFailed"), 4);

    let there = Machine::new().env("X", "7");
    let loader = there.loader();
    assert_eq!(loader.secret("X").optional_parse::<u8>().unwrap(), Some(7));
}

#[test]
fn a14_the_shadowed_place_is_told() {
    let machine = Machine::new().env("X", VALUE).file("d1/X", "def");
    let found = machine.loader().secret("X").text().unwrap();
    assert_eq!(found.expose_secret(), VALUE);
    let told = machine.told.lock().unwrap().join("\n");
    assert!(
        told.contains("Shadowed") && told.contains("Environment(\"X\")"),
        "{told}"
    );
    assert!(told.contains("d1/X"), "{told}");
    drop(machine);

    let named = Machine::new()
        .env_path("X_FILE", "d1/X")
        .file("d1/X", VALUE);
    check("X_FILE names the very entry", &named, Ok(VALUE));
    assert_eq!(named.told("Shadowed"), 0);

    let alone = Machine::new().file("d1/X", VALUE);
    check("nothing is shadowed by itself", &alone, Ok(VALUE));
    assert_eq!(alone.told("Shadowed"), 0);
}

#[test]
fn without_directories_there_is_the_environment_alone() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("IN_FILE"), VALUE).unwrap();
    let loader = SecretLoader::new()
        .with_environment(|name| (name == "IN_ENVIRONMENT").then(|| VALUE.into()))
        .with_directory(directory.path());
    let is_found = |loader: &SecretLoader, name| loader.secret(name).text().is_ok();
    assert!(is_found(&loader, "IN_FILE") && is_found(&loader, "IN_ENVIRONMENT"));
    let loader = loader.without_directories();
    assert!(!is_found(&loader, "IN_FILE") && is_found(&loader, "IN_ENVIRONMENT"));
}

#[test]
fn a18_a_development_machine_has_no_run_secrets() {
    let told = Arc::new(Mutex::new(0));
    let count = Arc::clone(&told);
    let loader = SecretLoader::new()
        .without_directories()
        .with_directory("/nonexistent/run/secrets")
        .with_environment(|name| (name == "X").then(|| "abc".into()))
        .with_observer(move |notice| {
            if !matches!(notice, SecretNotice::Loaded { .. }) {
                *count.lock().unwrap() += 1;
            }
        });
    assert_eq!(loader.secret("X").text().unwrap().expose_secret(), "abc");
    assert_eq!(*told.lock().unwrap(), 0);
}

#[test]
fn the_credentials_directory_comes_before_the_others() {
    let machine = Machine::new().file("d1/X", VALUE);
    let directory = machine.path("d1");
    let load = |directory: PathBuf| {
        SecretLoader::new()
            .with_environment(move |name| {
                (name == "CREDENTIALS_DIRECTORY").then(|| directory.clone().into())
            })
            .secret("X")
            .text()
    };
    assert_eq!(load(directory).unwrap().expose_secret(), VALUE);
    assert_eq!(
        load("relative".into()).unwrap_err().kind(),
        Kind::RelativePath
    );
}

/// The process of the test has such a variable; no test sets one.
#[test]
fn the_environment_of_the_process_is_asked_by_default() {
    let loader = SecretLoader::new().without_directories();
    let found = loader.secret("CARGO_PKG_NAME").text().unwrap();
    assert_eq!(found.expose_secret(), "palisade");
}

#[test]
fn content_of_files() {
    let text = |id, content: &[u8], expected| {
        check(id, &Machine::new().file("d1/X", content), expected);
    };
    text("B01", b"abc\n", Ok("abc"));
    text("B02", b"abc\r\n", Ok("abc"));
    text("B03", b"abc", Ok("abc"));
    text("B04", b"abc\n\n", Ok("abc\n"));
    text("B09", b"", Err(Kind::Empty));
    text("B11", b"   \n", Ok("   "));
    text(
        "B15",
        &[VALUE.as_bytes(), b"\xff"].concat(),
        Err(Kind::NotUtf8),
    );
    text("B17", b"\xef\xbb\xbfabc\n", Err(Kind::HasBom));
    text("B18", b"\xff\xfea\0", Err(Kind::NotUtf8));
    text("B26", b"<no value>\n", Err(Kind::Placeholder));
    text("B27", b"${DB_PASSWORD}\n", Err(Kind::Placeholder));
    text("B27", b"{{ secret }}\n", Err(Kind::Placeholder));
    text(
        "NUL",
        &[VALUE.as_bytes(), b"\0"].concat(),
        Err(Kind::ContainsNul),
    );

    let bytes = |id, content: &[u8], expected| {
        check_bytes(id, &Machine::new().file("d1/X", content), expected);
    };
    bytes("B14", b"ab\0c\n", Ok(b"ab\0c\n"));
    bytes("B16", b"abc\xff", Ok(b"abc\xff"));
    bytes("B09", b"", Err(Kind::Empty));

    let message = Machine::new().file("d1/X", b"abc\xff").text();
    assert!(
        message
            .unwrap_err()
            .to_string()
            .ends_with("is not UTF-8 at byte 3"),
        "B15"
    );
}

#[test]
fn content_of_the_environment() {
    check("B12", &Machine::new().env("X", "abc\n"), Ok("abc\n"));
    let long = "a".repeat(100_000);
    check("B25", &Machine::new().env("X", &long), Ok(&long));
    check(
        "B26",
        &Machine::new().env("X", "<no value>"),
        Err(Kind::Placeholder),
    );
    check_bytes("B14", &Machine::new().env("X", "abc\n"), Ok(b"abc\n"));
    let short = |loader: SecretLoader| loader.with_max_len(16);
    check(
        "B21",
        &Machine::new().env("X", VALUE).with(short),
        Err(Kind::TooLarge),
    );
}

#[test]
fn size_is_limited() {
    let check_len = |id, max: usize, len, fits| {
        let content = "a".repeat(len);
        let machine = Machine::new().file("d1/X", &content).with(match max {
            16 => |loader| loader.with_max_len(16),
            _ => |loader| loader,
        });
        let expected = if fits {
            Ok(&*content)
        } else {
            Err(Kind::TooLarge)
        };
        check(id, &machine, expected);
    };
    check_len("B20", 16, 16, true);
    check_len("B21", 16, 17, false);
    check_len("B23", 1_048_576, 1_048_576, true);
    check_len("B23", 1_048_576, 1_048_577, false);

    let in_environment = |value| {
        Machine::new()
            .env("X", value)
            .with(|loader| loader.with_max_len(3))
    };
    check("environment", &in_environment("abc"), Ok("abc"));
    check("environment", &in_environment("abcd"), Err(Kind::TooLarge));

    let machine = Machine::new()
        .file("d1/X", "aaaaaaaaaaaaaaaa\n")
        .with(|loader| loader.with_max_len(16));
    check("B22", &machine, Err(Kind::TooLarge));
    let message = machine.text().unwrap_err().to_string();
    assert!(
        message.ends_with("is larger than 16 bytes"),
        "B21: {message}"
    );

    let machine = Machine::new().file("d1/X", "");
    let file = fs::File::options()
        .write(true)
        .open(machine.path("d1/X"))
        .unwrap();
    if file.set_len(1 << 40).is_ok() {
        check("B24", &machine, Err(Kind::TooLarge));
    }
}

#[cfg(unix)]
#[test]
fn an_entry_must_be_a_file_of_its_directory() {
    use std::os::unix::{fs::symlink, net::UnixListener};

    let link = |id, target: &str, expected| {
        let machine = Machine::new().file("outside", VALUE);
        symlink(target, machine.path("d1/X")).unwrap();
        check(id, &machine, expected);
    };
    link("C03", "/etc/hostname", Err(Kind::Escapes));
    link("C04", "../outside", Err(Kind::Escapes));
    link("a dangling link is there, and bad", "gone", Err(NOT_FOUND));

    let machine = Machine::new().file("d2/X", VALUE);
    symlink("X", machine.path("d1/X")).unwrap();
    let looping = machine.text().unwrap_err().kind();
    assert!(
        matches!(looping, Kind::Io(_) | Kind::Escapes),
        "C05: {looping:?}"
    );

    let machine = Machine::new().file("d2/X", VALUE);
    fs::create_dir(machine.path("d1/X")).unwrap();
    check("C11", &machine, Err(Kind::NotAFile));

    let machine = Machine::new().file("d2/X", VALUE);
    let _listener = UnixListener::bind(machine.path("d1/X")).unwrap();
    check("C14", &machine, Err(Kind::NotAFile));

    let machine = Machine::new().file("d2/X", VALUE);
    fs::remove_dir(machine.path("d1")).unwrap();
    fs::write(machine.path("d1"), "a file").unwrap();
    check(
        "C18",
        &machine,
        Err(Kind::Io(std::io::ErrorKind::NotADirectory)),
    );
}

/// With a hang this test would not end.
#[cfg(unix)]
#[test]
fn what_could_block_is_not_read() {
    let machine = Machine::new().file("d2/X", VALUE);
    rustix::fs::mkfifoat(
        rustix::fs::CWD,
        machine.path("d1/X"),
        rustix::fs::Mode::RUSR,
    )
    .unwrap();
    check("C12", &machine, Err(Kind::NotAFile));
    check(
        "C12, named",
        &Machine::new().env("X_FILE", machine.path("d1/X")),
        Err(Kind::NotAFile),
    );

    for device in ["/dev/zero", "/dev/random", "/dev/tty"] {
        if Path::new(device).exists() {
            check(
                "C13",
                &Machine::new().env("X_FILE", device),
                Err(Kind::NotAFile),
            );
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn c16_a_file_that_claims_to_be_empty_is_read_in_full() {
    let machine = Machine::new().env("X_FILE", "/proc/sys/kernel/ostype");
    assert_eq!(fs::metadata("/proc/sys/kernel/ostype").unwrap().len(), 0);
    check("C16", &machine, Ok("Linux"));
    let machine = Machine::new().env("X_FILE", "/proc/self/environ");
    let environ = fs::read("/proc/self/environ").unwrap();
    check_bytes("C16", &machine, Ok(&environ));
}

#[test]
fn names_are_names() {
    let machine = Machine::new().file("d1/db-pass_1.v2", VALUE);
    let loader = machine.loader();
    let long = "a".repeat(254);
    for (id, name, expected) in [
        ("C08", "db-pass_1.v2", None),
        ("C09", &*long, Some(Kind::InvalidName)),
        ("C09", "a/b", Some(Kind::InvalidName)),
        ("C09", "..data", Some(Kind::InvalidName)),
        ("C09", "../outside", Some(Kind::InvalidName)),
        ("C09", "", Some(Kind::InvalidName)),
    ] {
        let by_name = loader.secret(name).text();
        let by_entry = loader.secret("X").entry(name).text();
        for found in [by_name, by_entry] {
            assert_eq!(found.as_ref().err().map(kind), expected, "{id}: {name}");
        }
    }
    // Case is not folded.
    let upper = loader.secret("DB-PASS_1.V2").text();
    assert_eq!(upper.unwrap_err().kind(), Kind::Missing);
}

#[cfg(unix)]
#[test]
fn loose_files_are_told_or_refused() {
    use std::os::unix::fs::{MetadataExt as _, chown, symlink};

    let strict = |loader: SecretLoader| loader.with_permissions(FilePermissions::Strict);
    let check_mode = |id, owner: Option<u32>, mode, lenient: Option<usize>, is_strict: bool| {
        let mut machine = Machine::new().file("d1/target", VALUE);
        let path = machine.path("d1/target");
        // Only root can give files away; without it those rows are left to the table of the rule itself.
        if chown(&path, owner, owner).is_err() {
            return;
        }
        set_mode(&path, mode);
        symlink("target", machine.path("d1/X")).unwrap();
        if let Some(notices) = lenient {
            check(id, &machine, Ok(VALUE));
            assert_eq!(machine.told("LoosePermissions"), 2 * notices, "{id}");
        } else {
            check(id, &machine, Err(Kind::LoosePermissions));
            let message = machine.text().unwrap_err().to_string();
            assert!(message.contains(&format!("{mode:04o}")), "{id}: {message}");
        }
        machine = machine.with(strict);
        let expected = is_strict.then_some(VALUE).ok_or(Kind::LoosePermissions);
        check(id, &machine, expected);
    };
    let own = fs::metadata(tempfile::tempdir().unwrap().path())
        .unwrap()
        .uid();
    check_mode("D01", Some(0), 0o444, Some(0), true);
    check_mode("D03", Some(0), 0o440, Some(0), true);
    check_mode("D03", Some(0), 0o640, Some(0), true);
    check_mode("D04", None, 0o600, Some(0), true);
    check_mode("D04", None, 0o400, Some(0), true);
    if own != 0 {
        check_mode("D05", None, 0o644, Some(1), false);
    }
    check_mode("D06", Some(own + 1000), 0o644, Some(1), false);
    check_mode("D07, D10", None, 0o666, None, false);
    check_mode("D08", Some(0), 0o664, Some(1), false);
}

/// The file that was opened is checked, whatever has taken its name since.
#[cfg(unix)]
#[test]
fn d09_swapping_the_file_gains_nothing() {
    let machine = Machine::new().file("d1/X", "good");
    let (good, bad, x) = (
        machine.path("good"),
        machine.path("bad"),
        machine.path("d1/X"),
    );
    std::thread::scope(|scope| {
        let loader = machine.loader();
        let reader = scope.spawn(move || {
            let (mut let_in, mut refused) = (0, 0);
            while let_in < 50 || refused < 50 {
                match loader.secret("X").text() {
                    Ok(secret) => {
                        assert_eq!(secret.expose_secret(), "good");
                        let_in += 1;
                    }
                    Err(error) => {
                        assert_eq!(error.kind(), Kind::LoosePermissions);
                        refused += 1;
                    }
                }
            }
        });
        while !reader.is_finished() {
            for (path, content, mode) in [(&good, "good", 0o600), (&bad, "evil", 0o666)] {
                fs::write(path, content).unwrap();
                set_mode(path, mode);
                fs::rename(path, &x).unwrap();
            }
        }
    });
}

#[test]
fn a_parser_tells_nothing() {
    let machine = Machine::new().env("X", VALUE).env("N", "42");
    let loader = machine.loader();
    assert_eq!(loader.secret("N").parse::<u32>().unwrap(), 42);
    let error = loader.secret("X").parse::<std::net::IpAddr>().unwrap_err();
    assert_eq!(error.kind(), Kind::Unparsable);
    assert_is_silent(&error);
    let error = loader
        .secret("X")
        .parse_with(|text| Err::<(), _>(text.to_owned()));
    assert_is_silent(&error.unwrap_err());
    machine.assert_told_nothing();
}

#[test]
fn all_errors_come_at_once() {
    let machine = Machine::new()
        .env("A", VALUE)
        .env("B", VALUE)
        .env("B_FILE", "x");
    let loader = machine.loader();
    let (a, n) = load_all((
        loader.secret("A").text(),
        loader.secret("C").optional_bytes(),
    ))
    .unwrap();
    assert_eq!(a.expose_secret(), VALUE);
    assert!(n.is_none());

    let errors = load_all((
        loader.secret("A").text(),
        loader.secret("B").text(),
        loader.secret("A").parse::<u8>(),
        loader.secret("C").bytes(),
    ))
    .unwrap_err();
    let kinds: Vec<_> = errors.iter().map(kind).collect();
    assert_eq!(kinds, [Kind::Conflict, Kind::Unparsable, Kind::Missing]);
    assert_is_silent(&errors);
    let message = errors.to_string();
    for name in ["B_FILE", "variable A", "variable C"] {
        assert!(message.contains(name), "{message}");
    }

    let listed = load_all(
        ["A", "C"]
            .map(|name| loader.secret(name).text())
            .into_iter()
            .collect::<Vec<_>>(),
    );
    assert_eq!(listed.unwrap_err().iter().count(), 1);
}

#[test]
fn a_secret_is_never_shown() {
    #[derive(Debug)]
    struct Config<T>(T);

    let machine = Machine::new().env("X", VALUE).env("Y", "short");
    let loader = machine.loader();
    let secret = loader.secret("X").text().unwrap();
    let shown = format!("{secret:?}");
    assert!(shown.contains("REDACTED"), "E01: {shown}");
    assert_is_hidden(&secret);
    assert_is_hidden(&Config(secret.clone()));
    assert_is_hidden(&Some(secret.clone()));
    assert_is_hidden(&vec![secret.clone(), secret.clone()]);
    assert_is_hidden(&Arc::new(secret.clone()));
    assert_is_hidden(&Ok::<_, ()>(secret.clone()));
    assert_is_hidden(&loader.secret("X").bytes().unwrap());
    let rotating = loader
        .secret("X")
        .rotating(std::time::Duration::ZERO)
        .unwrap();
    assert_is_hidden(&rotating);
    assert_is_hidden(&rotating.current());

    let other = loader.secret("Y").text().unwrap();
    assert_eq!(shown, format!("{other:?}"), "E05");
}

#[test]
fn e06_a_panic_shows_no_secret() {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    let machine = Machine::new()
        .env("X", VALUE)
        .env("Y_FILE", VALUE)
        .file("d1/Z", [VALUE.as_bytes(), b"\xff"].concat());
    let loader = machine.loader();
    let secret = loader.secret("X").text().unwrap();
    let message = catch_unwind(|| panic!("{secret:?}")).unwrap_err();
    assert_no_piece(message.downcast_ref::<String>().unwrap());
    for name in ["Y", "Z"] {
        let load = AssertUnwindSafe(|| loader.secret(name).text().unwrap());
        let message = catch_unwind(load).unwrap_err();
        let message = message.downcast_ref::<String>().unwrap();
        // These are the words of `unwrap`.
        assert_no_piece(
            message
                .strip_prefix("called `Result::unwrap()` on an `Err` value: ")
                .unwrap(),
        );
    }
}

/// Runs a test of this file in a process of its own.
fn alone(command: &mut std::process::Command, program: &Path, test: &str) -> bool {
    let output = command
        .arg(program)
        .args(["--exact", "--nocapture", "--test-threads=1"])
        .arg(format!("secrets::{test}"))
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    // A filter that matches nothing succeeds as well.
    let ran = told.contains("1 passed");
    if !ran || !output.status.success() {
        eprintln!("{told}{}", String::from_utf8_lossy(&output.stderr));
    }
    ran && output.status.success()
}

/// What belongs to whom, with which mode, and what becomes of it: under the lenient rule, and under the strict one.
#[cfg(target_os = "linux")]
const OWNED: [(&str, u32, u32, &str, &str); 12] = [
    ("D01", 0, 0o444, "fine", "fine"),
    ("D03", 0, 0o440, "fine", "fine"),
    ("D03", 0, 0o640, "fine", "fine"),
    ("D04", USER, 0o600, "fine", "fine"),
    ("D04", USER, 0o400, "fine", "fine"),
    ("D05", USER, 0o644, "told", "refused"),
    ("D06", OTHER, 0o644, "told", "refused"),
    ("D06", OTHER, 0o640, "told", "refused"),
    ("D07", 0, 0o666, "refused", "refused"),
    ("D07", USER, 0o666, "refused", "refused"),
    ("D07", OTHER, 0o666, "refused", "refused"),
    ("D08", 0, 0o664, "told", "refused"),
];

#[cfg(target_os = "linux")]
const USER: u32 = 41_000;
#[cfg(target_os = "linux")]
const OTHER: u32 = 41_001;
/// The group of the files, which is that of the process as with Kubernetes' `fsGroup`.
#[cfg(target_os = "linux")]
const GROUP: u32 = 42_000;

/// Section D with files of root, of the process's own user and of somebody else, read by a process that is not root. Only root can give
/// files away: run by others, this test sees to the rows that its own files make, and the rest is the table of the rule itself.
#[cfg(target_os = "linux")]
#[test]
fn section_d_read_by_a_user_who_is_not_root() {
    use std::{
        env,
        os::unix::fs::{PermissionsExt as _, chown},
        process::Command,
    };

    const FILES: &str = "PALISADE_TEST_OWNED_FILES";

    if let Some(directory) = env::var_os(FILES) {
        return judge_as(Path::new(&directory), |_| true);
    }
    let root = tempfile::tempdir().unwrap();
    fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let is_root = rustix::process::geteuid().is_root();
    for (index, (_, owner, mode, ..)) in OWNED.into_iter().enumerate() {
        let path = root.path().join(index.to_string());
        fs::write(&path, VALUE).unwrap();
        if is_root {
            chown(&path, Some(owner), Some(GROUP)).unwrap();
        }
        set_mode(&path, mode);
    }
    if !is_root {
        return judge_as(root.path(), |owner| owner == USER);
    }
    // Another user may not get to where the test was built.
    let program = root.path().join("test");
    let built = env::current_exe().unwrap();
    if fs::hard_link(&built, &program).is_err() {
        fs::copy(&built, &program).unwrap();
    }
    let mut setpriv = Command::new("setpriv");
    setpriv
        .args(["--clear-groups", "--reuid", &USER.to_string()])
        .args(["--regid", &GROUP.to_string()])
        .env(FILES, root.path())
        .current_dir("/");
    assert!(alone(
        &mut setpriv,
        &program,
        "section_d_read_by_a_user_who_is_not_root"
    ));
}

#[cfg(target_os = "linux")]
fn judge_as(directory: &Path, is_here: impl Fn(u32) -> bool) {
    for (index, (id, owner, mode, lenient, strict)) in OWNED.into_iter().enumerate() {
        if !is_here(owner) {
            continue;
        }
        for (rule, expected) in [
            (FilePermissions::Lenient, lenient),
            (FilePermissions::Strict, strict),
        ] {
            let told = Arc::new(Mutex::new(Vec::new()));
            let observed = Arc::clone(&told);
            let loader = SecretLoader::new()
                .without_directories()
                .with_directory(directory)
                .with_environment(|_| None)
                .with_permissions(rule)
                .with_observer(move |notice: &SecretNotice<'_>| {
                    if let SecretNotice::LoosePermissions { mode, .. } = notice {
                        observed.lock().unwrap().push(*mode);
                    }
                });
            let found = loader.secret(&index.to_string()).text();
            let told = told.lock().unwrap().clone();
            let found = match &found {
                Ok(secret) => {
                    assert_eq!(secret.expose_secret(), VALUE, "{id}");
                    if told == [mode] { "told" } else { "fine" }
                }
                Err(error) => {
                    assert_is_silent(error);
                    assert_eq!(error.kind(), Kind::LoosePermissions, "{id}");
                    assert!(
                        error.to_string().contains(&format!("{mode:04o}")),
                        "{id}: {error}"
                    );
                    "refused"
                }
            };
            assert_eq!(
                found, expected,
                "{id}: owner {owner}, mode {mode:04o}, {rule:?}"
            );
        }
    }
}

/// With the real environment, in a process of its own: an unrelated variable that is not UTF-8 is none of our business.
#[cfg(unix)]
#[test]
fn a20_an_unrelated_variable_may_be_anything() {
    use std::{env, process::Command};

    const X: &str = "PALISADE_TEST_A20";

    if env::var_os(X).is_some() {
        let secret = SecretLoader::new().secret(X).text().unwrap();
        assert_eq!(secret.expose_secret(), "abc");
        return;
    }
    let mut command = Command::new("env");
    command.env(X, "abc").env("BAD", os(b"\xa3"));
    assert!(alone(
        &mut command,
        &env::current_exe().unwrap(),
        "a20_an_unrelated_variable_may_be_anything"
    ));
}

//! What a child process does with a secret: one role per way to load it.

use std::{
    env, fs,
    hint::black_box,
    io::{self, BufRead as _, Write as _},
    panic::{AssertUnwindSafe, catch_unwind, set_hook},
    sync::Arc,
    thread,
    time::Duration,
};

use palisade::{
    api_key::{ApiKeys, KeyFormat},
    secret::{ExposeSecret, Reload, SecretLoader},
};

/// The variables a child finds its role and its files by.
pub(crate) const ROLE: &str = "MEMORY_ROLE";
pub(crate) const FILE: &str = "X_FILE";
pub(crate) const SECOND: &str = "SECOND";
pub(crate) const THIRD: &str = "THIRD";

/// Plays a role. It tells the parent when to look, and waits until it has looked.
#[allow(
    clippy::too_many_lines,
    reason = "a role is a few lines, and there are many"
)]
pub(crate) fn play(role: &str) {
    // Printing a panic overwrites registers, which must stay what they are.
    set_hook(Box::new(|_| {}));
    let loader = SecretLoader::new().without_directories();
    let request = loader.secret("X");
    match role {
        "control" => {
            let text = fs::read_to_string(env::var_os(FILE).unwrap()).unwrap();
            let secret = text.trim().to_string();
            drop(text);
            look("held");
            drop(black_box(secret));
        }
        "text" => {
            let secret = request.text().unwrap();
            look("held");
            drop(secret);
        }
        "directory" => {
            let path = env::var_os("DIRECTORY").unwrap();
            let loader = loader.with_directory(path);
            let secret = loader.secret("file").text().unwrap();
            look("held");
            drop(secret);
        }
        "portable" => {
            let path = env::var_os("DIRECTORY").unwrap();
            let loader = loader.with_directory(path).with_portable_containment();
            let secret = loader.secret("file").text().unwrap();
            look("held");
            drop(secret);
        }
        "bytes" => {
            let secret = request.bytes().unwrap();
            look("held");
            drop(secret);
        }
        "parsed" => {
            let secret =
                request.parse_with(|text| text.parse::<u64>().map_or(Ok(text.len()), |_| Err(())));
            look("held");
            assert!(black_box(secret).unwrap() > 0);
        }
        "refused" => {
            let error = request.text().unwrap_err();
            look("held");
            drop(black_box(error));
        }
        "too-large" => {
            let loader = SecretLoader::new().without_directories().with_max_len(40);
            drop(loader.secret("X").text().unwrap_err());
            // Below the size that the file claims, and yet too large.
            let loader = loader
                .with_environment(|name| (name == "X_FILE").then(|| "/proc/self/environ".into()));
            drop(loader.secret("X").bytes().unwrap_err());
        }
        "panic-after" => {
            // Nothing in between: looking, too, overwrites registers.
            drop(request.text().unwrap());
            panic_and_catch(());
        }
        "control-panic-after" => {
            // As in `panic-after`, but without the care that the loader takes of registers.
            let text = fs::read_to_string(env::var_os(FILE).unwrap()).unwrap();
            let secret = palisade::secret::SecretString::from(&*text);
            drop(zeroize::Zeroizing::new(text));
            drop(secret);
            panic_and_catch(());
        }
        "control-string" => {
            // With a newline cut off, a `String` is longer than its text.
            let mut text = fs::read_to_string(env::var_os(FILE).unwrap()).unwrap();
            text.truncate(text.trim_end().len());
            drop(palisade::secret::SecretString::from(text));
        }
        "panic-while-held" => {
            panic_and_catch(request.text().unwrap());
        }
        "threads" => {
            let secret = Arc::new(request.text().unwrap());
            look("held");
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    let secret = Arc::clone(&secret);
                    thread::spawn(move || assert!(!secret.expose_secret().is_empty()))
                })
                .collect();
            drop(secret);
            for thread in threads {
                thread.join().unwrap();
            }
        }
        "rotated-away" => {
            let secret = request.rotating(Duration::from_secs(60)).unwrap();
            look("held");
            for next in [SECOND, THIRD] {
                fs::copy(env::var_os(next).unwrap(), env::var_os(FILE).unwrap()).unwrap();
                secret.reload().unwrap();
            }
            look("dropped");
            drop(secret);
        }
        "rotated" => {
            let secret = request.rotating(Duration::from_secs(60)).unwrap();
            look("held");
            for next in [SECOND, THIRD] {
                fs::copy(env::var_os(next).unwrap(), env::var_os(FILE).unwrap()).unwrap();
                secret.reload().unwrap();
                secret.reload().unwrap();
            }
            panic_and_catch(());
            drop(secret);
        }
        "verified" => {
            let secret = request.rotating(Duration::from_secs(60)).unwrap();
            for presented in 0..1000 {
                assert!(!secret.matches(format!("presented {presented}").as_bytes()));
            }
            look("held");
            drop(secret);
        }
        "logged" => {
            let secret = request.text().unwrap();
            look("held");
            let json = tracing_subscriber::fmt()
                .json()
                .with_max_level(tracing::Level::TRACE)
                .with_writer(io::sink)
                .finish();
            tracing::subscriber::with_default(json, || tracing::trace!(?secret, "json"));
            let text = tracing_subscriber::fmt()
                .with_max_level(tracing::Level::TRACE)
                .with_writer(io::sink)
                .finish();
            tracing::subscriber::with_default(text, || tracing::trace!("{secret:?}"));
            drop(secret);
        }
        "digest" => {
            let secret = request.text().unwrap();
            look("held");
            let digest = palisade::secret::SecretDigest::of(&secret);
            drop(secret);
            assert!(!digest.matches(b"another"));
        }
        "api-keys" | "api-keys-json" | "api-keys-toml" => {
            let format = match role {
                "api-keys-json" => KeyFormat::Json,
                "api-keys-toml" => KeyFormat::Toml,
                _ => KeyFormat::Lines,
            };
            let keys = ApiKeys::load(&request, format).unwrap();
            look("held");
            assert!(keys.verify(b"another").is_none());
            assert_eq!(keys.reload().unwrap(), Reload::Unchanged);
            panic_and_catch(keys);
        }
        role => panic!("there is no role {role}"),
    }
    look("dropped");
}

/// The first panic of a process resolves functions lazily, which may save all registers on the stack.
fn panic_and_catch(held: impl Send) {
    let panicked = catch_unwind(AssertUnwindSafe(move || {
        let _held = black_box(held);
        panic!("expected");
    }));
    assert!(panicked.is_err());
}

fn look(phase: &str) {
    let mut output = io::stdout().lock();
    writeln!(output, "{phase}").unwrap();
    output.flush().unwrap();
    io::stdin().lock().read_line(&mut String::new()).unwrap();
}

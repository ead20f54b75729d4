//! Secrets that are loaded safely, wiped, replaced while the service runs, and never printed.
//!
//! [`SecretLoader`] finds a secret in a file or in the environment; [`load_all`] makes a service that lacks some say so all at once.
//! What it returns is a [`SecretString`] or a [`SecretSlice`] of the crate `secrecy`, which cannot be printed, compared with `==` or serialized,
//! and which are wiped when they are dropped. [`RotatingSecret`] reads a secret again and again, and [`SecretDigest`] tells whether a presented value is
//! the secret, in constant time.
//!
//! # Example
//!
//! ```
//! use palisade::secret::{ExposeSecret, SecretErrorKind, SecretLoader};
//!
//! let directory = tempfile::tempdir()?;
//! std::fs::write(directory.path().join("db_password"), "hunter2\n")?;
//! std::fs::write(directory.path().join("empty"), "")?;
//! let loader = SecretLoader::new().with_directory(directory.path());
//!
//! let password = loader.secret("DB_PASSWORD").entry("db_password").text()?;
//! assert_eq!(password.expose_secret(), "hunter2");
//!
//! let refused = loader.secret("empty").text().err().ok_or("loaded")?;
//! assert_eq!(refused.kind(), SecretErrorKind::Empty);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Where secrets come from
//!
//! All of these deliver the secret that is asked for with `loader.secret("DB_PASSWORD").entry("db_password")`, without a line of the service that
//! knows which it is.
//!
//! | | what the operator writes | replaced at run time |
//! |---|---|---|
//! | Docker | `docker run -v ./db_password:/run/secrets/db_password:ro …` | if the file is rewritten in place |
//! | Compose | `secrets: {db_password: {file: ./db_password}}` and `services: {api: {secrets: [db_password]}}` | if the file is rewritten in place |
//! | Swarm | `docker secret create db_password -`, and `docker service create --secret db_password …` | no: a new secret, a new task |
//! | Kubernetes | a `secret` volume mounted at `/run/secrets`, or anywhere, with `DB_PASSWORD_FILE=/…/db_password` | yes, after a minute or so; never with `subPath` |
//! | systemd | `LoadCredential=db_password:/etc/api/db_password` in the unit | no: restart |
//! | a file | `DB_PASSWORD_FILE=/etc/api/db_password` | yes |
//! | environment | `DB_PASSWORD=…` | no: restart |
//!
//! A Kubernetes volume, whole:
//!
//! ```yaml
//! spec:
//!   volumes:
//!     - name: secrets
//!       secret: { secretName: api, defaultMode: 0440 }
//!   containers:
//!     - name: api
//!       volumeMounts:
//!         - { name: secrets, mountPath: /run/secrets, readOnly: true }
//! ```
//!
//! # What is refused
//!
//! Only a secret that is absent is looked for further on; what is there and bad is an error, never a reason to look elsewhere. Errors name
//! the places and never a byte of a value: not even the path in `NAME_FILE`, where a hurried operator may have put the secret itself.
//!
//! - `NAME` and `NAME_FILE` both set, where neither is empty.
//! - An empty secret, one above 1 MiB, and as text one that is not UTF-8, contains a NUL, begins with a byte order mark, or is a template that nobody
//!   filled in (`<no value>`, `${NAME}`, `{{ name }}`).
//! - An entry of a directory that leads out of it. Links inside, as Kubernetes makes them, are followed. On Linux the kernel sees to it
//!   (`openat2`), elsewhere checks before and after opening do.
//! - A FIFO, a socket, a device or a directory, none of which is waited for.
//! - A file that everybody may write; and whatever else [`FilePermissions`] is told to refuse.
//!
//! Exactly one newline at the end of a *file* is not part of the text. Nothing else is trimmed: blanks may belong to a secret.
//!
//! # What stays in memory, and what does not
//!
//! Loading leaves no copy but the one returned, and that one is wiped when it is dropped: not in freed memory, not on the stack, not in the
//! vector registers that copying has gone through. The tests of the crate read the whole memory of child processes to prove it, under the
//! allocator of the system, under jemalloc and under mimalloc. These copies are nobody's to wipe in safe code:
//!
//! - **The environment block.** The kernel keeps what a process was started with, and `/proc/<pid>/environ` shows it. Hand secrets over
//!   as files.
//! - **What clients present.** An API key lies in the read buffers of the server, and may stay there after the connection is closed. Store digests of
//!   such keys, as [`api_key`](crate::api_key) does, so that at least no dump of the store reveals one.
//! - **Swap and core dumps.** Turn them off: `LimitCORE=0` and `MemorySwapMax=0` in a systemd unit, `--ulimit core=0` for a container, `prctl(PR_SET_DUMPABLE, 0)`
//!   in the service, which also hides `/proc/<pid>/environ` from others of the same user.
//! - **What you do with a secret**: `to_string`, `format!`, a `HeaderValue`, a parsed URL are copies. So is what an error of yours quotes.
//! - **Statics** are never dropped, nor is anything where a process aborts or calls `exit`.
//!
//! # What does not compile
//!
//! ```compile_fail
//! # use palisade::secret::SecretString;
//! println!("{}", SecretString::from("hunter2"));
//! ```
//!
//! ```compile_fail
//! # use palisade::secret::SecretString;
//! assert!(SecretString::from("hunter2") == SecretString::from("hunter2"));
//! ```
//!
//! ```compile_fail
//! # use palisade::secret::SecretString;
//! let json = serde_json::to_string(&SecretString::from("hunter2"));
//! ```
//!
//! The same lines with what is not secret do:
//!
//! ```
//! println!("{}", "hunter2");
//! assert!("hunter2" == "hunter2");
//! let json = serde_json::to_string(&"hunter2");
//! # assert!(json.is_ok());
//! ```

pub(crate) mod batch;
pub(crate) mod content;
pub(crate) mod digest;
pub(crate) mod error;
pub(crate) mod file;
pub(crate) mod loader;
pub(crate) mod notice;
pub(crate) mod permissions;
pub(crate) mod pinned;
pub(crate) mod request;
pub(crate) mod rotating;
pub(crate) mod spot;
#[cfg(feature = "tokio")]
pub(crate) mod task;

pub use secrecy::{ExposeSecret, SecretBox, SecretSlice, SecretString};

#[cfg(feature = "tokio")]
pub use self::task::{NoRuntimeError, ReloadTask};
pub use self::{
    batch::{SecretResults, load_all},
    content::SecretContent,
    digest::{ParseDigestError, SecretDigest},
    error::{SecretError, SecretErrorKind, SecretErrors, SecretPlace},
    loader::SecretLoader,
    notice::SecretNotice,
    permissions::FilePermissions,
    pinned::Reload,
    request::SecretRequest,
    rotating::{RotatingSecret, SecretGuard, SecretMatch},
};

//! The command line.

use std::path::PathBuf;

use lexopt::prelude::*;

pub(crate) const HELP: &str = "\
A small JSON service behind palisade.

Usage: api [--config FILE] [COMMAND]

Commands:
  serve        serve requests (the default)
  healthcheck  ask the running service whether it is well; exit code 0 or 1
  new-key      make an API key and print it once, with the digest to put into the secret API_KEYS

Options:
  --config FILE  read settings from a TOML file
  --help         show this text

Every setting of the file can be given as an environment variable as well, which wins:
API__SERVER__LISTEN=0.0.0.0:8080 is `listen` of the table `[server]`.
";

/// What the command line asks for.
#[derive(Debug)]
pub(crate) struct Args {
    pub(crate) command: Command,
    pub(crate) config: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Command {
    Healthcheck,
    Help,
    NewKey,
    Serve,
}

impl Args {
    pub(crate) fn parse() -> Result<Self, String> {
        Self::parse_from(lexopt::Parser::from_env())
    }

    fn parse_from(mut parser: lexopt::Parser) -> Result<Self, String> {
        let mut command = None;
        let mut config = None;
        while let Some(arg) = parser.next().map_err(|error| error.to_string())? {
            match arg {
                Long("config") => {
                    let value = parser.value().map_err(|error| error.to_string())?;
                    config = Some(PathBuf::from(value));
                }
                Short('h') | Long("help") => command = Some(Command::Help),
                Value(word) if command.is_none() => {
                    command = Some(match word.to_str() {
                        Some("serve") => Command::Serve,
                        Some("healthcheck") => Command::Healthcheck,
                        Some("new-key") => Command::NewKey,
                        _ => {
                            return Err(format!(
                                "unknown command {}: allowed are `serve`, `healthcheck` and `new-key`",
                                word.display()
                            ));
                        }
                    });
                }
                other => return Err(format!("{}; try --help", other.unexpected())),
            }
        }
        Ok(Self {
            command: command.unwrap_or(Command::Serve),
            config,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(args: &[&str], expected: Result<(Command, Option<&str>), &str>) {
        let args = std::iter::once("api").chain(args.iter().copied());
        let parsed = Args::parse_from(lexopt::Parser::from_iter(args));
        match (parsed, expected) {
            (Ok(args), Ok((command, config))) => {
                assert_eq!(args.command, command);
                assert_eq!(args.config, config.map(PathBuf::from));
            }
            (Err(error), Err(part)) => assert!(error.contains(part), "{error}"),
            (parsed, expected) => panic!("{parsed:?} is not {expected:?}"),
        }
    }

    #[test]
    fn arguments() {
        check(&[], Ok((Command::Serve, None)));
        check(
            &["--config", "a.toml"],
            Ok((Command::Serve, Some("a.toml"))),
        );
        check(&["healthcheck"], Ok((Command::Healthcheck, None)));
        check(&["new-key"], Ok((Command::NewKey, None)));
        check(&["--help"], Ok((Command::Help, None)));
        check(&["fly"], Err("allowed are"));
        check(&["--nonsense"], Err("--nonsense"));
        check(&["serve", "serve"], Err("serve"));
    }
}

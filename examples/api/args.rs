//! The command line.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use axum::http::{HeaderName, HeaderValue, Method, Uri};
use lexopt::prelude::*;

pub(crate) const HELP: &str = "\
A small JSON service behind palisade.

Usage: api [--config FILE] [COMMAND]

Commands:
  serve        serve requests (the default)
  check        say whether the settings are good, without starting; exit code 0, or 2 and a line for each fault
  explain --from ADDR [--header NAME:VALUE]... METHOD PATH
               say what a request would meet, gate by gate; nothing is counted, banned or told
  healthcheck  ask the running service whether it is well; exit code 0 or 1
  new-key      make an API key and print it once, with the digest to put into the secret API_KEYS

Options:
  --config FILE  read settings from a TOML file
  --from ADDR    the other end of the connection: an address, with or without a port
  --header NAME:VALUE
                 a header field of the request; may be given several times
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

#[derive(Debug, PartialEq)]
pub(crate) enum Command {
    Check,
    Explain(Question),
    Healthcheck,
    Help,
    NewKey,
    Serve,
}

/// The request that is asked about.
#[derive(Debug, PartialEq)]
pub(crate) struct Question {
    pub(crate) from: SocketAddr,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) method: Method,
    pub(crate) path: Uri,
}

impl Args {
    pub(crate) fn parse() -> Result<Self, String> {
        Self::parse_from(lexopt::Parser::from_env())
    }

    fn parse_from(mut parser: lexopt::Parser) -> Result<Self, String> {
        let mut words = Vec::new();
        let mut config = None;
        let mut from = None;
        let mut headers = Vec::new();
        let mut help = false;
        while let Some(arg) = parser.next().map_err(|error| error.to_string())? {
            match arg {
                Long("config") => {
                    let value = parser.value().map_err(|error| error.to_string())?;
                    config = Some(PathBuf::from(value));
                }
                Long("from") => from = Some(peer(&text(&mut parser)?)?),
                Long("header") => headers.push(header(&text(&mut parser)?)?),
                Short('h') | Long("help") => help = true,
                Value(word) => words.push(word.to_string_lossy().into_owned()),
                other => return Err(format!("{}; try --help", other.unexpected())),
            }
        }
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        let asks = from.is_some() || !headers.is_empty();
        let command = match (words.as_slice(), from) {
            _ if help => Command::Help,
            (["explain", method, path], Some(from)) => Command::Explain(Question {
                from,
                headers,
                method: method
                    .parse()
                    .map_err(|error| format!("METHOD {method:?}: {error}"))?,
                path: path
                    .parse()
                    .map_err(|error| format!("PATH {path:?}: {error}"))?,
            }),
            (["explain", ..], _) => {
                return Err("explain needs --from ADDR, METHOD and PATH, as `api explain --from 203.0.113.7 GET /notes`".into());
            }
            _ if asks => return Err("--from and --header are for the command `explain`".into()),
            ([] | ["serve"], _) => Command::Serve,
            (["check"], _) => Command::Check,
            (["healthcheck"], _) => Command::Healthcheck,
            (["new-key"], _) => Command::NewKey,
            (words, _) => {
                return Err(format!(
                    "unknown command {}: allowed are `serve`, `check`, `explain`, `healthcheck` and `new-key`",
                    words.join(" ")
                ));
            }
        };
        Ok(Self { command, config })
    }
}

fn text(parser: &mut lexopt::Parser) -> Result<String, String> {
    let value = parser.value().map_err(|error| error.to_string())?;
    value
        .into_string()
        .map_err(|_| "an argument is not UTF-8".into())
}

/// Reads an address with or without a port, which means nothing here.
fn peer(text: &str) -> Result<SocketAddr, String> {
    let address = text.parse::<IpAddr>().map(|it| SocketAddr::new(it, 0));
    address.or_else(|_| text.parse()).map_err(|_| {
        format!("--from {text:?}: expected an address, as 203.0.113.7 or [2001:db8::7]:443")
    })
}

/// Reads a header field. Its value, which may be a key, is not repeated in an error.
fn header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let wrong = || "--header: expected NAME:VALUE, as 'host: api.example.com'".to_owned();
    let (name, value) = text.split_once(':').ok_or_else(wrong)?;
    let name = name.trim().parse().map_err(|_| wrong())?;
    Ok((name, value.trim().parse().map_err(|_| wrong())?))
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
        check(&["check"], Ok((Command::Check, None)));
        let question = Question {
            from: "203.0.113.7:0".parse().unwrap(),
            headers: vec![("host".parse().unwrap(), "a:1".parse().unwrap())],
            method: Method::GET,
            path: "/notes?a=1".parse().unwrap(),
        };
        check(
            &[
                "explain",
                "--from",
                "203.0.113.7",
                "--header",
                "Host: a:1",
                "GET",
                "/notes?a=1",
            ],
            Ok((Command::Explain(question), None)),
        );
        check(&["explain", "GET", "/"], Err("--from"));
        check(
            &["explain", "--from", "nowhere", "GET", "/"],
            Err("203.0.113.7"),
        );
        check(&["explain", "--from", "::1", "GET"], Err("PATH"));
        check(&["--from", "::1"], Err("explain"));
        check(
            &[
                "explain",
                "--from",
                "::1",
                "--header",
                "key sesame",
                "GET",
                "/",
            ],
            Err("NAME:VALUE"),
        );
        check(&["--help"], Ok((Command::Help, None)));
        check(&["fly"], Err("allowed are"));
        check(&["--nonsense"], Err("--nonsense"));
        check(&["serve", "serve"], Err("serve"));
    }
}

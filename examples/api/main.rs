//! A small JSON service behind `palisade`: notes that are kept in memory.
//!
//! `cargo run --example api` starts it on `127.0.0.1:8080` with safe defaults; see `README.md` in this folder for the rest.

mod admin;
mod args;
mod clients;
mod config;
mod explain;
mod health;
mod idle;
mod logs;
mod notes;
mod protection;
mod routes;
mod server;
mod tls;

use std::process::ExitCode;

use palisade::{api_key::NewApiKey, secret::ExposeSecret as _};

use crate::{
    args::{Args, Command},
    config::Config,
};

/// What the process ends with where its configuration is wrong; anything else that ends it early is 1.
const MISCONFIGURED: u8 = 2;

fn main() -> ExitCode {
    let result = match Args::parse() {
        Ok(args) => run(&args),
        Err(error) => Err(Failure::Configuration(error)),
    };
    match result {
        Ok(code) => code,
        Err(Failure::Configuration(errors)) => {
            for error in errors.lines() {
                eprintln!("api: {error}");
            }
            ExitCode::from(MISCONFIGURED)
        }
        Err(Failure::Runtime(error)) => {
            eprintln!("api: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Why the process ends early.
#[derive(Debug)]
enum Failure {
    /// The configuration is wrong: a line for each fault, which names the setting and what is allowed.
    Configuration(String),
    /// Something failed that was right to try.
    Runtime(String),
}

fn run(args: &Args) -> Result<ExitCode, Failure> {
    let file = args.config.as_deref();
    let config = || Config::load(file).map_err(Failure::Configuration);
    let runtime = || {
        tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::Runtime(format!("cannot start the runtime: {error}")))
    };
    match &args.command {
        Command::Help => print!("{}", args::HELP),
        Command::NewKey => return new_key(),
        Command::Check => {
            explain::check(&config()?).map_err(Failure::Configuration)?;
            println!("the settings are good");
        }
        Command::Explain(question) => {
            let explanation =
                explain::explain(&config()?, question).map_err(Failure::Configuration)?;
            println!("{explanation}");
        }
        Command::Healthcheck => {
            let config = config()?;
            if let Err(error) = runtime()?.block_on(health::probe(&config)) {
                eprintln!("api: unhealthy: {error}");
                return Ok(ExitCode::FAILURE);
            }
        }
        Command::Serve => {
            let config = config()?;
            let runtime = runtime()?;
            logs::start(&config.log);
            let feed = admin::EventFeed::default();
            // Before anything that counts is made.
            let metrics = admin::install_metrics().map_err(Failure::Runtime)?;
            let protection =
                protection::build(&config, feed.clone()).map_err(Failure::Configuration)?;
            let file = args.config.clone();
            runtime.block_on(server::serve(file, config, protection, feed, metrics))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Makes an API key. The key is on standard output alone, so that it can be piped to where it belongs.
fn new_key() -> Result<ExitCode, Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::Runtime(format!("no key: {error}"));
    let key = NewApiKey::generate("api").map_err(|error| failed(&error))?;
    println!("{}", key.key().expose_secret());
    eprintln!(
        "Give this key to the client: it is shown once and kept nowhere. For the secret API_KEYS:"
    );
    eprintln!("  {{\"the-client\": \"{}\"}}", key.digest().to_text());
    Ok(ExitCode::SUCCESS)
}

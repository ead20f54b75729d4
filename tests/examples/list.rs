//! The list of the examples, which must leave out none.

use std::{collections::BTreeSet, fs, path::Path};

/// Returns the names of the examples that are files.
fn files() -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|it| it == "rs"))
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect()
}

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// The command that the list and the example itself name.
fn command(name: &str) -> String {
    let text = read(&format!("examples/{name}.rs"));
    let mut lines = text.lines().map(|line| line.trim_start_matches("//! "));
    let line = lines.find(|line| line.starts_with("cargo run"));
    let line = line.unwrap_or_else(|| panic!("{name} does not say how to run it"));
    line.trim_end_matches(" [PORT]").to_owned()
}

#[test]
fn every_example_is_listed_with_its_command() {
    let list = read("examples/README.md");
    for name in files() {
        let row = format!("| [`{name}`]({name}.rs) |");
        let row = list.lines().find(|line| line.starts_with(&row));
        let row = row.unwrap_or_else(|| panic!("{name} is not in examples/README.md"));
        let end = format!("| `{}` |", command(&name));
        assert!(row.ends_with(&end), "{row} does not end with {end}");
    }
}

#[test]
fn every_example_runs_with_the_features_it_says() {
    let manifest = read("Cargo.toml");
    for name in files() {
        let (_, rest) = manifest
            .split_once(&format!("[[example]]\nname = \"{name}\"\n"))
            .unwrap_or_else(|| panic!("{name} is not in Cargo.toml"));
        let line = rest.lines().next().unwrap();
        let required: BTreeSet<&str> = line.split('"').skip(1).step_by(2).collect();
        let command = command(&name);
        let named = command.split_once("--features ").map_or("", |it| it.1);
        let named: BTreeSet<&str> = named.split(',').filter(|it| !it.is_empty()).collect();
        // These two are there without asking.
        let defaults = BTreeSet::from(["rate-limit", "tracing"]);
        let given = named.union(&defaults).copied().collect();
        assert!(
            required.is_subset(&given),
            "{name} needs {required:?}, its command gives {given:?}"
        );
        assert!(
            named.is_subset(&required),
            "{name} names more than it requires: {named:?}"
        );
    }
}

#[test]
fn every_example_has_a_test() {
    let tests = read("tests/examples/main.rs");
    for name in files() {
        assert!(
            tests.contains(&format!("async fn {name}()")),
            "{name} is not run"
        );
    }
}

//! The documentation: no public module and no page of the guide is without an example.

use std::{fs, path::Path};

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// The guide has its own test, and the shared store needs a server: `tests/redis` shows it at work.
const ELSEWHERE: [&str; 2] = ["guide", "shared_store"];

/// The blocks of code that run, and check what comes of it. Text is Markdown.
fn checked_examples(text: &str) -> usize {
    let blocks = text.split("```").skip(1).step_by(2);
    let run = blocks.filter(|block| block.starts_with('\n') || block.starts_with("\")]"));
    run.filter(|block| block.contains("assert")).count()
}

/// The names behind `pub mod` in a file.
fn modules(text: &str) -> Vec<&str> {
    let names = text
        .lines()
        .filter_map(|line| line.strip_prefix("pub mod "));
    names
        .map(|name| name.trim_end_matches([';', '{', '}', ' ']))
        .collect()
}

#[test]
fn every_public_module_has_an_example_that_checks_something() {
    let root = read("src/lib.rs");
    let names = modules(&root);
    assert!(names.len() > 15, "{names:?}");
    for name in names.into_iter().filter(|name| !ELSEWHERE.contains(name)) {
        let path = format!("src/{name}.rs");
        let text = if Path::new(env!("CARGO_MANIFEST_DIR")).join(&path).exists() {
            read(&path)
        } else {
            read(&format!("src/{name}/mod.rs"))
        };
        let docs: Vec<&str> = text
            .lines()
            .take_while(|line| {
                line.starts_with("//!") || line.starts_with("#![") || line.is_empty()
            })
            .map(|line| line.trim_start_matches("//! ").trim_start_matches("//!"))
            // A fence that depends on a feature is an attribute, and is there twice.
            .filter(|line| !line.starts_with("#![cfg_attr(not("))
            .collect();
        assert!(docs.contains(&"# Example"), "{name} has no example");
        assert!(
            checked_examples(&docs.join("\n")) > 0,
            "the example of {name} checks nothing"
        );
    }
}

#[test]
fn every_page_of_the_guide_is_shown_and_has_an_example() {
    let guide = read("src/guide/mod.rs");
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/guide")).unwrap() {
        let file = entry.unwrap().file_name().into_string().unwrap();
        let shown = format!("#[doc = include_str!(\"{file}\")]");
        assert!(
            file == "mod.rs" || guide.contains(&shown),
            "{file} is not shown"
        );
    }
    let pages = modules(&guide);
    assert!(pages.len() > 10, "{pages:?}");
    for page in pages {
        assert!(
            guide.contains(&format!("//! | [`{page}`] |")),
            "{page} is not listed"
        );
        // A page may be in pieces.
        let (before, _) = guide.split_once(&format!("pub mod {page} ")).unwrap();
        let (_, pieces) = before.rsplit_once("\n\n").unwrap();
        let pieces = pieces.split('"').skip(1).step_by(2);
        let text: String = pieces
            .map(|file| read(&format!("src/guide/{file}")))
            .collect();
        assert!(
            checked_examples(&text) > 0,
            "{page} has no example that checks something"
        );
    }
}

#[test]
fn examples_are_told_from_other_blocks() {
    assert_eq!(
        checked_examples("a\n```\nassert!(true);\n```\n```text\nassert\n```\n```\nlet a;\n```\n"),
        1
    );
}

/// The words between backticks of a text.
fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// All of the source but the guide's pages, in one text.
fn source() -> String {
    fn gather(folder: &Path, text: &mut String) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                gather(&path, text);
            } else if path.extension().is_some_and(|it| it == "rs") {
                text.push_str(&fs::read_to_string(path).unwrap());
            }
        }
    }
    let mut text = String::new();
    gather(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
        &mut text,
    );
    text
}

#[test]
fn the_table_of_features_is_that_of_the_manifest() {
    let manifest: toml::Table = read("Cargo.toml").parse().unwrap();
    let features = manifest["features"].as_table().unwrap();
    let enabled = |by: &str| -> Vec<String> {
        let list = features[by].as_array().unwrap().iter();
        list.map(|it| it.as_str().unwrap().to_owned()).collect()
    };
    let default = enabled("default");
    let root = read("src/lib.rs");
    let (_, table) = root
        .split_once("//! | feature | default | adds |\n")
        .unwrap();
    let rows = table
        .lines()
        .skip(1)
        .map_while(|line| line.strip_prefix("//! | `"));
    let rows: Vec<_> = rows
        .map(|row| {
            let mut cells = row.split('|');
            let name = cells.next().unwrap().trim().trim_end_matches('`');
            (name.to_owned(), cells.next().unwrap().trim().to_owned())
        })
        .collect();
    let names: Vec<_> = rows.iter().map(|(name, _)| name.as_str()).collect();
    let expected: Vec<_> = features.keys().filter(|it| *it != "default").collect();
    assert_eq!(names, expected);
    for (name, told) in rows {
        let by = default.iter().find(|it| enabled(it).contains(&name));
        let expected = match by {
            _ if default.contains(&name) => "yes".to_owned(),
            Some(by) => format!("by `{by}`"),
            None => String::new(),
        };
        assert_eq!(told, expected, "{name}");
    }
}

#[test]
fn names_that_weaken_are_names() {
    let page = read("src/guide/threat_model.md");
    let (_, list) = page
        .split_once("What weakens it is chosen by name.")
        .unwrap();
    let (list, _) = list.split_once("\n\n").unwrap();
    let public = read("tests/public-api.txt");
    let names = quoted(list);
    assert!(names.len() > 10, "{names:?}");
    for name in names {
        let name = name.trim_end_matches('…');
        let found = public
            .lines()
            .any(|line| line.contains(&format!("::{name}")));
        assert!(found, "`{name}` is nowhere in the interface");
    }
    // The other way round, as far as names tell.
    for line in public.lines().filter(|it| it.starts_with("pub fn ")) {
        let name = line.split(['(', '<']).next().unwrap();
        let name = name.rsplit("::").next().unwrap();
        if name.starts_with("exempt") || name.contains("unix_sockets") && name != "unix_sockets" {
            assert!(list.contains(name), "{name} is not in the list");
        }
    }
}

#[test]
fn what_pages_quote_is_said() {
    let source = source();
    let schema = read("src/event/schema.md");
    for page in ["events", "troubleshooting"] {
        let text = read(&format!("src/guide/{page}.md"));
        let rows: Vec<_> = text.lines().filter(|it| it.starts_with("| ")).collect();
        for row in &rows {
            for words in row.split('"').skip(1).step_by(2) {
                assert!(source.contains(words), "{page}: nobody says \"{words}\"");
            }
        }
        let words = rows.iter().flat_map(|row| quoted(row));
        let words = words.filter(|it| {
            it.contains('_') && it.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
        });
        let mut actions = 0;
        for word in words {
            let is_action = schema.contains(&format!("| `{word}` |"));
            actions += usize::from(is_action);
            assert!(is_action || source.contains(word), "{page}: {word}");
        }
        assert!(actions > 5, "{page}");
    }
}

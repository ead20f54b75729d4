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

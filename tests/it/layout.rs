//! The layout of the source: a file imports only from floors below its own, and no two files import each other, however far round.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// The floor of each folder or file of `src`, as the crate's documentation draws it.
const FLOORS: &[(&str, u32)] = &[
    ("clock", 1),
    ("from_text", 1),
    ("metrics", 1),
    ("path", 1),
    ("event", 2),
    ("ip_set", 3),
    ("client_ip", 4),
    ("secret", 4),
    ("policy", 5),
    ("respond", 6),
    ("enforce", 7),
    ("api_key", 8),
    ("host", 8),
    ("https", 9),
    ("in_flight", 9),
    ("ip_filter", 8),
    ("jail", 8),
    ("proxy_protocol", 8),
    ("rate_limit", 8),
    ("response_headers", 8),
    ("security", 10),
    ("config", 11),
    ("guide", 11),
    ("shared_store", 5),
    ("lib", 12),
];

/// The files of `src` without their ending, and the files each imports from.
fn imports() -> BTreeMap<String, BTreeSet<String>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    collect(&root, &mut paths);
    let name = |path: &Path| {
        let path = path.strip_prefix(&root).unwrap().with_extension("");
        path.to_str().unwrap().replace('\\', "/")
    };
    let files: BTreeSet<String> = paths.iter().map(|path| name(path)).collect();
    let mut imports = BTreeMap::new();
    for path in &paths {
        let text = code(&fs::read_to_string(path).unwrap());
        let found = paths_in(&text)
            .iter()
            .filter_map(|path| file_of(path, &files))
            .collect();
        imports.insert(name(path), found);
    }
    imports
}

fn collect(folder: &Path, paths: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, paths);
        } else if path.extension().is_some_and(|it| it == "rs") {
            paths.push(path);
        }
    }
}

/// Leaves out comments and unit tests, which may look anywhere.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod ").next().unwrap();
    let lines = text.lines().map(|line| line.split("//").next().unwrap());
    lines.collect::<Vec<_>>().join("\n")
}

/// All paths that begin with `crate::`, with the trees of `use` spread out.
fn paths_in(text: &str) -> Vec<String> {
    let mut paths = Vec::new();
    for (start, _) in text.match_indices("crate::") {
        spread(&text[start + "crate::".len()..], "", &mut paths);
    }
    paths
}

/// Reads one tree of a `use`, and returns what comes behind it.
fn spread<'a>(text: &'a str, prefix: &str, paths: &mut Vec<String>) -> &'a str {
    let text = text.trim_start();
    if let Some(mut rest) = text.strip_prefix('{') {
        loop {
            rest = rest.trim_start();
            if let Some(rest) = rest.strip_prefix('}') {
                return rest;
            }
            rest = spread(rest, prefix, paths).trim_start();
            rest = rest.strip_prefix(',').unwrap_or(rest);
            if rest.is_empty() {
                return rest;
            }
        }
    }
    let end = text
        .find(|c: char| !c.is_alphanumeric() && c != '_' && c != '*')
        .unwrap_or(text.len());
    if end == 0 {
        return text.get(1..).unwrap_or_default();
    }
    let (word, rest) = text.split_at(end);
    let path = if prefix.is_empty() {
        word.to_owned()
    } else {
        format!("{prefix}/{word}")
    };
    if let Some(rest) = rest.strip_prefix("::") {
        return spread(rest, &path, paths);
    }
    paths.push(path);
    rest
}

/// The longest beginning of a path that is a file.
fn file_of(path: &str, files: &BTreeSet<String>) -> Option<String> {
    let mut path = path;
    loop {
        if files.contains(path) {
            return Some(path.to_owned());
        }
        if files.contains(&format!("{path}/mod")) {
            return Some(format!("{path}/mod"));
        }
        path = path.rsplit_once('/')?.0;
    }
}

fn floor(file: &str) -> u32 {
    let folder = file.split('/').next().unwrap();
    let found = FLOORS.iter().find(|(name, _)| *name == folder);
    found
        .unwrap_or_else(|| {
            panic!("{file} has no floor: name it here and in the crate's documentation")
        })
        .1
}

fn is_porch(file: &str) -> bool {
    file == "lib" || file.ends_with("/mod")
}

#[test]
fn no_file_imports_from_a_higher_floor() {
    for (file, imports) in imports() {
        for import in &imports {
            assert!(
                floor(import) <= floor(&file),
                "{file} imports from {import}, which is above it"
            );
        }
    }
}

#[test]
fn no_file_imports_through_a_porch() {
    for (file, imports) in imports() {
        if is_porch(&file) {
            continue;
        }
        for import in &imports {
            assert!(!is_porch(import), "{file} imports through {import}");
        }
    }
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let imports = imports();
    let mut left: BTreeMap<&str, BTreeSet<&str>> = imports
        .iter()
        .filter(|(file, _)| !is_porch(file))
        .map(|(file, imports)| {
            let imports = imports.iter().map(String::as_str);
            let others = imports.filter(|import| import != file && !is_porch(import));
            (file.as_str(), others.collect())
        })
        .collect();
    // A file that imports from none that is left, or is imported by none, is in no circle.
    loop {
        let names: BTreeSet<&str> = left.keys().copied().collect();
        let imported: BTreeSet<&str> = left.values().flatten().copied().collect();
        left.retain(|file, imports| {
            imports.retain(|import| names.contains(import));
            !imports.is_empty() && imported.contains(file)
        });
        if left.len() == names.len() {
            break;
        }
    }
    let tied: Vec<_> = left
        .iter()
        .map(|(file, imports)| format!("{file} -> {imports:?}"))
        .collect();
    assert!(
        tied.is_empty(),
        "these import each other:\n{}",
        tied.join("\n")
    );
}

#[test]
fn imports_are_found() {
    let paths = paths_in("use crate::{a::b::C, d::{e::F, g}}; let x = crate::h::i();");
    assert_eq!(paths, ["a/b/C", "d/e/F", "d/g", "h/i"]);
    assert!(imports().values().map(BTreeSet::len).sum::<usize>() > 100);
}

/// All files of `src` without their comments and unit tests, by name.
fn texts() -> BTreeMap<String, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    collect(&root, &mut paths);
    paths
        .iter()
        .map(|path| {
            let name = path.strip_prefix(&root).unwrap().to_str().unwrap();
            let name = name.replace('\\', "/");
            (name, code(&fs::read_to_string(path).unwrap()))
        })
        .collect()
}

/// The files that hold one of these words.
fn with(words: &[&str]) -> Vec<String> {
    let holds = |text: &str| words.iter().any(|word| text.contains(word));
    let texts = texts().into_iter();
    texts
        .filter(|(_, text)| holds(text))
        .map(|(name, _)| name)
        .collect()
}

#[test]
fn nothing_reads_a_clock_by_itself() {
    // The clock itself, the time at which a limiter is made, and what waits for the store.
    let expected = [
        "clock.rs",
        "rate_limit/limiter.rs",
        "shared_store/link.rs",
        "shared_store/store.rs",
    ];
    let found = with(&["Instant::now(", "SystemTime::now(", ".elapsed("]);
    assert_eq!(found, expected);
}

#[test]
fn four_types_are_services() {
    let found = with(&["> Service<Request<"]);
    let expected = [
        "client_ip/layer.rs",
        "enforce/layer.rs",
        "enforce/track_body.rs",
        "response_headers.rs",
    ];
    assert_eq!(found, expected);
    // No policy and nothing under it knows tower.
    for name in with(&["tower_service", "tower_layer"]) {
        assert!(
            !name.starts_with("policy/") && !name.starts_with("event/"),
            "{name}"
        );
    }
}

//! Rules that the tree keeps: prose that no test reads goes stale.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use dmarcer_tests::{Failure, Outcome, process};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> Outcome<String> {
    let path = root().join(path);
    fs::read_to_string(&path).map_err(|e| Failure::new(format!("{}: {e}", path.display())))
}

/// Crate, and the crates that it may use, from the table in `crates/README.md`.
fn allowed() -> Outcome<BTreeMap<String, BTreeSet<String>>> {
    let text = read("crates/README.md")?;
    let rows = text
        .lines()
        .skip_while(|line| !line.starts_with("| crate |"))
        .skip(2)
        .take_while(|line| line.starts_with('|'));
    let cells = rows.map(|row| row.trim_matches('|').split('|').map(str::trim).collect());
    Ok(cells
        .map(|cells: Vec<&str>| {
            let used = cells.last().unwrap_or(&"").split(',').map(str::trim);
            let used = used.filter(|name| !name.is_empty()).map(str::to_owned).collect();
            (cells[0].to_owned(), used)
        })
        .collect())
}

/// The crates of ours that a manifest names, in any of its dependency tables.
fn named(manifest: &toml::Table, ours: &BTreeSet<String>) -> BTreeSet<String> {
    let tables = ["dependencies", "dev-dependencies", "build-dependencies"];
    let tables = tables.iter().filter_map(|name| manifest.get(*name)?.as_table());
    tables.flat_map(|table| table.keys()).filter(|name| ours.contains(*name)).cloned().collect()
}

#[test]
fn crates_use_only_what_the_table_allows() -> Outcome {
    let allowed = allowed()?;
    let ours: BTreeSet<String> = allowed.keys().cloned().collect();
    let folders: BTreeSet<String> = fs::read_dir(root().join("crates"))?
        .filter_map(Result::ok)
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    assert_eq!(ours, folders, "the table and the folders name the same crates");

    for (name, allowed) in &allowed {
        let manifest: toml::Table = read(&format!("crates/{name}/Cargo.toml"))?.parse()?;
        let named = named(&manifest, &ours);
        let beyond: Vec<_> = named.difference(allowed).collect();
        assert!(beyond.is_empty(), "{name} names {beyond:?}, which the table does not allow");
    }
    Ok(())
}

#[test]
fn only_wire_knows_prost() -> Outcome {
    for name in allowed()?.keys().filter(|name| *name != "wire") {
        let manifest = read(&format!("crates/{name}/Cargo.toml"))?;
        assert!(!manifest.contains("prost"), "{name} names prost");
    }
    Ok(())
}

#[test]
fn there_is_one_cryptographic_library() -> Outcome {
    let mut cargo = process::program("cargo")?;
    cargo.args(["tree", "--workspace", "--locked", "--prefix", "none"]).current_dir(root());
    // Cargo.lock would also name what no feature that we use brings in.
    let built = process::run(&mut cargo)?;
    for name in ["ring", "openssl-sys", "native-tls"] {
        let built = built.lines().any(|line| line.split(' ').next() == Some(name));
        assert!(!built, "{name} is built: see `cargo tree -i {name}`");
    }
    Ok(())
}

#[test]
fn protos_keep_their_style() -> Outcome {
    let mut buf = process::program("buf")?;
    process::run(buf.arg("lint").current_dir(root().join("proto")))?;
    Ok(())
}

/// Files that people read, with the links and paths in them.
fn pages() -> Outcome<Vec<PathBuf>> {
    let mut pages = vec![root().join("README.md")];
    let mut folders = vec![root().join("crates"), root().join("tests"), root().join("deploy")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "md") {
                pages.push(path);
            }
        }
    }
    Ok(pages)
}

#[test]
fn links_in_pages_lead_somewhere() -> Outcome {
    for page in pages()? {
        let text = fs::read_to_string(&page)?;
        let folder = page.parent().unwrap_or(Path::new("."));
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let target = target.split('#').next().unwrap_or("");
            if target.is_empty() || target.contains("://") {
                continue;
            }
            assert!(folder.join(target).exists(), "{}: {target} is not there", page.display());
        }
    }
    Ok(())
}

#[test]
fn the_stops_of_a_change_are_files() -> Outcome {
    let text = read("crates/README.md")?;
    let stops: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("| ") && line.contains("/src/"))
        .filter_map(|line| line.split('`').nth(1))
        .collect();
    assert!(stops.len() >= 8, "{stops:?}");
    for stop in stops {
        assert!(root().join("crates").join(stop).is_file(), "crates/{stop} is not there");
    }
    Ok(())
}

/// All Rust of ours.
fn sources() -> Outcome<Vec<(PathBuf, String)>> {
    let mut folders = vec![root().join("crates"), root().join("tests")];
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() && !path.ends_with("target") {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                let text = fs::read_to_string(&path)?;
                sources.push((path, text));
            }
        }
    }
    Ok(sources)
}

#[test]
fn every_promise_has_its_test() -> Outcome {
    let text = read("tests/README.md")?;
    let rows = text.lines().skip_while(|line| !line.starts_with("| promise |")).skip(2);
    let tests: Vec<&str> = rows.filter_map(|row| row.split('`').rev().nth(1)).collect();
    assert!(tests.len() > 30, "{tests:?}");
    let sources = sources()?;
    for test in tests {
        let declared = format!("fn {test}(");
        let found = sources.iter().any(|(_, source)| source.contains(&declared));
        assert!(found, "no test is called {test}");
    }
    Ok(())
}

#[test]
fn nothing_is_left_unfinished_by_its_own_word() -> Outcome {
    let marks = [concat!("to", "do!("), concat!("unimple", "mented!("), concat!("FIX", "ME")];
    for (path, text) in sources()? {
        for mark in marks {
            assert!(!text.contains(mark), "{}: {mark}", path.display());
        }
    }
    Ok(())
}

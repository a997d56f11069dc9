//! Which file of the extension uses which other, read from the source, and what must hold of it: no file uses a floor
//! above its own ([`floors`]), and no files use each other in a circle ([`graph`]).
//!
//! A file uses another when it names something that is defined there: in a `use`, in a path of two words or more
//! (also within macros and attributes), or by a macro of `macro_rules!`. Re-exports are followed to the file that
//! defines the thing. What only tests need (`#[cfg(test)]`) does not count, nor does `mod child;`.
//!
//! Not seen: a method that is called on a value (its file is known only to who knows the value's type), and what comes
//! out of a macro and is not in the source.

pub mod floors;
pub mod graph;
mod resolve;
#[cfg(test)]
mod tests;
pub mod tree;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use tree::{Root, Sources, Tree};

/// The crates under `src/`: how code of the other one names it, and where it begins.
const ROOTS: &[Root] = &[
    Root {
        name: "pg_background",
        file: "src/lib.rs",
    },
    Root {
        name: "pg_background_engine",
        file: "src/engine/lib.rs",
    },
    Root {
        name: "protocol_kit",
        file: "src/protocol_kit/lib.rs",
    },
];

/// Reads the project.
///
/// # Errors
///
/// A file cannot be read or parsed, or belongs to no crate.
pub fn project() -> Result<Tree, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut sources = BTreeMap::new();
    collect(&root, "src", &mut sources).map_err(|error| format!("cannot read src/: {error}"))?;
    let roots: Vec<_> = ROOTS
        .iter()
        .filter(|root| sources.contains_key(root.file))
        .collect();
    Tree::read(&sources, &roots)
}

fn collect(root: &Path, folder: &str, sources: &mut Sources) -> std::io::Result<()> {
    for entry in fs::read_dir(root.join(folder))? {
        let entry = entry?;
        let path = format!("{folder}/{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            collect(root, &path, sources)?;
        } else if path.ends_with(".rs") {
            sources.insert(path, fs::read_to_string(entry.path())?);
        }
    }
    Ok(())
}

//! Finds the files that a mention stands for.

use crate::tree::{FileId, Kind, Mention, ModuleId, Name, Segments, Tree};
use std::collections::BTreeSet;

/// What a mention stands for: more than one thing, if a name is a type and a function, or depends on `cfg`.
#[derive(Default)]
pub struct Files {
    /// The files that define it.
    pub items: BTreeSet<FileId>,
    /// The files of the modules that it is itself.
    pub modules: BTreeSet<FileId>,
}

/// Resolves a mention.
#[must_use]
pub fn files(tree: &Tree, mention: &Mention) -> Files {
    let mut search = Search {
        tree,
        under_way: Vec::new(),
    };
    let mut files = Files::default();
    let found = search.path(mention.module, &mention.path);
    if found.is_empty() && mention.kind == Kind::Macro {
        let root = tree.modules[mention.module].root;
        let defined = tree.macros.get(&(root, mention.path[0].clone()));
        files.items.extend(defined.into_iter().flatten());
    }
    for thing in found {
        match thing {
            Thing::Module(module) => drop(files.modules.insert(tree.modules[module].file)),
            Thing::Type(file) | Thing::Value(file) => drop(files.items.insert(file)),
            Thing::Foreign => {}
        }
    }
    files
}

#[derive(Clone, Copy)]
enum Thing {
    Module(ModuleId),
    Type(FileId),
    Value(FileId),
    /// Of another crate.
    Foreign,
}

struct Search<'a> {
    tree: &'a Tree,
    /// The names that are being looked up: an import may be called as what it imports, and globs may go in a circle.
    under_way: Vec<(ModuleId, &'a str, usize)>,
}

impl<'a> Search<'a> {
    /// What a path stands for in a module. Nothing, if its first word is not known there.
    fn path(&mut self, module: ModuleId, path: &'a Segments) -> Vec<Thing> {
        let tree = self.tree;
        let crate_of = |name: &str| tree.crates.get(name).map(|&root| Thing::Module(root));
        let mut rest = &path[1..];
        let mut found = match path[0].as_str() {
            "crate" => vec![Thing::Module(tree.modules[module].root)],
            "self" => vec![Thing::Module(module)],
            "super" => self.parent(module),
            "" => {
                rest = &path[2..];
                crate_of(&path[1]).into_iter().collect()
            }
            name => {
                let mut found = self.name(module, name);
                if !rest.is_empty() {
                    found.retain(|thing| !matches!(thing, Thing::Value(_)));
                }
                if found.is_empty() {
                    found.extend(crate_of(name));
                }
                found
            }
        };
        for word in rest {
            let above = std::mem::take(&mut found);
            for thing in above {
                match thing {
                    Thing::Module(module) if word == "super" => found.extend(self.parent(module)),
                    Thing::Module(module) => {
                        let known = self.name(module, word);
                        if known.is_empty() {
                            // A macro has made it.
                            found.push(Thing::Value(tree.modules[module].file));
                        }
                        found.extend(known);
                    }
                    // A variant or an associated item.
                    Thing::Type(_) | Thing::Foreign => found.push(thing),
                    Thing::Value(_) => {}
                }
            }
        }
        found
    }

    fn parent(&self, module: ModuleId) -> Vec<Thing> {
        let parent = self.tree.modules[module].parent;
        parent.map(Thing::Module).into_iter().collect()
    }

    /// What a module calls by a name.
    fn name(&mut self, module: ModuleId, name: &'a str) -> Vec<Thing> {
        let tree = self.tree;
        let here = &tree.modules[module];
        let mut found = Vec::new();
        for (number, meant) in here.names.get(name).into_iter().flatten().enumerate() {
            match meant {
                Name::Module(below) => found.push(Thing::Module(*below)),
                Name::Type(file) => found.push(Thing::Type(*file)),
                Name::Value(file) => found.push(Thing::Value(*file)),
                Name::Import { path, public } => {
                    let imported =
                        self.once((module, name, number), |search| search.path(module, path));
                    match imported {
                        None => {}
                        // An item of another crate counts as this file's, if the file re-exports it.
                        Some(things) if things.is_empty() && *public => {
                            found.push(Thing::Type(here.file))
                        }
                        Some(things) if things.is_empty() => found.push(Thing::Foreign),
                        Some(things) => found.extend(things),
                    }
                }
            }
        }
        if found.is_empty() {
            for (number, path) in here.globs.iter().enumerate() {
                let things = self.once((module, "*", number), |search| search.path(module, path));
                for thing in things.unwrap_or_default() {
                    match thing {
                        Thing::Module(other) => {
                            let of_glob = self
                                .once((other, name, usize::MAX), |search| search.name(other, name));
                            found.extend(of_glob.unwrap_or_default());
                        }
                        // Maybe one of its variants: they are imported where the glob is.
                        Thing::Type(_) | Thing::Value(_) | Thing::Foreign => {}
                    }
                }
            }
        }
        found
    }

    /// Looks something up, unless that is under way.
    fn once(
        &mut self,
        what: (ModuleId, &'a str, usize),
        look: impl FnOnce(&mut Self) -> Vec<Thing>,
    ) -> Option<Vec<Thing>> {
        if self.under_way.contains(&what) {
            return None;
        }
        self.under_way.push(what);
        let found = look(self);
        self.under_way.pop();
        Some(found)
    }
}

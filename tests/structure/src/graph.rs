//! Which file uses which, and the circles among them.

use crate::resolve;
use crate::tree::{FileId, Kind, Tree};
use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};

/// A position at which a file uses another.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Use {
    pub line: usize,
    /// As it is written there.
    pub path: String,
}

/// The files, and for each pair of which the first uses the second, where it does so.
pub struct Graph {
    pub files: Vec<String>,
    pub edges: BTreeMap<(FileId, FileId), BTreeSet<Use>>,
}

impl Graph {
    /// Resolves everything that the tree's files mention.
    #[must_use]
    pub fn of(tree: &Tree) -> Self {
        let mut graph = Self {
            files: tree.files.clone(),
            edges: BTreeMap::new(),
        };
        // `use a::module` by itself uses nothing of the module's file, if what follows is `module::submodule::item`.
        // So it counts only beside another use of that file, or where nobody goes through the name.
        let mut modules = Vec::new();
        let mut gone_through = HashSet::new();
        for mention in &tree.mentions {
            let user = tree.modules[mention.module].file;
            let at = Use {
                line: mention.line,
                path: mention.path.join("::"),
            };
            if mention.path.len() > 1 {
                gone_through.insert((mention.module, mention.path[0].as_str()));
            }
            let used = resolve::files(tree, mention);
            for file in used.items {
                graph.add(user, file, at.clone());
            }
            for file in used.modules {
                match &mention.kind {
                    Kind::Use(name) => {
                        modules.push((user, file, at.clone(), (mention.module, name.as_str())))
                    }
                    _ => graph.add(user, file, at.clone()),
                }
            }
        }
        for (user, file, at, name) in modules {
            if graph.edges.contains_key(&(user, file)) || !gone_through.contains(&name) {
                graph.add(user, file, at);
            }
        }
        graph
    }

    fn add(&mut self, user: FileId, used: FileId, at: Use) {
        if user != used {
            self.edges.entry((user, used)).or_default().insert(at);
        }
    }

    /// The path of a file.
    #[must_use]
    pub fn file(&self, file: FileId) -> &str {
        &self.files[file]
    }

    /// What a file uses.
    pub fn used_by(&self, file: FileId) -> impl Iterator<Item = FileId> {
        let edges = self.edges.range((file, 0)..(file + 1, 0));
        edges.map(|(&(_, used), _)| used)
    }

    /// Who uses a file.
    pub fn users_of(&self, file: FileId) -> impl Iterator<Item = FileId> {
        let edges = self.edges.keys();
        edges
            .filter(move |&&(_, used)| used == file)
            .map(|&(user, _)| user)
    }

    /// Circles that have no use in common, the shortest first: there are none exactly if there is no circle at all, and
    /// each needs a cut of its own.
    #[must_use]
    pub fn circles(&self) -> Vec<Vec<FileId>> {
        let mut edges: BTreeSet<_> = self.edges.keys().copied().collect();
        let mut circles = Vec::new();
        loop {
            let through = (0..self.files.len()).filter_map(|file| circle_through(file, &edges));
            let Some(circle) = through.min_by_key(Vec::len) else {
                return circles;
            };
            for edge in around(&circle) {
                edges.remove(&edge);
            }
            circles.push(circle);
        }
    }

    /// The circles in words: every use in one, with its first line.
    #[must_use]
    pub fn circles_in_words(&self) -> Vec<String> {
        let circles = self.circles().into_iter();
        circles
            .map(|circle| {
                let mut words = format!("a circle of {} files:", circle.len());
                for (user, used) in around(&circle) {
                    let uses = &self.edges[&(user, used)];
                    let (user, used) = (self.file(user), self.file(used));
                    if let Some(Use { line, path }) = uses.first() {
                        words += &format!("\n  {user}:{line}: `{path}` is of {used}");
                    }
                    if uses.len() > 1 {
                        words += &format!(" ({} more)", uses.len() - 1);
                    }
                }
                words
            })
            .collect()
    }

    /// The whole graph: each folder's files, what each uses, and who uses it.
    #[must_use]
    pub fn in_words(&self) -> String {
        let mut numbered: Vec<_> = self.files.iter().enumerate().collect();
        numbered.sort_by_key(|(_, file)| file.rsplit_once('/'));
        let mut words = String::new();
        let mut current = None;
        for (number, path) in numbered {
            let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
            if current != Some(folder) {
                words += &format!("{folder}/\n");
                current = Some(folder);
            }
            words += &format!("  {name}\n");
            let mut list = |title, mut files: Vec<FileId>| {
                files.sort_by_key(|&file| self.file(file));
                for (at, file) in files.into_iter().enumerate() {
                    let title = if at == 0 { title } else { "" };
                    words += &format!("    {title:8} {}\n", self.file(file));
                }
            };
            list("uses", self.used_by(number).collect());
            list("used by", self.users_of(number).collect());
        }
        words
    }
}

/// The uses of which a circle consists.
fn around(circle: &[FileId]) -> impl Iterator<Item = (FileId, FileId)> {
    let next = circle.iter().cycle().skip(1);
    circle.iter().copied().zip(next.copied())
}

/// The shortest circle through a file, which it begins with.
fn circle_through(start: FileId, edges: &BTreeSet<(FileId, FileId)>) -> Option<Vec<FileId>> {
    let mut before = BTreeMap::new();
    let mut next = VecDeque::from([start]);
    while let Some(file) = next.pop_front() {
        for &(_, used) in edges.range((file, 0)..(file + 1, 0)) {
            if used == start {
                let mut circle = vec![file];
                while circle[0] != start {
                    circle.insert(0, before[&circle[0]]);
                }
                return Some(circle);
            }
            before.entry(used).or_insert_with(|| {
                next.push_back(used);
                file
            });
        }
    }
    None
}

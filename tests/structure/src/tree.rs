//! Reads the source: the modules with the names that they define and import, and the paths that they mention.

use proc_macro2::{TokenStream, TokenTree};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use syn::ext::IdentExt;
use syn::punctuated::Punctuated;
use syn::visit::{self, Visit};
use syn::{
    Attribute, Expr, ForeignItem, Ident, ImplItemFn, Item, ItemMod, ItemUse, Lit, Local, Macro,
    Meta, Token, UseTree, Visibility,
};

/// The text of each file, by its path from the project's root.
pub type Sources = BTreeMap<String, String>;

/// A crate.
pub struct Root {
    pub name: &'static str,
    pub file: &'static str,
}

pub type FileId = usize;
pub type ModuleId = usize;
pub type Segments = Vec<String>;

/// A module, in a file of its own or within one.
pub struct Module {
    pub file: FileId,
    pub root: ModuleId,
    pub parent: Option<ModuleId>,
    /// A name can be a type, a value and a macro at once, or be defined differently by `cfg`.
    pub names: HashMap<String, Vec<Name>>,
    /// What `*` is behind.
    pub globs: Vec<Segments>,
}

/// What a module calls by a name.
pub enum Name {
    /// A module below it.
    Module(ModuleId),
    /// Something with names below it (a type, a trait), and the file that defines it.
    Type(FileId),
    /// A function, constant, static or macro, and the file that defines it.
    Value(FileId),
    /// Something of another module.
    Import { path: Segments, public: bool },
}

/// A path that is written somewhere.
pub struct Mention {
    pub module: ModuleId,
    pub line: usize,
    /// Its first segment is empty if it begins with `::`.
    pub path: Segments,
    pub kind: Kind,
}

/// How a path is written.
#[derive(PartialEq, Eq)]
pub enum Kind {
    /// In an expression, a type, an attribute, or the like.
    Path,
    /// `name!`, without a path.
    Macro,
    /// In a `use` that gives it this name.
    Use(String),
    /// In a `use`, before `::*`.
    Glob,
}

/// All that was read.
#[derive(Default)]
pub struct Tree {
    pub files: Vec<String>,
    pub modules: Vec<Module>,
    /// The root module of each crate, by the crate's name.
    pub crates: HashMap<String, ModuleId>,
    /// The files that define a macro, by its crate and name: most macros are not named by a path.
    pub macros: HashMap<(ModuleId, String), BTreeSet<FileId>>,
    /// What tests mention is not among it.
    pub mentions: Vec<Mention>,
}

impl Tree {
    /// Reads crates.
    ///
    /// # Errors
    ///
    /// A file cannot be parsed, is not there, or belongs to no crate.
    pub fn read(sources: &Sources, roots: &[&Root]) -> Result<Self, String> {
        let mut reader = Reader {
            sources,
            tree: Self::default(),
        };
        for root in roots {
            let module = reader.file(root.file, None, folder_of(root.file), false)?;
            reader.tree.crates.insert(root.name.to_owned(), module);
        }
        match sources
            .keys()
            .find(|file| !reader.tree.files.contains(file))
        {
            Some(file) => Err(format!("{file} belongs to no crate: no `mod` leads to it")),
            None => Ok(reader.tree),
        }
    }
}

fn folder_of(file: &str) -> &str {
    file.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// A path of `#[path]`, which counts from a folder.
fn joined(folder: &str, path: &str) -> String {
    let mut parts: Vec<_> = folder.split('/').collect();
    for part in path.split('/') {
        match part {
            "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// An identifier without the `r#` of a raw one.
fn text(ident: &Ident) -> String {
    ident.unraw().to_string()
}

/// `test`, in a condition without which nothing of the item is there.
fn needs_test(condition: &Meta) -> bool {
    let Meta::List(list) = condition else {
        return condition.path().is_ident("test");
    };
    let Ok(inner) = list.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated) else {
        return false;
    };
    let mut inner = inner.iter();
    if list.path.is_ident("any") {
        inner.all(needs_test)
    } else {
        (list.path.is_ident("all") || list.path.is_ident("cfg")) && inner.any(needs_test)
    }
}

fn for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let path = attribute.path();
        (path.is_ident("cfg") || path.is_ident("test")) && needs_test(&attribute.meta)
    })
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::ExternCrate(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::ForeignMod(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::TraitAlias(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Union(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// The file that a `mod` names by `#[path]`.
fn path_attribute(attributes: &[Attribute]) -> Option<String> {
    attributes
        .iter()
        .find_map(|attribute| match &attribute.meta {
            Meta::NameValue(meta) if meta.path.is_ident("path") => match &meta.value {
                Expr::Lit(literal) => match &literal.lit {
                    Lit::Str(path) => Some(path.value()),
                    _ => None,
                },
                _ => None,
            },
            _ => None,
        })
}

struct Reader<'a> {
    sources: &'a Sources,
    tree: Tree,
}

impl Reader<'_> {
    /// Reads a file as a module, whose own modules lie in `folder`.
    fn file(
        &mut self,
        path: &str,
        parent: Option<ModuleId>,
        folder: &str,
        test: bool,
    ) -> Result<ModuleId, String> {
        let source = self.sources.get(path);
        let source = source.ok_or_else(|| format!("{path} is not there"))?;
        let parsed = syn::parse_file(source)
            .map_err(|error| format!("{path}:{}: {error}", error.span().start().line))?;
        self.tree.files.push(path.to_owned());
        let module = self.module(self.tree.files.len() - 1, parent);
        let test = test || for_tests(&parsed.attrs);
        self.items(&parsed.items, module, folder, folder_of(path), test)?;
        Ok(module)
    }

    fn module(&mut self, file: FileId, parent: Option<ModuleId>) -> ModuleId {
        let number = self.tree.modules.len();
        self.tree.modules.push(Module {
            file,
            root: parent.map_or(number, |parent| self.tree.modules[parent].root),
            parent,
            names: HashMap::new(),
            globs: Vec::new(),
        });
        number
    }

    /// Reads the items of a module. `#[path]` counts from `beside`.
    fn items(
        &mut self,
        items: &[Item],
        module: ModuleId,
        folder: &str,
        beside: &str,
        test: bool,
    ) -> Result<(), String> {
        for item in items {
            let test = test || for_tests(attributes(item));
            if let Item::Mod(declared) = item {
                let child = self.child(declared, module, folder, beside, test)?;
                if !test {
                    self.name(module, &declared.ident, Name::Module(child));
                }
            } else if !test {
                self.define(item, module);
                Mentions {
                    module,
                    tree: &mut self.tree,
                }
                .visit_item(item);
            }
        }
        Ok(())
    }

    fn child(
        &mut self,
        declared: &ItemMod,
        parent: ModuleId,
        folder: &str,
        beside: &str,
        test: bool,
    ) -> Result<ModuleId, String> {
        let below = format!("{folder}/{}", text(&declared.ident));
        if let Some((_, items)) = &declared.content {
            let module = self.module(self.tree.modules[parent].file, Some(parent));
            self.items(items, module, &below, &below, test)?;
            return Ok(module);
        }
        if let Some(path) = path_attribute(&declared.attrs) {
            let file = joined(beside, &path);
            return self.file(&file, Some(parent), folder_of(&file), test);
        }
        let mut file = format!("{below}/mod.rs");
        if !self.sources.contains_key(&file) {
            file = format!("{below}.rs");
        }
        self.file(&file, Some(parent), &below, test)
    }

    fn name(&mut self, module: ModuleId, ident: &Ident, name: Name) {
        let names = &mut self.tree.modules[module].names;
        names.entry(text(ident)).or_default().push(name);
    }

    /// Notes what an item defines.
    fn define(&mut self, item: &Item, module: ModuleId) {
        let Module { file, root, .. } = self.tree.modules[module];
        let (ident, name) = match item {
            Item::Const(item) => (&item.ident, Name::Value(file)),
            Item::Static(item) => (&item.ident, Name::Value(file)),
            Item::Fn(item) => (&item.sig.ident, Name::Value(file)),
            Item::Enum(item) => (&item.ident, Name::Type(file)),
            Item::Struct(item) => (&item.ident, Name::Type(file)),
            Item::Trait(item) => (&item.ident, Name::Type(file)),
            Item::TraitAlias(item) => (&item.ident, Name::Type(file)),
            Item::Type(item) => (&item.ident, Name::Type(file)),
            Item::Union(item) => (&item.ident, Name::Type(file)),
            Item::ForeignMod(foreign) => {
                for item in &foreign.items {
                    match item {
                        ForeignItem::Fn(item) => {
                            self.name(module, &item.sig.ident, Name::Value(file))
                        }
                        ForeignItem::Static(item) => {
                            self.name(module, &item.ident, Name::Value(file))
                        }
                        ForeignItem::Type(item) => self.name(module, &item.ident, Name::Type(file)),
                        _ => {}
                    }
                }
                return;
            }
            Item::Macro(item) => {
                let Some(ident) = &item.ident else { return };
                let defined = self.tree.macros.entry((root, text(ident)));
                defined.or_default().insert(file);
                if item
                    .attrs
                    .iter()
                    .any(|it| it.path().is_ident("macro_export"))
                {
                    self.name(root, ident, Name::Value(file));
                }
                (ident, Name::Value(file))
            }
            _ => return,
        };
        self.name(module, ident, name);
    }
}

/// Collects what an item mentions.
struct Mentions<'a> {
    module: ModuleId,
    tree: &'a mut Tree,
}

impl Mentions<'_> {
    fn add(&mut self, line: usize, path: Segments, kind: Kind) {
        self.tree.mentions.push(Mention {
            module: self.module,
            line,
            path,
            kind,
        });
    }

    /// A `use`, of a module or within a function. The names of the latter are put with the module's: what another
    /// function means by them is not likely to differ.
    fn import(&mut self, item: &ItemUse) {
        let mut path = Vec::new();
        if item.leading_colon.is_some() {
            path.push(String::new());
        }
        let public = !matches!(item.vis, Visibility::Inherited);
        self.import_tree(&item.tree, path, public);
    }

    fn import_tree(&mut self, tree: &UseTree, mut path: Segments, public: bool) {
        match tree {
            UseTree::Path(inner) => {
                path.push(text(&inner.ident));
                self.import_tree(&inner.tree, path, public);
            }
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.import_tree(tree, path.clone(), public);
                }
            }
            UseTree::Name(name) => self.import_name(&name.ident, &name.ident, path, public),
            UseTree::Rename(name) => self.import_name(&name.ident, &name.rename, path, public),
            UseTree::Glob(glob) => {
                let line = glob.star_token.span.start().line;
                self.tree.modules[self.module].globs.push(path.clone());
                self.add(line, path, Kind::Glob);
            }
        }
    }

    fn import_name(&mut self, ident: &Ident, called: &Ident, mut path: Segments, public: bool) {
        let mut called = text(called);
        if ident == "self" && !path.is_empty() {
            if called == "self" {
                called.clone_from(&path[path.len() - 1]);
            }
        } else {
            path.push(text(ident));
        }
        let names = &mut self.tree.modules[self.module].names;
        let import = Name::Import {
            path: path.clone(),
            public,
        };
        names.entry(called.clone()).or_default().push(import);
        self.add(ident.span().start().line, path, Kind::Use(called));
    }

    /// The paths in tokens that are not parsed: those of macros and attributes.
    fn scan(&mut self, tokens: TokenStream) {
        let tokens: Vec<_> = tokens.into_iter().collect();
        let is = |at: usize, sign: char| matches!(tokens.get(at), Some(TokenTree::Punct(it)) if it.as_char() == sign);
        let colons = |at: usize| is(at, ':') && is(at + 1, ':');
        let mut at = 0;
        while at < tokens.len() {
            let first = at;
            at += 1;
            let ident = match &tokens[first] {
                TokenTree::Group(group) => {
                    self.scan(group.stream());
                    continue;
                }
                TokenTree::Ident(ident) => ident,
                _ => continue,
            };
            if ident == "use" {
                let end = (at..tokens.len()).find(|&end| is(end, ';'));
                let end = end.map_or(tokens.len(), |end| end + 1);
                if let Ok(item) = syn::parse2(tokens[first..end].iter().cloned().collect()) {
                    self.import(&item);
                    at = end;
                    continue;
                }
            }
            let mut path = Vec::new();
            if first >= 2 && colons(first - 2) {
                path.push(String::new());
            }
            path.push(text(ident));
            while let (true, Some(TokenTree::Ident(next))) = (colons(at), tokens.get(at + 2)) {
                path.push(text(next));
                at += 3;
            }
            let line = ident.span().start().line;
            let variable = first >= 1 && is(first - 1, '$') && ident != "crate";
            if path.len() > 1 && !variable {
                self.add(line, path, Kind::Path);
            } else if is(at, '!') && matches!(tokens.get(at + 1), Some(TokenTree::Group(_))) {
                self.add(line, path, Kind::Macro);
            }
        }
    }
}

impl<'ast> Visit<'ast> for Mentions<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        if !for_tests(attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, item: &'ast ImplItemFn) {
        if !for_tests(&item.attrs) {
            visit::visit_impl_item_fn(self, item);
        }
    }

    fn visit_local(&mut self, item: &'ast Local) {
        if !for_tests(&item.attrs) {
            visit::visit_local(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        self.import(item);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let mut segments: Segments = path.segments.iter().map(|it| text(&it.ident)).collect();
        if path.leading_colon.is_some() {
            segments.insert(0, String::new());
        }
        // One word is local, or has come by a `use`.
        if segments.len() > 1 {
            let line = path.segments[0].ident.span().start().line;
            self.add(line, segments, Kind::Path);
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, called: &'ast Macro) {
        if let Some(name) = called.path.get_ident() {
            self.add(name.span().start().line, vec![text(name)], Kind::Macro);
        }
        visit::visit_macro(self, called);
    }

    fn visit_token_stream(&mut self, tokens: &'ast TokenStream) {
        self.scan(tokens.clone());
    }

    /// `pub(in path)` says who may use the item, and uses nothing.
    fn visit_visibility(&mut self, _: &'ast Visibility) {}
}

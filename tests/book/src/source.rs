//! The errors that the source raises.
//!
//! In Rust: the first literal behind `Error::new(CODE, ...)`, `ErrorReport::new(CODE, ...)`, and behind the
//! functions that make errors of one kind (`compose`, `mismatch`); the literal of a function of the same file
//! that is called in its place. In C: `errmsg` after `errcode`, and `elog`.
//! Read as tokens, not as lines.

use crate::{files, read, root};
use proc_macro2::{Delimiter, TokenStream, TokenTree};
use std::collections::BTreeSet;

/// A message, with `…` for what varies, and its SQLSTATE.
pub type Raised = (String, String);

/// The SQLSTATEs of the names that are in use.
const CODES: [(&str, &str); 25] = [
    ("CONFIGURATION_LIMIT_EXCEEDED", "53400"),
    ("CONNECTION_FAILURE", "08006"),
    ("DATATYPE_MISMATCH", "42804"),
    ("AMBIGUOUS_ALIAS", "42P09"),
    ("FEATURE_NOT_SUPPORTED", "0A000"),
    ("INDETERMINATE_DATATYPE", "42P18"),
    ("INSUFFICIENT_PRIVILEGE", "42501"),
    ("INSUFFICIENT_RESOURCES", "53000"),
    ("INTERNAL_ERROR", "XX000"),
    ("INVALID_AUTHORIZATION_SPECIFICATION", "28000"),
    ("INVALID_PARAMETER_VALUE", "22023"),
    ("INVALID_TRANSACTION_STATE", "25000"),
    ("INVALID_TRANSACTION_TERMINATION", "2D000"),
    ("IO_ERROR", "58030"),
    ("NULL_VALUE_NOT_ALLOWED", "22004"),
    ("OBJECT_IN_USE", "55006"),
    ("OBJECT_NOT_IN_PREREQUISITE_STATE", "55000"),
    ("OUT_OF_MEMORY", "53200"),
    ("PROGRAM_LIMIT_EXCEEDED", "54000"),
    ("QUERY_CANCELED", "57014"),
    ("STRING_DATA_RIGHT_TRUNCATION", "22001"),
    ("TOO_MANY_ARGUMENTS", "54023"),
    ("T_R_DEADLOCK_DETECTED", "40P01"),
    ("UNDEFINED_OBJECT", "42704"),
    ("DATA_CORRUPTED", "XX001"),
];

fn code(name: &str) -> String {
    let short = name.trim_start_matches("ERRCODE_");
    let found = CODES.iter().find(|(known, _)| *known == short);
    let (_, code) = found.unwrap_or_else(|| panic!("the SQLSTATE of {name} is not in this table"));
    String::from(*code)
}

/// A literal with `…` for each `{...}` of Rust and each `%` of C.
fn pattern(literal: &str) -> String {
    let bare = literal
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'));
    let text = bare.unwrap_or(literal).replace("\\\"", "\"");
    let mut out = String::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '{' => {
                for c in chars.by_ref() {
                    if c == '}' {
                        break;
                    }
                }
                out.push('…');
            }
            '%' => {
                while chars.peek().is_some_and(|c| matches!(c, 'z' | 'l')) {
                    chars.next();
                }
                chars.next();
                out.push('…');
            }
            c => out.push(c),
        }
    }
    out
}

fn literals(tokens: TokenStream, out: &mut Vec<String>) {
    for token in tokens {
        match token {
            TokenTree::Literal(literal) if literal.to_string().starts_with('"') => {
                out.push(literal.to_string());
            }
            TokenTree::Group(group) => literals(group.stream(), out),
            _ => {}
        }
    }
}

/// The last name before the first comma: the code of `Error::new(CODE, ...)`.
fn first_name(tokens: &TokenStream) -> Option<String> {
    let mut name = None;
    for token in tokens.clone() {
        match token {
            TokenTree::Ident(ident) => name = Some(ident.to_string()),
            TokenTree::Punct(punct) if punct.as_char() == ',' => break,
            _ => {}
        }
    }
    name
}

/// `cfg(test)`, `cfg(all(test, ...))`.
fn is_for_tests(attribute: &TokenStream) -> bool {
    let text = attribute.to_string();
    let mut words = text.split(|c: char| !c.is_alphanumeric());
    text.starts_with("cfg") && words.any(|word| word == "test")
}

/// The last name before the closing parenthesis: that of the function that makes the message.
fn last_name(tokens: &TokenStream) -> String {
    let names = tokens.clone().into_iter().filter_map(|token| match token {
        TokenTree::Ident(ident) => Some(ident.to_string()),
        _ => None,
    });
    names.last().unwrap_or_default()
}

/// The first literal of a function.
fn literal_of_function(file: &TokenStream, name: &str) -> Option<String> {
    let tokens: Vec<TokenTree> = file.clone().into_iter().collect();
    let begins = tokens.windows(2).position(|pair| match pair {
        [TokenTree::Ident(keyword), TokenTree::Ident(ident)] => *keyword == "fn" && *ident == name,
        _ => false,
    });
    if let Some(begins) = begins {
        let mut texts = Vec::new();
        literals(
            tokens[begins..].iter().take(12).cloned().collect(),
            &mut texts,
        );
        return texts.into_iter().next();
    }
    tokens.into_iter().find_map(|token| match token {
        TokenTree::Group(group) => literal_of_function(&group.stream(), name),
        _ => None,
    })
}

fn in_rust(file: &TokenStream, tokens: TokenStream, out: &mut BTreeSet<Raised>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let ident = |at: usize| match tokens.get(at) {
        Some(TokenTree::Ident(ident)) => ident.to_string(),
        _ => String::new(),
    };
    let mut at = 0;
    while at < tokens.len() {
        // What tests make up is not raised.
        if let [TokenTree::Punct(hash), TokenTree::Group(attribute), ..] = &tokens[at..]
            && hash.as_char() == '#'
            && is_for_tests(&attribute.stream())
        {
            return;
        }
        if let Some(TokenTree::Group(group)) = tokens.get(at) {
            let before = |back: usize| at.checked_sub(back).map(ident).unwrap_or_default();
            let (name, constructor) = (before(1), before(4));
            let mut texts = Vec::new();
            literals(group.stream(), &mut texts);
            let code_name = first_name(&group.stream()).filter(|name| name.starts_with("ERRCODE_"));
            let raised = match (name.as_str(), constructor.as_str()) {
                ("new", "Error" | "ErrorReport" | "Self") => {
                    let text = texts.first().cloned();
                    let text =
                        text.or_else(|| literal_of_function(file, &last_name(&group.stream())));
                    code_name
                        .zip(text)
                        .map(|(name, text)| (pattern(&text), code(&name)))
                }
                ("mismatch", _) => texts
                    .first()
                    .map(|text| (pattern(text), String::from("42804"))),
                // The engine names its SQLSTATEs like the server, without the prefix.
                ("compose", _) => first_name(&group.stream())
                    .zip(texts.first())
                    .map(|(name, text)| (pattern(text), code(&name))),
                _ => None,
            };
            if group.delimiter() == Delimiter::Parenthesis {
                out.extend(raised);
            }
            in_rust(file, group.stream(), out);
        }
        at += 1;
    }
}

/// The string literal at the beginning of `text`, with those that C joins to it.
fn c_literal(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text.trim_start();
    while let Some(tail) = rest.strip_prefix('"') {
        let mut end = 0;
        let bytes = tail.as_bytes();
        while bytes[end] != b'"' {
            end += if bytes[end] == b'\\' { 2 } else { 1 };
        }
        out.push_str(&tail[..end]);
        rest = tail[end + 1..].trim_start();
    }
    out
}

fn in_c(source: &str, out: &mut BTreeSet<Raised>) {
    for report in source.split("ereport(ERROR,").skip(1) {
        let code_of = |accessor: &str| {
            let at = report.find(accessor)? + accessor.len();
            Some(
                report[at..]
                    .split(')')
                    .next()
                    .unwrap_or_default()
                    .to_owned(),
            )
        };
        let text = report
            .split_once("errmsg(")
            .expect("a report has a message")
            .1;
        let sqlstate = match code_of("errcode(") {
            Some(name) => code(name.trim()),
            // By errno: mostly that of an input or output error.
            None => String::from("58030"),
        };
        out.insert((pattern(&c_literal(text)), sqlstate));
    }
    for report in source.split("elog(ERROR,").skip(1) {
        out.insert((pattern(&c_literal(report)), String::from("XX000")));
    }
}

/// All of them.
///
/// # Panics
/// When a file of the source cannot be read.
pub fn raised() -> BTreeSet<Raised> {
    let mut out = BTreeSet::new();
    let source = root().join("src");
    for path in files(&source, ".rs") {
        // Fault points are in no ordinary build.
        let is_test = path.components().any(|part| {
            let name = part.as_os_str().to_string_lossy();
            ["tests", "tests.rs", "fault", "fault.rs"].contains(&name.as_ref())
        });
        if !is_test {
            let tokens: TokenStream = read(&path)
                .parse()
                .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            in_rust(&tokens, tokens.clone(), &mut out);
        }
    }
    for path in files(&source, ".c") {
        in_c(&read(&path), &mut out);
    }
    out
}

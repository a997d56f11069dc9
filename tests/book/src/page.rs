//! A page of the documentation, taken apart by a Markdown parser.

use pulldown_cmark::{CodeBlockKind, CowStr, Event, HeadingLevel, Options, Parser, Tag, TagEnd};

/// An example.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Example {
    /// Line of the page in which it begins.
    pub line: usize,
    /// What psql is given.
    pub sql: String,
    /// The role whose session runs it.
    pub role: String,
    /// Which of its sessions.
    pub session: String,
    /// The SQLSTATE with which one of its statements fails.
    pub error: Option<String>,
    /// What must be true before it runs.
    pub until: Option<String>,
    /// The first major version of the server that can run it.
    pub since: Option<i32>,
    /// Why it is not run.
    pub not_run: Option<String>,
    /// What the page says psql prints.
    pub output: Option<String>,
    /// In a comment.
    pub hidden: bool,
}

/// A program in another language, or a piece of one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Program {
    /// The word behind the fence.
    pub language: String,
    /// Its text.
    pub code: String,
    /// What the page says it prints.
    pub output: String,
}

/// A heading.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Heading {
    /// 1 is the title of the page.
    pub level: HeadingLevel,
    /// Its words.
    pub text: String,
    /// What a link to it says behind the `#`.
    pub anchor: String,
    /// The text between it and the next one.
    pub section: Section,
}

/// The text below a heading, up to the next one.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Section {
    /// Its prose, code spans included, a space between blocks.
    pub text: String,
    /// Code blocks: the words behind the fence, and the code.
    pub blocks: Vec<(String, String)>,
}

/// A page.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Page {
    /// Path from the root of the repository.
    pub name: String,
    /// In order.
    pub examples: Vec<Example>,
    /// In order.
    pub programs: Vec<Program>,
    /// What the comment `examples:` says.
    pub options: Vec<String>,
    /// In order.
    pub headings: Vec<Heading>,
    /// Targets of links and images, with the line.
    pub links: Vec<(usize, String)>,
    /// Code in the running text, with the line.
    pub spans: Vec<(usize, String)>,
    /// Lines of code blocks for a shell, with the line.
    pub commands: Vec<(usize, String)>,
    /// Cells of tables, row by row.
    pub rows: Vec<Vec<String>>,
    /// All of the prose, code spans included.
    pub text: String,
    /// Errors in the page itself.
    pub faults: Vec<String>,
}

/// The words behind a fence; a value may stand in double quotes.
fn words(info: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for c in info.chars() {
        match c {
            '"' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            c => words.last_mut().expect("never empty").push(c),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// As mdBook and GitHub make it.
fn anchor(text: &str) -> String {
    text.trim()
        .chars()
        .filter_map(|c| match c {
            c if c.is_alphanumeric() || c == '_' || c == '-' => Some(c.to_ascii_lowercase()),
            c if c.is_whitespace() => Some('-'),
            _ => None,
        })
        .collect()
}

impl Example {
    fn new(line: usize, words: &[String], sql: &str, faults: &mut Vec<String>) -> Self {
        let mut example = Self {
            line,
            sql: String::from(sql),
            role: String::from("app"),
            ..Self::default()
        };
        for word in words {
            let value = |value: &str| Some(String::from(value));
            match word.split_once('=') {
                Some(("as", role)) => example.role = String::from(role),
                Some(("session", session)) => example.session = String::from(session),
                Some(("error", code)) => example.error = value(code),
                Some(("until", condition)) => example.until = value(condition),
                Some(("since", version)) if version.parse::<i32>().is_ok() => {
                    example.since = version.parse().ok();
                }
                Some(("norun", reason)) if !reason.is_empty() => example.not_run = value(reason),
                _ => faults.push(format!("line {line}: what is '{word}'?")),
            }
        }
        example
    }
}

/// What the last block was.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Shown {
    #[default]
    Nothing,
    Example,
    Program,
}

/// The languages of [`Program`].
const LANGUAGES: [&str; 3] = ["python", "js", "java"];

/// Where the parser is.
#[derive(Default)]
struct Reader<'a> {
    page: Page,
    source: &'a str,
    /// The code block that is being read: line, words, code.
    block: Option<(usize, String, String)>,
    /// What a `text` block that follows would be the output of.
    shown: Shown,
    /// The heading that is being read.
    heading: Option<(HeadingLevel, String)>,
    /// The comment that is being read.
    comment: Option<(usize, String)>,
}

impl Reader<'_> {
    fn line_of(&self, at: usize) -> usize {
        1 + self.source[..at].matches('\n').count()
    }

    fn section(&mut self) -> Option<&mut Section> {
        self.page
            .headings
            .last_mut()
            .map(|heading| &mut heading.section)
    }

    fn prose(&mut self, text: &str) {
        if let Some((_, heading)) = &mut self.heading {
            heading.push_str(text);
        } else if let Some(section) = self.section() {
            section.text.push_str(text);
        }
        self.page.text.push_str(text);
        if let Some(cell) = self.page.rows.last_mut().and_then(|row| row.last_mut()) {
            cell.push_str(text);
        }
    }

    fn finish_block(&mut self) {
        let (line, info, code) = self.block.take().expect("a block has begun");
        let words = words(&info);
        let language = words.first().map_or("", String::as_str);
        if let Some(section) = self.section() {
            section.blocks.push((info.clone(), code.clone()));
        }
        let shown = std::mem::take(&mut self.shown);
        match language {
            "sql" => {
                let example = Example::new(line, &words[1..], &code, &mut self.page.faults);
                self.page.examples.push(example);
                self.shown = Shown::Example;
            }
            "text" if shown == Shown::Example => {
                let example = self.page.examples.last_mut().expect("it follows one");
                example.output = Some(code);
            }
            "text" if shown == Shown::Program => {
                let program = self.page.programs.last_mut().expect("it follows one");
                program.output = code;
            }
            language if LANGUAGES.contains(&language) => {
                let language = String::from(language);
                let output = String::new();
                self.page.programs.push(Program {
                    language,
                    code,
                    output,
                });
                self.shown = Shown::Program;
            }
            "sh" => {
                let lines = code.lines().enumerate();
                let lines = lines.map(|(number, text)| (line + 1 + number, String::from(text)));
                self.page.commands.extend(lines);
            }
            _ => {}
        }
    }

    fn finish_comment(&mut self) {
        let (line, text) = self.comment.take().expect("a comment has begun");
        let Some(body) = text
            .trim()
            .strip_prefix("<!--")
            .and_then(|text| text.strip_suffix("-->"))
        else {
            return;
        };
        if let Some(options) = body.trim().strip_prefix("examples:") {
            self.page.options.extend(words(options));
        } else if let Some((first, sql)) = body.split_once('\n')
            && first.trim_start().starts_with("sql")
        {
            let words = words(first);
            let mut example = Example::new(line, &words[1..], sql, &mut self.page.faults);
            example.hidden = true;
            self.page.examples.push(example);
        }
    }

    fn start(&mut self, tag: &Tag<'_>, at: usize) {
        let line = self.line_of(at);
        match tag {
            Tag::CodeBlock(CodeBlockKind::Fenced(info)) => {
                self.block = Some((line, info.to_string(), String::new()));
                return;
            }
            Tag::CodeBlock(CodeBlockKind::Indented) => {
                self.block = Some((line, String::new(), String::new()));
            }
            Tag::Heading { level, .. } => self.heading = Some((*level, String::new())),
            Tag::HtmlBlock => self.comment = Some((line, String::new())),
            Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. } => {
                self.page.links.push((line, dest_url.to_string()));
            }
            Tag::TableHead | Tag::TableRow => self.page.rows.push(Vec::new()),
            Tag::TableCell => {
                let row = self.page.rows.last_mut().expect("a row has begun");
                row.push(String::new());
            }
            _ => {}
        }
        self.shown = Shown::Nothing;
    }

    fn end(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::CodeBlock => self.finish_block(),
            TagEnd::HtmlBlock => self.finish_comment(),
            TagEnd::Heading(_) => {
                let (level, text) = self.heading.take().expect("a heading has begun");
                let plain = anchor(&text);
                let earlier = self
                    .page
                    .headings
                    .iter()
                    .filter(|h| anchor(&h.text) == plain)
                    .count();
                let anchor = match earlier {
                    0 => plain,
                    earlier => format!("{plain}-{earlier}"),
                };
                let section = Section::default();
                self.page.headings.push(Heading {
                    level,
                    text,
                    anchor,
                    section,
                });
            }
            TagEnd::Table => self.page.rows.push(Vec::new()),
            _ => {}
        }
        if !matches!(
            tag,
            TagEnd::CodeBlock | TagEnd::Emphasis | TagEnd::Strong | TagEnd::Link
        ) {
            self.prose(" ");
        }
    }

    fn text(&mut self, text: &CowStr<'_>) {
        match &mut self.block {
            Some((_, _, code)) => code.push_str(text),
            None => self.prose(text),
        }
    }
}

impl Page {
    /// Takes a page apart.
    pub fn parse(name: &str, source: &str) -> Self {
        let mut reader = Reader {
            page: Self {
                name: String::from(name),
                ..Self::default()
            },
            source,
            ..Reader::default()
        };
        let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH;
        for (event, range) in Parser::new_ext(source, options).into_offset_iter() {
            match event {
                Event::Start(tag) => reader.start(&tag, range.start),
                Event::End(tag) => reader.end(tag),
                Event::Text(text) => reader.text(&text),
                Event::Code(code) => {
                    let line = reader.line_of(range.start);
                    reader.page.spans.push((line, code.to_string()));
                    reader.prose(&code);
                }
                Event::Html(html) | Event::InlineHtml(html) => match &mut reader.comment {
                    Some((_, comment)) => comment.push_str(&html),
                    None => reader.prose(&html),
                },
                Event::SoftBreak | Event::HardBreak => reader.prose(" "),
                _ => {}
            }
        }
        let mut page = reader.page;
        page.rows.retain(|row| !row.is_empty());
        page
    }
}

//! Bytes that are taken apart or cut: column definition lists, error messages, cookies, texts, layouts of blocks.

use arbitrary::{Arbitrary, Unstructured};
use engine::cookie::{Cookie, MAX_JOBS};
use engine::job::Generation;
use engine::layout::{BlockLayout, BlockParts, REQUEST_LIMIT};
use engine::{column_list, error_message, text};

/// How a server cuts a text between characters, for the length that the first byte of each of them says (UTF-8).
fn clip(text: &[u8], limit: usize) -> usize {
    let mut end = 0;
    while let Some(&first) = text.get(end) {
        let next = end
            + match first {
                0xc0..=0xdf => 2,
                0xe0..=0xef => 3,
                0xf0..=0xf7 => 4,
                _ => 1,
            };
        if next > limit.min(text.len()) {
            break;
        }
        end = next;
    }
    end
}

/// A second way to split a list: all commas that are outside, found from the front.
fn split(definition: &[u8]) -> Vec<&[u8]> {
    let mut columns = Vec::new();
    let (mut begin, mut depth, mut quotes) = (0, 0, 0);
    for (at, byte) in definition.iter().enumerate() {
        let outside = quotes % 2 == 0;
        match byte {
            b'"' => quotes += 1,
            b'(' if outside => depth += 1,
            b')' if outside => depth -= 1,
            b',' if outside && depth == 0 => {
                columns.push(&definition[begin..at]);
                begin = at + 1;
            }
            _ => {}
        }
    }
    columns.push(&definition[begin..]);
    columns
}

/// Any bytes as a column definition list.
pub fn column_list(bytes: &[u8]) {
    let columns: Vec<_> = column_list::columns_of(bytes).collect();
    assert_eq!(columns, split(bytes));
    for column in columns {
        let part = column_list::type_part(column);
        let column = column.trim_ascii();
        assert!(column.ends_with(part));
        let name = column[..column.len() - part.len()].trim_ascii_end();
        match name.first() {
            None => assert!(column.is_empty()),
            // Quotes inside the name are doubled, and the last one closes it, unless nothing does.
            Some(b'"') => {
                let (mut closed, mut rest) = (false, &name[1..]);
                while let Some((byte, after)) = rest.split_first() {
                    assert!(!closed);
                    rest = after;
                    if *byte == b'"' {
                        match rest.strip_prefix(b"\"") {
                            Some(after) => rest = after,
                            None => closed = true,
                        }
                    }
                }
                assert!(closed || part.is_empty());
            }
            Some(_) => assert!(!name.iter().any(u8::is_ascii_whitespace)),
        }
        // What was trimmed is not part of another name.
        assert_eq!(column_list::type_part(column), part);
    }
}

/// Any number as a cookie, and a cookie of any job.
pub fn cookie(bytes: &[u8]) {
    let Ok((given, index, generation, random)) =
        <(i64, u32, u64, u32)>::arbitrary(&mut Unstructured::new(bytes))
    else {
        return;
    };
    let any = Cookie::from_sql(given);
    assert!((any.index() as usize) < MAX_JOBS);
    assert_eq!(any.to_sql(), given);
    let index = index % MAX_JOBS as u32;
    let made = Cookie::new(index, Generation::from_bits(generation), random);
    assert_eq!(made.index(), index);
    assert_ne!(made.to_sql(), 0);
    assert_eq!(Cookie::from_sql(made.to_sql()), made);
    // A handle with one bit changed is another one.
    for bit in 0..u64::BITS {
        assert_ne!(Cookie::from_sql(made.to_sql() ^ (1 << bit)), made);
    }
}

/// The fields of a body, found from its zero bytes.
fn fields(body: &[u8]) -> Vec<(u8, &[u8])> {
    let mut pieces: Vec<&[u8]> = body.split(|byte| *byte == 0).collect();
    // What follows the last zero byte is not terminated.
    pieces.pop();
    let piece = |piece: &&'_ [u8]| !piece.is_empty();
    let fields = pieces.into_iter().take_while(piece);
    fields.map(|piece| (piece[0], &piece[1..])).collect()
}

/// Any bytes as the body of an error message; the first two are the limit.
pub fn error_message(bytes: &[u8]) {
    let Some(([high, low], body)) = bytes.split_first_chunk() else {
        return;
    };
    let limit = usize::from(u16::from_be_bytes([*high, *low])).max(1);
    let before = fields(body);
    for kind in 1..=u8::MAX {
        let first = before.iter().find(|(found, _)| *found == kind);
        assert_eq!(
            error_message::field(body, kind),
            first.map(|(_, text)| *text)
        );
    }
    let _ = error_message::is_fatal(body);
    let state = error_message::field(body, error_message::SQLSTATE);
    assert_eq!(
        error_message::sqlstate(body)
            .as_ref()
            .map(|state| &state[..]),
        state.filter(|state| state.len() == 5)
    );

    let cut = error_message::fit(body, limit, clip);
    assert!(cut.len() <= limit);
    if body.len() <= limit {
        assert_eq!(cut, body);
        return;
    }
    assert_eq!(cut.last(), Some(&0));
    let after = fields(&cut);
    let bytes: usize = after.iter().map(|(_, text)| text.len() + 2).sum();
    assert_eq!(bytes + 1, cut.len(), "a cut message is whole");
    // The fields are some of those before, in their order, each whole or the beginning of its text.
    let is_long = |kind: &u8| b"MDHWq".contains(kind);
    let mut rest = before.iter();
    for (kind, text) in &after {
        let of = |(other, whole): &&(u8, &[u8])| {
            other == kind && (whole == text || is_long(kind) && whole.starts_with(text))
        };
        assert!(rest.any(|field| of(&field)), "no field of the message");
    }
    // If there is room for all short fields and something of each long one, no field is lost.
    let least: usize = before
        .iter()
        .map(|(kind, text)| 2 + if is_long(kind) { 0 } else { text.len() })
        .sum();
    if least < limit {
        assert_eq!(
            after.len(),
            before.len(),
            "limit {limit}, at least {}",
            least + 1
        );
    }
}

/// Texts that are cut, and one in shared memory.
pub fn text(bytes: &[u8]) {
    fn check<const LIMIT: usize>(bytes: &[u8]) {
        let is_text = std::str::from_utf8(bytes).is_ok();
        let cut = text::cut::<LIMIT>(bytes, clip);
        assert!(bytes.starts_with(&cut));
        assert!(!is_text || std::str::from_utf8(&cut).is_ok());
        assert!(!is_text || bytes.len() <= LIMIT || cut.len() + 3 >= LIMIT);
        let marked = text::cut_marked::<LIMIT>(bytes, clip);
        assert!(!is_text || std::str::from_utf8(&marked).is_ok());
        if bytes.len() <= LIMIT {
            assert_eq!((&cut[..], &marked[..]), (bytes, bytes));
        } else {
            let kept = marked.strip_suffix(b"...").expect("the mark");
            assert!(bytes.starts_with(kept));
        }
    }
    check::<3>(bytes);
    check::<8>(bytes);
    check::<63>(bytes);
    check::<64>(bytes);
    let shared = text::SharedText::<4>::default();
    // The second text is shorter or longer than the first.
    let (first, second) = bytes.split_at(bytes.len() / 3);
    for text in [first, second, first] {
        shared.store(text);
        assert_eq!(shared.load(), &text[..text.len().min(32)]);
    }
}

/// The layout of a block with parts of any size.
pub fn layout(bytes: &[u8]) {
    #[derive(Arbitrary)]
    struct Input {
        sizes: [u32; 4],
        /// How far each is shifted: sizes of all magnitudes.
        shifts: [u8; 4],
        header: u16,
        align: u8,
        start: u64,
    }
    let Ok(input) = Input::arbitrary(&mut Unstructured::new(bytes)) else {
        return;
    };
    let size = |part: usize| {
        (input.sizes[part] as usize).wrapping_shl(u32::from(input.shifts[part]) % 64) >> 16
    };
    let parts = BlockParts {
        header: usize::from(input.header),
        sql: size(0),
        settings: size(1),
        params: size(2),
        ring: size(3),
        ring_align: 1 << (input.align % 13),
    };
    let request = parts.sql as u128 + parts.settings as u128 + parts.params as u128;
    let layout = match BlockLayout::of(&parts) {
        Ok(layout) => layout,
        Err(error) => {
            let whole =
                request + parts.ring as u128 + parts.ring_align as u128 + u128::from(input.header);
            assert!(request > REQUEST_LIMIT as u128 || whole + 24 > u128::from(u32::MAX));
            assert!(error.size as u128 <= request);
            return;
        }
    };
    assert!(request <= REQUEST_LIMIT as u128 && u32::try_from(layout.size).is_ok());
    let ends = |begin: u32, len: u32| begin as usize + len as usize;
    assert_eq!(layout.sql_len as usize, parts.sql);
    assert!(parts.header + parts.sql < layout.settings as usize);
    assert_eq!(layout.settings_len as usize, parts.settings);
    assert!(ends(layout.settings, layout.settings_len) <= layout.params as usize);
    assert_eq!(layout.params_len as usize, parts.params);
    assert!(ends(layout.params, layout.params_len) <= layout.size);
    // Addresses end well below the last of them.
    let start = input.start >> 8;
    let ring = layout.ring_in(start);
    if parts.ring == 0 {
        assert_eq!(ring, 0);
        return;
    }
    assert!(ends(layout.params, layout.params_len) <= ring as usize);
    assert!(ring as usize + parts.ring <= layout.size);
    assert_eq!((start + u64::from(ring)) % parts.ring_align as u64, 0);
}

//! A column definition list in words, as it stands in a FROM clause: `a int, "b, c" numeric(10, 2)`.
//!
//! It is only split here: the server decides what the name of a type means. Texts are bytes in the server's
//! encoding. In every server encoding, the characters that are looked for are single bytes.

/// The columns of a definition list: split at commas outside quotes and parentheses.
pub fn columns_of(definition: &[u8]) -> impl Iterator<Item = &[u8]> {
    let (mut depth, mut quoted) = (0_i64, false);
    definition.split(move |byte| {
        match byte {
            b'"' => quoted = !quoted,
            b'(' if !quoted => depth += 1,
            b')' if !quoted => depth -= 1,
            _ => {}
        }
        *byte == b',' && !quoted && depth == 0
    })
}

/// What follows the name of a column. The name may be quoted.
#[must_use]
pub fn type_part(column: &[u8]) -> &[u8] {
    let column = column.trim_ascii();
    let name = if column.first() == Some(&b'"') {
        // A doubled quote is part of the name; the last one is followed by no other.
        let mut end = 1;
        while end < column.len() && !(column[end] == b'"' && column.get(end + 1) != Some(&b'"')) {
            end += if column[end] == b'"' { 2 } else { 1 };
        }
        (end + 1).min(column.len())
    } else {
        column
            .iter()
            .position(u8::is_ascii_whitespace)
            .unwrap_or(column.len())
    };
    column[name..].trim_ascii()
}

/// A type without the `COLLATE` clause that may follow it.
#[must_use]
pub fn without_collation(of: &[u8]) -> &[u8] {
    const WORD: &[u8] = b"COLLATE";
    let ends_word = |byte: &u8| byte.is_ascii_whitespace() || *byte == b'"';
    let (mut quoted, mut depth) = (false, 0_i64);
    for (index, byte) in of.iter().enumerate() {
        match byte {
            b'"' => quoted = !quoted,
            b'(' if !quoted => depth += 1,
            b')' if !quoted => depth -= 1,
            _ if quoted || depth != 0 || !byte.is_ascii_whitespace() => {}
            _ => {
                let (rest, after) = (&of[index + 1..], index + 1 + WORD.len());
                let is_clause = rest
                    .get(..WORD.len())
                    .is_some_and(|word| word.eq_ignore_ascii_case(WORD))
                    && of.get(after).is_some_and(ends_word);
                if is_clause {
                    return of[..index].trim_ascii();
                }
            }
        }
    }
    of
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn types(definition: &str) -> Vec<&str> {
        columns_of(definition.as_bytes())
            .map(|column| std::str::from_utf8(type_part(column)).expect("cut between characters"))
            .collect()
    }

    #[test]
    fn a_list_is_split_at_its_commas() {
        assert_eq!(types("a int, b text"), ["int", "text"]);
        assert_eq!(types("  a  double precision  "), ["double precision"]);
    }

    #[test]
    fn commas_in_parentheses_and_quotes_split_nothing() {
        assert_eq!(
            types("a numeric(10, 2), b text"),
            ["numeric(10, 2)", "text"]
        );
        assert_eq!(
            types("\"a, (b\" int, c \"x,y\".\"t)\""),
            ["int", "\"x,y\".\"t)\""]
        );
    }

    #[test]
    fn a_doubled_quote_is_part_of_a_name() {
        assert_eq!(types("\"a \"\" b\" int"), ["int"]);
        assert_eq!(types("\"a\"\", b\" int, c text"), ["int", "text"]);
    }

    #[test]
    fn what_is_no_column_has_no_type() {
        assert_eq!(types(""), [""]);
        assert_eq!(types("a"), [""]);
        assert_eq!(types("a int,"), ["int", ""]);
        assert_eq!(types("\"never closed int, b"), [""]);
        assert_eq!(types("a int), b (text"), ["int), b (text"]);
    }

    #[test]
    fn a_collation_is_cut_off() {
        let cut = |of: &str| String::from_utf8(without_collation(of.as_bytes()).to_vec());
        for of in [
            "text COLLATE \"C\"",
            "text  collate pg_catalog.\"C\"",
            "text\nCollate\"C\"",
        ] {
            assert_eq!(cut(of).as_deref(), Ok("text"), "{of}");
        }
        for of in ["varchar (3)", "\"a (\"", "\"a )\"", "\"a ((\" (1)"] {
            assert_eq!(cut(&format!("{of} COLLATE \"a b\"")).as_deref(), Ok(of));
        }
        for of in [
            "text",
            "\"x COLLATE y\"",
            "text COLLATED",
            "text COLLATE",
            "x(1 COLLATE y)",
            "COLLATE \"C\"",
        ] {
            assert_eq!(cut(of).as_deref(), Ok(of));
        }
    }

    fn name() -> impl Strategy<Value = String> {
        let quoted = "[ -~]{0,8}".prop_map(|name| format!("\"{}\"", name.replace('"', "\"\"")));
        prop_oneof!["[a-z_][a-z0-9_]{0,8}", quoted]
    }

    fn type_name() -> impl Strategy<Value = String> {
        let modifier = prop_oneof!["", r"\([0-9]{1,2}(, ?[0-9])?\)", r"(\[\]){1,2}"];
        (name(), modifier).prop_map(|(name, modifier)| name + &modifier)
    }

    proptest! {
        /// A list that is put together is split into the same parts.
        #[test]
        fn the_types_of_a_list_come_back(columns in proptest::collection::vec((name(), type_name()), 1..6)) {
            let list: Vec<_> = columns.iter().map(|(name, of)| format!(" {name}  {of} ")).collect();
            let list = list.join(",");
            let expected: Vec<_> = columns.iter().map(|(_, of)| of.as_str()).collect();
            prop_assert_eq!(types(&list), expected);
        }

        /// For any bytes: nothing is lost but the commas, and each type is a part of its column.
        #[test]
        fn any_bytes_are_taken_apart(definition in proptest::collection::vec(any::<u8>(), 0..60)) {
            let columns: Vec<_> = columns_of(&definition).collect();
            prop_assert_eq!(columns.join(&b','), definition.clone());
            for column in columns {
                prop_assert!(column.trim_ascii().ends_with(type_part(column)));
            }
        }
    }
}

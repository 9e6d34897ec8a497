//! The encoded forms of a secret in the output of programs.
//!
//! Like GitHub's runner, this masks a header of `user:secret` or a URL with a password as well:
//! Base64, percent escapes, and the escapes of JSON, XML and shells. The position of a secret
//! within a Base64 text is unknown, so each of the three alignments is a form. It consists of the
//! characters that depend on the secret alone. Pure.

use std::collections::BTreeSet;

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};

/// The longest value with forms, in bytes. Longer values are not passwords or keys.
pub const VALUE_MAX: usize = 16 << 10;
/// The shortest form, in bytes. A shorter one would match everywhere.
const FORM_MIN: usize = 4;
/// The line lengths of base64(1) and openssl(1), in characters.
const WRAPPED: [usize; 2] = [76, 64];

/// The characters that RFC 3986 does not escape.
const URI: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');
/// The same within a path.
const URI_PATH: &AsciiSet = &URI.remove(b'/');

/// The characters that JavaScript's `encodeURI` leaves.
const URI_WHOLE: &AsciiSet = &URI_PATH
    .remove(b';')
    .remove(b',')
    .remove(b'?')
    .remove(b':')
    .remove(b'@')
    .remove(b'&')
    .remove(b'=')
    .remove(b'+')
    .remove(b'$')
    .remove(b'#')
    .remove(b'!')
    .remove(b'*')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')');

/// Returns the forms of a value other than the value itself: Base64 of the whole value, and the
/// other forms of each of these lines.
pub fn forms<'a>(value: &[u8], lines: impl Iterator<Item = &'a [u8]>) -> BTreeSet<Vec<u8>> {
    let mut forms = BTreeSet::new();
    base64(value, &mut forms);
    for line in lines {
        escaped(line, &mut forms);
        // A value in quotes, as it stands in a file of variables.
        if let [first @ (b'"' | b'\''), inner @ .., last] = line
            && first == last
        {
            forms.insert(inner.to_owned());
        }
    }
    forms.retain(|form| form.len() >= FORM_MIN && form != value);
    forms
}

fn base64(value: &[u8], forms: &mut BTreeSet<Vec<u8>>) {
    for before in 0..3 {
        let text = [&[0; 2][..before], value].concat();
        // Each character holds six bits. Characters that share bits with the text before or after
        // are unknown.
        let (first, end) = ((before * 8).div_ceil(6), text.len() * 8 / 6);
        for engine in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
            let encoded = engine.encode(&text).into_bytes();
            let known = encoded.get(first..end).unwrap_or_default();
            forms.insert(known.to_owned());
            for width in WRAPPED {
                if before == 0 && known.len() > width {
                    forms.extend(known.chunks(width).map(<[u8]>::to_owned));
                }
            }
        }
    }
}

fn escaped(line: &[u8], forms: &mut BTreeSet<Vec<u8>>) {
    for set in [URI, URI_PATH, URI_WHOLE] {
        let upper = percent_encode(line, set).to_string();
        forms.insert(lower_escapes(&upper).into_bytes());
        forms.insert(upper.replace("%20", "+").into_bytes());
        forms.insert(upper.into_bytes());
    }
    let replaced = |pairs: &[(u8, &str)]| replace(line, pairs);
    json(line, forms);
    let xml = [
        (b'&', "&amp;"),
        (b'<', "&lt;"),
        (b'>', "&gt;"),
        (b'"', "&quot;"),
    ];
    forms.insert(replaced(&xml));
    // The text of an element needs no escapes of quotes.
    forms.insert(replaced(&xml[..3]));
    for apostrophe in ["&apos;", "&#39;", "&#x27;"] {
        forms.insert(replaced(&[&xml[..], &[(b'\'', apostrophe)]].concat()));
    }
    // In single quotes, in double quotes, and unquoted (bash(1), "QUOTING").
    forms.insert(replaced(&[(b'\'', "'\\''")]));
    forms.insert(replaced(&[(b'\'', "'\"'\"'")]));
    forms.insert(replaced(&[
        (b'"', "\\\""),
        (b'\\', "\\\\"),
        (b'$', "\\$"),
        (b'`', "\\`"),
    ]));
    let is_plain = |byte: &u8| {
        byte.is_ascii_alphanumeric() || b"_-./:=@%+,".contains(byte) || !byte.is_ascii()
    };
    let backslashed = line.iter().flat_map(|byte| {
        let escape = (!is_plain(byte)).then_some(b'\\');
        escape.into_iter().chain([*byte])
    });
    forms.insert(backslashed.collect());
}

/// Adds the forms in strings of JSON (RFC 8259). Which characters a program escapes beyond quotes
/// and backslashes differs: `/` (PHP), those of HTML (Go), and all that are not ASCII (Python).
fn json(line: &[u8], forms: &mut BTreeSet<Vec<u8>>) {
    const QUOTED: [(u8, &str); 3] = [(b'"', "\\\""), (b'\\', "\\\\"), (b'\t', "\\t")];
    const HTML: [(u8, &str); 3] = [(b'&', "\\u0026"), (b'<', "\\u003c"), (b'>', "\\u003e")];
    let quoted = replace(line, &QUOTED);
    for pairs in [&[][..], &[(b'/', "\\/")], &HTML] {
        let escaped = replace(&quoted, pairs);
        if let Ok(text) = std::str::from_utf8(&escaped)
            && !text.is_ascii()
        {
            forms.insert(ascii(text).into_bytes());
        }
        forms.insert(escaped);
    }
    // A text of JSON within a string of JSON.
    forms.insert(replace(&quoted, &QUOTED));
}

/// Returns the text with `\uXXXX` in place of each UTF-16 unit that is not ASCII.
fn ascii(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_ascii() {
            out.push(c);
        } else {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    out
}

/// Returns the text with some bytes replaced by their escapes.
fn replace(text: &[u8], pairs: &[(u8, &str)]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for byte in text {
        match pairs.iter().find(|(special, _)| special == byte) {
            Some((_, escape)) => out.extend_from_slice(escape.as_bytes()),
            None => out.push(*byte),
        }
    }
    out
}

/// Returns the text with its percent escapes in lower case.
fn lower_escapes(text: &str) -> String {
    let mut left = 0;
    text.chars()
        .map(|c| {
            if c == '%' {
                left = 2;
                return c;
            }
            let is_escape = left > 0;
            left -= i32::from(is_escape);
            if is_escape { c.to_ascii_lowercase() } else { c }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(value: &[u8]) -> BTreeSet<Vec<u8>> {
        forms(value, [value].into_iter())
    }

    fn has(value: &str, form: &str) -> bool {
        of(value.as_bytes()).contains(form.as_bytes())
    }

    #[test]
    fn forms_include_the_escapes_of_urls_json_xml_and_shells() {
        for (value, form) in [
            ("p@ss/w rd", "p%40ss%2Fw%20rd"),
            ("p@ss/w rd", "p%40ss%2fw%20rd"),
            ("p@ss/w rd", "p%40ss%2Fw+rd"),
            ("p@ss/w rd", "p%40ss/w%20rd"),
            ("ü&x=1", "%C3%BC%26x%3D1"),
            ("a\"b\\c", "a\\\"b\\\\c"),
            ("a/b\"c", "a\\/b\\\"c"),
            ("abcd&efgh1234", "abcd\\u0026efgh1234"),
            ("sécretword99", "s\\u00e9cretword99"),
            ("pw😀/x", "pw\\ud83d\\ude00\\/x"),
            ("a\"b\\c", "a\\\\\\\"b\\\\\\\\c"),
            ("quo\"te<d>99", "quo\"te&lt;d&gt;99"),
            ("\"quotedsecret\"", "quotedsecret"),
            ("C:\\dir\\secret", "C:%5Cdir%5Csecret"),
            ("a<b>&'c", "a&lt;b&gt;&amp;&#39;c"),
            ("it's mine", "it'\\''s mine"),
            ("it's mine", "it'\"'\"'s mine"),
            ("it's $5", "it\\'s\\ \\$5"),
            ("say \"$x\"", "say \\\"\\$x\\\""),
        ] {
            assert!(has(value, form), "{form}");
        }
    }

    #[test]
    fn forms_include_the_lines_of_wrapped_base64() {
        let value = "k".repeat(200);
        let encoded = STANDARD_NO_PAD.encode(&value);
        assert!(has(&value, &encoded[76..152]));
        assert!(has(&value, &encoded[64..128]));
    }

    #[test]
    fn a_plain_word_has_only_base64_forms() {
        assert_eq!(of(b"hunter2alpha").len(), 3);
    }

    proptest! {
        /// One of the forms is found, whatever stands before and after the secret.
        #[test]
        fn base64_is_found_in_each_alignment(
            before in prop::collection::vec(any::<u8>(), 0..9),
            secret in prop::collection::vec(any::<u8>(), 4..40),
            after in prop::collection::vec(any::<u8>(), 0..9),
        ) {
            let text = [before.clone(), secret.clone(), after].concat();
            let encoded = STANDARD_NO_PAD.encode(text).into_bytes();
            let forms = of(&secret);
            let found = forms.iter().filter_map(|form| memchr::memmem::find(&encoded, form).map(|at| (at, form.len())));
            // It covers all characters that hold no bits of the neighbours.
            let (first, end) = ((before.len() * 8).div_ceil(6), (before.len() + secret.len()) * 8 / 6);
            prop_assert!(found.into_iter().any(|(at, length)| at <= first && at + length >= end));
        }
    }
}

//! Where the sections of a PEM text begin and end, as RFC 7468 allows them to be written.
//!
//! Bytes go in; label, line and body of each section come out, or the line that is damaged. White space before lines
//! and around sections, any line ends, two boundaries on one line and a text whose lines were folded into one are all
//! read. Text between sections is explanation, unless it looks like what is left of a section. Nothing is decoded here.

pub(super) struct Section<'a> {
    pub(super) label: &'a str,
    /// Of its first boundary, from 1.
    pub(super) line: usize,
    /// RFC 1421: `Proc-Type`, `DEK-Info`.
    pub(super) headers: Vec<(&'a str, &'a str)>,
    /// Base64 and white space.
    pub(super) body: &'a [u8],
    /// Where `body` begins, from 1.
    pub(super) body_line: usize,
}

/// What is damaged. The text itself is never quoted: it may be a key.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Broken {
    pub(super) line: usize,
    pub(super) reason: &'static str,
}

/// Every section of `text`, in its order.
pub(super) fn sections(text: &[u8]) -> Result<Vec<Section<'_>>, Broken> {
    let mut found = Vec::new();
    let (mut at, mut line) = (0, 1);
    loop {
        let rest = text.get(at..).unwrap_or_default();
        let begins = find(rest, BEGIN);
        let gap = rest.get(..begins.unwrap_or(rest.len())).unwrap_or_default();
        explanation(gap, line, !found.is_empty() || begins.is_some())?;
        let Some(begins) = begins else {
            return Ok(found);
        };
        line += lines(gap);
        let (section, length) = section(rest.get(begins..).unwrap_or_default(), line)?;
        line += lines(rest.get(begins..begins + length).unwrap_or_default());
        at += begins + length;
        found.push(section);
    }
}

/// The section at the start of `text`, and its length.
fn section(text: &[u8], line: usize) -> Result<(Section<'_>, usize), Broken> {
    let broken = |line, reason| Err(Broken { line, reason });
    let after = text.get(BEGIN.len()..).unwrap_or_default();
    let Some((label, length)) = label(after) else {
        return broken(line, "a line begins a section and does not end as one");
    };
    let body_at = BEGIN.len() + length;
    let inside = text.get(body_at..).unwrap_or_default();
    let ends = find(inside, END);
    let cut = match (ends, find(inside, BEGIN)) {
        (None, _) => true,
        (Some(end), Some(next)) => next < end,
        (Some(_), None) => false,
    };
    let Some(ends) = ends.filter(|_| !cut) else {
        return broken(
            line,
            "the section that begins here has no end: the text is cut off",
        );
    };
    let body = inside.get(..ends).unwrap_or_default();
    let end_line = line + lines(body);
    let after = inside.get(ends + END.len()..).unwrap_or_default();
    let end_length = match self::label(after) {
        Some((end, length)) if end == label => length,
        Some(_) => return broken(end_line, "a section ends with another name than it began with"),
        None => return broken(end_line, "a line ends a section and is damaged itself"),
    };
    let (headers, header_length) = headers(body);
    let section = Section {
        label,
        line,
        headers,
        body: body.get(header_length..).unwrap_or_default(),
        body_line: line + lines(body.get(..header_length).unwrap_or_default()),
    };
    Ok((section, body_at + ends + END.len() + end_length))
}

/// The label at the start of `text` and the length of it with its five hyphens.
fn label(text: &[u8]) -> Option<(&str, usize)> {
    let within = text.get(..text.len().min(LONGEST_LABEL + HYPHENS.len()))?;
    let length = find(within, HYPHENS)?;
    let label = within.get(..length)?;
    let is_label = |b: &u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b" ._+/#".contains(b);
    if label.is_empty() || !label.iter().all(is_label) {
        return None;
    }
    Some((std::str::from_utf8(label).ok()?, length + HYPHENS.len()))
}

/// The lines with a colon at the start of a body, and their length.
fn headers(body: &[u8]) -> (Vec<(&str, &str)>, usize) {
    let (mut headers, mut at) = (Vec::new(), 0);
    for line in body.split_inclusive(|b| *b == b'\n') {
        let text = std::str::from_utf8(line).map_or("", str::trim);
        match text.split_once(':') {
            Some((key, value)) => headers.push((key.trim(), value.trim())),
            None if text.is_empty() && headers.is_empty() => {}
            None => break,
        }
        at += line.len();
    }
    (headers, if at == body.len() { 0 } else { at })
}

/// Text outside of sections may say anything but what a section leaves behind when one of its boundaries is damaged.
/// A text without any section is no PEM at all, whatever it is.
fn explanation(text: &[u8], first_line: usize, is_pem: bool) -> Result<(), Broken> {
    for (place, line) in text.split(|b| *b == b'\n').enumerate() {
        let broken = |reason| {
            Err(Broken {
                line: first_line + place,
                reason,
            })
        };
        if find(line, END).is_some() {
            return broken(
                "a section ends here that never began: the text is cut off, or the line that begins it is damaged",
            );
        }
        let line = line.trim_ascii();
        // A hyphen, or the dashes that word processors put in its place.
        if (line.starts_with(b"-") || line.starts_with(b"\xe2\x80")) && find(line, b"BEGIN").is_some() {
            return broken(
                "a line looks like the beginning of a section and is not: five hyphens stand at each end",
            );
        }
        if is_pem && line.len() >= BASE64_LINE && line.iter().all(is_base64) {
            return broken("base64 stands outside of any section");
        }
    }
    Ok(())
}

pub(super) fn is_base64(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || b"+/=".contains(byte)
}

/// How many lines end within `text`.
pub(super) fn lines(text: &[u8]) -> usize {
    text.iter().filter(|b| **b == b'\n').count()
}

pub(super) fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|window| window == wanted)
}

pub(super) const BEGIN: &[u8] = b"-----BEGIN ";
const END: &[u8] = b"-----END ";
const HYPHENS: &[u8] = b"-----";
const LONGEST_LABEL: usize = 64;
/// What OpenSSL writes in a line.
const BASE64_LINE: usize = 64;

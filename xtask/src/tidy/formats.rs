//! Rules for formats: every byte layout has its page.
//!
//! A layout is recognised by its magic: a constant whose name holds `MAGIC`, in the crates of persisted and sent bytes. Its
//! text must stand on a page of `docs/format`, and that folder's `README.md` must link every page.

use crate::tidy::Violation;
use crate::workspace::TrackedFile;

const FOLDER: &str = "docs/format/";
const INDEX: &str = "docs/format/README.md";
const LAYOUT_CRATES: [&str; 2] = ["reddb-file/src/", "reddb-wire/src/"];

pub(crate) fn violations(files: &[TrackedFile]) -> Vec<Violation> {
    let pages: Vec<&TrackedFile> =
        files.iter().filter(|file| file.path.starts_with(FOLDER) && file.path.ends_with(".md")).collect();
    let Some(index) = pages.iter().find(|page| page.path == INDEX) else {
        return vec![Violation::of(INDEX, "is missing: the list of every byte layout")];
    };
    let mut found = Vec::new();
    for page in pages.iter().filter(|page| page.path != INDEX && !index.text.contains(&format!("({})", page.name()))) {
        found.push(Violation::at(page, 0, format!("is not linked from {INDEX}")));
    }
    for (file, line, magic) in magics(files) {
        if !pages.iter().any(|page| page.text.contains(magic)) {
            found.push(Violation::at(
                file,
                line,
                format!("the layout that begins with {magic:?} has no page in {FOLDER}"),
            ));
        }
    }
    found
}

/// Every magic: where it is, and its text.
fn magics(files: &[TrackedFile]) -> Vec<(&TrackedFile, usize, &str)> {
    let mut found = Vec::new();
    for file in files.iter().filter(|file| LAYOUT_CRATES.iter().any(|prefix| file.path.starts_with(prefix))) {
        for (index, line) in file.text.lines().enumerate() {
            let is_constant = line.contains("const ") && line.contains("MAGIC");
            let text = line.split_once("b\"").and_then(|(_, rest)| rest.split_once('"')).map(|(text, _)| text);
            found.extend(text.filter(|_| is_constant).map(|text| (file, index + 1, text)));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn violations_of(pages: &[(&str, &str)]) -> Vec<String> {
        let mut files =
            vec![TrackedFile::planted("reddb-file/src/x.rs", "pub const X_MAGIC: [u8; 8] = *b\"RDBXXXXX\";\n")];
        files.extend(pages.iter().map(|(path, text)| TrackedFile::planted(path, text)));
        violations(&files).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_missing_folder_is_caught() {
        assert_eq!(violations_of(&[]).len(), 1);
    }

    #[test]
    fn a_layout_without_a_page_is_caught() {
        let found = violations_of(&[(INDEX, "nothing")]);
        assert!(found.len() == 1 && found[0].contains("RDBXXXXX"), "{found:?}");
        assert!(violations_of(&[(INDEX, "[x](x.md)"), ("docs/format/x.md", "`RDBXXXXX`")]).is_empty());
    }

    #[test]
    fn a_page_without_a_link_is_caught() {
        let found = violations_of(&[(INDEX, "RDBXXXXX"), ("docs/format/y.md", "y")]);
        assert!(found.len() == 1 && found[0].contains("not linked"), "{found:?}");
    }
}

//! The documents name tests; this checks that the tests exist.

use std::path::Path;

#[test]
fn every_test_that_the_guarantees_name_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let text = std::fs::read_to_string(root.join("docs/GUARANTEES.md")).expect("docs/GUARANTEES.md");
    let mut named = 0;
    for quoted in text.split('`').skip(1).step_by(2) {
        let Some((file, test)) = quoted.split_once("::") else { continue };
        // How a test is declared, and the text that any test of such a file has.
        let (declared, any) = match file.rsplit_once('.') {
            Some((_, "rs")) => (format!("fn {test}()"), "#[test]"),
            Some((_, "py")) => (format!("def {test}("), "def test_"),
            Some((_, "go")) => (format!("func {test}("), "func Test"),
            _ => continue,
        };
        let path = root.join(file);
        let source =
            std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let found = if test == "*" { source.contains(any) } else { source.contains(&declared) };
        assert!(found, "docs/GUARANTEES.md names {quoted}, which does not exist");
        named += 1;
    }
    assert!(named > 20, "only {named} tests are named: has the way of naming changed?");
}

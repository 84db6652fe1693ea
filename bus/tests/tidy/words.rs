//! Words and fragments that only their author understands.

/// Words with a plain term of the field beside each.
const WORDS: [(&str, &str); 12] = [
    ("harmed", "corrupted"),
    ("whoever", "name the participant"),
    ("meanwhile", "in the meantime, or say when"),
    ("anew", "again"),
    ("forever", "without end"),
    ("easily", "on the fast path"),
    ("slowly", "on the slow path"),
    ("thereof", "of it"),
    ("hitherto", "until now"),
    ("wherein", "in which"),
    ("told", "reported"),
    ("met", "found"),
];

/// Fragments: lower case, as they stand within a sentence.
const FRAGMENTS: [&str; 8] = [
    "; how many.",
    "; how many;",
    "; whether ",
    "for ever",
    "by then",
    "at hand",
    "the dead one",
    "the dead,",
];

/// Subjects that name nobody.
const SUBJECTS: [&str; 3] = ["Who ", "Whoever ", "What "];

/// How many words and fragments of the lists stand in `sentences`.
pub(crate) fn count(sentences: &[String]) -> usize {
    sentences.iter().map(|sentence| count_in(sentence)).sum()
}

fn count_in(sentence: &str) -> usize {
    let lower = sentence.to_lowercase();
    let words = lower
        .split(|letter: char| !letter.is_alphanumeric() && letter != '_')
        .filter(|word| WORDS.iter().any(|(banned, _)| banned == word))
        .count();
    let fragments = FRAGMENTS.iter().filter(|fragment| lower.contains(**fragment)).count();
    let is_question = sentence.ends_with('?');
    let subjects = SUBJECTS.iter().filter(|subject| !is_question && sentence.starts_with(**subject)).count();
    words + fragments + subjects
}

#[test]
fn the_idiom_is_found_and_plain_english_is_not() {
    assert_eq!(count(&["The harmed word is met anew.".to_owned()]), 3);
    assert_eq!(count(&["Who waits looks for the dead.".to_owned()]), 1);
    assert_eq!(count(&["Publishes all; how many.".to_owned()]), 1);
    assert_eq!(count(&["Who may do what?".to_owned(), "It returns the number of events.".to_owned()]), 0);
}

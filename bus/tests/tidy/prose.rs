//! Sentences of documents and comments.

/// Whether a line of Markdown is wrapped text: not a table, a heading, a link target or code.
pub(crate) fn is_wrapped(line: &str) -> bool {
    let line = line.trim_start();
    !line.starts_with(['|', '#']) && line.contains(' ') && !line.contains("](http")
}

/// The sentences of a Markdown text. Code blocks and headings are left out; a cell of a table
/// counts as a paragraph.
pub(crate) fn of_markdown(text: &str) -> Vec<String> {
    let mut paragraphs = vec![String::new()];
    let mut in_code = false;
    for line in text.lines() {
        let line = line.trim();
        if line.starts_with("```") {
            in_code = !in_code;
            paragraphs.push(String::new());
        } else if in_code || line.is_empty() || line.starts_with('#') {
            paragraphs.push(String::new());
        } else if line.starts_with('|') {
            paragraphs.extend(line.split('|').map(without_code));
        } else {
            if line.starts_with(['-', '*', '>']) || line.starts_with(|first: char| first.is_ascii_digit()) {
                paragraphs.push(String::new());
            }
            let last = paragraphs.last_mut().expect("there is always one");
            last.push(' ');
            last.push_str(line.trim_start_matches(['-', '*', '>', ' ']));
        }
    }
    sentences(paragraphs)
}

/// The sentences of all comments of a Rust source.
pub(crate) fn of_comments(text: &str) -> Vec<String> {
    let mut markdown = String::new();
    for line in text.lines() {
        let line = line.trim_start();
        match line.strip_prefix("//") {
            Some(comment) => {
                markdown.push_str(comment.trim_start_matches(['/', '!']).strip_prefix(' ').unwrap_or(""))
            }
            None => markdown.push('\n'),
        }
        markdown.push('\n');
    }
    // Four spaces in a comment are a drawing or a piece of code, as in Markdown.
    let without_drawings: Vec<&str> =
        markdown.lines().map(|line| if line.starts_with("    ") { "" } else { line }).collect();
    of_markdown(&without_drawings.join("\n"))
}

/// How many sentences are too long; one more if their mean is.
pub(crate) fn too_long(sentences: &[String], mean_max: f64, words_max: usize) -> usize {
    let lengths: Vec<usize> = sentences.iter().map(|sentence| sentence.split_whitespace().count()).collect();
    let mean = lengths.iter().sum::<usize>() as f64 / lengths.len().max(1) as f64;
    lengths.iter().filter(|length| **length > words_max).count() + usize::from(mean > mean_max)
}

/// A cell without its code spans, which are names and not words of a sentence.
fn without_code(cell: &str) -> String {
    cell.split('`').step_by(2).collect::<Vec<_>>().join(" x ")
}

fn sentences(paragraphs: Vec<String>) -> Vec<String> {
    let mut found = Vec::new();
    for paragraph in paragraphs {
        let mut sentence = String::new();
        for word in paragraph.split_whitespace() {
            sentence.push_str(word);
            if word.ends_with(['.', '!', '?']) && !["e.g.", "i.e.", "etc."].contains(&word) {
                found.push(std::mem::take(&mut sentence));
            } else {
                sentence.push(' ');
            }
        }
        found.push(sentence.trim_end().to_owned());
    }
    // One or two words are a label.
    found.retain(|sentence| sentence.split_whitespace().count() > 2);
    found
}

#[test]
fn a_text_is_cut_into_its_sentences() {
    let text =
        "# Head\nOne two three. Four five\nsix!\n\n| a b c d | `x::y` |\n```\nno no no.\n```\n- item is here";
    let found = of_markdown(text);
    assert_eq!(found, ["One two three.", "Four five six!", "a b c d", "item is here"]);
    let found = of_comments("/// It is `it` here.\nfn f() {}\n// Another one is there\n// and ends.\n");
    assert_eq!(found, ["It is `it` here.", "Another one is there and ends."]);
}

//! Just enough of Rust's lexical structure to tell code from prose and tests from the program.

/// The text with the insides of comments, strings and characters replaced by spaces. Newlines stay,
/// so a position is on the same line as before.
pub(crate) fn blank_comments_and_literals(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut code: Vec<char> = Vec::with_capacity(chars.len());
    while code.len() < chars.len() {
        let start = code.len();
        let end = match chars[start] {
            '/' if chars.get(start + 1) == Some(&'/') => end_of_line(&chars, start),
            '/' if chars.get(start + 1) == Some(&'*') => end_of_block_comment(&chars, start),
            '"' => end_of_string(&chars, start),
            'r' if !follows_word(&chars, start) => end_of_raw_string(&chars, start),
            'b' | 'c' if !follows_word(&chars, start) && chars.get(start + 1) == Some(&'r') => {
                code.push(chars[start]);
                end_of_raw_string(&chars, start + 1)
            }
            '\'' => end_of_char(&chars, start),
            _ => start,
        };
        if end == start || end == code.len() {
            code.push(chars[code.len()]);
        }
        while code.len() < end {
            let char = chars[code.len()];
            code.push(if char == '\n' { '\n' } else { ' ' });
        }
    }
    code.into_iter().collect()
}

fn follows_word(chars: &[char], at: usize) -> bool {
    at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_')
}

fn end_of_line(chars: &[char], start: usize) -> usize {
    (start..chars.len()).find(|&at| chars[at] == '\n').unwrap_or(chars.len())
}

fn end_of_block_comment(chars: &[char], start: usize) -> usize {
    let mut depth = 0;
    let mut at = start;
    while at + 1 < chars.len() {
        match (chars[at], chars[at + 1]) {
            ('/', '*') => (depth, at) = (depth + 1, at + 2),
            ('*', '/') if depth == 1 => return at + 2,
            ('*', '/') => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
    }
    chars.len()
}

fn end_of_string(chars: &[char], start: usize) -> usize {
    let mut at = start + 1;
    while at < chars.len() && chars[at] != '"' {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(chars.len())
}

/// The end of `r"..."` or `r#"..."#`; `start` itself when this `r` begins no raw string.
fn end_of_raw_string(chars: &[char], start: usize) -> usize {
    let hashes = chars[start + 1..].iter().take_while(|&&char| char == '#').count();
    let open = start + 1 + hashes;
    if chars.get(open) != Some(&'"') {
        return start;
    }
    let is_close = |&at: &usize| {
        chars[at] == '"' && chars[at + 1..].iter().take_while(|&&c| c == '#').count() >= hashes
    };
    (open + 1..chars.len()).find(is_close).map_or(chars.len(), |at| at + 1 + hashes)
}

/// The end of a character literal; `start` itself for a lifetime.
fn end_of_char(chars: &[char], start: usize) -> usize {
    match (chars.get(start + 1), chars.get(start + 2)) {
        (Some('\\'), _) => {
            (start + 3..chars.len()).find(|&at| chars[at] == '\'').map_or(chars.len(), |at| at + 1)
        }
        (Some(_), Some('\'')) => start + 3,
        _ => start,
    }
}

/// Which lines of blanked code are inside an item under `#[cfg(test)]` or `#[test]`.
pub(crate) fn test_lines(code: &str) -> Vec<bool> {
    let mut is_test = vec![false; code.lines().count()];
    for attribute in ["#[cfg(test)]", "#[cfg(all(test", "#[test]"] {
        for (start, _) in code.match_indices(attribute) {
            let end = end_of_item(code, start + attribute.len());
            let first = line_index(code, start);
            for line in &mut is_test[first..=line_index(code, end)] {
                *line = true;
            }
        }
    }
    is_test
}

/// Position of the `}` or `;` that ends the item after an attribute.
fn end_of_item(code: &str, start: usize) -> usize {
    let mut depth = 0usize;
    for (offset, char) in code[start..].char_indices() {
        match char {
            '{' | '(' | '[' => depth += 1,
            '}' if depth == 1 => return start + offset,
            '}' | ')' | ']' => depth = depth.saturating_sub(1),
            ';' if depth == 0 => return start + offset,
            _ => {}
        }
    }
    code.len().saturating_sub(1)
}

/// Counted from 0.
pub(crate) fn line_index(code: &str, position: usize) -> usize {
    code[..position].matches('\n').count()
}

/// Modules that `path` declares as `#[cfg(test)] mod name;`, as the file `a/name.rs` and the
/// folder `a/name/` that they may live in.
pub(crate) fn test_only_files(path: &str, text: &str) -> Vec<String> {
    let code = blank_comments_and_literals(text);
    let folder = match path.rsplit_once('/') {
        Some((folder, "mod.rs" | "lib.rs" | "main.rs")) => folder.to_owned(),
        _ => path.trim_end_matches(".rs").to_owned(),
    };
    let lines: Vec<&str> = code.lines().map(str::trim).collect();
    let declared = lines.windows(2).filter(|pair| pair[0] == "#[cfg(test)]").filter_map(|pair| {
        let (_, name) = pair[1].strip_suffix(';')?.split_once("mod ")?;
        Some(name.trim().to_owned())
    });
    declared.flat_map(|name| [format!("{folder}/{name}.rs"), format!("{folder}/{name}/")]).collect()
}

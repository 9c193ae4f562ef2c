//! Characters that a text of others must not bring into a reply, a line of the log or onto a terminal.

/// Whether a character does something instead of being shown: a control character, a line or paragraph separator, one that
/// turns the direction of what follows (so that a terminal shows the line in another order), or one that shows as nothing.
/// What scripts and emoji need is none of these: the joiners U+200C and U+200D, and variation selectors.
#[must_use]
pub fn is_hidden(c: char) -> bool {
    c >= '\u{7f}' && (c <= '\u{9f}' || is_format(c)) || c < ' '
}

fn is_format(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_stays_and_what_acts_does_not() {
        for c in "a é ß 漢 ‌‍ 🏳️ ‘’ –".chars() {
            assert!(!is_hidden(c), "{c:?}");
        }
        let hidden = "\0\n\u{1b}\u{7f}\u{85}\u{9b}\u{ad}\u{200b}\u{200f}\u{2028}\u{202e}\u{2066}\u{feff}\u{e0041}";
        assert!(hidden.chars().all(is_hidden));
    }
}

//! URLs in what is shown of a configuration: a user and a password may stand in them before an `@`.

use std::borrow::Cow;

/// A text in which users and passwords of URLs are hidden: all from `://` to the last `@` before a quote or the end of the line.
pub fn without_users(text: &str) -> Cow<'_, str> {
    if !text.contains("://") || !text.contains('@') {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        shown.push_str(before);
        let end = after.find(['"', '\'', '`', '\n']).unwrap_or(after.len());
        let user = after[..end].rfind('@').unwrap_or(0);
        shown.extend(after[..user].chars().map(|_| '*'));
        rest = &after[user..];
    }
    shown.push_str(rest);
    Cow::Owned(shown)
}

#[cfg(test)]
mod tests {
    use super::without_users;

    #[test]
    fn users_are_hidden_and_the_rest_is_shown() {
        for (text, shown) in [
            ("x://h/ y", "x://h/ y"),
            ("a@b x", "a@b x"),
            ("\"x://u:p@h\" \"y://h\"", "\"x://***@h\" \"y://h\""),
            ("x://ä:p@h: no", "x://***@h: no"),
            ("x://u:p/q@h/z@w", "x://*********@w"),
            ("://@", "://@"),
        ] {
            assert_eq!(without_users(text), shown, "{text}");
        }
    }
}

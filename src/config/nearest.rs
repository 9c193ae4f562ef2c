//! The word that was probably meant.

/// Octets of a word that is compared: the distance takes time by the product of the lengths.
const LENGTH_MAX: usize = 64;

/// The known word that is most like `name`, if one is near enough to be meant. Case does not count, and `-`, `_` and `.`
/// are the same.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |name: &str| name.to_ascii_lowercase().replace(['-', '.'], "_");
    if name.len() > LENGTH_MAX {
        return None;
    }
    let name = plain(name);
    let words: Vec<&str> = known.into_iter().collect();
    if let Some(whole) = words
        .iter()
        .find(|word| name.len() >= 3 && plain(word).starts_with(&*name))
    {
        return Some(whole);
    }
    words
        .into_iter()
        .map(|word| (strsim::damerau_levenshtein(&name, &plain(word)), word))
        .filter(|(distance, word)| *distance <= (word.len().max(name.len()) / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

/// Words of other servers for what a check does, and ours.
const ELSEWHERE: &[(&str, &str)] = &[
    ("allow", "accept"),
    ("permit", "accept"),
    ("ok", "accept"),
    ("pass", "accept"),
    ("drop", "close"),
    ("deny", "reject"),
    ("refuse", "reject"),
    ("block", "reject"),
    ("tempfail", "defer"),
];

/// [`nearest`], or the known word for what another server calls `name`.
pub fn meant<'a>(name: &str, known: impl Iterator<Item = &'a str> + Clone) -> Option<&'a str> {
    let mut words = ELSEWHERE.iter();
    let ours = words.find(|(word, _)| name.eq_ignore_ascii_case(word));
    let ours = ours.and_then(|(_, ours)| known.clone().find(|word| word == ours));
    ours.or_else(|| nearest(name, known))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_found() {
        let known = ["client.address", "client.name", "helo"];
        assert_eq!(nearest("client.adress", known), Some("client.address"));
        assert_eq!(nearest("client_name", known), Some("client.name"));
        assert_eq!(nearest("ehlo", known), Some("helo"));
        assert_eq!(nearest("hel", known), Some("helo"));
        assert_eq!(nearest("spf", known), None);
        let then = ["accept", "defer", "reject", "close"].iter().copied();
        assert_eq!(meant("drop", then.clone()), Some("close"));
        assert_eq!(meant("PERMIT", then.clone()), Some("accept"));
        assert_eq!(meant("Reject", then), Some("reject"));
        assert_eq!(meant("drop", ["on", "off"].iter().copied()), None);
        assert_eq!(nearest(&"x".repeat(10_000), known), None);
    }
}

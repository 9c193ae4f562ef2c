//! Keys of the design that this version doesn't have. They get a plain answer instead of a wrong suggestion,
//! and none of them is taken and ignored.

/// Keys and what to say: the path without its indices, and what this version does instead.
const LATER: &[(&str, &str)] = &[
    (
        "pool.when_down",
        "without a spool a client gets 451 and tries again (what `defer` would do); remove the key",
    ),
    (
        "state.redis",
        "this version shares nothing between machines: each knows what it has seen itself; remove it",
    ),
    (
        "spool",
        "this version keeps no mail on disk: without a backend's 250 the client gets 451 and tries again; remove the section",
    ),
];

/// What to say of a key, if it's one of them.
#[must_use]
pub fn later(path: &str) -> Option<&'static str> {
    find(LATER, path)
}

fn find(keys: &'static [(&str, &str)], path: &str) -> Option<&'static str> {
    let path = plain(path);
    keys.iter()
        .find(|(key, _)| *key == path)
        .map(|(_, advice)| *advice)
}

/// The path without its indices: `pool[0].tls` → `pool.tls`.
#[must_use]
pub fn plain(path: &str) -> String {
    path.split('[')
        .map(|part| part.split_once(']').map_or(part, |(_, rest)| rest))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices_don_t_matter() {
        assert!(later("pool[12].when_down").is_some());
        assert!(later("spool").is_some());
        assert!(later("pool[0].backends").is_none());
    }
}

//! The trees of texts, and what is said of texts that have none.

use crate::policy::expression::syntax::parse::parse;

fn tree(text: &str) -> String {
    parse(text).map_or_else(
        |why| format!("{}: {why}", why.start),
        |tree| tree.to_string(),
    )
}

#[test]
fn operators_bind_as_in_cel() {
    for (text, expected) in [
        ("a || b && c", "(|| a (&& b c))"),
        ("a && b && c", "(&& a b c)"),
        ("!a == b", "(== (! a) b)"),
        ("1 + 2 * 3 - 4", "(- (+ 1 (* 2 3)) 4)"),
        ("a < b == c", "(== (< a b) c)"),
        ("a in [1, 2,]", "(in a (list 1 2))"),
        ("a ? b : c ? d : e", "(? a b (? c d e))"),
        ("a.b.c(d).e", "(. (c of (. a b) d) e)"),
        ("a - -1", "(- a -1)"),
        ("a -1", "(- a 1)"),
        ("-9223372036854775808", "-9223372036854775808"),
        ("--a", "a"),
        ("!!!a", "(! a)"),
        ("-a.b", "(- (. a b))"),
        ("(a)", "a"),
        ("f()", "(f)"),
        ("[]", "(list)"),
    ] {
        assert_eq!(tree(text), expected, "{text}");
    }
}

#[test]
fn says_what_is_wrong() {
    for (text, expected) in [
        ("", "0: the end where a value should be"),
        ("a ==", "4: the end where a value should be"),
        (
            "a and b",
            "2: `and` where an operator or the end should be; write `&&` for \"and\"",
        ),
        (
            "a or b",
            "2: `or` where an operator or the end should be; write `||` for \"or\"",
        ),
        (
            "(a",
            "2: the end where `)` should be; the bracket at octet 1 of the expression is not closed",
        ),
        (
            "a)",
            "1: `)` where an operator or the end should be; it closes a bracket that was not opened",
        ),
        (
            "a ? b",
            "5: the end where `:` should be; the `?` at octet 3 of the expression is not closed",
        ),
        (
            "a[0]",
            "1: rules have no indexes into lists; write `LIST.exists(x, …)`, or `x in LIST`",
        ),
        ("a.1", "1: `0.1` where an operator or the end should be"),
        ("a.'b'", "2: a text where a name should be, after `.`"),
        (
            "!-a",
            "1: `-` where a value should be; `!` and `-` need parentheses between them",
        ),
        (
            ".a",
            "0: `.` where a value should be; a name doesn't start with a dot",
        ),
        ("f(,)", "2: `,` where a value should be"),
        ("f(a,)", "4: `)` where a value should be"),
        (
            "9223372036854775808",
            "0: the number is too large; whole numbers end at 9223372036854775807",
        ),
    ] {
        assert_eq!(tree(text), expected, "{text}");
    }
}

#[test]
fn depth_and_length_are_bounded() {
    let deep = "nests deeper";
    for n in [100, 5_000] {
        for (text, says) in [
            (format!("{}1{}", "(".repeat(n), ")".repeat(n)), deep),
            ("(".repeat(n), deep),
            ("[".repeat(n), deep),
            (format!("{}1", "f(".repeat(n)), deep),
            (format!("{}1", "a?".repeat(n)), "`:` should be"),
            (format!("{}1", "a?1:".repeat(n.min(4_000))), deep),
            (format!("a{}", ".b".repeat(n)), deep),
            (format!("a{}", ".b()".repeat(n.min(4_000))), deep),
            (format!("1{}", "+1".repeat(n)), deep),
            (format!("1{}", "<1".repeat(n)), deep),
            (format!("[{}]", "1,".repeat(n + 1_000)), "items"),
        ] {
            let said = tree(&text);
            assert!(said.contains(says), "{n} {:.20}: {said}", text);
        }
    }
    assert_eq!(tree(&format!("{}a", "!".repeat(10_001))), "(! a)");
    assert!(tree(&format!("a{}", " && a".repeat(3_000))).starts_with("(&& a a"));
    assert!(tree(&" ".repeat(20_000)).contains("longer than"));
}

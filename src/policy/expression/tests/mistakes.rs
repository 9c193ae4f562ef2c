//! Each mistake of an expression: its column, and what it says.

use super::{compiled, mistakes};
use crate::policy::{
    At,
    expression::{check::functions::TABLE as FUNCTIONS, facts::TABLE as FACTS, reference},
};

fn assert_says(cases: &[(&str, usize, &str)]) {
    for (text, column, says) in cases {
        let found = mistakes(text);
        let first = &found[0];
        assert!(first.to_string().contains(says), "{text}: {first}");
        assert_eq!(
            text[..first.start].chars().count() + 1,
            *column,
            "{text}: {first}"
        );
        assert_eq!(found.len(), 1, "{text}: {found:#?}");
    }
}

#[test]
fn unknown_names() {
    assert_says(&[
        (
            "client.adress == '192.0.2.7'",
            1,
            "did you mean `client.address`?",
        ),
        ("tls && ehlo == 'x'", 8, "did you mean `helo`?"),
        (
            "client == 'x'",
            1,
            "there is `client.address`, `client.trusted`",
        ),
        (
            "xyzzy",
            1,
            "there is no fact `xyzzy`; a text is written in quotes",
        ),
        (
            "helo.size > 3",
            1,
            "written with parentheses: `helo.size(…)`",
        ),
        ("size > 3", 1, "`size` is a function: write `size(…)`"),
        ("helo.startswith('x')", 6, "did you mean `startsWith`?"),
        ("helo.toLowerCase() == 'x'", 6, "did you mean `lowerAscii`?"),
        ("recipients.map(r, r)", 12, "rules have `exists` and `all`"),
        ("frobnicate(1)", 1, "there is no function `frobnicate`"),
        ("lst('x') == 1", 1, "did you mean `list`?"),
        (
            "client.address in list('partner')",
            24,
            "did you mean `partners`?",
        ),
        (
            "client.address in list('xyzzy')",
            24,
            "there is \"partners\"",
        ),
        ("recipients.exists(r, s == 'x')", 22, "there is no fact `s`"),
        ("header('a').b", 1, "a value has no field `b`"),
    ]);
}

#[test]
fn wrong_types() {
    assert_says(&[
        (
            "dnsbl_hits > 'x'",
            1,
            "int and string can't be compared with `>`; write a number without quotes",
        ),
        ("dnsbl_hits == '1'", 1, "int and string can't be compared"),
        ("dnsbl_hits > 1.5", 1, "write `double(x)`"),
        (
            "dnsbl_hits",
            1,
            "must be true or false, and this is of type int; compare it",
        ),
        (
            "'text'",
            1,
            "must be true or false, and this is of type string",
        ),
        (
            "recipients",
            1,
            "of type list of mail addresses; ask for an item",
        ),
        ("list('partners')", 1, "of type named list"),
        (
            "!helo",
            2,
            "what follows `!` must be true or false, and this is of type domain",
        ),
        ("tls && helo", 8, "each side of `&&`"),
        ("helo || tls", 1, "each side of `||`"),
        ("helo ? tls : tls", 1, "what stands before `?`"),
        (
            "(tls ? 1 : 'a') == 1",
            8,
            "must be of one type, and they are int and string",
        ),
        (
            "(tls ? helo : sender) == 'a'",
            8,
            "one side of `:` is a domain, the other a mail address",
        ),
    ]);
}

#[test]
fn wrong_comparisons() {
    assert_says(&[
        ("tls == 'true'", 1, "without quotes"),
        ("tls < true", 1, "values of type bool have no order"),
        (
            "helo < sender.domain",
            1,
            "values of type domain have no order",
        ),
        ("helo + 'x' == 'y'", 1, "texts can't be put together"),
        (
            "dnsbl_hits + 1.0 > 2.0",
            1,
            "`+` can't be used on int and float",
        ),
        (
            "score % 2.0 == 0.0",
            1,
            "`%` can't be used on float and float",
        ),
        ("-helo == 'x'", 2, "`-` needs a number"),
        ("-tls", 2, "write `!` for"),
        ("duration('1m') > 5", 1, "duration(\"5m\")"),
        ("helo == sender", 1, "write `domain_of(…)`"),
        (
            "helo in recipients",
            1,
            "a domain is never in a list of mail addresses",
        ),
        (
            "client.address == cidr('10.0.0.0/8')",
            1,
            "client.address in cidr(…)",
        ),
        (
            "helo in cidr('10.0.0.0/8')",
            1,
            "only an address is in networks",
        ),
        ("'a' in helo", 1, "TEXT.contains(PART)"),
        (
            "1 in recipients",
            1,
            "a value of type int can't be in one of type list of mail addresses",
        ),
        ("recipients == ['a']", 1, "x in LIST"),
        ("dnsbl_hits in ['1']", 1, "int and string can't be compared"),
    ]);
}

#[test]
fn wrong_words_and_lists() {
    assert_says(&[
        (
            "spf == 'fial'",
            8,
            "it is never \"fial\"; did you mean `fail`?",
        ),
        (
            "spf in ['pass', 'xyzzy']",
            17,
            "it is one of \"pass\", \"fail\"",
        ),
        (
            "recipients.exists(r, r)",
            22,
            "the condition of the loop must be true or false",
        ),
        (
            "helo.exists(r, true)",
            1,
            "this needs a list of texts, and it is of type domain",
        ),
        ("[1, 2].exists(r, true)", 1, "needs a list of texts"),
        ("size(1) > 2", 6, "`size` takes a text or a list"),
        ("double('a') > 2.0", 8, "`double` takes a number"),
        (
            "dnsbl_hits.contains('a')",
            1,
            "the text must be a text, and this is of type int",
        ),
    ]);
}

#[test]
fn wrong_calls() {
    assert_says(&[
        ("has()", 1, "`has` takes one argument, and here are 0"),
        (
            "helo.contains('a', 'b')",
            1,
            "`contains` takes one argument, and here are 2",
        ),
        ("contains(helo, 'a')", 1, "`contains` is a method"),
        (
            "client.address.cidr('10.0.0.0/8')",
            16,
            "`cidr` is no method",
        ),
        (
            "cidr() == cidr('10.0.0.0/8')",
            1,
            "takes one argument or more",
        ),
        (
            "has(helo)",
            5,
            "there is always a `helo`; `has` asks about client.name",
        ),
        ("has(1)", 5, "the name of a fact should be here"),
        (
            "helo.contains(sender.local)",
            15,
            "must be written out as \"text\"",
        ),
        (
            "recipients.exists('r', true)",
            19,
            "the first argument names the item",
        ),
        ("recipients.exists(helo, true)", 19, "choose another name"),
        (
            "recipients.exists(a, recipients.exists(b, recipients.exists(c, a == c)))",
            43,
            "more than 2 loops",
        ),
        (
            "recipients.exists(a, recipients.exists(a, true))",
            40,
            "choose another name",
        ),
        (
            "under(sender, 'example.net')",
            1,
            "write `under(domain_of(…), …)`",
        ),
    ]);
}

#[test]
fn wrong_literals() {
    assert_says(&[
        (
            "client.address in cidr('10.0.0.1/8')",
            24,
            "write \"10.0.0.0/8\" for the network",
        ),
        ("client.address in cidr('a.example')", 24, "is no network"),
        ("client.address == '10.0.0'", 19, "is no IP address"),
        ("client.address == '10.0.0.0/8'", 19, "in cidr"),
        ("client.address in ['10.0.0.0/8']", 20, "in cidr"),
        ("duration('1m') > duration('5')", 27, "is no duration"),
        ("helo.matches('(')", 14, "can't be read: unclosed group"),
    ]);
}

#[test]
fn wrong_literals_of_rates_and_patterns() {
    assert_says(&[
        ("helo.matches('(?:x{1000}){1000}')", 14, "takes more than"),
        (
            "header('Subject').lowerAscii().matches('x')",
            40,
            "start the pattern with `(?i)`",
        ),
        (
            "header('Subject').lowerAscii().contains('X')",
            41,
            "write the part in lower case",
        ),
        (
            "rate(helo, 0, '1m')",
            12,
            "a rate of 0 lets nothing through",
        ),
        (
            "rate(helo, -5, '1m')",
            12,
            "a rate of -5 lets nothing through",
        ),
        ("rate(helo, dnsbl_hits, '1m')", 12, "must be a constant"),
        ("rate(helo, '5', '1m')", 12, "the limit of a rate is an int"),
        ("rate(helo, 5, 'a minute')", 15, "is no duration"),
        ("rate(helo, 5, '2d')", 15, "a day at most"),
        ("rate(helo, 5, 60)", 15, "must be a constant duration"),
        ("rate(tls, 5, '1m')", 6, "can't be a key"),
        ("rate([], 5, '1m')", 6, "one to 4 parts"),
        ("header('Subject:') == ''", 8, "without the colon"),
        ("under(helo, '*.example.net')", 13, "this is no domain"),
        ("1 / 0 == 1", 1, "a division by zero"),
        ("9223372036854775807 + 1 > 0", 1, "left the range"),
    ]);
}

#[test]
fn all_mistakes_are_told_with_their_lines() {
    let text = "helo == 1 ||\n  spf == 'fial' &&\n  xyzzy()";
    let found = mistakes(text);
    let at = |word: &str| text.find(word).expect(word);
    let places: Vec<_> = found.iter().map(|mistake| mistake.start).collect();
    assert_eq!(places, [0, at("'fial'"), at("xyzzy")]);
    let many = "helo == 1 || ".repeat(100) + "tls";
    assert_eq!(mistakes(&many).len(), 20);
}

#[test]
fn examples_of_the_manual_compile() {
    for fact in FACTS {
        let example = compiled_example(fact.example);
        assert!(
            example.reads().any(|read| read.name == fact.name),
            "{}",
            fact.name
        );
        assert!(example.stage() >= fact.stage, "{}", fact.name);
        assert!(
            fact.need.is_none() || example.reads().any(|read| read.need == fact.need),
            "{}",
            fact.name
        );
    }
    for function in FUNCTIONS {
        assert!(
            function.example.contains(function.name),
            "{}",
            function.name
        );
        assert!(compiled_example(function.example).stage() >= function.stage);
    }
    let manual = reference();
    for fact in FACTS {
        assert!(
            manual.contains(&format!("\n| `{}` |", fact.name)),
            "{}",
            fact.name
        );
    }
    let columns = |line: &str| line.replace("\\|", "").matches('|').count();
    assert!(
        manual
            .lines()
            .filter(|line| line.starts_with('|'))
            .all(|line| matches!(columns(line), 5 | 7))
    );
}

fn compiled_example(text: &str) -> crate::policy::expression::Expression {
    compiled(&text.replace("\"spammers\"", "\"partners\""))
}

#[test]
fn a_rule_knows_what_it_reads() {
    let rule =
        compiled("client.trusted || spf == 'fail' && dnsbl_hits > 1 && rate(sender, 5, '1m')");
    let reads: Vec<_> = rule.reads().map(|fact| fact.name).collect();
    assert_eq!(reads, ["client.trusted", "dnsbl_hits", "sender", "spf"]);
    assert_eq!(rule.stage(), At::Mail);
    assert_eq!(compiled("header('a') == ''").stage(), At::Header);
    assert_eq!(compiled("1 + 1 == 2 && !false").constant(), Some(true));
    assert_eq!(compiled("tls && 1 > 2").constant(), Some(false));
    assert_eq!(compiled("tls").constant(), None);
}

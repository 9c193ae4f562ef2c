//! What expressions come to.

use super::{Charged, Known, answers, compiled, judged};
use crate::{
    policy::{
        Facts,
        expression::{Gap, Truth},
    },
    smtp::envelope::Path,
};

fn known() -> Known {
    Known {
        facts: Facts {
            listener: "mx",
            client: "192.0.2.7".parse().expect("an address"),
            hello: b"Mail.B\xc3\x9cCHER.example.",
            sender: Path::split(b"Amy@Example.COM"),
            recipient: Some(Path::split(b"postmaster@xn--bcher-kva.example")),
            tls: Some("TLSv1.3"),
            size: 2_000,
            ..Facts::default()
        },
        inquiry: Some(answers(None)),
        score: 4.5,
        ..Known::default()
    }
}

fn assert_all(truth: bool, known: &Known, texts: &[&str]) {
    let truth = if truth { Truth::True } else { Truth::False };
    for text in texts {
        assert_eq!(judged(text, known), truth, "{text}");
    }
}

#[test]
fn names_compare_in_any_spelling() {
    assert_all(
        true,
        &known(),
        &[
            "helo == 'mail.bücher.example'",
            "helo == 'mail.XN--BCHER-KVA.example'",
            "'MAIL.bücher.example.' == helo",
            "helo in ['a', 'mail.bücher.example']",
            "helo in ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'Mail.bücher.example']",
            "under(helo, 'bücher.example') && helo.under('xn--bcher-kva.example')",
            "sender == 'amy@example.com' && sender.domain == 'EXAMPLE.com'",
            "sender in ['x@example.com', 'AMY@example.com']",
            "sender.domain.endsWith('.COM') && sender.startsWith('amy@')",
            "sender.contains('Y@E') && glob(sender.domain, '*.com')",
            "sender.domain.matches('^EXAMPLE')",
            "domain_of(recipient) == 'bücher.example'",
            "recipient.domain == domain_of('a@bücher.example')",
            "sender.local == 'Amy' && sender.local.lowerAscii() == 'amy'",
            "sender.local != 'amy'",
            "client.address in list('partners') && sender in list('partners')",
        ],
    );
    assert_all(
        false,
        &known(),
        &[
            "under(helo, 'cher.example')",
            "sender.local.lowerAscii() == 'Amy'",
            "sender.domain in list('partners')",
            "sender.local.startsWith('amy')",
            "sender.local.contains('amy')",
            "listener.startsWith('mxx')",
        ],
    );
}

#[test]
fn everything_else() {
    let known = Known {
        header: "Subject: Your\r\n =?utf-8?q?INVOICE?=\r\nreceived: a\r\nReceived: b\r\n\r\n",
        recipients: vec!["a@example.net".into(), "b@Example.NET".into()],
        ..known()
    };
    assert_all(
        true,
        &known,
        &[
            "client.address in cidr('192.0.2.0/24', '2001:db8::/32')",
            "client.address == '192.0.2.7' && client.address in ['192.0.2.7']",
            "!(client.address == '::ffff:192.0.2.8')",
            "header('subject').lowerAscii().contains('invoice')",
            "header('Subject').lowerAscii().endsWith('invoice')",
            "header('Subject').lowerAscii() in ['your invoice']",
            "header('X') == '' && size(header('Subject')) == 12",
            "headers('Received').size() == 2 && 'b' in headers('Received')",
            "recipients.all(r, under(domain_of(r), 'example.net'))",
            "recipients.exists(r, r == 'B@example.net') && 'A@Example.net' in recipients",
            "recipients.exists(r, recipients.exists(s, r != s))",
            "['a', 'mx'].exists(x, x == listener)",
            "score > 4 && score < 5 && 4 < score",
            "duration('90s') > duration('1m') && duration('90s') <= duration('1m') + duration('30s')",
            "message.size < bytes('2KiB') && bytes('1MB') == 1000000",
            "rdns == 'none' && !rdns.generic && dnsbl.score == 0.0 && !has(dnsbl.zone)",
            "message.size in [1, 2000] && message.size % 3 == 2",
            "(tls ? 'a' : 'b') == 'a' && (tls ? sender.domain : 'x') == 'example.com'",
            "tls.version == 'TLSv1.3' && has(tls.version) && !has(auth.account)",
            "auth.account == '' && !has(client.name) && client.name == ''",
            "glob('abc', 'a?c') && !glob('abc', 'a?') && glob('a+b', 'a+*')",
            "double(message.size) / 2.0 == 1000.0",
            "dnsbl_hits == 0 && !('bl.example.org' in dnsbl.zones)",
            "'b' > 'a' && listener >= 'mx' && '' < 'a'",
            "1 / 2 * 2 == 0 && -7 / 2 == -3 && -7 % 3 == -1",
        ],
    );
    assert_all(
        false,
        &known,
        &[
            "recipients.exists(r, false)",
            "[].exists(x, true)",
            "'a' in []",
        ],
    );
    assert_all(true, &known, &["[].all(x, false)"]);
}

#[test]
fn the_unknown_decides_nothing() {
    let known = known();
    assert_all(
        false,
        &known,
        &[
            "spf == 'fail' && false",
            "spf == 'fail' && !tls",
            "!tls && spf == 'fail'",
            "tls && spf == 'fail' && !tls && tls",
        ],
    );
    assert_all(
        true,
        &known,
        &[
            "spf == 'fail' || tls",
            "tls || spf == 'fail'",
            "!tls || spf == 'fail' || !tls || tls",
            "['a', 'b'].exists(x, x == 'b' || spf == x)",
        ],
    );
    for text in [
        "spf == 'fail'",
        "!(spf == 'fail')",
        "spf != 'fail' && tls",
        "!tls || spf == 'fail'",
        "spf in ['fail']",
        "spf == 'fail' ? true : true",
        "['a'].exists(x, spf == 'fail')",
        "['a'].all(x, spf == 'fail')",
        "tls && spf == 'fail' && tls && tls",
        "spf.size() > 0",
    ] {
        let Truth::Unknown(gap) = judged(text, &known) else {
            panic!("{text}");
        };
        assert_eq!(
            gap.to_string(),
            "`spf` is unknown: the look-up took too long",
            "{text}"
        );
    }
    for (text, gap) in [
        ("message.size * 9223372036854775807 > 0", Gap::Overflow),
        ("-9223372036854775808 / (dnsbl_hits - 1) > 0", Gap::Overflow),
        ("1 / dnsbl_hits > 0", Gap::ZeroDivision),
        ("1 % dnsbl_hits > 0", Gap::ZeroDivision),
    ] {
        assert_eq!(judged(text, &known), Truth::Unknown(gap), "{text}");
    }
}

#[test]
fn rates_are_charged_where_they_are_evaluated() {
    let rates = Charged {
        above: true,
        ..Charged::default()
    };
    let rule = compiled(
        "tls && rate([client.address, sender.domain, sender.local.lowerAscii(), message.size], 5, '1m')",
    );
    assert_eq!(known().judge(&rule, &rates), Truth::True);
    let mut plain = known();
    plain.facts.tls = None;
    assert_eq!(plain.judge(&rule, &rates), Truth::False);
    let keys = rates.keys.take();
    assert_eq!(keys.len(), 1, "not where `tls` decides");
    assert!(
        keys[0].starts_with("5/60000ms [Address(192.0.2.7), Name(["),
        "{}",
        keys[0]
    );
    let accounts = |text: &str| {
        let charged = Charged::default();
        let _ = known().judge(&compiled(text), &charged);
        charged.accounts.take()
    };
    let two = accounts("rate(helo, 5, '1m') || rate(helo, 5, '1m')");
    assert_ne!(two[0], two[1]);
    let again = accounts("rate(helo, 5, '1m') || rate(helo, 5, '1m')");
    assert_eq!(again, two, "a reload keeps the accounts");
}

#[test]
fn loops_are_bounded() {
    let recipients = (0..1_000).map(|n| format!("{n}@example.net")).collect();
    let known = Known {
        recipients,
        ..known()
    };
    let text = "recipients.exists(r, recipients.exists(s, s == 'x@example.net'))";
    assert_eq!(judged(text, &known), Truth::Unknown(Gap::TooLong));
    assert_eq!(
        judged("recipients.exists(s, s == '999@example.net')", &known),
        Truth::True
    );
}

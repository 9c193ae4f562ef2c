//! The recipes of `docs/policy.md` do what the tables say that they replace.

use crate::documents::{blocks, completed, read, run};
use std::fs;

/// Words by which a recipe is found, the DNS for it, and who sends what: the arguments of `gatepost explain`, and what the last
/// line of its output must hold.
type Recipe = (
    &'static str,
    &'static str,
    &'static [(&'static str, &'static str)],
);

const RECIPES: &[Recipe] = &[
    (
        "postscreen_greet_action = enforce",
        "9.113.0.203.bl.example.org A 127.0.0.2
         9.113.0.203.dnsbl.example.net A 127.0.0.10
         7.113.0.203.bl.example.org A 127.0.0.2
         7.113.0.203.dnsbl.example.net A 127.0.0.10
         7.113.0.203.list.dnswl.example A 127.0.9.2
         5.2.0.192.bl.example.org A 127.0.0.2
         5.2.0.192.dnsbl.example.net A 127.0.0.10",
        &[
            (
                "--client 203.0.113.9 --from a@a.example",
                "521 5.7.1 Service unavailable; client 203.0.113.9 blocked using bl.example.org (rule.listed)",
            ),
            ("--client 203.0.113.7 --from a@a.example", "accept"),
            ("--client 192.0.2.2 --from a@a.example", "accept"),
            // `permit` comes before every test.
            ("--client 192.0.2.5 --from a@a.example", "accept"),
            (
                "--client 198.51.100.2 --from a@a.example",
                "521 5.7.1 Your address is on our list (client_list.denied)",
            ),
        ],
    ),
    (
        "smtpd_client_restrictions = reject_unknown_client_hostname",
        "7.113.0.203.in-addr.arpa PTR x.dyn.isp.example
         x.dyn.isp.example A 203.0.113.7
         8.113.0.203.in-addr.arpa PTR mx.a.example
         8.113.0.203.list.dnswl.example A 127.0.9.2
         mx.a.example A 203.0.113.8
         under_score.example A 203.0.113.8
         a.example MX 10 in.a.example
         in.a.example A 192.31.196.7
         listed.example MX 10 in.a.example
         listed.example.rhs.example.org A 127.0.0.2
         example.net MX 10 in.a.example",
        &[
            (
                "--client 203.0.113.8 --helo mx.a.example --from a@a.example",
                "accept",
            ),
            (
                "--client 203.0.113.6 --helo mx.a.example --from a@a.example",
                "(rdns.none)",
            ),
            (
                "--client 203.0.113.8 --helo pc --from a@a.example",
                "(helo.unqualified)",
            ),
            (
                "--client 203.0.113.8 --helo no.example --from a@a.example",
                "(helo_domain.no_name)",
            ),
            (
                "--client 203.0.113.8 --helo mx.a.example --from a@no.example",
                "(sender_domain.no_name)",
            ),
            (
                "--client 203.0.113.8 --helo mx.a.example --from a@listed.example",
                "(dnsbl.rhs.example.org)",
            ),
            (
                "--client 203.0.113.8 --helo under_score.example --from a@a.example",
                "accept",
            ),
            (
                "--client 203.0.113.8 --helo mx.a.example --from joe@[IPv6:2001:db8::1]",
                "accept",
            ),
            (
                "--client 203.0.113.8 --helo mx.a.example --from joe",
                "(rule.sender-domain)",
            ),
            (
                "--client 203.0.113.8 --helo mx.a.example --from a@example.net",
                "550 5.7.1 Log in to send as a@example.net",
            ),
            (
                "--client 203.0.113.8 --helo mx.a.example --from '' --to c@example.net",
                "(rule.bounce-to-many)",
            ),
            (
                "--client 203.0.113.8 --helo mx.a.example --from ''",
                "accept",
            ),
            (
                "--client 203.0.113.7 --helo mx.a.example --from a@a.example",
                "(rule.bad-name)",
            ),
            (
                "--client 203.0.113.8 --helo mx.a.example --from joe@example.net --login joe@example.net",
                "(rule.locked-account)",
            ),
            (
                "--client 203.0.113.8 --helo mx.a.example --from a@a.example won.eml",
                "(header.lottery)",
            ),
        ],
    ),
    (
        "bounce: single_recipient, bad_rcpt",
        "8.113.0.203.in-addr.arpa PTR mx.a.example
         mx.a.example A 203.0.113.8",
        &[
            (
                "--client 203.0.113.8 --helo mx.a.example --from a@a.example",
                "accept",
            ),
            (
                "--client 203.0.113.8 --helo mx.a.example --from '' --to c@example.net",
                "(rule.bounce-to-many)",
            ),
            (
                "--client 203.0.113.8 --helo mx.a.example --from '' --to noreply@example.net",
                "accept",
            ),
            (
                "--client 203.0.113.8 --helo mx.a.example --from a@mx.spam.example",
                "(rule.bad-anywhere)",
            ),
            (
                "--client 203.0.113.8 --helo www.big.example --from a@a.example",
                "(rule.claims-to-be-big)",
            ),
        ],
    ),
];

/// Names in HELO that Postfix 3.7 refuses for `reject_invalid_helo_hostname`, and names that it takes.
const REFUSED: [&str; 12] = [
    "-a.example",
    "a-.example",
    "a..b",
    ".a.example",
    "a.b-.example",
    "a+b.example",
    "123",
    "1.2.3",
    "1.2.3.",
    "1.2.3.4.5",
    "1.2.3.4.5.",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.example",
];
const TAKEN: [&str; 9] = [
    "mail_out.good.example",
    "exch_01",
    "_x.example",
    "mx.good.example.",
    "a--b.example",
    "3com.example",
    "192.0.2.1",
    "192.0.2.1.",
    "[192.0.2.1]",
];

#[test]
fn the_recipe_for_names_in_helo_refuses_what_postfix_does() {
    let folder = tempfile::tempdir().expect("a folder");
    let page = read("docs/policy.md");
    let start = page.find("[[policy.rule]]\nname  = \"helo-syntax\"");
    let rule = page[start.expect("the recipe")..].split("\n\n").next();
    let recipe = completed(rule.expect("its rule"), folder.path());
    fs::write(folder.path().join("recipe.toml"), recipe).expect("written");
    fs::write(folder.path().join("dns.txt"), "* NXDOMAIN\n").expect("written");
    let refused = REFUSED.map(|name| (name, true));
    for (name, is_refused) in refused.into_iter().chain(TAKEN.map(|name| (name, false))) {
        let command = format!(
            "gatepost explain -c recipe.toml --answers dns.txt --client 203.0.113.8 --helo='{name}' --from a@a.example --to b@example.net"
        );
        let said = run(&command, folder.path());
        let by_it = said.contains(&format!(
            "501 5.5.2 {name} is no host name (rule.helo-syntax)"
        ));
        assert_eq!(by_it, is_refused, "{command}:\n{said}");
    }
}

#[test]
fn the_recipes_do_what_they_say() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |file: &str, text: &str| {
        fs::write(folder.path().join(file), text).expect("written");
    };
    write("won.eml", "From: a@a.example\nSubject: You have won\n\nx\n");
    let page = read("docs/policy.md");
    for (words, answers, cases) in RECIPES {
        let recipe = blocks(&page)
            .into_iter()
            .find(|block| block.language() == "toml" && block.text().contains(words));
        let recipe = recipe.unwrap_or_else(|| panic!("there is no recipe with {words:?}"));
        write("recipe.toml", &completed(&recipe.text(), folder.path()));
        write("dns.txt", answers);
        for (arguments, wanted) in *cases {
            let command = format!(
                "gatepost explain -c recipe.toml --answers dns.txt --to b@example.net {arguments}"
            );
            let said = run(&command, folder.path());
            let last = said.lines().last().unwrap_or_default();
            let is_so = match *wanted {
                "accept" => last == "verdict: accept",
                wanted => last.contains(wanted),
            };
            assert!(is_so, "{command}: {wanted} is not what it says:\n{said}");
        }
    }
}

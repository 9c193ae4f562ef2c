//! The functions that rules can call. To add one: its entry in [`TABLE`], and what builds it.

mod lists;
mod loops;
mod rate;
mod text;

use super::Checker;
use crate::policy::{
    At,
    expression::{
        code::Code,
        mistake::{Mistake, Span, did_you_mean},
        syntax::tree::{Call, Tree},
    },
};

use lists::milliseconds;

/// How a function is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `f(x)`.
    Free,
    /// `x.f()`.
    Method,
    /// Either.
    Both,
}

/// A function.
pub struct Function {
    /// Its name.
    pub name: &'static str,
    /// How it is called.
    pub form: Form,
    /// Its arguments and their types, what it is a method of first.
    pub arguments: &'static str,
    /// The fewest and the most arguments, what it is a method of included.
    pub counts: (usize, usize),
    /// The type of its value.
    pub result: &'static str,
    /// The earliest stage at which it has a value.
    pub stage: At,
    /// What it does.
    pub doc: &'static str,
    /// An expression with it, of type bool.
    pub example: &'static str,
    /// Checks a call and compiles it.
    pub build: for<'a> fn(&mut Checker<'a>, &Site<'_>) -> Option<Code>,
}

/// A call of a function.
pub struct Site<'t> {
    /// All of it.
    pub span: Span,
    /// The arguments, what it is a method of first.
    pub arguments: Vec<&'t Tree>,
}

/// Arguments of functions that take many.
const MANY: usize = 1_000;

macro_rules! functions {
    ($($name:literal, $form:ident ($arguments:literal) $least:literal..=$most:expr => $result:literal, $stage:ident, $build:path:
        $doc:literal, $example:literal;)*) => {
        /// All functions, in the order of the manual.
        pub const TABLE: &[Function] = &[$(Function {
            name: $name,
            form: Form::$form,
            arguments: $arguments,
            counts: ($least, $most),
            result: $result,
            stage: At::$stage,
            doc: $doc,
            example: $example,
            build: $build,
        }),*];
    };
}

functions! {
    "has", Free("fact") 1..=1 => "bool", Connect, text::has:
        "Whether there is such a thing at all: for facts that are optional.", "has(auth.account)";
    "list", Free("name: string") 1..=1 => "named list", Connect, lists::list:
        "The `policy.list` of that name. An address is looked for among its networks, a domain among its domains \
         (`.example.net`: all below it), a mail address among its addresses and domains, any other text among all \
         that are no networks.",
        "sender in list(\"partners\")";
    "cidr", Free("networks: strings") 1..=MANY => "set of networks", Connect, lists::cidr:
        "Networks or single addresses.", "client.address in cidr(\"10.0.0.0/8\", \"2001:db8::/32\")";
    "rate", Free("key, n: int, per: duration") 3..=3 => "bool", Connect, rate::rate:
        "Charges one to the account of the key, and is true where that is more than `n` in the time `per` (a second to a \
         day). It is a token bucket: `n` may come at once, and what was used comes back evenly over `per`, so that up to \
         twice `n` pass in one `per`. Charges \
         only where it is evaluated: write what narrows it down before it (`… && rate(…)`). The key is a text, an \
         address (IPv6: its /64), a number, or a list of up to four of them. Where it is true it charges nothing. What it has charged \
         stays, also where something refuses later: another check, the list of recipients, a backend. An optional fact that \
         isn't there is an empty text, and all that lack it share one account: write `has(auth.account) && …` before it, or \
         `sender != \"\" && …`.",
        "rate([client.address, sender.domain], 100, \"1h\")";
    "rate_window", Free("key, n: int, per: duration") 3..=3 => "bool", Connect, rate::rate_window:
        "As `rate`, with a sliding window: never more than `n` (10,000 at most) in any time as long as `per`. What was \
         used comes back once `per` is over, a third of it later at the latest.",
        "has(auth.account) && rate_window(auth.account, 500, \"1d\")";
    "leases", Free("key, n: int, ttl: duration") 3..=3 => "bool", Connect, rate::leases:
        "Takes a lease for the key, and is true where `n` are taken already: how many there may be at once. A rule that is \
         judged at connect or at HELO takes it for the session, any other for the transaction; once, however often the rule is \
         judged. It is given back at the end of that, or taken away after `ttl` (a second to a day; it may be up to \
         twice as long): write a `ttl` that is longer than a message takes. A session holds 64 at most.",
        "sender != \"\" && leases(sender.domain, 20, \"10m\")";
    "duration", Free("text: string") 1..=1 => "duration", Connect, lists::duration:
        "A time span in `d`, `h`, `m`, `s` and `ms`.", "rate(helo, 5, duration(\"1h30m\"))";
    "under", Both("domain, parent: string") 2..=2 => "bool", Connect, text::under:
        "Whether a domain is `parent` or below it.", "under(client.name, \"example.net\")";
    "domain_of", Both("address") 1..=1 => "domain", Connect, text::domain_of:
        "What stands after the last `@`; empty where there is none.", "domain_of(auth.account) == \"example.net\"";
    "glob", Both("text, pattern: string") 2..=2 => "bool", Connect, text::glob:
        "Whether the whole text is like the pattern: `*` is any number of characters, `?` is one. Domains and mail \
         addresses in any case.", "glob(helo, \"dyn-*.example.com\")";
    "matches", Both("text, pattern: string") 2..=2 => "bool", Connect, text::matches:
        "Whether the regular expression matches a part of the text (`^…$`: all of it). Domains and mail addresses in \
         any case.", "client.name.matches(r\"^\\d+-\\d+-\\d+-\\d+\\.\")";
    "startsWith", Method("text, part: string") 2..=2 => "bool", Connect, text::starts_with:
        "Whether the text starts with `part`. Domains and mail addresses in any case.",
        "sender.local.startsWith(\"bounce-\")";
    "endsWith", Method("text, part: string") 2..=2 => "bool", Connect, text::ends_with:
        "Whether the text ends with `part`. Domains and mail addresses in any case.",
        "sender.domain.endsWith(\".example.net\")";
    "contains", Method("text, part: string") 2..=2 => "bool", Connect, text::contains:
        "Whether `part` is in the text. Domains and mail addresses in any case.",
        "header(\"Subject\").lowerAscii().contains(\"invoice\")";
    "lowerAscii", Method("text") 1..=1 => "string", Connect, text::lower_ascii:
        "The text with A to Z in lower case.", "header(\"Subject\").lowerAscii() == \"test\"";
    "size", Both("x") 1..=1 => "int", Connect, text::size:
        "The characters of a text, or the items of a list: of `x`.", "recipients.size() > 20";
    "exists", Method("list, item, condition: bool") 3..=3 => "bool", Connect, loops::exists:
        "Whether the condition is true of one item at least.",
        "recipients.exists(r, domain_of(r) == \"example.net\")";
    "all", Method("list, item, condition: bool") 3..=3 => "bool", Connect, loops::all:
        "Whether the condition is true of every item.", "recipients.all(r, under(domain_of(r), \"example.net\"))";
    "header", Free("name: string") 1..=1 => "string", Header, text::header:
        "The first header field of that name, unfolded and with encoded words decoded; empty where there is none.",
        "header(\"List-Id\") == \"\"";
    "headers", Free("name: string") 1..=1 => "list of strings", Header, text::headers:
        "All header fields of that name.", "headers(\"Received\").size() > 30";
    "bytes", Free("size: string") 1..=1 => "int", Connect, lists::bytes:
        "The octets of a size in `KiB`, `MiB`, `GiB`, `KB`, `MB`, `GB`.", "message.size > bytes(\"10MiB\")";
    "double", Free("number: int") 1..=1 => "float", Connect, lists::double:
        "The number as a float, to be used with floats.", "double(dnsbl_hits) * 1.5 > score";
}

/// The function of that name.
pub fn find(name: &str) -> Option<&'static Function> {
    TABLE.iter().find(|function| function.name == name)
}

/// Checks a call.
pub fn call(checker: &mut Checker<'_>, span: Span, call: &Call) -> Option<Code> {
    let Some(function) = find(&call.name) else {
        unknown(checker, call);
        return None;
    };
    let form = if call.target.is_some() {
        Form::Method
    } else {
        Form::Free
    };
    let name = function.name;
    if function.form != Form::Both && function.form != form {
        let (message, hint) = match function.form {
            Form::Free => (
                format!("`{name}` is no method"),
                format!("write `{name}({})`", function.arguments),
            ),
            _ => (
                format!("`{name}` is a method"),
                format!("write `x.{name}(…)` with x: {}", function.arguments),
            ),
        };
        return checker.refuse(call.name_span, message, &hint);
    }
    let target = call.target.as_deref();
    let arguments: Vec<&Tree> = target.into_iter().chain(&call.arguments).collect();
    let (least, most) = function.counts;
    if !(least..=most).contains(&arguments.len()) {
        let own = usize::from(target.is_some());
        let wants = match (least - own, most - own) {
            (0, 0) => "no argument".to_string(),
            (1, 1) => "one argument".to_string(),
            (least, most) if least == most => format!("{least} arguments"),
            (1, _) => "one argument or more".to_string(),
            (least, _) => format!("{least} arguments or more"),
        };
        let message = format!(
            "`{name}` takes {wants}, and here are {}",
            arguments.len() - own
        );
        let hint = format!(
            "its arguments: {}; for example `{}`",
            function.arguments, function.example
        );
        return checker.refuse(span, message, &hint);
    }
    checker.stage = checker.stage.max(function.stage);
    (function.build)(checker, &Site { span, arguments })
}

fn unknown(checker: &mut Checker<'_>, call: &Call) {
    let shown: String = call.name.chars().take(80).collect();
    let mistake = Mistake::new(call.name_span, format!("there is no function `{shown}`"));
    let names = TABLE.iter().map(|function| function.name);
    let hint = match &*call.name {
        "map" | "filter" | "exists_one" => Some("rules have `exists` and `all`".to_string()),
        "toLowerCase" | "lower" | "toLower" | "lowercase" | "tolower" => {
            Some("did you mean `lowerAscii`?".to_string())
        }
        "regex" | "regexp" | "re" => Some("did you mean `matches`?".to_string()),
        "len" | "length" | "count" => Some("did you mean `size`?".to_string()),
        name => did_you_mean(name, names),
    };
    let hint = hint.unwrap_or_else(|| "`gatepost config rules` has all functions".into());
    checker.report(mistake.with_hint(hint));
    // What it is called with may have mistakes of its own, but not where it names the item of a loop.
    if let Some(target) = &call.target {
        let _ = checker.code(target);
    }
}

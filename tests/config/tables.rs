//! What the tables must hold: each kind of mistake in them, with its place and its help.

use crate::{one, problems, with};
use gatepost::config;
use std::fs;

#[test]
fn listeners() {
    one(
        &with("[[listener]]\nname = \"mx\"\naddress = [\"127.0.0.1:26\"]\n"),
        "\"mx\"",
        "the name \"mx\" is used by `listener[0]` (t.toml:3)",
        "",
    );
    one(
        &with("[[listener]]\nname = \"b\"\naddress = [\"127.0.0.1:2525\"]\n"),
        "\"127.0.0.1:2525\"",
        "127.0.0.1:2525 is used by `listener[0].address[0]` (t.toml:4) already",
        "",
    );
    one(
        &with("[[listener]]\nname = \"b\"\naddress = [\"0.0.0.0:2525\"]\n"),
        "\"0.0.0.0:2525\"",
        "0.0.0.0:2525 and 127.0.0.1:2525 of `listener[0].address[0]` (t.toml:4) are on the same port of the same addresses",
        "use either one socket for all addresses, or one for each address",
    );
    let found = problems(&with(
        "[[listener]]\nname = \"b\"\naddress = [\"[::]:2525\"]\n",
    ));
    assert!(
        found.iter().all(|problem| !problem.is_error()),
        "{found:#?}"
    );
    one(
        &with("[[listener]]\nname = \"b\"\naddress = [\"[::ffff:127.0.0.2]:2525\"]\n"),
        "\"[::ffff:127.0.0.2]:2525\"",
        "[::ffff:127.0.0.2]:2525 is an IPv4 address in the form of an IPv6 one",
        "write \"127.0.0.2:2525\"",
    );
    one(
        &with("[[listener]]\nname = \"b\"\n"),
        "[[listener]]",
        "`listener[1]` has no address",
        "write address = [\"127.0.0.1:2525\"]",
    );
    one(
        &with("[[listener]]\nname = \"b\"\naddress = [\"::1:25\", \"localhost:25\"]\n")
            .replace(", \"localhost:25\"", ""),
        "\"::1:25\"",
        "`listener[1].address[0]` must be an address like \"192.0.2.1:25\" or \"[2001:db8::1]:25\", not \"::1:25\"",
        "write \"[::1]:25\"",
    );
    one(
        &format!("trusted = [\"0.0.0.0/0\"]\n{}", with("")),
        "\"0.0.0.0/0\"",
        "`trusted` with 0.0.0.0/0 is an open relay: any client may send to any domain",
        "name the networks of your own clients",
    );
    let keys = |more: &str| {
        let address = "address = [\"127.0.0.1:2525\"]\n";
        with("").replacen(address, &format!("{address}{more}\n"), 1)
    };
    let trusted = "client_trusted = [\"relay.example\"]";
    one(
        &keys(trusted),
        "[\"relay.example\"]",
        "`client_trusted` has no effect where clients aren't asked for a certificate",
        "write client_certificates = \"optional\"",
    );
    // A proxy in front asks in our place.
    let told = format!("proxy_protocol_from = [\"10.0.0.1\"]\n{trusted}");
    assert_eq!(problems(&keys(&told)), []);
}

#[test]
fn pools_and_routes() {
    let pool = |more: &str| {
        with(&format!(
            "[[pool]]\nname = \"b\"\n{more}\n[[route]]\ndomains = [\"b.example\"]\npool = \"b\"\n"
        ))
    };
    one(
        &pool("backends = [\"10.0.0.1\"]"),
        "\"10.0.0.1\"",
        "\"10.0.0.1\" is no backend",
        "a port is missing; write \"10.0.0.1:25\"",
    );
    one(
        &pool("backends = [{ address = \"a:25\", weight = 0 }]"),
        "0",
        "`weight` is 1 to 1000, not 0",
        "take a backend out by removing it",
    );
    one(
        &pool("backends = [\"a:25\", \"A:25\"]"),
        "\"A:25\"",
        "A:25 is in the pool twice",
        "use `weight`",
    );
    one(
        &pool("backends = [\"127.0.0.1:2525\"]"),
        "\"127.0.0.1:2525\"",
        "127.0.0.1:2525 is our own `listener[0]`: mail would loop",
        "",
    );
    one(
        &pool("backends = [{ weight = 2 }]"),
        "{ weight = 2 }",
        "`pool[1].backends[0]` needs `address`",
        "",
    );
    one(
        &pool(""),
        "[[pool]]",
        "`pool[1]` has no backends",
        "write backends = [\"10.0.0.11:25\"]",
    );
    one(
        &pool("backends = [\"a:25\"]\nhealth = { backoff = \"2m\" }"),
        "\"2m\"",
        "`backoff` (2m) is longer than `backoff_max` (1m)",
        "",
    );
    one(
        &pool("backends = [\"a:25\"]\nchunking = \"yes\""),
        "\"yes\"",
        "`pool[1].chunking` must be true or false, not the text \"yes\"",
        "write true without quotes",
    );
    one(
        &with("[[route]]\ndomains = [\"b.example\"]\npool = \"mat\"\n"),
        "\"mat\"",
        "there is no pool \"mat\"",
        "did you mean \"mta\"?",
    );
    one(
        &with("[[route]]\ndomains = [\"EXAMPLE.net\"]\npool = \"mta\"\n"),
        "\"EXAMPLE.net\"",
        "EXAMPLE.net has a route already, `route[0]` (t.toml:9)",
        "",
    );
    one(
        &with("[[route]]\ndomains = [\"*.b.example\"]\npool = \"mta\"\n"),
        "\"*.b.example\"",
        "\"*.b.example\" is no domain",
        "write \".b.example\" for every domain below b.example",
    );
    one(
        &with("[[pool]]\nname = \"b\"\nbackends = [\"a:25\"]\n"),
        "\"b\"",
        "no route leads to the pool \"b\"",
        "",
    );
}

#[test]
fn mail_of_known_clients_to_other_domains_has_a_route() {
    let of_star = "add a `[[route]]` with domains = [\"*\"] and the pool that sends mail to the rest of the world";
    let told = |what: &str| {
        format!(
            "no route has `*`: what {what} may send to other domains goes to the pool \"mta\", because the first route has it"
        )
    };
    let listener =
        "[[listener]]\nname = \"own\"\naddress = [\"127.0.0.1:2587\"]\nrole = \"submission\"\n";
    let trusted = "trusted = [\"10.20.0.0/16\"]\n";
    let star = "[[route]]\ndomains = [\"*\"]\npool = \"mta\"\n";
    one(
        &with(listener),
        "\"mta\"",
        &told("clients of the listener \"own\""),
        of_star,
    );
    one(
        &format!("{trusted}{}", with("")),
        "\"mta\"",
        &told("clients in `trusted`"),
        of_star,
    );
    for quiet in [
        with(""),
        with(&format!("{listener}{star}")),
        format!("trusted = [\"127.0.0.0/8\", \"::1\"]\n{}", with("")),
    ] {
        let found = problems(&quiet);
        assert!(found.is_empty(), "{quiet}\n{found:?}");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("recipients");
    fs::write(&file, "bob@example.net\n").expect("written");
    let list = format!("{{ file = \"{}\" }}", file.display());
    one(
        &with(&format!("{star}recipients = {list}\n")),
        &list,
        "`*` is in this route, so mail of your own clients to any other domain is refused, unless the file has the recipient",
        "give `*` a `[[route]]` of its own, without `recipients`",
    );
}

#[test]
fn files_that_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("names");
    fs::write(
        &file,
        "# ours\nexample.net  # and below\n.example.net\n\n  two words\n/a#b/\n",
    )
    .unwrap();
    let list = format!(
        "[[policy.sender_list]]\nname = \"l\"\nfiles = [\"{}\"]\n",
        file.display()
    );
    let found = problems(&with(&list));
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!(
        (&*found[0].file, found[0].line, found[0].column),
        (&*file.display().to_string(), 5, 3)
    );
    assert_eq!(
        found[0].message,
        "\"two words\" can't be an entry of this list"
    );
    fs::remove_file(&file).unwrap();
    let found = problems(&with(&list));
    assert!(
        found[0]
            .message
            .starts_with(&format!("can't read {}: No such file", file.display())),
        "{}",
        found[0]
    );
    let found = config::load(&file).unwrap_err();
    assert!(found[0].hint.as_deref().unwrap().contains("-c FILE"));
    one(
        &with("[log]\nto = \"/no/where\"\n"),
        "\"/no/where\"",
        "there is no folder /no",
        "create it first",
    );
}

#[test]
fn limits_that_help_nobody() {
    one(
        &with("[limits]\nsessions = 0\n"),
        "0",
        "`sessions = 0` refuses all mail",
        "write 1 or more",
    );
    one(
        &with("[limits]\nheader = \"1MiB\"\n"),
        "\"1MiB\"",
        "`header` (1MiB) must not be larger than `window` (256KiB)",
        "",
    );
    let small = config::parse("t", &with("[limits]\nwindow = \"16KiB\"\n"))
        .unwrap()
        .config
        .limits;
    assert_eq!(small.header, small.window);
    let reports = "[policy.dmarc.reports]\ndirectory = \"/tmp\"\nemail = \"a@b.example\"\n";
    assert_eq!(config::parse("t", &with(reports)).unwrap().warnings, []);
    let off = with(&format!("[policy.dmarc]\nmode = \"off\"\n{reports}"));
    let told = &config::parse("t", &off).unwrap().warnings;
    assert!(
        told[0].message.starts_with("no reports are collected"),
        "{told:?}"
    );
    let few = config::parse("t", &with("[limits]\nrecipients = 10\n")).unwrap();
    assert_eq!(
        few.warnings[0].message,
        "`recipients` is less than 100: RFC 5321 §4.5.3.1.8 asks for that"
    );
    one(
        &with("[timeouts]\ndata = \"0s\"\n"),
        "\"0s\"",
        "`data` must be longer than 0s",
        "",
    );
}

#[test]
fn certificates_by_acme() {
    let speaking = |more: &str| {
        let address = "address = [\"127.0.0.1:2525\"]\n";
        with(more).replacen(address, &format!("{address}tls = \"starttls\"\n"), 1)
    };
    let acme = |keys: &str| speaking(&format!("[acme]\nagree = true\n{keys}\n"));
    let name = "domains = [\"mx.example.net\"]\n";
    assert_eq!(problems(&acme(name)), []);
    one(
        &with(&format!("[acme]\nagree = true\n{name}")),
        "[\"mx.example.net\"]",
        "no listener uses TLS, so the certificate that is ordered is never shown",
        "write tls = \"starttls\" in a `[[listener]]`",
    );
    one(
        &speaking(&format!("[acme]\n{name}")),
        "[acme]",
        "an authority issues no certificate until you agree to its terms",
        "read the terms of the authority, then write agree = true",
    );
    for (domain, help) in [
        (
            "*.example.net",
            "a wildcard needs a challenge over DNS, which is not supported; name each host",
        ),
        ("192.0.2.1", "name the host, not its address"),
        (
            "mx.example.net.",
            "write \"mx.example.net\", without the dot at the end",
        ),
        ("m\u{fc}ller.example", "write the `xn--` form of the name"),
        ("mx_1.example", "write a host name like \"mx.example.net\""),
        ("localhost", "write a host name like \"mx.example.net\""),
    ] {
        one(
            &acme(&format!("domains = [\"{domain}\"]")),
            &format!("\"{domain}\""),
            &format!("\"{domain}\" can't be certified"),
            help,
        );
    }
    one(
        &acme("domains = [\"a.example\", \"A.example\"]"),
        "\"A.example\"",
        "\"A.example\" is listed twice",
        "",
    );
    one(
        &acme(&format!("{name}directory = \"http://ca.example/\"")),
        "\"http://ca.example/\"",
        "\"http://ca.example/\" is no directory",
        "ACME uses HTTPS only (RFC 8555 \u{a7}6.1): write \"https://\u{2026}\"",
    );
    one(
        &acme(&format!("{name}contact = [\"me@example.net\"]")),
        "\"me@example.net\"",
        "\"me@example.net\" is no contact",
        "write \"mailto:me@example.net\"",
    );
    one(
        &acme(&format!("{name}renew_before = \"1m\"")),
        "\"1m\"",
        "`renew_before` must be 1h at least",
        "a renewal may fail for days; 30d is usual",
    );
    one(
        &acme(&format!("{name}listen = []")),
        "[]",
        "nothing answers the authority's challenges",
        "write listen = [\"0.0.0.0:80\"]",
    );
    one(
        &acme(&format!("{name}listen = [\"127.0.0.1:2525\"]")),
        "\"127.0.0.1:2525\"",
        "127.0.0.1:2525 is used by `listener[0].address[0]` (t.toml:4) already",
        "",
    );
    one(
        &acme(&format!("{name}external_account = \"kid\"")),
        "\"kid\"",
        "`external_account` needs its key",
        "name the file with the key: external_key = \"\u{2026}\"",
    );
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key");
    fs::write(&file, "no key at all!\n").unwrap();
    let file = file.display();
    one(
        &acme(&format!(
            "{name}external_account = \"kid\"\nexternal_key = \"{file}\""
        )),
        &format!("\"{file}\""),
        &format!("{file} holds no key in base64url"),
        "",
    );
    one(
        &acme(&format!("{name}ca = \"{file}\"")),
        &format!("\"{file}\""),
        &format!("{file} holds no certificate in PEM"),
        "",
    );
}

#[test]
fn a_look_up_has_a_time_limit() {
    for time in ["0s", "61s"] {
        one(
            &with(&format!("[dns]\ntimeout = \"{time}\"\n")),
            &format!("\"{time}\""),
            "`timeout` is longer than 0s and 1m at most",
            "",
        );
    }
}

#[test]
fn only_a_server_that_is_near_validates_for_us() {
    let hint = "name a validating resolver on this machine or in a private network";
    one(
        &with("[dns]\ndnssec = \"resolver\"\n"),
        "\"resolver\"",
        "the servers of /etc/resolv.conf may be any",
        &format!("{hint}: servers = [\"…\"]"),
    );
    let servers = |addresses: &str, dnssec: &str| {
        with(&format!(
            "[dns]\nservers = [{addresses}]\ndnssec = \"{dnssec}\"\n"
        ))
    };
    for (server, ip) in [
        ("203.0.113.1:53", "203.0.113.1"),
        ("172.32.0.1:53", "172.32.0.1"),
        ("[2001:db8::1]:53", "2001:db8::1"),
        ("[::ffff:203.0.113.1]:53", "::ffff:203.0.113.1"),
    ] {
        let server = format!("\"{server}\"");
        one(
            &servers(&format!("\"127.0.0.1:53\", {server}"), "resolver"),
            &server,
            &format!("answers of {ip} can be forged on their way through the internet"),
            hint,
        );
        assert!(problems(&servers(&server, "off")).is_empty());
    }
    let near = "\"127.0.0.53:53\", \"10.1.2.3:53\", \"172.31.0.1:53\", \"192.168.0.1:53\", \"169.254.0.1:53\", \
        \"[::1]:53\", \"[fd00::1]:53\", \"[fe80::1]:53\", \"[::ffff:10.0.0.1]:53\"";
    assert!(problems(&servers(near, "resolver")).is_empty());
}

#[test]
fn what_could_not_be_read_leads_to_no_second_problem() {
    one(
        &with("[dns]\nservers = [\"127.0.0.1\"]\ndnssec = \"resolver\"\n"),
        "\"127.0.0.1\"",
        "`dns.servers[0]` must be an address like \"192.0.2.1:25\" or \"[2001:db8::1]:25\", not \"127.0.0.1\"",
        "a port is missing; write \"127.0.0.1:25\"",
    );
    let text = |key: &str| format!("`{key}` must be a list, not the text \"x.example\"");
    one(
        &with("[[profile]]\nname = \"p\"\nclass = \"partner\"\ncertificates = \"x.example\"\n"),
        "\"x.example\"",
        &text("profile[0].certificates"),
        "write [\"x.example\"]",
    );
    let partner = "[[profile]]\nname = \"p\"\nclass = \"partnr\"\ncertificates = [\"x.example\"]\n\
        [profile.policy.rdns]\nnone = 1.0\n";
    let named = ["\"named\"", "\"partner\""];
    let found = problems(&with(partner));
    assert!(
        found.len() == 1 && named.iter().all(|word| found[0].message.contains(word)),
        "{found:#?}"
    );
    let staff =
        "[[credentials]]\nname = \"staff\"\nsource = \"fil\"\nurl = \"https://a.example/\"\n";
    let found = problems(&with(staff));
    assert!(
        found.len() == 1 && found[0].hint.as_deref() == Some("did you mean \"file\"?"),
        "{found:#?}"
    );
    let star = "[[route]]\ndomains = \"*\"\npool = \"mta\"\n";
    one(
        &format!("trusted = [\"10.0.0.0/8\"]\n{}", with(star)),
        "\"*\"",
        "`route[1].domains` must be a list, not the text \"*\"",
        "write [\"*\"]",
    );
}

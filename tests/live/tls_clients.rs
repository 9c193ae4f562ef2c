//! Certificates of clients: which are asked for, and which are believed.

use crate::{
    certificates::{Authority, Pem, of_its_own},
    client::Client,
    harness::need,
    tls::Site,
};

/// Keys that no signature is checked by, as arguments of `openssl genpkey`.
const KEYS: &[&[&str]] = &[
    &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024"],
    &[
        "-algorithm",
        "EC",
        "-pkeyopt",
        "ec_paramgen_curve:brainpoolP256r1",
    ],
    &[
        "-algorithm",
        "EC",
        "-pkeyopt",
        "ec_paramgen_curve:secp256k1",
    ],
    &[
        "-algorithm",
        "EC",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-pkeyopt",
        "ec_param_enc:explicit",
    ],
];

crate::on_all_engines! {
    fn clients_may_or_must_show_a_certificate(engine) {
        if need("openssl").is_none() { return; }
        for (word, anonymous) in [("optional", true), ("required", false)] {
            let listener = format!("client_certificates = \"{word}\"\nclient_ca = \"FOLDER/ca.pem\"\nclient_trusted = [\"relay.partner.example\"]\n");
            let site = Site::start(engine, &listener, "");
            let (chain, key) = site.authority.issue(&["relay.partner.example"]).write(site.folder.path(), "client");
            let shown = ["-cert", chain.to_str().expect("UTF-8"), "-key", key.to_str().expect("UTF-8")];
            let script = "EHLO client.example\nMAIL FROM:<a@sender.example>\nRCPT TO:<b@elsewhere.example>\nQUIT\n";
            let seen = site.openssl(false, &shown, script);
            assert!(!seen.contains("550 5.7.1 Relaying denied"), "its name is trusted: {seen}");
            assert!(seen.contains("221 2.0.0"), "{seen}");
            site.gatepost.log_line(&["certificate=relay.partner.example"]);
            let seen = site.openssl(false, &[], script);
            assert_eq!(seen.contains("550 5.7.1 Relaying denied"), anonymous, "{seen}");
            if !anonymous {
                site.gatepost.log_line(&["why=tls_no_client_certificate", "end=gatepost@tls"]);
            }
            // Of another authority, of its own making, expired: large providers show such ones where a certificate is
            // optional. Their mail is taken; the name in them counts for nothing.
            let names = ["relay.partner.example"];
            let foreign = Authority::new().issue(&names);
            for (pem, kind) in [(foreign, "foreign"), (of_its_own(names[0], true), "own"), (site.authority.expired(&names), "expired")] {
                let (chain, key) = pem.write(site.folder.path(), kind);
                for version in ["-tls1_2", "-tls1_3"] {
                    let shown = [version, "-cert", chain.to_str().expect("UTF-8"), "-key", key.to_str().expect("UTF-8")];
                    let seen = site.openssl(false, &shown, script);
                    assert_eq!(seen.contains("550 5.7.1 Relaying denied"), anonymous, "{kind} {version}: {seen}");
                    assert_eq!(seen.contains("250 2.1.0"), anonymous, "{kind} {version}: {seen}");
                }
            }
            if !anonymous {
                site.gatepost.log_line(&["why=tls_bad_certificate"]);
            }
        }
    }

    /// Also where the authority issued it: whoever has no key may show the certificate all the same.
    fn a_key_that_no_signature_is_checked_by_lets_in_and_proves_nothing(engine) {
        if need("openssl").is_none() { return; }
        for (word, anonymous) in [("optional", true), ("required", false)] {
            let listener = format!("client_certificates = \"{word}\"\nclient_ca = \"FOLDER/ca.pem\"\nclient_trusted = [\"relay.partner.example\"]\n");
            let site = Site::start(engine, &listener, "");
            let script = "EHLO client.example\nMAIL FROM:<a@sender.example>\nRCPT TO:<b@elsewhere.example>\nQUIT\n";
            for (number, key) in KEYS.iter().enumerate() {
                let kind = format!("k{number}");
                let (chain, key) = site.authority.issue_odd(&["relay.partner.example"], key, site.folder.path(), &kind);
                for version in ["-tls1_2", "-tls1_3"] {
                    // Or openssl would not use the short key itself.
                    let weak = ["-cipher", "DEFAULT@SECLEVEL=0"];
                    let shown = [version, "-cert", chain.to_str().expect("UTF-8"), "-key", key.to_str().expect("UTF-8"), weak[0], weak[1]];
                    let seen = site.openssl(false, &shown, script);
                    // With TLS 1.3 openssl shows no certificate of a curve that has no algorithm there.
                    assert_eq!(seen.contains("250 2.1.0"), anonymous, "{kind} {version}: {seen}");
                    assert_eq!(seen.contains("550 5.7.1 Relaying denied"), anonymous, "{kind} {version}: {seen}");
                }
            }
            match anonymous {
                true => assert!(!site.gatepost.log().contains("certificate="), "{}", site.gatepost.log()),
                false => drop(site.gatepost.log_line(&["why=tls_unsupported_key", "end=gatepost@tls"])),
            }
        }
    }

    fn a_chain_above_the_limits_counts_for_nothing(engine) {
        for (word, anonymous) in [("optional", true), ("required", false)] {
            let keys = format!("client_certificates = \"{word}\"\nclient_ca = \"FOLDER/ca.pem\"\nclient_trusted = [\"relay.partner.example\"]\n");
            let site = Site::start(engine, &keys, "");
            let mut between = vec![site.authority.below("one")];
            for name in ["two", "three", "four"] {
                between.push(between[between.len() - 1].below(name));
            }
            let last = &between[between.len() - 1];
            // The last authority's certificate comes along by itself.
            let own = last.issue(&["relay.partner.example"]);
            let sound: String = between.iter().rev().skip(1).map(Authority::pem).collect();
            let large = Authority::new().issue(&vec!["a-name-of-many-octets.partner.example"; 1000]).chain;
            for (case, more, goes_on, trusted) in [
                ("four authorities", String::new(), true, true),
                ("eight of one name", Authority::new().pem().repeat(8), anonymous, false),
                ("more than 32 KiB", large, false, false),
            ] {
                let pem = Pem { chain: own.chain.clone() + &sound + &more, key: own.key.clone() };
                let mut client = Client::hello(site.gatepost.smtp);
                client.expect("STARTTLS", "220");
                let secure = client.try_tls_as(&site.authority.der(), "mx.example.net", &pem);
                let reply = secure.map(|mut tls| {
                    tls.try_command("EHLO client.example");
                    tls.try_command("MAIL FROM:<a@sender.example>");
                    tls.try_command("RCPT TO:<b@elsewhere.example>")
                });
                let reply = reply.unwrap_or_default();
                assert_eq!(!reply.is_empty(), goes_on, "{word}, {case}: {reply}");
                let relays = goes_on && !reply.starts_with("550 5.7.1 Relaying denied");
                assert_eq!(relays, trusted, "{word}, {case}: {reply}");
            }
            site.gatepost.log_line(&["why=tls_bad_certificate"]);
        }
    }
}

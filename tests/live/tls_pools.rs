//! TLS on the way to the backends, the less usual ways: from the first octet on, an old version, handshakes that break,
//! and other anchors after a reload.

use crate::{
    backend::{Act, Backend},
    certificates::Authority,
    delivery::pool,
    harness::{Gatepost, free_address, home, http, wait_until},
    postfix::Postfix,
    tls_behind::{QUICK, before, ca, mode, postfix, said_nothing, send, tricky},
};
use std::{fs, path::Path};

/// A Postfix that begins with a handshake, whose certificate this authority has issued for its address.
fn implicit(authority: &Authority) -> Option<Postfix> {
    let pem = authority.issue(&[&home().to_string()]);
    let lines = |folder: &Path| {
        let (chain, key) = pem.write(folder, "server");
        format!(
            "smtpd_tls_cert_file = {}\nsmtpd_tls_key_file = {}\nsmtpd_tls_loglevel = 1\n",
            chain.display(),
            key.display()
        )
    };
    Postfix::start_as(lines, "-o smtpd_tls_wrappermode=yes")
}

/// How a handshake is broken, and in which words that is told.
const BROKEN: [(&str, &[u8]); 3] = [
    ("closed", b""),
    ("not TLS", b"500 5.5.1 what is this?\r\n"),
    // The fatal alert handshake_failure (RFC 8446 §6.2).
    ("an alert", &[21, 3, 3, 0, 2, 2, 40]),
];

crate::on_all_engines! {
    fn a_handshake_may_come_first(engine) {
        let authority = Authority::new();
        let Some(postfix) = implicit(&authority) else { return };
        let folder = tempfile::tempdir().expect("a folder");
        let anchors = ca(folder.path(), &authority);
        for keys in [mode("required"), format!("tls = \"verify\"\ntls_ca = \"{anchors}\"")] {
            let gatepost = before(engine, postfix.address, &format!("{keys}\ntls_implicit = true"));
            for _ in 0..2 {
                let reply = send(&gatepost);
                assert!(reply.starts_with("250"), "{keys}: {reply}\n{}{}", gatepost.errors(), postfix.log());
            }
            gatepost.log_line(&["verdict=accept", "backend_tls=TLSv1.3"]);
            assert!(gatepost.metric("gatepost_backend_tls_total", "version=\"TLSv1.3\"") >= 1.0);
            assert_eq!(gatepost.metric("gatepost_backend_tls_total", "version=\"none\""), 0.0);
        }
        let messages = wait_until("Postfix delivers", || Some(postfix.messages()).filter(|all| all.len() == 4));
        assert!(messages.iter().all(|message| message.contains("by edge.example (Gatepost)")), "{messages:?}");
        let others = tempfile::tempdir().expect("a folder");
        let foreign = ca(others.path(), &Authority::new());
        let gatepost = before(engine, postfix.address, &format!("tls = \"verify\"\ntls_ca = \"{foreign}\"\ntls_implicit = true"));
        let reply = send(&gatepost);
        assert!(reply.starts_with("451 4.4.1"), "{reply}");
        // One that waits for STARTTLS there waits in vain.
        let gatepost = before(engine, postfix.address, &mode("required"));
        let reply = send(&gatepost);
        assert!(reply.starts_with("451 4.4.1"), "{reply}");
        assert_eq!(postfix.messages().len(), 4);
    }

    fn who_greets_instead_of_shaking_hands_hears_nothing(engine) {
        let backend = Backend::good(free_address());
        let keys = mode("required") + "\ntls_implicit = true";
        let gatepost = Gatepost::start(engine, &(pool(&[&backend], &keys) + QUICK));
        let reply = send(&gatepost);
        assert!(reply.starts_with("451 4.4.1"), "{reply}");
        assert!(gatepost.metric("gatepost_backend_connections_failed_total", "reason=\"tls\"") >= 1.0);
        said_nothing(&backend);
    }

    fn opportunistic_goes_on_in_the_clear_behind_a_broken_handshake(engine) {
        for (how, answer) in BROKEN {
            let backend = tricky(move || Act::Break(answer));
            let gatepost = Gatepost::start(engine, &(pool(&[&backend], &mode("opportunistic")) + QUICK));
            let reply = send(&gatepost);
            assert!(reply.starts_with("250"), "{how}: {reply}\n{}", gatepost.errors());
            let messages = backend.messages();
            assert_eq!(messages.len(), 1, "{how}");
            // On the connection that took it STARTTLS was not said.
            let there = messages[0].connection;
            let said: Vec<String> = backend.commands().into_iter().filter(|(at, _)| *at == there).map(|(_, said)| said).collect();
            assert!(said[0].starts_with("EHLO") && !said.contains(&"STARTTLS".to_string()), "{how}: {said:?}");
            let tried = backend.commands().iter().any(|(_, said)| said == "STARTTLS");
            assert!(tried, "{how}: {:?}", backend.commands());
            assert!(gatepost.metric("gatepost_backend_tls_total", "version=\"fallback\"") >= 1.0, "{how}");
            wait_until(how, || {
                let told = gatepost.errors();
                (told.contains("no TLS: ") && told.contains("; it's talked to in the clear")).then_some(())
            });
        }
    }

    fn required_stays_with_its_broken_handshake(engine) {
        for (how, answer) in BROKEN {
            for word in ["required", "verify"] {
                let backend = tricky(move || Act::Break(answer));
                let gatepost = Gatepost::start(engine, &(pool(&[&backend], &mode(word)) + QUICK));
                let reply = send(&gatepost);
                assert!(reply.starts_with("451 4.4.1"), "{word}, {how}: {reply}");
                said_nothing(&backend);
                assert_eq!(gatepost.metric("gatepost_backend_tls_total", ""), 0.0, "{word}, {how}");
                assert!(!gatepost.errors().contains("in the clear"), "{word}, {how}: {}", gatepost.errors());
            }
        }
    }

    fn a_backend_of_tls_1_2_is_talked_to(engine) {
        let authority = Authority::new();
        let own = home().to_string();
        let Some(postfix) = postfix(&authority.issue(&[&own]), "smtpd_tls_protocols = TLSv1.2\n") else { return };
        let folder = tempfile::tempdir().expect("a folder");
        let anchors = ca(folder.path(), &authority);
        for keys in [mode("opportunistic"), mode("required"), format!("tls = \"verify\"\ntls_ca = \"{anchors}\"")] {
            let gatepost = before(engine, postfix.address, &keys);
            let reply = send(&gatepost);
            assert!(reply.starts_with("250"), "{keys}: {reply}\n{}{}", gatepost.errors(), postfix.log());
            gatepost.log_line(&["verdict=accept", "backend_tls=TLSv1.2"]);
            assert!(gatepost.metric("gatepost_backend_tls_total", "version=\"TLSv1.2\"") >= 1.0);
            for other in ["TLSv1.3", "none", "fallback"] {
                let labels = format!("version=\"{other}\"");
                assert_eq!(gatepost.metric("gatepost_backend_tls_total", &labels), 0.0, "{keys}: {other}");
            }
        }
        assert!(!postfix.log().contains("TLSv1.3"), "{}", postfix.log());
    }

    fn other_anchors_come_with_a_reload_and_old_connections_go(engine) {
        let (authority, foreign) = (Authority::new(), Authority::new());
        let own = home().to_string();
        let Some(postfix) = postfix(&authority.issue(&[&own]), "") else { return };
        let folder = tempfile::tempdir().expect("a folder");
        let anchors = ca(folder.path(), &foreign);
        let gatepost = before(engine, postfix.address, &format!("tls = \"verify\"\ntls_ca = \"{anchors}\""));
        let believes = |text: String| {
            fs::write(&anchors, text).expect("written");
            let (status, body) = http(gatepost.admin, "POST", "/reload");
            assert_eq!(status, 200, "{body}");
        };
        let opened = || gatepost.metric("gatepost_backend_tls_total", "version=\"TLSv1.3\"");
        let refused = || {
            let reply = send(&gatepost);
            assert!(reply.starts_with("451 4.4.1"), "{reply}");
        };
        let accepted = || {
            let reply = send(&gatepost);
            assert!(reply.starts_with("250"), "{reply}\n{}{}", gatepost.errors(), postfix.log());
        };
        refused();
        assert_eq!(opened(), 0.0);
        believes(authority.pem());
        accepted();
        let before = opened();
        accepted();
        assert_eq!(opened(), before, "the connection is kept");
        // Who is believed still would be, but that was judged by other anchors.
        believes(authority.pem() + &foreign.pem());
        accepted();
        assert!(opened() > before, "a connection of before is not used");
        believes(foreign.pem());
        refused();
        believes(authority.pem());
        accepted();
        wait_until("Postfix delivers", || (postfix.messages().len() == 4).then_some(()));
        // A broken file changes nothing.
        fs::write(&anchors, "no certificate").expect("written");
        let (status, body) = http(gatepost.admin, "POST", "/reload");
        assert!(status == 422 && body.contains("ca.pem: there is no certificate in it"), "{status} {body}");
        accepted();
    }
}

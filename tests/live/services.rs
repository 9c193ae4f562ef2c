//! Backends that SRV records name: by priority, and followed where they move.

use crate::{
    backend::Backend,
    client::Client,
    delivery::pool,
    harness::{Gatepost, free_address, http, wait_until},
    on_all_engines,
    scripted_dns::{A, SRV, Said, ScriptedDns},
};
use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex},
};

const SERVICE: &str = "_smtp._tcp.mail.internal";

/// Says where the service is: priority, port and host of each. Every host has the address of the backends.
struct Service {
    dns: ScriptedDns,
    said: Arc<Mutex<Said>>,
}

impl Service {
    fn start(at: SocketAddr, said: Said) -> Service {
        let IpAddr::V4(address) = at.ip() else {
            unreachable!("the tests' addresses are IPv4")
        };
        let said = Arc::new(Mutex::new(said));
        let told = Arc::clone(&said);
        let dns = ScriptedDns::start(move |name, kind| {
            Some(match (name, kind) {
                (SERVICE, SRV) => told.lock().expect("no panic").clone(),
                (SERVICE, _) => Said::no_name(),
                (_, A) => Said::a(&[address]),
                _ => Said::nothing(),
            })
        });
        Service { dns, said }
    }

    fn say(&self, said: Said) {
        *self.said.lock().expect("no panic") = said;
    }

    fn edge(&self, engine: &str, any: &Backend) -> Gatepost {
        let config = pool(&[any], "").replace(&any.address.to_string(), &format!("srv:{SERVICE}"));
        Gatepost::start(
            engine,
            &(config + "recipients = \"accept\"\n" + &self.dns.config("")),
        )
    }
}

fn reply(gatepost: &Gatepost) -> String {
    Client::hello(gatepost.smtp).send("a@sender.example", &["b@example.net"], "x\r\n")
}

fn delivers(gatepost: &Gatepost) {
    let reply = reply(gatepost);
    assert!(reply.starts_with("250"), "{reply}");
}

fn counts(backends: [&Backend; 2]) -> [usize; 2] {
    backends.map(|backend| backend.messages().len())
}

on_all_engines! {
    fn a_host_of_another_priority_is_used_while_none_of_the_first_can_be(engine) {
        let (one, two) = (Backend::good(free_address()), Backend::good(free_address()));
        let (first, second) = (one.address.port(), two.address.port());
        let service = Service::start(one.address, Said::srv(&[
            (20, 65_535, second, "backup.mail.internal"), (10, 0, first, "mx.mail.internal"),
        ]));
        let gatepost = service.edge(engine, &one);
        for _ in 0..10 {
            delivers(&gatepost);
        }
        assert_eq!(counts([&one, &two]), [10, 0]);
        one.stop();
        wait_until("the other one", || {
            delivers(&gatepost);
            (!two.messages().is_empty()).then_some(())
        });
    }

    fn a_service_that_moves_is_followed_and_one_that_fails_stays(engine) {
        let (one, two) = (Backend::good(free_address()), Backend::good(free_address()));
        let (first, second) = (one.address.port(), two.address.port());
        let said = Said::srv(&[(1, 1, first, "one.mail.internal")]).for_seconds(1);
        let service = Service::start(one.address, said);
        let gatepost = service.edge(engine, &one);
        delivers(&gatepost);
        assert_eq!(counts([&one, &two]), [1, 0]);
        // The TTL is over after five seconds, and the new host is known before the old one goes.
        service.say(Said::srv(&[(1, 1, second, "two.mail.internal")]));
        wait_until("the new host", || {
            delivers(&gatepost);
            (!two.messages().is_empty()).then_some(())
        });
        let reload = || assert_eq!(http(gatepost.admin, "POST", "/reload").0, 200);
        let before = counts([&one, &two]);
        service.say(Said::no_name());
        reload();
        delivers(&gatepost);
        assert_eq!(counts([&one, &two]), [before[0], before[1] + 1]);
        let told = "srv:_smtp._tcp.mail.internal: there is no such SRV record; the addresses found last stay in use";
        wait_until("a line", || gatepost.errors().contains(told).then_some(()));
        // The service is decidedly not offered (RFC 2782).
        service.say(Said::srv(&[(0, 0, 0, ".")]));
        reload();
        let put_off = reply(&gatepost);
        assert!(put_off.starts_with('4'), "{put_off}");
        service.say(Said::srv(&[(1, 1, first, "one.mail.internal")]));
        reload();
        delivers(&gatepost);
    }
}

//! Backends by name: names that aren't found, servers that say nothing, and names that lead elsewhere after a while.

use crate::{
    backend::Backend,
    client::Client,
    delivery::pool,
    harness::{Gatepost, free_address, home, http, wait_until},
    on_all_engines,
};
use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    sync::{Arc, Mutex},
    thread,
};

/// What the DNS server answers.
#[derive(Clone, Copy)]
enum Tells {
    /// There is no such name.
    Unknown,
    /// One IPv4 address for every name, for an hour, and no IPv6 address.
    At(Ipv4Addr),
    /// Nothing.
    Silent,
}

struct Dns {
    address: SocketAddr,
    tells: Arc<Mutex<Tells>>,
}

impl Dns {
    fn start(tells: Tells) -> Dns {
        let socket = UdpSocket::bind((home(), 0)).expect("bound");
        let address = socket.local_addr().expect("bound");
        let tells = Arc::new(Mutex::new(tells));
        let told = Arc::clone(&tells);
        thread::spawn(move || {
            let mut room = [0; 512];
            while let Ok((length, peer)) = socket.recv_from(&mut room) {
                let tells = *told.lock().expect("no panic");
                if let Some(answer) = answer(&room[..length], tells) {
                    let _ = socket.send_to(&answer, peer);
                }
            }
        });
        Dns { address, tells }
    }

    fn tell(&self, tells: Tells) {
        *self.tells.lock().expect("no panic") = tells;
    }

    fn config(&self) -> String {
        format!("[dns]\nservers = [\"{}\"]\n", self.address)
    }
}

fn answer(question: &[u8], tells: Tells) -> Option<Vec<u8>> {
    // The name ends with a zero; type and class follow.
    let zero = question[12..].iter().position(|octet| *octet == 0);
    let end = 12 + zero.expect("a name") + 5;
    let (code, record) = match tells {
        Tells::Unknown => (0x83, None),
        Tells::At(address) => (0x80, Some(address).filter(|_| question[end - 3] == 1)),
        Tells::Silent => return None,
    };
    let mut answer = Vec::from(&question[..2]);
    let records = u8::from(record.is_some());
    answer.extend([0x81, code, 0, 1, 0, records, 0, 0, 0, 0]);
    answer.extend(&question[12..end]);
    if let Some(record) = record {
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 14, 16, 0, 4]);
        answer.extend(record.octets());
    }
    Some(answer)
}

fn v4(address: SocketAddr) -> Ipv4Addr {
    match address.ip() {
        IpAddr::V4(address) => address,
        IpAddr::V6(_) => unreachable!("the tests' addresses are IPv4"),
    }
}

fn reply(gatepost: &Gatepost) -> String {
    let mut client = Client::hello(gatepost.smtp);
    client.send("a@sender.example", &["b@example.net"], "x\r\n")
}

fn delivers(gatepost: &Gatepost) -> Option<()> {
    reply(gatepost).starts_with("250").then_some(())
}

fn by_name(config: &str, backend: &Backend, name: &str) -> String {
    let named = format!("{name}:{}", backend.address.port());
    config.replace(&backend.address.to_string(), &named)
}

on_all_engines! {
    fn a_name_that_is_not_found_stops_nothing_and_is_found_later(engine) {
        let (well, late) = (Backend::good(free_address()), Backend::good(free_address()));
        let dns = Dns::start(Tells::Unknown);
        let config = by_name(&pool(&[&well, &late], ""), &late, "late.example");
        let gatepost = Gatepost::start(engine, &(config + &dns.config()));
        delivers(&gatepost).expect("by the other one");
        let down = format!("backend=\"late.example:{}\"", late.address.port());
        let shown = |label: &str| gatepost.get("/metrics").1.contains(label);
        assert!(shown(&down), "it is shown as down");
        let told = "late.example: there is no such name";
        wait_until("a line", || gatepost.errors().contains(told).then_some(()));
        // Nor does it keep a reload from being applied.
        assert_eq!(http(gatepost.admin, "POST", "/reload").0, 200);
        dns.tell(Tells::At(v4(late.address)));
        wait_until("it is found", || {
            delivers(&gatepost);
            (!late.messages().is_empty()).then_some(())
        });
        assert!(!shown(&down));
    }

    fn a_server_that_says_nothing_stops_nothing(engine) {
        let (well, late) = (Backend::good(free_address()), Backend::good(free_address()));
        let dns = Dns::start(Tells::Silent);
        let config = by_name(&pool(&[&well, &late], ""), &late, "late.example");
        let gatepost = Gatepost::start(engine, &(config + &dns.config()));
        delivers(&gatepost).expect("by the other one");
        assert_eq!(http(gatepost.admin, "POST", "/reload").0, 200);
        delivers(&gatepost).expect("by the other one");
    }

    fn mail_waits_for_a_pool_none_of_whose_names_is_found(engine) {
        let late = Backend::good(free_address());
        let dns = Dns::start(Tells::Unknown);
        let config = by_name(&pool(&[&late], ""), &late, "late.example") + "recipients = \"accept\"\n";
        let gatepost = Gatepost::start(engine, &(config + &dns.config()));
        let put_off = reply(&gatepost);
        assert!(put_off.starts_with('4'), "{put_off}");
        dns.tell(Tells::At(v4(late.address)));
        wait_until("it is found", || delivers(&gatepost));
    }

    fn the_addresses_found_last_stay_while_no_server_answers(engine) {
        let one = Backend::good(free_address());
        let dns = Dns::start(Tells::At(v4(one.address)));
        let config = by_name(&pool(&[&one], ""), &one, "mta.example");
        let gatepost = Gatepost::start(engine, &(config + &dns.config()));
        delivers(&gatepost).expect("it is found");
        for tells in [Tells::Unknown, Tells::Silent] {
            dns.tell(tells);
            // A reload looks the name up again.
            assert_eq!(http(gatepost.admin, "POST", "/reload").0, 200);
            delivers(&gatepost).expect("where it was");
        }
        let told = "the addresses found last stay in use";
        wait_until("a line", || gatepost.errors().contains(told).then_some(()));
    }

    fn a_backend_that_moves_is_followed(engine) {
        let one = Backend::good(free_address());
        let [a, b, c, d] = v4(one.address).octets();
        let there = Ipv4Addr::new(a, b ^ 0x80, c, d);
        let two = Backend::good((there, one.address.port()).into());
        let dns = Dns::start(Tells::At(v4(one.address)));
        let config = by_name(&pool(&[&one], ""), &one, "mta.example");
        let gatepost = Gatepost::start(engine, &(config + &dns.config()));
        delivers(&gatepost).expect("at the first address");
        assert_eq!((one.messages().len(), two.messages().len()), (1, 0));
        // The TTL is an hour: it is the failure that has the name looked up.
        dns.tell(Tells::At(there));
        one.stop();
        wait_until("the new address", || delivers(&gatepost));
        assert!(!two.messages().is_empty());
    }
}

//! What is known of names, by what comes of looking them up.

use super::{asking::AT_ONCE, *};
use crate::{
    config::{self, Backend, Time},
    lookup::{Family, HostAnswer, Target},
};
use std::net::{IpAddr, SocketAddr, UdpSocket};

fn addresses(all: &[&str]) -> Vec<IpAddr> {
    let all = all.iter();
    all.map(|text| text.parse().expect("an address")).collect()
}

fn answer(all: &[&str], unanswered: Option<Family>) -> Result<Answer, String> {
    Ok(Answer::Host(HostAnswer {
        addresses: addresses(all),
        ttl: Duration::from_secs(60),
        unanswered,
    }))
}

fn service(targets: &[(u16, u16, &str)]) -> Result<Answer, String> {
    let target = |(priority, weight, host): &(u16, u16, &str)| Target {
        priority: *priority,
        weight: *weight,
        port: 25,
        host: (*host).into(),
    };
    Ok(Answer::Service(Service {
        targets: targets.iter().map(target).collect(),
        unusable: Vec::new(),
        ttl: Duration::from_secs(60),
    }))
}

#[test]
fn the_hosts_of_a_service_are_followed() {
    const NAME: &str = "srv:_smtp._tcp.example.net";
    let mut known = BTreeMap::from([(
        NAME.to_string(),
        Known {
            is_written: true,
            ..Known::default()
        },
    )]);
    let mut take = |answers: Vec<(&str, Result<Answer, String>)>| {
        let answers = answers.into_iter();
        take_all(
            &mut known,
            answers
                .map(|(name, answer)| (name.into(), answer))
                .collect(),
        );
        let targets = known[NAME].named.targets.iter();
        let targets = targets.map(|t| (t.host.clone(), t.weight, t.tier));
        let names: Vec<String> = known.keys().cloned().collect();
        (targets.collect::<Vec<_>>(), names.join(" "))
    };
    let one = answer(&["192.0.2.1"], None);
    let told = take(vec![
        ("a.example", one),
        (NAME, service(&[(5, 0, "a.example"), (9, 7, "b.example")])),
    ]);
    let both = vec![("a.example".to_string(), 1, 0), ("b.example".into(), 7, 1)];
    assert_eq!(told, (both.clone(), format!("a.example b.example {NAME}")));
    // A failure changes nothing; nor do hosts of which none has an address.
    for failed in [
        Err("no server answers".into()),
        service(&[(1, 1, "c.example")]),
    ] {
        assert_eq!(take(vec![(NAME, failed)]).0, both);
    }
    let two = answer(&["192.0.2.2"], None);
    let told = take(vec![
        ("c.example", two),
        (NAME, service(&[(1, 1, "c.example")])),
    ]);
    let moved = vec![("c.example".to_string(), 1, 0)];
    assert_eq!(told, (moved, format!("c.example {NAME}")));
    assert_eq!(take(vec![(NAME, service(&[]))]), (vec![], NAME.to_string()));
}

#[test]
fn the_addresses_found_last_stay_while_a_look_up_fails() {
    let mut known = Known::default();
    take(&mut known, "a.example", Err("no server answers".into()));
    assert_eq!(known.named.addresses, addresses(&[]));
    let both = ["192.0.2.1", "2001:db8::1"];
    take(&mut known, "a.example", answer(&both, None));
    assert_eq!(
        (known.named.addresses.len(), &known.named.fault),
        (2, &None)
    );
    take(&mut known, "a.example", Err("there is no such name".into()));
    assert_eq!(known.named.addresses, addresses(&both));
    assert!(known.named.fault.is_some() && known.due <= known.asked + AGAIN_MAX);
    // Half an answer replaces half of what is known, and the other half is asked for soon.
    take(
        &mut known,
        "a.example",
        answer(&["192.0.2.2"], Some(Family::V6)),
    );
    let half = ["192.0.2.2", "2001:db8::1"];
    assert_eq!(known.named.addresses, addresses(&half));
    assert!(known.due <= known.asked + AGAIN_MAX);
    take(&mut known, "a.example", answer(&["192.0.2.2"], None));
    assert_eq!(known.named.addresses, addresses(&["192.0.2.2"]));
}

/// A configuration with these backends, and one DNS server that may take as long as it wants.
fn config(backends: impl Iterator<Item = String>, server: SocketAddr) -> Config {
    Config {
        pool: vec![config::Pool {
            backends: backends.map(Backend::Address).collect(),
            ..config::Pool::default()
        }],
        dns: config::Dns {
            servers: vec![server],
            timeout: Time::secs(60),
            ..config::Dns::default()
        },
        ..Config::default()
    }
}

fn wait_for<T>(look_up: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(look_up)
}

/// What is found of the names within this time.
fn learned(config: &Config, limit: Duration) -> Names {
    wait_for(learn_within(config, None, limit)).names()
}

/// A DNS server that says nothing to questions about `silent.example`, that `mx.example` serves to others for SRV records, and
/// 192.0.2.1 to those for A records.
fn serve() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("bound");
    let address = socket.local_addr().expect("bound");
    std::thread::spawn(move || {
        let mut room = [0; 512];
        while let Ok((length, peer)) = socket.recv_from(&mut room) {
            let question = &room[..length];
            let zero = question[12..].iter().position(|octet| *octet == 0);
            let end = 12 + zero.expect("a name") + 5;
            // The resolver mixes cases, so that answers are hard to forge.
            let name = question[12..end].to_ascii_lowercase();
            if name.windows(6).any(|part| part == b"silent") {
                continue;
            }
            let data: &[u8] = match question[end - 3] {
                1 => &[192, 0, 2, 1],
                33 => b"\0\0\0\0\0\x19\x02mx\x07example\0",
                _ => &[],
            };
            let mut answer = Vec::from(&question[..2]);
            answer.extend([0x81, 0x80, 0, 1, 0, u8::from(!data.is_empty()), 0, 0, 0, 0]);
            answer.extend(&question[12..end]);
            if !data.is_empty() {
                answer.extend([0xc0, 12, 0, question[end - 3], 0, 1, 0, 0, 0, 60, 0]);
                answer.push(u8::try_from(data.len()).expect("short"));
                answer.extend(data);
            }
            let _ = socket.send_to(&answer, peer);
        }
    });
    address
}

#[test]
fn a_service_of_which_nothing_is_heard_holds_up_no_host_of_another() {
    let services = [
        "srv:_smtp._tcp.silent.example",
        "srv:_smtp._tcp.example.net",
    ];
    let config = config(services.map(String::from).into_iter(), serve());
    let names = learned(&config, Duration::from_secs(2));
    let fault = names[services[0]].fault.as_deref();
    assert_eq!(fault, Some("no DNS server answered in time"));
    assert_eq!(names["mx.example."].addresses, addresses(&["192.0.2.1"]));
    assert_eq!(names[services[1]].targets[0].host, "mx.example.");
}

#[test]
fn answers_are_taken_while_another_name_is_not_answered() {
    let (silent, service) = ["silent", "other"]
        .map(|domain| format!("srv:_smtp._tcp.{domain}.example"))
        .into();
    let dns = Dns::new(&config(std::iter::empty(), serve()).dns, None);
    let batches = wait_for(async {
        let mut asking = Asking::new(&dns);
        for name in [&silent, "host.example.", &service, &silent] {
            asking.begin(name.to_string());
        }
        let mut batches = Vec::new();
        for _ in 0..2 {
            let answers = asking.next(|_| false).await.expect("there is more");
            let names = answers
                .into_iter()
                .map(|(name, answer)| (name, answer.is_ok()));
            batches.push(names.collect::<Vec<_>>());
        }
        batches.sort_unstable_by_key(Vec::len);
        batches
    });
    assert_eq!(batches[0], [("host.example.".to_string(), true)]);
    // A service comes with its new hosts.
    assert_eq!(
        batches[1],
        [("mx.example.".to_string(), true), (service, true)]
    );
}

#[test]
fn a_silent_server_holds_nothing_up_however_many_names_there_are() {
    let silent = UdpSocket::bind("127.0.0.1:0").expect("bound");
    let names = (0..3 * AT_ONCE).map(|i| format!("mta{i}.example:25"));
    let backends = names.chain(["192.0.2.1:25".into(), "[2001:db8::1]:25".into()]);
    let config = config(backends, silent.local_addr().expect("bound"));
    let names = learned(&config, Duration::from_millis(200));
    assert_eq!(names.len(), 3 * AT_ONCE, "addresses are no names");
    for named in names.values() {
        let fault = named.fault.as_deref();
        assert_eq!(fault, Some("no DNS server answered in time"));
    }
}

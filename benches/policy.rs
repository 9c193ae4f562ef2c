//! What the policy costs: a list of a million networks (loading, looking up), a name list, a rate, and all the
//! questions of one message. `prefix-trie` runs beside our ranges: see docs/decisions/0004-address-lists.md.

mod work;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use gatepost::{
    config,
    policy::{Networks, Policy},
};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use prefix_trie::PrefixSet;
use std::{hint::black_box, net::IpAddr};
use work::{
    asked::Asked,
    judge::{ALL, Judge, KEPT, RICH},
};

const MILLION: u32 = 1_000_000;

/// A fixed sequence that looks random (SplitMix64).
fn random(n: u64) -> u64 {
    let mut z = n
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn v4(n: u64) -> IpAddr {
    IpAddr::from((random(n) as u32).to_be_bytes())
}

/// In 2000::/3, as the internet's are.
fn v6(n: u64) -> IpAddr {
    let bits = u128::from(random(n) >> 3 | 1 << 61) << 64 | u128::from(random(n + 7));
    IpAddr::from(bits.to_be_bytes())
}

/// Like a block list: mostly single addresses, some networks.
fn nets(make: fn(u64) -> IpAddr, widest: u8, longest: u8) -> Vec<IpNet> {
    let length = |n: u32| {
        if n.is_multiple_of(8) {
            widest + (n / 8 % 8) as u8
        } else {
            longest
        }
    };
    (0..MILLION)
        .map(|n| {
            IpNet::new(make(u64::from(n)), length(n))
                .expect("a length that fits")
                .trunc()
        })
        .collect()
}

fn networks(c: &mut Criterion) {
    let lists = [
        ("v4", nets(v4, 20, 32), v4 as fn(u64) -> IpAddr),
        ("v6", nets(v6, 40, 64), v6),
    ];
    for (family, nets, make) in &lists {
        let text: Vec<String> = nets.iter().map(ToString::to_string).collect();
        let mut group = c.benchmark_group(format!("million {family} networks"));
        group.sample_size(10);
        group.bench_function("load from text", |b| {
            b.iter(|| {
                let mut builder = Networks::builder();
                text.iter()
                    .for_each(|line| builder.add(line).expect("a network"));
                builder.build().ranges()
            });
        });
        group.bench_function("prefix-trie: load from text", |b| {
            b.iter(|| {
                let mut set = PrefixSet::new();
                let mut set6 = PrefixSet::new();
                for line in &text {
                    match line.parse().expect("a network") {
                        IpNet::V4(net) => drop(set.insert(net)),
                        IpNet::V6(net) => drop(set6.insert(net)),
                    }
                }
                set.len() + set6.len()
            });
        });
        group.sample_size(50);
        let set = Networks::of(nets);
        let mut n = 0u64;
        group.bench_function("look up, missing", |b| {
            b.iter(|| {
                n += 1;
                set.contains(black_box(make(n << 20)))
            });
        });
        group.bench_function("look up, there", |b| {
            b.iter(|| {
                n += 1;
                set.contains(black_box(nets[random(n) as usize % nets.len()].addr()))
            });
        });
        let trie4: PrefixSet<Ipv4Net> = nets
            .iter()
            .filter_map(|n| if let IpNet::V4(n) = n { Some(*n) } else { None })
            .collect();
        let trie6: PrefixSet<Ipv6Net> = nets
            .iter()
            .filter_map(|n| if let IpNet::V6(n) = n { Some(*n) } else { None })
            .collect();
        group.bench_function("prefix-trie: look up, missing", |b| {
            b.iter(|| {
                n += 1;
                match black_box(make(n << 20)) {
                    IpAddr::V4(ip) => trie4.get_lpm(&ip.into()).is_some(),
                    IpAddr::V6(ip) => trie6.get_lpm(&ip.into()).is_some(),
                }
            });
        });
        group.finish();
    }
}

/// Every question of one message with one recipient: what a kept connection asks, and a new one.
fn messages(c: &mut Criterion) {
    let mut group = c.benchmark_group("all questions of a message");
    for (name, toml) in [
        ("default policy", ""),
        ("with lists and header rules", RICH),
    ] {
        let mut judge = Judge::new(toml);
        let one = v4(1);
        group.bench_function(format!("{name}: kept connection"), |b| {
            b.iter(|| judge.ask(one, KEPT));
        });
        let mut n = 0;
        group.bench_function(format!("{name}: one a connection, new addresses"), |b| {
            b.iter(|| {
                n += 1;
                judge.ask(v4(n), ALL);
            });
        });
    }
    let mut asked = Asked::new(IpAddr::from([192, 0, 2, 7]));
    group.bench_function("20 rules, 5 lists, SPF and reverse DNS, all known", |b| {
        b.iter(|| asked.judge());
    });
    group.bench_function("the same, with what is asked about the envelope", |b| {
        b.iter(|| asked.envelope());
    });
    group.finish();
}

fn building(c: &mut Criterion) {
    c.bench_function("build the default policy", |b| {
        let config = config::Policy::default();
        b.iter_batched(
            || (),
            |()| Policy::build(&config, "mx").is_ok(),
            BatchSize::SmallInput,
        );
    });
}

criterion_group!(benches, networks, messages, building);
criterion_main!(benches);

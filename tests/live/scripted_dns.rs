//! A DNS server that says what a test wants, when it wants, and remembers what it was asked.

use crate::harness::home;
use std::{
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

/// Types of records (RFC 1035 section 3.2.2, RFC 2782).
pub const A: u16 = 1;
pub const TXT: u16 = 16;
pub const SRV: u16 = 33;

/// What is said to one question.
#[derive(Clone)]
pub struct Said {
    code: u8,
    /// Each as its data.
    records: Vec<Vec<u8>>,
    ttl: u32,
    after: Duration,
}

impl Said {
    /// There is no such name.
    pub fn no_name() -> Said {
        Said {
            code: 3,
            ..Said::nothing()
        }
    }

    /// The name has no such record.
    pub fn nothing() -> Said {
        Said {
            code: 0,
            records: Vec::new(),
            ttl: 3600,
            after: Duration::ZERO,
        }
    }

    pub fn a(addresses: &[Ipv4Addr]) -> Said {
        let records = addresses.iter().map(|address| address.octets().to_vec());
        Said {
            records: records.collect(),
            ..Said::nothing()
        }
    }

    pub fn txt(text: &str) -> Said {
        let mut data = vec![u8::try_from(text.len()).expect("one string")];
        data.extend_from_slice(text.as_bytes());
        Said {
            records: vec![data],
            ..Said::nothing()
        }
    }

    /// Priority, weight, port and target of each.
    pub fn srv(targets: &[(u16, u16, u16, &str)]) -> Said {
        let data = |(priority, weight, port, target): &(u16, u16, u16, &str)| {
            let mut data = Vec::new();
            for number in [priority, weight, port] {
                data.extend(number.to_be_bytes());
            }
            for label in target.split('.').filter(|label| !label.is_empty()) {
                data.push(u8::try_from(label.len()).expect("a label"));
                data.extend_from_slice(label.as_bytes());
            }
            data.push(0);
            data
        };
        Said {
            records: targets.iter().map(data).collect(),
            ..Said::nothing()
        }
    }

    /// It holds so many seconds.
    pub fn for_seconds(self, ttl: u32) -> Said {
        Said { ttl, ..self }
    }

    /// It comes late.
    pub fn after(self, after: Duration) -> Said {
        Said { after, ..self }
    }

    fn message(&self, question: &[u8], end: usize, record_type: u16) -> Vec<u8> {
        let mut out = Vec::from(&question[..2]);
        let count = u8::try_from(self.records.len()).expect("few");
        out.extend([0x81, 0x80 | self.code, 0, 1, 0, count, 0, 0, 0, 0]);
        out.extend(&question[12..end]);
        for data in &self.records {
            out.extend([0xc0, 12]);
            out.extend(record_type.to_be_bytes());
            out.extend([0, 1]);
            out.extend(self.ttl.to_be_bytes());
            out.extend(u16::try_from(data.len()).expect("short").to_be_bytes());
            out.extend(data);
        }
        out
    }
}

/// The server, over UDP alone. It ends with the test's process.
pub struct ScriptedDns {
    pub address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl ScriptedDns {
    /// `answer` gets the name in lower case and the type; `None`: nothing is said.
    pub fn start(answer: impl Fn(&str, u16) -> Option<Said> + Send + 'static) -> ScriptedDns {
        let socket = UdpSocket::bind((home(), 0)).expect("bound");
        let address = socket.local_addr().expect("bound");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&asked);
        thread::spawn(move || {
            let mut room = [0; 512];
            while let Ok((length, peer)) = socket.recv_from(&mut room) {
                let question = room[..length].to_vec();
                let (name, record_type, end) = read(&question);
                let said = answer(&name, record_type);
                heard
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(name);
                let Some(said) = said else { continue };
                let message = said.message(&question, end, record_type);
                if said.after.is_zero() {
                    let _ = socket.send_to(&message, peer);
                    continue;
                }
                let socket = socket.try_clone().expect("a descriptor is free");
                thread::spawn(move || {
                    thread::sleep(said.after);
                    let _ = socket.send_to(&message, peer);
                });
            }
        });
        ScriptedDns { address, asked }
    }

    /// `[dns]` for this one, with more keys.
    pub fn config(&self, more: &str) -> String {
        format!("[dns]\nservers = [\"{}\"]\n{more}\n", self.address)
    }

    /// Whether it was asked about a name that has this in it.
    pub fn was_asked(&self, part: &str) -> bool {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.iter().any(|name| name.contains(part))
    }
}

/// The name of a question, its type, and where it ends.
fn read(question: &[u8]) -> (String, u16, usize) {
    let (mut name, mut at) = (String::new(), 12);
    while question[at] != 0 {
        let length = usize::from(question[at]);
        if !name.is_empty() {
            name.push('.');
        }
        name.push_str(&String::from_utf8_lossy(&question[at + 1..=at + length]));
        at += length + 1;
    }
    name.make_ascii_lowercase();
    let record_type = u16::from_be_bytes([question[at + 1], question[at + 2]]);
    (name, record_type, at + 5)
}

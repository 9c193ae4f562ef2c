//! A server that answers what a policy asks of the DNS, on a thread of this process: one that costs the peers nothing.
//!
//! It knows `from.example`, the domain of the senders, with SPF and a mail exchanger; a name for each address; and the
//! lists below `list.example`, which have their test entry (RFC 5782 section 5) and nothing else. All of it holds for an hour, so that
//! what is measured is a policy whose answers are remembered.

use hickory_proto::{
    op::{Message, ResponseCode},
    rr::{
        Name, RData, Record, RecordType,
        rdata::{A, MX, PTR, SOA, TXT},
    },
};
use std::{
    io,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

/// Seconds that an answer holds.
const TTL: u32 = 3600;
/// How often the thread looks whether it is to end.
const LOOK: Duration = Duration::from_millis(100);

/// The server. Dropped, it ends.
#[derive(Debug)]
pub struct Names {
    address: SocketAddr,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Names {
    /// Starts it on a free port of the loopback.
    ///
    /// # Errors
    /// There is no port.
    pub fn start() -> io::Result<Names> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.set_read_timeout(Some(LOOK))?;
        let address = socket.local_addr()?;
        let ends = Arc::new(AtomicBool::new(false));
        let thread = thread::spawn({
            let ends = Arc::clone(&ends);
            move || serve(&socket, &ends)
        });
        Ok(Names {
            address,
            ends,
            thread: Some(thread),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(socket: &UdpSocket, ends: &AtomicBool) {
    let mut room = [0; 1500];
    while !ends.load(Ordering::Relaxed) {
        let Ok((length, from)) = socket.recv_from(&mut room) else {
            continue;
        };
        if let Some(answer) = answer(&room[..length]) {
            let _ = socket.send_to(&answer, from);
        }
    }
}

fn answer(question: &[u8]) -> Option<Vec<u8>> {
    let mut message = Message::from_vec(question).ok()?.into_response();
    let query = message.queries.first()?.clone();
    message.metadata.recursion_available = true;
    let (name, kind) = (query.name().clone(), query.query_type());
    match known(&name.to_lowercase().to_ascii(), kind) {
        Some(data) => {
            message.add_answer(Record::from_rdata(name, TTL, data));
        }
        None => {
            message.metadata.response_code = ResponseCode::NXDomain;
            // What says how long that holds (RFC 2308 section 5).
            let root = Name::root();
            let soa = SOA::new(root.clone(), root.clone(), 1, 3600, 600, 86_400, TTL);
            let soa = Record::from_rdata(root, TTL, RData::SOA(soa));
            message.authorities.push(soa);
        }
    }
    message.to_vec().ok()
}

/// The record of this name (in lower case, with its last dot), if there is one.
fn known(name: &str, kind: RecordType) -> Option<RData> {
    let host = |name: &str| Name::from_ascii(name).ok();
    match (name, kind) {
        ("from.example.", RecordType::TXT) => {
            let spf = "v=spf1 ip4:127.0.0.0/8 ip6:::1 -all";
            Some(RData::TXT(TXT::new(vec![spf.into()])))
        }
        ("from.example.", RecordType::MX) => {
            Some(RData::MX(MX::new(10, host("mx.from.example.")?)))
        }
        ("mx.from.example." | "client.from.example.", RecordType::A) => {
            Some(RData::A(A(Ipv4Addr::LOCALHOST)))
        }
        (_, RecordType::PTR) => Some(RData::PTR(PTR(host("client.from.example.")?))),
        (_, RecordType::A)
            if name.starts_with("2.0.0.127.") && name.ends_with(".list.example.") =>
        {
            Some(RData::A(A::new(127, 0, 0, 2)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::op::Query;

    #[test]
    fn it_knows_the_senders_and_has_test_entries_alone_in_its_lists() {
        let names = Names::start().expect("a port");
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let ask = |name: &str, kind| {
            let mut question = Message::query();
            question.add_query(Query::query(Name::from_ascii(name).expect("a name"), kind));
            let octets = question.to_vec().expect("a message");
            socket.send_to(&octets, names.address()).expect("sent");
            let mut room = [0; 1500];
            let (length, _) = socket.recv_from(&mut room).expect("an answer");
            let answer = Message::from_vec(&room[..length]).expect("a message");
            (answer.metadata.response_code, answer.answers.len())
        };
        assert_eq!(
            ask("From.Example.", RecordType::TXT),
            (ResponseCode::NoError, 1)
        );
        assert_eq!(
            ask("2.0.0.127.a.list.example.", RecordType::A),
            (ResponseCode::NoError, 1)
        );
        assert_eq!(
            ask("1.0.0.127.a.list.example.", RecordType::A),
            (ResponseCode::NXDomain, 0)
        );
    }
}

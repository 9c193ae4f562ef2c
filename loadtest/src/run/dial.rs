//! A connection from nothing to ready: connect, PROXY header, TLS, greeting, EHLO (with STARTTLS: TLS, and EHLO again),
//! AUTH.

use super::{
    auth,
    link::{Link, LinkError},
    plan::Plan,
    record::{Fault, Recorder, Step, words},
};
use crate::tls::Mode;
use gatepost::{
    net::{self, Stream},
    proxy_protocol,
    smtp::{BackendSession, Event},
};
use ipnet::IpNet;
use std::{
    cell::RefCell,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

/// Where a connection goes, and as whose.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// The target.
    pub target: SocketAddr,
    /// Its place among the targets.
    pub place: usize,
    /// How many connections were made before: source addresses are gone through in turns.
    pub count: u32,
}

/// Why there is no connection.
#[derive(Debug)]
pub enum NoLink {
    /// Nothing is there, or nothing answers: what the kernel said.
    Unreachable(std::io::Error),
    /// It answered, and not as a server should, or closed.
    Unwilling,
}

/// Opens a connection up to ready, and notes what it took.
///
/// # Errors
/// It has been noted already.
pub async fn dial(plan: &Plan, call: Call, notes: &RefCell<Recorder>) -> Result<Link, NoLink> {
    let begun = net::now();
    let due = begun.after(plan.timeout);
    let source = plan.source.map(|network| pick(network, call.count));
    let stream = match Stream::connect_from(source, call.target, due).await {
        Ok(stream) => stream,
        Err(error) => {
            let fault = Fault::Words(words(&error));
            notes.borrow_mut().error(Step::Connect, fault);
            return Err(NoLink::Unreachable(error));
        }
    };
    let at = net::now();
    {
        let mut notes = notes.borrow_mut();
        notes.step(Step::Connect, at.micros_since(begun));
        notes.totals().connections += 1;
    }
    let session = BackendSession::new(Arc::clone(&plan.session));
    let mut link = Link::new(stream, session, plan.timeout, at);
    if let Some((version, network)) = plan.proxy {
        let port = 1024 + (call.count % 60_000) as u16;
        let client = SocketAddr::new(pick(network, call.count), port);
        let ends = Some((client, call.target));
        proxy_protocol::write(version.into(), ends, &mut link.out);
    }
    match ready(&mut link, plan, call, notes).await {
        Ok(()) => Ok(link),
        Err((step, failure)) => {
            notes.borrow_mut().error(step, failure.fault());
            Err(NoLink::Unwilling)
        }
    }
}

type Stuck = (Step, LinkError);

async fn ready(
    link: &mut Link,
    plan: &Plan,
    call: Call,
    notes: &RefCell<Recorder>,
) -> Result<(), Stuck> {
    // What is sent before the greeting is not its answer.
    link.flush()
        .await
        .map_err(|failure| (Step::Greeting, failure))?;
    let mode = plan.tls.as_ref().map_or(Mode::None, |tls| tls.mode);
    if mode == Mode::Implicit {
        secure(link, plan, call, notes).await?;
    }
    hello(link, Step::Greeting, notes).await?;
    if mode == Mode::StartTls {
        let asked = link.ask_for_tls().await;
        asked.map_err(|failure| (Step::StartTls, failure))?;
        secure(link, plan, call, notes).await?;
        link.greet_anew(BackendSession::new(Arc::clone(&plan.session)));
        hello(link, Step::Hello, notes).await?;
    }
    match plan.auth.as_ref().filter(|auth| auth.is_due(call.count)) {
        Some(auth) => {
            let done = auth::authenticate(link, auth, notes).await;
            done.map_err(|failure| (Step::Auth, failure))
        }
        None => Ok(()),
    }
}

/// Shakes hands, and notes what that took.
async fn secure(
    link: &mut Link,
    plan: &Plan,
    call: Call,
    notes: &RefCell<Recorder>,
) -> Result<(), Stuck> {
    let Some(tls) = &plan.tls else {
        return Ok(());
    };
    let shaken = link
        .shake_hands(tls.connector(call.place, call.count))
        .await;
    let (resumed, micros) = shaken.map_err(|failure| (Step::Tls, failure))?;
    let step = if resumed { Step::TlsResumed } else { Step::Tls };
    let mut notes = notes.borrow_mut();
    notes.step(step, micros);
    let totals = notes.totals();
    totals.handshakes += 1;
    totals.resumed += u64::from(resumed);
    Ok(())
}

/// From the greeting, or from EHLO, to ready.
async fn hello(link: &mut Link, from: Step, notes: &RefCell<Recorder>) -> Result<(), Stuck> {
    let mut step = from;
    loop {
        match link.step() {
            Event::Ready => {
                notes.borrow_mut().step(Step::Hello, link.waited());
                return Ok(());
            }
            Event::Failed(error) => return Err((step, LinkError::Backend(error))),
            _ => {}
        }
        if step == Step::Greeting && !link.out.is_empty() {
            notes.borrow_mut().step(step, link.waited());
            step = Step::Hello;
        }
        link.turn().await.map_err(|failure| (step, failure))?;
    }
}

/// An address of a network, in turns, without its first and last where it has others.
fn pick(network: IpNet, count: u32) -> IpAddr {
    let host_bits = u32::from(network.max_prefix_len() - network.prefix_len()).min(31);
    let size = 1u32 << host_bits;
    let at = if size > 2 {
        1 + count % (size - 2)
    } else {
        count % size
    };
    match network.network() {
        IpAddr::V4(first) => IpAddr::V4((u32::from(first) | at).into()),
        IpAddr::V6(first) => IpAddr::V6((u128::from(first) | u128::from(at)).into()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn addresses_go_round_in_their_network() {
        let network: IpNet = "127.1.0.0/30".parse().unwrap();
        let picked: Vec<String> = (0..3).map(|n| pick(network, n).to_string()).collect();
        assert_eq!(picked, ["127.1.0.1", "127.1.0.2", "127.1.0.1"]);
        let one: IpNet = "127.1.0.9/32".parse().unwrap();
        assert_eq!(pick(one, 77).to_string(), "127.1.0.9");
        let six: IpNet = "2001:db8::/32".parse().unwrap();
        assert!(six.contains(&pick(six, u32::MAX)));
    }
}

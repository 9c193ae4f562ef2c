//! One connection: reads, lets the session step, throws the dice, waits where it was told to, writes.

use super::{
    counters::Counters,
    plan::{Fate, Plan},
    point::{Cut, Fault, Point},
    session::{Ask, Context, Do, Session},
    shared::Shared,
    tallies::Seen,
    verify::Finding,
    worker::Worker,
};
use fastrand::Rng;
use gatepost::{
    net::{Chunk, Stream, now, sleep, sleep_until},
    smtp::{Reply, Status, Tick, replies},
};
use std::{rc::Rc, sync::Arc, time::Duration};

/// How long a client may be silent.
const PATIENCE: Duration = Duration::from_secs(300);
/// How long a refused client may take to read its reply, and how much it may still send.
const FAREWELL: (Duration, u64) = (Duration::from_secs(1), 64 * 1024);
/// A line that is no reply.
const GARBLED: &[u8] = b"?garbled\r\n";

const UNKNOWN: Reply = Reply::fixed(550, Status(5, 1, 1), "No such user here");
const FULL: Reply = Reply::fixed(421, Status(4, 3, 2), "Too many connections");

/// Why a connection ends: nothing more is to be said.
struct Over;

struct Connection {
    worker: Rc<Worker>,
    stream: Stream,
    session: Session,
    out: Vec<u8>,
    input: Input,
    version: u64,
    plan: Arc<Plan>,
    dice: Rng,
    now: Tick,
}

/// What was received and not yet used. The engine's buffer is given back before a wait.
#[derive(Default)]
struct Input {
    chunk: Option<Chunk>,
    copy: Vec<u8>,
    at: usize,
}

impl Input {
    fn rest(&self) -> &[u8] {
        let whole = self.chunk.as_deref().unwrap_or(&self.copy);
        &whole[self.at..]
    }

    fn set(&mut self, chunk: Option<Chunk>) {
        self.chunk = chunk;
        self.copy.clear();
        self.at = 0;
    }

    fn give_back(&mut self) {
        if let Some(chunk) = self.chunk.take() {
            self.copy.clear();
            self.copy.extend_from_slice(&chunk[self.at..]);
            self.at = 0;
        }
    }
}

/// Serves a connection to its end.
pub(super) async fn serve(worker: Rc<Worker>, stream: Stream) {
    let (number, open) = worker.shared.enter();
    worker.counters().connections.one();
    let leave = Leave(Rc::clone(&worker));
    let (version, plan) = worker.plan();
    let mut connection = Connection {
        // Neighbouring numbers would make neighbouring dice; the multiplier is that of splitmix64.
        dice: Rng::with_seed(worker.shared.seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
        worker,
        stream,
        session: Session::new(),
        out: Vec::new(),
        input: Input::default(),
        version,
        plan,
        now: now(),
    };
    if connection.begin(open).await.is_ok() {
        // However it ended, there is no client left to be told.
        let _ = connection.converse().await;
    }
    drop(leave);
}

/// Counts the connection out, also where the task panics or is dropped.
struct Leave(Rc<Worker>);

impl Drop for Leave {
    fn drop(&mut self) {
        self.0.shared.leave();
    }
}

impl Connection {
    fn shared(&self) -> &Shared {
        &self.worker.shared
    }

    fn counters(&self) -> &Counters {
        self.worker.counters()
    }

    async fn begin(&mut self, open: u64) -> Result<(), Over> {
        if self.plan.fixed.tls.as_ref().is_some_and(|tls| tls.implicit) {
            self.shake_hands().await?;
        }
        self.greet(open).await
    }

    /// The handshake of TLS, or what was asked for in its place.
    async fn shake_hands(&mut self) -> Result<(), Over> {
        self.flush().await?;
        self.pause(Point::Handshake).await?;
        let plan = Arc::clone(&self.plan);
        let Some(tls) = &plan.fixed.tls else {
            return Err(Over);
        };
        self.stream.set_deadline(self.now.after(PATIENCE));
        let fate = plan.fate(Point::Handshake, &mut self.dice);
        if matches!(fate, Fate::Garble | Fate::Refuse(_)) {
            // After the client's first words: ahead of them it would stand after our last ones in the clear.
            self.stream.recv().await.ok().flatten().ok_or(Over)?;
        }
        match fate {
            Fate::Accept => {}
            Fate::Garble => {
                self.garble(Point::Handshake);
                return self.part().await;
            }
            Fate::Drop(cut) => return self.hang_up(cut).await,
            Fate::Refuse(reply) => {
                self.session.say(reply, &mut self.out);
                self.counters().refused[Point::Handshake as usize].one();
                return self.part().await;
            }
        }
        if self.stream.accept_tls(&tls.acceptor).await.is_err() {
            self.counters().handshakes_failed.one();
            return Err(Over);
        }
        self.counters().handshakes.one();
        if self.stream.tls().is_some_and(|facts| facts.resumed) {
            self.counters().handshakes_resumed.one();
        }
        self.session.secured();
        self.now = now();
        Ok(())
    }

    async fn greet(&mut self, open: u64) -> Result<(), Over> {
        let max = self.plan.connections_max;
        if max > 0 && open > max {
            self.counters().refused[Point::Connect as usize].one();
            self.session.say(&FULL, &mut self.out);
            return self.part().await;
        }
        self.pause(Point::Connect).await?;
        match self.plan.fate(Point::Connect, &mut self.dice) {
            Fate::Accept => self.out.extend_from_slice(&self.plan.greeting),
            Fate::Garble => self.garble(Point::Connect),
            Fate::Drop(cut) => return self.hang_up(cut).await,
            Fate::Refuse(reply) => {
                self.session.say(reply, &mut self.out);
                self.counters().refused[Point::Connect as usize].one();
                return self.part().await;
            }
        }
        Ok(())
    }

    async fn converse(&mut self) -> Result<(), Over> {
        loop {
            self.receive().await?;
            loop {
                let (taken, next) = {
                    let (context, session, out) = split(self);
                    session.0.step(&context, session.1, out)
                };
                self.input.at += taken;
                match next {
                    Do::Read => break,
                    Do::Ask(ask) => self.decide(ask).await?,
                    Do::StartTls => {
                        // Said in the clear after STARTTLS: it may be an attacker's and must not be used (CVE-2011-0411).
                        if !self.input.rest().is_empty() {
                            self.counters().faults[Fault::Injection as usize].one();
                        }
                        self.input.set(None);
                        self.shake_hands().await?;
                        break;
                    }
                    Do::Middle if self.plan.cuts(Cut::Middle, &mut self.dice) => {
                        return self.hang_up(Cut::Middle).await;
                    }
                    Do::Middle => {}
                    Do::End => self.end().await?,
                    Do::Close if self.session.has_quit() => return self.flush().await,
                    Do::Close => return self.part().await,
                }
            }
        }
    }

    /// Sends what was written and reads on.
    async fn receive(&mut self) -> Result<(), Over> {
        self.flush().await?;
        self.stream.set_deadline(self.now.after(PATIENCE));
        self.input.set(None); // given back before more is asked for
        let chunk = self.stream.recv().await;
        let chunk = chunk.ok().flatten().ok_or(Over)?;
        let octets = chunk.len() as u64;
        self.input.set(Some(chunk));
        self.now = now();
        if self.worker.shared.version() != self.version {
            (self.version, self.plan) = self.worker.plan();
        }
        if let Some(micros) = (octets * 1_000_000).checked_div(self.plan.read_rate) {
            self.input.give_back();
            sleep(Duration::from_micros(micros)).await;
            self.now = now();
        }
        self.stand_still().await;
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), Over> {
        if self.out.is_empty() {
            return Ok(());
        }
        self.stand_still().await;
        let (sent, out) = self.stream.send(std::mem::take(&mut self.out)).await;
        self.out = out;
        sent.map_err(|_| Over)
    }

    /// Waits while the sink is stalled.
    async fn stand_still(&mut self) {
        while let Some(until) = self.worker.stalled_until(self.now, &self.plan) {
            self.input.give_back();
            sleep_until(until).await;
            self.now = now();
        }
    }

    /// Waits where a delay was asked for, with everything sent that was said before.
    async fn pause(&mut self, point: Point) -> Result<(), Over> {
        if let Some(wait) = self.plan.delay(point) {
            self.flush().await?;
            self.input.give_back();
            sleep(wait).await;
            self.now = now();
        }
        Ok(())
    }

    /// A last reply, so that it arrives.
    async fn part(&mut self) -> Result<(), Over> {
        self.flush().await?;
        self.stream.finish();
        let (wait, mut left) = FAREWELL;
        self.stream.set_deadline(now().after(wait));
        while let Ok(Some(chunk)) = self.stream.recv().await {
            left = left.checked_sub(chunk.len() as u64).ok_or(Over)?;
        }
        Err(Over)
    }

    /// Hangs up on purpose: what was said before this point is still sent.
    async fn hang_up(&mut self, cut: Cut) -> Result<(), Over> {
        self.counters().dropped[cut as usize].one();
        self.flush().await?;
        Err(Over)
    }

    fn garble(&mut self, point: Point) {
        self.counters().garbled[point as usize].one();
        self.out.extend_from_slice(GARBLED);
    }

    /// Answers a question of the session.
    async fn decide(&mut self, ask: Ask) -> Result<(), Over> {
        let point = ask.point();
        self.pause(point).await?;
        if let Some(reply) = self.limit(ask) {
            self.refuse(point, &reply);
            return Ok(());
        }
        match self.plan.fate(point, &mut self.dice) {
            Fate::Accept => {
                let (context, session, out) = split(self);
                session.0.accept(&context, out);
            }
            Fate::Refuse(reply) => {
                let reply = reply.clone();
                self.refuse(point, &reply);
            }
            Fate::Garble => {
                let (context, session, _) = split(self);
                session.0.accept(&context, &mut Vec::new());
                self.garble(point);
            }
            Fate::Drop(cut) => return self.hang_up(cut).await,
        }
        Ok(())
    }

    fn refuse(&mut self, point: Point, reply: &Reply) {
        self.counters().refused[point as usize].one();
        self.session.refuse(reply, &mut self.out);
    }

    /// What stands against a recipient without any dice.
    fn limit(&self, ask: Ask) -> Option<Reply> {
        if ask != Ask::Rcpt {
            return None;
        }
        let envelope = self.session.envelope();
        let recipients = envelope.recipients();
        let max = self.plan.recipients_max;
        if max > 0 && recipients.len() as u64 > max {
            return Some(replies::TOO_MANY_RECIPIENTS.reply());
        }
        let unknown = self.plan.unknown.as_ref()?;
        let path = envelope.path(recipients.last()?.path);
        unknown.is_match(path.whole).then_some(UNKNOWN)
    }

    /// A message is complete.
    async fn end(&mut self) -> Result<(), Over> {
        let recipients = self.session.envelope().recipients().len() as u64;
        let begun = self.session.begun();
        let (context, session, _) = split(self);
        let Some(received) = session.0.received(&context) else {
            self.session.done();
            return Ok(());
        };
        if self.plan.cuts(Cut::Commit, &mut self.dice) {
            return self.hang_up(Cut::Commit).await;
        }
        self.pause(Point::Body).await?;
        let said_before = self.out.len();
        let replies = self.session.replies(&self.plan);
        let mut accepted = 0;
        for _ in 0..replies {
            accepted += u64::from(self.reply_to_message());
        }
        if accepted > 0 {
            let recipients = if self.plan.fixed.lmtp {
                accepted
            } else {
                recipients
            };
            self.enter(&received.finding, recipients);
            self.counters()
                .message(self.now, begun, received.octets, recipients);
            if received.draft.is_some_and(super::save::Draft::keep) {
                self.counters().saved.one();
            }
            // Taken and in the tallies: only now may the reply be lost.
            if self.plan.cuts(Cut::Reply, &mut self.dice) {
                self.out.truncate(said_before);
                return self.hang_up(Cut::Reply).await;
            }
        }
        self.session.done();
        Ok(())
    }

    /// Writes one reply to a message; true where it is taken (or the reply does not say).
    fn reply_to_message(&mut self) -> bool {
        match self.plan.fate(Point::Body, &mut self.dice) {
            Fate::Refuse(reply) => {
                self.session.say(reply, &mut self.out);
                let closes = reply.code == 421;
                self.counters().refused[Point::Body as usize].one();
                if closes {
                    self.session.close();
                }
                false
            }
            Fate::Garble => {
                self.garble(Point::Body);
                true
            }
            Fate::Accept | Fate::Drop(_) => {
                self.session.say(&replies::OK.reply(), &mut self.out);
                true
            }
        }
    }

    /// Enters a message into the tallies.
    fn enter(&self, finding: &Finding, recipients: u64) {
        let counters = self.counters();
        let (stamp, damaged) = match finding {
            Finding::Unstamped => return counters.unstamped.one(),
            Finding::Sound(stamp) => (stamp, false),
            Finding::Damaged(stamp) => (stamp, true),
        };
        let seen = self.shared().tallies().enter(stamp, recipients, damaged);
        match seen {
            Seen::First => {}
            Seen::Again => counters.duplicates.one(),
            Seen::Foreign => return counters.unstamped.one(),
        }
        if damaged {
            counters.damaged.one();
        }
    }
}

/// The parts that a step of the session needs at once.
fn split(connection: &mut Connection) -> (Context<'_>, (&mut Session, &[u8]), &mut Vec<u8>) {
    let context = Context {
        plan: &connection.plan,
        counters: connection.worker.counters(),
        saver: connection.worker.shared.saver.as_ref(),
        now: connection.now,
    };
    let session = (&mut connection.session, connection.input.rest());
    (context, session, &mut connection.out)
}

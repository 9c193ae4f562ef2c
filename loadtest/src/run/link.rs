//! One connection: the stream, the protocol machine, and what is on its way between them.
//!
//! The clock is read once a receive; what is sent next is sent at that moment.

use super::{
    record::{Fault, words},
    secure,
};
use gatepost::{
    net::{self, Chunk, Stream},
    smtp::{
        BackendError, BackendSession, Event, Extensions, ReplyLimits, Tick,
        reply_parse::{Progress, ReplyHead, ReplyReader},
    },
    tls::Connector,
};
use std::{cell::Cell, io, mem, rc::Rc, time::Duration};

/// A connection keeps at most this much of the memory that a large message took.
const SPARE_MAX: usize = 256 * 1024;
/// Sends above this take so long that the clock is read again.
const LONG: usize = 64 * 1024;
/// How long a server may take to answer QUIT.
const GOODBYE: Duration = Duration::from_secs(5);
/// How often a connection that trickles sends something.
const TRICKLE: Duration = Duration::from_millis(100);

/// Why a connection is of no more use.
#[derive(Debug)]
pub enum LinkError {
    /// The other end closed it.
    Lost,
    /// What the kernel said; a deadline, too.
    Io(io::Error),
    /// What the server said, or that it made no sense.
    Backend(BackendError),
    /// A reply of refusal to what the protocol machine has no part in.
    Refused(ReplyHead),
    /// STARTTLS or AUTH is wanted, and not offered.
    NotOffered,
    /// A TLS handshake failed.
    Handshake(io::Error),
    /// An idle connection was told 421.
    Closing,
    /// The run is over, and what trickles is not waited for.
    Cut,
}

impl LinkError {
    /// For the list of errors.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            LinkError::Lost => Fault::Words("connection lost"),
            LinkError::Io(error) => Fault::Words(words(error)),
            LinkError::Backend(error) => match error.head() {
                Some(head) if !head.is_positive() => Fault::Reply(head),
                _ => Fault::Words(error.as_str()),
            },
            LinkError::NotOffered => Fault::Words("not offered"),
            LinkError::Refused(head) => Fault::Reply(*head),
            LinkError::Handshake(error) => Fault::Words(secure::words(error)),
            LinkError::Closing => Fault::Words("421: closed by the server"),
            LinkError::Cut => Fault::Words("cut at the end of the run"),
        }
    }
}

/// How fast a connection sends that trickles.
#[derive(Clone, Debug)]
pub struct Pace {
    /// Octets a second.
    pub octets: u64,
    /// Set when the run is over.
    pub over: Rc<Cell<bool>>,
}

/// A connection.
#[derive(Debug)]
pub struct Link {
    stream: Stream,
    /// The protocol.
    pub session: BackendSession,
    /// What is to be sent.
    pub out: Vec<u8>,
    unread: Option<Chunk>,
    used: usize,
    /// When something was received last, or the work began.
    pub at: Tick,
    /// When something was sent last.
    written: Tick,
    timeout: Duration,
    /// Messages that it has carried.
    pub carried: u32,
    /// Where it trickles.
    pub pace: Option<Pace>,
}

impl Link {
    /// A connection that stands, at this moment.
    #[must_use]
    pub fn new(stream: Stream, session: BackendSession, timeout: Duration, at: Tick) -> Link {
        Link {
            stream,
            session,
            out: Vec::new(),
            unread: None,
            used: 0,
            at,
            written: at,
            timeout,
            carried: 0,
            pace: None,
        }
    }

    /// Microseconds from what was sent to what was received last.
    #[must_use]
    pub fn waited(&self) -> u64 {
        self.at.micros_since(self.written)
    }

    /// Has it waited so long that it may have been closed, and has it been?
    #[must_use]
    pub fn is_stale(&self, now: Tick) -> bool {
        const FRESH: Duration = Duration::from_secs(1);
        now.since(self.at) > FRESH && !self.stream.is_quiet()
    }

    /// One step of the protocol with what was received.
    pub fn step(&mut self) -> Event {
        let input = self.unread.as_deref().unwrap_or_default();
        let step = self.session.step(&input[self.used..], &mut self.out);
        self.used += step.consumed;
        if self
            .unread
            .as_ref()
            .is_some_and(|chunk| self.used >= chunk.len())
        {
            self.unread = None;
            self.used = 0;
        }
        step.event
    }

    /// The next event that is not `Read`; sends and receives as it must.
    ///
    /// # Errors
    /// The connection is of no more use.
    pub async fn next(&mut self) -> Result<Event, LinkError> {
        loop {
            match self.step() {
                Event::Read => self.turn().await?,
                Event::Failed(error) => return Err(LinkError::Backend(error)),
                event => return Ok(event),
            }
        }
    }

    /// Sends what is to be sent, and receives something.
    ///
    /// # Errors
    /// The connection is of no more use.
    pub async fn turn(&mut self) -> Result<(), LinkError> {
        // What could not be sent may have been answered all the same.
        let sent = self.flush().await;
        if let Err(LinkError::Cut) = sent {
            return sent;
        }
        self.stream.set_deadline(self.at.after(self.timeout));
        match self.stream.recv().await {
            Ok(Some(chunk)) => {
                self.unread = Some(chunk);
                self.at = net::now();
                Ok(())
            }
            Ok(None) => Err(sent.err().unwrap_or(LinkError::Lost)),
            Err(error) => Err(LinkError::Io(error)),
        }
    }

    /// Sends what is to be sent.
    ///
    /// # Errors
    /// The connection is of no more use for sending.
    pub async fn flush(&mut self) -> Result<(), LinkError> {
        if self.out.is_empty() {
            return Ok(());
        }
        if let Some(pace) = self.pace.clone() {
            return self.trickle(pace).await;
        }
        self.written = self.at;
        let length = self.out.len();
        if length > LONG {
            self.stream.set_deadline(net::now().after(self.timeout));
        }
        let (sent, out) = self.stream.send(mem::take(&mut self.out)).await;
        self.out = out;
        if length > LONG {
            self.out.shrink_to(SPARE_MAX);
            self.at = net::now();
        }
        sent.map_err(LinkError::Io)
    }

    async fn trickle(&mut self, Pace { octets, over }: Pace) -> Result<(), LinkError> {
        let all = mem::take(&mut self.out);
        let mut due = net::now();
        let piece = (octets / 10).max(1) as usize;
        let wait = TRICKLE.max(Duration::from_secs_f64(piece as f64 / octets as f64));
        for piece in all.chunks(piece) {
            if over.get() {
                return Err(LinkError::Cut);
            }
            let now = net::now();
            self.stream.set_deadline(now.after(self.timeout));
            let (sent, _) = self.stream.send(piece.to_vec()).await;
            sent.map_err(LinkError::Io)?;
            due = due.after(wait);
            net::sleep_until(due).await;
        }
        self.at = net::now();
        self.written = self.at;
        Ok(())
    }

    /// Makes the connection ready for another message, where a refusal has left something behind.
    ///
    /// # Errors
    /// The connection is of no more use.
    pub async fn reset(&mut self) -> Result<(), LinkError> {
        self.session.reset(&mut self.out);
        while self.next().await? != Event::Reset {}
        Ok(())
    }

    /// Asks for TLS; the handshake is next.
    ///
    /// # Errors
    /// It is not offered, or refused; or there are octets after the reply, which would be read as if they had come over
    /// TLS; or the connection is of no more use.
    pub async fn ask_for_tls(&mut self) -> Result<(), LinkError> {
        let offered = self.session.capabilities().extensions;
        if !offered.has(Extensions::STARTTLS) {
            return Err(LinkError::NotOffered);
        }
        let mut replies = ReplyReader::new(ReplyLimits::default());
        match self.ask("STARTTLS\r\n", &mut replies).await? {
            ReplyHead { code: 220, .. } => Ok(()),
            head => Err(LinkError::Refused(head)),
        }
    }

    /// Goes on with a client that knows nothing of what was said in the clear (RFC 3207 §4.2): its next word is EHLO,
    /// as if it had just been greeted.
    pub fn greet_anew(&mut self, session: BackendSession) {
        self.session = session;
        self.session.step(b"220 TLS\r\n", &mut self.out);
    }

    /// Shakes hands, once all that was written is sent; whether a session was resumed, and how long it took in
    /// microseconds.
    ///
    /// # Errors
    /// The connection is of no more use.
    pub async fn shake_hands(&mut self, connector: &Connector) -> Result<(bool, u64), LinkError> {
        self.flush().await?;
        let begun = net::now();
        self.stream.set_deadline(begun.after(self.timeout));
        self.stream
            .connect_tls(connector)
            .await
            .map_err(LinkError::Handshake)?;
        self.at = net::now();
        let resumed = self.stream.tls().is_some_and(|facts| facts.resumed);
        Ok((resumed, self.at.micros_since(begun)))
    }

    /// Sends a line that the protocol machine has no part in, and reads the reply to it.
    ///
    /// # Errors
    /// The connection is of no more use.
    pub async fn ask(
        &mut self,
        line: &str,
        replies: &mut ReplyReader,
    ) -> Result<ReplyHead, LinkError> {
        self.out.extend_from_slice(line.as_bytes());
        loop {
            self.turn().await?;
            let input = self.unread.take().ok_or(LinkError::Lost)?;
            match replies.read(&input) {
                Ok(Progress::More) => {}
                Ok(Progress::Done(used)) if used == input.len() => return Ok(replies.reply().head),
                Ok(Progress::Done(_)) => return Err(LinkError::Backend(BackendError::Unasked)),
                Err(error) => return Err(LinkError::Backend(BackendError::Nonsense(error))),
            }
        }
    }

    /// Waits until the server says or does something, for ever.
    pub async fn rest(&mut self) -> LinkError {
        self.stream.set_deadline(Tick::FAR);
        match self.stream.recv().await {
            Ok(Some(chunk)) => {
                if chunk.starts_with(b"421") {
                    LinkError::Closing
                } else {
                    LinkError::Backend(BackendError::Unasked)
                }
            }
            Ok(None) => LinkError::Lost,
            Err(error) => LinkError::Io(error),
        }
    }

    /// Says goodbye, waits for the answer, and closes.
    pub async fn quit(mut self) {
        self.timeout = self.timeout.min(GOODBYE);
        self.pace = None;
        self.session.quit(&mut self.out);
        while self.next().await.is_ok_and(|event| event != Event::Bye) {}
    }
}

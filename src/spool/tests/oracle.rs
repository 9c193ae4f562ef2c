//! A spool on a simulated disk that fails and crashes, and an oracle that knows what was promised.
//!
//! What holds after each start: every message whose acceptance was told is there, unless its end was told; none is there
//! whose end was told; none that was never sent; what is read of each is what was sent, in the state that was told or in one
//! that was asked for and not told. What a start has shown is promised from then on.

use super::simulator::{Faults, Random, Simulated};
use super::{
    super::{
        body::BodyWriter,
        log::Log,
        message::{Accept, Recipient},
        options::Options,
        payload::{Ending, State},
        reclaim::Progress,
        record::Kind,
        recover,
        refused::Refused,
        report::Report,
        request::Request,
        segment::SEGMENT_MIN,
    },
    course::{Course, Tally},
};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Open,
    /// Asked for and not told.
    Asked,
    Told,
}

#[derive(Debug)]
pub(super) struct Sent {
    pub accept: Accept,
    pub body: Vec<u8>,
    pub promised: bool,
    /// Its acceptance failed, and what was written of it can't count any more.
    pub never: bool,
    pub end: End,
    pub state: Option<State>,
    /// States asked for and not told.
    pub asked: Vec<State>,
    /// All states ever asked for: what rot may bring back.
    pub all: Vec<State>,
}

pub(super) struct Oracle {
    pub random: Random,
    pub course: Course,
    pub sent: BTreeMap<u64, Sent>,
    /// What failed since the last success: it may come to light.
    pub open: BTreeSet<u64>,
    pub now_ms: u64,
    pub tally: Tally,
    /// Starts have told of damage, or of a tail that was dropped after rot.
    pub damaged: bool,
}

pub(super) type Outcome<T> = Result<T, String>;

/// Runs one course.
pub fn run(course: Course) -> Outcome<Tally> {
    let mut oracle = Oracle {
        random: Random::new(course.seed ^ 0x5eed),
        course,
        sent: BTreeMap::new(),
        open: BTreeSet::new(),
        now_ms: 1_700_000_000_000,
        tally: Tally::default(),
        damaged: false,
    };
    let mut disk = Simulated::new(course.seed);
    disk.world().sabotage = course.sabotage;
    for round in 0..4 + oracle.random.below(4) {
        oracle.choose_faults(&disk);
        let Some((mut log, report)) = oracle.start(&mut disk)? else {
            continue;
        };
        oracle.check(&log, &report)?;
        oracle.work(&mut log, &disk)?;
        oracle.tally.retired += log.counters().retired;
        oracle.tally.copied += log.counters().copied;
        let crashed = disk.world().has_crashed();
        oracle.crash(&mut disk, crashed || round % 2 == 0);
        drop(log);
        disk = disk.again();
    }
    oracle.finish(&mut disk)?;
    Ok(oracle.tally)
}

impl Oracle {
    pub(super) fn options(&mut self) -> Options {
        Options {
            segment_octets: SEGMENT_MIN,
            verify_bodies: self.random.once_in(3),
            sabotage_tail: self.course.sabotage_tail,
            ..Options::default()
        }
    }

    fn choose_faults(&mut self, disk: &Simulated) {
        let random = &mut self.random;
        let mut world = disk.world();
        world.capacity = u64::MAX;
        world.faults = Faults::default();
        if self.course.faults {
            match random.below(6) {
                0 => world.faults.sync = 6,
                1 => world.faults.write = 8,
                2 => world.faults.directory = 6,
                3 => world.capacity = 3 * u64::from(SEGMENT_MIN) + random.below(200_000),
                4 => {
                    world.faults.sync = 5;
                    world.faults.directory = 5;
                }
                _ => {}
            }
        }
        if random.below(4) != 0 {
            world.crash_in = Some(1 + random.below(400));
        }
    }

    /// A crash, or (where it need not be one) the end of the process.
    fn crash(&mut self, disk: &mut Simulated, is_crash: bool) {
        let mut world = disk.world();
        match self.random.below(3) {
            0 | 1 if is_crash => world.cut_power(),
            _ => world.kill(),
        }
        self.tally.crashes += 1;
        if self.course.rot && self.random.once_in(3) && world.rot().is_some() {
            self.tally.rotted += 1;
        }
        drop(world);
        *disk = disk.again();
    }

    /// Opens the spool. None where the disk doesn't allow it this time.
    fn start(&mut self, disk: &mut Simulated) -> Outcome<Option<(Log<Simulated>, Report)>> {
        self.compare(disk)?;
        for attempt in 0..6 {
            let options = self.options();
            match recover::open(disk.again(), options, self.now_ms) {
                Ok((log, report)) if !disk.world().has_crashed() => {
                    self.tally.starts += 1;
                    self.damaged |= report.damaged > 0 || report.set_aside > 0;
                    self.damaged |= self.tally.rotted > 0 && report.tail_dropped > 0;
                    return Ok(Some((log, report)));
                }
                _ if disk.world().has_crashed() => {
                    // What it would have told of a tail that went wrong is lost with it.
                    self.damaged |= self.tally.rotted > 0;
                    self.crash(disk, true);
                }
                Err(why) if attempt == 5 => return Err(format!("does not start: {why:?}")),
                _ => {
                    self.damaged |= self.tally.rotted > 0;
                    let mut world = disk.world();
                    world.faults = Faults::default();
                    world.capacity = u64::MAX;
                }
            }
        }
        Ok(None)
    }

    fn work(&mut self, log: &mut Log<Simulated>, disk: &Simulated) -> Outcome<()> {
        for _ in 0..10 + self.random.below(25) {
            if disk.world().has_crashed() {
                return Ok(());
            }
            self.now_ms += 10_000;
            match self.random.below(10) {
                0 => self.file(log),
                1 => {
                    let live = self.live();
                    if let Some(sequence) = live.get(self.random.below(live.len() as u64) as usize)
                    {
                        let excused = self.tally.rotted > 0;
                        self.fetch(log, *sequence, excused)?;
                    }
                }
                2 | 3 => {
                    for _ in 0..self.random.below(6) {
                        log.reclaim(self.now_ms);
                    }
                }
                4 => log.do_chores(self.now_ms),
                _ => {
                    let batch = self.batch(log);
                    self.commit(log, &batch);
                }
            }
            if self.course.faults && self.random.once_in(40) {
                let mut world = disk.world();
                world.faults.read_only = !world.faults.read_only;
            }
        }
        Ok(())
    }

    fn live(&self) -> Vec<u64> {
        let live = self.sent.iter();
        live.filter(|(_, sent)| sent.promised && sent.end != End::Told)
            .map(|(sequence, _)| *sequence)
            .collect()
    }

    fn octets(&mut self, most: u64) -> Vec<u8> {
        let octets = self.random.below(most);
        let mut random = self.random.clone();
        self.random.draw();
        (0..octets).map(|_| random.draw() as u8).collect()
    }

    fn envelope(&mut self) -> Accept {
        Accept {
            sender: self.octets(20),
            recipients: vec![Recipient::default(); 1 + self.random.below(3) as usize],
            due_ms: self.random.draw() >> 20,
            route: "pool".to_owned(),
            ..Accept::default()
        }
    }

    fn sent(&mut self, sequence: u64, accept: Accept, body: Vec<u8>) {
        let sent = Sent {
            accept,
            body,
            promised: false,
            never: false,
            end: End::Open,
            state: None,
            asked: Vec::new(),
            all: Vec::new(),
        };
        self.sent.insert(sequence, sent);
    }

    fn batch(&mut self, log: &Log<Simulated>) -> Vec<Request> {
        let mut batch = Vec::new();
        let mut live = self.live();
        for _ in 0..1 + self.random.below(6) {
            let chosen = self.random.below(live.len() as u64) as usize;
            match (self.random.below(5), live.is_empty()) {
                (0, false) => batch.push(Request::Done {
                    sequence: live.swap_remove(chosen),
                    ending: Ending::Delivered,
                }),
                (1, false) => {
                    let sequence = live[chosen];
                    let state = State {
                        due_ms: self.random.draw() >> 20,
                        reason: "451 later".to_owned(),
                        ..State::default()
                    };
                    batch.push(Request::update(sequence, Kind::Attempt, state));
                }
                _ => {
                    let sequence = log.shared().next_sequence();
                    let most = if self.random.once_in(8) {
                        12_000
                    } else {
                        2_000
                    };
                    let (accept, body) = (self.envelope(), self.octets(most));
                    let cut = self.random.below(body.len() as u64) as usize;
                    let pieces = vec![body[..cut].to_vec(), body[cut..].to_vec()];
                    batch.push(Request::accept(sequence, accept.clone(), pieces));
                    self.sent(sequence, accept, body);
                }
            }
        }
        batch
    }

    /// A message whose body has a file.
    fn file(&mut self, log: &mut Log<Simulated>) {
        let Ok(mut writer) = BodyWriter::new(log.shared()) else {
            return;
        };
        let most = if self.random.once_in(8) {
            150_000
        } else {
            3_000
        };
        let body = self.octets(most);
        let accept = self.envelope();
        for piece in body.chunks(1_000) {
            if writer.write(piece).is_err() {
                return;
            }
        }
        let Ok(finished) = writer.finish() else {
            return;
        };
        self.sent(finished.sequence(), accept.clone(), body);
        let request = Request::accept_file(finished, accept);
        self.commit(log, &[request]);
    }

    fn commit(&mut self, log: &mut Log<Simulated>, batch: &[Request]) {
        let answers = log.commit(batch, self.now_ms);
        assert_eq!(answers.len(), batch.len());
        for (request, answer) in batch.iter().zip(answers) {
            if answer.is_ok() {
                self.forget();
            }
            let sequence = request.sequence();
            let Some(sent) = self.sent.get_mut(&sequence) else {
                continue;
            };
            match (request, answer) {
                (Request::Accept { .. }, Ok(())) => {
                    sent.promised = true;
                    self.tally.accepted += 1;
                }
                (Request::Accept { .. }, Err(why)) => {
                    self.tally.refused += 1;
                    sent.never = !matches!(why, Refused::Failed(_));
                }
                (Request::Update { state, .. }, Ok(())) => {
                    sent.all.push(state.clone());
                    sent.state = Some(state.clone());
                    sent.asked.clear();
                }
                (Request::Update { state, .. }, Err(_)) => {
                    sent.all.push(state.clone());
                    sent.asked.push(state.clone());
                }
                (Request::Done { .. }, Ok(())) => {
                    sent.end = End::Told;
                    self.tally.done += 1;
                }
                (Request::Done { .. }, Err(_)) => sent.end = End::Asked,
            }
            if answer.is_err() {
                self.open.insert(sequence);
            }
        }
    }

    /// Something was made durable: what failed before can't count any more.
    fn forget(&mut self) {
        for sequence in std::mem::take(&mut self.open) {
            if let Some(sent) = self.sent.get_mut(&sequence) {
                sent.asked.clear();
                sent.never |= !sent.promised;
                if sent.end == End::Asked {
                    sent.end = End::Open;
                }
            }
        }
    }

    /// A last start without faults: what is there can be ended, and its space is given back.
    fn finish(&mut self, disk: &mut Simulated) -> Outcome<()> {
        self.crash(disk, true);
        {
            let mut world = disk.world();
            world.faults = Faults::default();
            world.capacity = u64::MAX;
        }
        let (mut log, report) = self.start(disk)?.ok_or("does not start")?;
        self.check(&log, &report)?;
        let ended = self.live().into_iter().map(|sequence| Request::Done {
            sequence,
            ending: Ending::Dropped,
        });
        let batch: Vec<_> = ended.collect();
        if log.commit(&batch, self.now_ms).iter().any(Result::is_err) {
            return Err("not all can be ended".to_owned());
        }
        let mut steps = 0;
        while log.reclaim(self.now_ms) != Progress::Idle {
            log.do_chores(self.now_ms);
            steps += 1;
            if steps > 10_000 {
                return Err("reclaiming does not end".to_owned());
            }
        }
        log.do_chores(self.now_ms);
        let index = log.shared().index();
        if self.tally.rotted == 0 && (index.messages() > 0 || index.segments().len() > 3) {
            let left = index.segments().len();
            return Err(format!("{left} segments are left after all has ended"));
        }
        drop(index);
        let names = super::super::disk::Disk::list(disk).unwrap_or_default();
        let bodies = names
            .iter()
            .filter(|name| name.starts_with("body-"))
            .count();
        match bodies > 0 && self.tally.rotted == 0 {
            true => Err(format!("{bodies} bodies are left after all has ended")),
            false => Ok(()),
        }
    }
}

//! What becomes of requests in a batch: which are refused, where the others lie, and what the index learns of them.

use super::{
    batch::{Batch, Content},
    disk::Disk,
    index::{Entry, IN_FILE, Index, Place},
    message::Summary,
    payload::{Done, State, Status},
    record::{Kind, META_MAX},
    refused::{Refused, Watermark},
    request::Request,
    shared::Shared,
};

/// Puts what can be put into a batch, in order, up to the first that finds no room. A result for each.
pub(super) fn plan<'a, D: Disk>(
    shared: &Shared<D>,
    requests: &'a [Request],
    dones: &'a [(Vec<u8>, Done)],
    batch: &mut Batch<'a>,
    keep_free: u32,
) -> Vec<Result<Planned, Refused>> {
    let (mut messages, mut octets) = (0, 0);
    let mut planned: Vec<Result<Planned, Refused>> = Vec::new();
    for (request, done) in requests.iter().zip(dones) {
        let reached = || {
            let marks = shared.watermarks();
            marks.reached(messages + 1, octets + request.adds())
        };
        let revision = {
            let index = shared.index();
            admit(request, index.get(request.sequence()), reached, &planned)
        };
        let content = revision.map(|revision| request.content(revision, done));
        match content.map(|content| place(batch, content, keep_free)) {
            Err(why) => planned.push(Err(why)),
            Ok(None) => break,
            Ok(Some(place)) => {
                messages += u64::from(request.adds() > 0);
                octets += request.adds();
                planned.push(Ok(Planned {
                    sequence: request.sequence(),
                    revision: revision.unwrap_or_default(),
                    place,
                    done: done.1.epochs,
                }));
            }
        }
    }
    if planned.is_empty() {
        // The log has seen to room for the first: without an answer its caller would ask for ever.
        planned.push(Err(Refused::TooLarge));
    }
    planned
}

/// Puts a record into a batch, if there is room: messages leave alone what is after `keep_free`.
fn place<'a>(batch: &mut Batch<'a>, content: Content<'a>, keep_free: u32) -> Option<Place> {
    let ends = u64::from(batch.end()) + content.octets();
    let too_far = content.kind == Kind::Accept && ends > u64::from(keep_free);
    if too_far { None } else { batch.push(content) }
}

/// A record of a batch, until that is durable.
pub(super) struct Planned {
    pub sequence: u64,
    pub revision: u32,
    pub place: Place,
    /// Of an end: the epochs that it is about.
    pub done: (u64, u64),
}

/// Whether a request makes sense: the revision of its record.
fn admit(
    request: &Request,
    known: Option<&Entry>,
    reached: impl FnOnce() -> Option<Watermark>,
    planned: &[Result<Planned, Refused>],
) -> Result<u32, Refused> {
    if request.meta_octets() > META_MAX as usize {
        return Err(Refused::TooLarge);
    }
    let sequence = request.sequence();
    let mut earlier = planned.iter().flatten().rev();
    let earlier = earlier.find(|planned| planned.sequence == sequence);
    match (request, known) {
        (Request::Accept { .. }, Some(_)) => Err(Refused::Unknown),
        (Request::Accept { .. }, None) if earlier.is_some() => Err(Refused::Unknown),
        (Request::Accept { .. }, None) => match reached() {
            Some(watermark) => Err(Refused::Watermark(watermark)),
            None => Ok(0),
        },
        (_, None) => Err(Refused::Unknown),
        // After an end in the same batch nothing follows: its revision is the last.
        (_, Some(entry)) => earlier
            .map_or(entry.revision, |planned| planned.revision)
            .checked_add(1)
            .ok_or(Refused::Unknown)
            .map(|revision| match request {
                Request::Done { .. } => u32::MAX,
                _ => revision,
            }),
    }
}

/// The payloads of the done records among the requests.
pub(super) fn dones<F>(
    index: &Index<F>,
    requests: &[Request],
    now_ms: u64,
) -> Vec<(Vec<u8>, Done)> {
    let done = |request: &Request| {
        let mut payload = Vec::new();
        let mut done = Done::default();
        if let Request::Done { sequence, ending } = request {
            done = Done {
                ending: *ending,
                at_ms: now_ms,
                epochs: index.epochs_of(*sequence).unwrap_or_default(),
            };
            done.encode(&mut payload);
        }
        (payload, done)
    };
    requests.iter().map(done).collect()
}

/// Puts what is durable into the index. Gives the message whose body's file is needed no more.
pub(super) fn apply<F>(index: &mut Index<F>, request: &Request, planned: &Planned) -> Option<u64> {
    let (sequence, place) = (planned.sequence, planned.place);
    match request {
        Request::Accept { meta, .. } => {
            let summary = Summary::of(meta).unwrap_or_default();
            let entry = entry(index, &summary, place);
            index.accept(sequence, entry);
            None
        }
        Request::Update { state, .. } => {
            let update = |entry: &mut Entry| update(entry, state);
            index.state(sequence, place, update, planned.revision);
            None
        }
        Request::Done { .. } => {
            index.holds_done(place.epoch, planned.done);
            let known = index.done(sequence)?;
            (known.bits & IN_FILE != 0).then_some(sequence)
        }
    }
}

/// What the index keeps of a new message.
pub(super) fn entry<F>(index: &mut Index<F>, summary: &Summary<'_>, accept: Place) -> Entry {
    Entry {
        accept,
        due_ms: summary.due_ms,
        body_octets: summary.body_octets,
        arrived_s: u32::try_from(summary.arrived_ms / 1000).unwrap_or(u32::MAX),
        lane: index.lane_of(summary.tenant, summary.route),
        bits: if summary.body_in_file { IN_FILE } else { 0 },
        ..Entry::default()
    }
}

/// What the index keeps of a state.
pub(super) fn update(entry: &mut Entry, state: &State) {
    entry.due_ms = state.due_ms;
    entry.attempts = u16::try_from(state.attempts).unwrap_or(u16::MAX);
    entry.held = state.status == Status::Held;
}

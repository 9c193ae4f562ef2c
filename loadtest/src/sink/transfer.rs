//! A message under way: out of DATA or BDAT into the verifier, and into a file where messages are saved.

use super::{
    counters::Counters,
    point::Fault,
    save::Draft,
    verify::{Finding, Verifier},
};
use gatepost::smtp::{
    BareNewline, BodyFacts,
    body::{Kind, LINE_STANDARD},
    chunk::ChunkScan,
    data::DataScan,
    envelope::{BodyKind, MailParams},
};

/// A message that is being received.
pub(super) struct Transfer {
    scan: Scan,
    verifier: Verifier,
    draft: Option<Draft>,
    /// Whether the question of the middle was asked.
    pub halved: bool,
}

enum Scan {
    Data(DataScan),
    Chunks(ChunkScan),
}

/// A message that is complete.
pub(super) struct Received {
    pub finding: Finding,
    pub octets: u64,
    pub draft: Option<Draft>,
}

impl Transfer {
    pub fn by_data(draft: Option<Draft>) -> Transfer {
        Transfer::new(Scan::Data(DataScan::new(BareNewline::Reject)), draft)
    }

    pub fn by_chunks(draft: Option<Draft>) -> Transfer {
        Transfer::new(Scan::Chunks(ChunkScan::new(BareNewline::Reject)), draft)
    }

    fn new(scan: Scan, draft: Option<Draft>) -> Transfer {
        Transfer {
            scan,
            verifier: Verifier::default(),
            draft,
            halved: false,
        }
    }

    /// Octets so far.
    pub fn octets(&self) -> u64 {
        self.facts().size
    }

    fn facts(&self) -> &BodyFacts {
        match &self.scan {
            Scan::Data(scan) => scan.facts(),
            Scan::Chunks(scan) => scan.facts(),
        }
    }

    /// Takes a piece of the body: how much of the input, and whether that was the end of DATA. For BDAT the input is
    /// that of one chunk, and is taken whole. Stops after each piece, so that a caller can hang up in the middle.
    pub fn take(&mut self, input: &[u8]) -> (usize, bool) {
        let piece = match &mut self.scan {
            Scan::Data(scan) => scan.scan(input),
            Scan::Chunks(scan) => scan.scan(input),
        };
        match piece.kind {
            Kind::Payload(span) => self.keep(span.of(input)),
            Kind::Insert(octets) => self.keep(octets),
            Kind::More | Kind::End => {}
        }
        (piece.consumed, piece.kind == Kind::End)
    }

    fn keep(&mut self, octets: &[u8]) {
        self.verifier.take(octets);
        if let Some(draft) = &mut self.draft {
            draft.write(octets);
        }
    }

    /// The message is complete: what it is, with what is wrong about it counted.
    pub fn finish(mut self, params: &MailParams, counters: &Counters) -> Received {
        if let Scan::Chunks(scan) = &mut self.scan {
            scan.finish();
        }
        let facts = *self.facts();
        let text = params.body != BodyKind::BinaryMime;
        for (fault, found) in [
            (
                Fault::EightBit,
                facts.eight_bit && params.body == BodyKind::SevenBit,
            ),
            (Fault::BareNewline, facts.bare_newline && text),
            (Fault::LongLine, facts.line_longest > LINE_STANDARD && text),
        ] {
            if found {
                counters.faults[fault as usize].one();
            }
        }
        Received {
            finding: self.verifier.finish(),
            octets: facts.size,
            draft: self.draft,
        }
    }
}

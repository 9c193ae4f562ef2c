//! The published vectors (MIT licence) of the ARC test suite.

use super::*;
use crate::dns::{Answer, Record, RecordType, Unknown};
use crate::policy::authentication::Work;
use proptest::prelude::*;
use std::collections::HashMap;

const VALIDATION: &str = include_str!("../../../../tests/data/arc/arc-draft-validation-tests.yml");
const SIGNING: &str = include_str!("../../../../tests/data/arc/arc-draft-sign-tests.yml");

struct Keys(HashMap<Box<str>, Answer>);

impl Answers for Keys {
    fn answer(&self, question: &Question) -> Option<&Answer> {
        assert_eq!(question.record_type, RecordType::Txt);
        Some(self.0.get(&question.name[..]).unwrap_or(&Answer::NoName))
    }
}

struct Vector {
    name: String,
    message: String,
    cv: String,
    /// Of a sealer: ARC-Seal, ARC-Message-Signature, ARC-Authentication-Results.
    set: [String; 3],
}

/// Reads the subset of YAML that the file is written in: documents, nested keys, `|` and `>-` blocks.
fn documents(text: &str) -> Vec<(Vec<Vector>, Keys)> {
    text.split("\n---").map(document).collect()
}

fn document(text: &str) -> (Vec<Vector>, Keys) {
    let (mut vectors, mut keys) = (Vec::new(), HashMap::new());
    let mut lines = text.lines().peekable();
    let mut section = "";
    while let Some(line) = lines.next() {
        let depth = line.len() - line.trim_start().len();
        let Some((key, value)) = line.trim().split_once(':') else {
            continue;
        };
        let value = value.trim();
        let mut block = String::new();
        if matches!(value, "|" | ">-") {
            while let Some(inner) = lines.next_if(|inner| {
                inner.trim().is_empty() || inner.starts_with(&" ".repeat(depth + 1))
            }) {
                block += inner.get(depth + 2..).unwrap_or_default();
                block += if value == "|" { "\r\n" } else { "" };
            }
        }
        match (depth, key) {
            (0, _) => section = key,
            (2, _) if section == "tests" => vectors.push(Vector {
                name: key.into(),
                message: String::new(),
                cv: String::new(),
                set: Default::default(),
            }),
            (2, _) if section == "txt-records" => {
                let record = Record::Txt(block.trim().as_bytes().into());
                keys.insert(key.into(), Answer::Found([record].into()));
            }
            (4, "message") => vectors.last_mut().expect("a test").message = block,
            (4, "AS") => vectors.last_mut().expect("a test").set[0] = block,
            (4, "AMS") => vectors.last_mut().expect("a test").set[1] = block,
            (4, "AAR") => vectors.last_mut().expect("a test").set[2] = block,
            (4, "cv") if value != "|" => {
                vectors.last_mut().expect("a test").cv = value.to_lowercase()
            }
            _ => {}
        }
    }
    (vectors, Keys(keys))
}

fn verify(message: &str, answers: &dyn Answers) -> Arc {
    computed(message, answers).0
}

/// What came of a chain, and how many signatures were verified for that.
fn computed(message: &str, answers: &dyn Answers) -> (Arc, usize) {
    let end = header::end(message.as_bytes()).unwrap_or(message.len());
    let (header, body) = message.as_bytes().split_at(end);
    let mut hashes = BodyHashes::new();
    let mut verification = Verification::new(header, &mut hashes);
    let mut missing = Vec::new();
    verification.missing(answers, &mut missing);
    assert_eq!(missing, [], "all answers are there");
    hashes.update(body);
    let digests = hashes.finish();
    verification.compare(&digests);
    let work = Work {
        chain: verification.jobs(),
        ..Work::default()
    };
    let verified = work.run();
    (verification.finish(&verified, &digests), verified.len())
}

#[test]
fn the_published_vectors_come_out_as_published() {
    let (mut count, mut wrong) = (0, Vec::new());
    for (vectors, keys) in documents(VALIDATION) {
        for vector in vectors {
            count += 1;
            let arc = verify(&vector.message, &keys);
            // Where a seal says `cv=fail`, the file leaves the result empty: the chain has ended as failed.
            let expected = if vector.cv.is_empty() {
                "fail"
            } else {
                &vector.cv
            };
            if arc.chain.as_str() != expected {
                wrong.push((vector.name, vector.cv, arc));
            }
        }
    }
    // Four names come twice in the file.
    assert_eq!(count, 175);
    assert!(wrong.is_empty(), "{} {wrong:#?}", wrong.len());
}

/// The vectors for sealers, read backwards: what they make is a chain that holds, or one that its last seal calls broken.
#[test]
fn the_seals_of_the_published_vectors_verify() {
    let mut counts = (0, 0);
    for (vectors, keys) in documents(SIGNING) {
        for vector in vectors {
            let [seal, message, results] = &vector.set;
            if seal.trim().is_empty() {
                continue;
            }
            let fold = |text: &str| text.trim().replace("\r\n", "\r\n  ");
            // The file is folded for its readers; sealed were tags on one line, with a space between them.
            let tags = |text: &str| {
                let tags = text
                    .split(';')
                    .map(|tag| tag.split_whitespace().collect::<String>());
                tags.collect::<Vec<_>>().join("; ")
            };
            let whole = format!(
                "ARC-Seal: {}\r\nARC-Message-Signature: {}\r\nARC-Authentication-Results: {}\r\n{}",
                tags(seal),
                tags(message),
                fold(results),
                vector.message
            );
            let arc = verify(&whole, &keys);
            counts.0 += usize::from(arc.chain == Chain::Pass);
            counts.1 += usize::from(arc.fault == Some(ArcFault::BrokenBefore));
        }
    }
    assert_eq!(counts, (14, 2));
}

#[test]
fn only_the_newest_sealer_is_believed() {
    let (vectors, keys) = documents(VALIDATION).swap_remove(0);
    let vector = vectors
        .iter()
        .find(|vector| vector.name == "cv_pass_i3_1")
        .expect("it is there");
    let arc = verify(&vector.message, &keys);
    assert_eq!(arc.seals.len(), 3);
    let newest = arc.seals[2].domain.clone();
    let seal = arc.sealed_by([&*newest]).expect("it is trusted");
    assert!(
        seal.results.starts_with(b"lists."),
        "{:?}",
        String::from_utf8_lossy(&seal.results)
    );
    assert!(arc.sealed_by(["other.example"]).is_none());
}

/// A set of which nothing was signed, over a message without a body.
fn unsigned(number: usize) -> String {
    let cv = if number == 1 { "none" } else { "pass" };
    format!(
        "ARC-Authentication-Results: i={number}; x\r\nARC-Message-Signature: i={number}; a=ed25519-sha256; b=AAAA; \
         bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=; d=a.example; s=s{number}; h=from\r\n\
         ARC-Seal: i={number}; a=ed25519-sha256; b=AAAA; cv={cv}; d=a.example; s=s{number}\r\n"
    )
}

/// What is known of the keys so far.
#[derive(Default)]
struct Known(HashMap<Box<str>, Answer>);

impl Answers for Known {
    fn answer(&self, question: &Question) -> Option<&Answer> {
        self.0.get(&question.name[..])
    }
}

impl Known {
    fn learn(&mut self, set: usize, answer: Answer) {
        let name = format!("s{set}._domainkey.a.example");
        self.0.insert(name.into(), answer);
    }
}

/// From RFC 8463 §A.2.
fn key() -> Answer {
    let record =
        Record::Txt(b"k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="[..].into());
    Answer::Found([record].into())
}

/// The sets whose keys are asked for.
fn asked(verification: &mut Verification, known: &Known) -> Vec<String> {
    let mut questions = Vec::new();
    verification.missing(known, &mut questions);
    let names = questions.iter().map(|question| &question.name[..]);
    names
        .map(|name| name.trim_end_matches("._domainkey.a.example").to_owned())
        .collect()
}

#[test]
fn keys_are_asked_for_from_the_newest_set_on_while_they_are_usable() {
    let header: String = (1..=20).map(unsigned).collect();
    let open = || Verification::new(header.as_bytes(), &mut BodyHashes::new());
    let mut known = Known::default();
    let mut chain = open();
    // The newest set's message signature and seal have one key here.
    assert_eq!(asked(&mut chain, &known), ["s20", "s19", "s18"]);
    known.learn(20, key());
    let next = asked(&mut chain, &known);
    assert_eq!(next, ["s19", "s18", "s17", "s16", "s15", "s14"]);
    // A key that can't be had for now: no further one is asked for, and those that are may still fail the chain.
    known.learn(18, Answer::Unknown(Unknown::Timeout));
    assert_eq!(asked(&mut chain, &known), ["s19"]);
    known.learn(19, key());
    assert_eq!(asked(&mut chain, &known), [""; 0]);
    assert_eq!(chain.jobs().len(), 3);
    // A chain that has failed waits for nothing, and there is nothing to compute.
    let mut chain = open();
    known.learn(18, Answer::NoName);
    known.0.remove("s19._domainkey.a.example");
    assert_eq!(asked(&mut chain, &known), [""; 0]);
    assert_eq!(chain.jobs().len(), 0);
    let arc = chain.finish(&[], &BodyHashes::new().finish());
    assert_eq!(arc.chain, Chain::Fail);
}

#[test]
fn nothing_is_computed_after_the_first_failure() {
    let mut keys = Keys(HashMap::new());
    for set in 1..=SETS_MAX {
        let name = format!("s{set}._domainkey.a.example");
        keys.0.insert(name.into(), key());
    }
    let header: String = (1..=SETS_MAX).map(unsigned).collect();
    let (arc, verified) = computed(&(header.clone() + "\r\n"), &keys);
    let fault = ArcFault::Message(Reason::SignatureDiffers);
    assert_eq!((arc.chain, arc.fault), (Chain::Fail, Some(fault)));
    assert_eq!(verified, 1);
    // The body is another: not even that.
    let (arc, verified) = computed(&(header + "\r\nx\r\n"), &keys);
    let fault = ArcFault::Message(Reason::BodyDiffers);
    assert_eq!((arc.chain, arc.fault), (Chain::Fail, Some(fault)));
    assert_eq!(verified, 0);
}

#[test]
fn a_chain_that_passes_has_all_its_seals_verified_the_newest_first() {
    let (vectors, keys) = documents(VALIDATION).swap_remove(0);
    let vector = |name: &str| vectors.iter().find(|vector| vector.name == name);
    let whole = &vector("cv_pass_i3_1").expect("it is there").message;
    let (arc, verified) = computed(whole, &keys);
    assert_eq!((arc.chain, verified), (Chain::Pass, 1 + 3));
    for set in 1..=3 {
        // The signature of one seal is another one.
        let at = whole.find(&format!("ARC-Seal: i={set};")).or_else(|| {
            let mut seals = whole.match_indices("ARC-Seal:").map(|(at, _)| at);
            seals.find(|at| {
                whole[*at..]
                    .split("ARC-")
                    .nth(1)
                    .is_some_and(|seal| seal.contains(&format!("i={set};")))
            })
        });
        let at = at.expect("a seal");
        let b = at + whole[at..].find(" b=").expect("its signature") + 3;
        let mut changed = whole.clone();
        let other = if &whole[b..=b] == "A" { "B" } else { "A" };
        changed.replace_range(b..=b, other);
        let (arc, verified) = computed(&changed, &keys);
        assert_eq!(arc.chain, Chain::Fail, "{set}");
        // Newer seals cover the one that was changed.
        let fault = ArcFault::Seal(3, Reason::SignatureDiffers);
        assert_eq!(arc.fault, Some(fault), "{set}");
        assert_eq!(verified, 2, "{set}");
    }
}

#[test]
fn a_chain_has_fifty_sets_at_most() {
    let header: String = (1..=SETS_MAX).map(unsigned).collect();
    let mut hashes = BodyHashes::new();
    let mut verification = Verification::new(header.as_bytes(), &mut hashes);
    let mut known = Known::default();
    let (mut rounds, mut count) = (0, 0);
    loop {
        let sets = asked(&mut verification, &known);
        if sets.is_empty() {
            break;
        }
        (rounds, count) = (rounds + 1, count + sets.len());
        for set in sets {
            known.learn(set[1..].parse().expect("a number"), key());
        }
    }
    assert_eq!((rounds, count), (4, SETS_MAX));
    assert_eq!(verification.jobs().len(), SETS_MAX + 1);
    assert_eq!(
        verification.finish(&[], &hashes.finish()).chain,
        Chain::Unknown
    );
    let more = header + &unsigned(SETS_MAX + 1);
    let arc = Verification::new(more.as_bytes(), &mut BodyHashes::new());
    assert!(matches!(arc.state, State::Ended(_)));
}

proptest! {
    #[test]
    fn no_header_upsets_it(header in
        "((ARC-Seal|ARC-Message-Signature|ARC-Authentication-Results|From): (i=[0-3]|a=rsa-sha256|b=AAAA|bh=A|cv=none|d=a|s=b|h=from|;| |\r\n ){0,9}\r\n){0,9}") {
        let keys = Keys(HashMap::new());
        let arc = verify(&header, &keys);
        prop_assert!(arc.chain != Chain::Pass);
    }
}

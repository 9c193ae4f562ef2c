//! The published vectors (MIT licence) of the ARC test suite.

use super::*;
use crate::dns::{Answer, Record, RecordType};
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
    let end = header::end(message.as_bytes()).unwrap_or(message.len());
    let (header, body) = message.as_bytes().split_at(end);
    let mut hashes = BodyHashes::new();
    let mut verification = Verification::new(header, &mut hashes);
    let mut missing = Vec::new();
    verification.missing(answers, &mut missing);
    assert_eq!(missing, [], "all answers are there");
    let verified: Vec<Verified> = verification.jobs().map(|job| job.run()).collect();
    hashes.update(body);
    verification.finish(&verified, &hashes.finish())
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

#[test]
fn a_chain_has_fifty_sets_at_most() {
    let set = |number: usize| {
        let cv = if number == 1 { "none" } else { "pass" };
        format!(
            "ARC-Authentication-Results: i={number}; x\r\nARC-Message-Signature: i={number}; a=rsa-sha256; b=AAAA; \
             bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=; d=a.example; s=s{number}; h=from\r\n\
             ARC-Seal: i={number}; a=rsa-sha256; b=AAAA; cv={cv}; d=a.example; s=s{number}\r\n"
        )
    };
    let header: String = (1..=SETS_MAX).map(set).collect();
    let mut hashes = BodyHashes::new();
    let mut verification = Verification::new(header.as_bytes(), &mut hashes);
    struct Nothing;
    impl Answers for Nothing {
        fn answer(&self, _: &Question) -> Option<&Answer> {
            None
        }
    }
    let mut questions = Vec::new();
    verification.missing(&Nothing, &mut questions);
    assert_eq!(questions.len(), SETS_MAX);
    assert_eq!(
        verification.finish(&[], &hashes.finish()).chain,
        Chain::Unknown
    );
    let more = header + &set(SETS_MAX + 1);
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

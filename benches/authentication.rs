//! What the verification of a DKIM signature takes beside what the library needs for the same hash and the same RSA
//! operation: at most 1.3 times as much is the aim.
//!
//! `cargo bench --bench authentication`

use aws_lc_rs::{
    digest::{SHA256, digest},
    encoding::{AsDer, PublicKeyX509Der},
    rand::SystemRandom,
    rsa::{KeyPair, KeySize},
    signature::{
        self, KeyPair as _, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, UnparsedPublicKey,
    },
};
use base64::{Engine, engine::general_purpose::STANDARD};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use gatepost::{
    dns::{Answer, Answers, Question, Record},
    policy::authentication::{Message, Wanted},
};
use std::hint::black_box;

/// When it is verified.
const NOW: u64 = 1_800_000_000;

/// A signed message and its key.
struct Signed {
    header: Vec<u8>,
    body: Vec<u8>,
    key: Key,
    public: Vec<u8>,
    /// What the signature is over, and the signature.
    covered: Vec<u8>,
    signature: Vec<u8>,
}

struct Key(Answer);

impl Answers for Key {
    fn answer(&self, _: &Question) -> Option<&Answer> {
        Some(&self.0)
    }
}

impl Signed {
    /// With a body of this size, whose canonical form is itself.
    fn new(size: usize) -> Signed {
        let line = b"The quick brown fox jumps over the lazy dog, again and again and again, 0123456789.\r\n";
        let body: Vec<u8> = line
            .iter()
            .copied()
            .cycle()
            .take(size / line.len() * line.len())
            .collect();
        let key = KeyPair::generate(KeySize::Rsa2048).expect("a key");
        let hash = STANDARD.encode(digest(&SHA256, &body));
        let tags = format!(
            "v=1; a=rsa-sha256; c=relaxed/relaxed; d=a.example; s=s; h=from:to:subject; bh={hash}; b="
        );
        let fields = "from:a@a.example\r\nto:b@b.example\r\nsubject:a subject of some words\r\n";
        let covered = format!("{fields}dkim-signature:{tags}").into_bytes();
        let mut signature = vec![0; key.public_modulus_len()];
        key.sign(
            &RSA_PKCS1_SHA256,
            &SystemRandom::new(),
            &covered,
            &mut signature,
        )
        .expect("signed");
        let shown =
            "From: a@a.example\r\nTo: b@b.example\r\nSubject: a subject of some words\r\n\r\n";
        let header = format!(
            "DKIM-Signature: {tags}{}\r\n{shown}",
            STANDARD.encode(&signature)
        );
        let public: PublicKeyX509Der<'_> = key.public_key().as_der().expect("a key");
        let text = format!("v=DKIM1; k=rsa; p={}", STANDARD.encode(public.as_ref()));
        Signed {
            header: header.into_bytes(),
            body,
            key: Key(Answer::Found(
                [Record::Txt(text.into_bytes().into())].into(),
            )),
            public: key.public_key().as_ref().to_vec(),
            covered,
            signature,
        }
    }

    /// As the proxy does it.
    fn ours(&self) -> bool {
        let wanted = Wanted {
            dkim: true,
            ..Wanted::default()
        };
        let (mut message, mut hashes) = Message::new(&self.header, NOW, wanted);
        message.step(None, &[], &self.key, &mut Vec::new());
        hashes.update(&self.body);
        let work = message.close(hashes);
        message.conclude(&work.run());
        let dkim = message.dkim();
        dkim.is_some_and(|dkim| dkim.signatures.first().is_some_and(|one| one.passed()))
    }

    /// What can't be left out.
    fn bare(&self) -> bool {
        let hash = digest(&SHA256, &self.body);
        let key = UnparsedPublicKey::new(
            &RSA_PKCS1_2048_8192_SHA256 as &dyn signature::VerificationAlgorithm,
            &self.public,
        );
        black_box(hash);
        key.verify(&self.covered, &self.signature).is_ok()
    }
}

fn dkim(c: &mut Criterion) {
    for (name, size) in [("10 KiB", 10 << 10), ("1 MiB", 1 << 20)] {
        let signed = Signed::new(size);
        assert!(signed.ours() && signed.bare());
        let mut group = c.benchmark_group(format!("dkim of {name}"));
        group.throughput(Throughput::Bytes(signed.body.len() as u64));
        group.bench_function("verification", |b| b.iter(|| black_box(signed.ours())));
        group.bench_function("hash and RSA alone", |b| {
            b.iter(|| black_box(signed.bare()))
        });
        group.finish();
    }
}

criterion_group!(benches, dkim);
criterion_main!(benches);

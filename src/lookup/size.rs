//! How large an answer is, and how large one may be that is used.

use super::records::by_rank;
use crate::dns::{Answer, Record, Unknown};

/// Octets of an answer that is kept. The TXT records of the largest domains have some 8 KiB together, a key of DKIM for RSA with
/// 4,096 bits has less than 1 KiB, and RFC 7208 section 3.4 recommends answers of 512 octets.
pub const OCTETS_MAX: usize = 16 * 1024;

/// What an answer takes.
pub fn octets_of(answer: &Answer) -> usize {
    let Answer::Found(records) = answer else {
        return 0;
    };
    records.iter().map(octets_of_record).sum()
}

fn octets_of_record(record: &Record) -> usize {
    size_of::<Record>()
        + match record {
            Record::A(_) | Record::Aaaa(_) => 0,
            Record::Mx { exchange, .. } => exchange.len(),
            Record::Srv { target, .. } => target.len(),
            Record::Ptr(name) => name.len(),
            Record::Txt(text) => text.len(),
        }
}

/// The answer as it is kept. One above the limit loses the records that are used last. But texts mean something together (there must
/// be one record of SPF among them, and not two): where they are above it, none is used.
pub fn bounded(answer: Answer) -> Answer {
    if octets_of(&answer) <= OCTETS_MAX {
        return answer;
    }
    let Answer::Found(records) = answer else {
        return answer;
    };
    if records.iter().any(|one| matches!(one, Record::Txt(_))) {
        return Answer::Unknown(Unknown::TooLarge);
    }
    let mut records = records.to_vec();
    records.sort_unstable_by(by_rank);
    let mut octets = 0;
    let fits = records.iter().take_while(|record| {
        octets += octets_of_record(record);
        octets <= OCTETS_MAX
    });
    let count = fits.count();
    records.truncate(count);
    Answer::Found(records.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    // INV-LIMIT
    fn an_answer_has_a_bound_whatever_its_records() {
        let text = |octets: usize| Record::Txt(vec![b'x'; octets].into());
        let usual = Answer::Found([text(4000), text(4000)].into());
        assert_eq!(bounded(usual.clone()), usual);
        let fat = Answer::Found((0..20).map(|_| text(1000)).collect());
        assert_eq!(bounded(fat), Answer::Unknown(Unknown::TooLarge));
        let name = |number: usize| Record::Mx {
            preference: u16::try_from(number).expect("small"),
            exchange: format!("{number}{}", "x".repeat(240)).into(),
        };
        let Answer::Found(kept) = bounded(Answer::Found((0..128).rev().map(name).collect())) else {
            panic!("names are cut");
        };
        assert!(octets_of(&Answer::Found(kept.clone())) <= OCTETS_MAX);
        assert!(kept.len() > 40);
        assert_eq!(kept[0], name(0), "those that are used first are kept");
    }
}

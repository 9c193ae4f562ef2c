//! Facts that come from answers of the DNS: read of the session's [`Inquiry`].

use super::subject::{Missing, Subject};
use crate::policy::{
    Inquiry,
    authentication::{Message, arc::Chain, dkim::Dkim, dmarc::Dmarc},
    dns::{domain, helo, listing::Listing, reverse, tally, zone::Zone},
};

type Text<'f> = Result<Option<&'f [u8]>, Missing>;

/// Nothing is asked about clients that are known: what was before one logged in is of another message.
fn inquiry<'f>(subject: &Subject<'f>) -> Result<&'f Inquiry, Missing> {
    let inquiry = subject.facts.inquiry;
    inquiry
        .filter(|_| !subject.facts.is_known())
        .ok_or(Missing::NotAsked)
}

fn names<'f>(subject: &Subject<'f>) -> Result<&'f reverse::Names, Missing> {
    let names = inquiry(subject)?.known_reverse()?;
    match names.outcome {
        reverse::Outcome::Unknown(why) => Err(why.into()),
        _ => Ok(names),
    }
}

pub fn client_name<'f>(subject: &'f Subject<'f>) -> Text<'f> {
    let name = names(subject)?.confirmed_name();
    Ok(name.map(|name| name.as_bytes()))
}

pub fn rdns<'f>(subject: &'f Subject<'f>) -> Text<'f> {
    let word = match names(subject)?.outcome {
        reverse::Outcome::Confirmed => "confirmed",
        reverse::Outcome::Unconfirmed => "unconfirmed",
        reverse::Outcome::None => "none",
        reverse::Outcome::Unknown(why) => return Err(why.into()),
    };
    Ok(Some(word.as_bytes()))
}

pub fn rdns_generic<'f>(subject: &'f Subject<'f>) -> Result<bool, Missing> {
    Ok(names(subject)?.look_generic(subject.facts.client))
}

/// The lists that have answered; unknown where none did, though some were asked, and where one of our own lists has let the
/// client in, for they are not asked then.
fn answered<'f>(
    subject: &Subject<'f>,
) -> Result<impl Iterator<Item = (&'f Zone, &'f Listing)>, Missing> {
    let inquiry = inquiry(subject)?;
    if subject.welcome || inquiry.is_of_welcome() {
        return Err(Missing::NotAsked);
    }
    let mut silence = None;
    for (_, listing) in inquiry.listings() {
        let why = match listing {
            Err(why) => Some(Missing::from(why)),
            Ok(listing) if listing.is_listed() => None,
            Ok(listing) => listing.unknown.map(Missing::from),
        };
        match why {
            None => {
                silence = None;
                break;
            }
            why => silence = silence.or(why),
        }
    }
    match silence {
        Some(why) => Err(why),
        None => Ok(inquiry
            .listings()
            .filter_map(|(zone, listing)| Some((zone, listing.ok()?)))),
    }
}

/// The names of the block lists that have the client.
pub fn block_lists<'f>(subject: &Subject<'f>) -> Result<impl Iterator<Item = &'f [u8]>, Missing> {
    let listed =
        answered(subject)?.filter(|(zone, listing)| listing.is_listed() && !zone.is_allow_list());
    Ok(listed.map(|(zone, _)| zone.name.label().as_bytes()))
}

pub fn dnsbl_score<'f>(subject: &'f Subject<'f>) -> Result<f64, Missing> {
    let proven = inquiry(subject)?.proven();
    let weights = answered(subject)?.map(|(zone, listing)| tally::weight(zone, listing, &proven));
    Ok(weights.sum())
}

pub fn helo_domain<'f>(subject: &'f Subject<'f>) -> Text<'f> {
    match inquiry(subject)?.known_helo()? {
        helo::Outcome::Unknown(why) => Err((*why).into()),
        outcome => Ok(Some(outcome.result().unwrap_or("ok").as_bytes())),
    }
}

pub fn sender_domain<'f>(subject: &'f Subject<'f>) -> Text<'f> {
    let inquiry = inquiry(subject)?;
    if subject.facts.sender.is_null() {
        return Ok(Some(b"ok"));
    }
    match inquiry.known_sender()? {
        domain::Outcome::Unknown(why) => Err((*why).into()),
        outcome => Ok(Some(outcome.result().unwrap_or("ok").as_bytes())),
    }
}

pub fn spf<'f>(subject: &'f Subject<'f>) -> Text<'f> {
    let found = inquiry(subject)?.known_spf()?;
    Ok(Some(found.code.as_str().as_bytes()))
}

pub fn reputation_of_domain<'f>(subject: &'f Subject<'f>) -> Result<f64, Missing> {
    // As unknown as SPF is.
    inquiry(subject)?.known_spf()?;
    Ok(subject.shared.reputation_of_domain(subject.facts))
}

fn message<'f>(subject: &Subject<'f>) -> Result<&'f Message, Missing> {
    inquiry(subject)?.message().ok_or(Missing::NotAsked)
}

fn signatures<'f>(subject: &Subject<'f>) -> Result<&'f Dkim, Missing> {
    message(subject)?.dkim().ok_or(Missing::Timeout)
}

pub fn dkim<'f>(subject: &'f Subject<'f>) -> Text<'f> {
    Ok(Some(signatures(subject)?.as_str().as_bytes()))
}

pub fn dkim_domains<'f>(subject: &Subject<'f>) -> Result<impl Iterator<Item = &'f [u8]>, Missing> {
    Ok(signatures(subject)?.domains().map(str::as_bytes))
}

fn judged<'f>(subject: &Subject<'f>) -> Result<&'f Dmarc, Missing> {
    message(subject)?.dmarc().ok_or(Missing::Timeout)
}

pub fn dmarc<'f>(subject: &'f Subject<'f>) -> Text<'f> {
    Ok(Some(judged(subject)?.conclusion.as_str().as_bytes()))
}

pub fn dmarc_policy<'f>(subject: &'f Subject<'f>) -> Text<'f> {
    let requested = judged(subject)?.requested;
    Ok(requested.map(|(policy, _)| policy.as_str().as_bytes()))
}

pub fn dmarc_author<'f>(subject: &'f Subject<'f>) -> Text<'f> {
    let author = judged(subject)?.author.as_bytes();
    Ok((!author.is_empty()).then_some(author))
}

pub fn arc<'f>(subject: &'f Subject<'f>) -> Text<'f> {
    match message(subject)?.arc() {
        None => Err(Missing::Timeout),
        Some(arc) if arc.chain == Chain::Unknown => Err(Missing::Timeout),
        Some(arc) => Ok(Some(arc.chain.as_str().as_bytes())),
    }
}

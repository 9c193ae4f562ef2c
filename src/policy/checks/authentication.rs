//! Checks by the domains that answer for a message: DKIM, DMARC, and the seals of earlier hops. They decide at the end of the message.

use super::{
    Check, Whom,
    results::{DETAIL_MAX, Found, Said, check},
};
use crate::{
    config::{Effect, Mode},
    policy::{
        At, Facts, Inquiry, Shared,
        authentication::dmarc::{Conclusion, Policy},
        builder::Builder,
        inquiry::{Want, Wants},
        replies,
        rule::Say,
    },
    smtp::domain::{is_domain, to_ascii},
};
use std::sync::Arc;

/// Domains whose seals are believed.
const SEALERS_MAX: usize = 1000;

pub fn dkim(builder: &mut Builder<'_>) -> Option<Arc<dyn Check>> {
    let rules = &builder.config.dkim;
    let said = Said {
        name: "dkim",
        mode: rules.mode,
        at: At::Body,
        reply: rules.reply.as_deref(),
        defaults: &replies::DKIM,
        results: &[
            ("pass", "A DKIM signature holds.", rules.pass),
            (
                "fail",
                "No DKIM signature holds; the message was changed.",
                rules.fail,
            ),
            ("none", "The message has no DKIM signature.", rules.none),
            (
                "neutral",
                "The DKIM signatures can't be read.",
                rules.neutral,
            ),
            (
                "policy",
                "The DKIM signatures are none that we accept.",
                rules.policy,
            ),
            (
                "temperror",
                "The key of a DKIM signature is not known in time.",
                rules.temperror,
            ),
            (
                "permerror",
                "The DKIM signatures can't hold.",
                rules.permerror,
            ),
        ],
    };
    check(
        builder,
        &said,
        true,
        |inquiry, _| {
            let dkim = inquiry.message()?.dkim()?;
            let Some(signature) = dkim.best() else {
                return Some(("none", "".into()));
            };
            let mut detail = signature.domain.to_string();
            detail.truncate(DETAIL_MAX);
            if !signature.passed() {
                detail = format!("{detail}: {}", signature.reason.as_str());
            }
            Some((signature.outcome().as_str(), detail.into()))
        },
        |wants, want| wants.dkim = wants.dkim.max(want),
    )
}

pub fn dmarc(builder: &mut Builder<'_>) -> Option<Arc<dyn Check>> {
    let rules = &builder.config.dmarc;
    let or_fail = |effect: Effect| match effect {
        Effect::Nothing => rules.fail,
        effect => effect,
    };
    let said = Said {
        name: "dmarc",
        mode: rules.mode,
        at: At::Body,
        reply: rules.reply.as_deref(),
        defaults: &replies::DMARC,
        results: &[
            ("pass", "A domain of the author's is proved.", rules.pass),
            (
                "reject",
                "No domain of the author's is proved, and it asks to reject such mail.",
                or_fail(rules.reject),
            ),
            (
                "quarantine",
                "No domain of the author's is proved, and it asks to take such mail for suspicious.",
                or_fail(rules.quarantine),
            ),
            (
                "fail",
                "No domain of the author's is proved, and it asks for nothing.",
                rules.fail,
            ),
            (
                "none",
                "The author's domain has no DMARC record.",
                rules.none,
            ),
            (
                "temperror",
                "The DMARC policy of the author's domain is not known in time.",
                rules.temperror,
            ),
            (
                "permerror",
                "From does not name one domain.",
                rules.permerror,
            ),
        ],
    };
    let want: fn(&mut Wants, Want) = match rules.reports.is_on() {
        // A report tells of every message, also where no result has an effect.
        true => |wants, _| wants.need_dmarc(),
        false => |wants, want| {
            wants.spf = wants.spf.max(want);
            wants.dkim = wants.dkim.max(want);
            wants.dmarc = wants.dmarc.max(want);
        },
    };
    check(builder, &said, true, dmarc_result, want)
}

/// By which key a message is judged. `None`: a sealer that is believed vouches for it.
fn dmarc_result(inquiry: &Inquiry, _: &Facts<'_>) -> Option<Found<'static>> {
    let message = inquiry.message()?;
    let dmarc = message.dmarc()?;
    if message.is_vouched_for() {
        return None;
    }
    let mut detail = dmarc.author.to_string();
    detail.truncate(DETAIL_MAX);
    let result = match (dmarc.conclusion, dmarc.disposition) {
        (Conclusion::Fail, Policy::Reject) => "reject",
        (Conclusion::Fail, Policy::Quarantine) => "quarantine",
        (conclusion, _) => conclusion.as_str(),
    };
    Some((result, detail.into()))
}

/// The seals of earlier hops. It has no rule of its own: a seal that is believed lifts a failure of DMARC.
struct Seals {
    trusted: Vec<Box<str>>,
}

pub fn arc(builder: &mut Builder<'_>) -> Option<Arc<dyn Check>> {
    let rules = &builder.config.arc;
    if rules.mode == Mode::Off {
        return None;
    }
    if rules.trusted.len() > SEALERS_MAX {
        builder.fault(
            "arc.trusted",
            format!("there are more than {SEALERS_MAX} domains"),
        );
    }
    let mut trusted = Vec::new();
    for domain in &rules.trusted {
        match to_ascii(domain.as_bytes()).filter(|form| is_domain(form)) {
            Some(form) => {
                let form = String::from_utf8_lossy(&form).to_ascii_lowercase();
                trusted.push(form.into_boxed_str());
            }
            None => builder.fault("arc.trusted", format!("\"{domain}\" is no domain")),
        }
    }
    if rules.mode == Mode::Shadow {
        trusted.clear();
    }
    Some(Arc::new(Seals { trusted }))
}

impl Check for Seals {
    fn name(&self) -> &'static str {
        "arc"
    }

    fn stages(&self) -> &[At] {
        &[]
    }

    fn wants(&self, wants: &mut Wants, welcome: bool) {
        let decides = !self.trusted.is_empty() && !welcome;
        let want = if decides { Want::Decides } else { Want::Told };
        wants.arc = wants.arc.max(want);
        wants.sealers.extend(self.trusted.iter().cloned());
        wants.waits |= 1 << At::Body as u16;
    }

    fn whom(&self) -> Whom {
        Whom::Strangers
    }

    fn look(&self, _: At, _: &Facts<'_>, _: &Shared, _: &mut Say<'_>) {}
}

#[cfg(test)]
mod tests;

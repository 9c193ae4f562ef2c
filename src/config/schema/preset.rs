//! `policy.preset`: what holds where the file says nothing. The keys that the file has are laid over it.

use super::{
    DkimRules, DmarcRules, HeloDomainRules, Outcome, Policy, RdnsRules, SenderDomainRules, SpfRules,
};
use crate::config::{Effect, Preset, Then};

impl Policy {
    /// What holds where nothing else is said.
    #[must_use]
    pub fn of(preset: Preset) -> Policy {
        match preset {
            Preset::Relaxed => Policy::default(),
            Preset::Balanced => balanced(),
            Preset::Strict => strict(),
        }
    }
}

/// One sign of a bad sender never refuses a message, several do. Refused at once is what can't be answered, and what the
/// author's domain asks to refuse.
fn balanced() -> Policy {
    Policy {
        preset: Preset::Balanced,
        reject_score: 8.0,
        rdns: RdnsRules {
            none: Effect::Score(2.0),
            unconfirmed: Effect::Score(1.0),
            generic: Effect::Score(1.0),
            ..RdnsRules::default()
        },
        // Many honest servers greet with a name that only their own network knows.
        helo_domain: HeloDomainRules {
            no_name: Effect::Score(1.5),
            no_host: Effect::Score(1.0),
            ..HeloDomainRules::default()
        },
        sender_domain: SenderDomainRules {
            no_name: Effect::Reject,
            null_mx: Effect::Reject,
            no_mail: Effect::Defer,
            unusable: Effect::Score(3.0),
            ..SenderDomainRules::default()
        },
        // A forwarder makes SPF fail, so that it refuses nothing by itself (RFC 7208 section 2.4 leaves it to the receiver).
        spf: SpfRules {
            fail: Effect::Score(3.0),
            softfail: Effect::Score(1.0),
            permerror: Effect::Score(1.0),
            ..SpfRules::default()
        },
        dkim: DkimRules {
            fail: Effect::Score(1.0),
            permerror: Effect::Score(1.0),
            ..DkimRules::default()
        },
        dmarc: DmarcRules {
            reject: Effect::Reject,
            quarantine: Effect::Score(4.0),
            permerror: Effect::Score(2.0),
            ..DmarcRules::default()
        },
        ..Policy::default()
    }
}

/// What large providers ask of those that send to them: a confirmed name, a HELO name and a sender that exist.
fn strict() -> Policy {
    let reject = Outcome {
        then: Then::Reject,
        ..Outcome::default()
    };
    let mut policy = Policy {
        preset: Preset::Strict,
        reject_score: 6.0,
        rdns: RdnsRules {
            none: Effect::Reject,
            unconfirmed: Effect::Score(3.0),
            generic: Effect::Score(2.0),
            unknown: Effect::Defer,
            ..RdnsRules::default()
        },
        helo_domain: HeloDomainRules {
            no_name: Effect::Reject,
            no_host: Effect::Score(2.0),
            ..HeloDomainRules::default()
        },
        sender_domain: SenderDomainRules {
            no_name: Effect::Reject,
            null_mx: Effect::Reject,
            no_mail: Effect::Reject,
            unusable: Effect::Reject,
            unknown: Effect::Defer,
            ..SenderDomainRules::default()
        },
        spf: SpfRules {
            fail: Effect::Reject,
            softfail: Effect::Score(2.0),
            permerror: Effect::Score(2.0),
            temperror: Effect::Defer,
            ..SpfRules::default()
        },
        dkim: DkimRules {
            fail: Effect::Score(2.0),
            permerror: Effect::Score(2.0),
            ..DkimRules::default()
        },
        dmarc: DmarcRules {
            reject: Effect::Reject,
            quarantine: Effect::Reject,
            temperror: Effect::Defer,
            permerror: Effect::Reject,
            ..DmarcRules::default()
        },
        ..Policy::default()
    };
    policy.helo.unqualified = reject.clone();
    policy.helo.address = reject;
    policy
}

#[cfg(test)]
mod tests {
    use super::super::testing::{REST, config};
    use crate::config::{Effect, Mode, Preset, Then, parse, show};

    const MX: &str = "[[listener]]\nname = 'mx'\naddress = ['127.0.0.1:2525']\n";

    #[test]
    fn what_is_written_wins_over_the_preset() {
        let plain = config(MX);
        assert_eq!(plain.policy.preset, Preset::Relaxed);
        assert_eq!(plain.policy.spf.fail, Effect::Nothing);
        let text = format!(
            "[policy]\npreset = 'strict'\nreject_score = 20.0\n[policy.spf]\nfail = 'accept'\n{MX}"
        );
        let policy = &config(&text).policies()[0];
        assert_eq!(policy.reject_score, 20.0);
        assert_eq!(
            (policy.spf.fail, policy.spf.temperror),
            (Effect::Nothing, Effect::Defer)
        );
        assert_eq!(policy.rdns.none, Effect::Reject);
        assert_eq!(policy.helo.address.then, Then::Reject);
    }

    #[test]
    fn a_listener_has_a_preset_of_its_own_and_keeps_what_is_written() {
        let own =
            "[listener.policy]\npreset = 'strict'\n[listener.policy.spf]\nsoftfail = 'defer'\n";
        let top = "[policy]\npreset = 'balanced'\n[policy.rdns]\nnone = 1.25\n[[policy.dnsbl]]\nzone = 'bl.example'\n";
        let submission =
            "[[listener]]\nname = 'sub'\naddress = ['127.0.0.1:2587']\nrole = 'submission'\n";
        let config = config(&format!("{top}{MX}{own}{submission}"));
        let [mx, sub] = &config.policies()[..] else {
            panic!("two listeners");
        };
        assert_eq!(mx.preset, Preset::Strict);
        assert_eq!(
            (mx.spf.fail, mx.spf.softfail),
            (Effect::Reject, Effect::Defer)
        );
        assert_eq!(mx.rdns.none, Effect::Score(1.25), "written in [policy]");
        assert_eq!((mx.dnsbl.len(), mx.reject_score), (1, 6.0));
        assert_eq!((sub.preset, sub.reject_score), (Preset::Balanced, 8.0));
        assert_eq!(
            (sub.helo.address.mode, sub.client_rate.sessions),
            (Mode::Off, 500)
        );
        assert_eq!(config.policy.spf.fail, Effect::Score(3.0));
    }

    #[test]
    fn mail_programs_are_spared_by_every_preset() {
        for preset in Preset::ALL {
            let text = format!(
                "[policy]\npreset = '{preset}'\n[[listener]]\nname = 's'\naddress = ['127.0.0.1:2587']\nrole = 'submission'\n"
            );
            let policy = &config(&text).policies()[0];
            assert_eq!(policy.helo.address.mode, Mode::Off, "{preset}");
            assert_eq!(policy.early_talk.mode, Mode::Shadow, "{preset}");
        }
    }

    #[test]
    fn what_is_shown_means_the_same_without_the_preset() {
        for preset in Preset::ALL {
            let whole = config(&format!("[policy]\npreset = '{preset}'\n{MX}"));
            let shown = show(&whole);
            assert!(shown.contains(&format!("preset = \"{preset}\"")), "{shown}");
            let again = parse("shown", &shown).unwrap_or_else(|found| panic!("{found:?}"));
            assert_eq!(again.config, whole);
        }
    }

    #[test]
    fn a_wrong_word_is_told() {
        let told = parse("test", &format!("[policy]\npreset = 'strikt'\n{MX}{REST}"));
        let told = format!("{:?}", told.expect_err("it is wrong"));
        assert!(told.contains("strict"), "{told}");
    }
}

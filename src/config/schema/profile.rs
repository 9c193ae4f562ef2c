//! `[[profile]]`: what is judged otherwise for some listeners, some recipients, or a class of clients.

use super::{Config, Listener, Policy, PolicyPart, Route, part};
use crate::config::{Class, Role};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// Where descriptors are few: one part in so many places is what an address may have, and this at least.
pub(crate) const OF_ADDRESS: (u32, u32) = (16, 4);
/// The same for a network.
pub(crate) const OF_NETWORK: (u32, u32) = (4, 8);

/// A part of `[policy]` with a name. Listeners and routes name it (`profile = "acme"`), so that a tenant is what names the same
/// profile; or it holds for a class of clients, wherever they connect.
///
/// Keys that are not written in it keep their value from below: `[policy]`, then the listener's profile, then
/// `[listener.policy]`, then the profile of the client's class, then the profile of the recipient's route. One profile holds
/// for a whole message: its first recipient decides, and a recipient whose route has another profile gets 452 and comes in a
/// message of its own. What is judged before RCPT can't depend on the recipient, so a route's profile may only say what has an
/// effect from there on; `gatepost check` refuses the rest.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("x-example" = r#"[[profile]]
name = "acme"
[profile.policy]
reject_score = 5.0

[[profile]]
name         = "partners"
class        = "partner"
certificates = ["mx.partner.example"]
[profile.policy]
reject_score = 20.0

[[route]]
domains = ["acme.example"]
pool    = "mta"
profile = "acme""#))]
pub struct Profile {
    /// The name of this profile.
    pub name: String,
    /// For which clients it holds.
    pub class: Class,
    /// With `class = "partner"`: the name of a `[[policy.list]]` that has the addresses of these clients.
    #[schemars(extend("x-default" = "none"))]
    pub list: String,
    /// With `class = "partner"`: names in client certificates issued by `client_ca` of the listener. They are known after the
    /// handshake.
    pub certificates: Vec<String>,
    /// What is otherwise: each table and key of `[policy]` may stand here. A list replaces the whole list below, and a `preset`
    /// all that is written nowhere in `[policy]`.
    #[schemars(extend("x-as" = "[policy]"))]
    pub policy: PolicyPart,
}

impl Config {
    /// The profiles that hold for classes of clients, in the file's order: the first that fits a client is its own.
    pub fn class_profiles(&self) -> impl Iterator<Item = &Profile> {
        let all = self.profile.iter();
        all.filter(|profile| profile.class != Class::Named)
    }

    /// The profiles that routes name, each once.
    #[must_use]
    pub fn route_profiles(&self) -> Vec<&Profile> {
        let named = |profile: &&Profile| {
            let mut routes = self.route.iter();
            routes.any(|route| route.profile == profile.name)
        };
        let all = self.profile.iter();
        all.filter(|profile| profile.class == Class::Named)
            .filter(named)
            .collect()
    }

    /// The place of a route's profile among [`Config::route_profiles`].
    #[must_use]
    pub fn profile_of_route(&self, route: &Route) -> Option<usize> {
        let profiles = self.route_profiles();
        profiles
            .iter()
            .position(|profile| profile.name == route.profile)
    }

    /// How many policies there are for one listener and class of clients: one for recipients whose route has no profile, and
    /// one for each profile of routes.
    #[must_use]
    pub fn policies_per_class(&self) -> usize {
        1 + self.route_profiles().len()
    }

    /// How many there are for one listener: those of clients of no class, and those of each class.
    #[must_use]
    pub fn policies_per_listener(&self) -> usize {
        (1 + self.class_profiles().count()) * self.policies_per_class()
    }

    /// What is judged on each listener, for each class of clients, for each profile of routes: see [`Site`] for the places.
    ///
    /// [`Site`]: crate::proxy::Site
    #[must_use]
    pub fn policies(&self) -> Vec<Policy> {
        let none = || std::iter::once(None);
        let routes = self.route_profiles();
        let mut all = Vec::new();
        for listener in &self.listener {
            for class in none().chain(self.class_profiles().map(Some)) {
                for route in none().chain(routes.iter().copied().map(Some)) {
                    let more = [class, route].map(|one| one.map(|one| &one.policy));
                    all.push(self.policy_with(listener, more));
                }
            }
        }
        all
    }

    /// What is judged on this listener, where neither class nor recipient say otherwise.
    #[must_use]
    pub fn policy_of(&self, listener: &Listener) -> Policy {
        self.policy_with(listener, [None, None])
    }

    /// What a profile makes of `[policy]`, whatever the listener.
    #[must_use]
    pub fn policy_in(&self, profile: &Profile) -> Policy {
        let listener = Listener::default();
        self.policy_with(&listener, [Some(&profile.policy), None])
    }

    fn policy_with(&self, listener: &Listener, more: [Option<&PolicyPart>; 2]) -> Policy {
        let named = self.profile.iter();
        let named = named
            .filter(|profile| !listener.profile.is_empty() && profile.name == listener.profile);
        let parts = named.map(|profile| &profile.policy);
        let parts: Vec<&PolicyPart> = parts
            .chain([&listener.policy])
            .chain(more.into_iter().flatten())
            .collect();
        // A preset comes with what `[policy]` has written (`PolicyPart::join`), and replaces what stands below it.
        let preset = parts.iter().rposition(|part| part.preset().is_some());
        let from = preset.unwrap_or(0);
        let below = match parts.get(from).and_then(|part| part.preset()) {
            Some(preset) => Cow::Owned(Policy::of(preset)),
            None => Cow::Borrowed(&self.policy),
        };
        let below = match listener.role {
            Role::Mx => below.into_owned(),
            Role::Submission => part::for_submission(&below),
        };
        let parts = parts.into_iter().skip(from);
        self.fitted(parts.fold(below, |below, part| part.over(below)))
    }

    /// With no more sessions of an address and a network than is their share of the places, where descriptors are few.
    fn fitted(&self, mut policy: Policy) -> Policy {
        let Some(places) = self.places else {
            return policy;
        };
        for (rate, (part, least)) in [
            (&mut policy.client_rate, OF_ADDRESS),
            (&mut policy.prefix_rate, OF_NETWORK),
        ] {
            // 0 is no limit, as it was written.
            if rate.sessions > 0 {
                rate.sessions = rate.sessions.min((places / part).max(least));
            }
        }
        policy
    }

    /// Whether clients on other machines are trusted. A network that has every client doesn't count: it is an error by itself.
    /// Those of `trusted_files` are among `trusted` once the files are read.
    #[must_use]
    pub fn trusts_other_machines(&self) -> bool {
        let mut trusted = self.trusted.iter();
        trusted.any(|net| !net.network().is_loopback() && net.prefix_len() > 0)
    }

    /// The pools that suspicious mail goes to.
    #[must_use]
    pub fn quarantine_pools(&self) -> Vec<String> {
        let named = self.policies().into_iter();
        let mut pools: Vec<String> = named.map(|policy| policy.quarantine.pool).collect();
        pools.retain(|pool| !pool.is_empty());
        pools.sort_unstable();
        pools.dedup();
        pools
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::config;
    use crate::config::Mode;

    #[test]
    fn parts_lie_over_each_other() {
        let config = config(
            "
            [policy]
            reject_score = 7.0
            tag_score = 1.0
            [[profile]]
            name = 'shared'
            policy = { reject_score = 6.0, tag_score = 2.0 }
            [[profile]]
            name = 'partners'
            class = 'partner'
            certificates = ['x.example']
            policy = { reject_score = 20.0 }
            [[profile]]
            name = 'strict'
            policy = { preset = 'strict', tag_score = 3.0 }
            [[route]]
            domains = ['strict.example']
            pool = 'mta'
            profile = 'strict'
            [[listener]]
            name = 'mx'
            address = ['127.0.0.1:2525']
            profile = 'shared'
            policy = { tag_score = 2.5 }
            [[listener]]
            name = 'sub'
            address = ['127.0.0.1:2526']
            role = 'submission'",
        );
        assert_eq!(
            (config.policies_per_class(), config.policies_per_listener()),
            (2, 4)
        );
        let scores: Vec<(f64, f64)> = config
            .policies()
            .iter()
            .map(|policy| (policy.reject_score, policy.tag_score))
            .collect();
        let strict = (7.0, 3.0);
        assert_eq!(
            scores,
            [
                (6.0, 2.5),
                strict,
                (20.0, 2.5),
                strict,
                (7.0, 1.0),
                strict,
                (20.0, 1.0),
                strict
            ]
        );
        let submission = &config.policies()[5];
        assert_eq!(submission.helo.address.mode, Mode::Off);
        assert_eq!(submission.rdns.none, crate::config::Effect::Reject);
        assert_eq!(config.profile_of_route(&config.route[0]), Some(0));
        assert_eq!(config.profile_of_route(&config.route[1]), None);
    }
}

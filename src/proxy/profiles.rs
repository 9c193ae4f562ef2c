//! Which profile of the policy holds: by listener, by the class of the client, by the route of the first recipient.

use crate::{
    config::{Class, Config},
    policy::{NamedList, Policy},
    upstream::Route,
};
use std::{net::IpAddr, sync::Arc};

/// The profiles of a site, as places among `Config::policies`: a listener's own, for each of its classes those of the routes.
#[derive(Clone, Default)]
pub struct Profiles {
    classes: Vec<ClassSite>,
    /// Of each route, in the file's order: 0 where it has none.
    routes: Vec<u16>,
    per_class: usize,
    per_listener: usize,
}

#[derive(Clone)]
struct ClassSite {
    class: Class,
    list: Option<Arc<dyn NamedList>>,
    certificates: Vec<Box<str>>,
}

/// What a client's class is found by.
#[derive(Clone, Copy)]
pub struct ClassFacts<'a> {
    /// Its address.
    pub address: IpAddr,
    /// It is in a trusted network, or has a certificate that is trusted.
    pub trusted: bool,
    /// It has logged in.
    pub authenticated: bool,
    /// Names in its certificate, which was verified.
    pub certificate: &'a [Box<str>],
}

impl Profiles {
    /// Those of a configuration.
    #[must_use]
    pub fn of(config: &Config, policy: &Policy) -> Profiles {
        let classes = config.class_profiles().map(|profile| ClassSite {
            class: profile.class,
            list: policy.named_list(&profile.list),
            certificates: profile
                .certificates
                .iter()
                .map(|name| name.as_str().into())
                .collect(),
        });
        let routes = config.route.iter().map(|route| {
            let place = config.profile_of_route(route);
            place.map_or(0, |place| u16::try_from(place + 1).unwrap_or(0))
        });
        Profiles {
            classes: classes.collect(),
            routes: routes.collect(),
            per_class: config.policies_per_class(),
            per_listener: config.policies_per_listener(),
        }
    }

    /// Whether any client has a class.
    #[must_use]
    pub fn has_classes(&self) -> bool {
        !self.classes.is_empty()
    }

    /// The class of a client: 0 where it has none.
    #[must_use]
    pub fn class_of(&self, facts: &ClassFacts<'_>) -> u8 {
        let fits = |one: &ClassSite| one.fits(facts);
        let place = self.classes.iter().position(fits);
        place.map_or(0, |place| u8::try_from(place + 1).unwrap_or(0))
    }

    /// The number of a route's profile: 0 where it has none.
    #[must_use]
    pub fn of_route(&self, route: &Route) -> u16 {
        self.routes.get(route.id.0 as usize).copied().unwrap_or(0)
    }

    /// The place of a profile.
    #[must_use]
    pub fn place(&self, listener: usize, class: u8, route: u16) -> usize {
        listener * self.per_listener + usize::from(class) * self.per_class + usize::from(route)
    }
}

impl ClassSite {
    fn fits(&self, facts: &ClassFacts<'_>) -> bool {
        match self.class {
            Class::Named => false,
            Class::Trusted => facts.trusted,
            Class::Authenticated => facts.authenticated,
            Class::Stranger => !facts.trusted && !facts.authenticated,
            Class::Partner => {
                let listed = |list: &Arc<dyn NamedList>| list.has_address(facts.address);
                let named = |name: &str| {
                    let mut known = self.certificates.iter();
                    known.any(|known| known.eq_ignore_ascii_case(name))
                };
                self.list.as_ref().is_some_and(listed)
                    || facts.certificate.iter().any(|name| named(name))
            }
        }
    }
}

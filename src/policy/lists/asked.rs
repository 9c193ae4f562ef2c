//! Lists as the checks ask them, at HELO, MAIL and RCPT: each a rule with its own entries, and those of a named list that it
//! shares. Here the entries are read, also of named lists.

use super::{file, lower, named::Named, names::Names, networks::Networks};
use crate::{
    config::{self, entry},
    policy::{
        builder::Builder,
        replies::Defaults,
        rule::{Rule, Say},
    },
    smtp::{domain, envelope::Path},
};
use std::{ops::ControlFlow, sync::Arc};

/// Reads the entries and files of a named list; what is wrong with them is reported.
pub fn read_named(builder: &mut Builder<'_>, list: &config::NamedList) -> Named {
    let key = format!("list {:?}", list.name);
    let mut networks = Networks::builder();
    let (mut names, mut patterns) = (Names::default(), Vec::new());
    file::read(builder, &key, &list.entries, &list.files, &mut |text| {
        match entry::is_address_or_network(text) {
            true => networks.add(text),
            false => names.add(text, &mut patterns),
        }
    });
    if let Err(why) = names.set_patterns(&patterns) {
        builder.fault(&key, why);
    }
    Named::new(networks.build(), names)
}

/// Several lists, asked in their order.
pub struct Lists(Vec<(Rule, Names, Option<Arc<Named>>)>);

/// Makes the lists of `kind` (`sender_list` …); `None` where none is on.
pub fn build(
    builder: &mut Builder<'_>,
    kind: &str,
    doc: &'static str,
    wishes: &[config::List],
    defaults: &'static Defaults,
) -> Option<Lists> {
    let mut lists = Vec::new();
    for list in wishes {
        let key = format!("{kind} {:?}", list.name);
        let name = format!("{kind}.{}", list.name);
        let Some(rule) = builder.rule(name, doc, &key, list.into(), defaults) else {
            continue;
        };
        let mut names = Names::default();
        let mut patterns = Vec::new();
        file::read(builder, &key, &list.entries, &list.files, &mut |entry| {
            if kind == "helo_list" && entry.contains('@') && !entry.starts_with('/') {
                return Err(format!("{entry:?}: a HELO name has no @"));
            }
            names.add(entry, &mut patterns)
        });
        if let Err(why) = names.set_patterns(&patterns) {
            builder.fault(&key, why);
        }
        let shared = builder.shared(&key, list);
        lists.push((rule, names, shared));
    }
    (!lists.is_empty()).then_some(Lists(lists))
}

impl Lists {
    /// Reports the lists that hold this address or its domain. `Break`: one has decided.
    pub fn look_address(&self, path: Path<'_>, say: &mut Say<'_>) -> ControlFlow<()> {
        let mut room = [0; lower::ROOM];
        let whole = lower::host(path.whole, &mut room);
        let domain = path.domain.strip_suffix(b".").unwrap_or(path.domain);
        let domain = domain::to_ascii(domain).map_or(domain.len(), |form| form.len());
        let domain = &whole[whole.len().saturating_sub(domain)..];
        self.look(say, |names| names.address(path.whole, whole, domain))
    }

    /// The same of a name.
    pub fn look_name(&self, name: &[u8], say: &mut Say<'_>) -> ControlFlow<()> {
        let mut room = [0; lower::ROOM];
        let lowered = lower::host(name, &mut room);
        self.look(say, |names| names.name(name, lowered))
    }

    fn look(
        &self,
        say: &mut Say<'_>,
        find: impl Fn(&Names) -> Option<&'static str>,
    ) -> ControlFlow<()> {
        for (rule, names, shared) in &self.0 {
            let shared = || find(&shared.as_ref()?.names);
            if let Some(detail) = find(names).or_else(shared) {
                say.hit(rule, detail)?;
            }
        }
        ControlFlow::Continue(())
    }
}

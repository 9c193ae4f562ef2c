//! Named lists, networks, time spans, numbers.

use super::Site;
use crate::{
    config::Size,
    policy::expression::{
        check::Checker,
        code::{Code, Node as Value},
        mistake::{Mistake, did_you_mean},
    },
};
use ipnet::IpNet;
use std::{net::IpAddr, sync::Arc};

/// `list("name")`.
pub fn list(checker: &mut Checker<'_>, site: &Site<'_>) -> Option<Code> {
    let tree = *site.arguments.first()?;
    let name = checker.literal(tree, "the name of a list")?;
    let lists = &checker.environment.lists;
    if let Some(list) = lists.get(name).or(checker.environment.unread_list) {
        return Some(Code::Named(Arc::clone(list)));
    }
    let hint = did_you_mean(name, lists.keys().map(|name| &**name)).unwrap_or_else(|| {
        let known: Vec<_> = lists
            .keys()
            .take(10)
            .map(|name| format!("\"{name}\""))
            .collect();
        match known.is_empty() {
            true => "the configuration has no lists".into(),
            false => format!("there is {}", known.join(", ")),
        }
    });
    let mistake = Mistake::new(tree.span, format!("there is no list {name:?}"));
    checker.report(mistake.with_hint(hint));
    None
}

/// `cidr("10.0.0.0/8", …)`.
pub fn cidr(checker: &mut Checker<'_>, site: &Site<'_>) -> Option<Code> {
    let networks: Vec<_> = site
        .arguments
        .iter()
        .map(|tree| {
            let text = checker.literal(tree, "a network")?;
            match network(text) {
                Ok(network) => Some(network),
                Err((why, hint)) => checker.refuse(tree.span, why, &hint),
            }
        })
        .collect();
    let networks = networks.into_iter().collect::<Option<Box<[_]>>>()?;
    Some(Code::Networks(networks))
}

/// A network, an IPv4-mapped one as IPv4, or what is wrong and what to write instead.
fn network(text: &str) -> Result<IpNet, (String, String)> {
    let hint = "write it as \"192.0.2.0/24\" or \"2001:db8::/32\"";
    let parsed = match text.parse::<IpAddr>() {
        Ok(address) => Ok(IpNet::from(address)),
        Err(_) => text.parse::<IpNet>(),
    };
    let Ok(network) = parsed else {
        return Err((format!("{text:?} is no network"), hint.into()));
    };
    if network.addr() != network.network() {
        let trunc = network.trunc();
        return Err((
            format!("{text:?} has bits set after its prefix"),
            format!(
                "write \"{trunc}\" for the network, \"{}\" for the address",
                network.addr()
            ),
        ));
    }
    let mapped = match network {
        IpNet::V6(v6) if v6.prefix_len() >= 96 => v6
            .addr()
            .to_ipv4_mapped()
            .map(|v4| (v4, v6.prefix_len() - 96)),
        _ => None,
    };
    let mapped = mapped.and_then(|(v4, length)| IpNet::new(v4.into(), length).ok());
    Ok(mapped.unwrap_or(network))
}

/// `duration("5m")`.
pub fn duration(checker: &mut Checker<'_>, site: &Site<'_>) -> Option<Code> {
    let tree = *site.arguments.first()?;
    let text = checker.literal(tree, "a duration")?;
    match milliseconds(text) {
        Some(value) => Some(Code::Duration(Value::Const(value))),
        None => checker.refuse(
            tree.span,
            format!("{text:?} is no duration"),
            "write it as \"30s\", \"5m\", \"1h30m\" or \"7d\"",
        ),
    }
}

/// The milliseconds of `1h30m`.
pub fn milliseconds(text: &str) -> Option<i64> {
    let mut sum = 0i64;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, unit) = rest.split_at(digits);
        let end = unit
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(unit.len());
        let factor = match &unit[..end] {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        sum = sum.checked_add(number.parse::<i64>().ok()?.checked_mul(factor)?)?;
        rest = &unit[end..];
    }
    (!text.is_empty()).then_some(sum)
}

/// `bytes("10MiB")`.
pub fn bytes(checker: &mut Checker<'_>, site: &Site<'_>) -> Option<Code> {
    let tree = *site.arguments.first()?;
    let text = checker.literal(tree, "a size")?;
    let size = text.parse::<Size>().ok().map(|size| i64::try_from(size.0));
    match size {
        Some(Ok(size)) => Some(Code::Int(Value::Const(size))),
        _ => checker.refuse(
            tree.span,
            format!("{text:?} is no size"),
            "write it as \"512\", \"64KiB\" or \"25MiB\"",
        ),
    }
}

/// `double(n)`.
pub fn double(checker: &mut Checker<'_>, site: &Site<'_>) -> Option<Code> {
    let tree = *site.arguments.first()?;
    match checker.code(tree)? {
        Code::Int(value) => {
            let value = value.map(|value| Ok(value as f64));
            checker.folded(tree.span, value).map(Code::Float)
        }
        Code::Float(value) => Some(Code::Float(value)),
        other => {
            let message = format!(
                "`double` takes a number, and this is of type {}",
                other.kind()
            );
            checker.refuse(tree.span, message, "")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_durations() {
        assert_eq!(milliseconds("30s"), Some(30_000));
        assert_eq!(milliseconds("1h30m5ms"), Some(5_400_005));
        assert_eq!(milliseconds("0s"), Some(0));
        assert_eq!(milliseconds("7d"), Some(604_800_000));
        for bad in [
            "",
            "5",
            "m",
            "5 m",
            "-5m",
            "5y",
            "9999999999999999d",
            "99999999999999999999s",
            "5mé",
        ] {
            assert_eq!(milliseconds(bad), None, "{bad}");
        }
    }

    #[test]
    fn reads_networks() {
        let shown = |text| network(text).map(|network| network.to_string());
        assert_eq!(shown("192.0.2.7"), Ok("192.0.2.7/32".into()));
        assert_eq!(shown("::ffff:192.0.2.0/120"), Ok("192.0.2.0/24".into()));
        assert!(shown("192.0.2.7/24").is_err_and(|(_, hint)| hint.contains("\"192.0.2.0/24\"")));
        for bad in ["", "192.0.2", "192.0.2.0/33", "a.example"] {
            assert!(shown(bad).is_err(), "{bad}");
        }
    }
}

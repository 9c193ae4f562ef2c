//! The candidate of `shadow_config`: a whole configuration, of which the policy is judged beside the one in force.

use crate::{
    config::{self, Config, ConfigSource, Draft, Overrides, Problem, Severity},
    policy::{self, Policy, Shared},
    proxy::Shadow,
};

/// Reads the candidate, where there is one. What it says of a candidate of its own is not looked at.
///
/// # Errors
/// Every problem in it that concerns its text; see [`build`] for the files that it names.
pub(super) fn load(config: &Config) -> Option<Result<Config, Vec<Problem>>> {
    let source = ConfigSource {
        file: Some(config.shadow_config.clone()?),
        overrides: Overrides::default(),
    };
    Some(source.draft().and_then(|mut draft| {
        let of_rules = rules(&draft).into_iter();
        let errors: Vec<Problem> = of_rules.chain(checks(&draft)).collect();
        draft.add(errors.into_iter().filter(Problem::is_error));
        draft.finish().map(|loaded| loaded.config)
    }))
}

/// Builds its policy for the listeners of `config`. `before` lends what it has counted.
///
/// # Errors
/// Every problem, in words for the operator.
pub(super) fn build(
    config: &Config,
    before: Option<&Shadow>,
) -> Result<Option<Shadow>, Vec<String>> {
    let candidate = match load(config) {
        None => return Ok(None),
        // Where descriptors are few, it has no more places than the one in force.
        Some(Ok(candidate)) => Config {
            places: config.places,
            ..candidate
        },
        Some(Err(problems)) => {
            let lines = problems.iter().map(Problem::brief);
            return Err(lines.map(|line| format!("shadow_config: {line}")).collect());
        }
    };
    let policies = policies(&candidate, config);
    let policy = Policy::build_all(&policies, 1, &config.hostname).map_err(|faults| {
        let faults = faults.iter();
        faults
            .map(|fault| format!("shadow_config: policy.{fault}"))
            .collect::<Vec<_>>()
    })?;
    if let Some(before) = before {
        policy.follow(&before.policy);
    }
    let shared = match before {
        Some(before) => before.shared.adapted(&policies),
        None => Shared::of_all(&policies),
    };
    Ok(Some(Shadow { policy, shared }))
}

/// What the candidate would judge on each listener that is in force: by the listener of the same name, or as on one that has
/// no policy of its own.
fn policies(candidate: &Config, config: &Config) -> Vec<config::Policy> {
    let of = |listener: &config::Listener| {
        let named = candidate.listener.iter();
        let named = named.clone().find(|one| one.name == listener.name);
        match named {
            Some(named) => candidate.policy_of(named),
            None => candidate.policy_of(&config::Listener {
                policy: config::PolicyPart::default(),
                ..listener.clone()
            }),
        }
    };
    // The places are those of the configuration in force, which has profiles for classes and routes.
    let places = config.policies_per_listener();
    let policies = config.listener.iter().map(of);
    policies
        .flat_map(|policy| std::iter::repeat_n(policy, places))
        .collect()
}

/// What else stops a start in the checks of a configuration, and is not told yet.
pub(super) fn checks(draft: &Draft) -> impl Iterator<Item = Problem> {
    let found = policy::check_mistakes(draft.config()).into_iter();
    // What the configuration's own checks tell with their places comes once more, in other words, and so does what follows from it.
    let only_here = |key: &str| {
        let mut keys = [".codes", ".errors", ".of", ".families"].iter();
        keys.any(|end| key.ends_with(end)) && !draft.is_told(key)
    };
    let is_sound = draft.is_sound();
    found.filter_map(move |policy::PolicyFault { key, message }| {
        let is_new = is_sound || only_here(&key);
        is_new.then(|| draft.problem(Severity::Error, &key, message, None))
    })
}

/// What is wrong with conditions and replies of rules.
pub(super) fn rules(draft: &Draft) -> Vec<Problem> {
    let is_broken = |key: &str| draft.is_broken(key);
    let found = policy::rule_mistakes(draft.config(), &is_broken).into_iter();
    let place = |rule: policy::WrongRule| {
        let severity = match rule.is_warning {
            true => Severity::Warning,
            false => Severity::Error,
        };
        let mistake = rule.mistake;
        let problem = draft.problem(severity, &rule.key, mistake.message, mistake.hint);
        match mistake.span {
            Some(span) => draft.problem_within(problem, &rule.value, span),
            None => problem,
        }
    };
    found.map(place).collect()
}

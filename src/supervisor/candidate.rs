//! The candidate of `shadow_config`: a whole configuration, of which the policy is judged beside the one in force.

use crate::{
    config::{self, Config, ConfigSource, Loaded, Overrides, Problem, Severity},
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
    Some(source.load().and_then(|loaded| {
        let of_rules = rules(&loaded).into_iter();
        let of_rules = of_rules.filter_map(|(problem, _)| problem.is_error().then_some(problem));
        let errors: Vec<Problem> = of_rules.chain(checks(&loaded)).collect();
        match errors.is_empty() {
            true => Ok(loaded.config),
            false => Err(errors),
        }
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
        Some(Ok(candidate)) => candidate,
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

/// What else stops a start in the checks of a configuration.
pub(super) fn checks(loaded: &Loaded) -> impl Iterator<Item = Problem> {
    let found = policy::check_mistakes(&loaded.config).into_iter();
    found.map(|policy::PolicyFault { key, message }| {
        loaded.problem(Severity::Error, &key, message, None)
    })
}

/// What is wrong with conditions and replies of rules, and whether it stops nothing.
pub(super) fn rules(loaded: &Loaded) -> Vec<(Problem, bool)> {
    let found = policy::rule_mistakes(&loaded.config).into_iter();
    let place = |rule: policy::WrongRule| {
        let severity = match rule.is_warning {
            true => Severity::Warning,
            false => Severity::Error,
        };
        let mistake = rule.mistake;
        let problem = loaded.problem(severity, &rule.key, mistake.message, mistake.hint);
        let problem = match mistake.span {
            Some(span) => loaded.problem_within(problem, &rule.value, span),
            None => problem,
        };
        (problem, rule.is_warning)
    };
    found.map(place).collect()
}

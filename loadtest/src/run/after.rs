//! Behind a run: the sink is asked for its tally, and the two are held against each other.

use crate::{
    ledger::{Ledger, Tally, reconcile},
    result::Reconciliation,
};
use std::{
    thread,
    time::{Duration, Instant},
};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often the sink is asked.
const PAUSE: Duration = Duration::from_millis(200);
/// The longest tally that is read.
const ANSWER_MAX: u64 = 1 << 30;

/// Asks the sink at its control address until what it has got of this run grows no more and nothing is missing, at most
/// for `settle` (a queue between us and it may take its time), and reconciles.
///
/// # Errors
/// No tally could be read there: the reason, and the address.
pub fn reconciled(
    ledger: &Ledger,
    control: &str,
    settle: Duration,
) -> Result<Reconciliation, String> {
    let began = Instant::now();
    let mut last: Option<Tally> = None;
    loop {
        let tally = fetch(ledger, control)?;
        let found = reconcile(ledger, &tally);
        // What is lost may still be under way; what came twice or damaged will not get better.
        let still = last.as_ref() == Some(&tally);
        if (still && found.lost == 0) || began.elapsed() >= settle {
            return Ok(found);
        }
        last = Some(tally);
        thread::sleep(PAUSE.min(settle));
    }
}

fn fetch(ledger: &Ledger, control: &str) -> Result<Tally, String> {
    let run = ledger.run;
    let page = format!("http://{control}/tally?run={run}");
    let explained = |why: String| format!("{page}: {why}; is that the sink's control port?");
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(PATIENCE))
        .http_status_as_error(false)
        .proxy(None)
        .build()
        .into();
    let mut answer = agent
        .get(&page)
        .call()
        .map_err(|why| explained(why.to_string()))?;
    match answer.status().as_u16() {
        200 => {}
        // It has seen nothing of this run.
        404 => {
            return Ok(Tally {
                run,
                arrivals: Vec::new(),
            });
        }
        other => return Err(explained(format!("it answered {other}"))),
    }
    let text = answer
        .body_mut()
        .with_config()
        .limit(ANSWER_MAX)
        .read_to_string();
    let text = text.map_err(|why| explained(why.to_string()))?;
    serde_json::from_str(&text).map_err(|why| explained(why.to_string()))
}

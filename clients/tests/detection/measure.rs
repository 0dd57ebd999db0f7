//! Runs a case in a transaction with one layer of the guard switched on, until it is clear whether that layer sees it.

use std::collections::BTreeSet;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

use tokio::runtime::{self, Runtime};
use tracing_log::LogTracer;
use tracing_subscriber::prelude::*;
use txsafe::guard::{Code, Finding, Policy, Rehearsal, Severity, external_io};
use txsafe_clients::{Case, Failed, Wait, answer_slowly};
use txsafe_layers::ClientEvents;

/// Hundreds of times what the slowest case takes; names of lines are looked up meanwhile, which reads all of this
/// program the first time.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often each case is run under each layer.
const RUNS: usize = 3;

/// So many times slower everything answers, one after the other, until the runs agree, and with what the case says of
/// itself.
///
/// On a busy machine an answer may be there before anybody has looked for it; and the guard excuses a poll that was blocked
/// no longer than threads wait for a processor these days. Neither is so of answers that take long enough.
const SLOWNESS: [u32; 7] = [1, 2, 4, 8, 16, 64, 256];

/// Some disks take milliseconds, and some nothing: what is seen of that is the machine's, and no measure of the guard.
const OF_THE_DISK: (&str, Layer) = ("file.std.fsync", Layer::Polls);

/// How often it is tried to see a wait that may or may not be.
const CHANCES: usize = 10;

/// What sees a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layer {
    /// The accounts of what the transaction waits for.
    Waits,
    /// The clocks of the thread that polls it.
    Polls,
    /// What clients log.
    Events,
    /// The functions that stand before the C library's.
    System,
    /// `external_io` around the call.
    Marks,
}

impl Layer {
    pub(crate) const ALL: [Self; 5] =
        [Self::Waits, Self::Polls, Self::Events, Self::System, Self::Marks];

    fn code(self) -> Code {
        match self {
            Self::Waits => Code::ExternalWait,
            Self::Polls => Code::BlockingCall,
            Self::Events | Self::Marks => Code::ExternalCall,
            Self::System => Code::SystemCall,
        }
    }

    /// As sensitive as in tests, but for all other layers; and nothing panics.
    fn policy(self) -> Policy {
        Code::ALL
            .into_iter()
            .fold(Policy::test(), |policy, code| policy.severity(code, Severity::Off))
            .severity(self.code(), Severity::Warn)
    }
}

/// What all layers see of one case.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) case: &'static Case,
    pub(crate) cells: Vec<(Layer, Cell)>,
}

/// What one layer sees of one case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cell {
    Never,
    /// In some runs, of which nobody knows why.
    Sometimes(Words),
    /// In some runs, of a case that may wait or may not.
    IfItWaits(Words),
    /// As long as a disk takes.
    AsTheDisk,
    /// In every run.
    Seen(Words),
}

/// What findings name.
pub(crate) type Words = BTreeSet<String>;

impl Row {
    pub(crate) fn cell(&self, layer: Layer) -> &Cell {
        match self.cells.iter().find(|(of, _)| *of == layer) {
            Some((_, cell)) => cell,
            None => panic!("{layer:?} wasn't measured"),
        }
    }

    /// Whether a layer sees every call of it that needs no mark.
    pub(crate) fn is_seen_without_a_mark(&self) -> bool {
        self.cells
            .iter()
            .any(|(layer, cell)| *layer != Layer::Marks && matches!(cell, Cell::Seen(_)))
    }
}

/// Measures one case.
pub(crate) fn row(case: &'static Case) -> Result<Row, Failed> {
    let cell = |layer| match cell(case, layer) {
        Ok(cell) => Ok((layer, cell)),
        Err(failed) => Err(format!("{} under {layer:?}: {failed}", case.name)),
    };
    let cells = Layer::ALL.into_iter().map(cell).collect::<Result<_, _>>()?;
    Ok(Row { case, cells })
}

fn cell(case: &'static Case, layer: Layer) -> Result<Cell, Failed> {
    if OF_THE_DISK == (case.name, layer) {
        return Ok(Cell::AsTheDisk);
    }
    let is_expected = match (layer, case.wait) {
        (Layer::Waits, Wait::Yields) => return if_it_waits(case),
        (Layer::Waits, wait) => Some(wait == Wait::Suspends),
        (Layer::Polls, wait) => Some(wait == Wait::Blocks),
        (Layer::Events | Layer::System | Layer::Marks, _) => None,
    };
    let mut runs = Vec::new();
    for times in SLOWNESS {
        answer_slowly(times);
        runs = (0..RUNS).map(|_| seen(case, layer)).collect::<Result<Vec<_>, _>>()?;
        let agree = runs.iter().all(|run| *run == runs[0]);
        if agree && is_expected.is_none_or(|expected| expected == runs[0].is_some()) {
            break;
        }
    }
    answer_slowly(1);
    let times_seen = runs.iter().flatten().count();
    let words = runs.into_iter().flatten().reduce(|all, words| &all & &words);
    Ok(match words {
        None => Cell::Never,
        Some(words) if times_seen == RUNS => Cell::Seen(words),
        Some(words) => Cell::Sometimes(words),
    })
}

/// Who is quicker isn't known, and isn't what is measured: whether it is seen when it waits.
fn if_it_waits(case: &'static Case) -> Result<Cell, Failed> {
    for _ in 0..CHANCES {
        if let Some(words) = seen(case, Layer::Waits)? {
            return Ok(Cell::IfItWaits(words));
        }
    }
    Ok(Cell::Never)
}

/// What a layer names in one run; none if it doesn't see it.
fn seen(case: &'static Case, layer: Layer) -> Result<Option<Words>, Failed> {
    let findings = find(case, layer)?;
    let words = findings.iter().map(|finding| word(case, layer, finding));
    let words: Words = words.collect::<Result<_, _>>()?;
    Ok((!words.is_empty()).then_some(words))
}

/// What a finding names, of which the line must be the case's own.
fn word(case: &Case, layer: Layer, finding: &Finding) -> Result<String, Failed> {
    let site = finding.site.as_ref();
    let is_here = site.is_some_and(|site| site.file == case.place.file());
    let (called, name) = (finding.what.strip_prefix("called "), case.name);
    let (word, is_right) = match layer {
        Layer::Waits => (site.and_then(|site| site.called.as_deref()), is_here),
        // Its line isn't known.
        Layer::Polls => (Some("yes"), true),
        Layer::Events => (called, is_here),
        Layer::System => (finding.what.split('(').next(), is_here),
        // The line is that of the mark.
        Layer::Marks => (Some("yes"), called.is_some_and(|called| called.starts_with(name))),
    };
    match word {
        Some(word) if is_right && finding.code == layer.code() => Ok(word.to_owned()),
        _ => Err(format!("it is not the case's own that was found: {finding}").into()),
    }
}

/// Runs a case once.
fn find(case: &'static Case, layer: Layer) -> Result<Vec<Finding>, Failed> {
    let runtime = runtime_for(case)?;
    let (tell, told) = mpsc::channel();
    let policy = layer.policy().on_finding(move |finding| {
        // If nobody listens any more, that has been reported.
        let _ = tell.send(finding.clone());
    });
    let stage = Rehearsal::new(policy)?;
    let (end, ended) = mpsc::channel();
    runtime.spawn(async move {
        // As above.
        let _ = end.send(run(case, layer, stage).await);
    });
    // Not by tokio's clock: it stands still if the case has blocked every thread that turns it.
    let outcome = ended.recv_timeout(PATIENCE);
    runtime.shutdown_background();
    match outcome {
        Ok(outcome) => outcome?,
        Err(RecvTimeoutError::Timeout) => return Err("never ends".into()),
        Err(RecvTimeoutError::Disconnected) => return Err("panicked, see above".into()),
    }
    all(&told)
}

async fn run(case: &Case, layer: Layer, stage: Rehearsal) -> Result<(), Failed> {
    let call = case.prepare().await?;
    let left = match layer {
        Layer::Marks => stage.transaction(case.name, external_io(case.name, call)).await,
        Layer::Waits | Layer::Polls | Layer::Events | Layer::System => {
            stage.transaction(case.name, call).await
        }
    };
    drop(left?);
    Ok(())
}

/// Has clients be heard.
///
/// On all threads and always, as in a program: what is logged first where nobody listens, tracing takes for something that
/// nobody will ever listen to.
pub(crate) fn listen() -> Result<(), Failed> {
    LogTracer::init()?;
    tracing::subscriber::set_global_default(
        tracing_subscriber::registry().with(ClientEvents::new().layer()),
    )?;
    Ok(())
}

/// All findings. The last to hold the sender is a finding whose line is looked up by a thread of the guard's, after the
/// transaction and the stage are gone.
fn all(told: &Receiver<Finding>) -> Result<Vec<Finding>, Failed> {
    let mut findings = Vec::new();
    loop {
        match told.recv_timeout(PATIENCE) {
            Ok(finding) => findings.push(finding),
            Err(RecvTimeoutError::Disconnected) => return Ok(findings),
            Err(RecvTimeoutError::Timeout) => return Err("a finding is never told".into()),
        }
    }
}

/// With one worker for what only may wait: nobody else is quicker then than the task that looks whether it must.
fn runtime_for(case: &Case) -> Result<Runtime, Failed> {
    let workers = if case.wait == Wait::Yields { 1 } else { 2 };
    Ok(runtime::Builder::new_multi_thread().worker_threads(workers).enable_all().build()?)
}

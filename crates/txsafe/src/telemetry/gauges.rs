//! The gauges of a database's pool, with their keys made once.

use super::pool::PoolState;
use metrics::{Key, Label, Level, Metadata, Recorder, with_recorder};

static METADATA: Metadata<'static> = Metadata::new("txsafe", Level::INFO, Some(module_path!()));

/// The gauges of one pool. The recorder is looked up at each use, like that of the [`Meters`](super::meters::Meters).
#[derive(Debug)]
pub(crate) struct PoolGauges {
    idle: Key,
    in_use: Key,
    max: Key,
    waiting: Key,
}

impl PoolGauges {
    /// Those of the pool that dashboards know by this name.
    pub(crate) fn new(pool: &str) -> Self {
        let name = || Label::new("pool", pool.to_owned());
        let connections = |state| {
            let labels = vec![name(), Label::from_static_parts("state", state)];
            Key::from_parts("txsafe_pool_connections", labels)
        };
        Self {
            idle: connections("idle"),
            in_use: connections("in_use"),
            max: Key::from_parts("txsafe_pool_max_connections", vec![name()]),
            waiting: Key::from_parts("txsafe_pool_waiting", vec![name()]),
        }
    }

    pub(crate) fn record(&self, state: PoolState) {
        with_recorder(|recorder| {
            set(recorder, &self.idle, state.idle);
            set(recorder, &self.in_use, state.in_use());
            set(recorder, &self.max, state.max_size);
            if let Some(waiting) = state.waiting {
                set(recorder, &self.waiting, waiting);
            }
        });
    }
}

fn set(recorder: &dyn Recorder, key: &Key, number: usize) {
    let number = u32::try_from(number).unwrap_or(u32::MAX);
    recorder.register_gauge(key, &METADATA).set(f64::from(number));
}

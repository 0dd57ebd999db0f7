//! What this thread did with its time: computed, waited for a processor, or blocked.

use std::{cell::Cell, num::NonZero, time::Duration};

/// The clocks of this thread, in nanoseconds.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Clocks {
    processor: u64,
    /// Ready to run, and none was free.
    queued: u64,
    /// How often it gave its processor away, because it had to wait for something.
    yielded: i64,
    /// How often it was given one.
    slices: u64,
    /// How often a page of its memory came from a disk, as code does that runs for the first time.
    major_faults: i64,
}

/// A thread may be blocked by another one that was put aside while it held a lock: for so many times what threads wait for a
/// processor these days, on average.
const PUT_ASIDE: u32 = 8;

/// As long as more threads are ready than there are processors, single ones are put aside for much longer than the average.
const PUT_ASIDE_NOW: Duration = Duration::from_millis(50);

/// What a thread waits for a processor is averaged over at least so many times.
const SLICES: u64 = 64;

/// What became of some time of this thread.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Spent {
    pub(super) running: u64,
    pub(super) queued: u64,
    pub(super) blocked: u64,
    /// Up to so long it may have been blocked by another one that was put aside.
    put_aside: Duration,
    /// Pages came from a disk.
    has_faulted: bool,
}

impl Clocks {
    /// What became of `wall` nanoseconds since.
    pub(super) fn spent(self, wall: u64) -> Spent {
        let Some(now) = Self::read() else {
            return Spent { running: wall, ..Spent::default() };
        };
        let running = now.processor.saturating_sub(self.processor).min(wall);
        let queued = now.queued.saturating_sub(self.queued).min(wall - running);
        let rest = wall - running - queued;
        // What is missing from a thread that never waited is the machine's own, as under a hypervisor.
        let blocked = if now.yielded > self.yielded { rest } else { 0 };
        let has_faulted = now.major_faults > self.major_faults;
        let queued = queued + (rest - blocked);
        Spent { running, queued, blocked, put_aside: now.put_aside(), has_faulted }
    }

    /// For how long a thread is put aside, by far.
    fn put_aside(self) -> Duration {
        thread_local! {
            static EARLIER: Cell<(Clocks, Clocks)> = Cell::default();
        }
        let (earlier, middle) = EARLIER.get();
        if self.slices - middle.slices >= SLICES {
            EARLIER.set((middle, self));
        }
        let (slices, queued) = (self.slices - earlier.slices, self.queued - earlier.queued);
        PUT_ASIDE * Duration::from_nanos(queued / slices.max(1))
    }
}

impl Spent {
    /// Whether a thread may be `blocked` for so long by nothing but a machine that is short of processors.
    pub(super) fn is_the_machines(&self, blocked: Duration) -> bool {
        blocked < self.put_aside
            || (blocked < PUT_ASIDE_NOW && (self.has_faulted || is_short_of_processors()))
    }
}

/// Whether more threads are ready to run than there are processors.
/// Source: `proc_loadavg(5)`, the fourth field.
fn is_short_of_processors() -> bool {
    let ready = || {
        let text = std::fs::read_to_string("/proc/loadavg").ok()?;
        let (ready, _all) = text.split_ascii_whitespace().nth(3)?.split_once('/')?;
        ready.parse::<usize>().ok()
    };
    let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
    ready().is_some_and(|ready| ready > processors)
}

#[cfg(target_os = "linux")]
mod clocks {
    use super::Clocks;
    use nix::{
        sys::resource::{UsageWho, getrusage},
        time::{ClockId, clock_gettime},
    };
    use std::{cell::OnceCell, fs::File, os::unix::fs::FileExt};

    impl Clocks {
        /// As they stand now, if the system tells.
        pub(in crate::guard) fn read() -> Option<Self> {
            let processor = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).ok()?;
            let usage = getrusage(UsageWho::RUSAGE_THREAD).ok()?;
            let (queued, slices) = statistics().unwrap_or_default();
            let seconds = u64::try_from(processor.tv_sec()).ok()?;
            Some(Self {
                processor: seconds * 1_000_000_000 + u64::try_from(processor.tv_nsec()).ok()?,
                queued,
                slices,
                yielded: usage.voluntary_context_switches(),
                major_faults: usage.major_page_faults(),
            })
        }
    }

    /// Source: the kernel's documentation, `scheduler/sched-stats.rst`, "/proc/<pid>/schedstat".
    fn statistics() -> Option<(u64, u64)> {
        thread_local! {
            // Opened once: it is that of the thread that opened it.
            static STATISTICS: OnceCell<Option<File>> = const { OnceCell::new() };
        }
        STATISTICS.with(|file| {
            let file =
                file.get_or_init(|| File::open("/proc/thread-self/schedstat").ok()).as_ref()?;
            let mut bytes = [0; 64];
            let read = file.read_at(&mut bytes, 0).ok()?;
            let text = std::str::from_utf8(&bytes[..read]).ok()?;
            let mut numbers =
                text.split_ascii_whitespace().skip(1).map(|number| number.parse().ok());
            Some((numbers.next()??, numbers.next()??))
        })
    }
}

#[cfg(not(target_os = "linux"))]
impl Clocks {
    /// Other systems don't tell.
    pub(super) fn read() -> Option<Self> {
        None
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;
    use std::time::Instant;

    fn spent(f: impl FnOnce()) -> Spent {
        let (clocks, start) = (Clocks::read().unwrap(), Instant::now());
        f();
        clocks.spent(u64::try_from(start.elapsed().as_nanos()).unwrap())
    }

    #[test]
    fn a_sleep_is_told_from_a_spin() {
        // What is tested here is what becomes of a sleep.
        let sleep = spent(|| std::thread::sleep(Duration::from_millis(20)));
        assert!(sleep.blocked >= 19_000_000, "{sleep:?}");
        let spin = spent(|| {
            let start = Instant::now();
            while start.elapsed() < Duration::from_millis(20) {
                std::hint::spin_loop();
            }
        });
        assert!(spin.blocked < 5_000_000, "{spin:?}");
    }
}

//! Classes of locks: what the nodes of the graph are.

use crate::{clock::excused::lock, locks::rank::Target};
use std::{
    collections::HashMap,
    sync::{
        Arc, LazyLock, Mutex, MutexGuard,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
};

/// The first so many tables, namespaces and sequences of a process are watched, and others not.
pub(crate) const MOST_CLASSES: usize = 1_024;

/// So many of them are for advisory locks of plain SQL.
#[cfg(feature = "sql")]
const MOST_ADVISORY: usize = 256;

/// The class of a rank's locks; one `static` for each rank, made by [`rank!`](crate::rank).
#[derive(Debug)]
pub struct Class {
    rank: &'static str,
    target: Target,
    /// 0 where it hasn't been asked for; else one more than the id, or [`NONE`].
    id: AtomicU32,
}

const NONE: u32 = u32::MAX;

/// A class by its number, the same in all graphs of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct ClassId(u16);

impl Class {
    /// The class of what a rank locks.
    #[must_use]
    pub const fn of(rank: &'static str, target: Target) -> Self {
        Self { rank, target, id: AtomicU32::new(0) }
    }

    pub(crate) fn id(&self) -> Option<ClassId> {
        match self.id.load(Relaxed) {
            0 => {
                let id = ClassId::named(&self.name());
                self.id.store(id.map_or(NONE, |id| u32::from(id.0) + 1), Relaxed);
                id
            }
            NONE => None,
            id => u16::try_from(id - 1).ok().map(ClassId),
        }
    }

    /// Tables have the name that plain SQL calls them by.
    fn name(&self) -> String {
        match self.target {
            Target::Table { name, .. } => name.strip_prefix("public.").unwrap_or(name).to_owned(),
            Target::Advisory { namespace } => format!("{} (advisory {namespace})", self.rank),
            Target::Sequence { name, .. } => format!("{} (sequence {name})", self.rank),
        }
    }
}

impl ClassId {
    /// The class with this name; `None` where there are too many.
    pub(crate) fn named(name: &str) -> Option<Self> {
        names().named(name).map(Self)
    }

    /// The class with this name, if there is one.
    #[cfg(feature = "sql")]
    pub(crate) fn known(name: &str) -> Option<Self> {
        names().ids.get(name).copied().map(Self)
    }

    /// The class of an advisory lock of plain SQL; `None` where too many have one. Texts that have keys written into them would leave
    /// no class for tables.
    #[cfg(feature = "sql")]
    pub(crate) fn of_advisory(name: &str) -> Option<Self> {
        names().of_advisory(name).map(Self)
    }

    pub(crate) fn name(self) -> Arc<str> {
        names().all.get(self.index()).cloned().unwrap_or_default()
    }

    pub(crate) fn index(self) -> usize {
        usize::from(self.0)
    }
}

#[derive(Default)]
struct Names {
    ids: HashMap<Arc<str>, u16>,
    all: Vec<Arc<str>>,
    /// How many are of advisory locks of plain SQL.
    #[cfg(feature = "sql")]
    advisory: usize,
}

impl Names {
    fn named(&mut self, name: &str) -> Option<u16> {
        if let Some(&id) = self.ids.get(name) {
            return Some(id);
        }
        let id = u16::try_from(self.all.len()).ok().filter(|_| self.all.len() < MOST_CLASSES)?;
        let name: Arc<str> = name.into();
        self.all.push(Arc::clone(&name));
        self.ids.insert(name, id);
        Some(id)
    }

    #[cfg(feature = "sql")]
    fn of_advisory(&mut self, name: &str) -> Option<u16> {
        if !self.ids.contains_key(name) {
            if self.advisory == MOST_ADVISORY {
                return None;
            }
            self.advisory += 1;
        }
        self.named(name)
    }
}

fn names() -> MutexGuard<'static, Names> {
    static NAMES: LazyLock<Mutex<Names>> = LazyLock::new(Mutex::default);
    lock(&NAMES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rank_and_plain_sql_name_one_class() {
        let class = Class::of("Any", Target::Table { name: "public.class_test", key: "id" });
        let id = class.id();
        assert_eq!(id, ClassId::named("class_test"));
        assert_eq!(class.id(), id, "from the static");
        assert_eq!(&*id.unwrap().name(), "class_test");
        assert_ne!(id, ClassId::named("class_test_2"));
    }

    #[cfg(feature = "sql")]
    #[test]
    fn advisory_locks_leave_room_for_tables() {
        let mut names = Names::default();
        let ids = (0..=MOST_ADVISORY).map(|n| names.of_advisory(&format!("lock {n}")));
        let ids: Vec<_> = ids.collect();
        assert!(ids[..MOST_ADVISORY].iter().all(Option::is_some) && ids[MOST_ADVISORY].is_none());
        assert_eq!(names.of_advisory("lock 0"), ids[0]);
        assert!(names.named("table").is_some());
    }
}

//! From addresses to names: which line of the application a stack goes through, and what it called there.

use super::trace::Trace;
use crate::guard::finding::Site;
use std::{collections::HashMap, ffi::c_void, path::Path, ptr, sync::Arc};

/// So many stacks are remembered with their names.
const MOST_KNOWN: usize = 1_024;

/// Stacks whose names were looked up.
#[derive(Debug, Default)]
pub(in crate::guard) struct Names(HashMap<Arc<Trace>, Told>);

/// What a stack tells.
#[derive(Debug, Clone, Default)]
pub(super) struct Told {
    pub(super) site: Option<Site>,
    /// The task only made room for others.
    pub(super) yields: bool,
    pub(super) awaited: Awaited,
}

/// What whoever waits on a stack waits for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::guard) enum Awaited {
    /// A connection of a pool.
    Connection,
    /// The answer of a database, or a connection to it.
    Database,
    #[default]
    Other,
}

impl Names {
    /// What a stack tells.
    pub(super) fn told(&mut self, trace: Arc<Trace>) -> &Told {
        if self.0.len() >= MOST_KNOWN {
            self.0.clear();
        }
        self.0.entry(trace).or_insert_with_key(|trace| told_by(trace))
    }

    /// What a task waits for that waits on all of these at once, and where.
    pub(in crate::guard) fn awaited(&mut self, traces: &[Arc<Trace>]) -> (Awaited, Option<Site>) {
        let told: Vec<_> =
            traces.iter().map(|trace| self.told(Arc::clone(trace)).clone()).collect();
        let of = |awaited| told.iter().find(move |told| told.awaited == awaited);
        let told = of(Awaited::Connection).or_else(|| of(Awaited::Database));
        told.map_or_else(Default::default, |told| (told.awaited, told.site.clone()))
    }
}

fn told_by(trace: &Trace) -> Told {
    let mut told = Told::default();
    let mut called = None;
    for &address in trace.addresses() {
        if told.site.is_some() {
            break;
        }
        // Inlined calls have one address, innermost first.
        backtrace::resolve(ptr::without_provenance_mut::<c_void>(address), |symbol| {
            if told.site.is_some() {
                return;
            }
            let Some(name) = symbol.name().map(|name| format!("{name:#}")) else { return };
            // Source: tokio, `runtime/context.rs`: `yield_now`, and tasks that have used up their budget, are woken when
            // their worker has nothing else to do.
            told.yields |= name.starts_with("tokio::runtime::") && name.contains("::defer");
            if told.awaited == Awaited::Other {
                told.awaited = awaited_in(&name, symbol.filename());
            }
            match (symbol.filename(), symbol.lineno()) {
                (Some(file), Some(line)) if is_of_application(file, &name) => {
                    told.site = Some(Site {
                        file: shown(file),
                        line,
                        function: function(&name).map(ToOwned::to_owned),
                        called: called.take(),
                        is_behind: false,
                    });
                }
                (file, _) => {
                    if let Some(name) = library(&name, file) {
                        called = Some(name);
                    }
                }
            }
        });
    }
    told
}

/// Whether code is the application's own: neither Rust's, nor a dependency's, nor ours.
fn is_of_application(file: &Path, name: &str) -> bool {
    const FOREIGN: [&str; 5] =
        ["/rustc/", "/rustlib/", "/registry/src/", "/git/checkouts/", "/library/core/"];
    // Where only lines were compiled in, what was inlined has a name without a crate; and functions that stand before the C
    // library's have the names of those.
    const OURS: [&str; 5] = [
        "txsafe/src/",
        "txsafe-diesel/src/",
        "txsafe-interpose/src/",
        "txsafe-layers/src/",
        "txsafe-sqlx/src/",
    ];
    // Where the C library comes with the names of its lines, they look like an application's.
    if file.extension().is_none_or(|extension| extension != "rs") {
        return false;
    }
    let file = file.to_string_lossy().replace('\\', "/");
    !FOREIGN.iter().chain(&OURS).any(|part| file.contains(part)) && !is_ours(crate_of(name))
}

fn is_ours(name: &str) -> bool {
    matches!(
        name,
        "txsafe" | "txsafe_diesel" | "txsafe_interpose" | "txsafe_layers" | "txsafe_sqlx"
    )
}

/// What is waited for in this call of a library. Those inside of it were asked before.
fn awaited_in(name: &str, file: Option<&Path>) -> Awaited {
    let library = match crate_of(name) {
        "" => file.and_then(crate_of_file).unwrap_or_default(),
        library => library.to_owned(),
    };
    let is_in = |module: &str, folder: &str| {
        let file = file.map(|file| file.to_string_lossy().replace('\\', "/")).unwrap_or_default();
        name.contains(module) || file.contains(folder)
    };
    match library.as_str() {
        "deadpool" if is_in("deadpool::managed::", "/src/managed/") => Awaited::Connection,
        "sqlx_core" if is_in("sqlx_core::pool::", "/src/pool/") => Awaited::Connection,
        "bb8" | "mobc" => Awaited::Connection,
        "tokio_postgres" | "sqlx_postgres" | "diesel_async" => Awaited::Database,
        _ => Awaited::Other,
    }
}

/// The crate that is worth naming: what Rust and we put around futures says nothing.
fn library(name: &str, file: Option<&Path>) -> Option<String> {
    let library = match crate_of(name) {
        // An async function of a library has no more of a name than that, where only lines were compiled in.
        "" => crate_of_file(file?)?,
        library => library.to_owned(),
    };
    let says_nothing = matches!(
        library.as_str(),
        "core" | "std" | "alloc" | "backtrace" | "tracing" | "futures_util" | "futures_core" | ""
    );
    (!says_nothing && !is_ours(&library)).then_some(library)
}

/// `<reqwest::Pending as core::future::Future>::poll` is of `reqwest`.
fn crate_of(name: &str) -> &str {
    let name = name.trim_start_matches(['<', '&', '*']);
    let name = name.strip_prefix("mut ").unwrap_or(name);
    // An inlined call may have no path; and `F as futures_core` begins with a parameter, not with a crate.
    let first = name.split_once("::").map_or("", |(first, _)| first);
    if first.contains(['<', ' ']) { "" } else { first }
}

/// `…/registry/src/index/tokio-util-0.7.20/src/lib.rs` is of `tokio_util`.
fn crate_of_file(file: &Path) -> Option<String> {
    let file = file.to_string_lossy().replace('\\', "/");
    let (_, path) = file.split_once("/registry/src/")?;
    let folder = path.split('/').nth(1)?;
    let is_version = |(at, _): &(usize, _)| {
        let (first, _) = folder[at + 1..].split_once('.').unwrap_or_default();
        first.parse::<u64>().is_ok()
    };
    let (end, _) = folder.match_indices('-').find(is_version)?;
    Some(folder[..end].replace('-', "_"))
}

/// `shop::charge::{{closure}}` is `shop::charge`; of a closure that was inlined, no more is known than that.
fn function(name: &str) -> Option<&str> {
    name.split("::{{closure}}").next().filter(|name| !name.starts_with('{'))
}

/// Seen from the workspace that the program runs in, as places in the source are that the compiler knows; tests run in the
/// folder of their package.
fn shown(file: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    let workspace = here.ancestors().find(|folder| folder.join("Cargo.lock").is_file());
    file.strip_prefix(workspace.unwrap_or(&here)).unwrap_or(file).display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crates_and_functions_are_read_from_symbols() {
        assert_eq!(crate_of("<reqwest::Pending as core::future::future::Future>::poll"), "reqwest");
        assert_eq!(crate_of("<&mut hyper::Conn as core::future::future::Future>::poll"), "hyper");
        assert_eq!(crate_of("tokio::time::sleep"), "tokio");
        assert_eq!(function("shop::charge::{{closure}}::{{closure}}"), Some("shop::charge"));
        assert_eq!(function("{async_block#0}"), None);
        assert_eq!(crate_of("poll<shop::Order>"), "");
        assert_eq!(crate_of("<F as futures_core::future::TryFuture>::try_poll"), "");
        assert_eq!(
            library("<core::pin::Pin<P> as core::future::future::Future>::poll", None),
            None
        );
    }

    #[test]
    fn a_library_without_a_name_is_known_by_its_file() {
        let of = |file: &str| {
            let file = format!("/home/ada/.cargo/registry/src/index.crates.io-1949/{file}");
            library("{async_fn#0}<shop::Order>", Some(Path::new(&file)))
        };
        assert_eq!(of("redis-1.8.1/src/client.rs").as_deref(), Some("redis"));
        assert_eq!(of("async-nats-0.51.0-rc.1/src/lib.rs").as_deref(), Some("async_nats"));
        assert_eq!(of("plane-2d-1.0.0/src/lib.rs").as_deref(), Some("plane_2d"));
        assert_eq!(of("futures-util-0.3.34/src/lib.rs"), None);
        assert_eq!(of("txsafe-0.1.0/src/guard/within.rs"), None);
        assert_eq!(
            library("{async_fn#0}", Some(Path::new("/rustc/0123/library/core/src/a.rs"))),
            None
        );
    }

    #[test]
    fn pools_and_drivers_are_known() {
        let at = |file: &str| format!("/home/ada/.cargo/registry/src/index.crates.io-1949/{file}");
        let awaited = |name, file: &str| awaited_in(name, Some(Path::new(&at(file))));
        let pool = "sqlx_core::pool::inner::PoolInner<DB>::acquire::{{closure}}";
        assert_eq!(awaited(pool, "sqlx-core-0.9.0/src/pool/inner.rs"), Awaited::Connection);
        let inlined = "{async_fn#0}<Manager>";
        assert_eq!(awaited(inlined, "deadpool-0.13.1/src/managed/mod.rs"), Awaited::Connection);
        assert_eq!(awaited(inlined, "deadpool-0.13.1/src/unmanaged/mod.rs"), Awaited::Other);
        let query = "tokio_postgres::query::query::{{closure}}";
        assert_eq!(awaited(query, "tokio-postgres-0.7.18/src/query.rs"), Awaited::Database);
        assert_eq!(awaited("reqwest::get", "reqwest-0.13.0/src/lib.rs"), Awaited::Other);
    }

    #[test]
    fn only_the_applications_own_code_is_a_site() {
        let is_own = |file: &str, name: &str| is_of_application(Path::new(file), name);
        assert!(is_own("/home/ada/shop/src/main.rs", "shop::main"));
        assert!(!is_own("./nptl/pthread_create.c", "start_thread"));
        assert!(!is_own("/home/ada/.cargo/registry/src/index/hyper-1.0.0/src/lib.rs", "hyper::x"));
        assert!(!is_own("/rustc/0123/library/core/src/future.rs", "core::future::poll"));
        assert!(!is_own("/home/ada/txsafe/src/guard/within.rs", "txsafe::guard::within::within"));
        assert!(!is_own("/home/ada/txsafe/src/guard/heard.rs", "note_first_external_call"));
    }
}

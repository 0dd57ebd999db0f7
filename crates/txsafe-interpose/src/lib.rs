#![doc = include_str!("../README.md")]
#![allow(
    unsafe_code,
    reason = "a function takes the place of the C library's by its name, and passes on to it, by unsafe code only"
)]

#[cfg(not(all(target_os = "linux", target_env = "gnu", not(target_feature = "crt-static"))))]
compile_error!(
    "txsafe-interpose stands before functions of a C library that is linked dynamically, and knows that of linux-gnu only: \
     remove the dependency, or move it to \
     `[target.'cfg(all(target_os = \"linux\", target_env = \"gnu\"))'.dev-dependencies]`, and build without \
     `-C target-feature=+crt-static`"
);

#[cfg(all(target_os = "linux", target_env = "gnu", not(target_feature = "crt-static")))]
mod active;
#[cfg(all(target_os = "linux", target_env = "gnu", not(target_feature = "crt-static")))]
mod calls;
#[cfg(all(target_os = "linux", target_env = "gnu", not(target_feature = "crt-static")))]
mod names;
#[cfg(all(target_os = "linux", target_env = "gnu", not(target_feature = "crt-static")))]
mod next;
#[cfg(all(target_os = "linux", target_env = "gnu", not(target_feature = "crt-static")))]
mod quiet;

#[cfg(all(target_os = "linux", target_env = "gnu", not(target_feature = "crt-static")))]
pub use self::active::is_active;

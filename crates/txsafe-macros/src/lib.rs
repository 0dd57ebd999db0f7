//! The macros behind `txsafe::lock_order!` and `#[txsafe::guard::external_io]`. Nobody depends on this crate but `txsafe`.
//!
//! It parses its few words by hand: the crates that are common for that take longer to build than all of `txsafe`, and
//! every application would wait for them.

#![forbid(unsafe_code)]

mod expand;
mod external_io;
mod function;
mod graph;
mod parse;
mod tokens;

use proc_macro::{Delimiter, Group, Ident, Literal, Punct, Spacing, Span, TokenStream, TokenTree};

/// See `txsafe::lock_order!`, which passes the path of its own crate in front.
#[doc(hidden)]
#[proc_macro]
pub fn __lock_order(input: TokenStream) -> TokenStream {
    let order = parse::parse(input).and_then(|order| {
        let relation = graph::Relation::of(&order)?;
        Ok(expand::expand(&order, &relation))
    });
    order.unwrap_or_else(Refused::into_compile_error)
}

/// See `txsafe::guard::external_io`.
#[doc(hidden)]
#[proc_macro_attribute]
pub fn __external_io_txsafe(name: TokenStream, item: TokenStream) -> TokenStream {
    external_io::mark("::txsafe::guard", name, item)
}

/// The same for those who depend on `txsafe-diesel` and needn't know `txsafe`: an attribute has no `$crate`.
#[doc(hidden)]
#[proc_macro_attribute]
pub fn __external_io_diesel(name: TokenStream, item: TokenStream) -> TokenStream {
    external_io::mark("::txsafe_diesel::guard", name, item)
}

/// The same for `txsafe-sqlx`.
#[doc(hidden)]
#[proc_macro_attribute]
pub fn __external_io_sqlx(name: TokenStream, item: TokenStream) -> TokenStream {
    external_io::mark("::txsafe_sqlx::guard", name, item)
}

/// A declaration that can't be meant, at the word that says so.
struct Refused {
    at: Span,
    message: String,
}

impl Refused {
    fn new(at: Span, message: impl Into<String>) -> Self {
        Self { at, message: message.into() }
    }

    /// `::core::compile_error! { "…" }`
    fn into_compile_error(self) -> TokenStream {
        let spanned = |mut token: TokenTree| {
            token.set_span(self.at);
            token
        };
        let punct = |c, spacing| TokenTree::from(Punct::new(c, spacing));
        let mut tokens = Vec::new();
        for word in ["core", "compile_error"] {
            tokens.push(punct(':', Spacing::Joint));
            tokens.push(punct(':', Spacing::Alone));
            tokens.push(Ident::new(word, self.at).into());
        }
        tokens.push(punct('!', Spacing::Alone));
        let message = spanned(Literal::string(&self.message).into());
        tokens.push(Group::new(Delimiter::Brace, message.into()).into());
        tokens.into_iter().map(spanned).collect()
    }
}

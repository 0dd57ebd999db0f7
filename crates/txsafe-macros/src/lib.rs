//! The macro behind `txsafe::lock_order!`. Nobody depends on this crate but `txsafe`.
//!
//! It parses its few words by hand: the crates that are common for that take longer to build than all of `txsafe`, and
//! every application with a lock order would wait for them.

#![forbid(unsafe_code)]

mod expand;
mod graph;
mod parse;

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

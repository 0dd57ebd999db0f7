//! Tokens, put together.

use proc_macro::{Delimiter, Group, TokenStream, TokenTree};

/// Tokens that are put together from texts, paths and words that keep their places.
#[derive(Default)]
pub(crate) struct Tokens(pub(crate) TokenStream);

impl Tokens {
    pub(crate) fn text(&mut self, text: &str) -> &mut Self {
        match text.parse::<TokenStream>() {
            Ok(tokens) => self.0.extend(tokens),
            Err(error) => unreachable!("`{text}` is written above: {error}"),
        }
        self
    }

    /// A text in which `@` stands for the crate of the traits.
    pub(crate) fn in_crate(&mut self, krate: &TokenStream, text: &str) -> &mut Self {
        let mut tokens = Self::default();
        tokens.text(&text.replace('@', KRATE));
        self.stream(&with_crate(tokens.0, krate))
    }

    pub(crate) fn stream(&mut self, tokens: &TokenStream) -> &mut Self {
        self.0.extend(tokens.clone());
        self
    }

    pub(crate) fn token(&mut self, token: impl Into<TokenTree>) -> &mut Self {
        self.0.extend([token.into()]);
        self
    }

    pub(crate) fn group(&mut self, delimiter: Delimiter, tokens: Self) -> &mut Self {
        self.token(Group::new(delimiter, tokens.0))
    }
}

/// A word that stands for the crate of the traits while a text is parsed.
const KRATE: &str = "__txsafe";

fn with_crate(tokens: TokenStream, krate: &TokenStream) -> TokenStream {
    let replaced = tokens.into_iter().map(|token| match token {
        TokenTree::Ident(word) if word.to_string() == KRATE => krate.clone(),
        TokenTree::Group(group) => {
            let inner = with_crate(group.stream(), krate);
            TokenTree::from(Group::new(group.delimiter(), inner)).into()
        }
        other => other.into(),
    });
    replaced.collect()
}

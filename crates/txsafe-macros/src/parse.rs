//! From tokens to the order that they declare.

use crate::Refused;
use proc_macro::{Delimiter, Group, Ident, Span, TokenStream, TokenTree};
use std::iter::Peekable;

/// `/// doc  pub partial Name: A => B; A => c::D`
pub(crate) struct Order {
    /// The path of the crate that holds the traits.
    pub(crate) krate: TokenStream,
    pub(crate) attributes: TokenStream,
    pub(crate) visibility: TokenStream,
    pub(crate) is_partial: bool,
    pub(crate) name: Ident,
    /// Each rank once, in the order in which they were named first.
    pub(crate) ranks: Vec<Rank>,
    /// Chains of indices into `ranks`.
    pub(crate) chains: Vec<Vec<usize>>,
}

pub(crate) struct Rank {
    pub(crate) path: TokenStream,
    /// As it was written.
    pub(crate) text: String,
    pub(crate) span: Span,
}

type Tokens = Peekable<proc_macro::token_stream::IntoIter>;

const SHAPE: &str = "`pub Name: First => Second => Third`";

pub(crate) fn parse(input: TokenStream) -> Result<Order, Refused> {
    let mut tokens = input.into_iter().peekable();
    let Some(TokenTree::Group(krate)) = tokens.next() else {
        return Err(Refused::new(Span::call_site(), "use `lock_order!`, which calls this macro"));
    };
    let attributes = attributes(&mut tokens);
    let visibility = visibility(&mut tokens);
    let mut name = ident(&mut tokens, "the name of the order")?;
    let is_partial =
        name.to_string() == "partial" && matches!(tokens.peek(), Some(TokenTree::Ident(_)));
    if is_partial {
        name = ident(&mut tokens, "the name of the order")?;
    }
    match tokens.next() {
        Some(TokenTree::Punct(colon)) if colon.as_char() == ':' => {}
        other => {
            let at = other.map_or(name.span(), |token| token.span());
            return Err(Refused::new(at, format!("expected `:` after `{name}`, as in {SHAPE}")));
        }
    }
    let mut order = Order {
        krate: krate.stream(),
        attributes,
        visibility,
        is_partial,
        name,
        ranks: Vec::new(),
        chains: Vec::new(),
    };
    while tokens.peek().is_some() {
        let chain = chain(&mut tokens, &mut order)?;
        order.chains.push(chain);
    }
    if order.ranks.is_empty() {
        let message = format!("lock order `{}` has no ranks; write {SHAPE}", order.name);
        return Err(Refused::new(order.name.span(), message));
    }
    if !order.is_partial && order.chains.len() > 1 {
        let second = &order.ranks[order.chains[1][0]];
        let message = format!(
            "a total lock order is one chain; write `partial {}` if ranks of different chains are never locked together",
            order.name
        );
        return Err(Refused::new(second.span, message));
    }
    Ok(order)
}

/// `A => b::B => C`, to a `;` or to the end.
fn chain(tokens: &mut Tokens, order: &mut Order) -> Result<Vec<usize>, Refused> {
    let mut chain = Vec::new();
    loop {
        let rank = rank(tokens, order)?;
        let known = order.ranks.iter().position(|known| known.text == rank.text);
        if known.is_some() && !order.is_partial {
            let message = format!(
                "`{}` is named twice in lock order `{}`: a rank has one place (in `partial {}` it may be in several chains)",
                rank.text, order.name, order.name
            );
            return Err(Refused::new(rank.span, message));
        }
        chain.push(known.unwrap_or(order.ranks.len()));
        if known.is_none() {
            order.ranks.push(rank);
        }
        match tokens.next() {
            None => return Ok(chain),
            Some(TokenTree::Punct(end)) if end.as_char() == ';' => return Ok(chain),
            Some(TokenTree::Punct(arrow)) if arrow.as_char() == '=' => match tokens.next() {
                Some(TokenTree::Punct(head)) if head.as_char() == '>' => {}
                _ => return Err(Refused::new(arrow.span(), "expected `=>`")),
            },
            Some(other) => {
                let message = format!("expected `=>` or `;`, found `{other}`");
                return Err(Refused::new(other.span(), message));
            }
        }
    }
}

/// A path: `Rank`, `billing::Rank`, `::billing::Rank`.
fn rank(tokens: &mut Tokens, order: &Order) -> Result<Rank, Refused> {
    let mut path = Vec::new();
    while let Some(TokenTree::Ident(_) | TokenTree::Punct(_)) = tokens.peek() {
        if matches!(tokens.peek(), Some(TokenTree::Punct(p)) if p.as_char() != ':') {
            break;
        }
        path.extend(tokens.next());
    }
    let Some(last) = path.last() else {
        let at = tokens.peek().map_or(order.name.span(), TokenTree::span);
        let message = format!("expected a rank, as in {SHAPE}");
        return Err(Refused::new(at, message));
    };
    let span = last.span();
    let text = path.iter().map(ToString::to_string).collect();
    Ok(Rank { path: path.into_iter().collect(), text, span })
}

fn attributes(tokens: &mut Tokens) -> TokenStream {
    let mut attributes = Vec::new();
    while matches!(tokens.peek(), Some(TokenTree::Punct(hash)) if hash.as_char() == '#') {
        attributes.extend(tokens.by_ref().take(2));
    }
    attributes.into_iter().collect()
}

fn visibility(tokens: &mut Tokens) -> TokenStream {
    let mut visibility = Vec::new();
    if matches!(tokens.peek(), Some(TokenTree::Ident(word)) if word.to_string() == "pub") {
        visibility.extend(tokens.next());
        let is_group = |group: &Group| group.delimiter() == Delimiter::Parenthesis;
        if matches!(tokens.peek(), Some(TokenTree::Group(group)) if is_group(group)) {
            visibility.extend(tokens.next());
        }
    }
    visibility.into_iter().collect()
}

fn ident(tokens: &mut Tokens, what: &str) -> Result<Ident, Refused> {
    match tokens.next() {
        Some(TokenTree::Ident(ident)) => Ok(ident),
        other => {
            let at = other.map_or_else(Span::call_site, |token| token.span());
            Err(Refused::new(at, format!("expected {what}, as in {SHAPE}")))
        }
    }
}

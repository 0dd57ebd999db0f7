//! From tokens to the parts of a function, as far as they matter for what is put around its body.

use crate::Refused;
use proc_macro::{Delimiter, Group, Ident, Span, TokenStream, TokenTree};

/// `async fn charge(&self, cents: u32) -> Result<Receipt, Declined> { … }`
pub(crate) struct Function {
    /// All before the body.
    pub(crate) head: TokenStream,
    pub(crate) name: Ident,
    pub(crate) is_async: bool,
    pub(crate) output: Output,
    pub(crate) body: Group,
}

/// What a function returns, as it is written.
pub(crate) enum Output {
    /// Nothing, or a type that can't be written inside of a function: `-> impl Iterator`, `-> !`.
    Unwritten,
    Type(TokenStream),
    /// `-> impl Future`.
    Future,
    /// `-> Pin<Box<dyn Future>>`, as `#[async_trait]` makes of an `async fn`; or `BoxFuture`.
    BoxedFuture(TokenStream),
}

pub(crate) fn parse(item: TokenStream) -> Result<Function, Refused> {
    const NO_FUNCTION: &str = "`#[external_io]` marks functions and methods: put it on each `fn` that calls something outside";
    let mut tokens: Vec<_> = item.into_iter().collect();
    let Some(keyword) = tokens.iter().position(|token| is_word(token, "fn")) else {
        return Err(Refused::new(
            tokens.first().map_or_else(Span::call_site, TokenTree::span),
            NO_FUNCTION,
        ));
    };
    if let Some(other) = tokens[..keyword].iter().find(|token| !may_precede(token)) {
        return Err(Refused::new(other.span(), NO_FUNCTION));
    }
    let Some(TokenTree::Ident(name)) = tokens.get(keyword + 1).cloned() else {
        return Err(Refused::new(tokens[keyword].span(), NO_FUNCTION));
    };
    if let Some(word) = tokens[..keyword].iter().find(|token| is_word(token, "const")) {
        let message = format!(
            "`{name}` is a `const fn`, which can't call anything outside: remove `#[external_io]`, or `const`"
        );
        return Err(Refused::new(word.span(), message));
    }
    let Some(body) = tokens.pop_if(|last| brace(last).is_some()).as_ref().and_then(brace) else {
        let message = format!(
            "`{name}` has no body here: put `#[external_io]` on the methods that implement it"
        );
        return Err(Refused::new(name.span(), message));
    };
    let is_async = tokens[..keyword].iter().any(|token| is_word(token, "async"));
    let output = output(&tokens[keyword + 2..]);
    Ok(Function { head: tokens.into_iter().collect(), name, is_async, output, body })
}

/// Attributes, `pub(crate)` and words like `async`, `unsafe` and `extern "C"`.
fn may_precede(token: &TokenTree) -> bool {
    match token {
        TokenTree::Punct(hash) => hash.as_char() == '#',
        TokenTree::Group(group) => group.delimiter() != Delimiter::Brace,
        TokenTree::Ident(word) => {
            let word = word.to_string();
            ["pub", "default", "const", "async", "safe", "unsafe", "extern"]
                .contains(&word.as_str())
        }
        TokenTree::Literal(_) => true,
    }
}

/// What stands behind the parameters: `[generics] (…) [-> output] [where …]`.
fn output(tokens: &[TokenTree]) -> Output {
    let mut depth = 0;
    let mut is_arrow = false;
    let parameters = tokens.iter().position(|token| {
        match token {
            TokenTree::Punct(punct) if punct.as_char() == '<' => depth += 1,
            TokenTree::Punct(punct) if punct.as_char() == '>' && !is_arrow => depth -= 1,
            _ => {}
        }
        is_arrow = is_punct(token, '-');
        depth == 0
            && matches!(token, TokenTree::Group(g) if g.delimiter() == Delimiter::Parenthesis)
    });
    let Some((_, [dash, head, rest @ ..])) = parameters.map(|at| tokens.split_at(at + 1)) else {
        return Output::Unwritten;
    };
    if !is_punct(dash, '-') || !is_punct(head, '>') {
        return Output::Unwritten;
    }
    let end = rest.iter().position(|token| is_word(token, "where")).unwrap_or(rest.len());
    let written = &rest[..end];
    let tokens = || written.iter().cloned().collect::<TokenStream>();
    let names_a_future = || contains(tokens(), "Future");
    match written {
        [TokenTree::Ident(word), ..] if word.to_string() == "impl" && names_a_future() => {
            Output::Future
        }
        [TokenTree::Punct(never)] if never.as_char() == '!' => Output::Unwritten,
        _ if contains(tokens(), "impl") => Output::Unwritten,
        _ => match outermost(written).as_str() {
            "Pin" if names_a_future() => Output::BoxedFuture(tokens()),
            "BoxFuture" | "LocalBoxFuture" => Output::BoxedFuture(tokens()),
            _ => Output::Type(tokens()),
        },
    }
}

/// `Pin` of `std::pin::Pin<…>`.
fn outermost(written: &[TokenTree]) -> String {
    let path = written.iter().take_while(|token| !is_punct(token, '<'));
    path.last().map_or_else(String::new, ToString::to_string)
}

fn contains(tokens: TokenStream, word: &str) -> bool {
    tokens.into_iter().any(|token| match token {
        TokenTree::Group(group) => contains(group.stream(), word),
        other => is_word(&other, word),
    })
}

/// `{ … }`, also as a macro by example hands it on.
fn brace(token: &TokenTree) -> Option<Group> {
    let TokenTree::Group(group) = token else { return None };
    match group.delimiter() {
        Delimiter::Brace => Some(group.clone()),
        Delimiter::None => brace(&group.stream().into_iter().last()?),
        Delimiter::Parenthesis | Delimiter::Bracket => None,
    }
}

fn is_word(token: &TokenTree, word: &str) -> bool {
    matches!(token, TokenTree::Ident(ident) if ident.to_string() == word)
}

fn is_punct(token: &TokenTree, punct: char) -> bool {
    matches!(token, TokenTree::Punct(p) if p.as_char() == punct)
}

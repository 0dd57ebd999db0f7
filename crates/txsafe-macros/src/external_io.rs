//! Puts the mark of an external call around a function's body.

use crate::{
    Refused,
    function::{self, Function, Output},
    tokens::Tokens,
};
use proc_macro::{Delimiter, Group, Literal, Span, TokenStream, TokenTree};

/// The function with its body marked; where that can't be done, the reason, and what was given.
pub(crate) fn mark(guard: &str, name: TokenStream, item: TokenStream) -> TokenStream {
    let marked = function::parse(item.clone()).and_then(|function| {
        let name = name_of_call(name, &function)?;
        Ok(expand(guard, name, function))
    });
    marked.unwrap_or_else(|refused| refused.into_compile_error().into_iter().chain(item).collect())
}

/// What the call is called: what the attribute says, or the function.
fn name_of_call(given: TokenStream, function: &Function) -> Result<Literal, Refused> {
    const CURE: &str = "`#[external_io]` takes the name of the call, as in `#[external_io(\"stripe.charge\")]`, or nothing \
                        and takes that of the function";
    let mut given = given.into_iter();
    let (first, second) = (given.next(), given.next());
    match (first, second) {
        (None, _) => {
            let name = function.name.to_string();
            Ok(Literal::string(name.strip_prefix("r#").unwrap_or(&name)))
        }
        (Some(TokenTree::Literal(name)), None)
            if name.to_string().ends_with('"') && name.to_string() != "\"\"" =>
        {
            Ok(name)
        }
        (Some(TokenTree::Group(group)), None) if group.delimiter() == Delimiter::None => {
            name_of_call(group.stream(), function)
        }
        (Some(other), _) => Err(Refused::new(other.span(), CURE)),
    }
}

fn expand(guard: &str, name: Literal, function: Function) -> TokenStream {
    let call = Call { guard, name, at: function.name.span() };
    let mut body = Tokens::default();
    if function.is_async {
        body.stream(&call.of("external_io", block(&function)).0).text(".await");
    } else {
        let closure = closure(&function);
        match &function.output {
            Output::Unwritten | Output::Type(_) => body = call.of("external_io_blocking", closure),
            Output::Future => body = call.of("external_io", called(closure)),
            Output::BoxedFuture(_) => {
                let future = call.of("external_io", called(closure));
                body.text("::std::boxed::Box::pin").group(Delimiter::Parenthesis, future);
            }
        }
    }
    let body = Group::new(Delimiter::Brace, body.0);
    function.head.into_iter().chain([body.into()]).collect()
}

/// A call of one of the guard's markers.
struct Call<'a> {
    guard: &'a str,
    name: Literal,
    /// Where findings and the compiler's complaints point to.
    at: Span,
}

impl Call<'_> {
    fn of(&self, marker: &str, marked: Tokens) -> Tokens {
        let (mut call, mut arguments) = (Tokens::default(), Tokens::default());
        arguments.token(self.name.clone()).text(",").stream(&marked.0);
        call.text(&format!("{}::{marker}", self.guard)).group(Delimiter::Parenthesis, arguments);
        let placed = call.0.into_iter().map(|mut token| {
            token.set_span(self.at);
            token
        });
        Tokens(placed.collect())
    }
}

/// `async move { … }`, which has no place for what it returns; where that is said nowhere, nothing is converted to it.
fn block(function: &Function) -> Tokens {
    let (mut block, mut inside) = (Tokens::default(), Tokens::default());
    if let Output::Type(output) | Output::BoxedFuture(output) = &function.output {
        let mut returns = Tokens::default();
        returns.text("let __output:").stream(output).text("= loop {}; return __output;");
        inside.text("#[allow(unreachable_code, clippy::all, clippy::pedantic)] if false");
        inside.group(Delimiter::Brace, returns);
    }
    inside.stream(&function.body.stream());
    block.text("async move").group(Delimiter::Brace, inside);
    block
}

/// `move || -> … { … }`
fn closure(function: &Function) -> Tokens {
    let mut closure = Tokens::default();
    closure.text("move ||");
    if let Output::Type(output) | Output::BoxedFuture(output) = &function.output {
        closure.text("->").stream(output);
    }
    closure.token(function.body.clone());
    closure
}

/// `(closure)()`, which a `return` doesn't leave.
fn called(closure: Tokens) -> Tokens {
    let mut called = Tokens::default();
    called.group(Delimiter::Parenthesis, closure).text("()");
    called
}

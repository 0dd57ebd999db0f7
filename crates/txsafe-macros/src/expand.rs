//! From the relation to the items that let the compiler check it.

use crate::{
    graph::Relation,
    parse::{Order, Rank},
    tokens::Tokens,
};
use proc_macro::{Delimiter, Literal, TokenStream};
use std::fmt::Write;

pub(crate) fn expand(order: &Order, relation: &Relation) -> TokenStream {
    let mut out = Tokens::default();
    declaration(order, relation, &mut out);
    texts(order, relation, &mut out);
    positions(order, relation, &mut out);
    pairs(order, relation, &mut out);
    if counts(order) {
        places(order, relation, &mut out);
    }
    distinct(order, &mut out);
    out.0
}

/// The order's type, and the trait that explains it.
///
/// Type parameters begin with `__`, since an order or a rank may have any other name.
fn declaration(order: &Order, relation: &Relation, out: &mut Tokens) {
    let name = &order.name;
    let text = text(order, relation);
    let place = format!("{}:{}", name.span().file(), name.span().line());
    out.stream(&order.attributes)
        .text("#[derive(Debug, Clone, Copy)] #[allow(clippy::exhaustive_enums, missing_docs)]")
        .stream(&order.visibility)
        .text("enum")
        .token(name.clone())
        .text("{}");
    out.text(&format!(
        r#"
        /// `Held: {name}Before<Next>`: while `Held` is the highest rank that is locked, `Next` may be locked.
        #[diagnostic::on_unimplemented(
            message = "lock order violation: `{{Next}}` may not be locked while `{{Self}}` is already locked",
            label = "`{{Next}}` doesn't come after `{{Self}}` in `{name}`",
            note = "lock order `{name}` ({place}): {text}",
            note = "if `{{Self}}` is a type parameter, the bound `{{Self}}: {name}Before<{{Next}}>` says what callers may hold already",
            note = "a database keeps locks until COMMIT or ROLLBACK, so the rank only rises: lock `{{Next}}` before `{{Self}}`, or use `try_lock_earlier`, which can't wait"
        )]"#
    ));
    out.stream(&order.visibility);
    out.text(&format!("trait {name}Before<Next> {{}}"));
    for (head, body) in [
        (
            format!("impl<__Held, __Next> @::Allows<__Held, __Next> for {name}"),
            format!("where __Held: {name}Before<__Next>, {name}: @::Position<__Next> {{}}"),
        ),
        (
            format!(
                "#[diagnostic::do_not_recommend] impl<__Held, __Earlier> @::Passed<__Held, __Earlier> for {name}"
            ),
            format!("where __Earlier: {name}Before<__Held>, {name}: @::Position<__Earlier> {{}}"),
        ),
    ] {
        out.in_crate(&order.krate, &head).in_crate(&order.krate, &body);
    }
}

/// What the order is called, and its texts.
fn texts(order: &Order, relation: &Relation, out: &mut Tokens) {
    let text = text(order, relation);
    let (mermaid, dot) = (mermaid(order, relation), dot(order, relation));
    let mut neighbours = Tokens::default();
    for &(a, b) in &relation.edges {
        let mut pair = Tokens::default();
        for rank in [a, b] {
            pair.text("<").stream(&order.ranks[rank].path);
            pair.in_crate(&order.krate, "as @::Rank>::class,");
        }
        neighbours.group(Delimiter::Parenthesis, pair).text(",");
    }
    let mut items = Tokens::default();
    items.text(&format!(
        "const NAME: &'static str = {:?}; const TEXT: &'static str = {text:?}; \
         const MERMAID: &'static str = {mermaid:?}; const DOT: &'static str = {dot:?};",
        order.name.to_string()
    ));
    items
        .in_crate(&order.krate, "const NEIGHBOURS: &'static [@::locks::relation::Neighbours] = &")
        .group(Delimiter::Bracket, neighbours)
        .text(";");
    out.in_crate(&order.krate, &format!("impl @::LockOrder for {}", order.name))
        .group(Delimiter::Brace, items);
}

/// Each rank has its place, and can be the first to be locked.
fn positions(order: &Order, relation: &Relation, out: &mut Tokens) {
    let name = &order.name;
    for (position, &rank) in relation.sorted.iter().enumerate() {
        let path = &order.ranks[rank].path;
        out.in_crate(&order.krate, "impl @::Position<")
            .stream(path)
            .text(&format!("> for {name} {{ const POSITION: u32 = {position}; }}"));
    }
    // Of a rank without a place, its missing place is all there is to say.
    let anything = format!("impl<__Next> {name}Before<__Next> for @::Unlocked {{}}");
    out.in_crate(&order.krate, &anything);
}

/// One impl for each pair. A blanket impl for what is transitive would refuse diamonds, and name a wrong rank.
fn pairs(order: &Order, relation: &Relation, out: &mut Tokens) {
    let name = &order.name;
    for (held, held_rank) in order.ranks.iter().enumerate() {
        for (next, next_rank) in order.ranks.iter().enumerate() {
            if held == next || relation.is_before(held, next) {
                out.text(&format!("impl {name}Before<"))
                    .stream(&next_rank.path)
                    .text("> for")
                    .stream(&held_rank.path)
                    .text("{}");
                if !counts(order) {
                    higher(order, [held_rank, next_rank], next_rank, out);
                    if held != next {
                        higher(order, [next_rank, held_rank], next_rank, out);
                    }
                }
            }
        }
    }
}

/// Whether ranks are compared by counting their places: in total orders, up to where the compiler stops counting.
fn counts(order: &Order) -> bool {
    !order.is_partial && order.ranks.len() <= 100
}

/// Of a set that is locked at once, the highest rank counts: by the places of two ranks.
fn places(order: &Order, relation: &Relation, out: &mut Tokens) {
    let (krate, name) = (&order.krate, &order.name);
    let mut before: Option<&Rank> = None;
    for &rank in &relation.sorted {
        let rank = &order.ranks[rank];
        let mut place = Tokens::default();
        place.text("type Place =");
        match before {
            None => place.in_crate(krate, &relative("@First")),
            Some(before) => {
                place.in_crate(krate, &relative("@Behind<<Self as @Placed<")).stream(&before.path);
                place.text(">>::Place>")
            }
        };
        place.text(";");
        out.in_crate(krate, &relative("impl @Placed<")).stream(&rank.path);
        out.text(&format!("> for {name}")).group(Delimiter::Brace, place);
        before = Some(rank);
    }
    let places = "<Self as @Placed<__One>>::Place, <Self as @Placed<__Other>>::Place";
    out.in_crate(
        krate,
        &format!("impl<__One, __Other> @::Higher<__One, __Other> for {name} where"),
    );
    out.in_crate(krate, &relative("Self: @Placed<__One> + @Placed<__Other>,"));
    out.in_crate(krate, &relative(&format!("({places}): @Compared<__One, __Other>")));
    let rank = format!("{{ type Rank = <({places}) as @Compared<__One, __Other>>::Higher; }}");
    out.in_crate(krate, &relative(&rank));
}

/// A text in which `@` stands for the module of relations.
fn relative(text: &str) -> String {
    text.replace('@', "@::locks::relation::")
}

/// The same by an impl for each pair.
fn higher(order: &Order, [one, other]: [&Rank; 2], higher: &Rank, out: &mut Tokens) {
    out.in_crate(&order.krate, "impl @::Higher<")
        .stream(&one.path)
        .text(",")
        .stream(&other.path)
        .text(&format!("> for {}", order.name));
    let mut rank = Tokens::default();
    rank.text("type Rank =").stream(&higher.path).text(";");
    out.group(Delimiter::Brace, rank);
}

/// No two ranks lock the same rows. It isn't generic, so `cargo check` evaluates it.
fn distinct(order: &Order, out: &mut Tokens) {
    let (mut targets, mut messages) = (Tokens::default(), Tokens::default());
    for rank in &order.ranks {
        targets.text("<").stream(&rank.path).in_crate(&order.krate, "as @::Rank>::TARGET,");
        let message = format!(
            "lock order `{}`: `{}` locks what a rank before it locks; give both one rank",
            order.name, rank.text
        );
        messages.token(Literal::string(&message)).text(",");
    }
    let mut arguments = Tokens::default();
    arguments.text("&").group(Delimiter::Bracket, targets);
    arguments.text(", &").group(Delimiter::Bracket, messages);
    out.in_crate(&order.krate, "const _: () = @::locks::rank::assert_distinct")
        .group(Delimiter::Parenthesis, arguments)
        .text(";");
}

fn text(order: &Order, relation: &Relation) -> String {
    let name = |&rank: &usize| order.ranks[rank].text.as_str();
    let shown = |chain: &[usize]| chain.iter().map(name).collect::<Vec<_>>().join(" => ");
    if order.is_partial {
        order.chains.iter().map(|chain| shown(chain)).collect::<Vec<_>>().join("; ")
    } else {
        shown(&relation.sorted)
    }
}

fn mermaid(order: &Order, relation: &Relation) -> String {
    let mut chart = String::from("flowchart TD\n");
    let id = |rank: usize| order.ranks[rank].text.replace("::", "_");
    for &(a, b) in &relation.edges {
        // Writing to a String can't fail.
        let _ = writeln!(chart, "  {} --> {}", id(a), id(b));
    }
    chart
}

fn dot(order: &Order, relation: &Relation) -> String {
    let mut graph = format!("digraph {} {{\n", order.name);
    for &(a, b) in &relation.edges {
        let _ = writeln!(graph, "  \"{}\" -> \"{}\";", order.ranks[a].text, order.ranks[b].text);
    }
    graph + "}\n"
}

//! The name of a request's transaction, where neither layer sets one.

use axum::extract::MatchedPath;
use http::{Method, request::Parts};

/// The longest name that the core takes, in bytes.
const LONGEST: usize = 128;

/// The method and the path of the route. Both are the program's own and not the client's, so their number is bounded: metrics have
/// the name as a label, and txsafe remembers what it learns of a transaction under its name.
pub(super) fn of_route(parts: &Parts) -> String {
    let method = known(&parts.method);
    match parts.extensions.get::<MatchedPath>() {
        Some(path) => shortened(format!("{method} {}", path.as_str())),
        None => format!("{method} (no route)"),
    }
}

/// A method that a client has made up isn't part of a name.
fn known(method: &Method) -> &str {
    let known = [
        Method::GET,
        Method::POST,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
        Method::HEAD,
        Method::OPTIONS,
        Method::CONNECT,
        Method::TRACE,
    ];
    if known.contains(method) { method.as_str() } else { "OTHER" }
}

fn shortened(name: String) -> String {
    const CUT: &str = "…";
    let name: String = name.chars().filter(|c| !c.is_control()).collect();
    if name.len() <= LONGEST {
        return name;
    }
    // `str::floor_char_boundary` is younger than our oldest compiler.
    let end = (0..=LONGEST - CUT.len()).rev().find(|at| name.is_char_boundary(*at)).unwrap_or(0);
    format!("{}{CUT}", &name[..end])
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    #[test]
    fn a_client_adds_no_names() {
        let named = |method: &str| {
            let request = Request::builder().method(method).uri("/orders/7").body(()).unwrap();
            of_route(&request.into_parts().0)
        };
        assert_eq!(named("POST"), "POST (no route)");
        assert_eq!(named("SURPRISE"), "OTHER (no route)");
    }

    #[test]
    fn it_is_cut_to_the_longest_name() {
        assert_eq!(shortened("GET /\u{7}orders".into()), "GET /orders");
        assert_eq!(shortened("x".repeat(LONGEST)), "x".repeat(LONGEST));
        let cut = shortened("é".repeat(LONGEST));
        assert_eq!(cut, format!("{}…", "é".repeat(62)));
        assert!(cut.len() <= LONGEST);
    }
}

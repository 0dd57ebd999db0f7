use std::fmt::Write as _;

use crate::Error;

/// `url` with `search_path` set for every session; whatever else it says, stays.
pub(crate) fn with_search_path(url: &str, schema: &str) -> String {
    let option = percent_encode(&format!("-c search_path={schema}"));
    let Some((address, query)) = url.split_once('?') else {
        return format!("{url}?options={option}");
    };

    let mut parameters: Vec<String> =
        query.split('&').filter(|parameter| !parameter.is_empty()).map(str::to_owned).collect();
    match parameters.iter_mut().find(|parameter| parameter.starts_with("options=")) {
        // PostgreSQL takes the last of several settings, so ours goes behind theirs.
        Some(options) => {
            options.push_str("%20");
            options.push_str(&option);
        }
        None => parameters.push(format!("options={option}")),
    }
    format!("{address}?{}", parameters.join("&"))
}

/// `url` with another database; whatever else it says, stays.
pub(crate) fn with_database(url: &str, database: &str) -> String {
    let (address, query) = url.split_once('?').unwrap_or((url, ""));
    let authority = address.find("://").map_or(0, |scheme| scheme + "://".len());
    let end = address[authority..].find('/').map_or(address.len(), |path| authority + path);
    // As a parameter it would win over the path.
    let parameters: Vec<&str> = query
        .split('&')
        .filter(|parameter| !parameter.is_empty() && !parameter.starts_with("dbname="))
        .collect();
    let query =
        if parameters.is_empty() { String::new() } else { format!("?{}", parameters.join("&")) };
    format!("{}/{database}{query}", &address[..end])
}

/// What `url` says; it isn't repeated in the error, because it may hold a password.
pub(crate) fn parsed(url: &str) -> Result<tokio_postgres::Config, Error> {
    const CURE: &str =
        "the server's URL (DATABASE_URL) must be like `postgresql://user@host:5432/database`";
    if !url.starts_with("postgresql://") && !url.starts_with("postgres://") {
        return Err(Error::new(CURE));
    }
    url.parse().map_err(|source: tokio_postgres::Error| Error::caused(CURE, source))
}

/// `text` as the value of a URL's parameter. Slashes stay: they are legal there, and paths stay legible.
pub(crate) fn percent_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                encoded.push(char::from(byte));
            }
            // Writing to a string can't fail.
            _ => _ = write!(encoded, "%{byte:02X}"),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_url_gets_a_query() {
        assert_eq!(
            with_search_path("postgresql://me@db/app", "s_1"),
            "postgresql://me@db/app?options=-c%20search_path%3Ds_1"
        );
    }

    #[test]
    fn other_parameters_stay() {
        assert_eq!(
            with_search_path("postgresql:///app?host=/tmp/x&user=me", "s"),
            "postgresql:///app?host=/tmp/x&user=me&options=-c%20search_path%3Ds"
        );
    }

    #[test]
    fn other_options_stay_and_ours_comes_last() {
        assert_eq!(
            with_search_path("postgresql://db/app?options=-c%20geqo%3Doff&user=me", "s"),
            "postgresql://db/app?options=-c%20geqo%3Doff%20-c%20search_path%3Ds&user=me"
        );
    }

    #[test]
    fn the_result_is_read_back_by_a_driver() {
        let url = with_search_path("postgresql://me:p%40ss@db/app?connect_timeout=3", "s");
        let config: tokio_postgres::Config = url.parse().unwrap();
        assert_eq!(config.get_options(), Some("-c search_path=s"));
        assert_eq!(config.get_password(), Some(&b"p@ss"[..]));
    }

    #[test]
    fn another_database_leaves_the_rest() {
        for (url, with) in [
            ("postgresql://me@db", "postgresql://me@db/t"),
            ("postgresql://me:p%2Fw@db:6000/app", "postgresql://me:p%2Fw@db:6000/t"),
            (
                "postgres://db/app?sslmode=disable&dbname=x&user=me",
                "postgres://db/t?sslmode=disable&user=me",
            ),
            ("postgresql:///app?host=/tmp/x&port=1", "postgresql:///t?host=/tmp/x&port=1"),
            ("postgresql://?host=/tmp/x", "postgresql:///t?host=/tmp/x"),
        ] {
            assert_eq!(with_database(url, "t"), with);
            let config: tokio_postgres::Config = with.parse().unwrap();
            assert_eq!(config.get_dbname(), Some("t"));
        }
    }

    #[test]
    fn what_is_not_plain_is_encoded() {
        assert_eq!(percent_encode("/tmp/a b&c=ü"), "/tmp/a%20b%26c%3D%C3%BC");
    }
}

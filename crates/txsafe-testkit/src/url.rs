use std::fmt::Write as _;

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
    fn what_is_not_plain_is_encoded() {
        assert_eq!(percent_encode("/tmp/a b&c=ü"), "/tmp/a%20b%26c%3D%C3%BC");
    }
}

//! What stands in messages in place of a secret.

/// Shown in place of a secret.
pub(crate) const REDACTED: &str = "[redacted]";

/// The text with user and password of every URL in it redacted, also of a host without a scheme.
pub(crate) fn without_userinfo(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    loop {
        let scheme = rest.find("://").map(|at| at + "://".len());
        let (before, from_authority) = rest.split_at(scheme.unwrap_or(0));
        let end = from_authority
            .find(|c: char| matches!(c, '/' | '?' | '#' | ',' | '"' | '\'') || c.is_whitespace())
            .unwrap_or(from_authority.len());
        let (authority, after) = from_authority.split_at(end);
        shown.push_str(before);
        match authority.rsplit_once('@') {
            Some((user, host)) if scheme.is_some() || user.contains(':') => {
                shown.push_str(REDACTED);
                shown.push('@');
                shown.push_str(host);
            }
            _ => shown.push_str(authority),
        }
        if !after.contains("://") {
            shown.push_str(after);
            return shown;
        }
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t80_the_userinfo_of_urls_never_shows() {
        for (text, shown) in [
            ("http://u:hush@proxy:3128", "http://[redacted]@proxy:3128"),
            ("https://hush@es/path?x=a@b", "https://[redacted]@es/path?x=a@b"),
            ("https://u:hu@sh@es", "https://[redacted]@es"),
            ("elastic:hush@es:9200", "[redacted]@es:9200"),
            ("http://a,http://u:hush@b/x", "http://a,http://[redacted]@b/x"),
            ("https://es:9200/a@b", "https://es:9200/a@b"),
            ("/a:b@c", "/a:b@c"),
            ("me@example.org", "me@example.org"),
            ("", ""),
        ] {
            assert_eq!(without_userinfo(text), shown);
        }
    }
}

//! What an endpoint of an object store may look like. Only the form is checked; whether anyone answers is seen later.

/// Longest endpoint, in bytes.
const ENDPOINT_BYTES_MAX: usize = 2048;

/// What [`check_url`] takes, for messages.
pub(super) const URL_FORM: &str = "URLs like http://host:9000 or https://host, without user name or password";

/// What [`check_override`] takes, for messages.
const OVERRIDE_FORM: &str =
    "a host like host:9000 or a URL like http://host:9000, without user name or password";

/// An `http` or `https` URL, as LMCache wants them in `nixl_endpoint_list`.
pub(super) fn check_url(text: &str) -> Result<(), &'static str> {
    let host = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    if host.is_some_and(is_host) { Ok(()) } else { Err(URL_FORM) }
}

/// A URL, or the bare host that NIXL takes too and joins with `scheme`.
pub(super) fn check_override(text: &str) -> Result<(), &'static str> {
    if check_url(text).is_ok() || (!text.contains("://") && is_host(text)) {
        Ok(())
    } else {
        Err(OVERRIDE_FORM)
    }
}

/// Credentials have parameters of their own: here they would end up in logs of every HTTP library on the way.
fn is_host(text: &str) -> bool {
    let clean = |c: char| !c.is_control() && !c.is_whitespace() && !matches!(c, '@' | '?' | '#');
    !text.is_empty() && text.len() <= ENDPOINT_BYTES_MAX && !text.starts_with('/') && text.chars().all(clean)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// LMCache's rule: each entry of the list names its scheme. And never a password.
    #[test]
    fn urls_name_scheme_and_host_and_no_user() {
        for url in ["http://localhost:9000", "https://s3.example.com/", "http://[::1]:9000"] {
            assert_eq!(check_url(url), Ok(()), "{url}");
        }
        for url in
            ["localhost:9000", "http://", "ftp://host", "http://me:pass@host", "http://a b", "http:///x", ""]
        {
            assert!(check_url(url).is_err(), "{url}");
        }
    }

    /// NIXL hands `endpoint_override` to the AWS SDK, which takes a bare host too.
    #[test]
    fn an_override_may_leave_the_scheme_out() {
        for text in ["localhost:9000", "<your_endpoint>", "https://host"] {
            assert_eq!(check_override(text), Ok(()), "{text}");
        }
        for text in ["s3://bucket", "me@host", "http://", "//host"] {
            assert!(check_override(text).is_err(), "{text}");
        }
    }
}

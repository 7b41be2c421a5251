//! The little of HTTP/1.1 that a scrape needs (RFC 9112): the head of a request in, one whole response out, then the connection ends.

/// Longest head of a request, in bytes; Prometheus sends a few hundred.
pub(super) const HEAD_MAX_BYTES: usize = 4_096;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Page {
    Metrics,
    Health,
}

/// A request, or why it is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// Not yet complete.
    More,
    /// `GET`, or `HEAD`, which wants no body.
    Page { page: Page, body: bool },
    /// No HTTP/1 request line.
    Malformed,
    /// Its head does not end.
    TooLong,
    /// Neither `GET` nor `HEAD`.
    OtherMethod,
    /// Another path.
    NotFound,
}

/// Understands what came so far.
pub(super) fn read(head: &[u8]) -> Asked {
    let complete = head.windows(4).any(|four| four == b"\r\n\r\n") || head.windows(2).any(|two| two == b"\n\n");
    if !complete {
        return if head.len() >= HEAD_MAX_BYTES { Asked::TooLong } else { Asked::More };
    }
    let line = head.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let mut parts = line.split(|&byte| byte == b' ');
    let (Some(method), Some(target), Some(version), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Asked::Malformed;
    };
    if !version.starts_with(b"HTTP/1.") {
        return Asked::Malformed;
    }
    let body = match method {
        b"GET" => true,
        b"HEAD" => false,
        _ => return Asked::OtherMethod,
    };
    match target.split(|&byte| byte == b'?').next() {
        Some(b"/metrics") => Asked::Page { page: Page::Metrics, body },
        Some(b"/healthz") => Asked::Page { page: Page::Health, body },
        _ => Asked::NotFound,
    }
}

const TEXT: &str = "text/plain; charset=utf-8";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A whole response. `body` false leaves the body out, but not its length.
fn response(status: &str, kind: &str, more: &str, content: &str, body: bool) -> Vec<u8> {
    let len = content.len();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len}\r\nCache-Control: no-store\r\n{more}Connection: close\r\n\r\n"
    );
    let mut response = head.into_bytes();
    if body {
        response.extend_from_slice(content.as_bytes());
    }
    response
}

/// The metrics.
pub(super) fn metrics(content: &str, body: bool) -> Vec<u8> {
    response("200 OK", OPEN_METRICS, "", content, body)
}

/// The health line: 200 if all is well, else 503.
pub(super) fn health(well: bool, line: &str, body: bool) -> Vec<u8> {
    response(if well { "200 OK" } else { "503 Service Unavailable" }, TEXT, "", line, body)
}

/// What somebody gets who asked for something else; nothing for a request that is not complete.
pub(super) fn refusal(asked: Asked) -> Option<Vec<u8>> {
    let (status, more, content) = match asked {
        Asked::More | Asked::Page { .. } => return None,
        Asked::Malformed => ("400 Bad Request", "", "this is no HTTP/1 request\n"),
        Asked::TooLong => ("431 Request Header Fields Too Large", "", "the head of the request is too long\n"),
        Asked::OtherMethod => ("405 Method Not Allowed", "Allow: GET, HEAD\r\n", "ask with GET\n"),
        Asked::NotFound => ("404 Not Found", "", "there are /metrics and /healthz\n"),
    };
    Some(response(status, TEXT, more, content, true))
}

/// The metrics could not be written.
pub(super) fn failure() -> Vec<u8> {
    response("500 Internal Server Error", TEXT, "", "the metrics cannot be written\n", true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_get_and_head_of_two_pages_are_known() {
        let page = |page, body| Asked::Page { page, body };
        for (head, asked) in [
            ("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", page(Page::Metrics, true)),
            ("GET /metrics?name[]=x HTTP/1.0\n\n", page(Page::Metrics, true)),
            ("HEAD /healthz HTTP/1.1\r\n\r\n", page(Page::Health, false)),
            ("GET / HTTP/1.1\r\n\r\n", Asked::NotFound),
            ("GET /metrics/ HTTP/1.1\r\n\r\n", Asked::NotFound),
            ("POST /metrics HTTP/1.1\r\n\r\n", Asked::OtherMethod),
            ("GET /metrics\r\n\r\n", Asked::Malformed),
            ("GET /metrics HTTP/2.0\r\n\r\n", Asked::Malformed),
            ("\r\n\r\n", Asked::Malformed),
            ("\u{16}\u{3}\u{1}tls\n\n", Asked::Malformed),
            ("GET /metrics HTTP/1.1\r\nHost: x\r\n", Asked::More),
            ("", Asked::More),
        ] {
            assert_eq!(read(head.as_bytes()), asked, "{head:?}");
        }
        assert_eq!(read(&[b'x'; HEAD_MAX_BYTES]), Asked::TooLong);
    }

    #[test]
    fn a_response_says_its_length_and_ends_the_connection() {
        let text = String::from_utf8(metrics("# EOF\n", true)).unwrap();
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n") && text.ends_with("\r\n\r\n# EOF\n"), "{text}");
        assert!(text.contains("Content-Length: 6\r\n") && text.contains("Connection: close\r\n"), "{text}");
        let head = String::from_utf8(health(false, "no\n", false)).unwrap();
        assert!(head.starts_with("HTTP/1.1 503 ") && head.ends_with("\r\n\r\n"), "{head}");
        assert!(head.contains("Content-Length: 3\r\n"), "{head}");
        assert!(refusal(Asked::More).is_none());
        assert!(String::from_utf8(refusal(Asked::OtherMethod).unwrap()).unwrap().contains("\r\nAllow: GET, HEAD\r\n"));
    }
}

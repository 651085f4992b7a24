//! The messages that go through the rooms.

/// As `wrk` sends it.
pub(crate) const SMALL_REQUEST: &[u8] = b"GET /1k HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n";

/// As a browser sends it: 15 fields, cookies among them.
pub(crate) const BROWSER_REQUEST: &[u8] = b"GET /shop/items/4711?color=blue&size=m&ref=home HTTP/1.1\r\n\
    Host: www.example.com\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n\
    Accept-Language: de,en-US;q=0.7,en;q=0.3\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\n\
    Referer: https://www.example.com/shop/\r\n\
    Connection: keep-alive\r\n\
    Cookie: session=8f14e45fceea167a5a36dedd4bea2543; theme=dark; _ga=GA1.2.1234567890.1700000000; consent=yes\r\n\
    Upgrade-Insecure-Requests: 1\r\n\
    Sec-Fetch-Dest: document\r\n\
    Sec-Fetch-Mode: navigate\r\n\
    Sec-Fetch-Site: same-origin\r\n\
    Sec-Fetch-User: ?1\r\n\
    Priority: u=0, i\r\n\
    Cache-Control: max-age=0\r\n\r\n";

/// 5 fields.
pub(crate) const SHORT_RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\n\
    Server: app\r\n\
    Date: Sun, 22 Nov 2026 10:00:00 GMT\r\n\
    Content-Type: application/json\r\n\
    Content-Length: 1024\r\n\
    Cache-Control: no-store\r\n\r\n";

/// 20 fields.
pub(crate) const LONG_RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\n\
    Server: app\r\n\
    Date: Sun, 22 Nov 2026 10:00:00 GMT\r\n\
    Content-Type: text/html; charset=utf-8\r\n\
    Content-Length: 1024\r\n\
    Connection: keep-alive\r\n\
    Keep-Alive: timeout=5\r\n\
    Cache-Control: private, max-age=0, must-revalidate\r\n\
    Vary: Accept-Encoding, Cookie\r\n\
    ETag: W/\"2e681a-6-5d044840\"\r\n\
    Last-Modified: Sat, 21 Nov 2026 18:00:00 GMT\r\n\
    Set-Cookie: session=8f14e45fceea167a5a36dedd4bea2543; Path=/; HttpOnly; Secure; SameSite=Lax\r\n\
    Set-Cookie: csrf=45c48cce2e2d7fbdea1afc51c7c6ad26; Path=/; Secure\r\n\
    Content-Language: de\r\n\
    Content-Security-Policy: default-src 'self'; img-src * data:; frame-ancestors 'none'\r\n\
    Strict-Transport-Security: max-age=63072000; includeSubDomains\r\n\
    X-Content-Type-Options: nosniff\r\n\
    X-Frame-Options: DENY\r\n\
    Referrer-Policy: strict-origin-when-cross-origin\r\n\
    Link: </app.css>; rel=preload; as=style\r\n\
    X-Request-Id: 0f8fad5bd9cb469fa16570867728950e\r\n\r\n";

/// 4 KiB.
pub(crate) const BODY: &[u8] = &[b'b'; 4096];

/// 4 KiB in 8 chunks, as a template engine flushes them.
pub(crate) const CHUNKED_BODY: &[u8] = &chunked();

const CHUNKS: usize = 8;
/// With its size line and its end.
const CHUNK: usize = 5 + 512 + 2;

const fn chunked() -> [u8; CHUNKS * CHUNK + 5] {
    let mut body = [b'c'; CHUNKS * CHUNK + 5];
    let mut chunk = 0;
    while chunk < CHUNKS {
        put(&mut body, chunk * CHUNK, b"200\r\n");
        put(&mut body, (chunk + 1) * CHUNK - 2, b"\r\n");
        chunk += 1;
    }
    put(&mut body, CHUNKS * CHUNK, b"0\r\n\r\n");
    body
}

#[expect(clippy::indexing_slicing, reason = "while it compiles")]
const fn put(body: &mut [u8], at: usize, bytes: &[u8]) {
    let mut nth = 0;
    while nth < bytes.len() {
        body[at + nth] = bytes[nth];
        nth += 1;
    }
}

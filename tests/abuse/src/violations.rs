//! Frames that break the protocol (RFC 9113), and what each must end.

use crate::http2::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PADDED, PING, PRIORITY, PUSH_PROMISE,
    RST_STREAM, SETTINGS, WINDOW_UPDATE, call, frame, header,
};

/// What must come of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    Connection,
    /// The call alone, with RST_STREAM or an answer; a server may end the connection instead.
    Call,
}

/// What is sent after the greeting.
#[derive(Clone, Debug)]
pub struct Violation {
    pub name: &'static str,
    pub bytes: Vec<u8>,
    pub ends: Ends,
}

/// All of them, as calls of this method.
pub fn all(method: &str) -> Vec<Violation> {
    [of_connections(method), of_calls(method)].concat()
}

fn of_connections(method: &str) -> Vec<Violation> {
    let open = frame(HEADERS, END_HEADERS, 1, &call(method));
    let after = |more: Vec<u8>| [open.clone(), more].concat();
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("a window that is opened by nothing", frame(WINDOW_UPDATE, 0, 0, &[0; 4])),
        ("a window beyond 2^31", frame(WINDOW_UPDATE, 0, 0, &0x7fff_ffff_u32.to_be_bytes()).repeat(2)),
        ("a window update that is cut short", frame(WINDOW_UPDATE, 0, 0, &[0, 0, 1])),
        ("an initial window beyond 2^31", frame(SETTINGS, 0, 0, &[0, 4, 0xff, 0xff, 0xff, 0xff])),
        ("a frame size beyond what there is", frame(SETTINGS, 0, 0, &[0, 5, 0xff, 0xff, 0xff, 0xff])),
        ("settings that are cut short", frame(SETTINGS, 0, 0, &[0, 4, 0])),
        ("settings of a call", frame(SETTINGS, 0, 1, b"")),
        ("an acknowledgement that says something", frame(SETTINGS, ACK, 0, &[0, 4, 0, 0, 0, 0])),
        ("a ping of the wrong length", frame(PING, 0, 0, b"short")),
        ("a ping of a call", frame(PING, 0, 1, b"are you?")),
        ("data of the connection", frame(DATA, 0, 0, b"x")),
        ("data of a call that was never begun", frame(DATA, 0, 7, b"x")),
        ("a head of the connection", frame(HEADERS, END_HEADERS, 0, &call(method))),
        ("a call with a server's number", frame(HEADERS, END_HEADERS, 2, &call(method))),
        ("the end of a call that was never begun", frame(RST_STREAM, 0, 7, &8_u32.to_be_bytes())),
        ("an end that is cut short", after(frame(RST_STREAM, 0, 1, &[0, 0]))),
        ("a promise of a client", after(frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2]))),
        ("the rest of a head that was never begun", frame(CONTINUATION, END_HEADERS, 1, b"")),
        ("a ping within a head", [frame(HEADERS, 0, 1, &call(method)), frame(PING, 0, 0, b"are you?")].concat()),
        ("a head that no table explains", frame(HEADERS, END_HEADERS, 1, &[0xff, 0xff, 0xff, 0xff, 0x0f])),
        ("a text that is longer than its head", frame(HEADERS, END_HEADERS, 1, &[0, 0x7f, 0xff, 0x0f, b'x'])),
        ("more padding than there is frame", after(frame(DATA, PADDED, 1, &[200, 1, 2]))),
        ("a frame that is larger than allowed", after(frame(DATA, 0, 1, &vec![0; 1 << 20]))),
        ("a goodbye of a call", frame(GOAWAY, 0, 1, &[0; 8])),
    ];
    let violation = |(name, bytes)| Violation { name, bytes, ends: Ends::Connection };
    cases.into_iter().map(violation).collect()
}

fn of_calls(method: &str) -> Vec<Violation> {
    let head = |more: &[u8]| frame(HEADERS, END_HEADERS | END_STREAM, 1, &[&call(method)[..], more].concat());
    let bare = |headers: &[(&str, &str)]| {
        let block: Vec<_> = headers.iter().flat_map(|(name, value)| header(name, value)).collect();
        frame(HEADERS, END_HEADERS | END_STREAM, 1, &block)
    };
    let open = frame(HEADERS, END_HEADERS, 1, &call(method));
    let length = frame(HEADERS, END_HEADERS, 1, &[call(method), header("content-length", "1")].concat());
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("a header in capitals", head(&header("X-Shout", "x"))),
        ("a pseudo header after the others", head(&header(":path", "/"))),
        ("a pseudo header that there is not", head(&header(":nothing", "x"))),
        ("a header of another version of HTTP", head(&header("connection", "close"))),
        ("a transfer encoding", head(&header("transfer-encoding", "chunked"))),
        ("a header with a line break", head(&header("x-split", "a\r\nb: c"))),
        ("no path", bare(&[(":method", "POST"), (":scheme", "http")])),
        ("an empty path", bare(&[(":method", "POST"), (":scheme", "http"), (":path", "")])),
        ("no method", bare(&[(":scheme", "http"), (":path", method)])),
        ("two paths", bare(&[(":method", "POST"), (":scheme", "http"), (":path", "/"), (":path", method)])),
        ("more than its length", [length, frame(DATA, END_STREAM, 1, b"xxxxxxxx")].concat()),
        ("a call's window that is opened by nothing", [open.clone(), frame(WINDOW_UPDATE, 0, 1, &[0; 4])].concat()),
        (
            "a call's window beyond 2^31",
            [open, frame(WINDOW_UPDATE, 0, 1, &0x7fff_ffff_u32.to_be_bytes()).repeat(2)].concat(),
        ),
        ("data after the end", [head(b""), frame(DATA, 0, 1, b"x")].concat()),
        ("a call that depends on itself", [frame(PRIORITY, 0, 1, &[0, 0, 0, 1, 0]), head(b"")].concat()),
    ];
    let violation = |(name, bytes)| Violation { name, bytes, ends: Ends::Call };
    cases.into_iter().map(violation).collect()
}

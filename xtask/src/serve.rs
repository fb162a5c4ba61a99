//! A static file server for the built page: loopback only, GET and HEAD, right types, no dependency.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::{Component, Path, PathBuf},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail};

/// Ports tried after the wanted one, should that be taken.
const ATTEMPTS: u16 = 20;

/// Serves `folder` until the process ends. Prints the address.
pub fn serve(folder: &Path, port: u16) -> Result<()> {
    let index = folder.join("index.html");
    if !index.is_file() {
        bail!("{} is missing: build the page first", index.display());
    }
    let listener = bind(port)?;
    println!(
        "\nThe page: http://localhost:{}/   (Ctrl-C ends it)",
        listener.local_addr()?.port()
    );
    for stream in listener.incoming() {
        let folder = folder.to_path_buf();
        thread::spawn(move || {
            // A browser that hangs up half way is its own business.
            if let Ok(stream) = stream {
                let _ = answer(stream, &folder);
            }
        });
    }
    Ok(())
}

fn bind(port: u16) -> Result<TcpListener> {
    let last = port.saturating_add(ATTEMPTS);
    for candidate in port..=last {
        match TcpListener::bind((Ipv4Addr::LOCALHOST, candidate)) {
            Ok(listener) => return Ok(listener),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            Err(error) => {
                return Err(error).with_context(|| format!("cannot listen on port {candidate}"));
            }
        }
    }
    bail!("ports {port} to {last} are taken: choose another with --port")
}

fn answer(mut stream: TcpStream, folder: &Path) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut request = String::new();
    reader.read_line(&mut request)?;
    let mut header = String::new();
    while reader.read_line(&mut header)? > 2 {
        header.clear();
    }
    let mut words = request.split_whitespace();
    let (method, target) = (
        words.next().unwrap_or_default(),
        words.next().unwrap_or_default(),
    );
    if !matches!(method, "GET" | "HEAD") {
        return refuse(&mut stream, "405 Method Not Allowed");
    }
    let Some(path) = resolve(folder, target) else {
        return refuse(&mut stream, "404 Not Found");
    };
    let Ok(mut file) = File::open(&path) else {
        return refuse(&mut stream, "404 Not Found");
    };
    let length = file.metadata()?.len();
    // Cross-origin isolation gives the page finer clocks; everything it loads by itself is its own.
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Type: {}\r\nContent-Length: {length}\r\nCache-Control: no-cache\r\n\
         Cross-Origin-Opener-Policy: same-origin\r\nCross-Origin-Embedder-Policy: require-corp\r\n\
         Connection: close\r\n\r\n",
        media_type(&path)
    )?;
    if method == "GET" {
        io::copy(&mut file, &mut stream)?;
    }
    stream.flush()
}

fn refuse(stream: &mut TcpStream, status: &str) -> io::Result<()> {
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{status}",
        status.len()
    )
}

/// The file behind a request target; none where it leaves the folder or does not exist.
fn resolve(folder: &Path, target: &str) -> Option<PathBuf> {
    let path = target.split(['?', '#']).next()?;
    let path = PathBuf::from(decode(path)?.trim_start_matches('/'));
    if !path
        .components()
        .all(|part| matches!(part, Component::Normal(_)))
    {
        return None;
    }
    let mut path = folder.join(path);
    if path.is_dir() {
        path.push("index.html");
    }
    path.is_file().then_some(path)
}

/// Percent-decoding; none for what is malformed or not UTF-8.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte == b'%' {
            let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &rest[2..];
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

fn media_type(path: &Path) -> &'static str {
    match path
        .extension()
        .and_then(|kind| kind.to_str())
        .unwrap_or_default()
    {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" | "map" => "application/json",
        "wasm" => "application/wasm",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "wav" => "audio/wav",
        "flac" => "audio/flac",
        "txt" | "md" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn page() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("index.html"), "<p>page").unwrap();
        std::fs::create_dir(folder.path().join("pairs")).unwrap();
        std::fs::write(folder.path().join("pairs/a b.wasm"), [0u8, 1, 2]).unwrap();
        folder
    }

    fn ask(folder: &Path, request: &str) -> String {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        client.write_all(request.as_bytes()).unwrap();
        answer(listener.accept().unwrap().0, folder).unwrap();
        let mut reply = Vec::new();
        client.read_to_end(&mut reply).unwrap();
        String::from_utf8_lossy(&reply).into_owned()
    }

    #[test]
    fn serves_files_with_their_types() {
        let folder = page();
        let reply = ask(
            folder.path(),
            "GET /?pair=demo HTTP/1.1\r\nHost: localhost\r\n\r\n",
        );
        assert!(
            reply.starts_with("HTTP/1.1 200 OK") && reply.ends_with("<p>page"),
            "{reply}"
        );
        let reply = ask(folder.path(), "GET /pairs/a%20b.wasm HTTP/1.1\r\n\r\n");
        assert!(
            reply.contains("Content-Type: application/wasm") && reply.contains("Content-Length: 3"),
            "{reply}"
        );
        let reply = ask(folder.path(), "HEAD /index.html HTTP/1.1\r\n\r\n");
        assert!(
            reply.contains("Content-Length: 7") && reply.ends_with("\r\n\r\n"),
            "{reply}"
        );
    }

    #[test]
    fn refuses_what_lies_outside() {
        let folder = page();
        for target in [
            "/../secret",
            "/%2e%2e/secret",
            "/pairs/../../secret",
            "/none.js",
            "/%zz",
            "/pairs",
        ] {
            let reply = ask(folder.path(), &format!("GET {target} HTTP/1.1\r\n\r\n"));
            assert!(reply.starts_with("HTTP/1.1 404"), "{target}: {reply}");
        }
        assert!(ask(folder.path(), "POST / HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 405"));
    }
}

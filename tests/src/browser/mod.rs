//! A real browser: headless Chromium shows a page from one origin, which calls the gateway at another.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use testkit::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

const PAGE: &str = include_str!("page.html");

/// A browser takes seconds to start on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// Where pages come from.
pub(crate) struct Site {
    listener: TcpListener,
}

impl Site {
    pub(crate) async fn open() -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").await.unwrap() }
    }

    /// As browsers name it, and gateways allow it.
    pub(crate) fn origin(&self) -> String {
        format!("http://{}", self.listener.local_addr().unwrap())
    }

    /// Shows the page in a browser, lets it call the gateway, and gives what it tells in the end.
    pub(crate) async fn shopping(&self, gateway: SocketAddr) -> Value {
        let _browser = Browser::show(&format!("{}/?gateway=http://{gateway}", self.origin()));
        let told = async {
            loop {
                let (connection, _) = self.listener.accept().await.unwrap();
                if let Some(told) = answer(connection).await {
                    return serde_json::from_slice(&told).unwrap();
                }
            }
        };
        tokio::time::timeout(PATIENCE, told).await.expect("the page tells how it went")
    }
}

/// Gives the page, or takes what it tells.
async fn answer(connection: TcpStream) -> Option<Vec<u8>> {
    let mut connection = BufReader::new(connection);
    let (mut head, mut length) = (String::new(), 0);
    // Chromium opens connections that it may never use.
    while connection.read_line(&mut head).await.unwrap_or(0) > 2 {
        let line = head.lines().last().unwrap_or_default().to_lowercase();
        length = line.strip_prefix("content-length:").map_or(length, |text| text.trim().parse().unwrap());
    }
    let mut body = vec![0; length];
    connection.read_exact(&mut body).await.ok()?;
    let told = head.starts_with("POST /told ");
    let (status, page) = if head.starts_with("GET /?") { ("200 OK", PAGE) } else { ("204 No Content", "") };
    let answer = format!(
        "HTTP/1.1 {status}\r\ncontent-type: text/html; charset=utf-8\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{page}",
        page.len()
    );
    let _ = connection.write_all(answer.as_bytes()).await;
    told.then_some(body)
}

/// Ends with the value.
struct Browser {
    process: Child,
    _folder: TempDir,
}

impl Browser {
    fn show(url: &str) -> Self {
        let folder = testkit::folder();
        let process = Command::new(executable())
            // Its sandbox needs rights that a container does not give, and the page is our own.
            .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"])
            .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
            .arg(format!("--user-data-dir={}", folder.path().display()))
            .arg(url)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { process, _folder: folder }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The one that is named, else the one on PATH.
fn executable() -> PathBuf {
    if let Some(named) = std::env::var_os("MILLRACE_CHROMIUM") {
        return named.into();
    }
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let on_path =
        |name: &&str| std::env::split_paths(&folders).map(|folder| folder.join(name)).find(|file| file.is_file());
    names.iter().find_map(on_path).expect(
        "Chromium is missing: run `scripts/test`, which installs it where it may, or name its executable in MILLRACE_CHROMIUM",
    )
}

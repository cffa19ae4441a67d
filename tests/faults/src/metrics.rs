use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// The sum of a metric's samples that have these labels, at one instance; 0 if there are none, or it does not answer.
pub async fn total(instance: SocketAddr, name: &str, labels: &[&str]) -> f64 {
    let text = scrape(instance).await.unwrap_or_default();
    let of_metric = text.lines().filter(|line| line.split(['{', ' ']).next() == Some(name));
    let meant = of_metric.filter(|line| labels.iter().all(|label| line.contains(label)));
    meant.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
}

async fn scrape(instance: SocketAddr) -> std::io::Result<String> {
    let mut connection = TcpStream::connect(instance).await?;
    connection.write_all(b"GET /metrics HTTP/1.1\r\nhost: instance\r\nconnection: close\r\n\r\n").await?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await?;
    Ok(answer)
}

//! `millrace demo`: what Millrace does, as a client sees it, told as a short story. It fails if anything comes to what it should not.

mod client;
mod story;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use serve::telemetry::Recorder;

pub use client::{Customer, Person};
pub use story::{StoryError, tell};

use crate::up::{Options, Up, UpError};

/// Why there was no story, or a wrong one.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    #[error("no folder for the demo: {0}")]
    Folder(std::io::Error),
    #[error(transparent)]
    Up(#[from] UpError),
    #[error(transparent)]
    Story(#[from] StoryError),
}

/// Starts everything in a folder that is thrown away afterwards, tells the story, and stops everything.
pub async fn run(nats_url: Option<String>, nats_server: Option<PathBuf>, recorder: &Recorder) -> Result<(), DemoError> {
    let folder = tempfile::Builder::new().prefix("millrace-demo-").tempdir().map_err(DemoError::Folder)?;
    let options = Options {
        data: folder.path().to_owned(),
        nats_url,
        nats_server,
        broker_sync: None,
        // A broker that runs already may hold another demo's streams.
        namespace: format!("demo-{}", std::process::id()),
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        allowed_origins: Vec::new(),
        limits: gateway::Limits::default(),
    };
    let mut up = Up::start(&options).await?;
    let told = tell(&mut up.shop, recorder).await;
    let stopped = up.stop().await;
    told?;
    Ok(stopped?)
}

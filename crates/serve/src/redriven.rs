//! Commands that FAILED and that an operator has driven again are carried out, from the requests that were kept.

use std::time::Duration;

use ledger::Delivery;
use messaging::Lanes;
use tokio_util::sync::CancellationToken;

use crate::intake::Judge;

/// How often it is looked for such commands, and so the pause between two attempts.
const TICK: Duration = Duration::from_secs(1);
/// Commands that are taken at once.
const CHUNK: u64 = 64;
/// Each may kill the process: it is counted before it is begun.
const SUSPECT: u32 = 3;

/// Carries out what was driven again.
#[derive(Debug)]
pub(crate) struct Redriven {
    pub(crate) judge: Judge,
    pub(crate) lanes: Lanes,
}

impl Redriven {
    /// Runs until told to stop. What other instances carry out at the same time is fenced by its receipt.
    pub(crate) async fn run(self, stop: CancellationToken) {
        while stop.run_until_cancelled(tokio::time::sleep(TICK)).await.is_some() {
            if let Err(error) = self.carry_out().await {
                tracing::warn!(%error, "commands that were driven again cannot be carried out now");
            }
        }
    }

    async fn carry_out(&self) -> ledger::Result<()> {
        for (mut command, context) in self.judge.opened.ledger.redriven(CHUNK).await? {
            let span = trace::span::redrive(&command.method, &command.id.to_string());
            trace::follow(&span, &context);
            self.judge.prepare(&mut command).await?;
            self.lanes.submit(Delivery { input: command.into(), delivered: SUSPECT, span }).await;
        }
        Ok(())
    }
}

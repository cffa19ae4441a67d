use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use event::{Id, Micros};
use tokio::sync::watch;

/// Remembered at once, some 10 MB. The owners refuse an ended session, too, from replicas that forget nothing.
const SESSIONS_MAX: usize = 100_000;

/// The sessions that have ended within the last hours. Tokens of older ones have expired.
#[derive(Debug)]
pub struct EndedSessions {
    memory: Duration,
    sessions: Mutex<Sessions>,
    changed: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct Sessions {
    ended: HashSet<Id>,
    /// In the order of their arrival.
    queue: VecDeque<(Micros, Id)>,
}

impl EndedSessions {
    /// Forgets a session when `memory` has passed since it ended.
    pub fn new(memory: Duration) -> Self {
        Self { memory, sessions: Mutex::default(), changed: watch::Sender::default() }
    }

    /// Notes that the session ended at that time. That is final.
    pub fn insert(&self, session: Id, at: Micros) {
        let mut sessions = self.lock();
        if sessions.ended.insert(session) {
            sessions.queue.push_back((at, session));
        }
        while let Some(&(ended_at, oldest)) = sessions.queue.front() {
            if sessions.queue.len() <= SESSIONS_MAX && at.since(ended_at) <= self.memory {
                break;
            }
            sessions.queue.pop_front();
            sessions.ended.remove(&oldest);
        }
        drop(sessions);
        self.changed.send_replace(());
    }

    pub fn contains(&self, session: Id) -> bool {
        self.lock().ended.contains(&session)
    }

    /// Waits until the session has ended.
    pub async fn wait_for(&self, session: Id) {
        // Before the first look, so that no change falls in between.
        let mut changed = self.changed.subscribe();
        while !self.contains(session) {
            if changed.changed().await.is_err() {
                return;
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Sessions> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u8) -> Id {
        Id::timed(u64::from(n), [n; 10])
    }

    #[tokio::test]
    async fn whoever_waits_for_a_session_hears_of_its_end() {
        let ended = EndedSessions::new(Duration::from_mins(1));
        let wait = ended.wait_for(id(1));
        tokio::pin!(wait);
        assert!(futures::poll!(&mut wait).is_pending());
        ended.insert(id(2), Micros(0));
        assert!(futures::poll!(&mut wait).is_pending());
        ended.insert(id(1), Micros(0));
        wait.await;
    }

    #[test]
    fn sessions_are_forgotten_once_their_tokens_have_expired() {
        let ended = EndedSessions::new(Duration::from_mins(1));
        ended.insert(id(1), Micros(0));
        ended.insert(id(2), Micros(60_000_000));
        assert!(ended.contains(id(1)));
        ended.insert(id(3), Micros(60_000_001));
        assert!(!ended.contains(id(1)) && ended.contains(id(2)) && ended.contains(id(3)));
    }
}

//! The broker's side of bringing messages: to anybody, in any order, now and then twice at once.

use std::sync::Arc;

use crate::fault::Fault;
use crate::simulation::Simulation;

impl Simulation {
    /// Brings somebody one message that the broker has for them, if there is one.
    pub(crate) fn deliver(&self) -> bool {
        if self.sim.wired().is_away {
            return false;
        }
        let now = self.sim.now();
        let instances: Vec<_> = self.sim.instances().iter().map(|(name, one)| (*name, Arc::clone(one))).collect();
        let mut waiting = Vec::new();
        for (name, instance) in instances {
            for ear in instance.ears(name) {
                let sequences = self.sim.wired().broker.available(&ear.stream, &ear.consumer, &ear.subjects, now);
                if !sequences.is_empty() {
                    waiting.push((name, ear, sequences));
                }
            }
        }
        if waiting.is_empty() {
            return false;
        }
        let (name, ear, sequences) =
            waiting.swap_remove(usize::try_from(self.sim.chance().below(waiting.len() as u64)).unwrap_or(0));
        let sequence = sequences[usize::try_from(self.sim.chance().below(sequences.len() as u64)).unwrap_or(0)];
        let times = if self.sim.strikes(Fault::Duplicate, 20) { 2 } else { 1 };
        for _ in 0..times {
            let delivered = self.sim.wired().broker.bring(&ear.stream, &ear.consumer, sequence, now);
            if let Some(delivered) = delivered {
                self.sim.spawn(name, ear.hear(&self.sim, delivered));
            }
        }
        true
    }
}

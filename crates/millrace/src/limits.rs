//! The gateway's limits, as an operator may set them.

use std::str::FromStr;

use gateway::{Limits, Rate};

/// One limit, as `<name>=<number>`.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    set: Set,
    to: u32,
}

type Set = fn(&mut Limits, u32);

/// What each is called. Of rates, the number is what is allowed each second; at once it is twice as much. 0 switches a rate off.
const NAMES: [(&str, Set); 8] = [
    ("calls-per-address", |limits, to| limits.per_address = rate(to)),
    ("attempts-per-address", |limits, to| limits.attempts_per_address = rate(to)),
    ("calls-per-user", |limits, to| limits.per_principal = rate(to)),
    ("connections", |limits, to| limits.connections.total = to as usize),
    ("connections-per-address", |limits, to| limits.connections.per_address = to as usize),
    ("bytes-per-address", |limits, to| limits.connections.bytes_per_address = to),
    ("open-calls", |limits, to| limits.open_calls = to as usize),
    ("open-calls-per-address", |limits, to| limits.open_calls_per_address = to as usize),
];

const fn rate(per_second: u32) -> Rate {
    Rate { per_second, burst: per_second.saturating_mul(2) }
}

impl Limit {
    pub fn apply(&self, limits: &mut Limits) {
        (self.set)(limits, self.to);
    }
}

impl FromStr for Limit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names = || NAMES.map(|(name, _)| name).join(", ");
        let (name, to) = text.split_once('=').ok_or("write <name>=<number>, such as connections-per-address=5000")?;
        let set = NAMES.iter().find(|(known, _)| *known == name).map(|(_, set)| *set);
        let set = set.ok_or_else(|| format!("`{name}` is no limit; there are {}", names()))?;
        Ok(Self { set, to: to.parse().map_err(|_| format!("`{to}` is no number"))? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_can_be_set_by_its_name() {
        let mut limits = Limits::default();
        for (name, _) in NAMES {
            format!("{name}=7").parse::<Limit>().unwrap().apply(&mut limits);
        }
        assert_eq!(limits.per_address, Rate { per_second: 7, burst: 14 });
        assert_eq!((limits.connections.total, limits.open_calls_per_address), (7, 7));
        assert!("calls=7".parse::<Limit>().unwrap_err().contains("connections-per-address"));
        assert!("connections=many".parse::<Limit>().is_err());
    }
}

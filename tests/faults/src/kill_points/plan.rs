use std::fmt;

use fault::Point;
use millrace::Role;

/// A point in one role's process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Site {
    pub role: Role,
    pub point: Point,
}

/// A death: at a point, when the process comes there for the nth time. Written `order/before-commit:2`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Case {
    pub site: Site,
    pub nth: u32,
}

/// What happens around a death.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Story {
    /// Customers come and buy, from empty databases on.
    Working,
    /// What customers asked for while the role was away is in its queue, and nobody else remembers it.
    Queued,
    /// The role is told to stop in the middle of its work.
    Stopping,
    /// The role died with an event on its way, and is started again.
    LeftOver,
    /// The role comes late, or was away, and the streams have lost what happened before.
    Late,
    /// The role was away, and cannot take in what happened meanwhile.
    Poison,
    /// Nobody answers for the payments until it is too late.
    Deadline,
}

impl Site {
    /// Every point with each role that comes to it.
    pub fn all() -> impl Iterator<Item = Self> {
        let at = |point: &Point| Role::ALL.map(|role| Self { role, point: *point });
        Point::ALL.iter().flat_map(at).filter(|site| site.is_reached())
    }

    /// Whether the role ever comes there. What this says is compared with a count.
    pub fn is_reached(self) -> bool {
        match self.point {
            Point::Draining => true,
            Point::GatewayQueued => self.role == Role::Gateway,
            Point::EffectLeased | Point::EffectPerformed => self.role == Role::Billing,
            // Registration's only timer is months away.
            Point::TimerTaken => self.role == Role::Order,
            _ => self.role != Role::Gateway,
        }
    }

    /// The role and its story: sites of which this is the same are counted together.
    pub fn story_name(self) -> (Role, &'static str) {
        (self.role, self.story().name())
    }

    pub(super) const fn story(self) -> Story {
        match self.point {
            Point::RelayLeftOver => Story::LeftOver,
            Point::HealerRead | Point::AuditRead | Point::AuditNoted => Story::Late,
            Point::Parked => Story::Poison,
            Point::TimerTaken => Story::Deadline,
            Point::Draining => Story::Stopping,
            Point::LaneReceived
            | Point::BeforeCommit
            | Point::AfterCommit
            | Point::BeforeAcknowledgement
            | Point::AfterAcknowledgement
                if matches!(self.role, Role::Order | Role::User) =>
            {
                Story::Queued
            }
            _ => Story::Working,
        }
    }

    /// Which roles there must be. What people tell of themselves concerns registration and user alone, and the others do without user.
    pub(super) const fn shop(self) -> &'static [Role] {
        match self.role {
            Role::Registration | Role::User => &[Role::Registration, Role::User, Role::Gateway],
            _ => &[Role::Registration, Role::Order, Role::Billing, Role::Gateway],
        }
    }
}

impl Site {
    /// Which of the role's processes dies there, from 0.
    pub(super) fn process(self) -> usize {
        match self.story() {
            Story::Working | Story::Stopping | Story::Deadline => 0,
            Story::Queued | Story::LeftOver | Story::Poison => 1,
            Story::Late => usize::from(!self.is_late()),
        }
    }

    /// Whether the role is not there at first. Without registration nothing can happen that anybody could miss.
    pub(super) fn is_late(self) -> bool {
        self.story() == Story::Late && self.role != Role::Registration
    }
}

impl Story {
    const fn name(self) -> &'static str {
        match self {
            Self::Working => "working",
            Self::Queued => "queued",
            Self::Stopping => "stopping",
            Self::LeftOver => "left-over",
            Self::Late => "late",
            Self::Poison => "poison",
            Self::Deadline => "deadline",
        }
    }

    /// Where the process before it dies, if it does.
    pub(super) const fn dies_before(self) -> Option<Point> {
        match self {
            Self::LeftOver => Some(Point::RelaySent),
            _ => None,
        }
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.role, self.point.name())
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.site, self.nth)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_point_is_some_role_s() {
        let lost: Vec<_> = Point::ALL.iter().filter(|point| !Site::all().any(|site| site.point == **point)).collect();
        assert!(lost.is_empty(), "no role comes to {lost:?}");
    }
}

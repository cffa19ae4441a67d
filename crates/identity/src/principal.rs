use event::Id;

/// The role of users who may call methods with `access: ACCESS_STAFF`.
pub const STAFF: &str = "staff";

/// On whose behalf something is done, and by which service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// The user; nobody where a service acts of its own accord, or where anybody may.
    pub user: Option<Id>,
    /// The user's session.
    pub session: Option<Id>,
    /// What the user may do beyond a customer's rights, such as `staff`.
    pub roles: Vec<String>,
    /// The service that states all this, such as `gateway`.
    pub caller: String,
}

impl Principal {
    /// A service that acts of its own accord.
    pub fn service(name: impl Into<String>) -> Self {
        Self { user: None, session: None, roles: Vec::new(), caller: name.into() }
    }

    /// `user/<id>` or `service/<caller>`, as in events and receipts.
    pub fn name(&self) -> String {
        match self.user {
            Some(user) => format!("user/{user}"),
            None => format!("service/{}", self.caller),
        }
    }

    pub fn has_role(&self, role: &str) -> bool {
        self.roles.iter().any(|own| own == role)
    }
}

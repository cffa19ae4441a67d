//! Which method goes where. What is not in here does not exist for a client.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use event::{Access, Method, Schema};

use crate::measured::Calls;
use crate::owner::Owner;

/// The domain whose methods the gateway answers itself.
pub const OWN_DOMAIN: &str = "command";

/// A method that can be called from outside.
#[derive(Debug)]
pub struct Route {
    pub method: Method,
    /// None: the gateway itself, or the one that the request names.
    pub owner: Option<Owner>,
    pub calls: Calls,
}

/// All methods that can be called from outside.
#[derive(Debug, Default)]
pub struct Routes {
    by_path: HashMap<String, Arc<Route>>,
    /// By their owner's domain and kebab name, as commands' names have them.
    by_command: HashMap<(String, String), Arc<Route>>,
    /// By domain.
    owners: BTreeMap<String, Owner>,
}

impl Routes {
    /// The methods that are not INTERNAL, of the domains that have an owner here.
    pub fn new(schema: &Schema, owners: &BTreeMap<String, Owner>) -> Self {
        let mut routes = Self { owners: owners.clone(), ..Self::default() };
        for method in schema.methods().filter(|method| method.access != Access::Internal) {
            let is_one_s = method.domain != OWN_DOMAIN && method.service.is_empty();
            let owner = if is_one_s { owners.get(&method.domain).cloned() } else { None };
            if owner.is_none() && is_one_s {
                tracing::warn!(
                    method = method.name,
                    "no endpoint is configured for the method's domain: it cannot be called"
                );
                continue;
            }
            let route = Arc::new(Route { method: method.clone(), owner, calls: Calls::of(&method.name) });
            routes.by_path.insert(format!("/{}", method.name), Arc::clone(&route));
            routes.name_commands(&route);
        }
        routes
    }

    /// A command's name begins with its owner's domain. Where every service answers the method, each has commands of that name; of a method of
    /// its own that is called the same, those.
    fn name_commands(&mut self, route: &Arc<Route>) {
        let Method { domain, kebab, service, .. } = &route.method;
        if service.is_empty() {
            self.by_command.insert((domain.clone(), kebab.clone()), Arc::clone(route));
            return;
        }
        let owners: Vec<_> = self.owners.keys().cloned().collect();
        for owner in owners {
            if let Some(route) = self.to_service(route, &owner) {
                self.by_command.entry((owner, kebab.clone())).or_insert(route);
            }
        }
    }

    /// The method that a request's path names.
    pub fn find(&self, path: &str) -> Option<&Arc<Route>> {
        self.by_path.get(path)
    }

    /// The same route, to the service of this name; None if none is configured.
    pub fn to_service(&self, route: &Route, service: &str) -> Option<Arc<Route>> {
        let owner = self.owners.get(service)?.clone();
        Some(Arc::new(Route { method: route.method.clone(), owner: Some(owner), calls: Calls::of(&route.method.name) }))
    }

    /// The method that a command's name names, at the owner that it names.
    pub fn of_command(&self, domain: &str, method: &str) -> Option<&Arc<Route>> {
        let route = self.by_command.get(&(domain.to_owned(), method.to_owned()))?;
        (route.method.kind == event::Kind::Command).then_some(route)
    }

    /// The full names of the services that have a method here.
    pub fn services(&self) -> BTreeSet<String> {
        let service = |route: &Arc<Route>| Some(route.method.name.split_once('/')?.0.to_owned());
        self.by_path.values().filter_map(service).collect()
    }

    /// Whether a client may know of the method, by its full name.
    pub fn is_public(&self, method: &str) -> bool {
        self.by_path.contains_key(&format!("/{method}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes(domains: &[&str]) -> (Schema, Routes) {
        let schema = Schema::embedded().unwrap();
        let owners = domains.iter().map(|&domain| (domain.to_owned(), Owner::nowhere(domain))).collect();
        let routes = Routes::new(&schema, &owners);
        (schema, routes)
    }

    #[tokio::test]
    async fn a_method_can_be_called_only_where_the_proto_says_by_whom() {
        let (schema, routes) = routes(&["registration", "user", "order", "billing", "eventlog", "command"]);
        let internal: Vec<_> = schema.methods().filter(|method| method.access == Access::Internal).collect();
        assert!(internal.len() >= 4, "{internal:?}");
        for method in schema.methods() {
            let route = routes.find(&format!("/{}", method.name));
            assert_eq!(route.is_some(), method.access != Access::Internal, "{}", method.name);
        }
    }

    #[tokio::test]
    async fn a_method_without_an_endpoint_does_not_exist() {
        let (_, routes) = routes(&["order"]);
        assert!(routes.find("/millrace.order.v1.OrderService/PlaceOrder").is_some());
        assert!(routes.find("/millrace.user.v1.UserService/GetProfile").is_none());
        assert!(routes.find("/millrace.command.v1.CommandService/GetCommand").is_some(), "the gateway's own");
    }

    #[tokio::test]
    async fn a_commands_name_leads_to_its_method_and_a_querys_to_none() {
        let (_, routes) = routes(&["order"]);
        let route = routes.of_command("order", "place-order").unwrap();
        assert_eq!(route.method.name, "millrace.order.v1.OrderService/PlaceOrder");
        assert!(routes.of_command("order", "get-order").is_none());
        assert!(routes.of_command("user", "update-profile").is_none());
    }

    #[tokio::test]
    async fn the_name_of_a_command_that_every_service_takes_leads_to_the_one_that_took_it() {
        let (_, routes) = routes(&["order", "billing"]);
        for service in ["order", "billing"] {
            let route = routes.of_command(service, "redrive").unwrap();
            assert_eq!(route.method.name, "millrace.operator.v1.OperatorService/Redrive");
            assert_eq!(route.owner.as_ref().unwrap().domain, service);
        }
        assert!(routes.of_command("operator", "redrive").is_none() && routes.of_command("user", "drop").is_none());
    }
}

//! Requests where there are rules about clients and names: who is turned away, what name is meant, what may be granted. Where there
//! are none, nothing of this runs.

use super::Engine;
use super::request::{Answer, Datagram, NO_ACCESS, NOT_UNDERSTOOD, Understood, refusal_of};
use crate::engine::Outcome;
use crate::rules::{ClientPolicy, Deny, Requester, Rules};
use crate::tftp::Request;
use std::sync::Arc;

impl Engine {
    /// Requests go by these rules from now on, and running transfers go on; gives those before back, to be dropped elsewhere. The
    /// rules must read names as the catalogue does.
    pub fn set_rules(&mut self, rules: Option<Arc<Rules>>) -> Option<Arc<Rules>> {
        core::mem::replace(&mut self.rules, rules)
    }

    /// The rules that requests go by.
    #[must_use]
    pub const fn rules(&self) -> Option<&Arc<Rules>> {
        self.rules.as_ref()
    }

    /// What a client that is not served is told; `None` for all others.
    pub(super) fn denial(&self, datagram: &Datagram) -> Option<Answer> {
        admit(self.rules.as_ref()?, &requester(datagram)).err()
    }

    /// From the bytes of a request to a file and terms, by the rules.
    #[cold]
    pub(super) fn understand_by(&self, rules: &Rules, datagram: &Datagram, body: &[u8]) -> Result<Understood, Answer> {
        let client = requester(datagram);
        // Before anything is answered, a malformed request included.
        let policy = admit(rules, &client)?;
        let mut request = Request::parse(body).map_err(|_| NOT_UNDERSTOOD)?;
        let catalogue = self.generations.get(self.generations.current());
        debug_assert_eq!(rules.names(), catalogue.name_options(), "rules and catalogue read names alike");
        let file = rules
            .find(&client, policy, request.name, |name| catalogue.lookup_normal(name), &mut ())
            .map_err(refusal_of)?;
        request.asked = request.asked.only(policy.options());
        Ok(self.decide(file, &request, &policy.cap(self.caps(datagram)))?)
    }
}

fn requester(datagram: &Datagram) -> Requester {
    Requester { ip: datagram.flow.addresses.src(), mac: Some(datagram.link.src.0) }
}

/// The client's rule, if it is served at all.
fn admit<'r>(rules: &'r Rules, client: &Requester) -> Result<&'r ClientPolicy, Answer> {
    let policy = rules.policy(rules.policy_of(client));
    match (policy.allows(), rules.deny()) {
        (true, _) => Ok(policy),
        (false, Deny::Drop) => Err(Answer::Silence(Outcome::ClientDenied)),
        (false, Deny::Error) => Err(Answer::Error(NO_ACCESS)),
    }
}

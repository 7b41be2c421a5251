//! Whether file and flags make a run at all.

use crate::advice::Advice;

use super::{Check, Context, Family, Unsettled, Verdict, check};

pub(super) const CHECKS: &[Check] = &[check("configuration", Family::Configuration, "file and flags", settled)];

fn settled(context: &Context<'_>) -> Vec<Verdict> {
    let settings = context.settings;
    let verdict = match &context.unsettled {
        Some(why) => unsettled(why),
        None => {
            let devices = settings.eal.vdevs.len() + settings.eal.allow.len();
            let raw = if context.has_raw_devices() { "; those in raw EAL arguments are not looked at" } else { "" };
            let (addresses, root) = (settings.addresses.len(), settings.root.display());
            Verdict::ok(format!("{devices} device(s), {addresses} address(es), root {root}{raw}"))
                .fact("devices", devices)
                .fact("addresses", addresses)
        }
    };
    vec![verdict]
}

/// What there is to say when there are no settings.
pub(super) fn unsettled(why: &Unsettled) -> Verdict {
    match why {
        Unsettled::Nothing => Verdict::warning(
            "no configuration, device or address was named, so only the machine was looked at",
            "bypassd check --config /etc/bypassd.toml",
        )
        .or("name them with the flags of `bypassd run`: --vdev net_tap0,iface=boot0 --address 192.0.2.1/24"),
        Unsettled::Wrong { cause, mend, otherwise } => {
            Verdict::refused(Advice { cause: cause.clone(), mend: mend.clone(), otherwise: otherwise.clone() })
        }
    }
}

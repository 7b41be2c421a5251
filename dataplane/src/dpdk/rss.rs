//! How a started port spreads received frames over its queues: RSS key, redirection table and hashed fields, as its driver tells
//! them. What makes no sense is an error, never a spread.

use core::mem::MaybeUninit;

use dpdk_sys as sys;

use super::device::Device;
use super::error::{Errno, RssError};
use super::queue::QueueId;
use crate::port::HashedFields;

/// What a port's RSS does: Toeplitz hash under `key` of a family's fields; the hash's low bits choose an entry of `reta`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RssSpread {
    /// The key, of as many bytes as the driver says.
    pub key: Vec<u8>,
    /// The redirection table: queues of this port, at least one entry.
    pub reta: Vec<QueueId>,
    /// What is hashed of UDP over IPv4.
    pub ipv4: HashedFields,
    /// What is hashed of UDP over IPv6.
    pub ipv6: HashedFields,
}

impl Device {
    /// What the RSS of this port, which is started, does. A redirection table that leaves a queue out, as of a driver that fills in
    /// none, is set to all queues in turn first, where the driver lets it.
    ///
    /// # Errors
    /// [`RssError`]; frames then arrive where the device likes.
    #[cold]
    pub fn rss_spread(&mut self) -> Result<RssSpread, RssError> {
        if !self.grants().rss {
            return Err(RssError::Off);
        }
        let queues = self.queue_pairs();
        let hash = self.rss_hash()?;
        let mut reta = self.rss_reta()?;
        let may_reach_all = entries(&reta).len() >= usize::from(queues);
        if may_reach_all && (0..queues).any(|queue| !entries(&reta).contains(&queue)) {
            // What is behind the last entry means nothing.
            (0..queues).cycle().zip(&mut reta.queues).for_each(|(queue, entry)| *entry = queue);
            // SAFETY: the port exists and is started; the shim reads one structure.
            let returned = unsafe { sys::bp_port_rss_set_reta(self.port().index(), &raw const reta) };
            check("rte_eth_dev_rss_reta_update", returned)?;
            reta = self.rss_reta()?;
        }
        checked(&hash, &reta, queues)
    }

    fn rss_hash(&self) -> Result<sys::bp_rss_hash, RssError> {
        let mut hash = MaybeUninit::<sys::bp_rss_hash>::zeroed();
        // SAFETY: the port exists; the shim writes one structure, whose key is as long as a driver can ask for.
        let returned = unsafe { sys::bp_port_rss_hash(self.port().index(), hash.as_mut_ptr()) };
        check("rte_eth_dev_rss_hash_conf_get", returned)?;
        // SAFETY: zeroed, then filled; any numbers are a value of it.
        Ok(unsafe { hash.assume_init() })
    }

    fn rss_reta(&self) -> Result<sys::bp_rss_reta, RssError> {
        let mut reta = MaybeUninit::<sys::bp_rss_reta>::zeroed();
        // SAFETY: the port exists; the shim writes one structure.
        let returned = unsafe { sys::bp_port_rss_reta(self.port().index(), reta.as_mut_ptr()) };
        check("rte_eth_dev_rss_reta_query", returned)?;
        // SAFETY: zeroed, then filled; any numbers are a value of it.
        Ok(unsafe { reta.assume_init() })
    }
}

fn check(call: &'static str, returned: core::ffi::c_int) -> Result<(), RssError> {
    Errno::check(returned).map_err(|errno| RssError::Call { call, errno })
}

/// The entries that there are.
fn entries(reta: &sys::bp_rss_reta) -> &[u16] {
    &reta.queues[..usize::from(reta.size).min(reta.queues.len())]
}

/// Takes what a driver told for a port of `queues` queues, if it makes sense.
fn checked(hash: &sys::bp_rss_hash, reta: &sys::bp_rss_reta, queues: u16) -> Result<RssSpread, RssError> {
    let entries = entries(reta);
    if entries.is_empty() {
        return Err(RssError::NoTable);
    }
    if let Some(&queue) = entries.iter().find(|&&queue| queue >= queues) {
        return Err(RssError::NoSuchQueue { queue, queues });
    }
    Ok(RssSpread {
        key: hash.key[..usize::from(hash.key_len)].to_vec(),
        reta: entries.iter().copied().map(QueueId::new).collect(),
        ipv4: fields(hash.ipv4)?,
        ipv6: fields(hash.ipv6)?,
    })
}

fn fields(fields: u8) -> Result<HashedFields, RssError> {
    match u32::from(fields) {
        sys::BP_RSS_NOTHING => Ok(HashedFields::Nothing),
        sys::BP_RSS_ADDRESSES => Ok(HashedFields::Addresses),
        sys::BP_RSS_PORTS => Ok(HashedFields::AddressesAndPorts),
        _ => Err(RssError::OtherHash),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST: usize = sys::BP_RSS_RETA_LEN as usize;

    fn hash(ipv4: u32, ipv6: u32) -> sys::bp_rss_hash {
        let key = [7; sys::BP_RSS_KEY_LEN as usize];
        sys::bp_rss_hash { key, key_len: 40, ipv4: ipv4.try_into().unwrap(), ipv6: ipv6.try_into().unwrap() }
    }

    fn reta(size: u16, queues: u16) -> sys::bp_rss_reta {
        let mut reta = sys::bp_rss_reta { size, queues: [0; LONGEST] };
        (0..queues).cycle().zip(&mut reta.queues).for_each(|(queue, entry)| *entry = queue);
        reta
    }

    #[test]
    fn what_makes_sense_is_taken() {
        let spread = checked(&hash(sys::BP_RSS_PORTS, sys::BP_RSS_ADDRESSES), &reta(128, 3), 3).unwrap();
        assert_eq!((spread.key, spread.reta.len()), (vec![7; 40], 128));
        assert_eq!(spread.reta[..4], [0, 1, 2, 0].map(QueueId::new));
        assert_eq!((spread.ipv4, spread.ipv6), (HashedFields::AddressesAndPorts, HashedFields::Addresses));
    }

    #[test]
    fn what_makes_no_sense_is_not() {
        let good = hash(sys::BP_RSS_PORTS, sys::BP_RSS_PORTS);
        assert_eq!(checked(&good, &reta(0, 3), 3), Err(RssError::NoTable));
        assert_eq!(checked(&good, &reta(128, 4), 3), Err(RssError::NoSuchQueue { queue: 3, queues: 3 }));
        assert_eq!(checked(&good, &reta(u16::MAX, 2), 2).map(|spread| spread.reta.len()), Ok(LONGEST));
        for (ipv4, ipv6) in [(sys::BP_RSS_OTHERWISE, 0), (0, sys::BP_RSS_OTHERWISE), (0, 200)] {
            assert_eq!(checked(&hash(ipv4, ipv6), &reta(128, 3), 3), Err(RssError::OtherHash));
        }
    }
}

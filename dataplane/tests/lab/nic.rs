//! A NIC that spreads frames over queues by RSS, as its data sheet would say it: from the bytes of the frame, bit by bit.

use dataplane::port::HashedFields;

/// Settings of the NIC.
#[derive(Clone, Debug)]
pub struct Rss {
    pub key: Vec<u8>,
    pub table: Vec<u16>,
    pub ipv4: HashedFields,
    pub ipv6: HashedFields,
}

impl Rss {
    /// All queues in turn in a table of `entries`.
    pub fn over(queues: u16, entries: u16, key: [u8; 40], fields: HashedFields) -> Self {
        let table = (0..entries).map(|entry| entry % queues).collect();
        Self { key: key.to_vec(), table, ipv4: fields, ipv6: fields }
    }

    /// The queue that a frame goes to; what is not hashed goes to the first.
    pub fn queue(&self, frame: &[u8]) -> usize {
        let Some(input) = self.input(frame) else { return 0 };
        let entry = self.hash(&input) as usize % self.table.len();
        usize::from(self.table[entry])
    }

    /// Addresses, and ports where they are wanted and there.
    fn input(&self, frame: &[u8]) -> Option<Vec<u8>> {
        let tag = if frame.get(12..14)? == [0x81, 0] { 4 } else { 0 };
        let packet = frame.get(14 + tag..)?;
        let (fields, addresses, protocol, ports) = match frame.get(12 + tag..14 + tag)? {
            [0x08, 0x00] => (self.ipv4, packet.get(12..20)?, packet[9], 4 * usize::from(packet[0] & 15)),
            [0x86, 0xdd] => (self.ipv6, packet.get(8..40)?, packet[6], 40),
            _ => return None,
        };
        match fields {
            HashedFields::Nothing => None,
            HashedFields::AddressesAndPorts if protocol == 17 => {
                Some([addresses, packet.get(ports..ports + 4)?].concat())
            }
            _ => Some(addresses.to_vec()),
        }
    }

    fn hash(&self, input: &[u8]) -> u32 {
        let key_bit = |at: usize| u32::from(self.key[at / 8] >> (7 - at % 8) & 1);
        let mut hash = 0;
        for at in (0..8 * input.len()).filter(|at| input[at / 8] >> (7 - at % 8) & 1 == 1) {
            for bit in 0..32 {
                hash ^= key_bit(at + bit) << (31 - bit);
            }
        }
        hash
    }
}

/// The key of the RSS verification suite, which many drivers have.
pub const KEY: [u8; 40] = [
    0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0, 0xd0, 0xca, 0x2b,
    0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac,
    0x01, 0xfa,
];

/// A key that hashes both directions of a flow alike, as some appliances set it: the same two bytes again and again.
pub const SYMMETRIC_KEY: [u8; 40] = {
    let mut key = [0x5a; 40];
    let mut at = 0;
    while at < key.len() {
        key[at] = 0x6d;
        at += 2;
    }
    key
};

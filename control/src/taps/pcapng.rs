//! Capture files as Wireshark, tcpdump and scapy read them: pcapng (IETF draft-ietf-opsawg-pcapng), one section, one interface
//! per lane, times in nanoseconds.

use std::io::{self, Write};

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
const INTERFACE_STATISTICS: u32 = 5;
const ENHANCED_PACKET: u32 = 6;

const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;
const LINKTYPE_ETHERNET: u16 = 1;

/// Options: block type's own numbers.
const SHB_USERAPPL: u16 = 4;
const IF_NAME: u16 = 2;
const IF_TSRESOL: u16 = 9;
const EPB_FLAGS: u16 = 2;
const ISB_IFDROP: u16 = 5;
const ISB_USRDELIV: u16 = 8;

/// Times count 10^-9 seconds.
const NANOSECONDS: u8 = 9;

/// Which way a packet went, as in `epb_flags`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Inbound = 1,
    Outbound = 2,
}

/// Options of a block.
#[derive(Default)]
struct Options(Vec<u8>);

impl Options {
    fn add(mut self, code: u16, value: &[u8]) -> Self {
        // Texts of ours, all short.
        let value = &value[..value.len().min(1_024)];
        self.0.extend(code.to_le_bytes());
        self.0.extend(u16::try_from(value.len()).unwrap_or(0).to_le_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    /// With the end of options.
    fn end(mut self) -> Vec<u8> {
        self.0.extend([0; 4]);
        self.0
    }
}

/// Writes blocks and counts their bytes.
pub(super) struct Writer<W: Write> {
    out: W,
    bytes: u64,
}

/// One packet.
pub(super) struct Packet<'a> {
    pub(super) interface: u32,
    pub(super) unix_ns: u64,
    pub(super) way: Way,
    /// Bytes on the wire.
    pub(super) original_len: usize,
    /// The first of them.
    pub(super) bytes: &'a [u8],
}

impl<W: Write> Writer<W> {
    /// Begins the section.
    pub(super) fn new(out: W) -> io::Result<Self> {
        let mut writer = Self { out, bytes: 0 };
        let mut body = Vec::new();
        body.extend(BYTE_ORDER_MAGIC.to_le_bytes());
        body.extend(1_u16.to_le_bytes());
        body.extend(0_u16.to_le_bytes());
        // The section's length is not known.
        body.extend(u64::MAX.to_le_bytes());
        let application = concat!("bypassd ", env!("CARGO_PKG_VERSION"));
        body.extend(Options::default().add(SHB_USERAPPL, application.as_bytes()).end());
        writer.block(SECTION_HEADER, &[&body])?;
        Ok(writer)
    }

    /// Describes the next interface; they are counted from 0.
    pub(super) fn interface(&mut self, name: &str, snaplen: u32) -> io::Result<()> {
        let mut body = Vec::new();
        body.extend(LINKTYPE_ETHERNET.to_le_bytes());
        body.extend(0_u16.to_le_bytes());
        body.extend(snaplen.to_le_bytes());
        body.extend(Options::default().add(IF_NAME, name.as_bytes()).add(IF_TSRESOL, &[NANOSECONDS]).end());
        self.block(INTERFACE_DESCRIPTION, &[&body])
    }

    /// Bytes that [`packet`](Self::packet) would write.
    pub(super) fn packet_len(bytes: usize) -> u64 {
        // Type, two lengths, five fields, flags and the end of options, beside the padded bytes.
        (12 + 20 + 12 + bytes.next_multiple_of(4)) as u64
    }

    pub(super) fn packet(&mut self, packet: &Packet<'_>) -> io::Result<()> {
        let Packet { interface, unix_ns, way, original_len, bytes } = *packet;
        let mut fixed = Vec::with_capacity(20);
        fixed.extend(interface.to_le_bytes());
        time(&mut fixed, unix_ns);
        fixed.extend(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes());
        fixed.extend(u32::try_from(original_len).unwrap_or(u32::MAX).to_le_bytes());
        let padding = &[0; 3][..bytes.len().next_multiple_of(4) - bytes.len()];
        let options = Options::default().add(EPB_FLAGS, &(way as u32).to_le_bytes()).end();
        self.block(ENHANCED_PACKET, &[&fixed, bytes, padding, &options])
    }

    /// What an interface lost and gave, at the end.
    pub(super) fn statistics(&mut self, interface: u32, unix_ns: u64, written: u64, lost: u64) -> io::Result<()> {
        let mut body = Vec::new();
        body.extend(interface.to_le_bytes());
        time(&mut body, unix_ns);
        let options = Options::default().add(ISB_IFDROP, &lost.to_le_bytes());
        body.extend(options.add(ISB_USRDELIV, &written.to_le_bytes()).end());
        self.block(INTERFACE_STATISTICS, &[&body])
    }

    /// Bytes written.
    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// The parts together are a multiple of four bytes long.
    fn block(&mut self, kind: u32, parts: &[&[u8]]) -> io::Result<()> {
        let len = 12 + parts.iter().map(|part| part.len()).sum::<usize>();
        let total = u32::try_from(len).map_err(io::Error::other)?.to_le_bytes();
        self.out.write_all(&kind.to_le_bytes())?;
        self.out.write_all(&total)?;
        for part in parts {
            self.out.write_all(part)?;
        }
        self.out.write_all(&total)?;
        self.bytes += len as u64;
        Ok(())
    }
}

/// Upper half first.
fn time(body: &mut Vec<u8>, unix_ns: u64) {
    let [high, low] = [unix_ns >> 32, unix_ns & u64::from(u32::MAX)];
    for half in [high, low] {
        body.extend(u32::try_from(half).unwrap_or(u32::MAX).to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(bytes: &[u8], at: usize) -> u32 {
        u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
    }

    /// Types and bodies of all blocks; their two lengths agree.
    fn blocks(mut file: &[u8]) -> Vec<(u32, Vec<u8>)> {
        let mut blocks = Vec::new();
        while !file.is_empty() {
            let len = word(file, 4) as usize;
            assert_eq!((len % 4, word(file, len - 4) as usize), (0, len));
            blocks.push((word(file, 0), file[8..len - 4].to_vec()));
            file = &file[len..];
        }
        blocks
    }

    #[test]
    fn blocks_are_as_the_format_has_them() {
        let mut file = Vec::new();
        let mut writer = Writer::new(&mut file).unwrap();
        writer.interface("port 0 worker 1", 2_048).unwrap();
        let before = writer.bytes();
        let unix_ns = 0x1122_3344_5566_7788;
        let packet = Packet { interface: 0, unix_ns, way: Way::Outbound, original_len: 1_500, bytes: b"abcde" };
        writer.packet(&packet).unwrap();
        assert_eq!(writer.bytes() - before, Writer::<Vec<u8>>::packet_len(5));
        writer.statistics(0, unix_ns, 1, 7).unwrap();
        let written = writer.bytes();
        assert_eq!(written, file.len() as u64);

        let blocks = blocks(&file);
        assert_eq!(blocks.iter().map(|(kind, _)| *kind).collect::<Vec<_>>(), [0x0a0d_0d0a, 1, 6, 5]);
        assert_eq!(word(&blocks[0].1, 0), 0x1a2b_3c4d);
        let packet = &blocks[2].1;
        assert_eq!([0, 4, 8, 12, 16].map(|at| word(packet, at)), [0, 0x1122_3344, 0x5566_7788, 5, 1_500]);
        assert_eq!(&packet[20..28], b"abcde\0\0\0", "padded");
        assert_eq!((word(packet, 28), word(packet, 32), word(packet, 36)), (2 | 4 << 16, 2, 0), "flags, then the end");
    }
}

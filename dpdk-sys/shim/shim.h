/* What Rust sees of DPDK: its inline functions as real ones, and port set-up without DPDK's structures.
 * Differences between DPDK releases are handled in shim.c and nowhere else. */
#ifndef BYPASSD_SHIM_H
#define BYPASSD_SHIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <rte_bus.h>
#include <rte_dev.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_launch.h>
#include <rte_lcore.h>
#include <rte_mbuf.h>
#include <rte_memory.h>
#include <rte_mempool.h>
#include <rte_telemetry.h>
#include <rte_version.h>

enum bp_limit {
	BP_HEADROOM = RTE_PKTMBUF_HEADROOM, /* bytes before the data of a fresh mbuf */
	BP_NAME_LEN = RTE_ETH_NAME_MAX_LEN, /* bytes of a port name with its NUL */
	BP_MAC_LEN = RTE_ETHER_ADDR_LEN,
	BP_XSTAT_NAME_LEN = RTE_ETH_XSTATS_NAME_SIZE, /* bytes of a counter's name with its NUL */
	BP_MAX_PORTS = RTE_MAX_ETHPORTS, /* also: no such port */
	BP_MAX_LCORES = RTE_MAX_LCORE,
	BP_RSS_KEY_LEN = UINT8_MAX, /* longest key, in bytes */
	BP_RSS_RETA_LEN = 2048, /* longest redirection table that is read, in entries */
	BP_TEL_TEXT_LEN = RTE_TEL_MAX_STRING_LEN, /* bytes of a text in a telemetry reply with its NUL */
	BP_LOAN_MAX = 60000, /* mbufs that may refer to one loan: DPDK counts them in 16 bits */
};

/* Where the poll loop finds the fields of an mbuf that it needs for every frame: in Rust they are single loads and stores. */
enum bp_mbuf_field {
	BP_MBUF_BUF_ADDR = offsetof(struct rte_mbuf, buf_addr), /* void * */
	BP_MBUF_NEXT = offsetof(struct rte_mbuf, next), /* struct rte_mbuf * */
	BP_MBUF_DATA_OFF = offsetof(struct rte_mbuf, data_off), /* u16 */
	BP_MBUF_REFCNT = offsetof(struct rte_mbuf, refcnt), /* u16 */
	BP_MBUF_NB_SEGS = offsetof(struct rte_mbuf, nb_segs), /* u16 */
	BP_MBUF_OL_FLAGS = offsetof(struct rte_mbuf, ol_flags), /* u64 */
	BP_MBUF_PACKET_TYPE = offsetof(struct rte_mbuf, packet_type), /* u32 */
	BP_MBUF_PKT_LEN = offsetof(struct rte_mbuf, pkt_len), /* u32 */
	BP_MBUF_DATA_LEN = offsetof(struct rte_mbuf, data_len), /* u16 */
	BP_MBUF_BUF_LEN = offsetof(struct rte_mbuf, buf_len), /* u16 */
};

/* What reception says about checksums in ol_flags. */
enum bp_rx_checksum {
	BP_RX_IP_CKSUM_MASK = RTE_MBUF_F_RX_IP_CKSUM_MASK,
	BP_RX_IP_CKSUM_UNKNOWN = RTE_MBUF_F_RX_IP_CKSUM_UNKNOWN,
	BP_RX_IP_CKSUM_GOOD = RTE_MBUF_F_RX_IP_CKSUM_GOOD,
	BP_RX_IP_CKSUM_NONE = RTE_MBUF_F_RX_IP_CKSUM_NONE,
	BP_RX_L4_CKSUM_MASK = RTE_MBUF_F_RX_L4_CKSUM_MASK,
	BP_RX_L4_CKSUM_GOOD = RTE_MBUF_F_RX_L4_CKSUM_GOOD,
	BP_RX_L4_CKSUM_NONE = RTE_MBUF_F_RX_L4_CKSUM_NONE,
	BP_PTYPE_L3_IPV6 = RTE_PTYPE_L3_IPV6, /* the bit that all IPv6 types have */
};

/* Upper half of ol_flags: the buffer is not the mbuf's own. */
enum bp_foreign_buffer {
	BP_FOREIGN_BUFFER = (RTE_MBUF_F_EXTERNAL | RTE_MBUF_F_INDIRECT) >> 32,
};

/* Memory that mbufs refer to, counted. */
struct bp_loan;

struct bp_port_info {
	const char *driver; /* static, in the driver */
	const char *bus; /* static, in the bus; NULL: none */
	void *device; /* struct rte_device; there until EAL ends, also when the port was closed */
	char name[BP_NAME_LEN];
	int socket; /* -1: any */
	uint16_t max_rx_queues;
	uint16_t max_tx_queues;
	uint16_t min_mtu;
	uint16_t max_mtu;
	bool rx_checksum_ipv4;
	bool rx_checksum_udp;
	bool tx_checksum_ipv4;
	bool tx_checksum_udp;
	bool rss; /* hashes IP or UDP fields */
	bool scatter; /* chains mbufs for a long frame */
	bool multi_segments; /* sends chained mbufs */
};

struct bp_port_request {
	uint16_t queue_pairs;
	uint16_t mtu;
	bool rx_checksum;
	bool tx_checksum;
	bool rss;
	bool scatter;
	bool multi_segments;
};

struct bp_port_stats {
	uint64_t rx_packets;
	uint64_t rx_bytes;
	uint64_t tx_packets;
	uint64_t tx_bytes;
	uint64_t rx_missed;
	uint64_t rx_errors;
	uint64_t rx_no_mbuf;
	uint64_t tx_errors;
};

/* One of a driver's own counters. */
struct bp_xstat {
	char name[BP_XSTAT_NAME_LEN];
	uint64_t value;
};

struct bp_link {
	uint32_t speed_mbps; /* UINT32_MAX: unknown */
	bool up;
	bool full_duplex;
};

/* What of a UDP datagram RSS hashes. */
enum bp_rss_fields {
	BP_RSS_NOTHING,
	BP_RSS_ADDRESSES,
	BP_RSS_PORTS, /* and addresses */
	BP_RSS_OTHERWISE, /* parts of addresses, one direction only, or not by Toeplitz */
};

struct bp_rss_hash {
	uint8_t key[BP_RSS_KEY_LEN];
	uint8_t key_len;
	uint8_t ipv4; /* enum bp_rss_fields */
	uint8_t ipv6;
};

struct bp_rss_reta {
	uint16_t size; /* 0: none */
	uint16_t queues[BP_RSS_RETA_LEN];
};

/* EAL. */
int bp_errno(void);
uint64_t bp_tsc(void);
int bp_lcore_cpus(unsigned int lcore, uint16_t *cpus, int room); /* of an lcore of EAL's; how many were written */

/* Ports, set-up. 0 or a negative errno, unless said otherwise. */
uint16_t bp_port_next(uint16_t from); /* first port >= from, or BP_MAX_PORTS */
int bp_port_info(uint16_t port, struct bp_port_info *info);
int bp_port_configure(uint16_t port, const struct bp_port_request *request);
int bp_port_clamp_descriptors(uint16_t port, uint16_t *rx, uint16_t *tx);
int bp_port_set_mtu(uint16_t port, uint16_t mtu);
int bp_rx_queue_setup(uint16_t port, uint16_t queue, uint16_t descriptors, struct rte_mempool *pool);
int bp_tx_queue_setup(uint16_t port, uint16_t queue, uint16_t descriptors);
int bp_port_mac(uint16_t port, uint8_t mac[BP_MAC_LEN]);
int bp_port_stats(uint16_t port, struct bp_port_stats *stats);
int bp_port_xstats(uint16_t port, struct bp_xstat *xstats, int room); /* how many there are; if more than room, none is written */
int bp_port_link(uint16_t port, struct bp_link *link); /* does not wait */

/* Ports, receive side scaling; of a started port. */
int bp_port_rss_hash(uint16_t port, struct bp_rss_hash *hash);
int bp_port_rss_reta(uint16_t port, struct bp_rss_reta *reta); /* -ERANGE: more than BP_RSS_RETA_LEN entries */
int bp_port_rss_set_reta(uint16_t port, const struct bp_rss_reta *reta);

/* Ports, poll loop. */
uint16_t bp_rx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t count);
uint16_t bp_tx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t count);

/* Mbufs. */
struct rte_mbuf *bp_mbuf_alloc(struct rte_mempool *pool);
void bp_mbuf_free(struct rte_mbuf *mbuf);
void bp_mbuf_request_checksums(struct rte_mbuf *mbuf, uint8_t l2_len, uint8_t l3_len, bool ipv4);

/* Loans. An mbuf that refers to one is read-only, and to be sent on ports that take chained mbufs. */
struct bp_loan *bp_loan_new(void); /* NULL: out of memory */
void bp_loan_free(struct bp_loan *loan); /* nothing refers to it */
uint16_t bp_loan_references(const struct bp_loan *loan); /* mbufs that refer to it */
/* Chains `len` bytes at `data` behind a linear mbuf; false, and nothing done, when the pool is empty or the loan is at its limit. */
bool bp_mbuf_attach_loan(struct rte_mbuf *mbuf, struct rte_mempool *pool, struct bp_loan *loan, const void *data, uint16_t len);

/* DMA of memory that is not DPDK's, by virtual addresses. 0 or -1 with rte_errno. */
bool bp_iova_is_va(void);
int bp_dma_map(void *device, void *start, size_t len);
int bp_dma_unmap(void *device, void *start, size_t len);

/* Telemetry replies: a dictionary is begun in an empty one and then filled. 0 or a negative errno. Texts are copied; names
 * are made of letters, digits, `_` and `/`. A part that was added belongs to the whole; one that was not is freed by its maker. */
struct rte_tel_data *bp_tel_new(void); /* NULL: out of memory */
void bp_tel_free(struct rte_tel_data *data);
int bp_tel_begin_dict(struct rte_tel_data *data);
int bp_tel_dict_number(struct rte_tel_data *data, const char *name, uint64_t number);
int bp_tel_dict_text(struct rte_tel_data *data, const char *name, const char *text);
int bp_tel_dict_part(struct rte_tel_data *data, const char *name, struct rte_tel_data *part);

#endif

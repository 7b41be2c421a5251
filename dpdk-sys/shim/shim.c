/* For rte_dev_dma_map, which DPDK 22.11 does not call stable yet. */
#define ALLOW_EXPERIMENTAL_API
/* For sets of CPUs. */
#define _GNU_SOURCE
#include "shim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rte_cycles.h>

/* What a worker asks of the NIC's hash: queries spread by address and port. */
static const uint64_t rss_fields = RTE_ETH_RSS_IP | RTE_ETH_RSS_UDP;
static const uint64_t rx_checksums = RTE_ETH_RX_OFFLOAD_IPV4_CKSUM | RTE_ETH_RX_OFFLOAD_UDP_CKSUM;
static const uint64_t tx_checksums = RTE_ETH_TX_OFFLOAD_IPV4_CKSUM | RTE_ETH_TX_OFFLOAD_UDP_CKSUM;

int bp_errno(void)
{
	return rte_errno;
}

uint64_t bp_tsc(void)
{
	return rte_rdtsc();
}

int bp_lcore_cpus(unsigned int lcore, uint16_t *cpus, int room)
{
	rte_cpuset_t set = rte_lcore_cpuset(lcore);
	int count = 0;

	for (int cpu = 0; cpu < CPU_SETSIZE && count < room; cpu++)
		if (CPU_ISSET(cpu, &set))
			cpus[count++] = (uint16_t)cpu;
	return count;
}

uint16_t bp_port_next(uint16_t from)
{
	return (uint16_t)RTE_MIN(rte_eth_find_next_owned_by(from, RTE_ETH_DEV_NO_OWNER), (uint64_t)RTE_MAX_ETHPORTS);
}

int bp_port_info(uint16_t port, struct bp_port_info *info)
{
	struct rte_eth_dev_info dev;
	int rc = rte_eth_dev_info_get(port, &dev);

	if (rc != 0)
		return rc;
	memset(info, 0, sizeof(*info));
	info->driver = dev.driver_name;
	info->device = dev.device;
	info->bus = dev.device != NULL && rte_dev_bus(dev.device) != NULL ? rte_bus_name(rte_dev_bus(dev.device)) : NULL;
	info->socket = rte_eth_dev_socket_id(port);
	info->max_rx_queues = dev.max_rx_queues;
	info->max_tx_queues = dev.max_tx_queues;
	info->min_mtu = dev.min_mtu;
	info->max_mtu = dev.max_mtu;
	info->rx_checksum_ipv4 = (dev.rx_offload_capa & RTE_ETH_RX_OFFLOAD_IPV4_CKSUM) != 0;
	info->rx_checksum_udp = (dev.rx_offload_capa & RTE_ETH_RX_OFFLOAD_UDP_CKSUM) != 0;
	info->tx_checksum_ipv4 = (dev.tx_offload_capa & RTE_ETH_TX_OFFLOAD_IPV4_CKSUM) != 0;
	info->tx_checksum_udp = (dev.tx_offload_capa & RTE_ETH_TX_OFFLOAD_UDP_CKSUM) != 0;
	info->rss = (dev.flow_type_rss_offloads & rss_fields) != 0;
	info->scatter = (dev.rx_offload_capa & RTE_ETH_RX_OFFLOAD_SCATTER) != 0;
	info->multi_segments = (dev.tx_offload_capa & RTE_ETH_TX_OFFLOAD_MULTI_SEGS) != 0;
	return rte_eth_dev_get_name_by_port(port, info->name);
}

int bp_port_configure(uint16_t port, const struct bp_port_request *request)
{
	struct rte_eth_conf conf = {0};
	struct rte_eth_dev_info dev;
	int rc = rte_eth_dev_info_get(port, &dev);

	if (rc != 0)
		return rc;
	conf.rxmode.mtu = request->mtu;
	if (request->rx_checksum)
		conf.rxmode.offloads |= rx_checksums;
	if (request->scatter)
		conf.rxmode.offloads |= RTE_ETH_RX_OFFLOAD_SCATTER;
	if (request->tx_checksum)
		conf.txmode.offloads |= tx_checksums;
	if (request->multi_segments)
		conf.txmode.offloads |= RTE_ETH_TX_OFFLOAD_MULTI_SEGS;
	if (request->rss) {
		conf.rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
		conf.rx_adv_conf.rss_conf.rss_hf = dev.flow_type_rss_offloads & rss_fields;
	}
	return rte_eth_dev_configure(port, request->queue_pairs, request->queue_pairs, &conf);
}

int bp_port_clamp_descriptors(uint16_t port, uint16_t *rx, uint16_t *tx)
{
	return rte_eth_dev_adjust_nb_rx_tx_desc(port, rx, tx);
}

int bp_port_set_mtu(uint16_t port, uint16_t mtu)
{
	return rte_eth_dev_set_mtu(port, mtu);
}

int bp_rx_queue_setup(uint16_t port, uint16_t queue, uint16_t descriptors, struct rte_mempool *pool)
{
	return rte_eth_rx_queue_setup(port, queue, descriptors, (unsigned int)rte_eth_dev_socket_id(port), NULL, pool);
}

int bp_tx_queue_setup(uint16_t port, uint16_t queue, uint16_t descriptors)
{
	return rte_eth_tx_queue_setup(port, queue, descriptors, (unsigned int)rte_eth_dev_socket_id(port), NULL);
}

int bp_port_mac(uint16_t port, uint8_t mac[BP_MAC_LEN])
{
	struct rte_ether_addr address;
	int rc = rte_eth_macaddr_get(port, &address);

	if (rc == 0)
		memcpy(mac, address.addr_bytes, BP_MAC_LEN);
	return rc;
}

int bp_port_stats(uint16_t port, struct bp_port_stats *stats)
{
	struct rte_eth_stats dev;
	int rc = rte_eth_stats_get(port, &dev);

	if (rc != 0)
		return rc;
	stats->rx_packets = dev.ipackets;
	stats->rx_bytes = dev.ibytes;
	stats->tx_packets = dev.opackets;
	stats->tx_bytes = dev.obytes;
	stats->rx_missed = dev.imissed;
	stats->rx_errors = dev.ierrors;
	stats->rx_no_mbuf = dev.rx_nombuf;
	stats->tx_errors = dev.oerrors;
	return 0;
}

int bp_port_xstats(uint16_t port, struct bp_xstat *xstats, int room)
{
	struct rte_eth_xstat_name *names = NULL;
	struct rte_eth_xstat *values = NULL;
	int count = rte_eth_xstats_get(port, NULL, 0);

	if (count <= 0 || count > room)
		return count;
	names = calloc((size_t)count, sizeof(*names));
	values = calloc((size_t)count, sizeof(*values));
	if (names == NULL || values == NULL) {
		count = -ENOMEM;
	} else {
		int named = rte_eth_xstats_get_names(port, names, (unsigned int)count);
		int got = rte_eth_xstats_get(port, values, (unsigned int)count);

		/* Their number changes only when the port is configured anew. */
		if (named != count || got != count)
			count = named < 0 ? named : got < 0 ? got : -EAGAIN;
	}
	for (int i = 0; i < count; i++) {
		uint64_t id = values[i].id;

		snprintf(xstats[i].name, sizeof(xstats[i].name), "%s", id < (uint64_t)count ? names[id].name : "");
		xstats[i].value = values[i].value;
	}
	free(names);
	free(values);
	return count;
}

int bp_port_link(uint16_t port, struct bp_link *link)
{
	struct rte_eth_link dev;
	int rc = rte_eth_link_get_nowait(port, &dev);

	if (rc != 0)
		return rc;
	link->speed_mbps = dev.link_speed;
	link->up = dev.link_status == RTE_ETH_LINK_UP;
	link->full_duplex = dev.link_duplex == RTE_ETH_LINK_FULL_DUPLEX;
	return 0;
}

/* What is on for a family whose plain, UDP and all flow types are these. */
static uint8_t fields_of(uint64_t on, uint64_t plain, uint64_t udp)
{
	/* Bits 52 to 63: source or destination only, prefixes only. */
	if ((on & ~UINT64_C(0) << 52) != 0)
		return BP_RSS_OTHERWISE;
	if ((on & udp) != 0)
		return BP_RSS_PORTS;
	return (on & plain) != 0 ? BP_RSS_ADDRESSES : BP_RSS_NOTHING;
}

int bp_port_rss_hash(uint16_t port, struct bp_rss_hash *hash)
{
	struct rte_eth_rss_conf conf = {.rss_key = hash->key};
	struct rte_eth_dev_info dev;
	int rc = rte_eth_dev_info_get(port, &dev);

	if (rc != 0)
		return rc;
	memset(hash, 0, sizeof(*hash));
	/* Some drivers want to see the length, some tell it, some do neither and have 40 bytes. */
	conf.rss_key_len = dev.hash_key_size != 0 ? dev.hash_key_size : 40;
	rc = rte_eth_dev_rss_hash_conf_get(port, &conf);
	if (rc != 0)
		return rc;
	hash->key_len = conf.rss_key_len;
	hash->ipv4 = fields_of(conf.rss_hf, RTE_ETH_RSS_IPV4, RTE_ETH_RSS_NONFRAG_IPV4_UDP);
	hash->ipv6 = fields_of(conf.rss_hf, RTE_ETH_RSS_IPV6, RTE_ETH_RSS_NONFRAG_IPV6_UDP);
#if RTE_VERSION >= RTE_VERSION_NUM(23, 11, 0, 0)
	if (conf.algorithm != RTE_ETH_HASH_FUNCTION_DEFAULT && conf.algorithm != RTE_ETH_HASH_FUNCTION_TOEPLITZ)
		hash->ipv4 = hash->ipv6 = BP_RSS_OTHERWISE;
#endif
	return 0;
}

/* The entries of a table come in groups with a mask of those that are meant. */
#define RETA_GROUPS ((BP_RSS_RETA_LEN + RTE_ETH_RETA_GROUP_SIZE - 1) / RTE_ETH_RETA_GROUP_SIZE)

static void mark_all(struct rte_eth_rss_reta_entry64 *groups, uint16_t size)
{
	for (uint16_t i = 0; i < size; i++)
		groups[i / RTE_ETH_RETA_GROUP_SIZE].mask |= RTE_BIT64(i % RTE_ETH_RETA_GROUP_SIZE);
}

int bp_port_rss_reta(uint16_t port, struct bp_rss_reta *reta)
{
	struct rte_eth_rss_reta_entry64 groups[RETA_GROUPS] = {0};
	struct rte_eth_dev_info dev;
	int rc = rte_eth_dev_info_get(port, &dev);

	if (rc != 0)
		return rc;
	memset(reta, 0, sizeof(*reta));
	if (dev.reta_size == 0)
		return 0;
	if (dev.reta_size > BP_RSS_RETA_LEN)
		return -ERANGE;
	mark_all(groups, dev.reta_size);
	rc = rte_eth_dev_rss_reta_query(port, groups, dev.reta_size);
	if (rc != 0)
		return rc;
	reta->size = dev.reta_size;
	for (uint16_t i = 0; i < reta->size; i++)
		reta->queues[i] = groups[i / RTE_ETH_RETA_GROUP_SIZE].reta[i % RTE_ETH_RETA_GROUP_SIZE];
	return 0;
}

int bp_port_rss_set_reta(uint16_t port, const struct bp_rss_reta *reta)
{
	struct rte_eth_rss_reta_entry64 groups[RETA_GROUPS] = {0};

	if (reta->size > BP_RSS_RETA_LEN)
		return -ERANGE;
	mark_all(groups, reta->size);
	for (uint16_t i = 0; i < reta->size; i++)
		groups[i / RTE_ETH_RETA_GROUP_SIZE].reta[i % RTE_ETH_RETA_GROUP_SIZE] = reta->queues[i];
	return rte_eth_dev_rss_reta_update(port, groups, reta->size);
}

uint16_t bp_rx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t count)
{
	return rte_eth_rx_burst(port, queue, mbufs, count);
}

uint16_t bp_tx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t count)
{
	return rte_eth_tx_burst(port, queue, mbufs, count);
}

struct rte_mbuf *bp_mbuf_alloc(struct rte_mempool *pool)
{
	return rte_pktmbuf_alloc(pool);
}

void bp_mbuf_free(struct rte_mbuf *mbuf)
{
	rte_pktmbuf_free(mbuf);
}

_Static_assert(RTE_ETH_IS_IPV6_HDR(BP_PTYPE_L3_IPV6) && !RTE_ETH_IS_IPV6_HDR(RTE_PTYPE_L3_IPV4), "IPv6 is one bit");

/* What reception said of the mbuf goes; how its buffer is held stays (as testpmd's macswap does it). */
void bp_mbuf_request_checksums(struct rte_mbuf *mbuf, uint8_t l2_len, uint8_t l3_len, bool ipv4)
{
	mbuf->ol_flags &= RTE_MBUF_F_INDIRECT | RTE_MBUF_F_EXTERNAL;
	mbuf->ol_flags |= RTE_MBUF_F_TX_UDP_CKSUM;
	mbuf->ol_flags |= ipv4 ? RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_IP_CKSUM : RTE_MBUF_F_TX_IPV6;
	mbuf->tx_offload = 0;
	mbuf->l2_len = l2_len;
	mbuf->l3_len = l3_len;
}

/* On a cache line of its own: whoever frees a frame writes it. */
struct bp_loan {
	struct rte_mbuf_ext_shared_info shared;
} __rte_cache_aligned;

/* Never called: the loan itself holds a reference, which it gives up by being freed. */
static void no_last_reference(void *addr, void *opaque)
{
	RTE_SET_USED(addr);
	RTE_SET_USED(opaque);
}

struct bp_loan *bp_loan_new(void)
{
	struct bp_loan *loan = aligned_alloc(_Alignof(struct bp_loan), sizeof(*loan));

	if (loan != NULL) {
		loan->shared.free_cb = no_last_reference;
		loan->shared.fcb_opaque = NULL;
		rte_mbuf_ext_refcnt_set(&loan->shared, 1);
	}
	return loan;
}

void bp_loan_free(struct bp_loan *loan)
{
	free(loan);
}

/* Acquires: who reads that a reference is gone sees all that was done with it before. */
uint16_t bp_loan_references(const struct bp_loan *loan)
{
	return (uint16_t)(__atomic_load_n(&loan->shared.refcnt, __ATOMIC_ACQUIRE) - 1);
}

_Static_assert(BP_LOAN_MAX < UINT16_MAX - 1, "the count of references must not wrap");

bool bp_mbuf_attach_loan(struct rte_mbuf *mbuf, struct rte_mempool *pool, struct bp_loan *loan, const void *data, uint16_t len)
{
	struct rte_mbuf *tail;

	if (rte_mbuf_ext_refcnt_read(&loan->shared) > BP_LOAN_MAX)
		return false;
	tail = rte_pktmbuf_alloc(pool);
	if (tail == NULL)
		return false;
	/* Devices get the address as it is: loans are not made where IOVA is another. Nobody writes through it. */
	rte_pktmbuf_attach_extbuf(tail, (void *)(uintptr_t)data, (rte_iova_t)(uintptr_t)data, len, &loan->shared);
	rte_mbuf_ext_refcnt_update(&loan->shared, 1);
	tail->data_len = len;
	tail->pkt_len = len;
	mbuf->next = tail;
	mbuf->nb_segs = 2;
	mbuf->pkt_len += len;
	return true;
}

bool bp_iova_is_va(void)
{
	return rte_eal_iova_mode() == RTE_IOVA_VA;
}

int bp_dma_map(void *device, void *start, size_t len)
{
	return rte_dev_dma_map(device, start, (uint64_t)(uintptr_t)start, len) == 0 ? 0 : -1;
}

int bp_dma_unmap(void *device, void *start, size_t len)
{
	return rte_dev_dma_unmap(device, start, (uint64_t)(uintptr_t)start, len) == 0 ? 0 : -1;
}

struct rte_tel_data *bp_tel_new(void)
{
	return rte_tel_data_alloc();
}

void bp_tel_free(struct rte_tel_data *data)
{
	rte_tel_data_free(data);
}

int bp_tel_begin_dict(struct rte_tel_data *data)
{
	return rte_tel_data_start_dict(data);
}

int bp_tel_dict_number(struct rte_tel_data *data, const char *name, uint64_t number)
{
#if RTE_VERSION >= RTE_VERSION_NUM(23, 3, 0, 0)
	return rte_tel_data_add_dict_uint(data, name, number);
#else
	return rte_tel_data_add_dict_u64(data, name, number);
#endif
}

int bp_tel_dict_text(struct rte_tel_data *data, const char *name, const char *text)
{
	return rte_tel_data_add_dict_string(data, name, text);
}

int bp_tel_dict_part(struct rte_tel_data *data, const char *name, struct rte_tel_data *part)
{
	return rte_tel_data_add_dict_container(data, name, part, 0);
}

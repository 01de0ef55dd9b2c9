/*
 * Sockets of the simulated kernel, and the segments between them.
 */
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "backend/sim_world.h"

enum whi_sim_sock_state {
	WHI_SOCK_NEW,
	WHI_SOCK_LISTENING,
	WHI_SOCK_CONNECTING,
	WHI_SOCK_EMBRYO, /* of a listener, not acknowledged yet */
	WHI_SOCK_CONNECTED,
	WHI_SOCK_CLOSED, /* by either side, reset, or silent for too long */
};

/* Where a socket is. Internet: a host and a port. Unix: the inode of a path, or a name. */
struct whi_sim_addr {
	uint8_t family; /* 0: none */
	bool any;	/* every address of the host */
	bool loopback;
	uint16_t port;
	uint32_t host;
	uint64_t inode;
	uint8_t name_len; /* of an abstract name, or of the path that leads to `inode` */
	char name[sizeof(((struct sockaddr_un *)0)->sun_path)];
};

struct whi_sim_sock {
	struct whi_sim_file file; /* must be first */
	struct whi_world *world;
	struct whi_list link; /* among the host's */
	uint32_t refs;	      /* its file, its peer, segments, its listener */
	uint8_t state;	      /* enum whi_sim_sock_state */
	uint8_t domain;
	uint8_t type;
	bool stale;	   /* its host has crashed since */
	bool fin_received; /* after what is in `received` and `held` */
	bool fin_sent;
	bool shut_read;
	bool reuse_addr, reuse_port;
	int error;	/* for the next operation; 0: none */
	int options[4]; /* nodelay, keepalive, broadcast, priority: kept and given back */
	struct whi_sim_addr local, remote;
	struct whi_sim_sock *peer; /* referenced */
	uint32_t silent_host;	   /* plus 1: the peer's, which has crashed without a word */
	bool reset_comes;	   /* it is back, and knows nothing of the connection */
	/* Listening */
	struct whi_list accepted; /* by accept_link */
	struct whi_list accept_link;
	struct whi_sim_sock *listener; /* referenced, until accepted */
	uint32_t backlog, pending;     /* accepted and embryos */
	/* Connecting; a peer that is silent */
	struct whi_sim_req *connector;
	struct whi_sim_event retry, timer;
	/* Sending */
	uint32_t sndbuf, unacked;
	uint64_t last_arrival_ns; /* of what was sent */
	struct whi_list way;	  /* segments on their way, but for datagrams; first sent first */
	struct whi_list senders;  /* requests */
	/* Receiving */
	uint32_t rcvbuf, rcv_bytes;
	struct whi_list received;  /* segments */
	struct whi_list held;	   /* segments for which there was no room */
	struct whi_list receivers; /* requests; of a listener: accepts */
	uint32_t ack_bytes;	   /* to be told to the peer */
	struct whi_sim_event ack;
};

enum whi_sim_seg_type {
	WHI_SEG_SYN,
	WHI_SEG_SYNACK,
	WHI_SEG_REFUSED,
	WHI_SEG_ESTABLISHED,
	WHI_SEG_DATA,
	WHI_SEG_FIN,
	WHI_SEG_RST,
	WHI_SEG_DATAGRAM,
};

/* From one socket to another, both referenced. */
struct whi_sim_seg {
	struct whi_list link; /* received, held, or on its cut link */
	struct whi_sim_event event;
	struct whi_sim_sock *from, *to; /* `to` NULL: whoever is at `dest` */
	uint8_t type;
	bool due; /* arrives as soon as those before it have */
	struct whi_list way;
	uint32_t from_host, to_host;
	uint32_t len, used;
	struct whi_sim_addr dest;
	char data[];
};

static inline struct whi_sim_sock *whi_sim_sock_of(struct whi_sim_file *file)
{
	return (struct whi_sim_sock *)(void *)file;
}

/* sim_link.c */
uint64_t whi_sim_travel_ns(struct whi_world *world, uint32_t from, uint32_t to, size_t bytes);

/* sim_wire.c */
void whi_sim_segs_resume(struct whi_sim_pair *pair);
void whi_sim_net_silence(struct whi_sim_pair *pair);
struct whi_sim_seg *whi_sim_seg_new(struct whi_sim_sock *from, struct whi_sim_sock *to,
				    uint8_t type, uint32_t len);
void whi_sim_seg_free(struct whi_sim_seg *seg);
/* Put it on its way. */
void whi_sim_seg_send(struct whi_sim_seg *seg);
/* The same without data. */
void whi_sim_seg_tell(struct whi_sim_sock *from, struct whi_sim_sock *to, uint8_t type);
/* `bytes` were received: the sender may send as many more. */
void whi_sim_credit(struct whi_sim_sock *sock, uint32_t bytes);

/* sim_connect.c */
void whi_sim_syn_arrived(struct whi_sim_seg *seg);
void whi_sim_synack_arrived(struct whi_sim_seg *seg);
void whi_sim_established(struct whi_sim_seg *seg);
/* The attempt has ended. */
void whi_sim_connected(struct whi_sim_sock *sock, int result);
void whi_sim_serve_accepts(struct whi_sim_sock *sock);
void whi_sim_listener_closed(struct whi_sim_sock *sock);
void whi_sim_timer_fired(struct whi_sim_event *event);
void whi_sim_retry_fired(struct whi_sim_event *event);

/* sim_sock.c */
struct whi_sim_sock *whi_sim_sock_new(struct whi_sim_host *host, int domain, int type);
static inline void whi_sim_sock_ref(struct whi_sim_sock *sock)
{
	sock->refs++;
}
void whi_sim_sock_unref(struct whi_sim_sock *sock);
/* No connection any more: `error` for the next operation on it. Tells nobody. */
void whi_sim_sock_end(struct whi_sim_sock *sock, int error);
/* The same, and the peer is told by a reset. */
void whi_sim_sock_reset(struct whi_sim_sock *sock, int error);
int whi_sim_sock_take_error(struct whi_sim_sock *sock);
void whi_sim_sock_changed(struct whi_sim_sock *sock);
void whi_sim_sock_pair(struct whi_sim_sock *a, struct whi_sim_sock *b);

/* sim_name.c: addresses. -EAFNOSUPPORT, -EINVAL, and what the disk says of paths. */
int whi_sim_addr_read(struct whi_sim_host *host, const struct sockaddr *addr, socklen_t len,
		      struct whi_sim_addr *ret);
void whi_sim_addr_write(const struct whi_sim_addr *addr, uint8_t domain, struct sockaddr *ret,
			socklen_t *len);
bool whi_sim_addr_same(const struct whi_sim_addr *a, const struct whi_sim_addr *b);
/* Who listens at `addr`, or is bound to it with a datagram socket; NULL: nobody. */
struct whi_sim_sock *whi_sim_find_bound(struct whi_world *world, const struct whi_sim_addr *addr,
					uint8_t type);
/* Give `sock` a free port. -EADDRINUSE: there is none. */
int whi_sim_bind_port(struct whi_sim_sock *sock);

/* sim_net.c: let waiting requests go on. */
void whi_sim_serve_receivers(struct whi_sim_sock *sock);
void whi_sim_serve_senders(struct whi_sim_sock *sock);

/* sim_sockopt.c: NULL: `*ret_error` says why. */
struct whi_sim_sock *whi_sim_find_socket(struct whi_sim_host *host, int fd, int *ret_error);

/* sim_dgram.c */
void whi_sim_dgram_send(struct whi_sim_req *req);
void whi_sim_dgram_arrived(struct whi_sim_seg *seg);
void whi_sim_serve_datagrams(struct whi_sim_sock *sock);

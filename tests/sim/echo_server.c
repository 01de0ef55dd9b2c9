/*
 * The server of the echo scenario: sends back what it receives, over views or over plain receives
 * and sends in turn, and notes which streams it knows to have failed.
 */
#include <errno.h>
#include <string.h>
#include <sys/uio.h>

#include "sim/echo.h"

enum { RECV_MAX = 4000 };

/* Reads the head of a stream off what passes. */
struct conn {
	struct echo *echo;
	uint8_t head[ECHO_HEAD];
	unsigned head_len;
};

static void note_head(struct conn *conn, const uint8_t *data, size_t len)
{
	while (len-- > 0 && conn->head_len < ECHO_HEAD)
		conn->head[conn->head_len++] = *data++;
}

static int echo_views(struct wh_sock *sock, struct conn *conn)
{
	struct wh_view view = { 0 };
	ssize_t r;

	while ((r = documented(CALL_RECV, wh_sock_recv_view(sock, &view))) > 0) {
		note_head(conn, view.data, view.len);
		r = documented(CALL_SEND, wh_sock_send_view(sock, &view));
		if (r < 0)
			break;
	}
	wh_view_release(&view);
	return (int)(r < 0 ? r : documented(CALL_SEND, wh_sock_flush(sock)));
}

/* The bug that everybody has written once: a short sendmsg is taken for a whole one. */
static int send_once(struct wh_sock *sock, void *buf, size_t len)
{
	struct iovec iov = { .iov_base = buf, .iov_len = len };
	const struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

	return (int)documented(CALL_SEND, wh_sock_sendmsg(sock, &msg, 0));
}

static int echo_plain(struct wh_sock *sock, struct conn *conn)
{
	uint8_t buf[RECV_MAX];
	ssize_t r;

	while ((r = documented(CALL_RECV, wh_sock_recv(sock, buf, sizeof(buf)))) > 0) {
		note_head(conn, buf, (size_t)r);
		r = conn->echo->cuts_short ? send_once(sock, buf, (size_t)r)
					   : send_all(sock, buf, (size_t)r);
		if (r < 0)
			break;
	}
	return (int)r;
}

static int serve_connection(struct wh_sock *sock, void *arg)
{
	struct echo *echo = arg;
	struct conn conn = { .echo = echo };
	int r = echo->accepted++ % 2 ? echo_views(sock, &conn) : echo_plain(sock, &conn);
	uint32_t id;

	memcpy(&id, conn.head, sizeof(id));
	if (r < 0 && conn.head_len == ECHO_HEAD && id < ECHO_IDS_MAX)
		echo->failed[id] = true;
	wh_sock_close(sock);
	return 0;
}

int echo_serve(void *arg)
{
	struct wh_listener *listener;
	int r = listen_on(ECHO_PORT, &listener);

	if (r < 0)
		return 0;
	wh_serve(listener, serve_connection, arg,
		 &(struct wh_serve_opts){ .close_listener = true });
	return 0;
}

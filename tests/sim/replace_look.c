/* What the reader of the replace scenario looks for. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <whorl/file.h>

#include "sim/replace.h"

static ssize_t read_whole(struct wh_file *file, uint8_t *buf)
{
	size_t got = 0;
	ssize_t r;

	while ((r = wh_file_read(file, buf + got, REPLACE_FILE_MAX + 1 - got, got)) > 0)
		got += (size_t)r;
	return r < 0 ? r : (ssize_t)got;
}

static int judge(const struct store *store, uint64_t acked, const uint8_t *buf, size_t len)
{
	struct replace_head head;

	if (len < sizeof(head))
		return wh_sim_fail("the file is cut: %zu bytes", len);
	memcpy(&head, buf, sizeof(head));
	if (head.version < acked || head.version > store->begun)
		return wh_sim_fail("version %ju where %ju was acknowledged and %ju begun",
				   (uintmax_t)head.version, (uintmax_t)acked,
				   (uintmax_t)store->begun);
	if (head.len != len - sizeof(head))
		return wh_sim_fail("version %ju has %zu bytes instead of %ju",
				   (uintmax_t)head.version, len - sizeof(head),
				   (uintmax_t)head.len);
	if (pattern_match(head.version, 0, buf + sizeof(head), len - sizeof(head)) < head.len)
		return wh_sim_fail("version %ju is damaged", (uintmax_t)head.version);
	return 0;
}

int replace_look(const struct store *store, uint8_t *buf)
{
	uint64_t acked = store->acked;
	struct wh_file *file;
	ssize_t len;
	int r = wh_file_open(REPLACE_NAME, O_RDONLY, 0, &file);

	if (r == -ENOENT && acked == 0)
		return 0;
	if (r == -ENOENT)
		return wh_sim_fail("no file, where version %ju was acknowledged", (uintmax_t)acked);
	if (documented(CALL_FILE, r) < 0)
		return r;
	len = documented(CALL_FILE, read_whole(file, buf));
	wh_file_close(file);
	return len < 0 ? (int)len : judge(store, acked, buf, (size_t)len);
}

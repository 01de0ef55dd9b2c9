/* Owns the question how much memory there is. Each limit that cannot be read is none. */
#include "mapreduce/budget.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum {
	TEXT_BYTES = 4096,
	PATH_BYTES = 1024,
	SHARE = 4,
};

/* A file of /proc or /sys as text, empty if it cannot be read. */
static const char *read_text(const char *path, char text[TEXT_BYTES])
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t len = fd < 0 ? -1 : read(fd, text, TEXT_BYTES - 1);

	if (fd >= 0)
		close(fd);
	text[len > 0 ? len : 0] = 0;
	return text;
}

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* The number in a file; "max", as anything else that is none, is no limit. */
static uint64_t limit_in(const char *path)
{
	char text[TEXT_BYTES];
	char *end;
	uint64_t limit;

	read_text(path, text);
	limit = strtoull(text, &end, 10);
	return end == text || limit == 0 ? UINT64_MAX : limit;
}

/* The least limit of a group and all that it is in. */
static uint64_t group_limit(const char *root, const char *group, const char *file)
{
	char path[PATH_BYTES];
	uint64_t limit = UINT64_MAX;

	for (size_t len = strlen(group);; len--) {
		if (len > 0 && group[len] != '/' && group[len] != 0)
			continue;
		if (snprintf(path, sizeof(path), "%s%.*s/%s", root, (int)len, group, file) <
		    (int)sizeof(path))
			limit = least(limit, limit_in(path));
		if (len == 0)
			return limit;
	}
}

/* One line of /proc/self/cgroup: "0::/group" of version 2, "N:memory:/group" of version 1. */
static uint64_t line_limit(const char *line)
{
	const char *controllers = strchr(line, ':');
	const char *group = controllers ? strchr(controllers + 1, ':') : NULL;

	if (!group)
		return UINT64_MAX;
	if (strncmp(line, "0::", 3) == 0)
		return group_limit("/sys/fs/cgroup", group + 1, "memory.max");
	if (strncmp(controllers, ":memory:", 8) == 0)
		return group_limit("/sys/fs/cgroup/memory", group + 1, "memory.limit_in_bytes");
	return UINT64_MAX;
}

static uint64_t control_groups(void)
{
	char text[TEXT_BYTES];
	uint64_t limit = UINT64_MAX;
	char *rest = NULL;

	read_text("/proc/self/cgroup", text);
	for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
		limit = least(limit, line_limit(line));
	return limit;
}

static uint64_t address_space(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_AS, &limit) < 0 || limit.rlim_cur == RLIM_INFINITY)
		return UINT64_MAX;
	return limit.rlim_cur;
}

static uint64_t available(void)
{
	char text[TEXT_BYTES];
	const char *line = strstr(read_text("/proc/meminfo", text), "MemAvailable:");
	uint64_t kib;

	if (!line || sscanf(line, "MemAvailable: %" SCNu64, &kib) != 1)
		return UINT64_MAX;
	return kib * 1024;
}

uint64_t whi_budget_default(void)
{
	return least(least(address_space(), control_groups()), available()) / SHARE;
}

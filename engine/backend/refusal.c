/*
 * Why io_uring is refused here. The error alone does not tell: EPERM comes from a sysctl, a seccomp
 * filter or a security module, and each has somebody else who can change it.
 *
 * The order in which causes are asked for is the kernel's own where one hides the other, and
 * otherwise the most specific first.
 */
#include "backend/refusal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "backend/backend.h"
#include "backend/uring.h"

enum {
	FILE_MAX = 4096,
	GROUPS_MAX = 1024,
	SYS_ADMIN = 21, /* CAP_SYS_ADMIN, in linux/capability.h */
};

static const struct whi_refusal refusals[WHI_REFUSAL_MAX] = {
	[WHI_REFUSAL_GVISOR] = {
		.why = "this container runs in gVisor, whose kernel has no io_uring",
		.cure = "run it with another container runtime, such as runc",
	},
	[WHI_REFUSAL_OLD_KERNEL] = {
		.why = "this kernel is older than io_uring",
		.cure = "use Linux 6.1 or later",
	},
	[WHI_REFUSAL_NOT_BUILT] = {
		.why = "this kernel was built without io_uring",
		.cure = "use a kernel with CONFIG_IO_URING=y",
	},
	[WHI_REFUSAL_HIDDEN] = {
		.why = "a seccomp filter hides io_uring: it answers as if the kernel had none",
		.cure = "allow io_uring_setup, io_uring_enter and io_uring_register in the filter: "
			"in a container with --security-opt seccomp=PROFILE.json, in a service "
			"with SystemCallFilter=@io-event io_uring_setup",
	},
	[WHI_REFUSAL_SECCOMP] = {
		.why = "a seccomp filter forbids io_uring, as the default profiles of Docker and "
		       "containerd do",
		.cure = "start the container with --security-opt seccomp=PROFILE.json, a profile "
			"that allows io_uring_setup, io_uring_enter and io_uring_register "
			"(seccomp=unconfined allows everything)",
	},
	[WHI_REFUSAL_DISABLED_FOR_US] = {
		.why = "kernel.io_uring_disabled=1 forbids io_uring to this user",
		.cure = "sysctl -w kernel.io_uring_disabled=0, or put the user into the group "
			"whose number is in kernel.io_uring_group",
	},
	[WHI_REFUSAL_DISABLED] = {
		.why = "kernel.io_uring_disabled=2 forbids io_uring to everybody",
		.cure = "sysctl -w kernel.io_uring_disabled=0, on the host if this is a container",
	},
	[WHI_REFUSAL_LSM] = {
		.why = "SELinux forbids io_uring to this program",
		.cure = "ausearch -m avc -c COMMAND shows the rule; allow it the class io_uring",
	},
	[WHI_REFUSAL_UNKNOWN] = {
		.why = "a security module or a rule of the host forbids io_uring to this program; "
		       "it is neither the sysctl nor a seccomp filter",
		.cure = "look for the refusal in the host's kernel log (dmesg) and audit log",
	},
	[WHI_REFUSAL_MISSING] = {
		.why = "io_uring here lacks %s",
		.cure = "use Linux 6.1 or later",
	},
};

bool whi_is_refusal(int err)
{
	return err == -ENOSYS || err == -EPERM || err == -EACCES || err == -EOPNOTSUPP;
}

static enum whi_refusal_kind kind_of(int err, const struct whi_refusal_facts *facts)
{
	switch (err) {
	case -EOPNOTSUPP:
		return WHI_REFUSAL_MISSING;
	case -ENOSYS:
		if (facts->gvisor)
			return WHI_REFUSAL_GVISOR;
		if (facts->older)
			return WHI_REFUSAL_OLD_KERNEL;
		/* The sysctl exists exactly where io_uring is built in, from Linux 6.6 on. */
		return facts->seccomp == 2 || facts->disabled >= 0 ? WHI_REFUSAL_HIDDEN
								   : WHI_REFUSAL_NOT_BUILT;
	case -EPERM:
	case -EACCES:
		if (facts->gvisor)
			return WHI_REFUSAL_GVISOR;
		if (facts->disabled == 2)
			return WHI_REFUSAL_DISABLED;
		if (err == -EPERM && facts->seccomp == 2)
			return WHI_REFUSAL_SECCOMP;
		if (facts->disabled == 1 && !facts->exempt)
			return WHI_REFUSAL_DISABLED_FOR_US;
		return facts->selinux ? WHI_REFUSAL_LSM : WHI_REFUSAL_UNKNOWN;
	default:
		return WHI_REFUSAL_NONE;
	}
}

struct whi_refusal whi_refusal_of(int err, const struct whi_refusal_facts *facts)
{
	enum whi_refusal_kind kind = kind_of(err, facts);
	struct whi_refusal refusal = refusals[kind];

	refusal.kind = kind;
	return refusal;
}

/* The beginning of a file, as a string. False: it cannot be read. */
static bool read_text(const char *path, char text[FILE_MAX])
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t len;

	if (fd < 0)
		return false;
	len = read(fd, text, FILE_MAX - 1);
	close(fd);
	text[len > 0 ? len : 0] = '\0';
	return len > 0;
}

static long read_number(const char *path, long otherwise)
{
	char text[FILE_MAX];

	return read_text(path, text) ? strtol(text, NULL, 10) : otherwise;
}

/* The value of a line of /proc/self/status. */
static const char *status_of(const char *status, const char *name)
{
	const char *line = strstr(status, name);

	return line ? line + strlen(name) : NULL;
}

static bool in_group(long group)
{
	gid_t groups[GROUPS_MAX];
	int count = getgroups(GROUPS_MAX, groups);

	if (group < 0)
		return false;
	for (int i = 0; i < count; i++)
		if (groups[i] == (gid_t)group)
			return true;
	return getegid() == (gid_t)group;
}

static bool is_gvisor(const char *version)
{
	/* Where gVisor does not say its name, it always claims to be of this day. */
	return strcasestr(version, "gvisor") || strstr(version, "Sun Jan 10 15:06:54 PST 2016");
}

void whi_refusal_look(struct whi_refusal_facts *ret)
{
	char text[FILE_MAX];
	struct utsname name;
	unsigned major = 0, minor = 0;
	const char *value;

	*ret = (struct whi_refusal_facts){ .seccomp = -1, .missing = whi_uring_missing() };
	ret->disabled = (int)read_number("/proc/sys/kernel/io_uring_disabled", -1);
	ret->selinux = read_number("/sys/fs/selinux/enforce", 0) == 1;
	ret->exempt = in_group(read_number("/proc/sys/kernel/io_uring_group", -1));
	if (read_text("/proc/self/status", text)) {
		value = status_of(text, "\nSeccomp:");
		ret->seccomp = value ? (int)strtol(value, NULL, 10) : -1;
		value = status_of(text, "\nCapEff:");
		if (value && strtoull(value, NULL, 16) & 1ull << SYS_ADMIN)
			ret->exempt = true;
	}
	ret->gvisor = read_text("/proc/version", text) && is_gvisor(text);
	uname(&name);
	sscanf(name.release, "%u.%u", &major, &minor);
	ret->older = major < 5 || (major == 5 && minor < 1);
}

void whi_uring_explain(int err, struct wh_backend_choice *ret)
{
	struct whi_refusal_facts facts;
	struct whi_refusal refusal;

	whi_refusal_look(&facts);
	refusal = whi_refusal_of(err, &facts);
	ret->err = err;
	ret->why[0] = ret->cure[0] = '\0';
	if (refusal.kind == WHI_REFUSAL_NONE)
		return;
	if (refusal.kind == WHI_REFUSAL_MISSING)
		snprintf(ret->why, sizeof(ret->why), "io_uring here lacks %s", facts.missing);
	else
		snprintf(ret->why, sizeof(ret->why), "%s", refusal.why);
	snprintf(ret->cure, sizeof(ret->cure), "%s", refusal.cure);
}

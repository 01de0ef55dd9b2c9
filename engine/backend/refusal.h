/*
 * Why io_uring is refused here, in words for whoever can change it.
 */
#pragma once

#include <stdbool.h>

/* What is known of the place we run in. */
struct whi_refusal_facts {
	int disabled;	     /* kernel.io_uring_disabled; -1: the kernel has no such sysctl */
	bool exempt;	     /* from 1: CAP_SYS_ADMIN, or in kernel.io_uring_group */
	int seccomp;	     /* /proc/self/status: 2: under a filter; 0: not; -1: unknown */
	bool gvisor;	     /* the kernel is gVisor's */
	bool selinux;	     /* SELinux enforces its policy */
	bool older;	     /* than io_uring: before Linux 5.1 */
	const char *missing; /* with -EOPNOTSUPP: what io_uring lacks */
};

enum whi_refusal_kind {
	WHI_REFUSAL_NONE, /* the error is no refusal */
	WHI_REFUSAL_GVISOR,
	WHI_REFUSAL_OLD_KERNEL,
	WHI_REFUSAL_NOT_BUILT,
	WHI_REFUSAL_HIDDEN, /* by a seccomp filter that answers ENOSYS */
	WHI_REFUSAL_SECCOMP,
	WHI_REFUSAL_DISABLED_FOR_US,
	WHI_REFUSAL_DISABLED,
	WHI_REFUSAL_LSM,
	WHI_REFUSAL_UNKNOWN,
	WHI_REFUSAL_MISSING,
	WHI_REFUSAL_MAX,
};

struct whi_refusal {
	enum whi_refusal_kind kind;
	const char *why;  /* "%s" in it stands for facts->missing */
	const char *cure; /* what would change it */
};

/* Errors that mean "not here", for which another backend will do. */
bool whi_is_refusal(int err);

/* Looks at nothing but its arguments. */
struct whi_refusal whi_refusal_of(int err, const struct whi_refusal_facts *facts);

/* Look around. */
void whi_refusal_look(struct whi_refusal_facts *ret);

/*
 * Which backend a runtime gets: the one that was asked for, or io_uring if it works here, or epoll.
 * Decided once, before any loop opens, so that all loops of a runtime have the same.
 *
 * What was asked for by name is never replaced by something else.
 */
#include <errno.h>
#include <liburing.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/backend.h"
#include "backend/refusal.h"
#include "backend/uring_selftest.h"

enum { NAME_MAX_SHOWN = 40 };

static int check_off(const struct wh_run_opts *opts, struct wh_backend_choice *ret)
{
	char text[WHI_URING_OFF_TEXT] = "";
	uint32_t off;
	int r = whi_uring_off_check(opts->uring_off, &off, text);

	if (r < 0)
		snprintf(ret->why, sizeof(ret->why), "%s", text);
	return r;
}

static int choose_named(const char *name, struct wh_backend_choice *ret)
{
	const struct whi_backend_ops *ops = whi_backend_find(name);
	char names[64];

	if (!ops) {
		whi_backend_names(names, sizeof(names));
		snprintf(ret->why, sizeof(ret->why), "there is no backend '%.*s'; there are: %s",
			 NAME_MAX_SHOWN, name, names);
		return -EINVAL;
	}
	ret->name = ops->name;
	ret->asked = true;
	snprintf(ret->why, sizeof(ret->why), "it was asked for");
	return 0;
}

/* A policy may have come since the process made its first ring. The kernel asks it before it looks
 * at the arguments, of which these are none. */
static int may_make_rings(void)
{
	int r = io_uring_setup(0, NULL);

	return whi_is_refusal(r) ? r : 0;
}

static int choose_best(const struct wh_run_opts *opts, struct wh_backend_choice *ret)
{
	uint32_t off;
	int r = may_make_rings();

	/* The first time this makes a ring, so it shows whether there can be one. */
	if (r == 0)
		r = whi_uring_features_off(opts->uring_off, &off);
	if (r == 0) {
		ret->name = "uring";
		snprintf(ret->why, sizeof(ret->why), "io_uring works here");
		return 0;
	}
	if (!whi_is_refusal(r))
		return r;
	whi_uring_explain(r, ret);
	ret->name = "epoll";
	ret->fallback = true;
	return 0;
}

int whi_backend_choose(const struct wh_run_opts *opts, struct wh_backend_choice *ret)
{
	const char *name = opts->backend ? opts->backend : getenv("WHORL_BACKEND");
	int r;

	memset(ret, 0, sizeof(*ret));
	ret->name = "none";
	r = check_off(opts, ret);
	if (r == 0)
		r = name && *name ? choose_named(name, ret) : choose_best(opts, ret);
	if (r < 0)
		ret->err = r;
	return r;
}

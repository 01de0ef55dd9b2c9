/*
 * Which backends there are.
 */
#include "backend/backend.h"

#include <stdlib.h>
#include <string.h>

static const struct whi_backend_ops *const backends[] = { &whi_backend_uring };

const struct whi_backend_ops *whi_backend_find(const char *name)
{
	if (!name)
		name = getenv("WHORL_BACKEND");
	if (!name || !*name)
		return backends[0];
	for (size_t i = 0; i < sizeof(backends) / sizeof(backends[0]); i++)
		if (strcmp(backends[i]->name, name) == 0)
			return backends[i];
	return NULL;
}

/*
 * Which backends there are.
 */
#include "backend/backend.h"

#include <stdio.h>
#include <string.h>

static const struct whi_backend_ops *const backends[] = { &whi_backend_uring, &whi_backend_epoll,
							  &whi_backend_sim };

const struct whi_backend_ops *whi_backend_find(const char *name)
{
	for (size_t i = 0; i < sizeof(backends) / sizeof(backends[0]); i++)
		if (strcmp(backends[i]->name, name) == 0)
			return backends[i];
	return NULL;
}

void whi_backend_names(char *text, size_t size)
{
	size_t used = 0;

	*text = '\0';
	for (size_t i = 0; i < sizeof(backends) / sizeof(backends[0]) && used < size; i++)
		used += (size_t)snprintf(text + used, size - used, "%s%s", i ? ", " : "",
					 backends[i]->name);
}

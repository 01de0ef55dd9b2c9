/* Files inside the engine. */
#pragma once

#include <whorl/file.h>

#include "base/list.h"
#include "loop/loop.h"

struct wh_file {
	int fd;
	bool take;     /* close `fd` with the file */
	bool seekable; /* otherwise a pipe or terminal: offsets mean nothing */
	bool closing;
	struct wh_loop *loop;
	struct whi_list users; /* operations in flight */
	struct whi_wait *closer;
};

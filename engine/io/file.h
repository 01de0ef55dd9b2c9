/* Files inside the engine. */
#pragma once

#include <whorl/file.h>

#include "base/list.h"
#include "loop/loop.h"

struct wh_file {
	int fd;
	bool take;	    /* close `fd` with the file */
	bool seekable;	    /* otherwise a pipe or terminal: offsets mean nothing */
	bool awaits_writer; /* a named pipe that may not have had a writer yet */
	bool closing;
	struct wh_loop *loop;
	struct whi_list users; /* operations in flight */
	struct whi_wait *closer;
};

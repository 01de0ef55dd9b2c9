/* How far a run is: a line that stays in place on a terminal, else one every few seconds. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct mr_progress {
	uint64_t bytes_done;
	uint64_t bytes_before; /* of those, done by an earlier run */
	uint64_t bytes_total;
	uint32_t maps, maps_total;
	uint32_t reduces, reduces_total;
	uint64_t started_ns;
	uint64_t shown_ns;
	bool is_terminal;
	bool shown;
};

void mr_progress_init(struct mr_progress *progress);
void mr_progress_show(struct mr_progress *progress);

/* Make room for another line. */
void mr_progress_clear(struct mr_progress *progress);

/* The run is done: say, on a terminal, how long it took. */
void mr_progress_end(struct mr_progress *progress);

/*
 * What public calls return, held against what their headers say.
 */
#pragma once

#include <stdint.h>

/* Call `call` and note what it returned, if that is an error it does not document. */
#define did(call, ...)                                                                             \
	({                                                                                         \
		__auto_type returned_ = call(__VA_ARGS__);                                         \
		outcome(#call, returned_);                                                         \
		returned_;                                                                         \
	})
#define did_spawn(...) ((int)outcome("wh_spawn_opts", wh_spawn(__VA_ARGS__)))

/* `r`, which `call` has returned. Any thread. */
intmax_t outcome(const char *call, intmax_t r);

/* The first call since then that returned what its header does not document, and what that was;
 * NULL: none did. Forgets it. */
const char *outcome_undocumented(int *ret_error);

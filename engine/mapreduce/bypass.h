/*
 * When not to combine. A front table pays by hits; where nearly every key is new to it, filling and
 * flushing it is work for nothing, and records go to the partitions at once. Whether it pays is
 * measured on as many keys as the table holds, and tried again from time to time.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <whorl/mapreduce.h>

enum {
	WHI_BYPASS_TRIAL = 65536,	  /* keys combined before it is decided */
	WHI_BYPASS_STRETCH = 1024 * 1024, /* keys that pass by between two trials */
	WHI_BYPASS_HITS_PERCENT = 40, /* fewer of a trial's keys found: combining does not pay */
};

struct whi_bypass {
	enum wh_mr_bypass mode;
	bool on;	   /* keys pass by the table */
	uint64_t seen;	   /* keys since the last decision */
	uint64_t inserted; /* of these, new to the table */
	uint64_t passed;   /* keys that have ever passed by */
};

static inline void whi_bypass_init(struct whi_bypass *bypass, enum wh_mr_bypass mode)
{
	*bypass = (struct whi_bypass){ .mode = mode, .on = mode == WH_MR_BYPASS_ALWAYS };
}

/* After a number of keys: decide, if it is time. Returns whether the table is to be emptied now, as
 * nothing will look into it until the next trial. */
bool whi_bypass_decide(struct whi_bypass *bypass);

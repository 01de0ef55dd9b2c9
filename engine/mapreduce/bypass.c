#include "mapreduce/bypass.h"

bool whi_bypass_decide(struct whi_bypass *bypass)
{
	uint64_t hits = bypass->seen - bypass->inserted;

	if (bypass->mode != WH_MR_BYPASS_AUTO ||
	    bypass->seen < (bypass->on ? WHI_BYPASS_STRETCH : WHI_BYPASS_TRIAL))
		return false;
	bypass->on = !bypass->on && hits * 100 < bypass->seen * WHI_BYPASS_HITS_PERCENT;
	bypass->seen = 0;
	bypass->inserted = 0;
	return bypass->on;
}

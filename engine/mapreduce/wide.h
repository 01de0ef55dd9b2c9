/* Short keys with numbers that their records have no room for. */
#pragma once

#include "mapreduce/store.h"

/* Bring the numbers of short keys together that lie in both tables of a partition, which has been
 * reduced: they stay with the long keys, and the record of the short key becomes no key. The index
 * is of `pool`. Returns 0 or -ENOMEM. */
int whi_part_fold_wide(struct whi_part *part, enum whi_combine combine, struct whi_pool *pool);

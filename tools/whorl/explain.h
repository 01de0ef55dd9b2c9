/* What --explain prints, on standard error: the plan of a job before it runs, and where its time
 * went afterwards. Shared by the subcommands that run a job of whorl/mapreduce.h. */
#pragma once

#include <whorl/mapreduce.h>

/* What `job` is going to do; for its `plan`. */
void explain_plan(const struct wh_mr_plan *plan, const struct wh_mr_job *job);

/* `job` has ended; all in all it took `seconds`. */
void explain_result(const struct wh_mr_stats *stats, const struct wh_mr_job *job, double seconds);

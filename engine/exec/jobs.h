/*
 * The registered jobs of this process.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <whorl/jobs.h>

/* The job called `name`, in `*ret`. -ENOSYS, -ENOTUNIQ as wh_job_run. */
int whi_job_find(const char *name, struct wh_job **ret);

/* Its place among the jobs, 0 <= it < WH_JOBS_MAX, which stays the same while it is registered. No
 * two jobs ever have the same number. */
uint32_t whi_job_index(const struct wh_job *job);
uint32_t whi_job_number(const struct wh_job *job);

/* Of the program; those of the engine begin with wh_ and do not count. */
unsigned whi_jobs_count(void);

/* The path of the library that has `job`, "" if the program itself has. 0 or -ENAMETOOLONG. */
int whi_job_library(const struct wh_job *job, char *path, size_t size);

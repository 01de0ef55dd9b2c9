/* A library with a job, for test_pool_library.c to load. */
#include <whorl/jobs.h>

WH_JOB(from_library)
{
	(void)io;
	return 42;
}

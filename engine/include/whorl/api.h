/* What every public header needs: visibility and linkage. */
#ifndef WHORL_API_H
#define WHORL_API_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
#define WH_EXTERN extern "C"
#else
#define WH_EXTERN extern
#endif

#define WH_API WH_EXTERN __attribute__((visibility("default")))

#define WH_US 1000ull	     /* nanoseconds in a microsecond */
#define WH_MS 1000000ull     /* nanoseconds in a millisecond */
#define WH_SEC 1000000000ull /* nanoseconds in a second */

#endif

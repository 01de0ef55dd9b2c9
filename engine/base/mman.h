/* <sys/mman.h> with what newer kernels have and the C library's header may not know yet. */
#pragma once

#include <sys/mman.h>

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102 /* Linux 6.13 */
#endif

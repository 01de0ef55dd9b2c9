#include "base/clock.h"

_Thread_local const uint64_t *whi_clock_virtual;

/*
 * The scenarios of a whorl that is built without the tests: none. `whorl sim ./FILE.so` runs.
 */
#include "sim.h"

const struct wh_sim_scenario *const sim_scenarios[] = { NULL };

/*
 * One run of a scenario with what has been set up to fail, and what must hold after each: nothing
 * is left, every error was a documented one.
 */
#pragma once

#include <stdbool.h>

#include "scenarios.h"

/* The backend that runs them. */
extern const char *torture_backend;

/* More for longer runs: 1 is what CI has time for. */
extern double torture_scale;

/* Once, before anything else; scenarios_fini ends it. */
void torture_init(void);

/* Whether there is that backend, and it works here; says why not. */
bool torture_possible(void);

/* Run it. Returns what wh_run or else the scenario returned; `what` is said if something is wrong.
 * A failure there fails the test. */
int torture_run(const struct scenario *scenario, const char *what);

/* What comes out when something unspecified on a connection's other side fails. */
bool torture_is_consequence(int error);

/*
 * The passes of the torture: each runs a scenario many times, and something fails in every run but
 * the last. A pass is a cmocka test; its state is the scenario.
 */
#pragma once

#include <stdint.h>

/* passes_alloc.c */
void each_allocation_may_fail(void **state);
void all_allocations_from_one_on_may_fail(void **state);
void every_kth_allocation_may_fail(void **state);

/* Of all scenarios: failures picked at random, until as many as wanted were injected. */
void allocations_may_fail_at_random(void **state);

uint64_t allocations_failed(void);

/* passes_ops.c */
void each_operation_may_fail(void **state);
void each_submission_may_be_refused(void **state);
void each_operation_may_fail_late(void **state);
void every_kth_operation_may_fail(void **state);
void short_transfers_change_nothing(void **state);

/* Of all scenarios: every kind of operation with every error that it can end with. */
void every_operation_may_end_with_each_of_its_errors(void **state);
void every_kind_of_operation_is_used(void **state);

/* Pairs of these that were injected. */
unsigned pairs_injected(void);

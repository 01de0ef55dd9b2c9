#include "outcome.h"

#include <stdatomic.h>
#include <stddef.h>

#include "support/manual.h"

static const char *_Atomic undocumented;
static _Atomic int undocumented_error;

intmax_t outcome(const char *call, intmax_t r)
{
	const char *text = manual_of(call);
	const char *none = NULL;

	if (r >= 0 || (text && r > -ERRORS_END && manual_names(text, (int)-r)))
		return r;
	if (atomic_compare_exchange_strong(&undocumented, &none, call))
		atomic_store(&undocumented_error, (int)r);
	return r;
}

const char *outcome_undocumented(int *ret_error)
{
	*ret_error = atomic_load(&undocumented_error);
	return atomic_exchange(&undocumented, NULL);
}

/* whorl sim: from a name or a path to a scenario. */
#include <dlfcn.h>
#include <string.h>

#include "cli.h"
#include "sim.h"

enum { NAMES_MAX = 64 };

static const struct wh_sim_scenario *load(const char *path)
{
	/* RTLD_GLOBAL is not needed: the file takes the library's functions from this program. */
	void *file = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	const struct wh_sim_scenario *scenario;

	if (!file) {
		cli_error("sim: cannot load the scenario: %s", dlerror());
		return NULL;
	}
	scenario = dlsym(file, "wh_scenario");
	if (!scenario) {
		cli_error("sim: %s exports no `wh_scenario`; it needs a line such as\n"
			  "    const struct wh_sim_scenario wh_scenario = { .name = \"mine\", "
			  ".fn = test };",
			  path);
		return NULL;
	}
	if (!scenario->name || !scenario->fn) {
		cli_error("sim: `wh_scenario` of %s lacks its %s", path,
			  scenario->name ? ".fn" : ".name");
		return NULL;
	}
	return scenario;
}

static void say_unknown(const char *operand)
{
	const char *names[NAMES_MAX + 1] = { NULL };
	const char *nearest;
	size_t count = 0;

	for (; sim_scenarios[count] && count < NAMES_MAX; count++)
		names[count] = sim_scenarios[count]->name;
	nearest = cli_nearest(operand, names);
	if (count == 0)
		cli_error("sim: this whorl was built without scenarios (WHORL_BUILD_TESTS); write "
			  "./FILE.so for one of your own");
	else if (nearest)
		cli_error("sim: there is no scenario '%s'; did you mean '%s'? See whorl sim --list",
			  operand, nearest);
	else
		cli_error("sim: there is no scenario '%s'; whorl sim --list has those there are; "
			  "write ./FILE.so for one of your own",
			  operand);
}

const struct wh_sim_scenario *sim_find(const char *operand)
{
	if (strchr(operand, '/'))
		return load(operand);
	for (size_t i = 0; sim_scenarios[i]; i++)
		if (strcmp(sim_scenarios[i]->name, operand) == 0)
			return sim_scenarios[i];
	say_unknown(operand);
	return NULL;
}

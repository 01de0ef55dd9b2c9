/* The scenarios of `whorl sim`. */
#include "sim/scenario.h"

extern const struct wh_sim_scenario *const sim_scenarios[];

const struct wh_sim_scenario *const sim_scenarios[] = {
	&sim_chat,
	&sim_corners,
	&sim_echo,
	&sim_emfile,
	&sim_executor,
	&sim_pipeline,
	&sim_replace,
	&sim_chat_hole,
	&sim_echo_short,
	&sim_executor_twice,
	&sim_pipeline_lost,
	&sim_replace_folder,
	&sim_replace_unsynced,
	NULL,
};

# Programs in simulated worlds. Included by tests/CMakeLists.txt, whose functions and directory it
# uses. The scenarios become part of the whorl command: whorl sim.
add_library(whorl_scenarios OBJECT
	sim/chat.c
	sim/chat_server.c
	sim/corners.c
	sim/corners_stream.c
	sim/echo.c
	sim/echo_server.c
	sim/emfile.c
	sim/executor.c
	sim/executor_minder.c
	sim/executor_worker.c
	sim/pipeline.c
	sim/pipeline_worker.c
	sim/replace.c
	sim/replace_look.c
	sim/scenario.c
	sim/scenarios.c)
target_include_directories(whorl_scenarios PRIVATE
	${CMAKE_CURRENT_SOURCE_DIR} ${PROJECT_SOURCE_DIR}/engine/include)
target_link_libraries(whorl_scenarios PRIVATE whorl_build whorl_warnings)

# The example as its readers would build it: a program, and a file for whorl sim.
add_executable(example_planted_bug sim/example_planted_bug.c)
target_link_libraries(example_planted_bug PRIVATE whorl_static whorl_build whorl_warnings)
add_library(example_scenario MODULE sim/example_planted_bug.c)
set_target_properties(example_scenario PROPERTIES PREFIX "" OUTPUT_NAME example_planted_bug)
target_include_directories(example_scenario PRIVATE ${PROJECT_SOURCE_DIR}/engine/include)
target_link_libraries(example_scenario PRIVATE whorl_build whorl_warnings)

if(TARGET whorl_command)
	target_link_libraries(whorl_command PRIVATE whorl_scenarios)
	whorl_script_test(sim_command sim/test_sim.py LABELS sim)
	whorl_script_test(sim_seeds sim/test_seeds.py LABELS sim)
endif()

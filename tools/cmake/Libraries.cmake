# The two libraries, included where their objects and headers are listed: in engine/.
add_library(whorl SHARED)
add_library(whorl_static STATIC)
add_library(whorl::whorl ALIAS whorl)
add_library(whorl::static ALIAS whorl_static)
set_target_properties(whorl PROPERTIES SOVERSION 0 VERSION ${PROJECT_VERSION}
	LINK_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/whorl.map)
set_target_properties(whorl_static PROPERTIES OUTPUT_NAME whorl EXPORT_NAME static)
target_link_options(whorl PRIVATE
	LINKER:--version-script=${CMAKE_CURRENT_SOURCE_DIR}/whorl.map LINKER:--no-undefined)

foreach(library whorl whorl_static)
	target_sources(${library} PRIVATE $<TARGET_OBJECTS:whorl_objects>
		PUBLIC FILE_SET HEADERS BASE_DIRS include FILES
		include/whorl/api.h
		include/whorl/exec.h
		include/whorl/file.h
		include/whorl/jobs.h
		include/whorl/mapreduce.h
		include/whorl/mapreduce_emit.h
		include/whorl/mapreduce_stats.h
		include/whorl/parts.h
		include/whorl/pool.h
		include/whorl/process.h
		include/whorl/run.h
		include/whorl/scope.h
		include/whorl/shared.h
		include/whorl/sim.h
		include/whorl/sock.h
		include/whorl/supervise.h
		include/whorl/task.h
		include/whorl/whorl.h)
	target_link_libraries(${library} PRIVATE $<BUILD_INTERFACE:whorl_build> ${WHORL_LIBRARIES})
endforeach()

# whorl mr, and the drivers it starts: they lie beside the command, and go to libexec with it.
target_sources(whorl_command PRIVATE
	whorl/mr.c
	whorl/mr_driver.c
	whorl/mr_files.c
	whorl/mr_job.c
	whorl/mr_local.c
	whorl/mr_manifest.c
	whorl/mr_map.c
	whorl/mr_merge.c
	whorl/mr_plan.c
	whorl/mr_reduce.c
	whorl/mr_run.c
	whorl/mr_schedule.c)
foreach(driver whorl-dask whorl-slurm)
	configure_file(drivers/${driver} ${driver} COPYONLY)
	install(PROGRAMS drivers/${driver} DESTINATION ${CMAKE_INSTALL_LIBEXECDIR}/whorl)
endforeach()

# The simulated kernel.
target_sources(whorl_objects PRIVATE
	backend/sim_connect.c
	backend/sim_dgram.c
	backend/sim_disk.c
	backend/sim_fault.c
	backend/sim_fs.c
	backend/sim_fs_crash.c
	backend/sim_fs_data.c
	backend/sim_fs_names.c
	backend/sim_link.c
	backend/sim_misc.c
	backend/sim_name.c
	backend/sim_net.c
	backend/sim_ops.c
	backend/sim_req.c
	backend/sim_ring.c
	backend/sim_sock.c
	backend/sim_sockopt.c
	backend/sim_trace.c
	backend/sim_wire.c
	backend/sim_world.c)

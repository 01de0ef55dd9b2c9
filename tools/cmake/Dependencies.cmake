# What must be on the machine before anything is configured; tools/setup installs all of it.
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
pkg_check_modules(LIBURING liburing>=2.9)
if(NOT LIBURING_FOUND)
	message(FATAL_ERROR "liburing 2.9 or later is needed and was not found; run tools/setup")
endif()

# Full paths while building here; plain names for who links the installed libwhorl.a.
set(WHORL_INCLUDE_DIRS ${LIBURING_INCLUDE_DIRS})
set(WHORL_LIBRARIES Threads::Threads
	"$<BUILD_INTERFACE:${LIBURING_LINK_LIBRARIES}>" "$<INSTALL_INTERFACE:uring>")

# What decodes compressed inputs. gzip by ISA-L, which is two to three times as fast as zlib.
pkg_check_modules(ISAL libisal)
if(ISAL_FOUND)
	set(whorl_gzip_default isal)
else()
	set(whorl_gzip_default zlib)
endif()
set(WHORL_GZIP ${whorl_gzip_default} CACHE STRING "What decodes gzip: isal or zlib")
set(whorl_decoders libzstd liblz4 ${WHORL_GZIP})
list(TRANSFORM whorl_decoders REPLACE "^isal$" "libisal")
set(WHORL_DECODER_FLAGS "")
foreach(decoder ${whorl_decoders})
	pkg_check_modules(${decoder} ${decoder})
	if(NOT ${decoder}_FOUND)
		message(FATAL_ERROR "${decoder} was not found; run tools/setup")
	endif()
	list(GET ${decoder}_LIBRARIES 0 name)
	list(APPEND WHORL_INCLUDE_DIRS ${${decoder}_INCLUDE_DIRS})
	list(APPEND WHORL_LIBRARIES "$<BUILD_INTERFACE:${${decoder}_LINK_LIBRARIES}>"
		"$<INSTALL_INTERFACE:${name}>")
	string(APPEND WHORL_DECODER_FLAGS "-l${name} ")
endforeach()

# A sanitizer must see every allocation itself.
set(WHORL_USE_MIMALLOC 0)
if(WHORL_MIMALLOC AND NOT WHORL_SANITIZE)
	set(WHORL_USE_MIMALLOC 1)
	find_path(MIMALLOC_INCLUDE_DIR mimalloc.h PATH_SUFFIXES mimalloc-2.1 mimalloc-2.0)
	find_library(MIMALLOC_LIBRARY mimalloc)
	if(NOT MIMALLOC_INCLUDE_DIR OR NOT MIMALLOC_LIBRARY)
		message(FATAL_ERROR
			"mimalloc was not found; run tools/setup, or set WHORL_MIMALLOC=OFF")
	endif()
	list(APPEND WHORL_INCLUDE_DIRS ${MIMALLOC_INCLUDE_DIR})
	list(APPEND WHORL_LIBRARIES
		"$<BUILD_INTERFACE:${MIMALLOC_LIBRARY}>" "$<INSTALL_INTERFACE:mimalloc>")
endif()

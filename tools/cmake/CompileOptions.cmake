# C17 exactly: a newer compiler's default is not what was tested.
set(CMAKE_C_STANDARD 17)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS ON)

# Two usage requirements that every target here links PRIVATE and nothing installed inherits:
# whorl_warnings, and whorl_build (sanitizers, link-time optimisation). gcc's dangling-pointer
# warning takes every task that waits for something on its own stack for a mistake, clang's about
# strings every assertion that says what is wrong, and its about initializers a row that ends early.
add_library(whorl_warnings INTERFACE)
target_compile_options(whorl_warnings INTERFACE $<$<COMPILE_LANGUAGE:C>:
	-Wall -Wextra -Wshadow -Wundef -Wvla -Wformat=2 -Wpointer-arith -Wwrite-strings
	-Wstrict-prototypes -Wmissing-prototypes -Wold-style-definition -Wimplicit-fallthrough
	-Wdouble-promotion -Wconversion -Wno-sign-conversion
	$<$<C_COMPILER_ID:GNU>:-Wcast-align=strict;-Wno-dangling-pointer>
	$<$<C_COMPILER_ID:Clang>:-Wno-string-conversion;-Wno-missing-field-initializers>
	$<$<BOOL:${WHORL_WERROR}>:-Werror>>)

add_library(whorl_build INTERFACE)
# Empty, as in `#define _GNU_SOURCE`, so that a file may also say it itself.
target_compile_definitions(whorl_build INTERFACE _GNU_SOURCE=)
if(WHORL_SANITIZE)
	target_compile_options(whorl_build INTERFACE
		-fsanitize=${WHORL_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
	target_link_options(whorl_build INTERFACE -fsanitize=${WHORL_SANITIZE})
endif()

# What an attacker must get past once there is a bug. Only IBT of CET: tasks are switched by jumps,
# which shadow stacks do not follow. tools/hardening checks the result.
if(WHORL_HARDEN)
	include(CheckCCompilerFlag)
	include(CheckPIESupported)
	check_pie_supported(LANGUAGES C)
	set(CMAKE_POSITION_INDEPENDENT_CODE ON)
	foreach(option -fstack-clash-protection -fcf-protection=branch -mbranch-protection=bti)
		string(MAKE_C_IDENTIFIER "whorl_has${option}" has)
		check_c_compiler_flag(${option} ${has})
		target_compile_options(whorl_build INTERFACE $<$<BOOL:${${has}}>:${option}>)
	endforeach()
	target_compile_options(whorl_build INTERFACE -fstack-protector-strong
		$<$<COMPILE_LANGUAGE:C>:-U_FORTIFY_SOURCE;-D_FORTIFY_SOURCE=3>)
	target_link_options(whorl_build INTERFACE
		LINKER:-z,relro LINKER:-z,now LINKER:-z,noexecstack)
endif()

if(WHORL_LTO)
	# Fat objects, so that the installed libwhorl.a links with any compiler.
	if(CMAKE_C_COMPILER_ID STREQUAL "GNU")
		set(whorl_lto_options -flto=auto -ffat-lto-objects)
	else()
		set(whorl_lto_options -flto=thin)
	endif()
	# Not for targets with WHORL_NO_LTO: the tests, each of which would optimise the whole
	# engine again when it is linked. The command and the benches, which scripts test, are what
	# is shipped. The linker's plugin takes fat objects for its own until it is told not to.
	set(without "$<BOOL:$<TARGET_PROPERTY:WHORL_NO_LTO>>")
	target_compile_options(whorl_build INTERFACE "$<$<NOT:${without}>:${whorl_lto_options}>")
	target_link_options(whorl_build INTERFACE
		"$<IF:${without},-fno-lto,${whorl_lto_options}>")
endif()

/*
 * under_filter CALL[:OPCODE]=ERRNO... -- COMMAND [ARGUMENT]...
 *
 * Runs a command in a world that refuses some system calls: each CALL fails with ERRNO (a number),
 * or only where its second argument is OPCODE, its highest bit aside.
 */
#include <errno.h>
#include <seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { NAME_MAX_BYTES = 64, CANNOT = 77, WRONG = 2 };

static int add_rule(scmp_filter_ctx filter, const char *word)
{
	char name[NAME_MAX_BYTES];
	unsigned opcode = 0, err = 0;
	int fields = sscanf(word, "%63[a-z0-9_]:%u=%u", name, &opcode, &err), number;

	if (fields == 1)
		fields = sscanf(word, "%63[a-z0-9_]=%u", name, &err);
	if (fields < 2 || (number = seccomp_syscall_resolve_name(name)) == __NR_SCMP_ERROR)
		return -EINVAL;
	if (fields == 2)
		return seccomp_rule_add(filter, SCMP_ACT_ERRNO(err), number, 0);
	/* The highest bit of io_uring_register's says how its ring is named. */
	return seccomp_rule_add(filter, SCMP_ACT_ERRNO(err), number, 1,
				SCMP_A1(SCMP_CMP_MASKED_EQ, 0x7fffffff, opcode));
}

static int install(char **words, int count)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
	int r = filter ? 0 : -ENOMEM;

	for (int i = 0; r == 0 && i < count; i++)
		r = add_rule(filter, words[i]);
	if (r == 0)
		r = seccomp_load(filter);
	seccomp_release(filter);
	return r;
}

int main(int argc, char **argv)
{
	int end = 1, r;

	while (end < argc && strcmp(argv[end], "--") != 0)
		end++;
	if (end + 1 >= argc) {
		fputs("usage: under_filter CALL[:OPCODE]=ERRNO... -- COMMAND [ARGUMENT]...\n",
		      stderr);
		return WRONG;
	}
	r = install(argv + 1, end - 1);
	if (r < 0) {
		fprintf(stderr, "under_filter: %s\n", strerror(-r));
		return r == -EINVAL ? WRONG : CANNOT;
	}
	execvp(argv[end + 1], argv + end + 1);
	fprintf(stderr, "under_filter: %s: %s\n", argv[end + 1], strerror(errno));
	return WRONG;
}

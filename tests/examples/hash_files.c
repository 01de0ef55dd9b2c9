/*
 * hash_files FILE...: the SHA-256 of each file, as sha256sum(1) prints it, in the order of their
 * paths. Directories are walked.
 *
 * A file is a record, and comes piece by piece, so that its size does not matter; several files are
 * hashed at a time.
 */
#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

#include "examples/program.h"

enum { HEX_BYTES = 2 * EVP_MAX_MD_SIZE + 1 };

/* Hash the record's bytes. Returns the length of the hash in `hex`, or -errno. */
static int hash_record(EVP_MD_CTX *context, struct wh_mr_emitter *emitter, char hex[HEX_BYTES])
{
	unsigned char hash[EVP_MAX_MD_SIZE];
	struct wh_mr_bytes bytes;
	unsigned len;
	int r;

	if (EVP_DigestInit_ex(context, EVP_sha256(), NULL) != 1)
		return -ENOMEM;
	while ((r = wh_mr_read(emitter, &bytes)) > 0)
		if (EVP_DigestUpdate(context, bytes.data, bytes.len) != 1)
			return -EIO;
	if (r < 0)
		return r;
	if (EVP_DigestFinal_ex(context, hash, &len) != 1)
		return -EIO;
	for (unsigned i = 0; i < len; i++)
		sprintf(hex + 2 * (size_t)i, "%02x", hash[i]);
	return (int)len * 2;
}

static int map(void *arg, struct wh_mr_bytes path, struct wh_mr_emitter *emitter)
{
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	char hex[HEX_BYTES];
	int len;

	(void)arg;
	if (!context)
		return -ENOMEM;
	len = hash_record(context, emitter, hex);
	EVP_MD_CTX_free(context);
	/* What could not be read is told to file_error; the other files go on. */
	if (len < 0)
		return len;
	return wh_mr_emit(emitter, path, (struct wh_mr_bytes){ hex, (size_t)len });
}

static int print_hashes(void *arg, const struct wh_mr_row *rows, size_t count)
{
	(void)arg;
	for (size_t i = 0; i < count; i++)
		printf("%.*s  %.*s\n", (int)rows[i].value.len, (const char *)rows[i].value.data,
		       (int)rows[i].key.len, (const char *)rows[i].key.data);
	return 0;
}

int main(int argc, char **argv)
{
	struct wh_mr_job job = {
		.records = WH_MR_FILES,
		.value = WH_MR_BYTES,
		.map = map,
		.order = WH_MR_BY_KEY,
		.output = print_hashes,
	};

	if (argc < 2) {
		fprintf(stderr, "usage: hash_files FILE...\n");
		return 2;
	}
	return run_program("hash_files", &job, argv + 1);
}

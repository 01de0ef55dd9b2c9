/* What the tests of whole jobs share: a folder of files, and what the functions of a job see. */
#pragma once

#include <stddef.h>
#include <whorl/mapreduce.h>

#include "support/row_text.h"
#include "support/task_test.h"

/* What the functions of a job get as `arg`: the text first, for row_text_add. */
struct world {
	struct row_text text;
	unsigned errors; /* calls of file_error, and what the last one was told */
	int error;
	char failed_path[128];
	const char *path; /* of a file that a function is to change */
	_Atomic unsigned calls;
};

/* The tests' folder; setup and teardown of a group. */
extern char folder[64];
int new_folder(void **state);
int old_folder(void **state);

/* The path of a file in the folder, written to `path` and returned. */
const char *file_path(char path[128], const char *name);
void write_file(const char *name, const char *bytes, size_t len);

/* Some text. */
extern const char verse[];
extern const size_t verse_len;

/* A word count on two workers, by value, into world->text. */
struct wh_mr_job job_on(const char *const *paths, size_t count, struct world *world);

/* Check the rows put out, and forget them. */
void text_is(struct world *world, const char *expected);

/* A wh_mr_map_fn: the first letter of a word is the key, the word the value. */
int by_letter(void *arg, struct wh_mr_bytes word, struct wh_mr_emitter *emitter);

/* A number that depends on where a word is, so that equal words have many. The wh_mr_map_fn emits
 * it. */
uint64_t number_at(uint64_t offset);
int number_of_place(void *arg, struct wh_mr_bytes word, struct wh_mr_emitter *emitter);

/* A wh_mr_reduce_fn: the longest value of a key, the least of equally long ones. Counts calls. */
int longest(void *arg, struct wh_mr_bytes key, struct wh_mr_values *values,
	    struct wh_mr_emitter *emitter);

/* A wh_mr_record_fn. */
size_t three_bytes(void *arg, struct wh_mr_bytes data, bool last);

/*
 * inverted_index FILE...: for each word the files that it is in, `word<TAB>file file ...`, words
 * and files in bytewise order.
 *
 * A word's value is the file it comes from. Combine drops files that a word has already, on the
 * worker that met it there; reduce does it once more for what the workers found apart, and writes
 * the list.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "examples/program.h"

struct files {
	char **items; /* copies: a value is valid until the next one is taken */
	size_t count;
};

static int by_bytes(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void files_free(struct files *files)
{
	for (size_t i = 0; i < files->count; i++)
		free(files->items[i]);
	free(files->items);
}

/* All files among `values`, in order, each once. */
static int collect(struct wh_mr_values *values, struct files *files)
{
	struct wh_mr_bytes value;
	size_t kept = 0;

	while (wh_mr_next(values, &value)) {
		void *items = realloc(files->items, (files->count + 1) * sizeof(char *));

		if (!items)
			return -ENOMEM;
		files->items = items;
		files->items[files->count] = strndup(value.data, value.len);
		if (!files->items[files->count++])
			return -ENOMEM;
	}
	qsort(files->items, files->count, sizeof(char *), by_bytes);
	for (size_t i = 0; i < files->count; i++)
		if (kept == 0 || strcmp(files->items[kept - 1], files->items[i]) != 0)
			files->items[kept++] = files->items[i];
		else
			free(files->items[i]);
	files->count = kept;
	return 0;
}

static int map(void *arg, struct wh_mr_bytes word, struct wh_mr_emitter *emitter)
{
	struct wh_mr_origin origin;

	(void)arg;
	wh_mr_origin(emitter, &origin);
	return wh_mr_emit(emitter, word, (struct wh_mr_bytes){ origin.path, strlen(origin.path) });
}

static int combine(void *arg, struct wh_mr_bytes word, struct wh_mr_values *values,
		   struct wh_mr_emitter *emitter)
{
	struct files files = { 0 };
	int r = collect(values, &files);

	(void)arg;
	for (size_t i = 0; i < files.count && r == 0; i++)
		r = wh_mr_emit(emitter, word,
			       (struct wh_mr_bytes){ files.items[i], strlen(files.items[i]) });
	files_free(&files);
	return r;
}

static int reduce(void *arg, struct wh_mr_bytes word, struct wh_mr_values *values,
		  struct wh_mr_emitter *emitter)
{
	struct files files = { 0 };
	int r = collect(values, &files);
	char *text = NULL;
	size_t len = 0;
	FILE *list = r == 0 ? open_memstream(&text, &len) : NULL;

	(void)arg;
	for (size_t i = 0; i < files.count && list; i++)
		fprintf(list, "%s%s", i ? " " : "", files.items[i]);
	if (!list || fclose(list) != 0)
		r = -ENOMEM;
	else
		r = wh_mr_emit(emitter, word, (struct wh_mr_bytes){ text, len });
	free(text);
	files_free(&files);
	return r;
}

int main(int argc, char **argv)
{
	struct wh_mr_job job = {
		.value = WH_MR_BYTES,
		.order = WH_MR_BY_KEY,
		.output = print_values,
		.map = map,
		.combine = combine,
		.reduce = reduce,
	};

	if (argc < 2) {
		fprintf(stderr, "usage: inverted_index FILE...\n");
		return 2;
	}
	return run_program("inverted_index", &job, argv + 1);
}

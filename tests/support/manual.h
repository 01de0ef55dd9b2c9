/*
 * Which errors the manual pages name, so that tests can inject all of them and judge what comes
 * out. A text here is a row of words: an error's name ("EBADF"), a page ("recv(2)"), or a function
 * of ours ("wh_sock_recv"), which stand for all that is said of them.
 */
#pragma once

#include <stdbool.h>

enum { ERRORS_END = 134 }; /* above every errno of Linux */

/* Whether `text` names `error` (positive). */
bool manual_names(const char *text, int error);

/* What the public headers say of `call`, a function of ours; NULL: nothing. */
const char *manual_of(const char *call);

/* What an operation of this kind (enum whi_op_kind) can end with besides success, in order; 0 ends
 * the list. */
const int *manual_errors_of_op(int kind);

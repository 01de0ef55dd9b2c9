/* Words for people. The engine speaks only when it cannot go on. */
#pragma once

/* Print one line to standard error and abort. Async-signal-safe apart from the formatting. */
__attribute__((format(printf, 1, 2))) _Noreturn void whi_die(const char *format, ...);

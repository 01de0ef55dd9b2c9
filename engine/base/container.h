#pragma once

#include <stddef.h>

/* The structure of type `type` whose member `member` is at `ptr`. */
#define whi_container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

/* All of whorl. */
#ifndef WHORL_WHORL_H
#define WHORL_WHORL_H

#include <whorl/api.h>
#include <whorl/exec.h>
#include <whorl/file.h>
#include <whorl/jobs.h>
#include <whorl/mapreduce.h>
#include <whorl/parts.h>
#include <whorl/pool.h>
#include <whorl/process.h>
#include <whorl/run.h>
#include <whorl/scope.h>
#include <whorl/shared.h>
#include <whorl/sock.h>
#include <whorl/supervise.h>
#include <whorl/task.h>

#endif

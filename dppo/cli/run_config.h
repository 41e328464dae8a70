/* A configuration as the training verbs take it: a file, overrides, and defaults for what only the original
 * needs. */
#ifndef DPPO_CLI_RUN_CONFIG_H
#define DPPO_CLI_RUN_CONFIG_H

#include "config/config.h"

/* Loads `path`, applies the overrides (key=value, +key=value, ~key) and resolves. DPPO_LOG_DIR and
 * DPPO_DATA_DIR default to "runs" and "data"; the original's wandb node is dropped, there is nothing to log
 * in to. */
dppo_status dppo_run_config(const char *path, int override_count, char **overrides, dppo_config **config);

/* True for a word that is an override and not a file or an option: it has '=' before any '/'. */
bool dppo_is_override(const char *word);

#endif

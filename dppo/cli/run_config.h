/* Configurations on the command line. */
#ifndef DPPO_CLI_RUN_CONFIG_H
#define DPPO_CLI_RUN_CONFIG_H

#include "config/config.h"

/* True for a word that is an override and not a file or an option: it has '=' before any '/'. */
bool dppo_is_override(const char *word);

#endif

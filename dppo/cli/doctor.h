/* What `dppo doctor` finds, for its two files. */
#ifndef DPPO_CLI_DOCTOR_H
#define DPPO_CLI_DOCTOR_H

/* One line on the configuration at `path`: whether it builds, and what is wrong or missing, by name. Returns
 * an exit status: DPPO_EXIT_OK, DPPO_EXIT_USAGE where something makes no sense, DPPO_EXIT_MISSING. */
int dppo_doctor_config(const char *path, int override_count, char **overrides);

#endif

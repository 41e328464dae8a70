/* A folder of a test program's own, with the shipped Hopper demonstrations as files that DPPO's
 * configurations take, and the overrides that point to them. */
#ifndef DPPO_PARITY_TESTS_HOPPER_DATA_H
#define DPPO_PARITY_TESTS_HOPPER_DATA_H

#include "base/log.h"
#include "base/pool.h"
#include "data/dataset.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static char folder[64]; /* of this program's files */
static char normalization_override[128], dataset_override[128];

static int make_data(void **state) {
    (void)state;
    char template[] = "/tmp/dppo_test_data_XXXXXX";
    if (!mkdtemp(template)) return -1;
    (void)snprintf(folder, sizeof folder, "%s", template);
    (void)setenv("DPPO_LOG_DIR", folder, 1);
    (void)setenv("DPPO_DATA_DIR", folder, 1);
    dppo_log_quiet(true);
    dppo_set_threads(1);
    (void)snprintf(normalization_override, sizeof normalization_override,
                   "normalization_path=%s/normalization.npz", folder);
    (void)snprintf(dataset_override, sizeof dataset_override, "train_dataset_path=%s/train.npz", folder);
    return dppo_d4rl_convert(FIXTURES "/data/hopper-selfmade-low.hdf5", folder, 0) == DPPO_OK ? 0 : -1;
}

static int remove_data(void **state) {
    (void)state;
    char command[128];
    (void)snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command) == 0 ? 0 : -1;
}

#endif

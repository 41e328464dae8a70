/* A configuration as a run uses it. */
#include "config/config.h"

#include <stdlib.h>

dppo_status dppo_run_config(const char *path, int override_count, char *const *overrides,
                            dppo_config **config) {
    (void)setenv("DPPO_LOG_DIR", "runs", 0);
    (void)setenv("DPPO_DATA_DIR", "data", 0);
    DPPO_TRY(dppo_config_load(path, config));
    dppo_status status =
        dppo_config_get(*config, "wandb") ? dppo_config_override(*config, "wandb=null") : DPPO_OK;
    for (int i = 0; i < override_count && status == DPPO_OK; i++)
        status = dppo_config_override(*config, overrides[i]);
    if (status == DPPO_OK) status = dppo_config_resolve(*config);
    if (status == DPPO_OK) return DPPO_OK;
    dppo_config_free(*config);
    *config = NULL;
    return status;
}

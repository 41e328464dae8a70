/* Checkpoints: ours, and the original's as torch.save wrote them. The format's name is checked before
 * anything is read, so that a file of cases or demonstrations is not taken for a policy. */
#include "data/files.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char checkpoint_format[] = "dppo-checkpoint/1";

dppo_status dppo_checkpoint_write(const char *path, const dppo_named *state, const char *config_yaml) {
    const char *const attributes[] = {"format", checkpoint_format, "config", config_yaml ? config_yaml : "",
                                      NULL};
    return dppo_hdf5_write(path, state, attributes);
}

static dppo_status read_ours(const char *path, dppo_named *state) {
    char *format = NULL;
    dppo_status status = dppo_hdf5_attribute(path, "format", &format);
    if (status == DPPO_MISSING)
        return dppo_fail(DPPO_FORMAT, "%s: an HDF5 file, but not a checkpoint (no attribute 'format')", path);
    DPPO_TRY(status);
    if (strcmp(format, checkpoint_format) != 0)
        status = dppo_fail(DPPO_FORMAT, "%s: format '%.60s', expected '%s'", path, format, checkpoint_format);
    free(format);
    return status == DPPO_OK ? dppo_hdf5_read(path, NULL, state) : status;
}

/* The first bytes decide, not the name: users rename files. */
static dppo_status is_hdf5(const char *path, bool *hdf5) {
    static const char magic[] = "\x89HDF\r\n\x1a\n";
    char start[8] = {0};
    FILE *file = fopen(path, "rbe");
    if (!file) return dppo_fail(DPPO_IO, "%s: %s", path, strerror(errno));
    size_t length = fread(start, 1, sizeof start, file);
    (void)fclose(file);
    *hdf5 = length == sizeof start && memcmp(start, magic, sizeof start) == 0;
    return DPPO_OK;
}

dppo_status dppo_checkpoint_read(const char *path, dppo_named *state) {
    bool ours;
    DPPO_TRY(is_hdf5(path, &ours));
    return ours ? read_ours(path, state) : dppo_pt_read(path, state);
}

dppo_status dppo_checkpoint_config(const char *path, dppo_config **config) {
    bool ours;
    char *yaml = NULL;
    *config = NULL;
    DPPO_TRY(is_hdf5(path, &ours));
    if (!ours) return DPPO_OK;
    dppo_status status = dppo_hdf5_attribute(path, "config", &yaml);
    if (status == DPPO_MISSING) return DPPO_OK;
    DPPO_TRY(status);
    if (yaml[0] != '\0') status = dppo_config_parse_yaml(yaml, path, config);
    free(yaml);
    return status;
}

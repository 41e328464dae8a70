/* What a run was made with, as YAML lines for run.yaml and the report. */
#include "base/pool.h"
#include "base/text.h"
#include "cli/cli.h"

#include <hdf5.h>
#include <mujoco/mujoco.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#ifdef DPPO_WITH_SHIM
#include "shim.h"
#endif

extern char *openblas_get_config(void);
extern char *openblas_get_corename(void);

static void add_cpu(dppo_text *text) {
    char line[512];
    FILE *file = fopen("/proc/cpuinfo", "re");
    while (file && fgets(line, sizeof line, file)) {
        char *colon = strchr(line, ':');
        if (!colon || strncmp(line, "model name", 10) != 0) continue;
        dppo_text_format(text, "cpu: '%.*s'\n", (int)strcspn(colon + 2, "'\n"), colon + 2);
        break;
    }
    if (file) (void)fclose(file);
}

/* The first word of a file of sysfs; false where there is none. */
static bool read_word(int cache, const char *name, char word[32]) {
    char path[128];
    (void)snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/%s", cache, name);
    FILE *file = fopen(path, "re");
    bool read = file && fscanf(file, "%31s", word) == 1;
    if (file) (void)fclose(file);
    return read;
}

/* Cores, and the first core's caches where Linux knows them: "L1 32K, L2 1024K, L3 32768K". */
static void add_caches(dppo_text *text) {
    char level[32], type[32], size[32];
    int found = 0;
    dppo_text_format(text, "cores: %ld\n", sysconf(_SC_NPROCESSORS_ONLN));
    for (int i = 0; read_word(i, "level", level) && read_word(i, "type", type) && read_word(i, "size", size);
         i++)
        if (strcmp(type, "Instruction") != 0)
            dppo_text_format(text, "%sL%s %s", found++ ? ", " : "caches: '", level, size);
    if (found) dppo_text_add(text, "'\n");
}

char *dppo_versions_yaml(void) {
    dppo_text text = {0};
    unsigned major = 0, minor = 0, release = 0;
    (void)H5get_libversion(&major, &minor, &release);
    dppo_text_format(&text, "dppo: '%s'\ncompiler: '%s'\n", DPPO_VERSION, __VERSION__);
    dppo_text_format(&text, "openblas: '%s, %s'\n", openblas_get_config(), openblas_get_corename());
    dppo_text_format(&text, "hdf5: '%u.%u.%u'\nmujoco: '%s'\n", major, minor, release, mj_versionString());
#ifdef DPPO_WITH_SHIM
    dppo_text_format(&text, "libtorch: '%s, %s'\n", shim_torch_version(), shim_cpu_capability());
#endif
    add_cpu(&text);
    add_caches(&text);
    dppo_text_format(&text, "threads: %d\n", dppo_threads());
    return text.bytes;
}

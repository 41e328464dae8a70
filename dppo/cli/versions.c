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

/* Cores, and caches where the C library knows them (glibc; on some processors it does not). */
static void add_caches(dppo_text *text) {
    dppo_text_format(text, "cores: %ld\n", sysconf(_SC_NPROCESSORS_ONLN));
#ifdef _SC_LEVEL1_DCACHE_SIZE
    long l1 = sysconf(_SC_LEVEL1_DCACHE_SIZE), l2 = sysconf(_SC_LEVEL2_CACHE_SIZE),
         l3 = sysconf(_SC_LEVEL3_CACHE_SIZE);
    if (l1 > 0 && l2 > 0)
        dppo_text_format(text, "caches: 'L1d %ld KiB and L2 %ld KiB a core, L3 %ld KiB'\n", l1 / 1024,
                         l2 / 1024, l3 / 1024);
#endif
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

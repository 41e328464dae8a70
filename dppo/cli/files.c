#include "cli/cli.h"

#include <errno.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool is_folder(const char *path) {
    struct stat about;
    return stat(path, &about) == 0 && S_ISDIR(about.st_mode);
}

/* share/dppo/`name` of the installation this program runs from. */
static bool installed_folder(const char *name, char *buffer, size_t size) {
    char program[3072];
    ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
    if (length <= 0) return false;
    program[length] = '\0';
    char *slash = strrchr(program, '/');
    if (!slash) return false;
    *slash = '\0';
    (void)snprintf(buffer, size, "%s/../share/dppo/%s", program, name);
    return is_folder(buffer);
}

static dppo_status add_path(dppo_file_list *list, const char *path) {
    char **paths = realloc(list->paths, (list->count + 1) * sizeof *paths);
    if (!paths) return dppo_fail(DPPO_NO_MEMORY, "out of memory");
    list->paths = paths;
    paths[list->count] = strdup(path);
    if (!paths[list->count]) return dppo_fail(DPPO_NO_MEMORY, "out of memory");
    list->count++;
    return DPPO_OK;
}

static dppo_status add_folder(dppo_file_list *list, const char *folder) {
    char pattern[4096];
    glob_t found;
    (void)snprintf(pattern, sizeof pattern, "%s/*.h5", folder);
    int result = glob(pattern, 0, NULL, &found);
    dppo_status status = DPPO_OK;
    for (size_t i = 0; result == 0 && status == DPPO_OK && i < found.gl_pathc; i++)
        status = add_path(list, found.gl_pathv[i]);
    if (result == 0) globfree(&found);
    return status;
}

const char *dppo_fixture_folder(char *buffer, size_t size) {
    const char *folder = getenv("DPPO_FIXTURES");
    if (folder && folder[0]) return folder;
    return installed_folder("fixtures", buffer, size) ? buffer : DPPO_SOURCE_FIXTURES;
}

dppo_status dppo_original_script(char *buffer, size_t size) {
    static const char name[] = "/measure.py";
    if (!installed_folder("original", buffer, size - sizeof name))
        (void)snprintf(buffer, size - sizeof name, "%s/../ci/original", DPPO_SOURCE_FIXTURES);
    (void)strcat(buffer, name);
    return access(buffer, R_OK) == 0 ? DPPO_OK : dppo_fail(DPPO_MISSING, "%s: %s", buffer, strerror(errno));
}

dppo_status dppo_fixture_files(int count, char **given, dppo_file_list *list) {
    char buffer[4096];
    *list = (dppo_file_list){0};
    for (int i = 0; i < count; i++)
        DPPO_TRY(is_folder(given[i]) ? add_folder(list, given[i]) : add_path(list, given[i]));
    if (count > 0 && list->count == 0) return dppo_fail(DPPO_IO, "%s: no .h5 files", given[0]);
    if (count > 0) return DPPO_OK;
    const char *folder = dppo_fixture_folder(buffer, sizeof buffer);
    DPPO_TRY(is_folder(folder) ? add_folder(list, folder) : add_path(list, folder));
    if (list->count == 0)
        return dppo_fail(DPPO_IO, "%s: no .h5 files; name some, or set DPPO_FIXTURES", folder);
    return DPPO_OK;
}

void dppo_file_list_free(dppo_file_list *list) {
    for (size_t i = 0; i < list->count; i++)
        free(list->paths[i]);
    free(list->paths);
    *list = (dppo_file_list){0};
}

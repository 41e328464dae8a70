#include "envs/task.h"

#include "base/log.h"
#include "envs/half_cheetah.h"
#include "envs/hopper.h"
#include "envs/walker2d.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Comparisons are written so that NaN is unhealthy. */
static bool hopper_healthy(const double *qpos, const double *qvel, int nq, int nv) {
    for (int i = 2; i < nq; i++)
        if (!(fabs(qpos[i]) < 100)) return false;
    for (int i = 0; i < nv; i++)
        if (!(fabs(qvel[i]) < 100)) return false;
    return isfinite(qpos[0]) && isfinite(qpos[1]) && qpos[1] > 0.7 && fabs(qpos[2]) < 0.2;
}

static bool walker2d_healthy(const double *qpos, const double *qvel, int nq, int nv) {
    (void)qvel, (void)nq, (void)nv;
    return qpos[1] > 0.8 && qpos[1] < 2.0 && qpos[2] > -1.0 && qpos[2] < 1.0;
}

/* Gym's version 2 of each task; score range: D4RL's reference returns of a random and an expert policy. */
static const dppo_task_spec specs[] = {
    {.name = "hopper",
     .xml = dppo_hopper_xml,
     .frame_skip = 4,
     .alive_bonus = 1,
     .control_cost = 1e-3,
     .reset_noise = 0.005,
     .velocity_clip = 10,
     .healthy = hopper_healthy,
     .score_low = -20.272305,
     .score_high = 3234.3,
     .time_limit = 1000},
    {.name = "walker2d",
     .xml = dppo_walker2d_xml,
     .frame_skip = 4,
     .alive_bonus = 1,
     .control_cost = 1e-3,
     .reset_noise = 0.005,
     .velocity_clip = 10,
     .healthy = walker2d_healthy,
     .score_low = 1.629008,
     .score_high = 4592.3,
     .time_limit = 1000},
    {.name = "halfcheetah",
     .xml = dppo_half_cheetah_xml,
     .frame_skip = 5,
     .alive_bonus = 0,
     .control_cost = 0.1,
     .reset_noise = 0.1,
     .normal_velocities = true,
     .velocity_clip = INFINITY,
     .healthy = NULL,
     .score_low = -280.178953,
     .score_high = 12135.0,
     .time_limit = 1000},
};
enum { SPECS = sizeof specs / sizeof *specs };

/* "Hopper", "hopper-v2" and "hopper-medium-replay-v2" name the task `wanted`. */
static bool names_task(const char *name, const char *wanted) {
    size_t length = strlen(wanted);
    if (strncasecmp(name, wanted, length) != 0) return false;
    if (name[length] == '\0') return true;
    size_t end = strlen(name);
    return name[length] == '-' && end >= length + 3 && name[end - 3] == '-' && name[end - 2] == 'v' &&
           name[end - 1] >= '0' && name[end - 1] <= '4';
}

/* MuJoCo's default appends warnings to a file in the working directory. */
static void warn(const char *message) {
    dppo_log_line("simulator: %s", message);
}

static dppo_status compile(const char *name, const char *xml, mjModel **model) {
    mjVFS *files = malloc(sizeof *files); /* 2 MB: too large for a stack */
    if (files == NULL) return dppo_fail(DPPO_NO_MEMORY, "%s: no memory for the model", name);
    mj_defaultVFS(files);
    char error[512] = "";
    int length = (int)strlen(xml);
    *model = NULL;
    if (mj_makeEmptyFileVFS(files, "model.xml", length) == 0) {
        memcpy(files->filedata[0], xml, (size_t)length);
        *model = mj_loadXML("model.xml", files, error, (int)sizeof error);
    }
    mj_deleteVFS(files);
    free(files);
    if (*model == NULL) return dppo_fail(DPPO_FORMAT, "%s: the simulator refused the model: %s", name, error);
    return DPPO_OK;
}

dppo_status dppo_task_new(const char *name, dppo_task **task) {
    *task = NULL;
    const dppo_task_spec *spec = NULL;
    for (size_t i = 0; i < SPECS && spec == NULL; i++)
        if (names_task(name, specs[i].name)) spec = &specs[i];
    if (spec == NULL)
        return dppo_fail(DPPO_MISSING,
                         "no environment named \"%s\": there are hopper, walker2d and halfcheetah, "
                         "also as Hopper-v2 or hopper-medium-v2",
                         name);
    if (mjVERSION_HEADER != mj_version())
        return dppo_fail(DPPO_MISSING, "%s: built for MuJoCo %d but version %d was found", name,
                         mjVERSION_HEADER, mj_version());
    mju_user_warning = warn;
    mjModel *model = NULL;
    DPPO_TRY(compile(name, spec->xml(), &model));
    *task = malloc(sizeof **task);
    if (*task == NULL) {
        mj_deleteModel(model);
        return dppo_fail(DPPO_NO_MEMORY, "%s: no memory", name);
    }
    **task = (dppo_task){.spec = spec, .model = model};
    return DPPO_OK;
}

void dppo_task_free(dppo_task *task) {
    if (task == NULL) return;
    mj_deleteModel(task->model);
    free(task);
}

int64_t dppo_task_obs_dim(const dppo_task *task) {
    return task->model->nq - 1 + task->model->nv;
}

int64_t dppo_task_action_dim(const dppo_task *task) {
    return task->model->nu;
}

int64_t dppo_task_nq(const dppo_task *task) {
    return task->model->nq;
}

int64_t dppo_task_nv(const dppo_task *task) {
    return task->model->nv;
}

void dppo_task_score_range(const dppo_task *task, double *low, double *high) {
    *low = task->spec->score_low;
    *high = task->spec->score_high;
}

const char *dppo_task_name(const dppo_task *task) {
    return task->spec->name;
}

int64_t dppo_task_time_limit(const dppo_task *task) {
    return task->spec->time_limit;
}

const char *dppo_task_engine(void) {
    return mj_versionString();
}

double dppo_task_mass(const dppo_task *task) {
    double mass = 0;
    for (int i = 1; i < task->model->nbody; i++)
        mass += task->model->body_mass[i];
    return mass;
}

/* `dppo convert`, `doctor` and `bench` as scripts see them: files, exit status, what is named. */
#include "base/text.h"
#include "config/config.h"
#include "data/dataset.h"
#include "models/build.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static char folder[] = "/tmp/dppo_test_convert_XXXXXX";

static const char *in_folder(const char *name) {
    static char path[8][256];
    static int turn;
    turn = (turn + 1) % 8;
    (void)snprintf(path[turn], sizeof path[turn], "%s/%s", folder, name);
    return path[turn];
}

/* Runs a shell command in the folder, output to the file `said`; `dppo` is the command under test. */
static int run(const char *format, ...) __attribute__((format(printf, 1, 2)));
static int run(const char *format, ...) {
    char command[4096], words[2048];
    va_list list;
    va_start(list, format);
    (void)vsnprintf(words, sizeof words, format, list);
    va_end(list);
    (void)snprintf(command, sizeof command, "dppo() { %s \"$@\"; }; cd %s && { %s; } >said 2>&1",
                   DPPO_COMMAND, folder, words);
    int status = system(command);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void assert_said(const char *what) {
    char *bytes;
    assert_int_equal(dppo_read_file(in_folder("said"), &bytes, NULL), DPPO_OK);
    if (!strstr(bytes, what)) fail_msg("\"%s\" is not in:\n%s", what, bytes);
    free(bytes);
}

static void assert_silent(const char *what) {
    char *bytes;
    assert_int_equal(dppo_read_file(in_folder("said"), &bytes, NULL), DPPO_OK);
    if (strstr(bytes, what)) fail_msg("\"%s\" is in:\n%s", what, bytes);
    free(bytes);
}

static void write_file(const char *name, const char *bytes) {
    FILE *file = fopen(in_folder(name), "w");
    assert_non_null(file);
    assert_true(fputs(bytes, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static int make_folder(void **state) {
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state) {
    char command[256];
    (void)state;
    (void)snprintf(command, sizeof command, "rm -r %s", folder);
    return system(command);
}

/* -- convert */

static void assert_same(const dppo_named *a, const dppo_named *b) {
    assert_true(a->count > 0);
    assert_int_equal(a->count, b->count);
    for (size_t i = 0; i < a->count; i++) {
        const dppo_tensor *x = a->entries[i].tensor, *y = dppo_named_get(b, a->entries[i].name);
        if (!y) fail_msg("%s is lost", a->entries[i].name);
        assert_int_equal(x->dtype, y->dtype);
        assert_true(dppo_same_shape(x, y));
        assert_memory_equal(x->data, y->data, (size_t)dppo_numel(x) * dppo_dtype_size(x->dtype));
    }
}

static void checkpoints_keep_every_bit(void **state) {
    (void)state;
    dppo_named original = {0}, ours = {0}, numpy = {0};
    assert_int_equal(run("dppo convert checkpoint " FIXTURES "/data/checkpoint.pt a.h5"), 0);
    assert_int_equal(run("dppo convert checkpoint a.h5 a.npz"), 0);
    assert_int_equal(dppo_checkpoint_read(FIXTURES "/data/checkpoint.pt", &original), DPPO_OK);
    assert_int_equal(dppo_checkpoint_read(in_folder("a.h5"), &ours), DPPO_OK);
    assert_int_equal(dppo_npz_read(in_folder("a.npz"), &numpy), DPPO_OK);
    assert_same(&original, &ours);
    assert_same(&original, &numpy);
    dppo_named_free(&original);
    dppo_named_free(&ours);
    dppo_named_free(&numpy);
}

static void configuration_travels_along(void **state) {
    (void)state;
    dppo_named some = {0};
    char *yaml = NULL;
    assert_int_equal(dppo_named_put_i64(&some, "itr", 3), DPPO_OK);
    assert_int_equal(dppo_checkpoint_write(in_folder("c.h5"), &some, "seed: 7\n"), DPPO_OK);
    assert_int_equal(run("dppo convert checkpoint c.h5 d.hdf5"), 0);
    assert_int_equal(dppo_hdf5_attribute(in_folder("d.hdf5"), "config", &yaml), DPPO_OK);
    assert_string_equal(yaml, "seed: 7\n");
    free(yaml);
    dppo_named_free(&some);
}

static void refusals_leave_no_file(void **state) {
    (void)state;
    assert_int_equal(run("dppo convert checkpoint " FIXTURES "/data/malicious.pt m.h5"), 2);
    assert_said("posix.system");
    assert_int_equal(run("dppo convert checkpoint " FIXTURES "/gym_mujoco.h5 m.h5"), 2);
    assert_said("not a checkpoint");
    assert_int_equal(run("dppo convert checkpoint " FIXTURES "/data/checkpoint.pt m.txt"), 2);
    assert_said("m.txt");
    assert_int_equal(run("dppo convert checkpoint absent.pt m.h5"), 2);
    assert_said("absent.pt");
    assert_int_equal(run("dppo convert d4rl absent.hdf5 m --max-episodes 3"), 2);
    assert_said("absent.hdf5");
    assert_int_equal(run("dppo convert d4rl a b --max-episodes three"), 2);
    assert_int_equal(run("dppo convert d4rl only.hdf5"), 2);
    assert_int_equal(run("ls -d m*"), 2);
}

static void demonstrations(void **state) {
    (void)state;
    dppo_named all = {0}, few = {0};
    dppo_tensor *lengths, *fewer;
    assert_int_equal(run("dppo collect --task hopper --policy random --steps 300 --out r.hdf5"), 0);
    assert_int_equal(run("dppo collect --task hopper --policy random --steps 300 --seed 1 --out r.hdf5"), 2);
    assert_said("r.hdf5: exists already");
    assert_int_equal(run("dppo collect --task hopper --policy random --steps 300 --overwrite --out r.hdf5"),
                     0);
    assert_int_equal(run("dppo convert d4rl r.hdf5 all && dppo convert d4rl r.hdf5 few --max-episodes 2"), 0);
    assert_int_equal(dppo_npz_read(in_folder("all/train.npz"), &all), DPPO_OK);
    assert_int_equal(dppo_npz_read(in_folder("few/train.npz"), &few), DPPO_OK);
    lengths = dppo_named_get(&all, "traj_lengths");
    fewer = dppo_named_get(&few, "traj_lengths");
    assert_non_null(lengths);
    assert_non_null(fewer);
    assert_true(lengths->shape[0] > 2);
    assert_int_equal(fewer->shape[0], 2);
    assert_int_equal(access(in_folder("few/normalization.npz"), R_OK), 0);
    dppo_named_free(&all);
    dppo_named_free(&few);
}

/* The environments of a roll-out are as many as one likes, not those of the training. */
static void policies_collect_with_other_environments(void **state) {
    (void)state;
    assert_int_equal(run("cp " FIXTURES
                         "/configs/ppo_gaussian_mlp.yaml p.yaml && dppo train p.yaml --out trained "
                         "'~env.wrappers.mujoco_locomotion_lowdim' env.n_envs=4 train.n_steps=4 "
                         "train.batch_size=16 train.n_train_itr=2 train.update_epochs=1 "
                         "'model.actor.mlp_dims=[8,8]' 'model.critic.mlp_dims=[8,8,8]'"),
                     0);
    const char *collect = "dppo collect p.yaml '~env.wrappers.mujoco_locomotion_lowdim' "
                          "'model.actor.mlp_dims=[8,8]' 'model.critic.mlp_dims=[8,8,8]' "
                          "--policy trained/checkpoint/state_1.h5 --steps 30";
    assert_int_equal(run("%s --envs 3 --out three.hdf5", collect), 0);
    assert_int_equal(run("%s --out many.hdf5", collect), 0);
}

/* What is wrong is named by its key and value, and a file once. */
static void messages_name_the_key(void **state) {
    (void)state;
    static const struct {
        const char *override, *says;
    } cases[] = {
        {"train.batch_size=0", "train.batch_size: must be at least 1, is 0"},
        {"train.n_steps=0", "train.n_steps: must be at least 1, is 0"},
        {"act_steps=3", "act_steps: 3 is more than horizon_steps 1"},
        {"env.n_envs=0", "env.n_envs: must be at least 1, is 0"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(run("dppo train " FIXTURES "/configs/ppo_gaussian_mlp.yaml --out none "
                             "'~env.wrappers.mujoco_locomotion_lowdim' %s",
                             cases[i].override),
                         2);
        assert_said(cases[i].says);
    }
    assert_int_equal(run("dppo train " FIXTURES
                         "/configs/ppo_gaussian_mlp.yaml --out none --resume absent.h5 "
                         "'~env.wrappers.mujoco_locomotion_lowdim' env.n_envs=1"),
                     2);
    assert_said("dppo: absent.h5: No such file");
}

/* -- doctor */

static void doctor_finds_all_in_order(void **state) {
    (void)state;
    assert_int_equal(run("DPPO_FIXTURES=" FIXTURES " dppo doctor"), 0);
    assert_said("ok       own_dppo.h5");
    assert_said("0 wrong, 0 missing");
    assert_int_equal(run("dppo doctor " FIXTURES "/configs/ppo_gaussian_mlp.yaml "
                         "'~env.wrappers.mujoco_locomotion_lowdim' '~normalization_path' env.n_envs=2"),
                     0);
    assert_said("ppo_gaussian_mlp.yaml: builds PPO_Gaussian, ");
    assert_said("(actor Gaussian_MLP ");
    assert_silent("missing");
}

static void doctor_names_all_that_is_missing(void **state) {
    (void)state;
    assert_int_equal(run("dppo doctor " FIXTURES
                         "/configs/ft_ppo_diffusion_mlp.yaml model.actor._target_=model.unet.NoUnet "
                         "model.critic._target_=model.common.critic.NoCritic env.name=kitchen "
                         "base_policy_path=absent.pt normalization_path=absent.npz"),
                     3);
    assert_said("does not build");
    assert_said("class NoUnet: model.actor; class NoCritic: model.critic");
    assert_said("checkpoint absent.pt: No such file");
    assert_said("normalization absent.npz: No such file");
    assert_said("environment gym kitchen: not available here");
    assert_int_equal(
        run("dppo doctor " FIXTURES "/configs/pre_diffusion_mlp.yaml train_dataset_path=absent.npz"), 3);
    assert_said("builds DiffusionModel");
    assert_said("data set absent.npz");
    assert_int_equal(run("dppo doctor " FIXTURES "/configs/pre_diffusion_mlp.yaml " FIXTURES
                         "/configs/ft_ppo_diffusion_mlp.yaml model.horizon_steps=[1]"),
                     2);
    assert_said("0 in order, 0 with something missing, 2 invalid");
}

/* An eval configuration whose checkpoint is there is in order, on either side; one without is not misjudged.
 */
static void doctor_loads_the_checkpoint(void **state) {
    (void)state;
    dppo_config *config;
    dppo_module *model;
    dppo_named saved = {0};
    const char *doctor = "dppo doctor " FIXTURES "/configs/eval_diffusion_mlp.yaml env.n_envs=2 "
                         "'~env.wrappers.mujoco_locomotion_lowdim' '~normalization_path'";
    assert_int_equal(dppo_config_load(FIXTURES "/configs/eval_diffusion_mlp.yaml", &config), DPPO_OK);
    assert_int_equal(setenv("DPPO_LOG_DIR", "runs", 0) + setenv("DPPO_DATA_DIR", "data", 0), 0);
    assert_int_equal(dppo_config_resolve(config), DPPO_OK);
    assert_int_equal(dppo_build_module(dppo_config_get(config, "model"), NULL, &model), DPPO_OK);
    assert_int_equal(dppo_module_state_dict(model, "model/", &saved), DPPO_OK);
    assert_int_equal(dppo_checkpoint_write(in_folder("tuned.h5"), &saved, "seed: 7\n"), DPPO_OK);
    assert_int_equal(run("%s base_policy_path=tuned.h5", doctor), 0);
    assert_int_equal(run("%s base_policy_path=null", doctor), 3);
    assert_said("builds DiffusionEval");
    assert_said("missing: checkpoint: model.network_path names none");
    assert_silent("agent");
    dppo_named_free(&saved);
    dppo_module_free(model);
    dppo_config_free(config);
}

static void doctor_tells_unreadable_from_mismatched(void **state) {
    (void)state;
    write_file("bad.yaml", "a: [1\n");
    assert_int_equal(run("DPPO_FIXTURES=" FIXTURES " dppo doctor bad.yaml"), 2);
    assert_said("bad.yaml");
    assert_int_equal(run("mkdir f && cp " FIXTURES "/own_dppo.h5 " FIXTURES "/manifest.csv f"), 0);
    assert_int_equal(run("DPPO_FIXTURES=f dppo doctor"), 3);
    assert_said("missing  gym_mujoco.h5");
    assert_int_equal(run("printf x >>f/own_dppo.h5; DPPO_FIXTURES=f dppo doctor"), 1);
    assert_said("wrong    own_dppo.h5");
    assert_int_equal(run("dppo doctor --no-such-option"), 2);
}

/* -- bench: that it measures and writes, not what */

static void bench_writes_json(void **state) {
    (void)state;
    dppo_config *json;
    assert_int_equal(run("DPPO_FIXTURES=" FIXTURES " dppo bench gemm hopper --repeats 1 --json b.json"), 0);
    assert_int_equal(dppo_config_load(in_folder("b.json"), &json), DPPO_OK);
    assert_int_equal(dppo_config_count(dppo_config_get(json, "results")), 2);
    double seconds;
    assert_int_equal(dppo_config_float(json, "results.1.mj_step.median_s", &seconds), DPPO_OK);
    assert_true(seconds > 0);
    assert_non_null(dppo_config_get(json, "versions.mujoco"));
    dppo_config_free(json);
    assert_int_equal(
        run("DPPO_FIXTURES=" FIXTURES " dppo bench EtaState EtaStateAction --repeats 1 --json n.json"), 0);
    assert_int_equal(dppo_config_load(in_folder("n.json"), &json), DPPO_OK);
    assert_int_equal(dppo_config_count(dppo_config_get(json, "results")), 2);
    assert_int_equal(dppo_config_float(json, "results.0.C.median_s", &seconds), DPPO_OK);
    assert_true(seconds > 0);
    dppo_config_free(json);
    /* Both parts of one measurement; JSON alone on standard output. */
    assert_int_equal(run("DPPO_FIXTURES=" FIXTURES " dppo bench iteration update prepare --batch 100"
                         " --repeats 1 --json - 2>/dev/null >u.json"),
                     0);
    assert_int_equal(dppo_config_load(in_folder("u.json"), &json), DPPO_OK);
    assert_int_equal(dppo_config_count(dppo_config_get(json, "results")), 3);
    assert_int_equal(dppo_config_float(json, "results.0.whole.ratio", &seconds), DPPO_OK);
    assert_true(seconds > 0);
    assert_int_equal(dppo_config_float(json, "results.0.peak_bytes", &seconds), DPPO_OK);
    assert_true(seconds > 1e6);
    assert_int_equal(dppo_config_float(json, "results.1.C.gemm_share", &seconds), DPPO_OK);
    assert_true(seconds > 0);
    assert_int_equal(dppo_config_float(json, "results.2.C.median_s", &seconds), DPPO_OK);
    assert_true(seconds > 0);
    dppo_config_free(json);
    assert_int_equal(run("DPPO_FIXTURES=" FIXTURES " dppo bench scaling --batch 3 --repeats 1 --out s"), 0);
    assert_said("| 3 |");
    char *bytes;
    assert_int_equal(dppo_read_file(in_folder("s/scaling.csv"), &bytes, NULL), DPPO_OK);
    assert_non_null(strstr(bytes, ",ratio,ratio_q25,ratio_q75,"));
    assert_non_null(strstr(bytes, ",1,few pairs\n")); /* one pair is no median, and is said to be none */
    assert_non_null(strstr(bytes, "\nupdate,1,C,"));
    assert_non_null(strstr(bytes, "\nhopper,2,mj_step,"));
    free(bytes);
    assert_int_equal(dppo_read_file(in_folder("s/index.html"), &bytes, NULL), DPPO_OK);
    assert_non_null(strstr(bytes, "<svg"));
    free(bytes);
    assert_int_equal(run("dppo bench no-such-thing"), 2);
    assert_said("no-such-thing");
    assert_int_equal(run("dppo bench --repeats 0"), 2);
}

/* A shell script in place of python3: it is asked for its number of threads before each unit of work. */
static void bench_names_what_the_original_lacks(void **state) {
    (void)state;
    static const struct {
        const char *script, *said;
        int status;
    } cases[] = {
        {"exit 4", "ended with status 4", 3},
        {"echo 'error no torch here'", "no torch here", 3},
        {"echo hello", "answers \"hello\" to its start", 3},
        {"echo ready torch 9; kill -9 $$", "was ended by signal 9", 3},
        {"echo ready torch 9; while read a b; do echo 1.5x; done", "answers \"1.5x\" to threads 2", 3},
        {"echo ready torch 9; while read a b; do echo nan; done", "answers \"nan\" to threads 2", 3},
        {"echo ready torch 9; while read a b; do echo 0.5; done", "original / C", 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char script[256];
        (void)snprintf(script, sizeof script, "#!/bin/sh\n%s\n", cases[i].script);
        write_file("python", script);
        int status = run("chmod +x python; DPPO_PYTHON=./python DPPO_FIXTURES=" FIXTURES
                         " dppo bench act1 --threads 2 --repeats 1 --original nowhere");
        assert_said(cases[i].said);
        assert_int_equal(status, cases[i].status);
    }
    assert_int_equal(run("DPPO_PYTHON=./absent dppo bench act1 --original nowhere"), 3);
    assert_said("cannot start ./absent");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(checkpoints_keep_every_bit),
        cmocka_unit_test(configuration_travels_along),
        cmocka_unit_test(refusals_leave_no_file),
        cmocka_unit_test(messages_name_the_key),
        cmocka_unit_test(policies_collect_with_other_environments),
        cmocka_unit_test(demonstrations),
        cmocka_unit_test(doctor_finds_all_in_order),
        cmocka_unit_test(doctor_names_all_that_is_missing),
        cmocka_unit_test(doctor_loads_the_checkpoint),
        cmocka_unit_test(doctor_tells_unreadable_from_mismatched),
        cmocka_unit_test(bench_writes_json),
        cmocka_unit_test(bench_names_what_the_original_lacks),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}

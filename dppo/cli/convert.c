/* dppo convert: from the layouts of others to those that the verbs read, and back to numpy. */
#include "base/text.h"
#include "cli/cli.h"
#include "data/dataset.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const dppo_verb d4rl_leaf, checkpoint_leaf; /* defined with their help, below what they run */

static bool ends_in(const char *path, const char *suffix) {
    size_t length = strlen(path), tail = strlen(suffix);
    return length > tail && strcmp(path + length - tail, suffix) == 0;
}

static int usage_error(const dppo_verb *verb) {
    (void)fputs(verb->usage, stderr);
    return DPPO_EXIT_USAGE;
}

/* -- d4rl */

static dppo_status parse_episodes(const char *text, int64_t *episodes) {
    char *end = NULL;
    errno = 0;
    long long number = strtoll(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || number < 1)
        return dppo_fail(DPPO_INVALID, "--max-episodes: \"%s\" is not a number from 1 on", text);
    *episodes = number;
    return DPPO_OK;
}

static int d4rl_verb(int argc, char **argv) {
    int64_t max_episodes = 0; /* all */
    const char *words[2];
    int count = 0;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--max-episodes") == 0 && i + 1 < argc) {
            if (parse_episodes(argv[++i], &max_episodes) != DPPO_OK) return dppo_cli_error();
        } else if (argv[i][0] == '-' || count == 2) {
            return usage_error(&d4rl_leaf);
        } else {
            words[count++] = argv[i];
        }
    }
    if (count != 2) return usage_error(&d4rl_leaf);
    if (dppo_d4rl_convert(words[0], words[1], max_episodes) != DPPO_OK) return dppo_cli_error();
    (void)printf("%s/train.npz\n%s/normalization.npz\n", words[1], words[1]);
    return DPPO_EXIT_OK;
}

static const dppo_verb d4rl_leaf = {
    .name = "d4rl",
    .summary = "a D4RL data set to train.npz and normalization.npz",
    .usage =
        "usage: dppo convert d4rl FILE.hdf5 FOLDER [--max-episodes N]\n\n"
        "Cuts the transitions of D4RL's HDF5 layout (also of `dppo collect`) into episodes, drops those\n"
        "whose return is not positive, scales observations and actions to [-1, 1] and writes what\n"
        "pre-training and the environments read: FOLDER/train.npz and FOLDER/normalization.npz.\n\n"
        "  --max-episodes N   only the first N episodes\n",
    .run = d4rl_verb,
};

/* -- checkpoint */

static dppo_status convert_checkpoint(const char *from, const char *to, size_t *count) {
    dppo_named state = {0};
    char *yaml = NULL;
    dppo_status status = dppo_checkpoint_read(from, &state);
    if (status == DPPO_OK && ends_in(to, ".npz"))
        status = dppo_npz_write(to, &state, false);
    else if (status == DPPO_OK) {
        /* Only ours is HDF5 and carries its configuration. */
        (void)dppo_hdf5_attribute(from, "config", &yaml);
        status = dppo_checkpoint_write(to, &state, yaml);
    }
    *count = state.count;
    free(yaml);
    dppo_named_free(&state);
    return status;
}

static int checkpoint_verb(int argc, char **argv) {
    size_t count;
    if (argc != 3 || argv[1][0] == '-' || argv[2][0] == '-') return usage_error(&checkpoint_leaf);
    if (!ends_in(argv[2], ".npz") && !ends_in(argv[2], ".h5") && !ends_in(argv[2], ".hdf5")) {
        (void)dppo_fail(DPPO_INVALID, "%s: the name must end in .h5, .hdf5 or .npz", argv[2]);
        return dppo_cli_error();
    }
    if (convert_checkpoint(argv[1], argv[2], &count) != DPPO_OK) return dppo_cli_error();
    (void)printf("%s: %zu tensors\n", argv[2], count);
    return DPPO_EXIT_OK;
}

static const dppo_verb checkpoint_leaf = {
    .name = "checkpoint",
    .summary = "a .pt or our checkpoint to our HDF5 or to .npz",
    .usage = "usage: dppo convert checkpoint IN OUT.h5|OUT.npz\n\n"
             "IN is a checkpoint of the original (torch.save's .pt, read without running code of it) or one "
             "of\n"
             "ours; its content decides, not its name. OUT.h5 has a data set a tensor under torch's\n"
             "state_dict names, with the training configuration where IN has one; OUT.npz has the same names "
             "for\n"
             "numpy.load. The verbs that take a checkpoint read a .pt as it is: nothing must be converted "
             "for\n"
             "them.\n",
    .run = checkpoint_verb,
};

static const dppo_verb *const verbs[] = {&d4rl_leaf, &checkpoint_leaf, NULL};

const dppo_verb dppo_verb_convert = {
    .name = "convert",
    .summary = "data sets and checkpoints of others to ours, ours to numpy",
    .usage = "usage: dppo convert VERB [ARGUMENTS]\n\n",
    .children = verbs,
};

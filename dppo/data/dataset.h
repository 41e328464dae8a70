/* Data: files in the original layouts, and the sequences that pre-training draws from them. */
#ifndef DPPO_DATA_DATASET_H
#define DPPO_DATA_DATASET_H

#include "base/status.h"
#include "config/config.h"
#include "tensor/named.h"

/* -- HDF5 and archives as named tensors
 * ------------------------------------------------------------------------ */
/* Every dataset of a file (or of the group `root`) under its path; float32/64, int8..64 (as int64), uint8 (as
 * bool when its values are 0/1 and the HDF5 type is enum bool or uint8). Errors name file, path and reason.
 */
dppo_status dppo_hdf5_read(const char *path, const char *root, dppo_named *into);
/* Writes all entries (groups from '/' in names) and string attributes of the root as alternating key, value,
 * NULL; to a temporary file, synced, renamed. */
dppo_status dppo_hdf5_write(const char *path, const dppo_named *entries, const char *const *attributes);
/* A string attribute of the root (owned by the caller), DPPO_MISSING when absent. */
dppo_status dppo_hdf5_attribute(const char *path, const char *name, char **value);

/* DPPO_FORMAT, naming file, array and the first index, when an array of floats holds NaN or an infinity: one
 * of them would spread through everything that is scaled with it or learned from it. */
dppo_status dppo_check_finite(const char *path, const char *name, const dppo_tensor *array);

/* .npz: little-endian f4, f8, i1..i8, u1, b1, C order; stored or deflated. */
dppo_status dppo_npz_read(const char *path, dppo_named *into);
dppo_status dppo_npz_write(const char *path, const dppo_named *entries, bool compressed);

/* torch.save's zip format, and its legacy format of before 1.6, through a whitelist unpickler that runs no
 * code: nested dicts of tensors, numbers and strings. Names are joined with '/': "model/actor.mlp_mean...",
 * "ema/network...", "epoch". Anything else in the pickle is refused by name. */
dppo_status dppo_pt_read(const char *path, dppo_named *into);

/* -- D4RL
 * ------------------------------------------------------------------------------------------------------- */
typedef struct dppo_d4rl {
    int64_t rows, obs_dim, action_dim;
    float *observations, *next_observations, *actions, *rewards; /* owned; next_observations may be NULL */
    uint8_t *terminals, *timeouts;
    double *qpos, *qvel; /* infos, or NULL */
    int64_t nq, nv;
} dppo_d4rl;
dppo_status dppo_d4rl_read(const char *path, dppo_d4rl *data);
dppo_status dppo_d4rl_write(const char *path, const dppo_d4rl *data, const char *const *attributes);
void dppo_d4rl_free(dppo_d4rl *data);
/* The original's conversion: episodes by terminals and timeouts, those with summed reward <= 0 dropped,
 * scaled to
 * [-1, 1] with + 1e-6; writes folder/train.npz and folder/normalization.npz. max_episodes 0: all. */
dppo_status dppo_d4rl_convert(const char *path, const char *folder, int64_t max_episodes);

/* -- normalization.npz
 * --------------------------------------------------------------------------------------------- */
typedef struct dppo_normalization {
    int64_t obs_dim, action_dim;
    double *obs_min, *obs_max, *action_min, *action_max; /* owned */
} dppo_normalization;
dppo_status dppo_normalization_read(const char *path, dppo_normalization *normalization);
void dppo_normalization_free(dppo_normalization *normalization);

/* -- StitchedSequenceDataset
 * ------------------------------------------------------------------------------------------ */
typedef struct dppo_sequence_dataset dppo_sequence_dataset;
/* From a train_dataset node: dataset_path (.npz), horizon_steps, cond_steps, max_n_episodes. */
dppo_status dppo_sequence_dataset_new(const dppo_config *config, dppo_sequence_dataset **dataset);
void dppo_sequence_dataset_free(dppo_sequence_dataset *dataset);
int64_t dppo_sequence_dataset_count(const dppo_sequence_dataset *dataset);
int64_t dppo_sequence_dataset_obs_dim(const dppo_sequence_dataset *dataset);
int64_t dppo_sequence_dataset_action_dim(const dppo_sequence_dataset *dataset);
/* Sample `index`: actions (Ta, Da), states (To, Do), most recent last. */
void dppo_sequence_dataset_get(const dppo_sequence_dataset *dataset, int64_t index, float *actions,
                               float *states);

/* -- checkpoints
 * ------------------------------------------------------------------------------------------------------- */
/* HDF5, one dataset a name, attribute "format" = "dppo-checkpoint/1" and "config" (YAML); atomic. */
dppo_status dppo_checkpoint_write(const char *path, const dppo_named *state, const char *config_yaml);
/* Reads our checkpoints and the original's .pt (by content, not by name). For a .pt the names are the
 * original's
 * ("model/...", "ema/...", "itr" or "epoch"). */
dppo_status dppo_checkpoint_read(const char *path, dppo_named *state);
/* The configuration of the run that wrote one of our checkpoints (owned by the caller); NULL where the
 * checkpoint has none, as the original's. */
dppo_status dppo_checkpoint_config(const char *path, dppo_config **config);

#endif

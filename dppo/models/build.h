/* From a config node with `_target_` to a module, as hydra.utils.instantiate does in the original.
 *
 * The class is the last component of `_target_`; its keys are the arguments of the original's constructor,
 * with the original's defaults. Nested nodes with a `_target_` are built first, in the order of their keys,
 * so that initial weights are drawn from the generator in torch's order. */
#ifndef DPPO_MODELS_BUILD_H
#define DPPO_MODELS_BUILD_H

#include "config/config.h"
#include "nn/module.h"

/* Every class that can be built: the `_target_` and the name of its builder, dppo_build_<name>(). */
#define DPPO_TARGETS(X)                                                                                      \
    X(MLP, mlp)                                                                                              \
    X(ResidualMLP, residual_mlp)                                                                             \
    X(SinusoidalPosEmb, sinusoidal_pos_emb)                                                                  \
    X(DiffusionMLP, diffusion_mlp)                                                                           \
    X(Conv1dBlock, conv1d_block)                                                                             \
    X(Downsample1d, downsample1d)                                                                            \
    X(Upsample1d, upsample1d)                                                                                \
    X(ResidualBlock1D, residual_block1d)                                                                     \
    X(Unet1D, unet1d)                                                                                        \
    X(VitEncoder, vit_encoder)                                                                               \
    X(SpatialEmb, spatial_emb)                                                                               \
    X(RandomShiftsAug, random_shifts_aug)                                                                    \
    X(VisionDiffusionMLP, vision_diffusion_mlp)                                                              \
    X(VisionUnet1D, vision_unet1d)                                                                           \
    X(ViTCritic, vit_critic)                                                                                 \
    X(Gaussian_VisionMLP, gaussian_vision_mlp)                                                               \
    X(CriticObs, critic_obs)                                                                                 \
    X(CriticObsAct, critic_obs_act)                                                                          \
    X(Gaussian_MLP, gaussian_mlp)                                                                            \
    X(Gaussian_Transformer, gaussian_transformer)                                                            \
    X(GMM_MLP, gmm_mlp)                                                                                      \
    X(GMM_Transformer, gmm_transformer)                                                                      \
    X(GaussianModel, gaussian_model)                                                                         \
    X(VPG_Gaussian, vpg_gaussian)                                                                            \
    X(PPO_Gaussian, ppo_gaussian)                                                                            \
    X(GMMModel, gmm_model)                                                                                   \
    X(VPG_GMM, vpg_gmm)                                                                                      \
    X(PPO_GMM, ppo_gmm)                                                                                      \
    X(RWR_Gaussian, rwr_gaussian)                                                                            \
    X(AWR_Gaussian, awr_gaussian)                                                                            \
    X(SAC_Gaussian, sac_gaussian)                                                                            \
    X(RLPD_Gaussian, rlpd_gaussian)                                                                          \
    X(CalQL_Gaussian, calql_gaussian)                                                                        \
    X(IBRL_Gaussian, ibrl_gaussian)                                                                          \
    X(EtaFixed, eta_fixed)                                                                                   \
    X(EtaAction, eta_action)                                                                                 \
    X(EtaState, eta_state)                                                                                   \
    X(EtaStateAction, eta_state_action)                                                                      \
    X(DiffusionModel, diffusion_model)                                                                       \
    X(VPGDiffusion, vpg_diffusion)                                                                           \
    X(PPODiffusion, ppo_diffusion)                                                                           \
    X(VPSDE, vpsde)                                                                                          \
    X(PPOExactDiffusion, ppo_exact_diffusion)                                                                \
    X(DiffusionEval, diffusion_eval)                                                                         \
    X(RWRDiffusion, rwr_diffusion)                                                                           \
    X(AWRDiffusion, awr_diffusion)                                                                           \
    X(DIPODiffusion, dipo_diffusion)                                                                         \
    X(DQLDiffusion, dql_diffusion)                                                                           \
    X(IDQLDiffusion, idql_diffusion)                                                                         \
    X(QSMDiffusion, qsm_diffusion)

typedef dppo_status dppo_builder(const dppo_config *config, dppo_generator *generator, dppo_module **module);

/* Builds a module (owned by the caller: dppo_module_free). `config` must be resolved. The generator draws the
 * initial weights; NULL leaves them zero, for a module whose state is loaded next. network_path and device
 * are accepted and not acted upon (dppo_model_load_pretrained does the former).
 *
 * DPPO_MISSING names a `_target_` that is not in the table; DPPO_INVALID names an unknown, missing or
 * mistyped key. Where the original's signature ends in **kwargs and ignores them, unknown plain values are
 * ignored too. */
dppo_builder dppo_build_module;

/* What the original's constructor does with the checkpoint at `network_path`, already read ("ema/<name>",
 * "model/<name>", as dppo_checkpoint_read gives it): a DiffusionModel prefers "ema/"; VPGDiffusion and its
 * heirs copy a pre-trained network to actor_ft, or load everything of a fine-tuned one; DiffusionEval takes
 * "model/actor." and "model/actor_ft."; Gaussian and mixture policies take the network only and copy it to
 * the frozen actor where there is one, or to the target actor and the policy to imitate; a DIPODiffusion's
 * target actor follows its network; CalQL_Gaussian takes the whole model, strictly. Names that do not match
 * are passed over, as strict=False does there; that none at all matches is DPPO_INVALID. */
dppo_status dppo_model_load_pretrained(dppo_module *model, const dppo_named *checkpoint);

/* -- for the builders
 * ---------------------------------------------------------------------------------------- */
#define DPPO_DECLARE_BUILDER(target, name) dppo_builder dppo_build_##name;
DPPO_TARGETS(DPPO_DECLARE_BUILDER)
#undef DPPO_DECLARE_BUILDER

/* A nested module: its key, the classes it may be (ended by NULL), where to put it. */
typedef struct dppo_nested {
    const char *key;
    const char *const *types;
    dppo_module **module; /* owned by the caller once set */
    bool optional;
} dppo_nested;

/* Builds the nested modules in the order of the config's keys. After a failure none is left behind. */
dppo_status dppo_build_nested(const dppo_config *config, dppo_generator *generator, size_t count,
                              const dppo_nested *nested);

/* Registers *child under `name` and in *field, and sets *child to NULL: whoever built it frees what was not
 * adopted. */
dppo_status dppo_build_adopt(dppo_module *parent, const char *name, dppo_module **child, dppo_module **field);

/* The end of a builder: gives `built` to *module, or frees it (NULL is fine) when `status` is a failure;
 * returns it. */
dppo_status dppo_build_finish(dppo_status status, dppo_module *built, dppo_module **module);

/* An argument that may be Python's None: absent gives `fallback`, null gives NaN. */
dppo_status dppo_config_float_or_none(const dppo_config *config, const char *key, double fallback,
                                      double *value);

/* A second module of the same config with the same values; draws nothing (copy.deepcopy). requires_grad is
 * that of a fresh module. */
dppo_status dppo_build_copy(const dppo_config *config, const dppo_module *from, dppo_module **copy);
/* Registers such a copy under `name` and in *field: a target network. `key` is the config's for `from`. */
dppo_status dppo_build_target(dppo_module *parent, const char *name, const dppo_config *config,
                              const char *key, const dppo_module *from, dppo_module **field);

#endif

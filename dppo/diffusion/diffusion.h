/* Diffusion policies: DiffusionModel, DiffusionEval, VPGDiffusion, PPODiffusion of the original
 * (model/diffusion).
 *
 * state_dict: DiffusionModel: network.*; VPGDiffusion and PPODiffusion: network.*, eta.* (DDIM), actor.* (the
 * network under a second name, frozen), actor_ft.* (the fine-tuned copy), critic.*; DiffusionEval: network.*,
 * actor.*, actor_ft.*.
 *
 * B batch, K denoising steps, K' fine-tuned ones, Ta action steps, Da action dimension, To, Do those of the
 * state. t (B) int64 is the denoising step, K-1 (noise) to 0; index (B) int64 the position in the DDIM
 * schedule, 0 (noise) to ddim_steps-1; index may be NULL with DDPM. *
 * Where this departs from the original:
 * 1. One fine-tuned step is refused by the PPO loss: the original's clip schedule is then 0 / 0 and its loss
 * NaN.
 * 2. With all rows of a batch on one side of K' only that side's network is evaluated; the numbers are the
 * same.
 * 3. min_sampling_denoising_std is a number; the original also takes an object that anneals it, which none of
 * its configs use.
 * 4. return_chain: false with K' = K is served; the original appends to a list that is not there.
 * 5. A checkpoint of which nothing fits is an error (models/build.h); the original trains from scratch
 * without a word. */
#ifndef DPPO_DIFFUSION_DIFFUSION_H
#define DPPO_DIFFUSION_DIFFUSION_H

#include "config/config.h"
#include "diffusion/ode.h"
#include "models/networks.h"
#include "models/ppo.h"

/* -- schedule (Nichol and Dhariwal, arXiv 2102.09672; DDIM: arXiv 2010.02502)
 * ------------------------------------- */
/* DDPM, each (K): beta_t; alpha_t = 1 - beta_t; abar_t = prod alpha; abar_{t-1}; their roots; the posterior's
 * variance and coefficients. DDIM, each (ddim_steps), from the noisiest step on: time steps, abar at them,
 * ... */
#define DPPO_DDPM_SCHEDULE(X)                                                                                \
    X(betas)                                                                                                 \
    X(alphas)                                                                                                \
    X(alphas_cumprod)                                                                                        \
    X(alphas_cumprod_prev)                                                                                   \
    X(sqrt_alphas_cumprod)                                                                                   \
    X(sqrt_one_minus_alphas_cumprod)                                                                         \
    X(sqrt_recip_alphas_cumprod)                                                                             \
    X(sqrt_recipm1_alphas_cumprod)                                                                           \
    X(ddpm_var)                                                                                              \
    X(ddpm_logvar_clipped)                                                                                   \
    X(ddpm_mu_coef1)                                                                                         \
    X(ddpm_mu_coef2)
#define DPPO_DDIM_SCHEDULE(X)                                                                                \
    X(ddim_t) /* int64 */                                                                                    \
    X(ddim_alphas)                                                                                           \
    X(ddim_alphas_sqrt)                                                                                      \
    X(ddim_alphas_prev)                                                                                      \
    X(ddim_sqrt_one_minus_alphas)                                                                            \
    X(ddim_sigmas)

typedef struct dppo_schedule {
#define DPPO_SCHEDULE_FIELD(name) dppo_tensor *name;
    DPPO_DDPM_SCHEDULE(DPPO_SCHEDULE_FIELD)
    DPPO_DDIM_SCHEDULE(DPPO_SCHEDULE_FIELD)
#undef DPPO_SCHEDULE_FIELD
} dppo_schedule; /* tensors on the heap, owned; the DDIM ones NULL with DDPM */

/* (timesteps) float32: the cosine schedule, in float64 as numpy does and then rounded. s is 0.008 by default.
 */
dppo_tensor *dppo_cosine_beta_schedule(dppo_cx *cx, int64_t timesteps, double s);

/* a (K) at t (B), as (B, 1, ..., 1) with ndim dimensions. */
dppo_tensor *dppo_extract(dppo_cx *cx, dppo_tensor *a, dppo_tensor *t, int ndim);

/* ddim_steps 0: DDPM only. */
dppo_status dppo_schedule_init(dppo_schedule *schedule, int64_t denoising_steps, int64_t ddim_steps);
void dppo_schedule_free(dppo_schedule *schedule);

/* -- the model
 * ------------------------------------------------------------------------------------------------------- */
/* What PPOExactDiffusion has of its own: how a sample is followed to its noise (sde_*), and PPO's clipping.
 */
typedef struct dppo_exact_options {
    dppo_ode_method method;
    double eps, step_size; /* from eps (1e-4) to 1 in such steps */
    bool probability_flow; /* along the ODE; else along the drift of the reverse SDE, the default */
    bool gaussian;         /* sde_hutchinson_type: Gaussian, else Rademacher */
    int64_t num_epsilon;   /* estimates of each divergence, averaged */
    dppo_ppo_clipping clipping;
} dppo_exact_options;

/* Arguments of the constructors, by the original's names; NaN stands for Python's None. */
typedef struct dppo_diffusion {
    dppo_module module; /* "DiffusionModel", "DiffusionEval", "VPGDiffusion" or "PPODiffusion" */
    int64_t horizon_steps, obs_dim, action_dim;
    int64_t denoising_steps;        /* 100 */
    double denoised_clip_value;     /* x0 is kept within +-; 1, None: not */
    double randn_clip_value;        /* so is the noise added at a step; 10 */
    double final_action_clip_value; /* and the final sample; None */
    double eps_clip_value;          /* and the predicted noise, DDIM only; None */
    bool predict_epsilon;           /* the network predicts the noise (true) or x0 */
    bool use_ddim;                  /* false */
    int64_t ddim_steps;
    /* VPGDiffusion, DiffusionEval */
    int64_t ft_denoising_steps; /* the last K' steps use actor_ft */
    int64_t ft_denoising_steps_d,
        ft_denoising_steps_t; /* annealing: by how many, every how many calls of step */
    int64_t ft_denoising_steps_cnt;
    double min_sampling_denoising_std, min_logprob_denoising_std; /* 0.1, 0.1 */
    bool learn_eta;
    /* PPODiffusion */
    double gamma_denoising;                                              /* discount over denoising steps */
    double clip_ploss_coef, clip_ploss_coef_base, clip_ploss_coef_rate;  /* -, 1e-3, 3 */
    double clip_vloss_coef;                                              /* None */
    double clip_advantage_lower_quantile, clip_advantage_upper_quantile; /* 0, 1 */
    bool norm_adv;                                                       /* true */

    dppo_exact_options exact; /* PPOExactDiffusion */

    dppo_schedule schedule;
    dppo_module *network;                   /* a DiffusionMLP */
    dppo_module *actor, *actor_ft, *critic; /* NULL in a DiffusionModel; critic NULL in a DiffusionEval */
    dppo_module *sde;                       /* a VPSDE, or NULL */
    dppo_module *eta;                       /* one of DPPO_ETAS, or NULL */
    /* Classes of offpolicy.h, whose policy is `network` and whose `actor` above stays NULL; `critic` is their
     * critic or critic_q. Only their own agents know how they act and learn. */
    bool off_policy;
    dppo_module *critic_target;  /* or target_q */
    dppo_module *critic_v;       /* IDQL: the value of states */
    dppo_module *actor_target;   /* DIPO */
    dppo_config *network_config; /* of the network, to copy it */
    dppo_module **retired;       /* networks that annealing took out of use, kept for optimizers */
    size_t retired_count;
} dppo_diffusion;

/* The struct of a module built as one of these or of offpolicy.h; NULL for any other. */
dppo_diffusion *dppo_diffusion_of(dppo_module *module);

/* -- DiffusionModel (and DiffusionEval, which differs in p_mean_var)
 * -------------------------------------------------- */
/* Returns mu (B, Ta, Da) of p(x_{t-1} | x_t); *logvar (B, 1, 1). */
dppo_tensor *dppo_diffusion_p_mean_var(dppo_cx *cx, dppo_module *module, dppo_tensor *x, dppo_tensor *t,
                                       dppo_cond cond, dppo_tensor *index, dppo_tensor **logvar);

/* Samples actions without gradients: *trajectories (B, Ta, Da). Draws randn (B, Ta, Da) once, then once a
 * step. The original passes `deterministic` on to a p_mean_var that cannot take it; it has no effect in this
 * class. */
dppo_status dppo_diffusion_forward(dppo_cx *cx, dppo_module *module, dppo_cond cond, bool deterministic,
                                   dppo_tensor **trajectories);

/* x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) noise; noise NULL draws it. */
dppo_tensor *dppo_diffusion_q_sample(dppo_cx *cx, dppo_module *module, dppo_tensor *x_start, dppo_tensor *t,
                                     dppo_tensor *noise);

/* The loss of pre-training, rank 0: mean squared error of the predicted noise (or x0). x_start (B, Ta, Da).
 * Draws randn_like(x_start). */
dppo_tensor *dppo_diffusion_p_losses(dppo_cx *cx, dppo_module *module, dppo_tensor *x_start, dppo_cond cond,
                                     dppo_tensor *t);
/* The same for t drawn with randint (B), before the noise. */
dppo_tensor *dppo_diffusion_loss(dppo_cx *cx, dppo_module *module, dppo_tensor *x, dppo_cond cond);

/* -- VPGDiffusion
 * -------------------------------------------------------------------------------------------------------- */
/* Returns mu (B, Ta, Da); *logvar and *eta (B, 1, 1), with DDPM *eta (B, Ta, Da) of ones. Steps below K' use
 * actor_ft (use_base_policy: the frozen actor), the others the frozen actor. */
dppo_tensor *dppo_vpg_diffusion_p_mean_var(dppo_cx *cx, dppo_module *module, dppo_tensor *x, dppo_tensor *t,
                                           dppo_cond cond, dppo_tensor *index, bool use_base_policy,
                                           bool deterministic, dppo_tensor **logvar, dppo_tensor **eta);

/* Samples actions without gradients: *trajectories (B, Ta, Da), and with return_chain *chains (B, K'+1, Ta,
 * Da), the last K'+1 samples from the noisiest on (else `chains` may be NULL). Draws randn (B, Ta, Da) once,
 * then once a step. */
dppo_status dppo_vpg_diffusion_forward(dppo_cx *cx, dppo_module *module, dppo_cond cond, bool deterministic,
                                       bool return_chain, bool use_base_policy, dppo_tensor **trajectories,
                                       dppo_tensor **chains);

/* Log-probabilities of whole chains: chains (B, K'+1, Ta, Da) -> (B K', Ta, Da), not summed. *eta as from
 * p_mean_var; `eta` may be NULL. */
dppo_tensor *dppo_vpg_diffusion_get_logprobs(dppo_cx *cx, dppo_module *module, dppo_cond cond,
                                             dppo_tensor *chains, bool use_base_policy, dppo_tensor **eta);
/* Of single transitions: chains_prev, chains_next (B, Ta, Da), denoising_inds (B) int64 in [0, K'), 0 the
 * noisiest
 * -> (B, Ta, Da). */
dppo_tensor *dppo_vpg_diffusion_get_logprobs_subsample(dppo_cx *cx, dppo_module *module, dppo_cond cond,
                                                       dppo_tensor *chains_prev, dppo_tensor *chains_next,
                                                       dppo_tensor *denoising_inds, bool use_base_policy,
                                                       dppo_tensor **eta);

/* REINFORCE: chains (B, K'+1, Ta, Da), reward-to-go (B); two losses of rank 0, and eta as from get_logprobs.
 */
dppo_status dppo_vpg_diffusion_loss(dppo_cx *cx, dppo_module *module, dppo_cond cond, dppo_tensor *chains,
                                    dppo_tensor *reward, dppo_tensor **loss_actor, dppo_tensor **loss_critic,
                                    dppo_tensor **eta);

/* Once an iteration: every ft_denoising_steps_t calls, K' shrinks by ft_denoising_steps_d, the fine-tuned
 * actor becomes the frozen one and a copy of it the fine-tuned one. As in the original, an optimizer keeps
 * the parameters it was made with. */
dppo_status dppo_vpg_diffusion_step(dppo_module *module);

/* -- PPODiffusion
 * ----------------------------------------------------------------------------------------------------------
 */
/* A minibatch, or a chunk of its rows. */
typedef struct dppo_ppo_diffusion_batch {
    dppo_cond cond;
    dppo_tensor *chains_prev, *chains_next, *oldlogprobs; /* (B, Ta, Da) */
    dppo_tensor *denoising_inds;                          /* (B) int64 in [0, K') */
    dppo_tensor *returns, *oldvalues, *advantages;        /* (B) */
    dppo_tensor *shaped_advantages, *clip_coef; /* (B), by dppo_ppo_diffusion_shape(), of whole minibatches */
    dppo_tensor *newvalues;                     /* (B); NULL: the critic's, of cond */
} dppo_ppo_diffusion_batch;

/* The loss. reward_horizon: how many of the Ta steps count (the executed ones; the original's default is 4).
 * loss->eta_or_std is the mean eta. DPPO_INVALID with K' = 1, for which the original's clip schedule is 0 /
 * 0. */
dppo_status dppo_ppo_diffusion_loss(dppo_cx *cx, dppo_module *module, dppo_ppo_diffusion_batch *batch,
                                    bool use_bc_loss, int64_t reward_horizon, dppo_ppo_loss *loss);
/* Its two halves: advantages normalised, clipped to their quantiles and discounted over denoising steps, with
 * the clip coefficients, which take the whole minibatch's advantages and denoising_inds; and the terms of
 * some rows, which take everything else. */
dppo_status dppo_ppo_diffusion_shape(dppo_cx *cx, dppo_module *module, dppo_ppo_diffusion_batch *batch);
dppo_status dppo_ppo_diffusion_terms(dppo_cx *cx, dppo_module *module, const dppo_ppo_diffusion_batch *batch,
                                     int64_t reward_horizon, dppo_ppo_terms *terms);

/* -- PPOExactDiffusion
 * ----------------------------------------------------------------------------------------------------------
 */
/* log p of samples (B, Ta, Da) in bits per dimension, (B). Draws randint {0, 1} (or randn) of (B num_epsilon,
 * Ta, Da). DPPO_INVALID when a step of the solver would need the schedule beyond its end. */
dppo_tensor *dppo_ppo_exact_diffusion_get_exact_logprobs(dppo_cx *cx, dppo_module *module, dppo_cond cond,
                                                         dppo_tensor *samples);
/* There is neither entropy_loss nor bc_loss (NULL). */
dppo_status dppo_ppo_exact_diffusion_loss(dppo_cx *cx, dppo_module *module, dppo_cond cond,
                                          dppo_tensor *samples, dppo_ppo_batch batch, dppo_ppo_loss *loss);

/* -- eta of DDIM
 * ---------------------------------------------------------------------------------------------------------------
 */
/* Etas of the rows of a condition: (B, 1), or (B, Da) where each action dimension has its own. The classes,
 * each with its dppo_<name>_forward of the same signature. */
#define DPPO_ETAS(X)                                                                                         \
    X(EtaFixed, eta_fixed) /* one number for all rows, without gradient */                                   \
    X(EtaAction, eta_action)                                                                                 \
    X(EtaState, eta_state)                                                                                   \
    X(EtaStateAction, eta_state_action)
extern const char *const dppo_etas[];
typedef dppo_tensor *dppo_eta_function(dppo_cx *cx, const dppo_module *module, dppo_cond cond);
dppo_eta_function dppo_eta_forward;

#define DPPO_DECLARE_ETA(type, name) dppo_eta_function dppo_##name##_forward;
DPPO_ETAS(DPPO_DECLARE_ETA)
#undef DPPO_DECLARE_ETA

/* -- what agents need (borrowed; NULL or 0 where the class has none)
 * ------------------------------------------------------------- */
int64_t dppo_diffusion_ft_denoising_steps(dppo_module *module);
int64_t dppo_diffusion_denoising_steps(dppo_module *module);
int64_t dppo_diffusion_horizon_steps(dppo_module *module);
int64_t dppo_diffusion_action_dim(dppo_module *module);
double dppo_diffusion_min_sampling_denoising_std(dppo_module *module);
double dppo_diffusion_gamma_denoising(dppo_module *module);
dppo_module *dppo_diffusion_network(dppo_module *module);
dppo_module *dppo_diffusion_actor_ft(dppo_module *module);
dppo_module *dppo_diffusion_critic(dppo_module *module);

#endif

// Diffusion policies of the original: DiffusionModel, VPGDiffusion, PPODiffusion, DiffusionEval.
//
// Shapes: B batch, K denoising steps, K' fine-tuned ones, To, Do observation, Ta, Da action. Schedules have
// torch's default dtype at construction. Random numbers come from `draws`, in the order in which the original
// draws them.
#ifndef DPPO_SHIM_DIFFUSION_H
#define DPPO_SHIM_DIFFUSION_H

#include "distributions.h"
#include "networks.h"

#include <optional>

namespace shim {

Tensor cosine_beta_schedule(int64_t timesteps, double s = 0.008);
// a (K), t (B) int64: a[t] as (B, 1, ...) of `rank` dimensions.
Tensor extract(const Tensor &a, const Tensor &t, int64_t rank);

// The constants of DDPM, each (K), and of DDIM, each (steps) from the noisiest on; names as in the original.
struct Schedule {
    explicit Schedule(int64_t denoising_steps);
    void add_ddim(int64_t ddim_steps);
    NamedTensors ddpm() const, ddim() const;

    Tensor betas, alphas, alphas_cumprod, alphas_cumprod_prev, sqrt_alphas_cumprod,
        sqrt_one_minus_alphas_cumprod, sqrt_recip_alphas_cumprod, sqrt_recipm1_alphas_cumprod, ddpm_var,
        ddpm_logvar_clipped, ddpm_mu_coef1, ddpm_mu_coef2;
    Tensor ddim_t, ddim_alphas, ddim_alphas_sqrt, ddim_alphas_prev, ddim_sqrt_one_minus_alphas, ddim_sigmas;
};

struct Samples {
    Tensor trajectories, chains; // (B, Ta, Da), (B, K'+1, Ta, Da) or undefined
};

struct MeanVar {
    Tensor mu, logvar, eta; // eta only where the class has one
};

// Which network answers, and how.
struct Mode {
    bool deterministic = false, use_base_policy = false;
};

class DiffusionModel : public torch::nn::Module {
  public:
    // `weights` may be null. `network_key` is the key of the network in `config` ("actor" for the policies).
    DiffusionModel(const Config &config, dppo_generator *weights, const char *network_key = "network");

    // x (B, Ta, Da), t (B), index (B) of the DDIM step or undefined.
    virtual MeanVar p_mean_var(const Tensor &x, const Tensor &t, const Cond &cond, const Tensor &index,
                               Mode mode);
    virtual Samples forward(const Cond &cond, Draws &draws, Mode mode = {true, false});
    Tensor loss(const Tensor &x, const Cond &cond, Draws &draws); // one random t per row
    Tensor p_losses(const Tensor &x_start, const Cond &cond, const Tensor &t, Draws &draws);
    Tensor q_sample(const Tensor &x_start, const Tensor &t, const Tensor &noise);
    // The weights of network_path, if there is one, for what is registered by now.
    void load_pretrained(const Config &config);

    const Schedule &schedule() const {
        return schedule_;
    }

  protected:
    // x_0 and, with DDIM, the noise that goes with the clipped x_0 and the two alphas.
    struct Denoised {
        Tensor x_recon, noise, alpha, alpha_prev;
    };
    Denoised denoise(const Tensor &x, const Tensor &t, const Tensor &index, Tensor noise);
    MeanVar ddpm_mean(const Tensor &x, const Tensor &t, const Tensor &x_recon);
    MeanVar ddim_mean_eta(const Denoised &denoised, const Tensor &etas);
    // The rows of x whose step is fine-tuned.
    Tensor fine_tuned_rows(const Tensor &t, const Tensor &index, int64_t ft_denoising_steps) const;
    int64_t sampling_steps() const; // how many steps forward() takes
    int64_t step_time(int64_t i) const;
    Tensor sample_noise(const Tensor &x, Draws &draws) const;
    Tensor clip_final(const Tensor &x, int64_t i) const;

    int64_t horizon_steps_, action_dim_, denoising_steps_, ddim_steps_ = 0;
    bool predict_epsilon_, use_ddim_;
    double randn_clip_value_;
    std::optional<double> denoised_clip_value_, final_action_clip_value_, eps_clip_value_;
    std::shared_ptr<NoiseNetwork> network_;
    Schedule schedule_;
};

// A frozen base network for the first steps of the chain, a fine-tuned one for the last K'.
class VPGDiffusion : public DiffusionModel {
  public:
    VPGDiffusion(const Config &config, dppo_generator *weights);

    MeanVar p_mean_var(const Tensor &x, const Tensor &t, const Cond &cond, const Tensor &index,
                       Mode mode) override;
    Samples forward(const Cond &cond, Draws &draws, Mode mode = {}) override;
    struct LogProbs {
        Tensor log_prob, eta;
    };
    // chains (B, K'+1, Ta, Da): log_prob (B K', Ta, Da).
    LogProbs get_logprobs(const Cond &cond, const Tensor &chains, bool use_base_policy = false);
    // chains_prev, chains_next (B, Ta, Da), denoising_inds (B) in [0, K'): log_prob (B, Ta, Da).
    LogProbs get_logprobs_subsample(const Cond &cond, const Tensor &chains_prev, const Tensor &chains_next,
                                    const Tensor &denoising_inds, bool use_base_policy = false);
    struct Reinforce {
        Tensor loss_actor, loss_critic, eta;
    };
    Reinforce loss(const Cond &cond, const Tensor &chains, const Tensor &reward);
    void step(); // annealing of K'

    int64_t ft_denoising_steps() const {
        return ft_denoising_steps_;
    }
    int64_t annealing_count() const {
        return ft_denoising_steps_cnt_;
    }
    double min_sampling_denoising_std() const {
        return min_sampling_denoising_std_;
    }
    NoiseNetwork &actor_ft() {
        return *actor_ft_;
    }
    Critic &critic() {
        return *critic_;
    }

  protected:
    LogProbs log_probs(const Tensor &chains_prev, const Tensor &chains_next, const Tensor &t,
                       const Cond &cond, const Tensor &index, bool use_base_policy);
    Tensor fine_tuned_times() const;   // (K') t of each fine-tuned step, noisiest first
    Tensor fine_tuned_indices() const; // (K') its DDIM index, undefined without DDIM
    Tensor noise_std(const MeanVar &step, int64_t t, bool deterministic) const;

    int64_t ft_denoising_steps_, ft_denoising_steps_d_, ft_denoising_steps_t_, ft_denoising_steps_cnt_ = 0;
    double min_sampling_denoising_std_, min_logprob_denoising_std_;
    std::shared_ptr<NoiseNetwork> actor_, actor_ft_;
    std::shared_ptr<Eta> eta_;
    std::shared_ptr<Critic> critic_;
};

// What a PPO loss returns, diffusion's and Gaussian's.
struct PpoLoss {
    Tensor pg_loss, entropy_loss, v_loss;
    double clipfrac, approx_kl, ratio;
    Tensor bc_loss; // undefined without one
    double eta_or_std;
};

// 0.5 mean (V - R)^2, with the clipped alternative when there is a coefficient.
Tensor ppo_value_loss(const Tensor &newvalues, const Tensor &oldvalues, const Tensor &returns,
                      const std::optional<double> &clip_vloss_coef);

// Advantages and old values are (B); oldlogprobs (B, Ta, Da).
struct DiffusionBatch {
    Cond cond;
    Tensor chains_prev, chains_next, denoising_inds, returns, oldvalues, advantages, oldlogprobs;
};

class PPODiffusion : public VPGDiffusion {
  public:
    PPODiffusion(const Config &config, dppo_generator *weights);
    PpoLoss loss(const DiffusionBatch &batch, bool use_bc_loss, int64_t reward_horizon, Draws &draws);

  private:
    Tensor scaled_advantages(Tensor advantages, const Tensor &denoising_inds) const;
    Tensor clip_coefficient(const Tensor &denoising_inds) const;
    Tensor behaviour_cloning_loss(const Cond &cond, Draws &draws);

    double gamma_denoising_, clip_ploss_coef_, clip_ploss_coef_base_, clip_ploss_coef_rate_, lower_quantile_,
        upper_quantile_;
    std::optional<double> clip_vloss_coef_;
    bool norm_adv_;
};

// Evaluates a checkpoint: base weights for the first steps, fine-tuned ones for the last, when it has them.
class DiffusionEval : public DiffusionModel {
  public:
    DiffusionEval(const Config &config, dppo_generator *weights);
    MeanVar p_mean_var(const Tensor &x, const Tensor &t, const Cond &cond, const Tensor &index,
                       Mode mode) override;

  private:
    int64_t ft_denoising_steps_;
    std::shared_ptr<NoiseNetwork> actor_ft_;
};

// A DiffusionModel for pre-training or sampling, with the weights of network_path when there is one.
std::shared_ptr<DiffusionModel> build_diffusion_model(const Config &config, dppo_generator *weights);

// The number at `key`, nothing where it is absent or null.
std::optional<double> optional_number(const Config &config, const char *key);
// A checkpoint (ours or the original's .pt) as named tensors, freed with the object.
class Checkpoint {
  public:
    explicit Checkpoint(const std::string &path);
    ~Checkpoint();
    Checkpoint(const Checkpoint &) = delete;
    Checkpoint &operator=(const Checkpoint &) = delete;
    bool has(const std::string &prefix) const; // any name that starts with it
    const dppo_named &named() const {
        return named_;
    }

  private:
    dppo_named named_ = {};
};

} // namespace shim

#endif

#include "diffusion.h"
#include "timing.h"

extern "C" {
#include "data/dataset.h"
}

#include <cmath>
#include <cstring>

namespace shim {

// A key that is absent has the original's default, one that is null is None.
static std::optional<double> number_or_none(const Config &config, const char *key, double absent) {
    if (config.node() == nullptr || dppo_config_get(config.node(), key) == nullptr) return absent;
    return optional_number(config, key);
}

std::optional<double> optional_number(const Config &config, const char *key) {
    if (!config.has(key)) return std::nullopt;
    return config.number(key);
}

// -- checkpoints
// -------------------------------------------------------------------------------------------------

Checkpoint::Checkpoint(const std::string &path) {
    const dppo_status status = dppo_checkpoint_read(path.c_str(), &named_);
    if (status != DPPO_OK) dppo_named_free(&named_);
    check(status);
}

Checkpoint::~Checkpoint() {
    dppo_named_free(&named_);
}

bool Checkpoint::has(const std::string &prefix) const {
    for (size_t i = 0; i < named_.count; i++)
        if (std::strncmp(named_.entries[i].name, prefix.c_str(), prefix.size()) == 0) return true;
    return false;
}

// -- schedule
// ------------------------------------------------------------------------------------------------------

// numpy in float64 throughout, rounded once at the end. The grid has K + 1 points from 0 to K + 1 inclusive.
Tensor cosine_beta_schedule(int64_t timesteps, double s) {
    const int64_t points = timesteps + 1;
    const double steps = static_cast<double>(points);
    std::vector<double> cumprod(static_cast<size_t>(points)), betas;
    for (int64_t i = 0; i < points; i++) {
        const double x =
            i == timesteps ? steps : static_cast<double>(i) * (steps / static_cast<double>(timesteps));
        const double c = std::cos((x / steps + s) / (1 + s) * M_PI * 0.5);
        cumprod[static_cast<size_t>(i)] = c * c;
    }
    const double first = cumprod[0];
    for (double &value : cumprod)
        value /= first;
    for (size_t i = 0; i + 1 < cumprod.size(); i++)
        betas.push_back(std::min(std::max(1 - cumprod[i + 1] / cumprod[i], 0.0), 0.999));
    return torch::tensor(betas, torch::kFloat64).to(torch::get_default_dtype());
}

Tensor extract(const Tensor &a, const Tensor &t, int64_t rank) {
    Shape shape(static_cast<size_t>(rank), 1);
    shape[0] = t.size(0);
    return a.gather(-1, t).reshape(shape);
}

Schedule::Schedule(int64_t denoising_steps) {
    if (denoising_steps < 1)
        invalid("denoising_steps: must be positive, is " + std::to_string(denoising_steps));
    betas = cosine_beta_schedule(denoising_steps);
    alphas = 1.0 - betas;
    alphas_cumprod = torch::cumprod(alphas, 0);
    alphas_cumprod_prev = torch::cat({torch::ones(1), alphas_cumprod.slice(0, 0, -1)});
    sqrt_alphas_cumprod = torch::sqrt(alphas_cumprod);
    sqrt_one_minus_alphas_cumprod = torch::sqrt(1.0 - alphas_cumprod);
    sqrt_recip_alphas_cumprod = torch::sqrt(1.0 / alphas_cumprod);
    sqrt_recipm1_alphas_cumprod = torch::sqrt(1.0 / alphas_cumprod - 1);
    ddpm_var = betas * (1.0 - alphas_cumprod_prev) / (1.0 - alphas_cumprod);
    ddpm_logvar_clipped = torch::log(torch::clamp(ddpm_var, 1e-20));
    ddpm_mu_coef1 = betas * torch::sqrt(alphas_cumprod_prev) / (1.0 - alphas_cumprod);
    ddpm_mu_coef2 = (1.0 - alphas_cumprod_prev) * torch::sqrt(alphas) / (1.0 - alphas_cumprod);
}

void Schedule::add_ddim(int64_t ddim_steps) {
    const int64_t steps = betas.size(0);
    if (ddim_steps < 1 || ddim_steps > steps)
        invalid("ddim_steps: must be from 1 to denoising_steps, is " + std::to_string(ddim_steps));
    ddim_t = torch::arange(0, ddim_steps, torch::kInt64) * (steps / ddim_steps);
    ddim_alphas = alphas_cumprod.index({ddim_t}).clone();
    ddim_alphas_sqrt = torch::sqrt(ddim_alphas);
    ddim_alphas_prev = torch::cat({torch::ones(1), alphas_cumprod.index({ddim_t.slice(0, 0, -1)})});
    ddim_sqrt_one_minus_alphas = (1.0 - ddim_alphas).pow(0.5);
    // eta is 0: the original multiplies nevertheless.
    ddim_sigmas =
        0 * ((1 - ddim_alphas_prev) / (1 - ddim_alphas) * (1 - ddim_alphas / ddim_alphas_prev)).pow(0.5);
    for (Tensor *one : {&ddim_t, &ddim_alphas, &ddim_alphas_sqrt, &ddim_alphas_prev,
                        &ddim_sqrt_one_minus_alphas, &ddim_sigmas})
        *one = torch::flip(*one, {0});
}

NamedTensors Schedule::ddpm() const {
    return {{"betas", betas},
            {"alphas", alphas},
            {"alphas_cumprod", alphas_cumprod},
            {"alphas_cumprod_prev", alphas_cumprod_prev},
            {"sqrt_alphas_cumprod", sqrt_alphas_cumprod},
            {"sqrt_one_minus_alphas_cumprod", sqrt_one_minus_alphas_cumprod},
            {"sqrt_recip_alphas_cumprod", sqrt_recip_alphas_cumprod},
            {"sqrt_recipm1_alphas_cumprod", sqrt_recipm1_alphas_cumprod},
            {"ddpm_var", ddpm_var},
            {"ddpm_logvar_clipped", ddpm_logvar_clipped},
            {"ddpm_mu_coef1", ddpm_mu_coef1},
            {"ddpm_mu_coef2", ddpm_mu_coef2}};
}

NamedTensors Schedule::ddim() const {
    return {{"ddim_t", ddim_t},
            {"ddim_alphas", ddim_alphas},
            {"ddim_alphas_sqrt", ddim_alphas_sqrt},
            {"ddim_alphas_prev", ddim_alphas_prev},
            {"ddim_sqrt_one_minus_alphas", ddim_sqrt_one_minus_alphas},
            {"ddim_sigmas", ddim_sigmas}};
}

// -- DiffusionModel
// ------------------------------------------------------------------------------------------------

DiffusionModel::DiffusionModel(const Config &config, dppo_generator *weights, const char *network_key)
    : horizon_steps_(config.integer("horizon_steps")), action_dim_(config.integer("action_dim")),
      denoising_steps_(config.integer("denoising_steps", 100)),
      predict_epsilon_(config.flag("predict_epsilon", true)), use_ddim_(config.flag("use_ddim", false)),
      randn_clip_value_(config.number("randn_clip_value", 10)),
      denoised_clip_value_(number_or_none(config, "denoised_clip_value", 1.0)),
      final_action_clip_value_(optional_number(config, "final_action_clip_value")),
      eps_clip_value_(optional_number(config, "eps_clip_value")), schedule_(denoising_steps_) {
    if (use_ddim_) {
        if (!predict_epsilon_) invalid("predict_epsilon: DDIM needs it");
        if (config.text("ddim_discretize", "uniform") != "uniform")
            invalid("ddim_discretize: only \"uniform\" exists");
        ddim_steps_ = config.integer("ddim_steps");
        schedule_.add_ddim(ddim_steps_);
    }
    network_ = build_noise_network(config.at(network_key), weights);
    register_module("network", network_);
}

// A pre-trained checkpoint has averaged weights ("ema"), a fine-tuned one only "model".
static void load_network(torch::nn::Module &model, const Checkpoint &checkpoint) {
    load_state(model, checkpoint.named(), checkpoint.has("ema/") ? "ema/" : "model/", false);
}

void DiffusionModel::load_pretrained(const Config &config) {
    if (config.has("network_path")) load_network(*this, Checkpoint(config.text("network_path")));
}

std::shared_ptr<DiffusionModel> build_diffusion_model(const Config &config, dppo_generator *weights) {
    auto model = std::make_shared<DiffusionModel>(config, weights);
    model->load_pretrained(config);
    return model;
}

DiffusionModel::Denoised DiffusionModel::denoise(const Tensor &x, const Tensor &t, const Tensor &index,
                                                 Tensor noise) {
    const int64_t rank = x.dim();
    Denoised result;
    Tensor sqrt_one_minus_alpha;
    if (use_ddim_) {
        result.alpha = extract(schedule_.ddim_alphas, index, rank);
        result.alpha_prev = extract(schedule_.ddim_alphas_prev, index, rank);
        sqrt_one_minus_alpha = extract(schedule_.ddim_sqrt_one_minus_alphas, index, rank);
        result.x_recon = (x - sqrt_one_minus_alpha * noise) / result.alpha.pow(0.5);
    } else if (predict_epsilon_) {
        result.x_recon = extract(schedule_.sqrt_recip_alphas_cumprod, t, rank) * x -
                         extract(schedule_.sqrt_recipm1_alphas_cumprod, t, rank) * noise;
    } else {
        result.x_recon = noise;
    }
    if (denoised_clip_value_) {
        result.x_recon.clamp_(-*denoised_clip_value_, *denoised_clip_value_);
        // The noise that leads to the clipped x_0.
        if (use_ddim_) noise = (x - result.alpha.pow(0.5) * result.x_recon) / sqrt_one_minus_alpha;
    }
    if (use_ddim_ && eps_clip_value_) noise.clamp_(-*eps_clip_value_, *eps_clip_value_);
    result.noise = noise;
    return result;
}

MeanVar DiffusionModel::ddpm_mean(const Tensor &x, const Tensor &t, const Tensor &x_recon) {
    const Tensor mu = extract(schedule_.ddpm_mu_coef1, t, x.dim()) * x_recon +
                      extract(schedule_.ddpm_mu_coef2, t, x.dim()) * x;
    return {mu, extract(schedule_.ddpm_logvar_clipped, t, x.dim()), Tensor()};
}

// mu = sqrt(a_prev) x_0 + sqrt(1 - a_prev - sigma^2) eps with sigma scaled by eta, kept above zero for its
// logarithm.
MeanVar DiffusionModel::ddim_mean_eta(const Denoised &d, const Tensor &etas) {
    const Tensor spread = (1 - d.alpha_prev) / (1 - d.alpha) * (1 - d.alpha / d.alpha_prev);
    const Tensor sigma = (etas * spread.pow(0.5)).clamp_(1e-10);
    const Tensor direction = (1.0 - d.alpha_prev - sigma.pow(2)).clamp_(0).sqrt();
    const Tensor mu = d.alpha_prev.pow(0.5) * d.x_recon + direction * d.noise;
    return {mu, torch::log(sigma.pow(2)), etas};
}

MeanVar DiffusionModel::p_mean_var(const Tensor &x, const Tensor &t, const Cond &cond, const Tensor &index,
                                   Mode) {
    const Denoised d = denoise(x, t, index, network_->forward(x, t, cond));
    if (!use_ddim_) return ddpm_mean(x, t, d.x_recon);
    const Tensor sigma = extract(schedule_.ddim_sigmas, index, x.dim());
    const Tensor direction = (1.0 - d.alpha_prev - sigma.pow(2)).sqrt() * d.noise;
    const Tensor mu = d.alpha_prev.pow(0.5) * d.x_recon + direction;
    return {mu, torch::log(sigma.pow(2)), Tensor()};
}

int64_t DiffusionModel::sampling_steps() const {
    return use_ddim_ ? ddim_steps_ : denoising_steps_;
}

int64_t DiffusionModel::step_time(int64_t i) const {
    return use_ddim_ ? schedule_.ddim_t[i].item<int64_t>() : denoising_steps_ - 1 - i;
}

Tensor DiffusionModel::sample_noise(const Tensor &x, Draws &draws) const {
    return draws.randn(x.sizes().vec()).clamp_(-randn_clip_value_, randn_clip_value_);
}

Tensor DiffusionModel::clip_final(const Tensor &x, int64_t i) const {
    if (!final_action_clip_value_ || i != sampling_steps() - 1) return x;
    return torch::clamp(x, -*final_action_clip_value_, *final_action_clip_value_);
}

Samples DiffusionModel::forward(const Cond &cond, Draws &draws, Mode mode) {
    torch::NoGradGuard no_grad;
    const int64_t batch = cond.batch();
    Tensor x = draws.randn({batch, horizon_steps_, action_dim_});
    for (int64_t i = 0; i < sampling_steps(); i++) {
        const int64_t t = step_time(i);
        const MeanVar step = p_mean_var(x, torch::full({batch}, t, torch::kInt64), cond,
                                        torch::full({batch}, i, torch::kInt64), mode);
        Tensor std = torch::exp(0.5 * step.logvar);
        std = use_ddim_ || t == 0 ? torch::zeros_like(std) : torch::clamp(std, 1e-3);
        const Tensor noise = sample_noise(x, draws);
        x = clip_final(step.mu + std * noise, i);
    }
    return {x, Tensor()};
}

Tensor DiffusionModel::loss(const Tensor &x, const Cond &cond, Draws &draws) {
    const Tensor t = draws.randint(0, denoising_steps_, {x.size(0)});
    return p_losses(x, cond, t, draws);
}

Tensor DiffusionModel::p_losses(const Tensor &x_start, const Cond &cond, const Tensor &t, Draws &draws) {
    const Tensor noise = draws.randn(x_start.sizes().vec());
    const Tensor x_recon = network_->forward(q_sample(x_start, t, noise), t, cond);
    return torch::mse_loss(x_recon, predict_epsilon_ ? noise : x_start);
}

Tensor DiffusionModel::q_sample(const Tensor &x_start, const Tensor &t, const Tensor &noise) {
    return extract(schedule_.sqrt_alphas_cumprod, t, x_start.dim()) * x_start +
           extract(schedule_.sqrt_one_minus_alphas_cumprod, t, x_start.dim()) * noise;
}

Tensor DiffusionModel::fine_tuned_rows(const Tensor &t, const Tensor &index,
                                       int64_t ft_denoising_steps) const {
    if (use_ddim_) return torch::where(index >= ddim_steps_ - ft_denoising_steps)[0];
    return torch::where(t < ft_denoising_steps)[0];
}

static bool skip_frozen = false; // shim_skip_frozen()

// The base network's noise with the rows of fine-tuned steps overwritten by `actor`'s.
static Tensor mixed_noise(NoiseNetwork &base, NoiseNetwork &actor, const Tensor &rows, const Tensor &x,
                          const Tensor &t, const Cond &cond) {
    if (skip_frozen && rows.numel() == x.size(0)) return actor.forward(x, t, cond);
    Tensor noise = base.forward(x, t, cond);
    if (rows.numel() == 0) return noise;
    const Tensor noise_ft = actor.forward(x.index({rows}), t.index({rows}), cond.index(rows));
    return noise.index_put_({rows}, noise_ft);
}

// -- VPGDiffusion
// ----------------------------------------------------------------------------------------------------

// Sub-modules in the order of the configuration, which is the order in which hydra builds them; the network
// itself was built by the base class only if the actor came first.
VPGDiffusion::VPGDiffusion(const Config &config, dppo_generator *weights)
    : DiffusionModel(config, nullptr, "actor"), ft_denoising_steps_(config.integer("ft_denoising_steps")),
      ft_denoising_steps_d_(config.integer("ft_denoising_steps_d", 0)),
      ft_denoising_steps_t_(config.integer("ft_denoising_steps_t", 0)),
      min_sampling_denoising_std_(config.number("min_sampling_denoising_std", 0.1)),
      min_logprob_denoising_std_(config.number("min_logprob_denoising_std", 0.1)) {
    if (ft_denoising_steps_ < 0 || ft_denoising_steps_ > sampling_steps())
        invalid("ft_denoising_steps: must be from 0 to " + std::to_string(sampling_steps()) + ", is " +
                std::to_string(ft_denoising_steps_));
    if (config.flag("learn_eta", false) && !use_ddim_) invalid("learn_eta: DDPM has no eta to learn");
    critic_ = build_critic(config.at("critic"), nullptr);
    if (config.has("eta")) eta_ = build_eta(config.at("eta"), nullptr);
    draw_parts(config, weights, {{"actor", network_.get()}, {"critic", critic_.get()}, {"eta", eta_.get()}});
    std::unique_ptr<Checkpoint> checkpoint;
    if (config.has("network_path")) checkpoint = std::make_unique<Checkpoint>(config.text("network_path"));
    if (checkpoint) load_network(*this, *checkpoint);
    if (eta_) {
        register_module("eta", eta_);
        if (!config.flag("learn_eta", false)) freeze(*eta_);
    } else if (use_ddim_) {
        invalid("eta: a fine-tuned DDIM policy needs one");
    }
    actor_ = register_module("actor", network_);
    actor_ft_ = register_module("actor_ft", deepcopy(*actor_));
    freeze(*actor_);
    register_module("critic", critic_);
    if (checkpoint && !checkpoint->has("ema/")) load_state(*this, checkpoint->named(), "model/", false);
}

void VPGDiffusion::step() {
    ft_denoising_steps_cnt_++;
    if (ft_denoising_steps_d_ <= 0 || ft_denoising_steps_t_ <= 0) return;
    if (ft_denoising_steps_cnt_ % ft_denoising_steps_t_ != 0) return;
    ft_denoising_steps_ = std::max<int64_t>(0, ft_denoising_steps_ - ft_denoising_steps_d_);
    actor_ = replace_module("actor", actor_ft_);
    actor_ft_ = replace_module("actor_ft", deepcopy(*actor_));
    freeze(*actor_);
}

MeanVar VPGDiffusion::p_mean_var(const Tensor &x, const Tensor &t, const Cond &cond, const Tensor &index,
                                 Mode mode) {
    const Tensor rows = fine_tuned_rows(t, index, ft_denoising_steps_);
    NoiseNetwork &actor = mode.use_base_policy ? *actor_ : *actor_ft_;
    const Denoised d = denoise(x, t, index, mixed_noise(*actor_, actor, rows, x, t, cond));
    if (use_ddim_) {
        const Tensor etas =
            mode.deterministic ? torch::zeros({x.size(0), 1, 1}) : eta_->forward(cond).unsqueeze(1);
        return ddim_mean_eta(d, etas);
    }
    MeanVar result = ddpm_mean(x, t, d.x_recon);
    result.eta = torch::ones_like(result.mu);
    return result;
}

Tensor VPGDiffusion::noise_std(const MeanVar &step, int64_t t, bool deterministic) const {
    const Tensor std = torch::exp(0.5 * step.logvar);
    if (deterministic && (use_ddim_ || t == 0)) return torch::zeros_like(std);
    // Evaluation with DDPM keeps the schedule's own noise.
    return torch::clamp(std, deterministic ? 1e-3 : min_sampling_denoising_std_);
}

Samples VPGDiffusion::forward(const Cond &cond, Draws &draws, Mode mode) {
    torch::NoGradGuard no_grad;
    const int64_t batch = cond.batch(), steps = sampling_steps();
    Tensor x = draws.randn({batch, horizon_steps_, action_dim_});
    std::vector<Tensor> chain;
    if (ft_denoising_steps_ == steps) chain.push_back(x);
    for (int64_t i = 0; i < steps; i++) {
        const int64_t t = step_time(i);
        const MeanVar step = p_mean_var(x, torch::full({batch}, t, torch::kInt64), cond,
                                        torch::full({batch}, i, torch::kInt64), mode);
        const Tensor std = noise_std(step, t, mode.deterministic);
        const Tensor noise = sample_noise(x, draws);
        x = clip_final(step.mu + std * noise, i);
        // With DDPM t counts down to 0: both keep the last K' + 1 samples.
        if (use_ddim_ ? i >= ddim_steps_ - ft_denoising_steps_ - 1 : t <= ft_denoising_steps_)
            chain.push_back(x);
    }
    return {x, torch::stack(chain, 1)};
}

Tensor VPGDiffusion::fine_tuned_times() const {
    if (use_ddim_) return schedule_.ddim_t.slice(0, ddim_steps_ - ft_denoising_steps_);
    return torch::arange(ft_denoising_steps_ - 1, -1, -1, torch::kInt64);
}

Tensor VPGDiffusion::fine_tuned_indices() const {
    if (!use_ddim_) return Tensor();
    return torch::arange(ddim_steps_ - ft_denoising_steps_, ddim_steps_, torch::kInt64);
}

VPGDiffusion::LogProbs VPGDiffusion::log_probs(const Tensor &chains_prev, const Tensor &chains_next,
                                               const Tensor &t, const Cond &cond, const Tensor &index,
                                               bool use_base_policy) {
    const MeanVar next = p_mean_var(chains_prev, t, cond, index, {false, use_base_policy});
    const Tensor std = torch::clamp(torch::exp(0.5 * next.logvar), min_logprob_denoising_std_);
    // Normal() expands its arguments to one shape.
    const auto both = torch::broadcast_tensors({next.mu, std});
    return {normal_log_prob(chains_next, both[0], both[1]), next.eta};
}

VPGDiffusion::LogProbs VPGDiffusion::get_logprobs(const Cond &cond, const Tensor &chains,
                                                  bool use_base_policy) {
    const int64_t batch = chains.size(0);
    const Tensor t = fine_tuned_times().repeat({batch, 1}).flatten();
    const Tensor indices = use_ddim_ ? fine_tuned_indices().repeat({batch}) : Tensor();
    const Tensor prev = chains.slice(1, 0, -1).reshape({-1, horizon_steps_, action_dim_});
    const Tensor next = chains.slice(1, 1).reshape({-1, horizon_steps_, action_dim_});
    return log_probs(prev, next, t, cond.repeat_interleave(ft_denoising_steps_), indices, use_base_policy);
}

VPGDiffusion::LogProbs VPGDiffusion::get_logprobs_subsample(const Cond &cond, const Tensor &chains_prev,
                                                            const Tensor &chains_next,
                                                            const Tensor &denoising_inds,
                                                            bool use_base_policy) {
    const Tensor t = fine_tuned_times().index({denoising_inds});
    const Tensor indices = use_ddim_ ? fine_tuned_indices().index({denoising_inds}) : Tensor();
    return log_probs(chains_prev, chains_next, t, cond, indices, use_base_policy);
}

VPGDiffusion::Reinforce VPGDiffusion::loss(const Cond &cond, const Tensor &chains, const Tensor &reward) {
    Tensor value;
    {
        torch::NoGradGuard no_grad;
        value = critic_->forward(cond).squeeze();
    }
    const Tensor advantage = reward - value;
    const LogProbs found = get_logprobs(cond, chains);
    Tensor logprobs = found.log_prob.slice(2, 0, action_dim_).sum(-1);
    logprobs = logprobs.reshape({-1, denoising_steps_, horizon_steps_}).mean(-2).mean(-1);
    const Tensor loss_actor = torch::mean(-logprobs * advantage);
    const Tensor loss_critic = torch::mse_loss(critic_->forward(cond).squeeze(), reward);
    return {loss_actor, loss_critic, found.eta};
}

// -- PPODiffusion
// ----------------------------------------------------------------------------------------------------

Tensor ppo_value_loss(const Tensor &newvalues, const Tensor &oldvalues, const Tensor &returns,
                      const std::optional<double> &clip_vloss_coef) {
    const Tensor unclipped = (newvalues - returns).pow(2);
    if (!clip_vloss_coef) return 0.5 * unclipped.mean();
    const Tensor near = oldvalues + torch::clamp(newvalues - oldvalues, -*clip_vloss_coef, *clip_vloss_coef);
    return 0.5 * torch::max(unclipped, (near - returns).pow(2)).mean();
}

PPODiffusion::PPODiffusion(const Config &config, dppo_generator *weights)
    : VPGDiffusion(config, weights), gamma_denoising_(config.number("gamma_denoising")),
      clip_ploss_coef_(config.number("clip_ploss_coef")),
      clip_ploss_coef_base_(config.number("clip_ploss_coef_base", 1e-3)),
      clip_ploss_coef_rate_(config.number("clip_ploss_coef_rate", 3)),
      lower_quantile_(config.number("clip_advantage_lower_quantile", 0)),
      upper_quantile_(config.number("clip_advantage_upper_quantile", 1)),
      clip_vloss_coef_(optional_number(config, "clip_vloss_coef")), norm_adv_(config.flag("norm_adv", true)) {
}

// gamma^(K' - i - 1): the original raises a rank-0 tensor for each row, so the table is made of such powers.
static Tensor discount_table(double gamma, int64_t steps) {
    std::vector<Tensor> powers;
    const Tensor base = torch::full({}, gamma);
    for (int64_t i = 0; i < steps; i++)
        powers.push_back(torch::pow(base, torch::full({}, steps - i - 1, torch::kInt64)));
    return torch::stack(powers);
}

Tensor PPODiffusion::scaled_advantages(Tensor advantages, const Tensor &denoising_inds) const {
    if (norm_adv_) {
        /* Two statements: C++ may evaluate the divisor first, Python does not, and gradients add up in that
         * order. */
        const Tensor centred = advantages - advantages.mean();
        advantages = centred / (advantages.std(true) + 1e-8);
    }
    const Tensor low = torch::quantile(advantages, lower_quantile_);
    const Tensor high = torch::quantile(advantages, upper_quantile_);
    advantages = torch::clamp(advantages, low, high);
    return advantages * discount_table(gamma_denoising_, ft_denoising_steps_).index({denoising_inds});
}

// From clip_ploss_coef_base at the noisiest fine-tuned step up to clip_ploss_coef, exponentially. With one
// step the original divides 0 by 0 here, and so do we.
Tensor PPODiffusion::clip_coefficient(const Tensor &denoising_inds) const {
    const Tensor t = denoising_inds.to(torch::get_default_dtype()) / (ft_denoising_steps_ - 1);
    if (ft_denoising_steps_ <= 1) return t;
    return clip_ploss_coef_base_ + (clip_ploss_coef_ - clip_ploss_coef_base_) *
                                       (torch::exp(clip_ploss_coef_rate_ * t) - 1) /
                                       (std::exp(clip_ploss_coef_rate_) - 1);
}

// Eqn. 2 of arXiv 2403.03949: raise the probability of what the base policy would do in these states.
Tensor PPODiffusion::behaviour_cloning_loss(const Cond &cond, Draws &draws) {
    const Samples samples = forward(cond, draws, {false, true});
    Tensor logprobs = get_logprobs(cond, samples.chains).log_prob;
    logprobs = logprobs.clamp(-5, 2).mean({-1, -2}).view(-1);
    return -logprobs.mean();
}

PpoLoss PPODiffusion::loss(const DiffusionBatch &b, bool use_bc_loss, int64_t reward_horizon, Draws &draws) {
    PpoLoss result;
    const LogProbs found = get_logprobs_subsample(b.cond, b.chains_prev, b.chains_next, b.denoising_inds);
    result.entropy_loss = -found.eta.mean();
    // Only the executed actions of the chunk count.
    const auto chunk_mean = [&](const Tensor &logprobs) {
        return logprobs.clamp(-5, 2).slice(1, 0, reward_horizon).mean({-1, -2}).view(-1);
    };
    const Tensor newlogprobs = chunk_mean(found.log_prob), oldlogprobs = chunk_mean(b.oldlogprobs);
    if (use_bc_loss) result.bc_loss = behaviour_cloning_loss(b.cond, draws);

    const Tensor advantages = scaled_advantages(b.advantages, b.denoising_inds);
    const Tensor logratio = newlogprobs - oldlogprobs;
    const Tensor ratio = logratio.exp();
    const Tensor clip = clip_coefficient(b.denoising_inds);
    {
        torch::NoGradGuard no_grad;
        result.approx_kl = ((ratio - 1) - logratio).mean().item<double>();
        const Tensor clipped = (ratio - 1.0).abs() > clip;
        result.clipfrac = clipped.to(torch::get_default_dtype()).mean().item<double>();
    }
    const Tensor loss1 = -advantages * ratio;
    const Tensor loss2 = -advantages * torch::clamp(ratio, 1 - clip, 1 + clip);
    result.pg_loss = torch::max(loss1, loss2).mean();
    const Tensor newvalues = critic_->forward(b.cond).view(-1);
    result.v_loss = ppo_value_loss(newvalues, b.oldvalues, b.returns, clip_vloss_coef_);
    result.ratio = ratio.mean().item<double>();
    result.eta_or_std = found.eta.mean().item<double>();
    return result;
}

// -- DiffusionEval
// -----------------------------------------------------------------------------------------------------

DiffusionEval::DiffusionEval(const Config &config, dppo_generator *weights)
    : DiffusionModel(config, weights), ft_denoising_steps_(config.integer("ft_denoising_steps")) {
    const Checkpoint checkpoint(config.text("network_path"));
    register_module("actor", network_);
    if (!checkpoint.has("model/actor.")) {
        if (ft_denoising_steps_ != 0)
            invalid("ft_denoising_steps: must be 0, " + config.text("network_path") +
                    " has no fine-tuned actor");
        load_state(*network_, checkpoint.named(), "model/network.", true);
        return;
    }
    load_state(*network_, checkpoint.named(), "model/actor.", true);
    actor_ft_ = register_module("actor_ft", deepcopy(*network_));
    load_state(*actor_ft_, checkpoint.named(), "model/actor_ft.", true);
}

MeanVar DiffusionEval::p_mean_var(const Tensor &x, const Tensor &t, const Cond &cond, const Tensor &index,
                                  Mode mode) {
    const Tensor rows = fine_tuned_rows(t, index, ft_denoising_steps_);
    NoiseNetwork &actor = actor_ft_ ? *actor_ft_ : *network_;
    const Denoised d = denoise(x, t, index, mixed_noise(*network_, actor, rows, x, t, cond));
    if (!use_ddim_) return ddpm_mean(x, t, d.x_recon);
    if (!mode.deterministic) invalid("DiffusionEval: has no eta, DDIM samples only deterministically");
    MeanVar result = ddim_mean_eta(d, torch::zeros({x.size(0), 1, 1}));
    result.eta = Tensor();
    return result;
}

} // namespace shim

extern "C" void shim_skip_frozen(bool skip) {
    shim::skip_frozen = skip;
}

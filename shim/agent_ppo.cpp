// The update half of the original's PPO agents: TrainPPOAgent, TrainPPODiffusionAgent, TrainPPOGaussianAgent.
//
// What the original holds in numpy arrays is float64 here too, and is cast to float32 where it makes tensors.
#include "agent.h"

extern "C" {
#include "algorithms/phases.h"
}

#include <cmath>

namespace shim {

namespace {

struct PpoOptions {
    explicit PpoOptions(const Config &config);
    int64_t n_envs, batch_size, logprob_batch_size, update_epochs, n_critic_warmup_itr;
    double gamma, gae_lambda, ent_coef, vf_coef, bc_loss_coeff, reward_scale_const;
    std::optional<double> target_kl, max_grad_norm;
    bool reward_scale_running, use_bc_loss;
};

PpoOptions::PpoOptions(const Config &config) : n_envs(config.integer("env.n_envs")) {
    const Config train = config.at("train");
    batch_size = train.integer("batch_size");
    logprob_batch_size = train.integer("logprob_batch_size", 10000);
    update_epochs = train.integer("update_epochs");
    n_critic_warmup_itr = train.integer("n_critic_warmup_itr");
    gamma = train.number("gamma");
    gae_lambda = train.number("gae_lambda", 0.95);
    ent_coef = train.number("ent_coef", 0);
    vf_coef = train.number("vf_coef", 0);
    bc_loss_coeff = train.number("bc_loss_coeff", 0);
    reward_scale_const = train.number("reward_scale_const", 1);
    target_kl = optional_number(train, "target_kl");
    max_grad_norm = optional_number(train, "max_grad_norm");
    if (!train.has("reward_scale_running")) invalid("train.reward_scale_running: missing");
    reward_scale_running = train.flag("reward_scale_running", false);
    use_bc_loss = train.flag("use_bc_loss", false);
    if (batch_size < 1) invalid("train.batch_size: must be positive, is " + std::to_string(batch_size));
    if (n_envs < 1 || logprob_batch_size < 1 || logprob_batch_size % n_envs != 0)
        invalid("train.logprob_batch_size: " + std::to_string(logprob_batch_size) + " is no multiple of " +
                std::to_string(n_envs) + " environments");
}

// One iteration's data as minibatches index it; all float32 with R rows.
struct Data {
    Tensor state, chains, returns, values, advantages, logprobs;
};

std::vector<double> to_vector(const Tensor &tensor) {
    const Tensor values = tensor.to(torch::kFloat64).contiguous();
    return std::vector<double>(values.data_ptr<double>(), values.data_ptr<double>() + values.numel());
}

std::vector<float> to_floats(const Tensor &tensor) {
    return std::vector<float>(tensor.data_ptr<float>(), tensor.data_ptr<float>() + tensor.numel());
}

Tensor to_float32(const std::vector<double> &values) {
    return torch::tensor(values, torch::kFloat64).to(torch::kFloat32);
}

class PpoAgent : public Agent {
  public:
    PpoAgent(const Config &config) : Agent(config), options_(config), scaler_(options_.n_envs) {}

    void update(int64_t itr, const dppo_rollout &rollout, dppo_update_metrics *metrics,
                dppo_trace *trace) override;
    void end_iteration(int64_t itr) override;
    void save(dppo_named *state) const override;
    void load(const dppo_named *state) override;

  protected:
    void make_optimizers(const Config &config);
    void make_eta_optimizer(const Config &train, torch::nn::Module &eta);
    virtual torch::nn::Module &actor() = 0; // as it is now: annealing replaces it
    virtual Critic &critic() = 0;
    virtual int64_t pairs_per_row() const = 0; // how many indices a row has in the permutation
    virtual Tensor old_logprobs(const Tensor &state, const Tensor &chains) = 0;
    virtual PpoLoss minibatch_loss(const Data &data, const Tensor &indices) = 0;
    virtual void policy_metrics(double eta_or_std, dppo_update_metrics *metrics) = 0;

    PpoOptions options_;

    std::unique_ptr<Trained> actor_trained_, critic_trained_;
    std::unique_ptr<Trained> eta_trained_; // with learn_eta
    int64_t eta_update_interval_ = 1;

  private:
    Data prepare(const dppo_rollout &rollout);
    std::vector<double> scaled_reward(const dppo_rollout &rollout);
    Tensor in_pieces(const Tensor &state, const std::function<Tensor(const Tensor &, int64_t)> &body) const;
    dppo_trace_row minibatch_step(const Data &data, const Tensor &indices, bool train_actor);
    double explained_variance(const Data &data) const;

    RewardScaler scaler_;
    dppo_stopwatch watch_ = {}; // of the update under way
};

void PpoAgent::make_optimizers(const Config &config) {
    const Config train = config.at("train");
    actor_trained_ =
        std::make_unique<Trained>(actor().parameters(), train.number("actor_lr"),
                                  train.number("actor_weight_decay"), train.at("actor_lr_scheduler"));
    critic_trained_ =
        std::make_unique<Trained>(critic().parameters(), train.number("critic_lr"),
                                  train.number("critic_weight_decay"), train.at("critic_lr_scheduler"));
}

void PpoAgent::make_eta_optimizer(const Config &train, torch::nn::Module &eta) {
    eta_update_interval_ = train.integer("eta_update_interval");
    if (eta_update_interval_ < 1) invalid("train.eta_update_interval: must be at least 1");
    eta_trained_ = std::make_unique<Trained>(eta.parameters(), train.number("eta_lr"),
                                             train.number("eta_weight_decay"), train.at("eta_lr_scheduler"));
}

// body(rows of state, first row) over pieces of logprob_batch_size rows, joined.
Tensor PpoAgent::in_pieces(const Tensor &state,
                           const std::function<Tensor(const Tensor &, int64_t)> &body) const {
    std::vector<Tensor> pieces;
    int64_t begin = 0;
    for (const Tensor &piece : torch::split(state, options_.logprob_batch_size)) {
        pieces.push_back(body(piece, begin));
        begin += piece.size(0);
    }
    return torch::cat(pieces);
}

// The scaler works on (N, T): rewards of an environment in a row.
std::vector<double> PpoAgent::scaled_reward(const dppo_rollout &r) {
    const auto view = [&](const double *values) {
        return torch::from_blob(const_cast<double *>(values), {r.n_steps, r.n_envs}, torch::kFloat64);
    };
    if (!options_.reward_scale_running) return to_vector(view(r.reward));
    const auto scaled = scaler_.scale(to_vector(view(r.reward).t()), to_vector(view(r.firsts).t()));
    return to_vector(torch::tensor(scaled, torch::kFloat64).view({r.n_envs, r.n_steps}).t());
}

Data PpoAgent::prepare(const dppo_rollout &r) {
    torch::NoGradGuard no_grad;
    dppo_stopwatch_start(&watch_);
    const int64_t rows = r.n_steps * r.n_envs;
    Data data;
    data.state = observations(rows, r.obs);
    data.chains = torch::from_blob(const_cast<float *>(r.chains),
                                   {rows, r.chain_length, horizon_steps_, action_dim_}, torch::kFloat32)
                      .clone();
    data.values =
        in_pieces(data.state, [&](const Tensor &state, int64_t) { return critic().forward(state).view(-1); });
    dppo_lap(&watch_, &watch_.spent.values_seconds);
    data.logprobs = in_pieces(data.state, [&](const Tensor &state, int64_t begin) {
        return old_logprobs(state, data.chains.slice(0, begin, begin + state.size(0)));
    });
    dppo_lap(&watch_, &watch_.spent.logprobs_seconds);
    const std::vector<double> reward = scaled_reward(r), values = to_vector(data.values);
    // numpy multiplies the float32 values after the last step by gamma in float32, all others in float64.
    const Tensor last_value = critic().forward(observations(r.n_envs, r.last_obs)).view(-1);
    const std::vector<double> discounted = to_vector(last_value * options_.gamma);
    const std::vector<double> advantages =
        gae({r.n_steps, r.n_envs, options_.gamma, options_.gae_lambda, options_.reward_scale_const,
             reward.data(), r.terminated, values.data(), discounted.data()});
    std::vector<double> returns(advantages);
    for (size_t i = 0; i < returns.size(); i++)
        returns[i] += values[i];
    data.advantages = to_float32(advantages);
    data.returns = to_float32(returns);
    dppo_lap(&watch_, &watch_.spent.advantages_seconds);
    return data;
}

// Of the losses of a minibatch: gradients, clipping, steps.
dppo_trace_row PpoAgent::minibatch_step(const Data &data, const Tensor &indices, bool train_actor) {
    const PpoLoss parts = minibatch_loss(data, indices);
    Tensor loss = parts.pg_loss + parts.entropy_loss * options_.ent_coef + parts.v_loss * options_.vf_coef;
    if (parts.bc_loss.defined()) loss = loss + parts.bc_loss * options_.bc_loss_coeff;
    dppo_lap(&watch_, &watch_.spent.forward_seconds);
    actor_trained_->zero_grad();
    critic_trained_->zero_grad();
    if (eta_trained_) eta_trained_->zero_grad();
    loss.backward();
    dppo_lap(&watch_, &watch_.spent.backward_seconds);
    dppo_trace_row row = {};
    row.pg_loss = parts.pg_loss.item<double>();
    row.entropy_loss = parts.entropy_loss.item<double>();
    row.v_loss = parts.v_loss.item<double>();
    row.bc_loss = parts.bc_loss.defined() ? parts.bc_loss.item<double>() : 0;
    row.loss = loss.item<double>();
    row.clipfrac = parts.clipfrac;
    row.approx_kl = parts.approx_kl;
    row.ratio = parts.ratio;
    row.eta_or_std = parts.eta_or_std;
    row.actor_grad_norm = actor_trained_->grad_norm();
    row.critic_grad_norm = critic_trained_->grad_norm();
    if (train_actor) {
        if (options_.max_grad_norm)
            torch::nn::utils::clip_grad_norm_(actor().parameters(), *options_.max_grad_norm);
        actor_trained_->step();
    }
    critic_trained_->step();
    return row;
}

// 1 - Var(returns - values) / Var(returns), as numpy has it for float32.
double PpoAgent::explained_variance(const Data &data) const {
    const float variance = numpy_var(to_floats(data.returns));
    if (variance == 0) return NAN;
    return static_cast<double>(1 - numpy_var(to_floats(data.returns - data.values)) / variance);
}

void PpoAgent::update(int64_t itr, const dppo_rollout &rollout, dppo_update_metrics *metrics,
                      dppo_trace *trace) {
    if (rollout.n_envs != options_.n_envs)
        invalid("update: a rollout of " + std::to_string(rollout.n_envs) + " environments, env.n_envs is " +
                std::to_string(options_.n_envs));
    const Data data = prepare(rollout);
    const int64_t total = rollout.n_steps * rollout.n_envs * pairs_per_row();
    const int64_t batches = std::max<int64_t>(1, total / options_.batch_size); // an incomplete one is skipped
    dppo_trace_row row = {};
    double clipfracs = 0;
    int64_t minibatches = 0;
    bool stop = false;
    for (int64_t epoch = 0; epoch < options_.update_epochs && !stop; epoch++) {
        const Tensor permutation = draws_.randperm(total);
        for (int64_t b = 0; b < batches && !stop; b++) {
            const int64_t start = b * options_.batch_size;
            const Tensor indices = permutation.slice(0, start, start + options_.batch_size);
            const bool train_actor = itr >= options_.n_critic_warmup_itr;
            row = minibatch_step(data, indices, train_actor);
            if (eta_trained_ && train_actor && b % eta_update_interval_ == 0) eta_trained_->step();
            dppo_lap(&watch_, &watch_.spent.optimizer_seconds);
            if (trace != nullptr) check(dppo_trace_add(trace, &row));
            clipfracs += row.clipfrac;
            minibatches++;
            stop = options_.target_kl && row.approx_kl > *options_.target_kl;
        }
    }
    *metrics = {};
    metrics->loss = row.loss;
    metrics->pg_loss = row.pg_loss;
    metrics->value_loss = row.v_loss;
    metrics->approx_kl = row.approx_kl;
    metrics->ratio = row.ratio;
    metrics->clipfrac = clipfracs / static_cast<double>(minibatches);
    metrics->explained_variance = explained_variance(data);
    metrics->actor_lr = actor_trained_->lr();
    metrics->critic_lr = critic_trained_->lr();
    metrics->bc_loss = row.bc_loss;
    metrics->entropy = -row.entropy_loss;
    metrics->std = metrics->eta = metrics->min_sampling_std = NAN;
    policy_metrics(row.eta_or_std, metrics);
    dppo_lap(&watch_, &watch_.spent.advantages_seconds); // their explained variance
    metrics->phases = watch_.spent;
}

void PpoAgent::end_iteration(int64_t itr) {
    const bool train_actor = itr >= options_.n_critic_warmup_itr;
    if (train_actor) actor_trained_->step_schedule();
    if (train_actor && eta_trained_) eta_trained_->step_schedule();
    critic_trained_->step_schedule();
}

void PpoAgent::save(dppo_named *state) const {
    Agent::save(state);
    actor_trained_->save("actor_", state);
    critic_trained_->save("critic_", state);
    if (eta_trained_) eta_trained_->save("eta_", state);
    if (!options_.reward_scale_running) return;
    put(state, "reward_scaler/ret", torch::tensor(scaler_.ret, torch::kFloat64));
    check(dppo_named_put_f64(state, "reward_scaler/mean", scaler_.mean));
    check(dppo_named_put_f64(state, "reward_scaler/var", scaler_.var));
    check(dppo_named_put_f64(state, "reward_scaler/count", scaler_.count));
}

std::vector<double> required_numbers(const dppo_named *state, const char *name, size_t count) {
    dppo_tensor *tensor = nullptr;
    check(dppo_named_require(state, name, DPPO_F64, &tensor));
    const std::vector<double> values = to_vector(from_c(tensor));
    if (values.size() != count)
        invalid(std::string(name) + ": " + std::to_string(values.size()) + " numbers, not " +
                std::to_string(count));
    return values;
}

void PpoAgent::load(const dppo_named *state) {
    Agent::load(state);
    actor_trained_->load("actor_", state);
    critic_trained_->load("critic_", state);
    if (eta_trained_) eta_trained_->load("eta_", state);
    if (!options_.reward_scale_running) return;
    scaler_.ret = required_numbers(state, "reward_scaler/ret", scaler_.ret.size());
    scaler_.mean = required_numbers(state, "reward_scaler/mean", 1)[0];
    scaler_.var = required_numbers(state, "reward_scaler/var", 1)[0];
    scaler_.count = required_numbers(state, "reward_scaler/count", 1)[0];
}

// -- DPPO
// ----------------------------------------------------------------------------------------------------------

class TrainPPODiffusionAgent : public PpoAgent {
  public:
    explicit TrainPPODiffusionAgent(const Config &config)
        : PpoAgent(config), model_(std::make_shared<PPODiffusion>(config.at("model"), generator_.get())),
          reward_horizon_(config.integer("reward_horizon", config.integer("act_steps", horizon_steps_))) {
        make_optimizers(config);
        if (!config.at("model").flag("learn_eta", false)) return;
        const auto children = model_->named_children();
        if (!children.contains("eta")) invalid("model.learn_eta: model.eta is missing");
        make_eta_optimizer(config.at("train"), *children["eta"]);
    }

    Samples act(const Tensor &state, bool deterministic) override {
        return model_->forward(state, draws_, {deterministic, false});
    }

    void update(int64_t itr, const dppo_rollout &rollout, dppo_update_metrics *metrics,
                dppo_trace *trace) override {
        if (rollout.chain_length != model_->ft_denoising_steps() + 1)
            invalid("update: chains of " + std::to_string(rollout.chain_length) +
                    " samples, ft_denoising_steps is " + std::to_string(model_->ft_denoising_steps()));
        PpoAgent::update(itr, rollout, metrics, trace);
    }

    void end_iteration(int64_t itr) override {
        PpoAgent::end_iteration(itr);
        model_->step();
    }

    void save(dppo_named *state) const override {
        PpoAgent::save(state);
        check(dppo_named_put_i64(state, "ft_denoising_steps_cnt", model_->annealing_count()));
    }

    // Annealing replaces networks: it is repeated up to the saved count before values are loaded.
    void load(const dppo_named *state) override {
        dppo_tensor *count = nullptr;
        check(dppo_named_require(state, "ft_denoising_steps_cnt", DPPO_I64, &count));
        const int64_t target = from_c(count).item<int64_t>();
        if (target < model_->annealing_count())
            invalid("ft_denoising_steps_cnt: the state is older than this agent, load it into a fresh one");
        const Tensor before = actor().parameters()[0];
        while (model_->annealing_count() < target)
            model_->step();
        // The optimizer's own parameters have left the fine-tuned actor, with a gradient of zeros.
        if (!before.is_same(actor().parameters()[0])) actor_trained_->keep_zero_gradients();
        PpoAgent::load(state);
    }

  protected:
    torch::nn::Module &model() override {
        return *model_;
    }
    torch::nn::Module &actor() override {
        return model_->actor_ft();
    }
    Critic &critic() override {
        return model_->critic();
    }
    int64_t pairs_per_row() const override {
        return model_->ft_denoising_steps();
    }

    // (rows, K', Ta, Da)
    Tensor old_logprobs(const Tensor &state, const Tensor &chains) override {
        const Tensor logprobs = model_->get_logprobs(state, chains).log_prob;
        return logprobs.view({chains.size(0), model_->ft_denoising_steps(), horizon_steps_, action_dim_});
    }

    PpoLoss minibatch_loss(const Data &data, const Tensor &indices) override {
        const Tensor row = torch::div(indices, pairs_per_row(), "floor");
        const Tensor step = torch::remainder(indices, pairs_per_row());
        const DiffusionBatch batch = {data.state.index({row}),
                                      data.chains.index({row, step}),
                                      data.chains.index({row, step + 1}),
                                      step,
                                      data.returns.index({row}),
                                      data.values.index({row}),
                                      data.advantages.index({row}),
                                      data.logprobs.index({row, step})};
        return model_->loss(batch, options_.use_bc_loss, reward_horizon_, draws_);
    }

    void policy_metrics(double eta_or_std, dppo_update_metrics *metrics) override {
        metrics->entropy = NAN;
        metrics->eta = eta_or_std;
        metrics->min_sampling_std = model_->min_sampling_denoising_std();
    }

  private:
    std::shared_ptr<PPODiffusion> model_;
    int64_t reward_horizon_;
};

// -- PPO with a Gaussian policy
// ------------------------------------------------------------------------------------

class TrainPPOGaussianAgent : public PpoAgent {
  public:
    explicit TrainPPOGaussianAgent(const Config &config)
        : PpoAgent(config), model_(std::make_shared<PPO_Gaussian>(config.at("model"), generator_.get())) {
        make_optimizers(config);
    }

    Samples act(const Tensor &state, bool deterministic) override {
        const Tensor action = model_->forward(state, draws_, {deterministic, false});
        return {action, action.unsqueeze(1)};
    }

  protected:
    torch::nn::Module &model() override {
        return *model_;
    }
    torch::nn::Module &actor() override {
        return model_->actor_ft();
    }
    Critic &critic() override {
        return model_->critic();
    }
    int64_t pairs_per_row() const override {
        return 1;
    }
    Tensor old_logprobs(const Tensor &state, const Tensor &chains) override {
        return model_->get_logprobs(state, chains.select(1, 0)).log_prob;
    }

    PpoLoss minibatch_loss(const Data &data, const Tensor &row) override {
        const GaussianBatch batch = {data.state.index({row}),      data.chains.select(1, 0).index({row}),
                                     data.returns.index({row}),    data.values.index({row}),
                                     data.advantages.index({row}), data.logprobs.index({row})};
        return model_->loss(batch, options_.use_bc_loss, draws_);
    }

    void policy_metrics(double eta_or_std, dppo_update_metrics *metrics) override {
        metrics->bc_loss = NAN;
        metrics->std = eta_or_std;
    }

  private:
    std::shared_ptr<PPO_Gaussian> model_;
};

} // namespace

std::unique_ptr<Agent> make_ppo_diffusion_agent(const Config &config) {
    return std::make_unique<TrainPPODiffusionAgent>(config);
}

std::unique_ptr<Agent> make_ppo_gaussian_agent(const Config &config) {
    return std::make_unique<TrainPPOGaussianAgent>(config);
}

} // namespace shim

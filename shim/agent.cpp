#include "agent.h"

#include <cmath>
#include <cstring>

namespace shim {

// -- draws
// ---------------------------------------------------------------------------------------------------------

// A C tensor over the memory of a contiguous torch tensor.
static dppo_tensor view_of(const Tensor &tensor, dppo_dtype dtype) {
    dppo_tensor view = {};
    view.dtype = dtype;
    view.ndim = static_cast<int>(tensor.dim());
    std::copy(tensor.sizes().begin(), tensor.sizes().end(), view.shape);
    std::copy(tensor.strides().begin(), tensor.strides().end(), view.stride);
    view.data = tensor.data_ptr();
    return view;
}

Tensor GeneratorDraws::randn(const Shape &shape) {
    Tensor out = torch::empty(shape, torch::kFloat32);
    dppo_tensor view = view_of(out, DPPO_F32);
    check(dppo_draw_randn(generator_, &view));
    return out;
}

Tensor GeneratorDraws::rand(const Shape &shape) {
    Tensor out = torch::empty(shape, torch::kFloat32);
    dppo_tensor view = view_of(out, DPPO_F32);
    check(dppo_draw_rand(generator_, &view));
    return out;
}

Tensor GeneratorDraws::randint(int64_t low, int64_t high, const Shape &shape) {
    Tensor out = torch::empty(shape, torch::kInt64);
    dppo_tensor view = view_of(out, DPPO_I64);
    check(dppo_draw_randint(generator_, &view, low, high));
    return out;
}

Tensor GeneratorDraws::randperm(int64_t n) {
    Tensor out = torch::empty({n}, torch::kInt64);
    dppo_tensor view = view_of(out, DPPO_I64);
    check(dppo_draw_randperm(generator_, &view));
    return out;
}

Tensor GeneratorDraws::multinomial(const Tensor &probabilities, int64_t samples, bool replacement) {
    const Tensor from = probabilities.detach().to(torch::kFloat32).contiguous();
    Tensor out = torch::empty(from.dim() == 1 ? Shape{samples} : Shape{from.size(0), samples}, torch::kInt64);
    const dppo_tensor source = view_of(from, DPPO_F32);
    dppo_tensor view = view_of(out, DPPO_I64);
    check(dppo_draw_multinomial(generator_, &source, replacement, &view));
    return out;
}

double GeneratorDraws::np_uniform() {
    return dppo_random_double(generator_);
}

// -- trained parameters
// --------------------------------------------------------------------------------------------

Trained::Trained(const std::vector<Tensor> &parameters, double lr, double weight_decay,
                 const Config &schedule)
    : parameters_(parameters), schedule_(schedule.integer("first_cycle_steps"), 1.0, lr,
                                         schedule.number("min_lr"), schedule.integer("warmup_steps"), 1.0),
      optimizer_(parameters, torch::optim::AdamWOptions(schedule_.lr()).weight_decay(weight_decay)) {}

void Trained::set_lr(double lr) {
    for (auto &group : optimizer_.param_groups())
        static_cast<torch::optim::AdamWOptions &>(group.options()).lr(lr);
}

double Trained::lr() const {
    return static_cast<const torch::optim::AdamWOptions &>(optimizer_.param_groups()[0].options()).lr();
}

void Trained::keep_zero_gradients() {
    for (Tensor &parameter : parameters_)
        if (!parameter.grad().defined()) parameter.mutable_grad() = torch::zeros_like(parameter);
}

void Trained::step_schedule() {
    schedule_.step();
    set_lr(schedule_.lr());
}

// A diagnostic of ours: squares added one by one in float64, which leaves no order to choose.
double Trained::grad_norm() const {
    double sum = 0;
    for (const Tensor &parameter : parameters_) {
        if (!parameter.grad().defined()) continue;
        const Tensor grad = parameter.grad().to(torch::kFloat64).contiguous();
        const double *values = grad.data_ptr<double>();
        for (int64_t i = 0, count = grad.numel(); i < count; i++)
            sum += values[i] * values[i];
    }
    return std::sqrt(sum);
}

static std::string state_key(const Tensor &parameter) {
    return c10::guts::to_string(parameter.unsafeGetTensorImpl());
}

// A parameter that was never stepped is saved as one of step 0 with zero moments.
void Trained::save(const std::string &name, dppo_named *state) const {
    const std::string prefix = name + "optimizer/";
    for (size_t i = 0; i < parameters_.size(); i++) {
        const auto place = optimizer_.state().find(state_key(parameters_[i]));
        const Tensor zeros = torch::zeros_like(parameters_[i].detach());
        int64_t step = 0;
        Tensor exp_avg = zeros, exp_avg_sq = zeros;
        if (place != optimizer_.state().end()) {
            const auto &moments = static_cast<const torch::optim::AdamWParamState &>(*place->second);
            step = moments.step();
            exp_avg = moments.exp_avg();
            exp_avg_sq = moments.exp_avg_sq();
        }
        const std::string index = prefix + std::to_string(i);
        check(dppo_named_put_i64(state, (index + "/step").c_str(), step));
        put(state, index + "/exp_avg", exp_avg);
        put(state, index + "/exp_avg_sq", exp_avg_sq);
    }
    check(dppo_named_put_f64(state, (prefix + "lr").c_str(), lr()));
    check(dppo_lr_schedule_save(&schedule_.fields(), (name + "lr_scheduler/").c_str(), state));
}

static Tensor required(const dppo_named *state, const std::string &name, dppo_dtype dtype) {
    dppo_tensor *tensor = nullptr;
    check(dppo_named_require(state, name.c_str(), dtype, &tensor));
    return from_c(tensor);
}

static Tensor moment(const dppo_named *state, const std::string &name, const Tensor &parameter) {
    const Tensor value = required(state, name, DPPO_F32);
    if (value.sizes() != parameter.sizes())
        invalid(name + ": shape " + c10::str(value.sizes()) + ", the parameter's is " +
                c10::str(parameter.sizes()));
    return value;
}

void Trained::load(const std::string &name, const dppo_named *state) {
    const std::string prefix = name + "optimizer/";
    for (size_t i = 0; i < parameters_.size(); i++) {
        const std::string index = prefix + std::to_string(i);
        const int64_t step = required(state, index + "/step", DPPO_I64).item<int64_t>();
        optimizer_.state().erase(state_key(parameters_[i]));
        if (step == 0) continue;
        auto moments = std::make_unique<torch::optim::AdamWParamState>();
        moments->step(step);
        moments->exp_avg(moment(state, index + "/exp_avg", parameters_[i]));
        moments->exp_avg_sq(moment(state, index + "/exp_avg_sq", parameters_[i]));
        optimizer_.state()[state_key(parameters_[i])] = std::move(moments);
    }
    set_lr(required(state, prefix + "lr", DPPO_F64).item<double>());
    check(dppo_lr_schedule_load(&schedule_.fields(), (name + "lr_scheduler/").c_str(), state));
}

// -- the base
// --------------------------------------------------------------------------------------------------------

Agent::Agent(const Config &config)
    : target_(config.target()), cond_steps_(config.integer("cond_steps", 1)),
      obs_dim_(config.integer("obs_dim")), horizon_steps_(config.integer("horizon_steps")),
      action_dim_(config.integer("action_dim")),
      generator_(dppo_generator_new(static_cast<uint64_t>(config.integer("seed", 42))), dppo_generator_free),
      draws_(generator_.get()) {
    if (generator_ == nullptr) throw std::bad_alloc();
}

void Agent::lacks(const char *what) const {
    throw Failure(DPPO_MISSING, target_ + ": has no " + what);
}

void Agent::update(int64_t, const dppo_rollout &, dppo_update_metrics *, dppo_trace *) {
    lacks("update");
}

void Agent::end_iteration(int64_t) {}

std::pair<double, double> Agent::pretrain_step(const Tensor &, const Tensor &, int) {
    lacks("pre-training step");
}

void Agent::pretrain_end_epoch() {
    lacks("pre-training epoch");
}

static void save_module(const torch::nn::Module &module, const std::string &prefix, dppo_named *state) {
    for (const auto &item : state_dict(module))
        put(state, prefix + item.first, item.second);
}

void Agent::save(dppo_named *state) const {
    save_module(const_cast<Agent *>(this)->model(), "model/", state);
    check(dppo_generator_save(generator_.get(), "generator/", state));
}

void Agent::load(const dppo_named *state) {
    load_state(model(), *state, "model/", true);
    check(dppo_generator_load(generator_.get(), "generator/", state));
}

static Tensor copied(const float *values, const Shape &shape) {
    return torch::from_blob(const_cast<float *>(values), shape, torch::kFloat32).clone();
}

Tensor Agent::observations(int64_t batch, const float *obs) const {
    return copied(obs, {batch, cond_steps_, obs_dim_});
}

Tensor Agent::chunks(int64_t batch, const float *actions) const {
    return copied(actions, {batch, horizon_steps_, action_dim_});
}

// -- evaluation and pre-training
// --------------------------------------------------------------------------------------

namespace {

std::shared_ptr<DiffusionModel> build_any_diffusion(const Config &config, dppo_generator *weights) {
    const std::string target = config.target();
    if (target == "DiffusionEval") return std::make_shared<DiffusionEval>(config, weights);
    if (target == "PPODiffusion") return std::make_shared<PPODiffusion>(config, weights);
    if (target == "VPGDiffusion") return std::make_shared<VPGDiffusion>(config, weights);
    if (target == "DiffusionModel") return build_diffusion_model(config, weights);
    throw Failure(DPPO_MISSING, "model._target_: libtorch side has no diffusion model \"" + target + "\"");
}

std::shared_ptr<GaussianModel> build_any_gaussian(const Config &config, dppo_generator *weights) {
    const std::string target = config.target();
    if (target == "PPO_Gaussian") return std::make_shared<PPO_Gaussian>(config, weights);
    if (target == "VPG_Gaussian") return std::make_shared<VPG_Gaussian>(config, weights);
    if (target == "GaussianModel") return build_gaussian_model(config, weights);
    throw Failure(DPPO_MISSING, "model._target_: libtorch side has no Gaussian model \"" + target + "\"");
}

class EvalDiffusionAgent : public Agent {
  public:
    explicit EvalDiffusionAgent(const Config &config)
        : Agent(config), model_(build_any_diffusion(config.at("model"), generator_.get())) {}
    Samples act(const Tensor &state, bool deterministic) override {
        return {model_->forward(state, draws_, {deterministic, false}).trajectories, Tensor()};
    }

  protected:
    torch::nn::Module &model() override {
        return *model_;
    }

  private:
    std::shared_ptr<DiffusionModel> model_;
};

class EvalGaussianAgent : public Agent {
  public:
    explicit EvalGaussianAgent(const Config &config)
        : Agent(config), model_(build_any_gaussian(config.at("model"), generator_.get())) {}
    Samples act(const Tensor &state, bool deterministic) override {
        torch::NoGradGuard no_grad;
        return {model_->GaussianModel::forward(state, draws_, deterministic, false, false).action, Tensor()};
    }

  protected:
    torch::nn::Module &model() override {
        return *model_;
    }

  private:
    std::shared_ptr<GaussianModel> model_;
};

// Supervised: the noise-prediction loss, with a running average of the weights beside the model.
class TrainDiffusionAgent : public Agent {
  public:
    explicit TrainDiffusionAgent(const Config &config)
        : Agent(config), model_(build_diffusion_model(config.at("model"), generator_.get())),
          ema_(std::make_shared<DiffusionModel>(config.at("model"), nullptr)),
          decay_(config.number("ema.decay")),
          trained_(model_->parameters(), config.number("train.learning_rate"),
                   config.number("train.weight_decay"), config.at("train.lr_scheduler")) {
        copy_values(*ema_, *model_);
    }

    Samples act(const Tensor &state, bool deterministic) override {
        return model_->forward(state, draws_, {deterministic, false});
    }

    std::pair<double, double> pretrain_step(const Tensor &actions, const Tensor &state,
                                            int ema_mode) override {
        const Tensor loss = model_->loss(actions, state, draws_);
        trained_.zero_grad();
        loss.backward();
        const std::pair<double, double> before = {loss.item<double>(), trained_.grad_norm()};
        trained_.step();
        if (ema_mode == 1) copy_values(*ema_, *model_);
        if (ema_mode == 2) average_values(*ema_, *model_, decay_);
        return before;
    }

    void pretrain_end_epoch() override {
        trained_.step_schedule();
    }

    void save(dppo_named *state) const override {
        Agent::save(state);
        save_module(*ema_, "ema/", state);
        trained_.save("", state);
    }

    void load(const dppo_named *state) override {
        Agent::load(state);
        load_state(*ema_, *state, "ema/", true);
        trained_.load("", state);
    }

  protected:
    torch::nn::Module &model() override {
        return *model_;
    }

  private:
    std::shared_ptr<DiffusionModel> model_, ema_;
    double decay_;
    Trained trained_;
};

template <class Kind> std::unique_ptr<Agent> make(const Config &config) {
    return std::make_unique<Kind>(config);
}

} // namespace

std::unique_ptr<Agent> make_agent(const Config &config) {
    static const std::map<std::string, std::unique_ptr<Agent> (*)(const Config &)> makers = {
        {"TrainPPODiffusionAgent", make_ppo_diffusion_agent},
        {"TrainPPOGaussianAgent", make_ppo_gaussian_agent},
        {"TrainDiffusionAgent", make<TrainDiffusionAgent>},
        {"EvalDiffusionAgent", make<EvalDiffusionAgent>},
        {"EvalGaussianAgent", make<EvalGaussianAgent>},
    };
    if (config.target().empty()) invalid("_target_: missing, it names the agent class");
    const auto maker = makers.find(config.target());
    if (maker == makers.end())
        throw Failure(DPPO_MISSING, "_target_: the torch side has no agent " + config.target());
    return maker->second(config);
}

// -- the C interface
// ---------------------------------------------------------------------------------------------------

static Agent &agent_of(dppo_agent *agent) {
    return *reinterpret_cast<Agent *>(agent);
}

static dppo_status create(const dppo_config *config, dppo_agent **agent) {
    *agent = nullptr;
    DPPO_TRY(shim_init(0));
    return guarded([&] { *agent = reinterpret_cast<dppo_agent *>(make_agent(Config(config)).release()); });
}

static void destroy(dppo_agent *agent) {
    delete reinterpret_cast<Agent *>(agent);
}

static void copy_out(const Tensor &tensor, float *out) {
    const Tensor values = tensor.contiguous();
    std::memcpy(out, values.data_ptr<float>(), values.nbytes());
}

static dppo_status act(dppo_agent *agent, int64_t batch, const float *obs, bool deterministic, float *actions,
                       float *chains) {
    return guarded([&] {
        Agent &self = agent_of(agent);
        const Samples samples = self.act(self.observations(batch, obs), deterministic);
        if (chains != nullptr && samples.chains.defined()) copy_out(samples.chains, chains);
        copy_out(samples.trajectories, actions);
    });
}

static dppo_status update(dppo_agent *agent, int64_t itr, const dppo_rollout *rollout,
                          dppo_update_metrics *metrics, dppo_trace *trace) {
    return guarded([&] { agent_of(agent).update(itr, *rollout, metrics, trace); });
}

static dppo_status end_iteration(dppo_agent *agent, int64_t itr) {
    return guarded([&] { agent_of(agent).end_iteration(itr); });
}

static dppo_status pretrain_step(dppo_agent *agent, int64_t batch, const float *actions, const float *obs,
                                 int ema_mode, double *loss, double *grad_norm) {
    return guarded([&] {
        Agent &self = agent_of(agent);
        std::tie(*loss, *grad_norm) =
            self.pretrain_step(self.chunks(batch, actions), self.observations(batch, obs), ema_mode);
    });
}

static dppo_status pretrain_end_epoch(dppo_agent *agent) {
    return guarded([&] { agent_of(agent).pretrain_end_epoch(); });
}

static dppo_status save(const dppo_agent *agent, dppo_named *state) {
    return guarded([&] { reinterpret_cast<const Agent *>(agent)->save(state); });
}

static dppo_status load(dppo_agent *agent, const dppo_named *state) {
    return guarded([&] { agent_of(agent).load(state); });
}

} // namespace shim

extern "C" const dppo_agent_class shim_agent_class = {
    "torch",      shim::create,        shim::destroy,       shim::act,
    shim::update, shim::end_iteration, shim::pretrain_step, shim::pretrain_end_epoch,
    shim::save,   shim::load,
};

// The learners of the torch side: the agent interface (dppo/algorithms/agent.h) written with libtorch's
// modules, autograd and optimizers. A state has the same names as on the C side, so it moves between the two.
//
// Shapes: N environments, T steps of an iteration, R = T N rows, K' fine-tuned denoising steps, B batch.
#ifndef DPPO_SHIM_AGENT_H
#define DPPO_SHIM_AGENT_H

#include "gaussian.h"
#include "training.h"

namespace shim {

// Draws from a dppo_generator, which both sides have alike, so that C and libtorch act on identical noise.
class GeneratorDraws : public Draws {
  public:
    explicit GeneratorDraws(dppo_generator *generator) : generator_(generator) {} // borrowed
    Tensor randn(const Shape &shape) override;
    Tensor rand(const Shape &shape) override;
    Tensor randint(int64_t low, int64_t high, const Shape &shape) override;
    Tensor randperm(int64_t n) override;
    Tensor multinomial(const Tensor &probabilities, int64_t samples, bool replacement) override;
    double np_uniform() override;

  private:
    dppo_generator *generator_;
};

// AdamW over a network's parameters, with the schedule of its learning rate.
class Trained {
  public:
    // `schedule`: first_cycle_steps, min_lr, warmup_steps.
    Trained(const std::vector<Tensor> &parameters, double lr, double weight_decay, const Config &schedule);
    void zero_grad() {
        optimizer_.zero_grad();
    }
    void step() {
        optimizer_.step();
    }
    // For parameters that lost their gradient to a reload: momentum and weight decay move them on.
    void keep_zero_gradients();
    void step_schedule();
    double lr() const;
    double grad_norm() const; // 2-norm over all gradients, in float64
    // "<name>optimizer/..." and "<name>lr_scheduler/...".
    void save(const std::string &name, dppo_named *state) const;
    void load(const std::string &name, const dppo_named *state);

  private:
    void set_lr(double lr);

    std::vector<Tensor> parameters_;
    LrSchedule schedule_;
    torch::optim::AdamW optimizer_;
};

// A learner. What an algorithm does not have fails with DPPO_MISSING.
class Agent {
  public:
    explicit Agent(const Config &config); // the whole resolved configuration
    virtual ~Agent() = default;
    Agent(const Agent &) = delete;
    Agent &operator=(const Agent &) = delete;

    // state (B, To, Do) to actions (B, Ta, Da) and, where there are any, chains (B, K'+1, Ta, Da).
    virtual Samples act(const Tensor &state, bool deterministic) = 0;
    virtual void update(int64_t itr, const dppo_rollout &rollout, dppo_update_metrics *metrics,
                        dppo_trace *trace);
    virtual void end_iteration(int64_t itr);
    // One optimizer step on actions (B, Ta, Da), state (B, To, Do): the loss before it and its gradient's
    // norm.
    virtual std::pair<double, double> pretrain_step(const Tensor &actions, const Tensor &state, int ema_mode);
    virtual void pretrain_end_epoch();
    virtual void save(dppo_named *state) const;
    virtual void load(const dppo_named *state);

    // (B, To, Do), copied.
    Tensor observations(int64_t batch, const float *obs) const;
    Tensor chunks(int64_t batch, const float *actions) const; // (B, Ta, Da), copied

  protected:
    virtual torch::nn::Module &model() = 0;
    [[noreturn]] void lacks(const char *what) const;

    std::string target_;
    int64_t cond_steps_, obs_dim_, horizon_steps_, action_dim_;
    std::unique_ptr<dppo_generator, void (*)(dppo_generator *)> generator_;
    GeneratorDraws draws_;
};

std::unique_ptr<Agent> make_agent(const Config &config); // by _target_
std::unique_ptr<Agent> make_ppo_diffusion_agent(const Config &config);
std::unique_ptr<Agent> make_ppo_gaussian_agent(const Config &config);

} // namespace shim

#endif

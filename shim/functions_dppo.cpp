// DPPO's own classes and functions on the torch side. Results have the names of the recorded cases.
#include "functions_dppo.h"
#include "gaussian.h"

#include <torch/optim/adamw.h>

namespace shim {

static std::string target_of(Call &call) {
    return call.init().target();
}

// -- Gaussian policies
// ---------------------------------------------------------------------------------------------

static void gaussian_forward(Call &call) {
    const Config args = call.args();
    const bool get_logprob = args.flag("get_logprob", false);
    auto model = std::make_shared<GaussianModel>(call.init(), nullptr);
    call.module(*model);
    const auto sample = model->forward(condition(call), call.draws(), args.flag("deterministic", false),
                                       args.flag("reparameterize", false), get_logprob);
    call.output(get_logprob ? "action" : "result", sample.action);
    if (get_logprob) call.output("log_prob", sample.log_prob);
}

static void gaussian_loss(Call &call) {
    auto model = std::make_shared<GaussianModel>(call.init(), nullptr);
    call.module(*model);
    const double ent_coef = call.args().number("ent_coef");
    const auto [loss, entropy] = model->loss(call.input("true_action"), condition(call), ent_coef);
    call.output("loss", loss);
    call.output("entropy", entropy);
}

static void gaussian_logprobs(Call &call) {
    auto model = std::make_shared<VPG_Gaussian>(call.init(), nullptr);
    call.module(*model);
    const auto found = model->get_logprobs(condition(call), call.input("actions"),
                                           call.args().flag("use_base_policy", false));
    call.output("log_prob", found.log_prob);
    call.output("entropy", found.entropy);
    call.output("std", found.std);
}

void output_ppo_loss(Call &call, const PpoLoss &loss, const char *last) {
    call.output("pg_loss", loss.pg_loss);
    call.output("entropy_loss", loss.entropy_loss);
    call.output("v_loss", loss.v_loss);
    call.output("clipfrac", loss.clipfrac);
    call.output("approx_kl", loss.approx_kl);
    call.output("ratio", loss.ratio);
    call.output(last, loss.eta_or_std);
    if (loss.bc_loss.defined()) call.output("bc_loss", loss.bc_loss);
}

static void ppo_gaussian_loss(Call &call) {
    auto model = std::make_shared<PPO_Gaussian>(call.init(), nullptr);
    call.module(*model);
    const GaussianBatch batch = {condition(call, "obs"),   call.input("actions"),
                                 call.input("returns"),    call.input("oldvalues"),
                                 call.input("advantages"), call.input("oldlogprobs")};
    const PpoLoss loss = model->loss(batch, call.args().flag("use_bc_loss", false), call.draws());
    output_ppo_loss(call, loss, "std");
    // Without it the original returns the python number 0.0 here, and 0 in PPODiffusion.
    if (!loss.bc_loss.defined()) call.output("bc_loss", 0.0);
}

// -- diffusion policies
// --------------------------------------------------------------------------------------------

static void beta_schedule(Call &call) {
    call.output("result",
                cosine_beta_schedule(call.args().integer("timesteps"), call.args().number("s", 0.008)));
}

static void extract_entry(Call &call) {
    const int64_t rank = static_cast<int64_t>(call.args().integers("x_shape").size());
    call.output("result", extract(call.input("a"), call.input("t"), rank));
}

static void schedule_entry(Call &call) {
    Schedule schedule(call.args().integer("denoising_steps"));
    if (call.args().has("ddim_steps")) schedule.add_ddim(call.args().integer("ddim_steps"));
    for (const auto &item : call.args().has("ddim_steps") ? schedule.ddim() : schedule.ddpm())
        call.output(item.first, item.second);
}

// The class that the case names; a case may call an inherited method of a policy.
static std::shared_ptr<DiffusionModel> diffusion_model(Call &call, bool state_after = false) {
    std::shared_ptr<DiffusionModel> model;
    if (target_of(call) == "VPGDiffusion")
        model = std::make_shared<VPGDiffusion>(call.init(), nullptr);
    else if (target_of(call) == "PPODiffusion")
        model = std::make_shared<PPODiffusion>(call.init(), nullptr);
    else
        model = std::make_shared<DiffusionModel>(call.init(), nullptr);
    call.module(*model, state_after);
    return model;
}

static void diffusion_forward(Call &call) {
    auto model = diffusion_model(call);
    const Mode mode = {call.args().flag("deterministic", true), false};
    call.output("trajectories", model->forward(condition(call), call.draws(), mode).trajectories);
}

static void p_losses(Call &call) {
    auto model = diffusion_model(call);
    call.output("result",
                model->p_losses(call.input("x_start"), condition(call), call.input("t"), call.draws()));
}

static void q_sample(Call &call) {
    auto model = diffusion_model(call);
    call.output("result", model->q_sample(call.input("x_start"), call.input("t"), call.input("noise")));
}

static void p_mean_var(Call &call) {
    auto model = diffusion_model(call);
    const Mode mode = {call.args().flag("deterministic", false), call.args().flag("use_base_policy", false)};
    const Tensor index = call.has("index") ? call.input("index") : Tensor();
    const MeanVar step = model->p_mean_var(call.input("x"), call.input("t"), condition(call), index, mode);
    call.output("mu", step.mu);
    // With eta 0 the log of DDIM's variance is -inf by construction.
    if (step.eta.defined() || !call.init().flag("use_ddim", false)) call.output("logvar", step.logvar);
    if (step.eta.defined()) call.output("eta", step.eta);
}

static std::shared_ptr<VPGDiffusion> vpg_diffusion(Call &call) {
    return std::static_pointer_cast<VPGDiffusion>(diffusion_model(call));
}

static void vpg_forward(Call &call) {
    const Config args = call.args();
    const Mode mode = {args.flag("deterministic", false), args.flag("use_base_policy", false)};
    const Samples samples = vpg_diffusion(call)->forward(condition(call), call.draws(), mode);
    call.output("trajectories", samples.trajectories);
    if (args.flag("return_chain", true)) call.output("chains", samples.chains);
}

static void output_log_probs(Call &call, const VPGDiffusion::LogProbs &found) {
    const bool get_ent = call.args().flag("get_ent", false);
    call.output(get_ent ? "log_prob" : "result", found.log_prob);
    if (get_ent) call.output("eta", found.eta);
}

static void vpg_logprobs(Call &call) {
    auto model = vpg_diffusion(call);
    output_log_probs(call, model->get_logprobs(condition(call), call.input("chains"),
                                               call.args().flag("use_base_policy", false)));
}

static void vpg_logprobs_subsample(Call &call) {
    auto model = vpg_diffusion(call);
    output_log_probs(call, model->get_logprobs_subsample(
                               condition(call), call.input("chains_prev"), call.input("chains_next"),
                               call.input("denoising_inds"), call.args().flag("use_base_policy", false)));
}

static void vpg_loss(Call &call) {
    auto model = vpg_diffusion(call);
    const auto loss = model->loss(condition(call), call.input("chains"), call.input("reward"));
    call.output("loss_actor", loss.loss_actor);
    call.output("loss_critic", loss.loss_critic);
    call.output("eta", loss.eta);
}

static void ppo_diffusion_loss(Call &call) {
    auto model = std::static_pointer_cast<PPODiffusion>(diffusion_model(call));
    const DiffusionBatch batch = {condition(call, "obs"),    call.input("chains_prev"),
                                  call.input("chains_next"), call.input("denoising_inds"),
                                  call.input("returns"),     call.input("oldvalues"),
                                  call.input("advantages"),  call.input("oldlogprobs")};
    const Config args = call.args();
    const PpoLoss loss =
        model->loss(batch, args.flag("use_bc_loss", false), args.integer("reward_horizon", 4), call.draws());
    output_ppo_loss(call, loss, "eta");
    if (!loss.bc_loss.defined()) call.output_int("bc_loss", 0);
}

// -- short runs
// ------------------------------------------------------------------------------------------------------

static torch::optim::AdamW adamw(const std::vector<Tensor> &parameters, double lr, double weight_decay) {
    return torch::optim::AdamW(parameters, torch::optim::AdamWOptions(lr).weight_decay(weight_decay));
}

// `steps` pre-training steps on in/actions, in/state (steps, B, ...), the average updated after each.
static void pretrain(Call &call) {
    const Config args = call.args();
    auto model = diffusion_model(call, true);
    auto ema = std::make_shared<DiffusionModel>(call.init(), nullptr);
    copy_values(*ema, *model);
    auto optimizer = adamw(model->parameters(), args.number("lr"), args.number("weight_decay"));
    const Tensor actions = call.input("actions"), state = call.input("state");
    std::vector<double> losses;
    for (int64_t i = 0; i < args.integer("steps"); i++) {
        const Tensor loss = model->loss(actions[i], state[i], call.draws());
        loss.backward();
        losses.push_back(loss.item<double>());
        optimizer.step();
        optimizer.zero_grad();
        average_values(*ema, *model, args.number("ema_decay"));
    }
    call.output("loss", torch::tensor(losses, torch::kFloat64));
    for (const auto &item : state_dict(*ema))
        call.output("ema/" + item.first, item.second);
}

// The losses of a minibatch in the order in which PPODiffusion.loss returns them.
static void add_losses(std::vector<double> &rows, const PpoLoss &loss) {
    const double bc_loss = loss.bc_loss.defined() ? loss.bc_loss.item<double>() : 0;
    for (double value :
         {loss.pg_loss.item<double>(), loss.entropy_loss.item<double>(), loss.v_loss.item<double>(),
          loss.clipfrac, loss.approx_kl, loss.ratio, bc_loss, loss.eta_or_std})
        rows.push_back(value);
}

// `epochs` of PPO minibatches over in/chains (N, K'+1, Ta, Da); old log-probabilities are those of the first
// state.
static void ppo_updates(Call &call) {
    const Config args = call.args();
    auto model = std::static_pointer_cast<PPODiffusion>(diffusion_model(call, true));
    auto actor =
        adamw(model->actor_ft().parameters(), args.number("actor_lr"), args.number("actor_weight_decay", 0));
    auto critic =
        adamw(model->critic().parameters(), args.number("critic_lr"), args.number("critic_weight_decay", 0));
    const Tensor state = call.input("state"), chains = call.input("chains");
    const int64_t steps = model->ft_denoising_steps(), total = state.size(0) * steps;
    const int64_t batch_size = args.integer("batch_size");
    const int64_t reward_horizon =
        args.integer("reward_horizon", chains.size(2)); // all of the chunk is executed
    Tensor logprobs;
    {
        torch::NoGradGuard no_grad;
        logprobs = model->get_logprobs(state, chains).log_prob;
        logprobs = logprobs.view({state.size(0), steps, logprobs.size(1), logprobs.size(2)});
    }
    std::vector<double> rows;
    for (int64_t epoch = 0; epoch < args.integer("epochs"); epoch++) {
        const Tensor permutation = call.draws().randperm(total);
        for (int64_t start = 0; start + batch_size <= std::max(total, batch_size); start += batch_size) {
            const Tensor pairs = permutation.slice(0, start, start + batch_size);
            const Tensor row = torch::div(pairs, steps, "floor"), inds = torch::remainder(pairs, steps);
            const DiffusionBatch batch = {state.index({row}),
                                          chains.index({row, inds}),
                                          chains.index({row, inds + 1}),
                                          inds,
                                          call.input("returns").index({row}),
                                          call.input("values").index({row}),
                                          call.input("advantages").index({row}),
                                          logprobs.index({row, inds})};
            const PpoLoss loss = model->loss(batch, false, reward_horizon, call.draws());
            add_losses(rows, loss);
            actor.zero_grad();
            critic.zero_grad();
            (loss.pg_loss + loss.entropy_loss * args.number("ent_coef", 0) +
             loss.v_loss * args.number("vf_coef"))
                .backward();
            if (args.has("max_grad_norm"))
                torch::nn::utils::clip_grad_norm_(model->actor_ft().parameters(),
                                                  args.number("max_grad_norm"));
            actor.step();
            critic.step();
        }
    }
    call.output("losses", torch::tensor(rows, torch::kFloat64).view({-1, 8}));
}

const Entry entries_dppo[] = {
    {"DiffusionModel.forward", diffusion_forward},
    {"DiffusionModel.p_losses", p_losses},
    {"DiffusionModel.p_mean_var", p_mean_var},
    {"DiffusionModel.q_sample", q_sample},
    {"DiffusionModel.schedule", schedule_entry},
    {"GaussianModel.forward", gaussian_forward},
    {"GaussianModel.loss", gaussian_loss},
    {"PPODiffusion.loss", ppo_diffusion_loss},
    {"PPO_Gaussian.loss", ppo_gaussian_loss},
    {"VPGDiffusion.forward", vpg_forward},
    {"VPGDiffusion.get_logprobs", vpg_logprobs},
    {"VPGDiffusion.get_logprobs_subsample", vpg_logprobs_subsample},
    {"VPGDiffusion.loss", vpg_loss},
    {"VPGDiffusion.p_mean_var", p_mean_var},
    {"VPG_Gaussian.get_logprobs", gaussian_logprobs},
    {"cosine_beta_schedule", beta_schedule},
    {"extract", extract_entry},
    {"ppo_updates", ppo_updates},
    {"pretrain", pretrain},
    {nullptr, nullptr},
};

} // namespace shim

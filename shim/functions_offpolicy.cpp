// The entries of the off-policy and weighted-regression policies, of the mixture policies, and of what only
// the original's agents contain. Results have the names of the recorded cases.
#include "functions_dppo.h"
#include "gmm.h"
#include "offpolicy_diffusion.h"
#include "offpolicy_gaussian.h"

#include <torch/optim/adam.h>

namespace shim {

// The policy that the case's init describes, with the case's state.
template <class Policy> static std::shared_ptr<Policy> policy_of(Call &call, bool state_after = false) {
    auto policy = std::make_shared<Policy>(call.init(), nullptr);
    call.module(*policy, state_after);
    return policy;
}

// The same for a function that is not the policy's own: its class must be `name`.
template <class Policy> static std::shared_ptr<Policy> policy_named(Call &call, const char *name) {
    const std::string target = call.init().target();
    if (target != name) invalid("init/_target_: must be " + std::string(name) + ", is " + target);
    return policy_of<Policy>(call);
}

static Transitions transitions(Call &call) {
    return {condition(call, "obs"), condition(call, "next_obs"), call.input("actions"), call.input("rewards"),
            call.input("terminated")};
}

static double gamma_of(const Call &call) {
    return call.args().number("gamma");
}

static bool deterministic(const Call &call) {
    return call.args().flag("deterministic", false);
}

// -- what several classes have
// ----------------------------------------------------------------------------------------------------------

template <class Policy> static void diffusion_forward(Call &call) {
    auto policy = policy_of<Policy>(call);
    const Mode mode = {deterministic(call), false};
    call.output("result", policy->forward(condition(call), call.draws(), mode).trajectories);
}

// Losses of weighted regression: the weights are called rewards in p_losses, and so here.
template <class Policy> static void weighted_p_losses(Call &call) {
    auto policy = policy_of<Policy>(call);
    call.output("result", policy->weighted_p_losses(call.input("x_start"), condition(call),
                                                    call.input("rewards"), call.input("t"), call.draws()));
}

template <class Policy> static void weighted_loss(Call &call) {
    auto policy = policy_of<Policy>(call);
    call.output("result",
                policy->weighted_loss(call.input("x"), condition(call), call.input("rewards"), call.draws()));
}

template <class Policy> static void loss_critic_advantages(Call &call) {
    auto policy = policy_of<Policy>(call);
    call.output("result", policy->loss_critic(condition(call, "obs"), call.input("advantages")));
}

// The critic's loss with a sampled next action; of SAC and RLPD also with alpha.
template <class Policy> static void loss_critic(Call &call) {
    auto policy = policy_of<Policy>(call);
    call.output("result", policy->loss_critic(transitions(call), gamma_of(call), call.draws()));
}

template <class Policy> static void soft_loss_critic(Call &call) {
    auto policy = policy_of<Policy>(call);
    const double alpha = call.args().number("alpha");
    call.output("result", policy->loss_critic(transitions(call), gamma_of(call), alpha, call.draws()));
}

template <class Policy> static void soft_loss_actor(Call &call) {
    auto policy = policy_of<Policy>(call);
    const double alpha = call.args().number("alpha");
    call.output("result", policy->loss_actor(condition(call, "obs"), alpha, call.draws()));
}

template <class Policy> static void loss_temperature(Call &call) {
    auto policy = policy_of<Policy>(call);
    const double target_entropy = call.args().number("target_entropy");
    call.output("result", policy->loss_temperature(condition(call, "obs"), call.input("alpha"),
                                                   target_entropy, call.draws()));
}

template <class Policy> static void update_target_critic(Call &call) {
    policy_of<Policy>(call, true)->update_target_critic(call.args().number("tau"));
}

template <class Policy> static void update_target_actor(Call &call) {
    policy_of<Policy>(call, true)->update_target_actor(call.args().number("tau"));
}

// -- diffusion
// ----------------------------------------------------------------------------------------------------------

static void dql_forward_train(Call &call) {
    auto policy = policy_of<DQLDiffusion>(call);
    call.output("result", policy->forward_train(condition(call), call.draws(), deterministic(call)));
}

static void dql_loss_actor(Call &call) {
    auto policy = policy_of<DQLDiffusion>(call);
    const Config args = call.args();
    call.output("result", policy->loss_actor(condition(call, "obs"), args.number("eta"),
                                             args.integer("act_steps"), call.draws()));
}

static void idql_forward(Call &call) {
    auto policy = policy_of<IDQLDiffusion>(call);
    const Config args = call.args();
    const IDQLDiffusion::Choice choice = {deterministic(call), args.flag("use_expectile_exploration", true),
                                          args.integer("num_sample", 10),
                                          args.number("critic_hyperparam", 0.7)};
    call.output("result", policy->choose(condition(call), choice, call.draws()));
}

static void idql_p_losses(Call &call) {
    auto policy = policy_of<IDQLDiffusion>(call);
    call.output("result",
                policy->p_losses(call.input("x_start"), condition(call), call.input("t"), call.draws()));
}

static void idql_advantages(Call &call) {
    auto policy = policy_of<IDQLDiffusion>(call);
    call.output("result", policy->compute_advantages(condition(call, "obs"), call.input("actions")));
}

static void idql_loss_critic_v(Call &call) {
    auto policy = policy_of<IDQLDiffusion>(call);
    call.output("result", policy->loss_critic_v(condition(call, "obs"), call.input("actions")));
}

static void idql_loss_critic_q(Call &call) {
    auto policy = policy_of<IDQLDiffusion>(call);
    call.output("result", policy->loss_critic_q(transitions(call), gamma_of(call)));
}

static void qsm_loss_actor(Call &call) {
    auto policy = policy_of<QSMDiffusion>(call);
    const double q_grad_coeff = call.args().number("q_grad_coeff");
    call.output("result", policy->loss_actor(condition(call, "obs"), call.input("actions"), q_grad_coeff,
                                             call.draws()));
}

static void expectile_loss_entry(Call &call) {
    call.output("result", expectile_loss(call.input("diff"), call.args().number("expectile", 0.8)));
}

// -- Gaussian
// ----------------------------------------------------------------------------------------------------------

template <class Policy> static void regression_loss(Call &call) {
    auto policy = policy_of<Policy>(call);
    call.output("result", policy->weighted_loss(call.input("actions"), condition(call, "obs"),
                                                call.input("reward_weights")));
}

template <class Policy> static void regression_forward(Call &call) {
    auto policy = policy_of<Policy>(call);
    call.output("result", policy->act(condition(call), call.draws(), deterministic(call)));
}

static void calql_loss_critic(Call &call) {
    auto policy = policy_of<CalQL_Gaussian>(call);
    call.output("result", policy->loss_critic(transitions(call), call.input("random_actions"),
                                              call.input("returns"), gamma_of(call), call.draws()));
}

static void ibrl_forward(Call &call) {
    auto policy = policy_of<IBRL_Gaussian>(call);
    const bool reparameterize = call.args().flag("reparameterize", false);
    call.output("result", policy->choose(condition(call), call.draws(), deterministic(call), reparameterize));
}

static void ibrl_loss_actor(Call &call) {
    auto policy = policy_of<IBRL_Gaussian>(call);
    call.output("result", policy->loss_actor(condition(call, "obs"), call.draws()));
}

// -- mixtures
// ----------------------------------------------------------------------------------------------------------

template <class Policy> static void gmm_forward(Call &call) {
    auto policy = policy_of<Policy>(call);
    call.output("result", policy->forward(condition(call), call.draws(), deterministic(call)));
}

static void gmm_loss(Call &call) {
    auto policy = policy_of<GMMModel>(call);
    const auto [loss, entropy] = policy->loss(call.input("true_action"), condition(call));
    call.output("loss", loss);
    call.output("entropy", entropy);
}

static void gmm_logprobs(Call &call) {
    auto policy = policy_of<VPG_GMM>(call);
    const auto found = policy->get_logprobs(condition(call), call.input("actions"));
    call.output("log_prob", found.log_prob);
    call.output("entropy", found.entropy);
    call.output("std", found.std);
}

static void ppo_gmm_loss(Call &call) {
    auto policy = policy_of<PPO_GMM>(call);
    const GaussianBatch batch = {condition(call, "obs"),   call.input("actions"),
                                 call.input("returns"),    call.input("oldvalues"),
                                 call.input("advantages"), call.input("oldlogprobs")};
    output_ppo_loss(call, policy->loss(batch), "std");
    call.output_int("bc_loss", 0);
}

// -- the agents
// ----------------------------------------------------------------------------------------------------------

static void td_values_entry(Call &call) {
    const Config args = call.args();
    call.output("result",
                td_values(call.input("rewards"), call.input("terminateds"), call.input("state_values"),
                          args.number("gamma", 0.99), args.number("alpha", 0.95), args.number("lam", 0.95)));
}

static void advantage_weights_entry(Call &call) {
    const Config args = call.args();
    call.output("result", advantage_weights(call.input("advantages"), args.number("beta"),
                                            args.number("max_adv_weight")));
}

static void episode_returns_entry(Call &call) {
    call.output("result", episode_returns(call.input("rewards"), call.input("firsts"), gamma_of(call)));
}

static void reward_weights_entry(Call &call) {
    const Config args = call.args();
    call.output("result",
                reward_weights(call.input("returns"), args.number("beta"), args.number("max_reward_weight")));
}

static void dipo_action_gradient(Call &call) {
    auto policy = policy_named<DIPODiffusion>(call, "DIPODiffusion");
    const Config args = call.args();
    const Tensor actions = call.input("actions");
    const double chunk = static_cast<double>(actions.size(1) * actions.size(2));
    call.output("result", policy->action_gradient(condition(call, "obs"), actions, args.number("action_lr"),
                                                  args.integer("action_gradient_steps"),
                                                  args.number("action_grad_norm", chunk * 0.1)));
}

// Adam on the logarithm of alpha, a number that numpy made: float64 in every run.
template <class Policy> static void update_temperature(Call &call, const char *name) {
    auto policy = policy_named<Policy>(call, name);
    const Config args = call.args();
    Tensor log_alpha = call.input("log_alpha").detach().clone().requires_grad_(true);
    torch::optim::Adam optimizer({log_alpha}, torch::optim::AdamOptions(args.number("lr")));
    std::vector<Tensor> losses;
    for (int64_t i = 0; i < args.integer("steps"); i++) {
        optimizer.zero_grad();
        const Tensor loss = policy->loss_temperature(condition(call, "obs"), log_alpha.exp(),
                                                     args.number("target_entropy"), call.draws());
        loss.backward();
        optimizer.step();
        losses.push_back(loss.detach());
    }
    call.output("log_alpha", log_alpha.detach());
    call.output("losses", torch::stack(losses));
}

static void sac_update_temperature(Call &call) {
    update_temperature<SAC_Gaussian>(call, "SAC_Gaussian");
}

static void rlpd_update_temperature(Call &call) {
    update_temperature<RLPD_Gaussian>(call, "RLPD_Gaussian");
}

static void calql_update_temperature(Call &call) {
    update_temperature<CalQL_Gaussian>(call, "CalQL_Gaussian");
}

const Entry entries_offpolicy[] = {
    {"AWRDiffusion.forward", diffusion_forward<AWRDiffusion>},
    {"AWRDiffusion.loss", weighted_loss<AWRDiffusion>},
    {"AWRDiffusion.loss_critic", loss_critic_advantages<AWRDiffusion>},
    {"AWRDiffusion.p_losses", weighted_p_losses<AWRDiffusion>},
    {"AWR_Gaussian.forward", regression_forward<AWR_Gaussian>},
    {"AWR_Gaussian.loss", regression_loss<AWR_Gaussian>},
    {"AWR_Gaussian.loss_critic", loss_critic_advantages<AWR_Gaussian>},
    {"CalQL_Gaussian.loss_actor", soft_loss_actor<CalQL_Gaussian>},
    {"CalQL_Gaussian.loss_critic", calql_loss_critic},
    {"CalQL_Gaussian.loss_temperature", loss_temperature<CalQL_Gaussian>},
    {"CalQL_Gaussian.update_target_critic", update_target_critic<CalQL_Gaussian>},
    {"DIPODiffusion.forward", diffusion_forward<DIPODiffusion>},
    {"DIPODiffusion.loss_critic", loss_critic<DIPODiffusion>},
    {"DIPODiffusion.update_target_actor", update_target_actor<DIPODiffusion>},
    {"DIPODiffusion.update_target_critic", update_target_critic<DIPODiffusion>},
    {"DQLDiffusion.forward", diffusion_forward<DQLDiffusion>},
    {"DQLDiffusion.forward_train", dql_forward_train},
    {"DQLDiffusion.loss_actor", dql_loss_actor},
    {"DQLDiffusion.loss_critic", loss_critic<DQLDiffusion>},
    {"DQLDiffusion.update_target_critic", update_target_critic<DQLDiffusion>},
    {"GMMModel.forward", gmm_forward<GMMModel>},
    {"GMMModel.loss", gmm_loss},
    {"IBRL_Gaussian.forward", ibrl_forward},
    {"IBRL_Gaussian.loss_actor", ibrl_loss_actor},
    {"IBRL_Gaussian.loss_critic", loss_critic<IBRL_Gaussian>},
    {"IBRL_Gaussian.update_target_actor", update_target_actor<IBRL_Gaussian>},
    {"IBRL_Gaussian.update_target_critic", update_target_critic<IBRL_Gaussian>},
    {"IDQLDiffusion.compute_advantages", idql_advantages},
    {"IDQLDiffusion.forward", idql_forward},
    {"IDQLDiffusion.loss_critic_q", idql_loss_critic_q},
    {"IDQLDiffusion.loss_critic_v", idql_loss_critic_v},
    {"IDQLDiffusion.p_losses", idql_p_losses},
    {"IDQLDiffusion.update_target_critic", update_target_critic<IDQLDiffusion>},
    {"PPO_GMM.loss", ppo_gmm_loss},
    {"QSMDiffusion.forward", diffusion_forward<QSMDiffusion>},
    {"QSMDiffusion.loss_actor", qsm_loss_actor},
    {"QSMDiffusion.loss_critic", loss_critic<QSMDiffusion>},
    {"QSMDiffusion.update_target_critic", update_target_critic<QSMDiffusion>},
    {"RLPD_Gaussian.loss_actor", soft_loss_actor<RLPD_Gaussian>},
    {"RLPD_Gaussian.loss_critic", soft_loss_critic<RLPD_Gaussian>},
    {"RLPD_Gaussian.loss_temperature", loss_temperature<RLPD_Gaussian>},
    {"RLPD_Gaussian.update_target_critic", update_target_critic<RLPD_Gaussian>},
    {"RWRDiffusion.forward", diffusion_forward<RWRDiffusion>},
    {"RWRDiffusion.loss", weighted_loss<RWRDiffusion>},
    {"RWRDiffusion.p_losses", weighted_p_losses<RWRDiffusion>},
    {"RWR_Gaussian.forward", regression_forward<RWR_Gaussian>},
    {"RWR_Gaussian.loss", regression_loss<RWR_Gaussian>},
    {"SAC_Gaussian.loss_actor", soft_loss_actor<SAC_Gaussian>},
    {"SAC_Gaussian.loss_critic", soft_loss_critic<SAC_Gaussian>},
    {"SAC_Gaussian.loss_temperature", loss_temperature<SAC_Gaussian>},
    {"SAC_Gaussian.update_target_critic", update_target_critic<SAC_Gaussian>},
    {"TrainAWRDiffusionAgent.advantage_weights", advantage_weights_entry},
    {"TrainCalQLAgent.returns", episode_returns_entry},
    {"TrainCalQLAgent.update_temperature", calql_update_temperature},
    {"TrainDIPODiffusionAgent.action_gradient", dipo_action_gradient},
    {"TrainRLPDAgent.update_temperature", rlpd_update_temperature},
    {"TrainRWRDiffusionAgent.returns", episode_returns_entry},
    {"TrainRWRDiffusionAgent.reward_weights", reward_weights_entry},
    {"TrainSACAgent.update_temperature", sac_update_temperature},
    {"VPG_GMM.forward", gmm_forward<VPG_GMM>},
    {"VPG_GMM.get_logprobs", gmm_logprobs},
    {"expectile_loss", expectile_loss_entry},
    {"td_values", td_values_entry},
    {nullptr, nullptr},
};

} // namespace shim

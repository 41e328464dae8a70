// The networks and their parts on the torch side. Results have the names of the recorded cases.
#include "transformer.h"
#include "unet.h"

namespace shim {

Cond condition(Call &call, const std::string &name) {
    if (call.has(name)) return call.input(name);
    const std::string rgb = name + "/rgb";
    return {call.input(name + "/state"), call.has(rgb) ? call.input(rgb) : Tensor(), &call.draws()};
}

// -- whole networks, by the _target_ of the case

static void noise_network(Call &call) {
    auto network = build_noise_network(call.init(), nullptr);
    call.module(*network);
    call.output("result", network->forward(call.input("x"), call.input("time"), condition(call)));
}

static void gaussian_network(Call &call) {
    auto network = build_gaussian_network(call.init(), nullptr);
    call.module(*network);
    const auto [mean, scale] = network->forward(condition(call));
    call.output("mean", mean);
    call.output("scale", scale);
}

static void gmm_network(Call &call) {
    auto network = build_gmm_network(call.init(), nullptr);
    call.module(*network);
    const auto mixture = network->forward(condition(call));
    call.output("mean", mixture.means);
    call.output("scale", mixture.scales);
    call.output("logits", mixture.logits);
}

static void critic(Call &call) {
    auto network = build_critic(call.init(), nullptr);
    call.module(*network);
    call.output("result", network->forward(condition(call), call.args().flag("no_augment", false)));
}

static void critic_obs_act(Call &call) {
    auto network = build_critic_obs_act(call.init(), nullptr);
    call.module(*network);
    const auto [q1, q2] = network->forward(condition(call), call.input("action"));
    call.output(q2.defined() ? "q1" : "result", q1);
    if (q2.defined()) call.output("q2", q2);
}

static void eta(Call &call) {
    auto network = build_eta(call.init(), nullptr);
    call.module(*network);
    call.output("result", network->forward(condition(call)));
}

// -- parts

static void mlp(Call &call) {
    auto network = std::make_shared<MLP>(mlp_options(call.init(), "Tanh"));
    call.module(*network);
    call.output("result",
                network->forward(call.input("x"), call.has("append") ? call.input("append") : Tensor()));
}

static void residual_mlp(Call &call) {
    auto network = std::make_shared<ResidualMLP>(mlp_options(call.init(), "Mish"));
    call.module(*network);
    call.output("result", network->forward(call.input("x")));
}

static void sinusoidal(Call &call) {
    call.output("result", sinusoidal_pos_emb(call.input("x"), call.init().integer("dim")));
}

static void conv1d_block(Call &call) {
    const Config init = call.init();
    auto block = std::make_shared<Conv1dBlock>(init.integer("inp_channels"), init.integer("out_channels"),
                                               conv_options(init, "eps", init.integer("kernel_size")));
    call.module(*block);
    call.output("result", block->forward(call.input("x")));
}

template <class Sampler> static void resample(Call &call) {
    auto sampler = std::make_shared<Sampler>(call.init().integer("dim"));
    call.module(*sampler);
    call.output("result", sampler->forward(call.input("x")));
}

static void residual_block(Call &call) {
    const Config init = call.init();
    const ResidualBlock1D::Options options = {
        conv_options(init, "groupnorm_eps", init.integer("kernel_size", 5)), init.integer("cond_dim"),
        init.flag("cond_predict_scale", false), init.flag("larger_encoder", false)};
    auto block =
        std::make_shared<ResidualBlock1D>(init.integer("in_channels"), init.integer("out_channels"), options);
    call.module(*block);
    call.output("result", block->forward(call.input("x"), call.input("cond")));
}

static void vit_encoder(Call &call) {
    auto encoder = build_backbone(call.init());
    call.module(*encoder);
    call.output("result", encoder->forward(call.input("obs"), call.args().flag("flatten", false)));
}

static void spatial_emb(Call &call) {
    const Config init = call.init();
    refuse_dropout(init);
    auto embedding =
        std::make_shared<SpatialEmb>(SpatialEmb::Options{init.integer("num_patch"), init.integer("patch_dim"),
                                                         init.integer("prop_dim"), init.integer("proj_dim")});
    call.module(*embedding);
    call.output("result",
                embedding->forward(call.input("feat"), call.has("prop") ? call.input("prop") : Tensor()));
}

static void random_shifts_aug(Call &call) {
    call.output("result", random_shifts(call.input("x"), call.init().integer("pad"), call.draws()));
}

const Entry entries_networks[] = {
    {"Conv1dBlock", conv1d_block},
    {"CriticObs", critic},
    {"CriticObsAct", critic_obs_act},
    {"DiffusionMLP", noise_network},
    {"Downsample1d", resample<Downsample1d>},
    {"EtaAction", eta},
    {"EtaFixed", eta},
    {"EtaState", eta},
    {"EtaStateAction", eta},
    {"GMM_MLP", gmm_network},
    {"GMM_Transformer", gmm_network},
    {"Gaussian_MLP", gaussian_network},
    {"Gaussian_Transformer", gaussian_network},
    {"Gaussian_VisionMLP", gaussian_network},
    {"MLP", mlp},
    {"RandomShiftsAug", random_shifts_aug},
    {"ResidualBlock1D", residual_block},
    {"ResidualMLP", residual_mlp},
    {"SinusoidalPosEmb", sinusoidal},
    {"SpatialEmb", spatial_emb},
    {"Unet1D", noise_network},
    {"Upsample1d", resample<Upsample1d>},
    {"ViTCritic", critic},
    {"VisionDiffusionMLP", noise_network},
    {"VisionUnet1D", noise_network},
    {"VitEncoder", vit_encoder},
    {nullptr, nullptr},
};

} // namespace shim

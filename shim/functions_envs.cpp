// The locomotion tasks, derived a second time: the shared model text, stepped with MuJoCo's own functions;
// rewards, terminations and observations from the recorded states, all steps at once.
#include "call.h"

#include <cstring>
#include <limits>

#include <mujoco/mujoco.h>

extern "C" {
#include "envs/half_cheetah.h"
#include "envs/hopper.h"
#include "envs/walker2d.h"
}

namespace shim {

namespace {

struct ModelDeleter {
    void operator()(mjModel *model) const {
        mj_deleteModel(model);
    }
};
struct DataDeleter {
    void operator()(mjData *data) const {
        mj_deleteData(data);
    }
};
using Model = std::unique_ptr<mjModel, ModelDeleter>;
using Data = std::unique_ptr<mjData, DataDeleter>;

// The states before and after every step: qpos (T+1, nq), qvel (T+1, nv).
struct Trajectory {
    Tensor qpos, qvel;
    double dt; // seconds an environment step
};

} // namespace

// MuJoCo reads files only: the text becomes one of its virtual files.
static Model load(const char *xml) {
    const auto files = std::make_unique<mjVFS>();
    mj_defaultVFS(files.get());
    const int size = static_cast<int>(std::strlen(xml));
    if (mj_makeEmptyFileVFS(files.get(), "task.xml", size) != 0)
        invalid("mujoco: no room for the model text");
    std::memcpy(files->filedata[0], xml, static_cast<size_t>(size));
    char error[512] = "";
    Model model(mj_loadXML("task.xml", files.get(), error, sizeof error));
    mj_deleteVFS(files.get());
    if (model == nullptr) invalid(std::string("mujoco: ") + error);
    return model;
}

static void read_vector(Call &call, const char *name, int size, mjtNum *to) {
    const Tensor values = call.input(name).detach().to(torch::kFloat64).contiguous();
    if (values.sizes() != torch::IntArrayRef{size})
        invalid(std::string("in/") + name + ": shape " + c10::str(values.sizes()) + " for a vector of " +
                std::to_string(size));
    std::memcpy(to, values.data_ptr<double>(), static_cast<size_t>(size) * sizeof *to);
}

static Tensor copy_of(const mjtNum *values, int size) {
    return torch::from_blob(const_cast<mjtNum *>(values), {size}, torch::kFloat64).clone();
}

// actions (T, nu) go to the motors as they are; MuJoCo clamps them to the model's control range.
static Trajectory simulate(Call &call, const char *xml, int frame_skip) {
    const Model model = load(xml);
    const Data data(mj_makeData(model.get()));
    if (data == nullptr) throw Failure(DPPO_NO_MEMORY, "mujoco: no memory for the simulation");
    const Tensor actions = call.input("actions").detach().to(torch::kFloat64).contiguous();
    if (actions.dim() != 2 || actions.size(1) != model->nu)
        invalid("in/actions: shape " + c10::str(actions.sizes()) + ", the model has " +
                std::to_string(model->nu) + " motors");
    read_vector(call, "qpos", model->nq, data->qpos);
    read_vector(call, "qvel", model->nv, data->qvel);
    mj_forward(model.get(), data.get());
    std::vector<Tensor> qpos{copy_of(data->qpos, model->nq)}, qvel{copy_of(data->qvel, model->nv)};
    for (int64_t t = 0; t < actions.size(0); t++) {
        mju_copy(data->ctrl, actions[t].data_ptr<double>(), model->nu);
        for (int i = 0; i < frame_skip; i++)
            mj_step(model.get(), data.get());
        qpos.push_back(copy_of(data->qpos, model->nq));
        qvel.push_back(copy_of(data->qvel, model->nv));
    }
    return {torch::stack(qpos), torch::stack(qvel), model->opt.timestep * frame_skip};
}

// Forward speed, a bonus for being alive (also paid on the step that ends it), minus the cost of the raw
// action.
static Tensor reward(Call &call, const Trajectory &path, double alive, double cost) {
    const Tensor x = path.qpos.select(1, 0);
    const Tensor speed = (x.slice(0, 1) - x.slice(0, 0, -1)) / path.dt;
    return speed + alive - cost * call.input("actions").detach().to(torch::kFloat64).square().sum(1);
}

// The observation leaves out x, so that the policy does not know how far it came.
static void answer(Call &call, const Trajectory &path, const Tensor &rewards, const Tensor &healthy,
                   double velocity_clip) {
    const Tensor qpos = path.qpos.slice(0, 1), qvel = path.qvel.slice(0, 1);
    call.output("observation", torch::cat({qpos.slice(1, 1), qvel.clamp(-velocity_clip, velocity_clip)}, 1));
    call.output("reward", rewards);
    call.output("terminated", healthy.logical_not());
    call.output("qpos", qpos);
    call.output("qvel", qvel);
}

// Healthy: all finite, everything but x and z below 100 in size, z above 0.7, within 0.2 rad of upright.
static void hopper(Call &call) {
    const Trajectory path = simulate(call, dppo_hopper_xml(), 4);
    const Tensor state = torch::cat({path.qpos, path.qvel}, 1).slice(0, 1);
    const Tensor small = (state.slice(1, 2).abs() < 100).all(1), finite = torch::isfinite(state).all(1);
    const Tensor upright = (state.select(1, 1) > 0.7) & (state.select(1, 2).abs() < 0.2);
    answer(call, path, reward(call, path, 1, 1e-3), finite & small & upright, 10);
}

// Healthy: z between 0.8 and 2, within 1 rad of upright.
static void walker2d(Call &call) {
    const Trajectory path = simulate(call, dppo_walker2d_xml(), 4);
    const Tensor qpos = path.qpos.slice(0, 1), z = qpos.select(1, 1), angle = qpos.select(1, 2);
    answer(call, path, reward(call, path, 1, 1e-3), (z > 0.8) & (z < 2) & (angle.abs() < 1), 10);
}

// Never terminates, has no bonus, and shows its velocities as they are.
static void half_cheetah(Call &call) {
    const Trajectory path = simulate(call, dppo_half_cheetah_xml(), 5);
    const Tensor rewards = reward(call, path, 0, 0.1);
    answer(call, path, rewards, torch::ones_like(rewards, torch::kBool),
           std::numeric_limits<double>::infinity());
}

const Entry entries_envs[] = {
    {"HalfCheetah.rollout", half_cheetah},
    {"Hopper.rollout", hopper},
    {"Walker2d.rollout", walker2d},
    {nullptr, nullptr},
};

} // namespace shim

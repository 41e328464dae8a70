/* What the constructors of the original do with the checkpoint named by network_path. */
#include "diffusion/diffusion.h"
#include "models/build.h"
#include "models/gaussian.h"
#include "models/gmm.h"

#include <string.h>

static bool has_prefix(const dppo_named *checkpoint, const char *prefix) {
    for (size_t i = 0; i < checkpoint->count; i++)
        if (strncmp(checkpoint->entries[i].name, prefix, strlen(prefix)) == 0) return true;
    return false;
}

/* load_state_dict(strict=False) of names that begin with `prefix`; that none of them is the module's is a
 * mistake. */
static dppo_status load(dppo_module *module, const char *prefix, const dppo_named *checkpoint) {
    dppo_named own = {0};
    dppo_status status = dppo_module_state_dict(module, prefix, &own);
    bool matches = false;
    for (size_t i = 0; i < own.count; i++)
        matches = matches || dppo_named_get(checkpoint, own.entries[i].name);
    if (status == DPPO_OK && !matches)
        status = dppo_fail(DPPO_INVALID,
                           "the checkpoint has nothing to load into the %s: %s is missing, as are all others",
                           module->type, own.count ? own.entries[0].name : prefix);
    dppo_named_free(&own);
    return status == DPPO_OK ? dppo_module_load_state_dict(module, prefix, checkpoint, false) : status;
}

/* Weights averaged in pre-training if there are any. At this point of the original's constructor only the
 * network exists. */
static dppo_status load_network(dppo_module *network, const dppo_named *checkpoint) {
    bool ema = has_prefix(checkpoint, "ema/");
    return load(network, ema ? "ema/network." : "model/network.", checkpoint);
}

/* A pre-trained network goes to both actors; of a fine-tuned model everything is loaded, the critic too. */
static dppo_status load_vpg_diffusion(dppo_diffusion *model, const dppo_named *checkpoint) {
    DPPO_TRY(load_network(model->network, checkpoint));
    DPPO_TRY(dppo_module_copy(model->actor_ft, model->network));
    if (has_prefix(checkpoint, "ema/")) return DPPO_OK;
    return load(&model->module, "model/", checkpoint);
}

/* A checkpoint of pre-training has no actor: then its network is the base policy, and no step may be
 * fine-tuned. */
static dppo_status load_diffusion_eval(dppo_diffusion *model, const dppo_named *checkpoint) {
    if (has_prefix(checkpoint, "model/actor.")) {
        DPPO_TRY(dppo_module_load_state_dict(model->actor, "model/actor.", checkpoint, true));
        return dppo_module_load_state_dict(model->actor_ft, "model/actor_ft.", checkpoint, true);
    }
    if (model->ft_denoising_steps != 0)
        return dppo_fail(DPPO_INVALID,
                         "ft_denoising_steps: must be 0, the checkpoint has no fine-tuned actor");
    return dppo_module_load_state_dict(model->actor, "model/network.", checkpoint, true);
}

/* What the original's constructor copies from the network comes after it was loaded. CalQL_Gaussian takes the
 * whole model, its critics too. */
static dppo_status load_gaussian(dppo_gaussian *model, const dppo_named *checkpoint) {
    if (strcmp(model->module.type, "CalQL_Gaussian") == 0)
        return dppo_module_load_state_dict(&model->module, "model/", checkpoint, true);
    dppo_module *copies[] = {model->actor, model->target_actor, model->bc_policy};
    DPPO_TRY(load(model->network, "model/network.", checkpoint));
    for (size_t i = 0; i < sizeof copies / sizeof *copies; i++)
        if (copies[i]) DPPO_TRY(dppo_module_copy(copies[i], model->network));
    return DPPO_OK;
}

dppo_status dppo_model_load_pretrained(dppo_module *model, const dppo_named *checkpoint) {
    dppo_diffusion *diffusion = dppo_diffusion_of(model);
    dppo_gaussian *gaussian = dppo_gaussian_of(model);
    if (gaussian) return load_gaussian(gaussian, checkpoint);
    if (dppo_gmm_of(model)) return load(dppo_gmm_of(model)->network, "model/network.", checkpoint);
    if (!diffusion) return dppo_fail(DPPO_INVALID, "network_path: a %s does not take one", model->type);
    if (strcmp(model->type, "DiffusionEval") == 0) return load_diffusion_eval(diffusion, checkpoint);
    if (diffusion->actor_ft) return load_vpg_diffusion(diffusion, checkpoint);
    DPPO_TRY(load_network(diffusion->network, checkpoint));
    return diffusion->actor_target ? dppo_module_copy(diffusion->actor_target, diffusion->network) : DPPO_OK;
}

/* DiffusionEval: a fine-tuned policy as it is deployed, the frozen network for the early denoising steps and
 * the fine-tuned one for the last K'. Sampling is DiffusionModel's; its p_mean_var and its checkpoint
 * (pretrained.c) differ. */
#include "diffusion/steps.h"
#include "models/build.h"

static dppo_status adopt_all(const dppo_config *config, dppo_diffusion *model, dppo_module **network) {
    dppo_module *copy = NULL;
    DPPO_TRY(dppo_build_copy(dppo_config_get(config, "network"), *network, &copy));
    dppo_status status = dppo_build_adopt(&model->module, "network", network, &model->network);
    if (status == DPPO_OK) status = dppo_module_alias(&model->module, "actor", model->network);
    if (status == DPPO_OK) status = dppo_build_adopt(&model->module, "actor_ft", &copy, &model->actor_ft);
    model->actor = model->network;
    dppo_module_free(copy);
    return status;
}

dppo_status dppo_build_diffusion_eval(const dppo_config *config, dppo_generator *generator,
                                      dppo_module **module) {
    dppo_module *network = NULL;
    const dppo_nested nested[] = {{"network", dppo_noise_networks, &network, false}};
    DPPO_TRY(dppo_build_nested(config, generator, 1, nested));
    dppo_diffusion *model = NULL;
    dppo_status status = dppo_diffusion_new("DiffusionEval", config, NULL, &model);
    if (status == DPPO_OK) status = dppo_read_ft_denoising_steps(config, model);
    if (status == DPPO_OK) status = adopt_all(config, model, &network);
    dppo_module_free(network);
    return dppo_build_finish(status, model ? &model->module : NULL, module);
}

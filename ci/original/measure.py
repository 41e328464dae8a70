#!/usr/bin/python3
"""The original code as a third side of `dppo bench`: a co-process that runs one unit of work a line.

    measure.py CHECKOUT [--threads N] [--batch B] [--minibatches M] [--epochs E]

CHECKOUT is a copy of the original repository; its classes, its agent's run() and its Hopper configurations are what is
measured, on the CPU. First a line `ready torch VERSION`, then for each line read one line is answered, the seconds of
one unit, or `error TEXT`:

    update     MINIBATCH PREPARE: of the loop over minibatches for each of them, and of what precedes the loop (values,
               old log-probabilities, GAE) of a rollout of M minibatches of B; the loop ends after one minibatch, or
               with --epochs after E epochs of M
    actN       actions with chains of N environments, as the agent asks for them: act40, act1
    pretrain   loss, gradients, AdamW and EMA on a batch of 128
    threads N  of torch and of OpenBLAS from here on; answers 0
    quit

Debian: apt-get install python3-torch python3-omegaconf
"""
import argparse
import contextlib
import importlib
import math
import os
import re
import signal
import sys
import tempfile
import time
import types

FINETUNE = "cfg/gym/finetune/hopper-v2/ft_ppo_diffusion_mlp.yaml"
PRETRAIN = "cfg/gym/pretrain/hopper-medium-v2/pre_diffusion_mlp.yaml"


def read_arguments():
    parser = argparse.ArgumentParser(description="times the original code, one unit of work a line of stdin")
    parser.add_argument("checkout", help="a copy of the original repository")
    parser.add_argument("--threads", type=int, default=2, help="of torch and of OpenBLAS (%(default)s)")
    parser.add_argument("--batch", type=int, default=0, help="pairs of a minibatch; 0: the configuration's")
    parser.add_argument("--minibatches", type=int, default=4, help="of the rollout (%(default)s)")
    parser.add_argument("--epochs", type=int, default=0, help="of an update; 0: one minibatch and no more")
    return parser.parse_args()


# -- What Debian does not package, as little of it as the measured code touches.


def rearrange(x, pattern):
    """einops.rearrange for the one pattern of the agent: the first two dimensions become one."""
    if not pattern.startswith("s e ") or "-> (s e)" not in pattern:
        raise NotImplementedError(f"einops.rearrange {pattern}")
    return x.reshape(-1, *x.shape[2:])


def get_class(path):
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def instantiate(config):
    """hydra.utils.instantiate: `_target_` called with the other keys, those with a `_target_` built first."""
    built = {}
    for key, value in config.items():
        nested = hasattr(value, "keys") and "_target_" in value
        built[key] = instantiate(value) if nested else value
    return get_class(built.pop("_target_"))(**built)


def stand_in(name, **members):
    """A module of that name where the true one is not installed."""
    try:
        importlib.import_module(name)
    except ImportError:
        module = types.ModuleType(name)
        module.__dict__.update(members)
        sys.modules[name] = module
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], child, module)


def prepare_modules(torch):
    stand_in("wandb")  # imported, never called: the configuration says wandb: null
    stand_in("hydra")
    stand_in("hydra.utils", instantiate=instantiate, get_class=get_class)
    stand_in("einops", rearrange=rearrange)
    stand_in("einops.layers")
    stand_in("einops.layers.torch", Rearrange=None)  # of convolutional networks: imported, not used
    if not hasattr(torch, "unravel_index"):  # since 2.2; the agent has two dimensions
        torch.unravel_index = lambda index, shape: (torch.div(index, shape[1], rounding_mode="floor"), index % shape[1])


def read_config(checkout, path, overrides):
    """A configuration of the original with hydra's part resolved here."""
    from omegaconf import OmegaConf

    for name, resolver in (("eval", eval), ("now", lambda text: "now")):
        if not OmegaConf.has_resolver(name):
            OmegaConf.register_new_resolver(name, resolver)
    config = OmegaConf.load(os.path.join(checkout, path))
    for part in ("defaults", "hydra"):
        config.pop(part, None)
    for key, value in overrides.items():
        OmegaConf.update(config, key, value, force_add=True)
    OmegaConf.resolve(config)
    return config


class RecordedEnvs:
    """In place of the vector environment: prerecorded observations and rewards; notes when the rollout ended."""

    def __init__(self, np, n_envs, n_steps, cond_steps, obs_dim):
        random = np.random.default_rng(7)
        self.obs = random.uniform(-1, 1, (n_steps + 1, n_envs, cond_steps, obs_dim))
        self.reward = 1 + self.obs[:, :, 0, 0]
        self.never = np.zeros(n_envs, dtype=bool)
        self.info = [{} for _ in range(n_envs)]
        self.at = 0
        self.last_step = 0.0

    def seed(self, seeds):
        pass

    def reset_arg(self, options_list):
        self.at = 0
        return {"state": self.obs[0]}

    def step(self, action):
        self.at += 1
        reward = self.reward[self.at]
        self.last_step = time.perf_counter()
        return {"state": self.obs[self.at]}, reward, self.never, self.never, self.info


class Original:
    """The original's classes at work. What is built for a command is built when it is first asked for."""

    def __init__(self, arguments, torch, np, folder):
        self.arguments, self.torch, self.np = arguments, torch, np
        self.common = {"device": "cpu", "wandb": None, "logdir": folder}
        self.agent = self.model = self.pretraining = None

    def threads(self, count):
        import ctypes

        self.torch.set_num_threads(count)
        with contextlib.suppress(OSError, AttributeError):  # torch calls OpenBLAS through libblas.so.3
            ctypes.CDLL("libopenblas.so.0").openblas_set_num_threads(count)
        return 0.0

    # -- update

    def make_agent(self):
        module = importlib.import_module("agent.finetune.train_agent")
        agent_class = importlib.import_module("agent.finetune.train_ppo_diffusion_agent").TrainPPODiffusionAgent
        asked, overrides = self.arguments, {"base_policy_path": None, "normalization_path": None, **self.common}
        config = read_config(asked.checkout, FINETUNE, overrides)
        pairs = config.env.n_envs * config.ft_denoising_steps  # of one step
        batch = config.train.batch_size = asked.batch or config.train.batch_size
        config.train.n_steps = math.ceil(batch * asked.minibatches / pairs)
        config.train.update_epochs = asked.epochs or 1
        # The agent stops once the divergence exceeds this; it is never negative.
        config.train.target_kl = None if asked.epochs else -1
        config.train.force_train = True
        config.env.reset_at_iteration = True  # run() needs observations to begin with
        self.envs = RecordedEnvs(
            self.np, config.env.n_envs, config.train.n_steps, config.cond_steps, config.obs_dim
        )
        module.make_async = lambda *_, **__: self.envs
        agent = agent_class(config)
        agent.save_model = lambda: None
        self.wanted = asked.epochs * (pairs * config.train.n_steps // batch) or 1
        self.mark_times(agent)
        self.record_samples(agent.model)
        return agent

    def mark_times(self, agent):
        """The loop over minibatches begins with the first permutation and ends with the critic's last step."""
        randperm, step = self.torch.randperm, agent.critic_optimizer.step

        def marking_randperm(*args, **kwargs):
            self.first_permutation = self.first_permutation or time.perf_counter()
            return randperm(*args, **kwargs)

        def marking_step(*args, **kwargs):
            result = step(*args, **kwargs)
            self.last_update = time.perf_counter()
            self.updates += 1
            return result

        self.torch.randperm = marking_randperm
        agent.critic_optimizer.step = marking_step

    def record_samples(self, model):
        """Later rollouts, which are not timed, repeat the first one's samples."""
        sample, samples = model.forward, []

        def replay(*args, **kwargs):
            if len(samples) <= self.envs.at:
                samples.append(sample(*args, **kwargs))
            return samples[self.envs.at]

        model.forward = replay

    def update(self):
        self.agent = self.agent or self.make_agent()
        self.first_permutation, self.updates = 0.0, 0
        self.agent.n_train_itr = self.agent.itr + 1
        self.agent.run()
        if self.updates != self.wanted:
            raise RuntimeError(f"{self.updates} minibatches where {self.wanted} were expected")
        minibatch = (self.last_update - self.first_permutation) / self.wanted
        return minibatch, self.first_permutation - self.envs.last_step

    # -- acting

    def act(self, n_envs):
        if not self.model:
            config = read_config(
                self.arguments.checkout,
                FINETUNE,
                {"base_policy_path": None, "normalization_path": None, **self.common},
            )
            self.model, self.shape = instantiate(config.model), (config.cond_steps, config.obs_dim)
        obs = self.np.random.default_rng(7).uniform(-1, 1, (n_envs, *self.shape))
        self.sample(obs)  # the second call is timed, as on the other sides
        start = time.perf_counter()
        self.sample(obs)
        return time.perf_counter() - start

    def sample(self, obs):
        with self.torch.no_grad():
            cond = {"state": self.torch.from_numpy(obs).float().to("cpu")}
            samples = self.model(cond=cond, deterministic=False, return_chain=True)
            samples.trajectories.cpu().numpy()
            samples.chains.cpu().numpy()

    # -- pre-training: the agent's run() is bound to CUDA (its batches go to "cuda:0"), so its step is made here of its
    # parts. The EMA is averaged each time, as C and libtorch do under `bench`; the original does so every tenth.

    def make_pretraining(self):
        from copy import deepcopy

        torch, module = self.torch, importlib.import_module("agent.pretrain.train_agent")
        data = {"train_dataset_path": "", **self.common}
        config = read_config(self.arguments.checkout, PRETRAIN, data)
        model = instantiate(config.model)
        optimizer = torch.optim.AdamW(
            model.parameters(), lr=config.train.learning_rate, weight_decay=config.train.weight_decay
        )
        batch = config.train.batch_size
        actions = torch.rand(batch, config.horizon_steps, config.action_dim) * 2 - 1
        cond = {"state": torch.rand(batch, config.cond_steps, config.obs_dim) * 2 - 1}
        return model, deepcopy(model), module.EMA(config.ema), optimizer, actions, cond

    def pretrain(self):
        self.pretraining = self.pretraining or self.make_pretraining()
        model, average, ema, optimizer, actions, cond = self.pretraining
        start = time.perf_counter()
        model.train()
        loss = model.loss(actions, cond)
        loss.backward()
        loss.item()
        optimizer.step()
        optimizer.zero_grad()
        ema.update_model_average(average, model)
        return time.perf_counter() - start


def answer(original, line):
    """Seconds of the command in `line`, one number or more."""
    command = re.fullmatch(r"(update|pretrain)|(act|threads ?)([1-9][0-9]{0,3})", line.strip())
    if not command:
        raise ValueError(f"unknown command {line.strip()}")
    alone, counted, count = command.groups()
    # The agent prints its progress; standard output is the protocol's here.
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        seconds = getattr(original, alone)() if alone else getattr(original, counted.strip())(int(count))
    return seconds if isinstance(seconds, tuple) else (seconds,)


def one_line(error):
    return f"error {type(error).__name__}: {' '.join(str(error).split())}"[:500]


def start(arguments, folder):
    """Imports torch and finds the original; an exception says what is missing."""
    os.environ["OPENBLAS_NUM_THREADS"] = str(arguments.threads)
    os.environ.update(DPPO_LOG_DIR=folder, DPPO_DATA_DIR=folder, DPPO_WANDB_ENTITY="none")
    for path in (FINETUNE, PRETRAIN, "agent/finetune/train_ppo_diffusion_agent.py"):
        if not os.path.isfile(os.path.join(arguments.checkout, path)):
            raise FileNotFoundError(f"{arguments.checkout}: not a checkout of the original, no {path}")
    import numpy as np
    import omegaconf
    import torch

    sys.path.insert(0, arguments.checkout)
    prepare_modules(torch)
    original = Original(arguments, torch, np, folder)
    original.threads(arguments.threads)
    return original


def leave(*_):
    """Ends without a traceback; a second signal must not disturb the removal of the folder."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    sys.exit(1)


def main():
    arguments = read_arguments()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, leave)
    with tempfile.TemporaryDirectory() as folder:
        try:
            original = start(arguments, folder)
            print("ready torch", original.torch.__version__, flush=True)
        except Exception as error:
            print(one_line(error), flush=True)
            return 1
        for line in sys.stdin:
            if line.strip() == "quit":
                break
            try:
                print(*(f"{seconds:.9g}" for seconds in answer(original, line)), flush=True)
            except Exception as error:  # what the original raises is the other end's to judge
                print(one_line(error), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

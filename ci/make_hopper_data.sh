#!/bin/sh
# Makes fixtures/data/hopper-selfmade-low.hdf5: 15,000 steps of a Gaussian policy after 20 iterations of PPO from scratch
# with the original's ppo_gaussian configuration, far below D4RL's "medium". About three minutes on two cores.
set -eu
cd "$(dirname "$0")/.."
dppo=${DPPO:-build/bin/dppo}
work=runs/hopper-data
config=fixtures/configs/ppo_gaussian_mlp.yaml
DPPO_COMMIT=$(git rev-parse --short HEAD)
export DPPO_COMMIT
mkdir -p "$work"
# The original takes the ranges for scaling from D4RL's data; from scratch there is none, so a random policy sets them.
"$dppo" collect --task hopper --policy random --steps 20000 --seed 0 --out "$work/random.hdf5" \
    --normalization "$work/normalization.npz" --overwrite
"$dppo" train "$config" normalization_path="$work/normalization.npz" train.n_train_itr=21 train.save_model_freq=20 \
    --out "$work/ppo_gaussian" --overwrite
"$dppo" collect "$config" normalization_path="$work/normalization.npz" \
    --policy "$work/ppo_gaussian/checkpoint/state_20.h5" --steps 15000 --seed 1 \
    --out fixtures/data/hopper-selfmade-low.hdf5 --overwrite

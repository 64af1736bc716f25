"""Measures the GPUs' energy of a training loop, epoch by epoch and step by step, and joules per image.

It uses no framework: put your own step in place of `step`. Here the GPU is a simulated one, at rest.

$ python examples/measure_a_training_loop.py
run/epoch 1: 256 images, below 100 W: True, J/image with a sigma: True
run/epoch 2: 256 images, below 100 W: True, J/image with a sigma: True
run: 512 images, below 100 W: True, J/image with a sigma: True
"""

import os

os.environ["WATTSHED_METER"] = "simulated"  # leave these two out on a machine with GPUs
os.environ["CUDA_VISIBLE_DEVICES"] = "7"

import time

import numpy as np

import wattshed

images, labels = np.random.default_rng(1).normal(size=(256, 64)), np.ones(256)


@wattshed.measure("step")
def step(weights, batch, wanted):
    """Take one step of gradient descent for a linear model."""
    time.sleep(0.1)
    return weights - 0.01 * batch.T @ (batch @ weights - wanted) / len(batch)


def show(window):
    """Print what is the same in every run; the meter is asked here, and the loop never waits for it."""
    joules, sigma = window.per("images")
    print(f"{window.path}: {window.work['images']} images, below 100 W: {window.watts < 100},", end=" ")
    print(f"J/image with a sigma: {joules > 0 < sigma}")


weights, epochs = np.zeros(64), []
with wattshed.measure("run") as run:
    for number in (1, 2):
        with wattshed.measure(f"epoch {number}") as epoch:
            for first in range(0, 256, 32):
                weights = step(weights, images[first : first + 32], labels[first : first + 32])
                epoch.add_work(images=32)
        epochs.append(epoch)
for window in (*epochs, run):
    show(window)

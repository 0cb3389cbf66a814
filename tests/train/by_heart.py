"""Learning one batch by heart in plain steps: a task's own batch, loss and validation, and AdamW.

What a whole run writes and looks at besides is most of its work with so small a batch, and there are many losses and
networks. Whole runs that learn by heart: test_overfit_losses.py and test_whole_runs.py.
"""

from __future__ import annotations

import torch

from heightpose.models.denormals import flushed_denormals
from heightpose.train.training_data import load_data

#: Of MeanSmS@0.1: what is known by heart.
LEARNED = 99.0

#: Steps up to the full learning rate, and from one look at what is known to the next.
_WARMUP, _LOOK = 4, 3


def first_batch(task):
    return next(iter(load_data(task.config, task, same=True)[1]))


def learn(task, batch, steps, lr):
    """A new net of the task that knows the batch, in evaluation mode, after as many steps as that takes.

    After ``steps``, over which the learning rate falls to 0, it may not know the batch.
    """
    torch.manual_seed(1)
    torch.set_num_threads(1)
    image = batch["image"].float()
    net = task.net().train().to(memory_format=torch.channels_last)
    # Squared gradients that are forgotten within the few steps there are: fewer are enough.
    optimiser = torch.optim.AdamW(net.parameters(), lr, betas=(0.9, 0.99), weight_decay=0.0, fused=True)
    with flushed_denormals():
        for step in range(steps):
            answer = net(image)
            if step % _LOOK == 0 and metrics(task, answer, batch)["MeanSmS@0.1"] >= LEARNED:
                break
            for group in optimiser.param_groups:
                group["lr"] = lr * min(1.0, (step + 1) / _WARMUP) * (1.0 - step / steps)
            optimiser.zero_grad()
            task.loss(answer, batch).backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 2.0)
            optimiser.step()
        _settle(net, image)
    return net


def metrics(task, answer, batch):
    """Validation's, of what a net answers; in training a stacked hourglass answers with every stack."""
    last = answer[-1] if isinstance(answer, list) else answer
    return task.metrics(task.validate(last.detach(), batch))


def _settle(net, image):
    """Evaluation with the very statistics of the batch: what normalisation keeps for it is an average over steps and
    an unbiased variance, which over the few values of so small a batch is far from the one it learned with."""
    norms = [m for m in net.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    values = {}
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.register_forward_hook(
            lambda m, inputs, _: values.update({m: inputs[0].numel() / m.num_features})
        )
    with torch.no_grad():
        net.train()(image)
    for norm in norms:
        norm.running_var *= (values[norm] - 1) / values[norm]
    net.eval()

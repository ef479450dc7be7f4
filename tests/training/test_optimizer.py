"""LeanAdamW against torch's own AdamW."""

import copy
import pickle
import sys

import pytest
import torch

from sklearn_unsup._nn import torch_private
from sklearn_unsup._training.optimizer import LeanAdamW, move_moments


def make_net():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(5, 7), torch.nn.Linear(7, 3))


def groups_of(net):
    return [
        {"params": list(net[0].parameters()), "lr": 3e-2},
        {"params": list(net[1].parameters()), "weight_decay": 0.0},
    ]


def take_steps(net, optimizer, n_steps, rate=1.0, seed=0):
    device = next(net.parameters()).device
    noise = torch.Generator(device).manual_seed(seed)
    for number in range(n_steps):
        optimizer.zero_grad()
        for group in optimizer.param_groups:
            group["lr"] *= rate
        # every third step the second layer does not learn
        net[1].requires_grad_(number % 3 != 2)
        net(
            torch.randn(16, 5, generator=noise, device=device)
        ).square().sum().backward()
        optimizer.step()
    net[1].requires_grad_(True)


def assert_same(first, second):
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        torch.testing.assert_close(one, other)


def test_steps_are_those_of_adamw(device):
    ours, theirs = make_net().to(device), make_net().to(device)
    options = {"lr": 1e-2, "weight_decay": 0.1, "betas": (0.5, 0.99)}
    lean = LeanAdamW(groups_of(ours), **options)
    full = torch.optim.AdamW(groups_of(theirs), **options)
    take_steps(ours, lean, 25, rate=0.9)
    take_steps(theirs, full, 25, rate=0.9)
    assert_same(ours, theirs)
    assert (ours[0].weight - make_net()[0].weight.to(device)).abs().max() > 0.1


def test_gradients_are_divided_in_the_step(device):
    """Those of some parameters, and in this step only."""
    ours, theirs = make_net().to(device), make_net().to(device)
    lean = LeanAdamW(groups_of(ours), lr=1e-2)
    full = torch.optim.AdamW(groups_of(theirs), lr=1e-2, weight_decay=0.01)
    for number in range(4):
        for net in (ours, theirs):
            net.zero_grad()
            net(torch.ones(2, 5, device=device)).square().sum().backward()
        if number % 2:
            factor = 10.0**number
            lean.divide_gradients(ours[1].parameters(), torch.tensor(factor).to(device))
            for parameter in theirs[1].parameters():
                parameter.grad /= factor
        lean.step()
        full.step()
    assert_same(ours, theirs)


def test_the_compiler_of_torch_is_not_imported(monkeypatch):
    """It would take longer than a small fit, and there is nothing to compile."""
    for method in ("add_param_group", "state_dict", "load_state_dict", "zero_grad"):
        wrapped = getattr(torch.optim.Optimizer, method).__wrapped__
        monkeypatch.delattr(wrapped, "__dynamo_disable", raising=False)
    monkeypatch.setitem(sys.modules, "torch._dynamo", None)
    net = make_net()
    with pytest.raises(ImportError):
        torch.optim.AdamW(net.parameters())
    optimizer = LeanAdamW(net.parameters())
    take_steps(net, optimizer, 2)
    optimizer.load_state_dict(optimizer.state_dict())


def test_pieces_change_nothing(monkeypatch, device):
    """On a GPU tensors are updated, divided and measured in pieces."""

    class OnGPU(torch.Tensor):
        is_cuda = True

    monkeypatch.setattr(torch_private, "PIECE", 4)
    tensors = [torch.arange(10.0), torch.ones(2, 3), torch.ones(3, 2).t()]
    tensors = [tensor.to(device) for tensor in tensors]
    pieces = torch_private.in_pieces([t.as_subclass(OnGPU) for t in tensors])
    assert [len(piece.flatten()) for piece in pieces] == [4, 4, 2, 4, 2, 6]
    for piece in pieces:
        piece.mul_(2)
    assert tensors[0].tolist() == list(range(0, 20, 2))
    assert all((tensor == 2).all() for tensor in tensors[1:])
    if device == "cpu":
        assert torch_private.in_pieces(tensors) is tensors


@pytest.mark.parametrize("way", ["pickle", "state_dict"])
def test_steps_go_on_after_saving(way):
    net = make_net()
    optimizer = LeanAdamW(groups_of(net), lr=1e-2)
    take_steps(net, optimizer, 7)
    if way == "pickle":
        other, loaded = pickle.loads(pickle.dumps((net, optimizer)))
    else:
        other = copy.deepcopy(net)
        loaded = LeanAdamW(groups_of(other), lr=1e-2)
        loaded.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for model, adam in ((net, optimizer), (other, loaded)):
        take_steps(model, adam, 7, seed=1)
    assert_same(net, other)


def test_without_gradients_nothing_moves():
    net = make_net()
    optimizer = LeanAdamW(net.parameters(), lr=1e-2)
    net(torch.ones(2, 5)).sum().backward()
    optimizer.zero_grad()
    assert all(p.grad is None for p in net.parameters())
    optimizer.step()
    assert_same(net, make_net())


def test_moments_follow_their_parameters_into_other_groups():
    ours, theirs = make_net(), make_net()
    full = torch.optim.AdamW(theirs.parameters(), lr=1e-2)
    lean = LeanAdamW(ours.parameters(), lr=1e-2)
    for seed in range(2):
        for net, optimizer in ((ours, lean), (theirs, full)):
            noise = torch.Generator().manual_seed(seed)
            for _ in range(5):
                optimizer.zero_grad()
                net(torch.randn(16, 5, generator=noise)).square().sum().backward()
                optimizer.step()
        assert_same(ours, theirs)
        # Later layers first, and two groups in place of one.
        groups = [{"params": list(layer.parameters())} for layer in reversed(ours)]
        regrouped = LeanAdamW(groups, lr=1e-2)
        move_moments(lean, regrouped)
        lean = regrouped


def test_moments_of_another_class_are_left_behind():
    net = make_net()
    adam = LeanAdamW(net.parameters(), lr=1e-2)
    take_steps(net, adam, 2)
    momentum = torch.optim.SGD(net.parameters(), lr=1e-2, momentum=0.9)
    move_moments(adam, momentum)
    assert not momentum.state

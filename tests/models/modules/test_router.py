import pytest
import torch

from structkd.errors import ConfigError
from structkd.models.modules.router import Router, gates, within_capacity
from structkd.models.modules.router_balance import importance_loss, load_loss, mutual_information_loss, z_loss

LOG = torch.tensor([[0.6, 0.3, 0.1], [0.2, 0.3, 0.5]]).log()


def test_gates_by_hand():
    weight, expert = gates(LOG, 2, "softmax_topk")
    assert expert.tolist() == [[0, 1], [2, 1]]
    torch.testing.assert_close(weight, torch.tensor([[0.6, 0.3], [0.5, 0.3]]))
    weight, expert = gates(LOG, 2, "topk_softmax")
    assert expert.tolist() == [[0, 1], [2, 1]]
    torch.testing.assert_close(weight, torch.tensor([[2 / 3, 1 / 3], [5 / 8, 3 / 8]]))


def test_capacity_by_hand():
    expert = torch.tensor([[0, 1], [0, 2], [0, 1], [1, 0]])
    # In turn: first choices 0 0 0 1, then second choices 1 2 1 0.
    assert within_capacity(expert, 3, 2).tolist() == [[True, True], [True, True], [False, False], [True, False]]
    assert within_capacity(expert, 3, 1).tolist() == [[True, False], [False, True], [False, False], [True, False]]
    assert bool(within_capacity(expert, 3, 4).all())


def test_priority_by_hand():
    expert = torch.tensor([[0, 1], [0, 2], [0, 1], [1, 0]])
    priority = torch.tensor([0.1, 0.9, 0.5, 0.5])
    # In turn: tokens 1, 2, 3, 0; first choices 0 0 1 0, then second choices 2 1 0 1.
    kept = within_capacity(expert, 3, 2, priority)
    assert kept.tolist() == [[False, False], [True, True], [True, True], [True, False]]
    same = torch.full((4,), 0.5)
    assert torch.equal(within_capacity(expert, 3, 2, same), within_capacity(expert, 3, 2))


def test_capacity_against_serving_one_by_one(generator):
    for _ in range(20):
        expert = torch.stack([torch.randperm(5, generator=generator)[:3] for _ in range(30)])
        priority = torch.randint(4, (30,), generator=generator).float()
        room, expected = [6] * 5, torch.zeros(30, 3, dtype=torch.bool)
        for choice in range(3):
            for token in sorted(range(30), key=lambda t: (-float(priority[t]), t)):
                wanted = int(expert[token, choice])
                expected[token, choice] = room[wanted] > 0
                room[wanted] -= 1
        assert torch.equal(within_capacity(expert, 5, 6, priority), expected)


def sure(router, *rows):
    """Tokens whose logits are the rows."""
    with torch.no_grad():
        router.linear.weight.copy_(torch.eye(router.linear.out_features))
    return torch.tensor(rows)


def test_router_drops_beyond_its_capacity():
    router = Router(2, 2, k=1, capacity=1.0)
    x = sure(router, [1.0, 0], [3, 0], [2, 0], [0, 1])[None]
    routing = router(x)  # 4 tokens, 2 experts: room for 2 each
    assert routing.shape == (1, 4) and routing.kept.flatten().tolist() == [True, True, False, True]
    assert routing.load.tolist() == [2, 1] and float(routing.dropped) == 0.25
    (token, expert), weight = routing.edges()
    assert token.tolist() == [0, 1, 3] and expert.tolist() == [0, 0, 1]
    torch.testing.assert_close(weight, x[0].softmax(1).amax(1)[[0, 1, 3]])
    assert bool(router.eval()(x).kept.all())
    router.eval_capacity = 0.2  # less than one token: one
    assert router(x).kept.flatten().tolist() == [True, False, False, True]
    router.priority = True
    assert router(x).kept.flatten().tolist() == [False, True, False, True]


def test_groups_have_capacities_of_their_own():
    router = Router(2, 2, k=1, capacity=1.0, group_size=2)
    # Five samples of two tokens: groups of two samples (room for 2 an expert) and one of one (room for 1).
    x = sure(router, *[[3.0, 0]] * 4, *[[0, 1.0]] * 2, *[[1.0, 0]] * 2, *[[0, 2.0]] * 2).view(5, 2, 2)
    kept = router(x).kept.flatten().tolist()
    assert kept == [True, True, False, False, True, True, True, True, True, False]
    for priority in (False, True):
        router, x = Router(8, 4, capacity=0.8, group_size=3, priority=priority), torch.randn(7, 5, 8)
        alone = Router(8, 4, capacity=0.8, priority=priority)
        alone.load_state_dict(router.state_dict())
        parts = [alone(part).kept for part in x.split(3)]
        assert torch.equal(router(x).kept, torch.cat(parts))
        assert not torch.equal(router(x).kept, alone(x).kept)


@pytest.mark.parametrize("factor, room", [(1.05, 5), (1.25, 6), (1.0, 5), (0.01, 1)])
def test_capacity_is_rounded_as_published(factor, room):
    router = Router(4, 4, k=2, capacity=factor)  # 10 tokens: 5 an expert
    x = sure(router, *[[9.0, 8, 0, 0]] * 10)
    assert router(x).load.tolist() == [room, room, 0, 0]


def test_noise_in_training_only_and_from_the_seed():
    router = Router(4, 4, k=1, noise=2.0)
    x = torch.randn(200, 4)
    seen = [router(x) for _ in range(2)]
    assert not torch.equal(seen[0].expert, seen[1].expert) and torch.equal(seen[0].logits, seen[1].logits)
    for _ in range(2):
        torch.manual_seed(5)
        seen.append(router(x))
    assert torch.equal(seen[2].expert, seen[3].expert)
    router.eval()
    assert torch.equal(router(x).expert, router(x).logits.argmax(1, keepdim=True))


@pytest.mark.parametrize("order", ["softmax_topk", "topk_softmax"])
def test_which_logits_have_the_noise(order):
    """The choice, its gates and who is served first are of noisy logits; `probs` and all losses but `load` are not."""
    weights = dict(importance=1.0, load=1.0, z=1.0, mutual_information=1.0)
    router = Router(4, 4, order=order, noise=0.7, capacity=0.5, priority=True, balance=weights)
    x = torch.randn(1, 40, 4)
    torch.manual_seed(3)
    routing = router(x)
    logits = x[0] @ router.linear.weight.t()
    torch.manual_seed(3)
    noisy = logits + 0.7 * torch.randn_like(logits)
    torch.testing.assert_close(routing.logits, logits)
    torch.testing.assert_close(routing.probs, logits.softmax(1))
    weight, expert = gates(noisy, 2, order)
    assert torch.equal(routing.expert, expert) and not torch.equal(expert, logits.topk(2, 1).indices)
    torch.testing.assert_close(routing.gate, weight)
    # 40 tokens, 4 experts, 2 choices: room for 10 each. Served by the largest probability among all experts.
    served = within_capacity(expert, 4, 10, noisy.softmax(1).amax(1))
    assert torch.equal(routing.kept, served) and not torch.equal(served, within_capacity(expert, 4, 10))
    assert not torch.equal(served, within_capacity(expert, 4, 10, weight[:, -1]))
    expected = dict(
        importance=importance_loss(logits.softmax(1)),
        load=load_loss(logits, noisy, 2, 0.7),
        z=z_loss(logits),
        mutual_information=mutual_information_loss(logits.softmax(1)),
    )
    for name, value in expected.items():
        torch.testing.assert_close(routing.losses[name], value, msg=name)
    assert float(expected["load"]) != float(load_loss(logits, noisy, 1, 0.7))


def test_one_expert_of_the_chosen_ones_has_priority_by_its_probability_among_all():
    router = Router(2, 2, k=1, order="topk_softmax", capacity=1.0, priority=True)
    kept = router(sure(router, [1.0, 0], [3, 0], [2, 0], [0, 1])[None]).kept.flatten()
    assert kept.tolist() == [False, True, True, True]  # all gates are 1


def test_losses_are_weighted_and_reach_the_router_only_when_asked_for():
    weights = dict(importance=0.5, load=2.0, z=0.1, mutual_information=3.0)
    router, x = Router(4, 4, noise=0.25, balance=weights), torch.randn(20, 4)
    torch.manual_seed(1)
    all_of_them = router(x).losses
    assert list(all_of_them) == list(weights)
    for name, weight in weights.items():
        alone = Router(4, 4, noise=0.25, balance={name: 1.0})
        alone.load_state_dict(router.state_dict())
        torch.manual_seed(1)
        (loss,) = alone(x).losses.values()
        torch.testing.assert_close(all_of_them[name], weight * loss)
        loss.backward()
        assert bool(alone.linear.weight.grad.any()), name
    assert Router(4, 4)(x).losses == {} == Router(4, 4, balance=dict(z=0.0))(x).losses


def test_balance_losses_balance():
    for name in ("importance", "load", "mutual_information"):
        torch.manual_seed(0)
        router, x = Router(8, 4, k=1, noise=0.25, bias=True, balance={name: 1.0}), torch.randn(256, 8)
        with torch.no_grad():
            router.linear.bias[0] = 3.0
        before = router.eval()(x).load.max()
        step = torch.optim.Adam(router.train().parameters(), 0.05)
        for _ in range(100):
            step.zero_grad()
            router(x).losses[name].backward()
            step.step()
        assert int(before) > 200 and int(router.eval()(x).load.max()) < 100, name


def test_runs_in_float32_under_autocast():
    router, x = Router(8, 4), torch.randn(5, 8)
    with torch.autocast("cpu", torch.bfloat16):
        routing = router(x.bfloat16())
    assert routing.logits.dtype == routing.gate.dtype == torch.float32


def test_no_tokens_and_one():
    router = Router(3, 2, capacity=1.0, noise=0.1, balance=dict(importance=1, load=1, z=1, mutual_information=1))
    routing = router(torch.zeros(0, 4, 3))
    assert routing.expert.shape == (0, 2) and routing.load.tolist() == [0, 0] and float(routing.dropped) == 0
    assert all(float(loss) == 0 for loss in routing.losses.values())
    one = router(torch.ones(1, 3))
    assert one.load.tolist() == [1, 1] and all(bool(loss.isfinite()) for loss in one.losses.values())


@pytest.mark.parametrize(
    "arguments, message",
    [
        (dict(k=0), "k=0: expected 1 to 4"),
        (dict(k=5), "k=5"),
        (dict(order="topk"), "order='topk' is unknown. Available: softmax_topk, topk_softmax"),
        (dict(noise=-1.0), r"noise=-1\.0"),
        (dict(capacity=0.0), r"capacity=0\.0"),
        (dict(priority=True), "give a capacity"),
        (dict(group_size=8), "give a capacity"),
        (dict(capacity=1.0, group_size=0), "group_size=0"),
        (dict(balance=dict(importanc=1.0)), "balance.importanc is no loss. Nearest: importance"),
        (dict(balance=dict(z=-1.0)), r"balance.z=-1\.0: expected 0 or more"),
        (dict(balance=dict(load=1.0)), "give noise > 0"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ConfigError, match=message):
        Router(8, 4, **arguments)

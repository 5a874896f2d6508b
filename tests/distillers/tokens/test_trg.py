import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from structkd import Structure
from structkd.distillers import TRG
from structkd.errors import ConfigError
from structkd.losses import contextual_loss, token_contrast, token_graph_loss


def maps(images=3, size=4, c_s=3, c_t=5):
    student, teacher = (torch.randn(images, c, size, size, dtype=torch.float64) for c in (c_s, c_t))
    return Structure(tokens=student.requires_grad_()), Structure(tokens=teacher)


def rows(structure):
    return structure.tokens.permute(0, 2, 3, 1).flatten(0, 2)


def numbers(losses):
    return {name: value.item() for name, value in losses.items()}


def test_three_terms_on_every_token():
    student, teacher = maps()
    trg = TRG(3, 5, tokens_per_image=16, k=4, local_weight=2, global_weight=3, contextual_weight=4, tau=0.3).double()
    losses = trg(student, teacher)
    x_s, x_t = rows(student), rows(teacher)
    assert list(losses) == ["local", "global", "contextual"]
    assert torch.allclose(losses["local"], 2 * token_graph_loss(x_s, x_t, 4))
    assert torch.allclose(losses["global"], 3 * token_contrast(trg.projector(x_s), x_t, 0.3))
    assert torch.allclose(losses["contextual"], 4 * contextual_loss(x_s, x_t, torch.arange(48) // 16))


def test_literal_form():
    student, teacher = maps()
    options = {"sigma": 2.0, "sigma_unit": "absolute", "local_tau": 1.0, "global_weight": 0, "contextual_tau": None}
    trg = TRG(3, 5, tokens_per_image=16, local="literal", local_weight=1, contextual_weight=1, **options)
    x_s, x_t = rows(student), rows(teacher)
    plain = token_graph_loss(x_s, x_t, 8, 2.0, "absolute", "own", "all", "student", 1.0)
    losses = trg(student, teacher)
    assert torch.allclose(losses["local"], plain) and not list(trg.parameters())
    assert torch.allclose(losses["contextual"], contextual_loss(x_s, x_t, torch.arange(48) // 16, None))


@pytest.mark.parametrize("local", ["neighbours", "literal"])
def test_equal_sides(local):
    student, _ = maps(c_s=5)
    trg = TRG(5, 5, local=local).double()
    losses = trg(student, student)
    assert losses["local"] == 0 and losses["contextual"] == 0 and losses["global"] > 0


def test_weights_of_zero_leave_terms_out():
    student, teacher = maps()
    assert TRG(3, 5, local_weight=0, global_weight=0, contextual_weight=0)(student, teacher) == {}
    assert set(TRG(3, 5, local_weight=0, contextual_weight=0).double()(student, teacher)) == {"global"}


def test_draws_follow_the_seed_and_the_step():
    sides = maps()
    options = {"tokens_per_image": 5, "global_weight": 0}
    first, second = TRG(3, 5, seed=3, **options), TRG(3, 5, seed=3, **options)
    one, two = numbers(first(*sides)), numbers(first(*sides))
    assert one != two and [numbers(second(*sides)), numbers(second(*sides))] == [one, two]
    assert numbers(TRG(3, 5, seed=4, **options)(*sides)) != one
    resumed = TRG(3, 5, seed=3, **options)
    resumed.load_state_dict({"step": torch.tensor(1)})
    assert numbers(resumed(*sides)) == two
    still = TRG(3, 5, seed=3, **options).eval()
    assert numbers(still(*sides)) == numbers(still(*sides)) == one and still.step == 0


@pytest.mark.parametrize("schedule", ["linear", "cosine", "exponential"])
def test_temperature_falls(schedule):
    trg, sides = TRG(3, 5, tau=0.5, tau_end=0.05, tau_schedule=schedule, tokens_per_image=16).double(), maps()
    seen = []
    for epoch in range(5):
        trg.set_progress(epoch, 5)
        seen.append(trg.current_tau)
        x_s = trg.projector(rows(sides[0]))
        assert torch.allclose(trg(*sides)["global"], token_contrast(x_s, rows(sides[1]), trg.current_tau))
    assert seen[0] == 0.5 and seen[-1] == pytest.approx(0.05) and seen == sorted(seen, reverse=True)
    trg.set_progress(0, 1)
    assert trg.current_tau == 0.5


def test_hidden_tokens_change_nothing():
    student, teacher = maps()
    mask = torch.ones(3, 4, 4, dtype=torch.bool)
    mask[:, 1:, 2] = mask[1] = False
    student.mask_map = mask
    trg = TRG(3, 5).double()
    losses = trg(student, teacher)
    (gradient,) = torch.autograd.grad(sum(losses.values()), student.tokens)
    hidden = ~mask.unsqueeze(1).expand_as(gradient)
    assert gradient[~hidden].all() and not gradient[hidden].any()


@pytest.mark.parametrize("images, size", [(0, 4), (1, 1), (1, 4), (4, 1)])
@pytest.mark.parametrize("local", ["neighbours", "literal"])
def test_few_tokens(images, size, local):
    student, teacher = maps(images, size)
    trg = TRG(3, 5, k=99, local=local).double()
    losses = trg(student, teacher)
    sum(losses.values()).backward()
    assert all(value.isfinite() for value in losses.values()) and student.tokens.grad.isfinite().all()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in trg.parameters())
    if images * size * size < 2:
        assert all(value.abs() < 1e-12 for value in losses.values())
    if size == 1:
        assert losses["contextual"] == 0


def test_rows_with_batch():
    student, teacher = maps()
    trg = TRG(3, 5, tokens_per_image=16, field="x").double()
    batch = torch.arange(48) // 16
    losses = trg(Structure(x=rows(student), batch=batch), Structure(x=rows(teacher), batch=batch))
    same = TRG(3, 5, tokens_per_image=16).double()
    same.load_state_dict(trg.state_dict())
    same.step.zero_()
    assert numbers(losses) == pytest.approx(numbers(same(student, teacher)))


def test_no_tensor_of_all_tokens_against_all():
    sizes = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            sizes.extend(t.numel() for t in (out if isinstance(out, tuple) else [out]) if isinstance(t, torch.Tensor))
            return out

    student = Structure(tokens=torch.randn(256, 8, 4, 4, requires_grad=True))
    teacher = Structure(tokens=torch.randn(256, 16, 4, 4))
    with Watch():
        sum(TRG(8, 16)(student, teacher).values()).backward()
    assert max(sizes) <= 4096**2 / 16


def test_a_student_learns_the_graph():
    torch.manual_seed(1)
    _, teacher = maps(8)
    student = torch.randn(8, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    trg = TRG(3, 5).double()
    optimizer = torch.optim.Adam([student, *trg.parameters()], lr=0.05)
    trajectory = []
    for _ in range(60):
        losses = trg(Structure(tokens=student), teacher)
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
        trajectory.append(numbers(losses))
    for name in ("local", "global", "contextual"):
        assert trajectory[-1][name] < 0.9 * trajectory[0][name], name


@pytest.mark.parametrize(
    "wrong",
    [
        {"tokens_per_image": 0}, {"k": 0}, {"sigma": 0.0}, {"tau": 0}, {"tau_end": -1}, {"local": "all"},
        {"sigma_unit": "m"}, {"tau_schedule": "step"}, {"contextual_tau": 0}, {"local_weight": -1},
        {"student_channels": 0},
    ],
)  # fmt: skip
def test_bad_arguments(wrong):
    with pytest.raises(ConfigError, match=rf"TRG\({next(iter(wrong))}="):
        TRG(**{"student_channels": 3, "teacher_channels": 5, **wrong})

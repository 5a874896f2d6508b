import torch

from structkd.distillers.draws import pass_generator


def test_draws_follow_seed_and_step_and_training_counts():
    step = torch.tensor(3)
    draw = lambda *args: torch.rand(4, generator=pass_generator(*args)).tolist()  # noqa: E731
    first = draw(7, step, True)
    assert step == 4
    second = draw(7, step, False)
    assert step == 4 and draw(7, step, False) == second != first
    assert draw(8, torch.tensor(3), False) != first == draw(7, torch.tensor(3), False)

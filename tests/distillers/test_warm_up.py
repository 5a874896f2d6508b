from structkd.distillers.warm_up import warm_up


def test_rises_to_one():
    assert [warm_up(epoch, 4) for epoch in (0, 1, 3, 4, 99)] == [0.25, 0.5, 1, 1, 1]
    assert warm_up(0, 0) == warm_up(0, 1) == 1

import pytest
import torch

from structkd.models.points.pointnet2 import (
    FeaturePropagation,
    GlobalAbstraction,
    PointMLP,
    PointNet2,
    PointSet,
    SetAbstraction,
)


def _points(generator, counts=(40, 25), channels=3):
    batch = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    total = sum(counts)
    return PointSet(
        torch.rand(total, 3, generator=generator) * 4, torch.randn(total, channels, generator=generator), batch
    )


def _net():
    radii, samples = ((0.5, 1.0), (1.0, 2.0)), ((4, 8), (4, 8))
    return PointNet2(3, (16, 4), radii, samples, (((4, 8), (8, 8)), ((8, 8), (8, 16))), ((16, 12), (10,)))


def test_set_abstraction_is_a_maximum_over_the_ball(generator):
    points, layer = _points(generator), SetAbstraction(3, 6, (1.0,), (100,), ((8,),)).eval()
    out = layer(points)
    assert out.batch.tolist() == [0] * 6 + [1] * 6
    for centre, scene, x in zip(out.pos, out.batch, out.x):
        near = (points.batch == scene) & ((points.pos - centre).square().sum(1) < 1)
        inputs = torch.cat([points.pos[near] - centre, points.x[near]], 1)
        torch.testing.assert_close(x, layer.mlps[0](inputs).amax(0))


def test_global_abstraction_is_a_maximum_over_the_scene(generator):
    points, layer = _points(generator), GlobalAbstraction(3, (5,)).eval()
    expected = [layer.mlp(torch.cat([points.pos, points.x], 1)[points.batch == scene]).amax(0) for scene in (0, 1)]
    torch.testing.assert_close(layer(points, 3)[:2], torch.stack(expected))
    assert layer(points, 3)[2].eq(0).all()


def test_propagation_hands_on_what_lies_at_the_same_place(generator):
    fine, layer = _points(generator), FeaturePropagation(3, 3, (3,)).eval()
    layer.mlp = PointMLP((6, 3), eps=None)
    with torch.no_grad():
        layer.mlp.lins[0].weight.copy_(torch.cat([torch.eye(3), torch.zeros(3, 3)], 1))
    coarse = PointSet(fine.pos[::2], fine.x[::2].abs(), fine.batch[::2])
    torch.testing.assert_close(layer(coarse, fine).x[::2], coarse.x, atol=1e-4, rtol=0)


def test_every_parameter_learns_and_scenes_are_apart(generator):
    net, points = _net(), _points(generator)
    assert net.out_channels == 10
    x = net(points)
    assert x.shape == (65, 10)
    (x * torch.randn(x.shape, generator=generator)).sum().backward()
    learns = [name for name, p in net.named_parameters() if not (".down." in name and name.endswith("bias"))]
    assert all(bool(net.get_parameter(name).grad.abs().sum() > 0) for name in learns)
    net.eval()
    alone = PointSet(*(field[points.batch == 1] for field in points))._replace(batch=torch.zeros(25).long())
    torch.testing.assert_close(net(alone), net(points)[points.batch == 1])


@pytest.mark.parametrize("counts", [(0, 0), (1, 0), (0, 30, 2)])
def test_scenes_of_few_points(generator, counts):
    net = _net().train()
    x = net(_points(generator, counts))
    assert x.shape == (sum(counts), 10) and bool(x.isfinite().all())
    x.sum().backward()
    assert all(bool(buffer.isfinite().all()) for buffer in net.buffers())

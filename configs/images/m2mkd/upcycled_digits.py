# A dense transformer becomes a mixture of experts (sparse upcycling): each MLP is copied to all experts of its block,
# so that the network starts as the dense one, and trains on. Beside it the dense network trained as long, and the
# mixture from scratch, with and without losses that keep the experts' loads even. Loads are written in each epoch.
_base_ = "vit_digits.py"
title = "Upcycling: a transformer's MLPs become experts, handwritten digits"
run = ["dense", "dense_longer", "unbalanced", "balanced", "upcycled"]

_dense = dict(type="ViT", preset="mini", width=32, depth=4, heads=4, patch_size=2)
_even = dict(noise=0.25, balance=dict(importance=0.01, load=0.01))


def _mixture(**router):
    return {**_dense, "type": "VMoE", "experts": 4, "router": dict(order="topk_softmax", **router)}


def _epochs(count):
    return dict(param_scheduler=dict(T_max=count), train_cfg=dict(max_epochs=count))


_routing = dict(custom_hooks=[dict(type="RoutingHook")])
stages = dict(
    dense=dict(like="plain", title="ViT, 15 epochs", role="plain"),
    dense_longer=dict(like="longer", title="ViT, 25 epochs", role="plain"),
    unbalanced=dict(
        like="longer", title="V-MoE, no balance loss, 25 epochs", role="plain", model=_mixture(), **_routing
    ),
    balanced=dict(like="longer", title="V-MoE, 25 epochs", role="plain", model=_mixture(**_even), **_routing),
    upcycled=dict(
        like="longer",
        title="V-MoE from the ViT of 15 epochs, 10 epochs",
        role="plain",
        model=_mixture(**_even),
        init_from=dict(stage="dense"),
        **_epochs(10),
        **_routing,
    ),
)
